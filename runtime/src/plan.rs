//! A segment under one binding of its symbols: every formula evaluated, every variant
//! chosen, every buffer placed.

use crate::arena::{Interval, pack};
use crate::bind::{Values, cause, eval, values_text};
use crate::error::RunError;
use crate::program::Segment;
use cascata_artifact::manifest::{Check, Entry, Launch, Step, Storage, Variant};
use cascata_types::{Dim, SymbolId};
use std::ops::Range;

/// One launch with its numbers.
#[derive(Clone, Debug)]
pub(crate) struct PlannedLaunch {
    /// The step of its block.
    pub(crate) step: usize,
    pub(crate) kernel: u32,
    /// Where in [`SegmentPlan::dims`] its parameters are.
    pub(crate) dims: Range<usize>,
    pub(crate) tiles: i64,
    pub(crate) min_tiles: i64,
}

/// Where a buffer lies in its segment's arena or in another buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) buffer: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// A segment, ready to run.
#[derive(Debug, Default)]
pub(crate) struct SegmentPlan {
    pub(crate) arena: Vec<Placed>,
    pub(crate) arena_bytes: u64,
    /// The most bytes of this arena that live at once.
    pub(crate) lower_bound: u64,
    /// Slots that launches fill, with their bytes.
    pub(crate) slots: Vec<(u32, u64)>,
    /// Inputs, outputs and weights with the bytes that kernels touch.
    pub(crate) outside: Vec<(u32, u64)>,
    /// Aliases with their offset in the root.
    pub(crate) aliases: Vec<(u32, Placed)>,
    /// Output ports with their dims.
    pub(crate) outputs: Vec<(u32, Vec<i64>)>,
    pub(crate) launches: Vec<PlannedLaunch>,
    /// Steps that attend over the caller's cache.
    pub(crate) cache_attention: Vec<usize>,
    pub(crate) dims: Vec<i64>,
    /// Scratch bytes per thread: the largest of all launches.
    pub(crate) scratch_bytes: u64,
}

/// Plans one segment.
///
/// # Errors
/// A check that fails, a formula without a value, or sizes that no memory has.
pub(crate) fn plan(
    entry: &Entry,
    segment: &Segment,
    values: &Values,
) -> Result<SegmentPlan, RunError> {
    let p = Planner { entry, values };
    for &i in &segment.checks {
        p.check(&entry.checks_of(segment.block)[i])?;
    }
    let mut plan = SegmentPlan::default();
    p.place_arena(segment, &mut plan)?;
    for &b in &segment.slots {
        plan.slots.push((b, p.buffer_bytes(b)?));
    }
    for &b in &segment.outside {
        plan.outside.push((b, p.buffer_bytes(b)?));
    }
    for &b in &segment.aliases {
        if let Storage::Alias { of, offset_bytes } = &entry.buffers[b as usize].storage {
            let offset = p.size(offset_bytes, || format!("offset of buffer '{}'", p.name(b)))?;
            plan.aliases.push((*of, Placed { buffer: b, offset, bytes: p.buffer_bytes(b)? }));
        }
    }
    for &port in &segment.outputs {
        plan.outputs.push((port, p.output_dims(port)?));
    }
    for step in segment.steps.clone() {
        match &entry.steps_of(segment.block)[step] {
            Step::Launch(launch) => p.launch(step, launch, &mut plan)?,
            Step::CacheAttention(_) => plan.cache_attention.push(step),
            _ => {}
        }
    }
    Ok(plan)
}

/// The bytes of a buffer under these values.
///
/// # Errors
/// The formula has no value, or a negative one.
pub(crate) fn buffer_bytes(entry: &Entry, values: &Values, buffer: u32) -> Result<u64, RunError> {
    Planner { entry, values }.buffer_bytes(buffer)
}

/// The sizes of a buffer's dims.
///
/// # Errors
/// A dim has no value, or a negative one.
pub(crate) fn buffer_dims(
    entry: &Entry,
    values: &Values,
    buffer: u32,
) -> Result<Vec<i64>, RunError> {
    let planner = Planner { entry, values };
    let at = || format!("shape of '{}'", planner.name(buffer));
    let shape = entry.buffers[buffer as usize].ty.shape.iter();
    shape.map(|d| planner.size(d, at).map(|x| x as i64)).collect()
}

/// The value of a formula that a branch or a loop evaluates for a symbol.
///
/// # Errors
/// The formula has no value.
pub(crate) fn symbol_value(
    entry: &Entry,
    values: &Values,
    symbol: SymbolId,
    formula: &Dim,
) -> Result<i64, RunError> {
    Planner { entry, values }
        .value(formula, || format!("the value of '{}'", entry.symbols.name(symbol)))
}

struct Planner<'a> {
    entry: &'a Entry,
    values: &'a Values,
}

