//! An entry point, cut into segments: what can be planned before anything runs, and
//! what must wait for a data-dependent symbol.

use cascata_artifact::manifest::{Entry, Step, Storage, Variant};
use cascata_types::{Dim, SymbolId};
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

/// The steps between two that bind symbols, and the buffers that they touch first.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    /// Its number among all segments.
    pub(crate) id: usize,
    pub(crate) block: u32,
    /// Launches of the segment, and attention over the caller's cache; what ends it, if
    /// anything, is the step after the last.
    pub(crate) steps: Range<usize>,
    /// Whether a step of another kind ends it.
    pub(crate) ends: bool,
    /// Arena buffers that begin to live here.
    pub(crate) arena: Vec<u32>,
    /// Slots that launches fill.
    pub(crate) slots: Vec<u32>,
    /// Inputs, outputs and weights touched first here.
    pub(crate) outside: Vec<u32>,
    /// Aliases touched first here.
    pub(crate) aliases: Vec<u32>,
    /// Output ports that get their memory here.
    pub(crate) outputs: Vec<u32>,
    /// Checks of the block whose symbols are all bound here.
    pub(crate) checks: Vec<usize>,
    /// The symbols that its plan depends on.
    pub(crate) symbols: Vec<SymbolId>,
}

/// The segments of each block of an entry.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) blocks: Vec<Vec<Segment>>,
}

impl Program {
    /// Cuts an entry of a verified manifest.
    pub(crate) fn new(entry: &Entry) -> Self {
        let (given, bound) = (entry.given_slots(), bound_outside(entry));
        let mut next = 0;
        let blocks = (0..=entry.blocks.len() as u32).map(|block| {
            let mut segments = cut(entry, block);
            assign_buffers(entry, block, &given, &mut segments);
            assign_outputs(entry, &mut segments);
            assign_checks(entry, block, bound[block as usize].clone(), &mut segments);
            for segment in &mut segments {
                segment.symbols = symbols(entry, segment);
                segment.id = next;
                next += 1;
            }
            segments
        });
        Self { blocks: blocks.collect() }
    }

    /// All segments, in the order of their numbers.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.blocks.iter().flatten()
    }
}

/// The symbols that a step binds where it stands.
fn binds(step: &Step) -> Vec<SymbolId> {
    match step {
        Step::Launch(_) | Step::CacheAttention(_) | Step::Text(_) => vec![],
        Step::Bind { symbols, .. } => symbols.clone(),
        Step::If(b) => b.dims.iter().map(|d| d.symbol).collect(),
        Step::Loop(l) => std::iter::once(l.count).chain(l.dims.iter().map(|d| d.after)).collect(),
    }
}

/// Symbols that have a value when a block starts. A block's number is above that of the
/// one that runs it.
fn bound_outside(entry: &Entry) -> Vec<HashSet<SymbolId>> {
    let mut at_start = vec![HashSet::new(); entry.blocks.len() + 1];
    at_start[0] =
        entry.symbols.iter().filter(|(_, s)| !s.data_dependent).map(|(id, _)| id).collect();
    at_start[0].extend((0..entry.derived.len()).map(|i| entry.derived_symbol(i)));
    for block in 0..at_start.len() {
        let mut now = at_start[block].clone();
        for step in entry.steps_of(block as u32) {
            match step {
                Step::If(b) => {
                    at_start[b.then_block as usize].clone_from(&now);
                    at_start[b.else_block as usize].clone_from(&now);
                }
                Step::Loop(l) => {
                    let inside = l.dims.iter().map(|d| d.inside);
                    at_start[l.body as usize] = now.iter().copied().chain(inside).collect();
                }
                Step::Launch(_) | Step::CacheAttention(_) | Step::Bind { .. } | Step::Text(_) => {}
            }
            now.extend(binds(step));
        }
    }
    at_start
}

/// Cuts a block after each step that changes what is known of sizes or where memory is.
fn cut(entry: &Entry, block: u32) -> Vec<Segment> {
    let mut out = Vec::new();
    let mut segment = Segment { block, ..Segment::default() };
    for (i, step) in entry.steps_of(block).iter().enumerate() {
        if let Step::Launch(_) | Step::CacheAttention(_) = step {
            segment.steps.end = i + 1;
        } else {
            segment.ends = true;
            let next = Segment { block, steps: i + 1..i + 1, ..Segment::default() };
            out.push(std::mem::replace(&mut segment, next));
        }
    }
    out.push(segment);
    out
}

/// The steps of a segment, with the one that ends it.
fn all_steps(segment: &Segment) -> Range<usize> {
    segment.steps.start..segment.steps.end + usize::from(segment.ends)
}

