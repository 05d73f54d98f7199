//! A step's rows by sequence.

use crate::engine::ModelError;
use crate::kv::{BlockId, StepBatch};
use std::collections::BTreeMap;

/// The rows of one sequence.
#[derive(Debug, PartialEq)]
pub(super) struct Rows {
    /// In the order of their positions.
    pub list: Vec<u32>,
    /// Tokens that are in the cache already.
    pub past: usize,
    /// The blocks that hold them, in order.
    pub blocks: Vec<BlockId>,
}

/// The rows of each sequence.
///
/// # Errors
/// A sequence has several rows at one position: drafts that branch.
pub(super) fn by_sequence(batch: &StepBatch) -> Result<Vec<Rows>, ModelError> {
    let mut sequences: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (row, sequence) in (0..).zip(&batch.sequences) {
        sequences.entry(*sequence).or_default().push(row);
    }
    sequences.into_values().map(|list| rows(batch, list)).collect()
}

fn rows(batch: &StepBatch, list: Vec<u32>) -> Result<Rows, ModelError> {
    let positions = list.iter().map(|r| batch.positions[*r as usize] as usize);
    let past = positions.clone().next().unwrap_or(0);
    if !positions.eq(past..past + list.len()) {
        return Err("a session runs the rows of a sequence one after the other: no drafts".into());
    }
    let last = list[list.len() - 1];
    let items = batch.work.items.iter().filter(|i| batch.work.rows_of(i).contains(&last));
    let blocks = items.flat_map(|i| batch.work.blocks_of(i)).copied().collect();
    Ok(Rows { list, past, blocks })
}
