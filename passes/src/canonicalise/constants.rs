//! One spelling for constants.

use super::{Change, Rewriter};
use crate::fold::uniform;
use bytes::Bytes;
use cascata_ir::graph::{Const, ConstId, Graph, ValueId};
use cascata_ir::op::Op;
use cascata_types::{DType, Encoding, Scalar, Shape, TensorType};
use std::collections::HashMap;

/// Above this many bytes, constants are compared by address rather than by contents.
const COMPARE_BYTES: usize = 1 << 16;

/// Uniform constants become `Fill`; constants with the same contents become one.
pub(super) fn normalise(graph: &mut Graph) -> usize {
    let mut changes = 0;
    let mut known: HashMap<(TensorType, Bytes), ConstId> = HashMap::new();
    let mut large: HashMap<(TensorType, usize, usize), ConstId> = HashMap::new();
    for region in crate::walk::regions(graph) {
        for node in graph.regions[region].nodes.clone() {
            let Op::Const(id) = graph.nodes[node].op else { continue };
            let constant = &graph.consts[id];
            if constant.ty.encoding != Encoding::Dense || constant.ty.dtype == DType::Str {
                continue;
            }
            if let Some(value) = uniform(&constant.ty, &constant.data) {
                graph.nodes[node].op = Op::Fill { value, shape: constant.ty.shape.clone() };
                changes += 1;
                continue;
            }
            let (ty, data) = (constant.ty.clone(), constant.data.clone());
            let first = if data.len() <= COMPARE_BYTES {
                *known.entry((ty, data)).or_insert(id)
            } else {
                *large.entry((ty, data.as_ptr() as usize, data.len())).or_insert(id)
            };
            graph.nodes[node].op = Op::Const(first);
        }
    }
    changes
}

/// A constant operand of an element-wise op sheds leading dims of 1 (a uniform one: all
/// its dims) when the result keeps its type.
pub(super) fn trim_rank(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    if !matches!(op, Op::Binary(_) | Op::Select) {
        return None;
    }
    for (i, &v) in inputs.iter().enumerate() {
        let Some(trimmed) = trimmed_shape(r, v) else { continue };
        let source = r.def(v).map(|n| n.source.clone()).unwrap_or_default();
        let mut operands = inputs.to_vec();
        let Some(small) = reshaped_constant(r, v, trimmed, &source) else { continue };
        operands[i] = small;
        if let Some(change) = r.node(op.clone(), operands, ty) {
            return Some(change);
        }
    }
    None
}

fn trimmed_shape(r: &Rewriter, value: ValueId) -> Option<Shape> {
    let shape = &r.ty(value).shape;
    match r.def(value)?.op {
        Op::Fill { .. } if !shape.is_empty() => Some(vec![]),
        Op::Const(_) if shape.first().is_some_and(|d| d.is(1)) => {
            Some(shape.iter().skip_while(|d| d.is(1)).cloned().collect())
        }
        _ => None,
    }
}

/// The same constant with another shape of as many elements (a `Fill`: any shape).
fn reshaped_constant(
    r: &mut Rewriter,
    value: ValueId,
    shape: Shape,
    source: &str,
) -> Option<ValueId> {
    let op = match r.def(value)?.op.clone() {
        Op::Fill { value, .. } => Op::Fill { value, shape },
        Op::Const(id) => {
            let mut constant = r.graph.consts[id].clone();
            constant.ty.shape = shape;
            Op::Const(r.graph.consts.push(constant))
        }
        _ => return None,
    };
    let new = r.emit(op, vec![], source)?;
    r.graph.values[new].name = r.graph.values[value].name.clone();
    Some(new)
}

/// Movement of a `Fill` is a `Fill`.
pub(super) fn move_fill(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let moves = matches!(
        op,
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Broadcast { .. } | Op::Slice { .. }
    );
    if !moves {
        return None;
    }
    let Op::Fill { value, .. } = r.def(inputs[0])?.op else { return None };
    r.node(Op::Fill { value, shape: ty.shape.clone() }, vec![], ty)
}

/// Dims that are numbers are a constant.
pub(super) fn dim_values(
    r: &mut Rewriter,
    op: &Op,
    _: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::DimValues { dims, .. } = op else { return None };
    let numbers: Vec<i64> = dims.iter().map(|d| d.as_const()).collect::<Option<_>>()?;
    let first = *numbers.first()?;
    if numbers.iter().all(|n| *n == first) {
        return r.node(Op::Fill { value: Scalar::i64(first), shape: ty.shape.clone() }, vec![], ty);
    }
    let data: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let constant = Const { name: String::new(), ty: ty.clone(), data: data.into() };
    let id = r.graph.consts.push(constant);
    Some(Change::Node(Op::Const(id), vec![]))
}
