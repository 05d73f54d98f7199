//! Bounds of integer tensors.

use cascata_ir::graph::{Const, Def, Graph, ValueId};
use cascata_ir::op::{BinaryOp, Op, PadMode, UnaryOp};
use cascata_types::{DType, Encoding, Scalar};
use std::collections::HashMap;

/// The longest chain of ops that is looked through.
const MAX_DEPTH: usize = 32;

/// Numbers between two bounds, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    low: i128,
    high: i128,
}

impl Range {
    fn new(a: i128, b: i128) -> Self {
        Self { low: a.min(b), high: a.max(b) }
    }

    /// What an integer dtype or bool holds.
    fn of(dtype: DType) -> Option<Self> {
        let bits = dtype.size_bytes()? as u32 * 8;
        match dtype {
            DType::Bool => Some(Self::new(0, 1)),
            d if d.is_signed_int() => Some(Self::new(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
            d if d.is_unsigned_int() => Some(Self::new(0, (1 << bits) - 1)),
            _ => None,
        }
    }

    fn holds(self, other: Self) -> bool {
        self.low <= other.low && other.high <= self.high
    }

    fn union(self, other: Self) -> Self {
        Self::new(self.low.min(other.low), self.high.max(other.high))
    }
}

/// Bounds of a graph's values, from what computes them.
pub(crate) struct Ranges<'g> {
    graph: &'g Graph,
    known: HashMap<ValueId, Option<Range>>,
}

impl<'g> Ranges<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Self {
        Self { graph, known: HashMap::new() }
    }

    /// Whether every element of `v` is a number of an integer dtype.
    pub(crate) fn fits(&mut self, v: ValueId, dtype: DType) -> bool {
        let all = Range::of(dtype);
        matches!((all, self.of(v, MAX_DEPTH)), (Some(all), Some(range)) if all.holds(range))
    }

    /// The number whose sum with every element of `v` is a u8, and that is one itself.
    pub(crate) fn zero_of_bytes(&mut self, v: ValueId) -> Option<u8> {
        let range = self.of(v, MAX_DEPTH)?;
        let zero = u8::try_from(-range.low.min(0)).ok()?;
        (range.high + i128::from(zero) <= u8::MAX.into()).then_some(zero)
    }

    /// The largest absolute value that an element of an integer tensor may have.
    pub(crate) fn magnitude(&mut self, v: ValueId) -> Option<i128> {
        self.of(v, MAX_DEPTH).map(|r| r.low.abs().max(r.high.abs()))
    }

    fn of(&mut self, v: ValueId, depth: usize) -> Option<Range> {
        if let Some(range) = self.known.get(&v) {
            return *range;
        }
        let all = Range::of(self.graph.ty(v).as_tensor()?.dtype)?;
        // What leaves the dtype wraps, to anything.
        let found = depth.checked_sub(1).and_then(|depth| self.computed(v, depth));
        let range = Some(found.filter(|r| all.holds(*r)).unwrap_or(all));
        self.known.insert(v, range);
        range
    }

    fn computed(&mut self, v: ValueId, depth: usize) -> Option<Range> {
        let graph = self.graph;
        let Def::Node(id, _) = graph.values[v].def else { return None };
        let node = &graph.nodes[id];
        let mut of = |i: usize| self.of(node.inputs[i], depth);
        match &node.op {
            Op::Const(c) => elements(&graph.consts[*c]),
            Op::Fill { value, .. } => number(*value).map(|x| Range::new(x, x)),
            Op::Cast { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Broadcast { .. }
            | Op::Slice { .. }
            | Op::Gather { .. }
            | Op::GatherElements { .. }
            | Op::GatherNd { .. } => of(0),
            Op::Pad { mode: PadMode::Constant, .. } => Some(of(0)?.union(of(1)?)),
            Op::Pad { .. } => of(0),
            Op::Select => Some(of(1)?.union(of(2)?)),
            Op::Concat { .. } => {
                let mut ranges = (0..node.inputs.len()).map(of);
                let first = ranges.next()??;
                ranges.try_fold(first, |all, r| Some(all.union(r?)))
            }
            Op::Unary(UnaryOp::Neg) => of(0).map(|r| Range::new(-r.low, -r.high)),
            Op::Binary(op) => binary(*op, of(0)?, of(1)?),
            _ => None,
        }
    }
}

fn binary(op: BinaryOp, a: Range, b: Range) -> Option<Range> {
    Some(match op {
        BinaryOp::Add => Range::new(a.low + b.low, a.high + b.high),
        BinaryOp::Sub => Range::new(a.low - b.high, a.high - b.low),
        BinaryOp::Min => Range::new(a.low.min(b.low), a.high.min(b.high)),
        BinaryOp::Max => Range::new(a.low.max(b.low), a.high.max(b.high)),
        _ => return None,
    })
}

fn number(x: Scalar) -> Option<i128> {
    match x.dtype {
        DType::U64 => Some(x.bits.into()),
        d => Range::of(d).map(|_| x.to_i64().into()),
    }
}

/// The bounds of a constant's elements; none of an empty one.
fn elements(constant: &Const) -> Option<Range> {
    let (dtype, size) = (constant.ty.dtype, constant.ty.dtype.size_bytes()?);
    if constant.ty.encoding != Encoding::Dense {
        return None;
    }
    let each = constant.data.chunks_exact(size).map(|element| {
        let mut word = [0u8; 8];
        word[..size].copy_from_slice(element);
        number(Scalar { dtype, bits: u64::from_le_bytes(word) })
    });
    let range = |x: i128| Range::new(x, x);
    each.map(|x| x.map(range)).reduce(|a, b| Some(a?.union(b?)))?
}
