//! The e-graph's language: an interned op (or a leaf, or a projection) with children.

use cascata_ir::op::{Op, ReduceOp};
use egg::Id;
use std::collections::HashMap;

/// An interned [`Op`], leaf number or result index; see [`Kind`].
pub type Payload = u32;

/// Which rule application created an e-node; 0 is the source graph.
pub type Origin = u32;

/// The origin of the nodes that the source graph had.
pub const SOURCE: Origin = 0;

/// What an e-node is; the name by which patterns and egg's index find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A value from outside of the slice; the payload is its number.
    Leaf,
    /// One result of an op with several; the payload is its index.
    Project,
    /// An op; the payload is its number in the [`OpTable`].
    Op(&'static str),
}

/// One e-node. `origin` says where it came from and takes no part in equality.
#[derive(Clone, Debug)]
pub struct ENode {
    /// What it is.
    pub kind: Kind,
    /// Which one of its kind.
    pub payload: Payload,
    /// Operands.
    pub children: Vec<Id>,
    /// The rule application that made it.
    pub origin: Origin,
}

impl ENode {
    fn key(&self) -> (Kind, Payload, &[Id]) {
        (self.kind, self.payload, &self.children)
    }
}

impl PartialEq for ENode {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ENode {}

impl PartialOrd for ENode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ENode {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl std::hash::Hash for ENode {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl egg::Language for ENode {
    type Discriminant = Kind;

    fn discriminant(&self) -> Kind {
        self.kind
    }

    fn matches(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.payload == other.payload
            && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// The name by which patterns call an op: the printed name, with the reduction spelled out.
pub fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Reduce { op: ReduceOp::Sum, .. } => "reduce_sum",
        Op::Reduce { op: ReduceOp::Mean, .. } => "reduce_mean",
        Op::Reduce { op: ReduceOp::Max, .. } => "reduce_max",
        Op::Reduce { op: ReduceOp::Min, .. } => "reduce_min",
        Op::Reduce { op: ReduceOp::Prod, .. } => "reduce_prod",
        op => op.name(),
    }
}

/// Interned ops; numbers follow the order of first use, so that they are deterministic.
#[derive(Debug, Default)]
pub struct OpTable {
    ops: Vec<Op>,
    numbers: HashMap<Op, Payload>,
}

impl OpTable {
    /// The number of an op.
    pub fn intern(&mut self, op: &Op) -> Payload {
        if let Some(&n) = self.numbers.get(op) {
            return n;
        }
        let n = self.ops.len() as Payload;
        self.ops.push(op.clone());
        self.numbers.insert(op.clone(), n);
        n
    }

    /// The op behind a number.
    pub fn get(&self, number: Payload) -> &Op {
        &self.ops[number as usize]
    }
}
