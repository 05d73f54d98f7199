//! Data movement that moves nothing, or that two steps do in one.

use super::{Change, Rewriter};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{Op, ReduceOp, SliceRange};
use cascata_types::{Dim, Shape, TensorType};

/// A reshape to the same shape; a reshape of a reshape.
pub(super) fn reshape(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Reshape { shape } = op else { return None };
    if r.ty(inputs[0]).shape == *shape {
        return r.value(inputs[0], ty);
    }
    let inner = r.def(inputs[0])?;
    let x = inner.inputs.first().copied();
    match inner.op {
        Op::Reshape { .. } => r.node(op.clone(), vec![x?], ty),
        _ => None,
    }
}

/// The identity permutation; two permutations in one; one that moves dims of 1 only.
pub(super) fn transpose(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Transpose { perm } = op else { return None };
    if perm.iter().copied().eq(0..perm.len()) {
        return r.value(inputs[0], ty);
    }
    let inner = r.def(inputs[0])?;
    let Op::Transpose { perm: first } = &inner.op else { return None };
    let composed = perm.iter().map(|&p| first[p]).collect();
    r.node(Op::Transpose { perm: composed }, vec![inner.inputs[0]], ty)
}

/// A broadcast to the same shape, or of a broadcast.
pub(super) fn broadcast(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Broadcast { shape } = op else { return None };
    if r.ty(inputs[0]).shape == *shape {
        return r.value(inputs[0], ty);
    }
    let inner = r.def(inputs[0])?;
    let x = inner.inputs.first().copied();
    match inner.op {
        Op::Broadcast { .. } => r.node(op.clone(), vec![x?], ty),
        _ => None,
    }
}

/// An element-wise op or matmul broadcasts its operands itself.
pub(super) fn broadcast_operand(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    if !matches!(op, Op::Binary(_) | Op::Select | Op::MatMul | Op::Broadcast { .. }) {
        return None;
    }
    for (i, &v) in inputs.iter().enumerate() {
        let Some(inner) = r.def(v) else { continue };
        if let Op::Broadcast { .. } = inner.op {
            let mut direct = inputs.to_vec();
            direct[i] = inner.inputs[0];
            if let Some(change) = r.node(op.clone(), direct, ty) {
                return Some(change);
            }
        }
    }
    None
}

/// A slice of everything; a slice of a slice.
pub(super) fn slice(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Slice { ranges } = op else { return None };
    let x = r.ty(inputs[0]);
    let whole = |s: &SliceRange| s.start.is(0) && s.step == 1 && s.len == x.shape[s.axis];
    if ranges.iter().all(whole) {
        return r.value(inputs[0], ty);
    }
    if ranges.iter().any(whole) {
        let ranges = ranges.iter().filter(|s| !whole(s)).cloned().collect();
        return r.node(Op::Slice { ranges }, inputs.to_vec(), ty);
    }
    let inner = r.def(inputs[0])?;
    let Op::Slice { ranges: first } = &inner.op else { return None };
    let ranges = compose(first, ranges);
    r.node(Op::Slice { ranges }, vec![inner.inputs[0]], ty)
}

/// The slice that takes `first` and then `second`.
fn compose(first: &[SliceRange], second: &[SliceRange]) -> Vec<SliceRange> {
    let mut out = first.to_vec();
    for s in second {
        match out.iter_mut().find(|f| f.axis == s.axis) {
            Some(f) => {
                f.start = f.start.clone() + s.start.clone() * f.step;
                f.step *= s.step;
                f.len = s.len.clone();
            }
            None => out.push(s.clone()),
        }
    }
    out.sort_by_key(|s| s.axis);
    out
}

/// Padding by nothing.
pub(super) fn pad(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Pad { pads, .. } = op else { return None };
    let nothing = pads.iter().all(|(a, b)| a.is(0) && b.is(0));
    nothing.then(|| r.value(inputs[0], ty))?
}

/// A concatenation of one, or of copies along an axis of 1; empty operands.
pub(super) fn concat(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Concat { axis } = op else { return None };
    if let [x] = inputs {
        return r.value(*x, ty);
    }
    if r.ty(inputs[0]).shape[*axis].is(1) && inputs.iter().all(|v| *v == inputs[0]) {
        return r.node(Op::Broadcast { shape: ty.shape.clone() }, vec![inputs[0]], ty);
    }
    let empty = |v: &ValueId| r.ty(*v).shape[*axis].is(0);
    let full: Vec<ValueId> = inputs.iter().copied().filter(|v| !empty(v)).collect();
    if full.len() == inputs.len() || full.is_empty() {
        return None;
    }
    r.node(op.clone(), full, ty)
}

/// A gather of one known row is a slice, which needs no index at run time.
pub(super) fn gather_one(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Gather { axis } = op else { return None };
    let index = r.uniform(inputs[1])? as i64;
    let length = r.ty(inputs[0]).shape[*axis].clone();
    let one = r.ty(inputs[1]).elements().is(1);
    let inside = index < length.bounds(&r.graph.symbols).0;
    if !one || index < 0 || !inside {
        return None;
    }
    let range = SliceRange { axis: *axis, start: index.into(), len: 1.into(), step: 1 };
    let row = r.emit(Op::Slice { ranges: vec![range] }, vec![inputs[0]], "")?;
    r.node(Op::Reshape { shape: ty.shape.clone() }, vec![row], ty)
}

/// A reduction over axes of 1 only; they are left out of others.
pub(super) fn reduce(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Reduce { op: kind, axes, keep_dims } = op else { return None };
    let shape = &r.ty(inputs[0]).shape;
    let real: Vec<usize> = axes.iter().copied().filter(|&a| !shape[a].is(1)).collect();
    if real.is_empty() {
        return r.node(Op::Reshape { shape: ty.shape.clone() }, inputs.to_vec(), ty);
    }
    if real.len() == axes.len() || !keep_dims {
        return None;
    }
    r.node(Op::Reduce { op: *kind, axes: real, keep_dims: true }, inputs.to_vec(), ty)
}

/// A reduction followed by a reshape that puts the axes back keeps them instead.
pub(super) fn reshape_of_reduce(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Reshape { shape } = op else { return None };
    let inner = r.def(inputs[0])?;
    let Op::Reduce { op: kind, axes, keep_dims: false } = &inner.op else { return None };
    let x = inner.inputs[0];
    if *shape != kept(&r.ty(x).shape, axes) {
        return None;
    }
    let (kind, axes): (ReduceOp, Vec<usize>) = (*kind, axes.clone());
    r.node(Op::Reduce { op: kind, axes, keep_dims: true }, vec![x], ty)
}

/// The shape of a reduction that keeps its axes.
fn kept(shape: &[Dim], axes: &[usize]) -> Shape {
    let dim = |(i, d): (usize, &Dim)| if axes.contains(&i) { 1.into() } else { d.clone() };
    shape.iter().enumerate().map(dim).collect()
}
