//! Branches and loops: the host runs a block, moves what it hands out from slot to slot,
//! and binds the symbols that depend on it.

use super::exec::DoesNotFit;
use super::run::{OutputSet, Run};
use crate::bind::InputSet;
use crate::error::RunError;
use crate::plan::{buffer_bytes, symbol_value};
use cascata_artifact::manifest::{Branch, Loop};
use cascata_types::Entity;

impl<I: InputSet + ?Sized, O: OutputSet> Run<'_, I, O> {
    /// Runs the block that the condition chooses and takes over its results.
    pub(super) fn branch(&mut self, branch: &Branch) -> Result<(), RunError> {
        let taken = self.flag(branch.cond)?;
        self.block(if taken { branch.then_block } else { branch.else_block })?;
        for dim in &branch.dims {
            let formula = if taken { &dim.then } else { &dim.other };
            let value = symbol_value(self.exe.entry(), &self.ctx.values, dim.symbol, formula)?;
            self.set_symbol(dim.symbol, value, || branch.source.join(", "))?;
        }
        for r in &branch.results {
            self.take(if taken { r.then } else { r.other }, r.result)?;
        }
        Ok(())
    }

    /// Runs the body of the loop that is step `step` while the condition holds and fewer than
    /// `trip` times.
    pub(super) fn repeat(&mut self, l: &Loop, step: usize) -> Result<(), RunError> {
        let (trip, mut go) = (self.number(l.trip, 0)?, self.flag(l.cond)?);
        self.enter(l)?;
        let first = self.ctx.rows.len();
        self.ctx.rows.resize(first + l.scanned.len(), 0);
        let most = self.exe.entry().symbols.range(l.count).1;
        let mut iteration = 0i64;
        while go && iteration < trip {
            // A body need not launch anything.
            self.go_on(step)?;
            // Beyond its range the count could not be bound: do not run on for ever.
            if iteration >= most {
                self.set_symbol(l.count, iteration.saturating_add(1), || l.source.join(", "))?;
            }
            go = self.iterate(l, iteration, first)?;
            iteration += 1;
        }
        self.set_symbol(l.count, iteration, || l.source.join(", "))?;
        for dim in &l.dims {
            self.ctx.values[dim.after.index()] = self.ctx.values[dim.inside.index()];
        }
        for c in &l.carried {
            self.take(c.param, c.result)?;
        }
        for (i, s) in l.scanned.iter().enumerate() {
            self.fill(s.result, self.ctx.rows[first + i])?;
        }
        self.ctx.rows.truncate(first);
        Ok(())
    }

    /// Binds the changing dims and copies the operands for the first iteration.
    fn enter(&mut self, l: &Loop) -> Result<(), RunError> {
        for dim in &l.dims {
            let value = symbol_value(self.exe.entry(), &self.ctx.values, dim.inside, &dim.initial)?;
            self.set_symbol(dim.inside, value, || l.source.join(", "))?;
        }
        for c in &l.carried {
            let bytes = self.ctx.frame.bytes(c.initial);
            self.ctx.slots[c.param as usize].reserve(bytes, "a carried value")?;
            self.copy(c.initial, c.param, 0)?;
            self.fill(c.param, bytes)?;
        }
        Ok(())
    }

    /// One iteration; whether there is another.
    fn iterate(&mut self, l: &Loop, iteration: i64, first: usize) -> Result<bool, RunError> {
        if let Some(slot) = l.iteration {
            self.write(slot, &iteration.to_ne_bytes())?;
        }
        if let Some(slot) = l.going {
            self.write(slot, &[1])?;
        }
        self.block(l.body)?;
        let go = self.flag(l.next_cond)?;
        for (i, s) in l.scanned.iter().enumerate() {
            let (used, row) = (self.ctx.rows[first + i], self.ctx.frame.bytes(s.row));
            let len = used.saturating_add(row);
            let memory = &mut self.ctx.slots[s.result as usize];
            memory.extend(used, len, "the rows of a loop")?;
            self.copy(s.row, s.result, used)?;
            self.ctx.rows[first + i] = len;
        }
        // All from the same iteration: only then do the symbols change.
        self.ctx.bound.clear();
        for dim in &l.dims {
            let value = symbol_value(self.exe.entry(), &self.ctx.values, dim.inside, &dim.next)?;
            self.ctx.bound.push(value);
        }
        for (i, dim) in l.dims.iter().enumerate() {
            self.set_symbol(dim.inside, self.ctx.bound[i], || l.source.join(", "))?;
        }
        for c in &l.carried {
            match c.next {
                Some(next) => self.take(next, c.param)?,
                None => self.fill(c.param, self.ctx.frame.bytes(c.param))?,
            }
        }
        Ok(go)
    }

    /// `to` takes over what slot `from` holds.
    fn take(&mut self, from: u32, to: u32) -> Result<(), RunError> {
        let bytes = self.ctx.frame.bytes(from);
        self.ctx.slots.swap(from as usize, to as usize);
        self.fill(to, bytes)
    }

    /// Places a slot that holds so many bytes; its type must say the same.
    fn fill(&mut self, slot: u32, bytes: u64) -> Result<(), RunError> {
        let needs = buffer_bytes(self.exe.entry(), &self.ctx.values, slot)?;
        let misfit = |e: &DoesNotFit| self.exe.misfit(slot, e);
        if needs != bytes {
            return Err(misfit(&DoesNotFit { needs, has: bytes }));
        }
        let memory = &mut self.ctx.slots[slot as usize];
        self.ctx.frame.set_slot(slot, memory, needs).map_err(|e| misfit(&e))
    }

    /// Writes a slot that the host fills.
    fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<(), RunError> {
        let memory = &mut self.ctx.slots[slot as usize];
        memory.reserve(bytes.len() as u64, "a loop's parameter")?;
        memory.write(bytes)?;
        self.fill(slot, bytes.len() as u64)
    }

    /// Copies a buffer into a slot from byte `at` on; the slot has room.
    fn copy(&mut self, from: u32, slot: u32, at: u64) -> Result<(), RunError> {
        let bytes = self.ctx.frame.bytes(from);
        let into = &mut self.ctx.slots[slot as usize];
        let has = into.len() as u64;
        // SAFETY: the verifier has checked that the buffer is written, hence placed, before;
        // no kernel runs now; it is another buffer than the slot.
        match unsafe { self.ctx.frame.copy_into(from, into, at)? } {
            Some(()) => Ok(()),
            None => {
                Err(self.exe.misfit(slot, &DoesNotFit { needs: at.saturating_add(bytes), has }))
            }
        }
    }

    /// Element `i` of an `i64` buffer.
    pub(super) fn number(&mut self, buffer: u32, i: usize) -> Result<i64, RunError> {
        let mut all = [0u8; 8];
        self.element(buffer, i, &mut all)?;
        Ok(i64::from_ne_bytes(all))
    }

    /// A buffer of one bool.
    fn flag(&mut self, buffer: u32) -> Result<bool, RunError> {
        let mut one = [0u8];
        self.element(buffer, 0, &mut one)?;
        Ok(one[0] != 0)
    }

    fn element(&mut self, buffer: u32, i: usize, into: &mut [u8]) -> Result<(), RunError> {
        // SAFETY: the buffer was placed in this run (see `Run::launch`) and written by an
        // earlier step (the verifier has checked), and no kernel runs now.
        match unsafe { self.ctx.frame.read(buffer, i * into.len(), into)? } {
            Some(()) => Ok(()),
            None => {
                let (needs, has) = (((i + 1) * into.len()) as u64, self.ctx.frame.bytes(buffer));
                Err(self.exe.misfit(buffer, &DoesNotFit { needs, has }))
            }
        }
    }
}
