//! Where everything would lie in memory for given symbol values.

use crate::bind::{Values, derive, no_values};
use crate::error::RunError;
use crate::program::Segment;
use crate::sys::run::{Executable, scratch_stride};
use cascata_artifact::manifest::{Entry, Storage};
use cascata_types::{Entity, SymbolId};

/// The memory of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// One per segment whose sizes are known; a branch, a loop and a data-dependent symbol
    /// start a new one.
    pub segments: Vec<SegmentMemory>,
}

/// The memory of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMemory {
    /// The block that it is a part of; 0 is the entry itself, which runs the others.
    pub block: u32,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// The most bytes of it that live at once: no packing needs less.
    pub lower_bound_bytes: u64,
    /// Scratch of all threads.
    pub scratch_bytes: u64,
    /// The arena's buffers.
    pub buffers: Vec<BufferMemory>,
    /// Number of launches.
    pub launches: usize,
}

/// One buffer in an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferMemory {
    /// The graph value.
    pub name: String,
    /// Where it starts.
    pub offset: u64,
    /// Its size.
    pub bytes: u64,
    /// The first step that touches it.
    pub first_step: u32,
    /// The last step that touches it.
    pub last_step: u32,
}

impl MemoryPlan {
    /// Bytes of all arenas.
    pub fn arena_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.arena_bytes).sum()
    }

    /// Bytes that all arenas need at least.
    pub fn lower_bound_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.lower_bound_bytes).sum()
    }

    /// Plans every segment whose symbols are given.
    pub(crate) fn new(executable: &Executable, symbols: &[(&str, i64)]) -> Result<Self, RunError> {
        let entry = executable.entry();
        let values = symbol_values(entry, symbols)?;
        let data_dependent = |s: &SymbolId| {
            values[s.index()].is_none() && entry.symbols.get(*s).is_some_and(|s| s.data_dependent)
        };
        let known = |s: &&Segment| !s.symbols.iter().any(data_dependent);
        let segments = executable.program.segments().filter(known);
        let segments = segments.map(|s| segment_memory(executable, s, &values));
        Ok(Self { segments: segments.collect::<Result<_, _>>()? })
    }
}

/// The values of an entry's symbols and of what derives from them.
///
/// # Errors
/// An unknown symbol.
pub(crate) fn symbol_values(
    entry: &Entry,
    symbols: &[(&str, i64)],
) -> Result<Vec<Option<i64>>, RunError> {
    let mut values = no_values(entry);
    for (name, value) in symbols {
        let id = entry.symbols.lookup(name).ok_or_else(|| RunError::NoSuchPort {
            kind: "symbol",
            name: name.to_string(),
            names: entry.symbols.iter().map(|(_, s)| s.name.clone()).collect(),
        })?;
        values[id.index()] = Some(*value);
    }
    derive(entry, &mut values);
    Ok(values)
}

fn segment_memory(
    executable: &Executable,
    segment: &Segment,
    values: &Values,
) -> Result<SegmentMemory, RunError> {
    let entry = executable.entry();
    let plan = executable.plan(segment, values, &mut Vec::new())?;
    let buffers = plan.arena.iter().map(|p| {
        let buffer = &entry.buffers[p.buffer as usize];
        let (first_step, last_step) = match buffer.storage {
            Storage::Arena { first, last } => (first, last),
            _ => (0, 0),
        };
        let (offset, bytes) = (p.offset, p.bytes);
        BufferMemory { name: buffer.name.clone(), offset, bytes, first_step, last_step }
    });
    Ok(SegmentMemory {
        block: segment.block,
        arena_bytes: plan.arena_bytes,
        lower_bound_bytes: plan.lower_bound,
        scratch_bytes: scratch_stride(&plan).saturating_mul(executable.runtime.threads() as u64),
        buffers: buffers.collect(),
        launches: plan.launches.len(),
    })
}
