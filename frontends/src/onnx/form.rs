//! What a value of a model is made of: a tensor, a sequence of tensors, or nothing.
//!
//! The graph has tensors only. A sequence whose length is known is its elements, an optional
//! is what it holds; where values cross the border of a body they are taken apart and put
//! together again.

use super::error::{R, Refusal, unsupported};
use super::importer::Importer;
use super::scope::Slot;
use cascata_ir::graph::ValueId;

/// Most elements of a sequence.
pub const MAX_LENGTH: usize = 4096;

/// Elements of sequences that count as much as a node against the limit of an import.
const ELEMENTS_PER_NODE: usize = 16;

/// How many tensors a value is, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One tensor.
    Tensor,
    /// A sequence of so many.
    List(usize),
    /// An optional that holds nothing.
    Absent,
}

impl Form {
    /// How many tensors it is.
    pub fn tensors(self) -> usize {
        match self {
            Form::Tensor => 1,
            Form::List(n) => n,
            Form::Absent => 0,
        }
    }

    /// In words, for messages.
    pub fn words(self) -> String {
        match self {
            Form::Tensor => "a tensor".into(),
            Form::List(n) => format!("a sequence of {n}"),
            Form::Absent => "an empty optional".into(),
        }
    }
}

impl Importer {
    /// The form of a slot.
    pub fn form(&self, slot: Slot) -> Form {
        match slot {
            Slot::Absent => Form::Absent,
            slot => self.elements(slot).map_or(Form::Tensor, |e| Form::List(e.len())),
        }
    }

    /// The tensors that a slot is made of.
    pub fn tensors(&self, slot: Slot) -> Vec<Slot> {
        match (slot, self.elements(slot)) {
            (Slot::Absent, _) => vec![],
            (_, Some(elements)) => elements.to_vec(),
            (slot, None) => vec![slot],
        }
    }

    /// The tensors that a slot is made of, as values.
    ///
    /// # Errors
    /// One is no plain tensor: bytes of another element type do not say so on the other side
    /// of a border.
    pub fn values(&mut self, slot: Slot) -> R<Vec<ValueId>> {
        let mut values = Vec::new();
        for tensor in self.tensors(slot) {
            let value = self.value(tensor)?;
            self.slot_type(Slot::Value(value))?;
            if let Some(narrow) = self.narrow.get(&tensor) {
                return unsupported!("a body that is given or gives {}", narrow.name());
            }
            values.push(value);
        }
        Ok(values)
    }

    /// A slot of a form, of the next of some tensors.
    ///
    /// # Errors
    /// As [`Importer::list`].
    pub fn formed(&mut self, form: Form, tensors: &mut impl Iterator<Item = Slot>) -> R<Slot> {
        match form {
            Form::Absent => Ok(Slot::Absent),
            Form::Tensor => tensors.next().ok_or(Refusal::Poisoned),
            Form::List(n) => {
                let elements = tensors.take(n).collect();
                self.list(elements)
            }
        }
    }
}

/// What an element list costs against the limit of an import.
///
/// # Errors
/// There are too many.
pub fn list_cost(elements: usize) -> R<usize> {
    match elements {
        ..=MAX_LENGTH => Ok(elements / ELEMENTS_PER_NODE),
        n => unsupported!("a sequence of {n}; at most {MAX_LENGTH} elements are supported"),
    }
}
