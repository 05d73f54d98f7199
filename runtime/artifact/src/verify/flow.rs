//! What holds along every path through an entry's blocks: symbols are bound before they
//! are used, buffers live where they are touched and are written before they are read.

use super::entry::step_path;
use super::{Errors, Program, tensor_type};
use crate::manifest::{Branch, Entry, Launch, Loop, Step, Storage};
use cascata_types::{Dim, SymbolId};
use std::collections::HashSet;

/// Checks one entry whose indices are all right.
pub(super) fn verify(errors: &mut Errors, program: &Program, at: &str, entry: &Entry) {
    let written = vec![false; entry.buffers.len()];
    let given = entry.given_slots();
    let bound = HashSet::new();
    let mut f = Flow { errors, program, entry, bound, written, given, path: vec![], at };
    f.inputs();
    f.block(0);
    f.outputs();
}

/// The walk over all steps in an order in which they may run.
struct Flow<'a, 'e> {
    errors: &'e mut Errors,
    program: &'a Program<'a>,
    entry: &'a Entry,
    /// Symbols that have a value at the step under consideration.
    bound: HashSet<SymbolId>,
    /// Buffers that hold something there.
    written: Vec<bool>,
    given: HashSet<u32>,
    /// Running blocks with their current step, innermost last.
    path: Vec<(u32, usize)>,
    at: &'a str,
}

impl Flow<'_, '_> {
    fn here(&self) -> String {
        self.path.last().map_or(self.at.into(), |(b, i)| step_path(self.at, *b, *i))
    }

    fn report(&mut self, problem: impl Into<String>) {
        let at = self.here();
        self.errors.push(at, problem);
    }

    fn inputs(&mut self) {
        let entry = self.entry;
        let inputs = entry.inputs.iter().filter_map(|p| tensor_type(&p.ty));
        self.bound = inputs.clone().flat_map(|t| &t.shape).filter_map(Dim::as_sym).collect();
        let at = format!("{}.inputs", self.at);
        for dim in inputs.flat_map(|t| &t.shape) {
            self.known_at(&at, dim);
        }
        for (i, dim) in entry.derived.iter().enumerate() {
            self.known_at(&format!("{}.derived[{i}]", self.at), dim);
            self.bound.insert(entry.derived_symbol(i));
        }
        for (i, variant) in entry.variants.iter().enumerate() {
            let at = format!("{}.variants[{i}]", self.at);
            variant.guard.iter().for_each(|dim| self.known_at(&at, dim));
        }
    }

    fn outputs(&mut self) {
        let entry = self.entry;
        let at = format!("{}.outputs", self.at);
        for dim in entry.outputs.iter().filter_map(|p| tensor_type(&p.ty)).flat_map(|t| &t.shape) {
            self.known_at(&at, dim);
        }
        for (i, port) in entry.outputs.iter().enumerate() {
            let mine = Storage::Output(i as u32);
            let done =
                entry.buffers.iter().zip(&self.written).any(|(b, w)| *w && b.storage == mine);
            if port.ty.as_tensor().is_some() && !done {
                let at = format!("{}.outputs[{i}] ('{}')", self.at, port.name);
                self.errors.push(at, "no step writes it");
            }
        }
    }

    /// Walks a block; what it has bound and written stands until [`Flow::leave`].
    fn block(&mut self, block: u32) {
        let entry = self.entry;
        self.path.push((block, 0));
        for (i, step) in entry.steps_of(block).iter().enumerate() {
            if let Some(place) = self.path.last_mut() {
                place.1 = i;
            }
            match step {
                Step::Launch(launch) => self.launch(launch),
                Step::Bind { buffer, symbols } => {
                    self.read(*buffer);
                    symbols.iter().for_each(|s| self.bind(*s));
                }
                Step::Text(text) => self.fills(&text.operands, text.result),
                Step::CacheAttention(a) => self.fills(&a.operands, a.result),
                Step::If(branch) => self.branch(branch),
                Step::Loop(l) => self.repeat(l),
            }
        }
        for (i, check) in entry.checks_of(block).iter().enumerate() {
            let at = match block {
                0 => format!("{}.checks[{i}]", self.at),
                b => format!("{}.blocks[{}].checks[{i}]", self.at, b - 1),
            };
            self.known_at(&at, &check.lhs);
            self.known_at(&at, &check.rhs);
        }
    }

