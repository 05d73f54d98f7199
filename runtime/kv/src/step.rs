//! One step of a model over flat tokens: no padding, any mixture of prompts and single tokens.

use crate::table::Slot;
use crate::work::WorkList;

/// Where the keys and values of a row go. A row that several branches of a draft share is
/// appended once for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append {
    /// The row.
    pub row: u32,
    /// Its place in the cache.
    pub slot: Slot,
}

/// The inputs of one step. Rows of one sequence ascend in position.
///
/// What the model owes: in each layer, the keys and values of all rows are stored at
/// `appends` *before* attention runs, so that a row sees itself and the rows before it;
/// a row's result depends on nothing but its own sequence's tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepBatch {
    /// Token ids, `[T]`.
    pub ids: Vec<u32>,
    /// Absolute positions, `[T]`.
    pub positions: Vec<u32>,
    /// Which sequence of this step each row belongs to, `[T]`.
    pub sequences: Vec<u32>,
    /// Places for keys and values, at least one for each row.
    pub appends: Vec<Append>,
    /// Rows whose logits are wanted, ascending.
    pub logit_rows: Vec<u32>,
    /// What attention reads.
    pub work: WorkList,
}

impl StepBatch {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Forgets all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.positions.clear();
        self.sequences.clear();
        self.appends.clear();
        self.logit_rows.clear();
        self.work.clear();
    }

    /// Adds a row and gives its number.
    pub fn push(&mut self, id: u32, position: u32, sequence: u32) -> u32 {
        self.ids.push(id);
        self.positions.push(position);
        self.sequences.push(sequence);
        (self.ids.len() - 1) as u32
    }
}