/// What a step reads or writes in its own block.
fn touched(step: &Step) -> Vec<u32> {
    match step {
        Step::Launch(launch) => launch.buffers.clone(),
        Step::Bind { buffer, .. } => vec![*buffer],
        Step::CacheAttention(attention) => attention.buffers().collect(),
        Step::Text(text) => text.operands.iter().copied().chain([text.result]).collect(),
        Step::If(b) => vec![b.cond],
        Step::Loop(l) => {
            [l.trip, l.cond].into_iter().chain(l.carried.iter().map(|c| c.initial)).collect()
        }
    }
}

/// What the step that runs a block reads when the block ends.
fn read_at_end(entry: &Entry, block: u32) -> Vec<u32> {
    entry
        .all_steps()
        .find_map(|(_, _, step)| match step {
            Step::Loop(l) if l.body == block => {
                Some(l.scanned.iter().map(|s| s.row).chain([l.next_cond]).collect())
            }
            _ => None,
        })
        .unwrap_or_default()
}

fn assign_buffers(entry: &Entry, block: u32, given: &HashSet<u32>, segments: &mut [Segment]) {
    let mut seen = vec![false; entry.buffers.len()];
    let mut touch = |segment: &mut Segment, b: u32| {
        if std::mem::replace(&mut seen[b as usize], true) {
            return;
        }
        let buffer = &entry.buffers[b as usize];
        match buffer.storage {
            // What is of another block has been placed there.
            Storage::Arena { .. } if buffer.block == block => segment.arena.push(b),
            Storage::Slot if buffer.block == block && !given.contains(&b) => segment.slots.push(b),
            Storage::Arena { .. } | Storage::Slot => {}
            Storage::Output(_) if block != 0 => {}
            Storage::Alias { .. } => segment.aliases.push(b),
            Storage::Input(_) | Storage::Output(_) | Storage::Weight(_) => segment.outside.push(b),
        }
    };
    let last = segments.len().saturating_sub(1);
    for (i, segment) in segments.iter_mut().enumerate() {
        let steps = entry.steps_of(block)[all_steps(segment)].iter();
        let mut all: Vec<u32> = steps.flat_map(touched).collect();
        if i == last {
            all.extend(read_at_end(entry, block));
        }
        for b in all {
            if let Storage::Alias { of, .. } = entry.buffers[b as usize].storage {
                touch(segment, of);
            }
            touch(segment, b);
        }
    }
}

fn assign_outputs(entry: &Entry, segments: &mut [Segment]) {
    let mut seen = HashSet::new();
    for segment in segments {
        for &b in &segment.outside {
            if let Storage::Output(port) = entry.buffers[b as usize].storage
                && seen.insert(port)
            {
                segment.outputs.push(port);
            }
        }
    }
}

fn assign_checks(
    entry: &Entry,
    block: u32,
    mut bound: HashSet<SymbolId>,
    segments: &mut [Segment],
) {
    let checks = entry.checks_of(block);
    let mut waiting: Vec<usize> = (0..checks.len()).collect();
    for segment in segments {
        let known = |d: &Dim| d.symbols().iter().all(|s| bound.contains(s));
        let ready = |i: &usize| known(&checks[*i].lhs) && known(&checks[*i].rhs);
        segment.checks = waiting.iter().copied().filter(ready).collect();
        waiting.retain(|i| !segment.checks.contains(i));
        let end = segment.ends.then(|| entry.steps_of(block).get(segment.steps.end)).flatten();
        bound.extend(end.map(binds).unwrap_or_default());
    }
}

/// Every symbol that planning the segment evaluates.
fn symbols(entry: &Entry, segment: &Segment) -> Vec<SymbolId> {
    let mut dims: Vec<&Dim> = Vec::new();
    for &i in &segment.checks {
        let check = &entry.checks_of(segment.block)[i];
        dims.extend([&check.lhs, &check.rhs]);
    }
    let buffers = [&segment.arena, &segment.slots, &segment.outside, &segment.aliases];
    for &b in buffers.into_iter().flatten() {
        let buffer = &entry.buffers[b as usize];
        dims.push(&buffer.bytes);
        if let Storage::Alias { offset_bytes, .. } = &buffer.storage {
            dims.push(offset_bytes);
        }
    }
    for &port in &segment.outputs {
        dims.extend(entry.outputs[port as usize].ty.as_tensor().into_iter().flat_map(|t| &t.shape));
    }
    for step in &entry.steps_of(segment.block)[segment.steps.clone()] {
        if let Step::Launch(launch) = step {
            dims.extend(launch.variants.iter().flat_map(formulas));
        }
    }
    let all: BTreeSet<u32> = dims.into_iter().flat_map(Dim::symbols).map(|s| s.0).collect();
    all.into_iter().map(SymbolId).collect()
}

fn formulas(v: &Variant) -> impl Iterator<Item = &Dim> {
    v.guard.iter().chain(&v.dims).chain([&v.tiles, &v.scratch_bytes, &v.min_tiles])
}