    /// Ends the innermost block: its buffers hold nothing any more, and of the symbols
    /// those of `before` are left.
    fn leave(&mut self, before: &HashSet<SymbolId>) {
        let Some((block, _)) = self.path.pop() else { return };
        for (buffer, written) in self.entry.buffers.iter().zip(&mut self.written) {
            let of_block = matches!(buffer.storage, Storage::Arena { .. } | Storage::Slot);
            *written &= !(of_block && buffer.block == block);
        }
        self.bound.clone_from(before);
    }

    fn branch(&mut self, branch: &Branch) {
        self.read(branch.cond);
        let before = self.bound.clone();
        for (block, taken) in [(branch.then_block, true), (branch.else_block, false)] {
            self.block(block);
            for r in &branch.results {
                self.hands_out(block, if taken { r.then } else { r.other });
            }
            for d in &branch.dims {
                self.known(if taken { &d.then } else { &d.other });
            }
            self.leave(&before);
        }
        branch.dims.iter().for_each(|d| self.bind(d.symbol));
        branch.results.iter().for_each(|r| self.takes(r.result));
    }

    fn repeat(&mut self, l: &Loop) {
        self.read(l.trip);
        self.read(l.cond);
        l.carried.iter().for_each(|c| self.read(c.initial));
        l.dims.iter().for_each(|d| self.known(&d.initial));
        let before = self.bound.clone();
        l.dims.iter().for_each(|d| self.bind(d.inside));
        let params = l.carried.iter().map(|c| c.param).chain(l.iteration).chain(l.going);
        for param in params {
            self.belongs(l.body, param);
            self.buffer_known(param);
            self.written[param as usize] = true;
        }
        self.block(l.body);
        self.read(l.next_cond);
        l.scanned.iter().for_each(|s| self.read(s.row));
        l.carried.iter().filter_map(|c| c.next).for_each(|next| self.hands_out(l.body, next));
        l.dims.iter().for_each(|d| self.known(&d.next));
        self.leave(&before);
        self.bind(l.count);
        l.dims.iter().for_each(|d| self.bind(d.after));
        l.carried.iter().for_each(|c| self.takes(c.result));
        l.scanned.iter().for_each(|s| self.takes(s.result));
    }

    fn belongs(&mut self, block: u32, slot: u32) {
        let b = &self.entry.buffers[slot as usize];
        if b.block != block {
            let text = format!("'{}' belongs to block {}, not {block}", b.name, b.block);
            self.report(text);
        }
    }

    /// A slot that the block that just ended has filled.
    fn hands_out(&mut self, block: u32, slot: u32) {
        self.belongs(block, slot);
        self.read(slot);
    }

    /// A slot that the current step fills.
    fn takes(&mut self, slot: u32) {
        let block = self.path.last().map_or(0, |(b, _)| *b);
        self.belongs(block, slot);
        self.buffer_known(slot);
        self.written[slot as usize] = true;
    }

    fn bind(&mut self, symbol: SymbolId) {
        if !self.bound.insert(symbol) {
            let name = self.entry.symbols.name(symbol);
            self.report(format!("'{name}' is bound already"));
        }
    }

    fn launch(&mut self, launch: &Launch) {
        for v in &launch.variants {
            let all = v.guard.iter().chain(&v.dims);
            for dim in all.chain([&v.tiles, &v.scratch_bytes, &v.min_tiles]) {
                self.known(dim);
            }
        }
        self.known(&launch.flops);
        self.known(&launch.bytes);
        self.writes(launch);
        launch.buffers.iter().for_each(|b| self.read(*b));
    }

    fn writes(&mut self, launch: &Launch) {
        let kernels = launch.variants.iter().map(|v| self.program.kernels[v.kernel as usize]);
        let common = |slot: &u32| kernels.clone().all(|k| k.writes.contains(slot));
        let slots: HashSet<u32> = kernels.clone().flat_map(|k| k.writes.iter().copied()).collect();
        let mut slots: Vec<(u32, bool)> = slots.into_iter().map(|s| (s, common(&s))).collect();
        slots.sort_unstable();
        for (slot, always) in slots {
            // A slot out of range is the kernel's fault and reported there.
            let Some(&buffer) = launch.buffers.get(slot as usize) else { continue };
            self.write(buffer, always);
        }
    }