impl Planner<'_> {
    fn name(&self, buffer: u32) -> &str {
        &self.entry.buffers[buffer as usize].name
    }

    fn value(&self, dim: &Dim, at: impl Fn() -> String) -> Result<i64, RunError> {
        eval(dim, self.values).map_err(|e| {
            let cause = cause(self.entry, self.values, e);
            self.problem(dim, at(), format!("has no value: {cause}"))
        })
    }

    fn size(&self, dim: &Dim, at: impl Fn() -> String) -> Result<u64, RunError> {
        let value = self.value(dim, &at)?;
        u64::try_from(value).map_err(|_| self.problem(dim, at(), format!("is negative ({value})")))
    }

    /// A formula as people know it.
    fn written(&self, dim: &Dim) -> String {
        self.entry.expanded(dim).display(&self.entry.symbols)
    }

    fn problem(&self, dim: &Dim, at: String, problem: String) -> RunError {
        let symbols = values_text(&self.entry.symbols, self.values);
        RunError::Formula { at, formula: self.written(dim), problem, symbols }
    }

    fn check(&self, check: &Check) -> Result<(), RunError> {
        let (lhs, rhs) = (
            self.value(&check.lhs, || check.what.clone())?,
            self.value(&check.rhs, || check.what.clone())?,
        );
        if lhs == rhs {
            return Ok(());
        }
        let side = |dim: &Dim, value: i64| match dim.as_const() {
            Some(_) => value.to_string(),
            None => format!("{} = {value}", self.written(dim)),
        };
        Err(RunError::Check {
            what: check.what.clone(),
            lhs: side(&check.lhs, lhs),
            rhs: side(&check.rhs, rhs),
        })
    }

    fn buffer_bytes(&self, buffer: u32) -> Result<u64, RunError> {
        self.size(&self.entry.buffers[buffer as usize].bytes, || {
            format!("size of buffer '{}'", self.name(buffer))
        })
    }

    fn place_arena(&self, segment: &Segment, plan: &mut SegmentPlan) -> Result<(), RunError> {
        let mut intervals = Vec::with_capacity(segment.arena.len());
        for &b in &segment.arena {
            if let Storage::Arena { first, last } = self.entry.buffers[b as usize].storage {
                intervals.push(Interval { first, last, bytes: self.buffer_bytes(b)? });
            }
        }
        let too_much = || RunError::OutOfMemory { what: "the arena".into(), bytes: u64::MAX };
        let packing = pack(&intervals).ok_or_else(too_much)?;
        let placed = segment.arena.iter().zip(&packing.offsets).zip(&intervals);
        plan.arena = placed
            .map(|((&buffer, &offset), i)| Placed { buffer, offset, bytes: i.bytes })
            .collect();
        (plan.arena_bytes, plan.lower_bound) = (packing.total, packing.lower_bound);
        Ok(())
    }

    fn output_dims(&self, port: u32) -> Result<Vec<i64>, RunError> {
        let port = &self.entry.outputs[port as usize];
        let shape = port.ty.as_tensor().map_or(&[][..], |t| &t.shape);
        let at = || format!("shape of output '{}'", port.name);
        shape.iter().map(|d| self.size(d, at).map(|x| x as i64)).collect()
    }

    fn launch(&self, step: usize, launch: &Launch, plan: &mut SegmentPlan) -> Result<(), RunError> {
        let at = || format!("step {step} ({})", launch.values.join(", "));
        let variant = self.choose(launch, at)?;
        let tiles = self.size(&variant.tiles, at)? as i64;
        if tiles == 0 {
            return Ok(());
        }
        let from = plan.dims.len();
        for dim in &variant.dims {
            plan.dims.push(self.value(dim, at)?);
        }
        plan.scratch_bytes = plan.scratch_bytes.max(self.size(&variant.scratch_bytes, at)?);
        plan.launches.push(PlannedLaunch {
            step,
            kernel: variant.kernel,
            dims: from..plan.dims.len(),
            tiles,
            min_tiles: self.value(&variant.min_tiles, at)?.max(1),
        });
        Ok(())
    }

    /// The first variant whose guard holds; the last has none.
    fn choose<'l>(
        &self,
        launch: &'l Launch,
        at: impl Fn() -> String + Copy,
    ) -> Result<&'l Variant, RunError> {
        let (last, guarded) = launch.variants.split_last().ok_or_else(|| RunError::Formula {
            at: at(),
            formula: "the guard".into(),
            problem: "fits no variant".into(),
            symbols: values_text(&self.entry.symbols, self.values),
        })?;
        for variant in guarded {
            let mut holds = true;
            for dim in &variant.guard {
                holds &= self.value(dim, at)? >= 0;
            }
            if holds {
                return Ok(variant);
            }
        }
        Ok(last)
    }
}
