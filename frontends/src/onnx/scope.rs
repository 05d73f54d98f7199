//! From value names to what has been imported under them.

use super::facts::Facts;
use super::tensor::Tensor;
use cascata_ir::graph::{RegionId, ValueId};
use std::collections::HashMap;
use std::rc::Rc;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A value of the graph.
    Value(ValueId),
    /// Known at import; becomes a value when an op reads it as a tensor.
    Lazy(LazyId),
    /// A sequence; see [`super::importer::Importer::elements`].
    List(ListId),
    /// An optional that holds nothing.
    Absent,
    /// What the branches of an undecided `If` give with different dtypes or ranks; see
    /// [`super::importer::Importer::difference`].
    Differs(DifferenceId),
    /// The result of a node that was refused.
    Poison,
}

impl From<ValueId> for Slot {
    fn from(value: ValueId) -> Self {
        Slot::Value(value)
    }
}

/// Index of the words for a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DifferenceId(pub u32);

/// Index of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListId(pub u32);

/// Index of a [`Lazy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LazyId(pub u32);

/// Something known at import that is not in the graph yet.
#[derive(Clone, Debug)]
pub struct Lazy {
    /// What it is.
    pub content: Content,
    /// The source model's name.
    pub name: String,
    /// Where it is defined.
    pub region: RegionId,
    /// The value, once it has been read as a tensor.
    pub value: Option<ValueId>,
}

/// What a [`Lazy`] holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// A constant of the model, with facts when it is small.
    Weight(Tensor, Option<Rc<Facts>>),
    /// Complete facts.
    Known(Rc<Facts>),
}

impl Content {
    /// What is known about the elements.
    pub fn facts(&self) -> Option<Rc<Facts>> {
        match self {
            Content::Weight(_, facts) => facts.clone(),
            Content::Known(facts) => Some(facts.clone()),
        }
    }
}

/// The names of one graph body, function body or inlined branch.
#[derive(Debug, Default)]
pub struct Scope {
    names: HashMap<String, Slot>,
    /// A function body: names outside are not visible.
    closed: bool,
}

/// Nested scopes, innermost last.
#[derive(Debug, Default)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Enters a body; a `closed` one does not see outer names.
    pub fn push(&mut self, closed: bool) {
        self.0.push(Scope { names: HashMap::new(), closed });
    }

    /// Leaves a body.
    pub fn pop(&mut self) {
        self.0.pop();
    }

    /// What `name` stands for here.
    pub fn lookup(&self, name: &str) -> Option<Slot> {
        for scope in self.0.iter().rev() {
            if let Some(slot) = scope.names.get(name) {
                return Some(*slot);
            }
            if scope.closed {
                return None;
            }
        }
        None
    }

    /// Names a slot in the innermost scope.
    pub fn define(&mut self, name: &str, slot: Slot) {
        if let Some(scope) = self.0.last_mut() {
            scope.names.insert(name.to_string(), slot);
        }
    }
}
