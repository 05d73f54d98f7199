//! Values that are integers times a scale, through what moves elements in between.

use crate::narrow_integers::range::Ranges;
use cascata_ir::graph::{Def, Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{BinaryOp, Op, PadMode};
use cascata_types::{DType, Dim, Scalar, Shape};

/// The most ops between a contraction and the dequantisation of its factor.
const MAX_MOVES: usize = 8;

/// What 8 bits minus 8 bits leave.
const LARGEST: i128 = 255;

/// `moves(cast_f32(integers) · scale)`.
pub(super) struct Dequantised {
    /// Of an integer dtype.
    pub(super) integers: ValueId,
    /// `None` for 1.
    pub(super) scale: Option<Scale>,
    /// Ops on element positions, the last one first.
    moves: Vec<NodeId>,
}

/// A scale of f32.
pub(super) struct Scale {
    pub(super) value: ValueId,
    /// The axis of the moved tensor that it varies along; one number if `None`.
    pub(super) axis: Option<usize>,
}

impl Dequantised {
    /// What an f32 value is made of, if it is a dequantised integer.
    pub(super) fn of(graph: &Graph, v: ValueId) -> Option<Self> {
        let (mut v, mut moves) = (v, vec![]);
        while let Def::Node(id, _) = graph.values[v].def {
            if !moves_zeros_to_zeros(graph, id) || moves.len() == MAX_MOVES {
                break;
            }
            moves.push(id);
            v = graph.nodes[id].inputs[0];
        }
        let (integers, mut scale) = scaled(graph, v)?;
        for id in moves.iter().rev() {
            if let Some(Scale { axis: Some(axis), .. }) = &mut scale {
                *axis = moved_axis(graph, *id, *axis)?;
            }
        }
        Some(Self { integers, scale, moves })
    }

    pub(super) fn axis(&self) -> Option<usize> {
        self.scale.as_ref()?.axis
    }

    /// A bound of the integers' absolute values; `None` where 8 bits do not give them.
    pub(super) fn magnitude(&self, graph: &Graph) -> Option<i128> {
        Ranges::new(graph).magnitude(self.integers).filter(|m| *m <= LARGEST)
    }

    /// The integers in i32, moved as the floats were.
    pub(super) fn emit_integers(
        &self,
        graph: &mut Graph,
        region: RegionId,
        source: &str,
    ) -> Result<ValueId, InferError> {
        let to = DType::I32;
        let mut v = self.integers;
        if graph.tensor(v).dtype != to {
            v = graph.add1(region, Op::Cast { to }, vec![v], source)?;
        }
        for id in self.moves.iter().rev() {
            let op = graph.nodes[*id].op.clone();
            let mut operands = vec![v];
            if matches!(op, Op::Pad { .. }) {
                let zero = Op::Fill { value: Scalar::from_i64(to, 0), shape: vec![] };
                operands.push(graph.add1(region, zero, vec![], source)?);
            }
            v = graph.add1(region, op, operands, source)?;
        }
        Ok(v)
    }
}

/// Whether a node only moves elements of its first operand, or adds zeros.
fn moves_zeros_to_zeros(graph: &Graph, id: NodeId) -> bool {
    let node = &graph.nodes[id];
    match &node.op {
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Broadcast { .. } | Op::Slice { .. } => true,
        Op::Pad { mode: PadMode::Constant, .. } => graph
            .def_node(node.inputs[1])
            .is_some_and(|n| matches!(n.op, Op::Fill { value, .. } if value.to_f64() == 0.0)),
        Op::Pad { .. } => true,
        _ => false,
    }
}

/// Where an axis of the operand is in the result of what moves it whole.
fn moved_axis(graph: &Graph, id: NodeId, axis: usize) -> Option<usize> {
    let node = &graph.nodes[id];
    let shapes = [node.inputs[0], node.outputs[0]].map(|v| &graph.tensor(v).shape);
    match &node.op {
        Op::Transpose { perm } => perm.iter().position(|p| *p == axis),
        Op::Broadcast { .. } => {
            let to = axis + shapes[1].len() - shapes[0].len();
            (shapes[1][to] == shapes[0][axis]).then_some(to)
        }
        Op::Slice { ranges } => ranges.iter().all(|r| r.axis != axis).then_some(axis),
        Op::Pad { pads, .. } => (pads[axis].0.is(0) && pads[axis].1.is(0)).then_some(axis),
        Op::Reshape { .. } => {
            let before = |shape: &Shape, axis: usize| {
                shape[..axis].iter().fold(Dim::from(1), |n, d| n * d.clone())
            };
            let same = |to: &usize| {
                shapes[1][*to] == shapes[0][axis]
                    && before(shapes[1], *to) == before(shapes[0], axis)
            };
            (0..shapes[1].len()).find(same)
        }
        _ => None,
    }
}

/// `cast_f32(integers)`, times a scale.
fn scaled(graph: &Graph, v: ValueId) -> Option<(ValueId, Option<Scale>)> {
    if let Some(integers) = cast_integers(graph, v) {
        return Some((integers, None));
    }
    let node = graph.def_node(v)?;
    if node.op != Op::Binary(BinaryOp::Mul) {
        return None;
    }
    let [a, b] = node.inputs[..] else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(x, scale)| {
        let integers = cast_integers(graph, x)?;
        let shape = &graph.tensor(integers).shape;
        let whole = graph.tensor(v).shape == *shape;
        let axis = varies_along(&graph.tensor(scale).shape, shape)?;
        whole.then_some((integers, Some(Scale { value: scale, axis })))
    })
}

/// The integers that a value is, in f32.
fn cast_integers(graph: &Graph, v: ValueId) -> Option<ValueId> {
    let node = graph.def_node(v)?;
    let [x] = node.inputs[..] else { return None };
    let integers = graph.ty(x).as_tensor()?.dtype.is_int();
    (integers && node.op == Op::Cast { to: DType::F32 }).then_some(x)
}

/// The one axis of `shape` that a scale varies along, `Some(None)` for a scale of one
/// element; `None` if there are several.
fn varies_along(scale: &Shape, shape: &Shape) -> Option<Option<usize>> {
    let lead = shape.len().checked_sub(scale.len())?;
    let mut axes = (0..scale.len()).filter(|i| !scale[*i].is(1));
    match (axes.next(), axes.next()) {
        (None, _) => Some(None),
        (Some(i), None) if scale[i] == shape[lead + i] => Some(Some(lead + i)),
        _ => None,
    }
}