    /// A buffer that the current step writes, in some cases or `always`.
    fn write(&mut self, buffer: u32, always: bool) {
        let block = self.path.last().map_or(0, |(b, _)| *b);
        let root = self.root(buffer);
        let b = &self.entry.buffers[root as usize];
        match b.storage {
            Storage::Input(_) | Storage::Weight(_) => {
                self.report(format!("it writes '{}', which is read-only", b.name));
            }
            _ if b.block != block => {
                self.report(format!("it writes '{}', of another block", b.name));
            }
            // It gets its memory when it is filled.
            _ if self.given.contains(&root) => {}
            _ => self.written[root as usize] |= always,
        }
    }

    /// The host reads buffers and fills one.
    fn fills(&mut self, operands: &[u32], result: u32) {
        operands.iter().for_each(|b| self.read(*b));
        self.write(result, true);
        self.read(result);
    }

    /// A buffer that is touched: it lives, its size is known, it has been written.
    fn read(&mut self, buffer: u32) {
        self.buffer_known(buffer);
        let root = self.root(buffer) as usize;
        let b = &self.entry.buffers[root];
        let step = self.path.iter().find(|(block, _)| *block == b.block).map(|(_, step)| *step);
        match (&b.storage, step) {
            (Storage::Arena { .. } | Storage::Slot, None) => {
                self.report(format!("it touches '{}', of a block that does not run", b.name));
            }
            (Storage::Arena { first, last }, Some(step))
                if !(*first as usize..=*last as usize).contains(&step) =>
            {
                let text =
                    format!("it touches '{}', which lives from step {first} to {last}", b.name);
                self.report(text);
            }
            _ => {}
        }
        let fresh = matches!(b.storage, Storage::Arena { .. } | Storage::Output(_) | Storage::Slot);
        if fresh && !self.written[root] {
            self.report(format!("it reads '{}', which no step has written", b.name));
            self.written[root] = true; // Reported once.
        }
    }

    /// The buffer's size has a value here.
    fn buffer_known(&mut self, buffer: u32) {
        let entry = self.entry;
        let b = &entry.buffers[buffer as usize];
        self.known(&b.bytes);
        if let Storage::Alias { of, offset_bytes } = &b.storage {
            self.known(offset_bytes);
            self.known(&entry.buffers[*of as usize].bytes);
        }
        if let Storage::Output(n) = entry.buffers[self.root(buffer) as usize].storage
            && let Some(ty) = tensor_type(&entry.outputs[n as usize].ty)
        {
            for dim in &ty.shape {
                self.known(dim);
            }
        }
    }

    /// The dim has a value at the current step.
    fn known(&mut self, dim: &Dim) {
        let problems = self.unbound(dim);
        problems.into_iter().for_each(|p| self.report(p));
    }

    /// As [`Flow::known`], for a dim that stands at `at`.
    fn known_at(&mut self, at: &str, dim: &Dim) {
        let problems = self.unbound(dim);
        problems.into_iter().for_each(|p| self.errors.push(at, p));
    }

    fn unbound(&self, dim: &Dim) -> Vec<String> {
        if dim.as_const().is_some() {
            return vec![]; // PERF: most dims of a static model; `symbols` allocates.
        }
        let symbols = dim.symbols().into_iter().filter(|s| !self.bound.contains(s));
        let problem = |s: SymbolId| {
            let (text, name) = (dim.display(&self.entry.symbols), self.entry.symbols.name(s));
            format!(
                "'{text}' needs '{name}', which has no value there: no input has it as a whole dim and no earlier step binds it"
            )
        };
        symbols.map(problem).collect()
    }

    /// The buffer whose memory this one is.
    fn root(&self, buffer: u32) -> u32 {
        match self.entry.buffers[buffer as usize].storage {
            Storage::Alias { of, .. } => of,
            _ => buffer,
        }
    }
}
