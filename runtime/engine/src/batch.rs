//! From plans to the batch that the model reads.

use crate::core::Core;
use crate::model::Model;
use crate::sequence::Sequence;
use cascata_kv::{Append, BlockTable, Lane, StepBatch};
use std::ops::Range;

/// Rows of the lanes of a step, one lane after the other.
#[derive(Default)]
struct LaneRows {
    rows: Vec<u32>,
    /// Running sequence, branch of its draft, range of `rows`.
    lanes: Vec<(usize, usize, Range<usize>)>,
}

impl<M: Model> Core<M> {
    /// Writes the rows, the places for their keys and values, and the work list.
    pub(crate) fn write_batch(&mut self) {
        let Self { batch, running, builder, logits, stats, config, spec, .. } = self;
        batch.clear();
        let mut lanes = LaneRows::default();
        for (number, sequence) in running.iter_mut().enumerate() {
            if sequence.plan.tokens > 0 {
                write_tokens(batch, sequence, number);
                write_draft(batch, sequence, number, &mut lanes);
                let prompt = sequence.pending() > 1 || sequence.new_tokens() == 0;
                stats.prefill_rows += if prompt { sequence.plan.tokens as u64 } else { 0 };
                stats.draft_rows += sequence.plan.draft.nodes.len() as u64;
            }
        }
        let size = config.block_tokens;
        let lane = |(sequence, branch, range): &(usize, usize, Range<usize>)| {
            let rows = &lanes.rows[range.clone()];
            let last = rows.last().map_or(0, |row| batch.positions[*row as usize] / size);
            Lane { blocks: &table(&running[*sequence], *branch).blocks()[..=last as usize], rows }
        };
        let lanes: Vec<Lane<'_>> = lanes.lanes.iter().map(lane).collect();
        stats.tiles_unshared += lanes.iter().map(|l| l.blocks.len() as u64).sum::<u64>();
        builder.build(&lanes, &batch.positions, size, &mut batch.work);
        logits.resize(batch.logit_rows.len() * spec.vocab as usize, 0.0);
    }
}

/// The table that a branch writes to.
fn table(sequence: &Sequence, branch: usize) -> &BlockTable {
    let branch = sequence.plan.branches.get(branch);
    branch.and_then(|b| b.table.as_ref()).unwrap_or(&sequence.table)
}

/// The sequence's own tokens.
fn write_tokens(batch: &mut StepBatch, sequence: &mut Sequence, number: usize) {
    let start = sequence.computed();
    let end = start + sequence.plan.tokens;
    sequence.plan.row = batch.rows();
    for position in start..end {
        let row = batch.push(sequence.tokens[position], position as u32, number as u32);
        batch.appends.push(Append { row, slot: sequence.table.slot(position) });
    }
    sequence.plan.logit = batch.logit_rows.len();
    if end == sequence.tokens.len() {
        batch.logit_rows.push((batch.rows() - 1) as u32);
    }
}

/// The draft's nodes, a row each however many branches it is in, and the sequence's lanes:
/// every row is in the first lane that passes through it.
fn write_draft(batch: &mut StepBatch, sequence: &Sequence, number: usize, lanes: &mut LaneRows) {
    let (plan, start) = (&sequence.plan, sequence.computed() + sequence.plan.tokens);
    let first = batch.rows();
    for node in &plan.draft.nodes {
        let row = batch.push(node.token, (start + node.depth) as u32, number as u32);
        batch.logit_rows.push(row);
    }
    let mut lane_start = lanes.rows.len();
    lanes.rows.extend(plan.row as u32..first as u32);
    let mut in_lane = vec![false; plan.draft.nodes.len()];
    for (number_of_branch, branch) in plan.branches.iter().enumerate() {
        let table = table(sequence, number_of_branch);
        if branch.table.is_some() {
            let row = (first - 1) as u32;
            batch.appends.push(Append { row, slot: table.slot(start - 1) });
        }
        for (depth, &node) in branch.nodes.iter().enumerate() {
            let row = (first + node) as u32;
            batch.appends.push(Append { row, slot: table.slot(start + depth) });
            if !std::mem::replace(&mut in_lane[node], true) {
                lanes.rows.push(row);
            }
        }
        lanes.lanes.push((number, number_of_branch, lane_start..lanes.rows.len()));
        lane_start = lanes.rows.len();
    }
    if plan.branches.is_empty() {
        lanes.lanes.push((number, 0, lane_start..lanes.rows.len()));
    }
}
