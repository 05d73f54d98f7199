//! Reductions, searches and softmax.

use super::super::cx::{Cx, axes};
use super::super::emit::many;
use super::super::error::{R, malformed};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[
    ("ArgMax", One(|cx| arg_reduce(cx, true))),
    ("ArgMin", One(|cx| arg_reduce(cx, false))),
    ("CumProd", One(cum_prod)),
    ("CumSum", One(cum_sum)),
    ("Hardmax", One(hardmax)),
    ("LogSoftmax", One(|cx| along_softmax_axis(cx, log_softmax))),
    ("ReduceL1", One(|cx| reduce_of(cx, Some(UnaryOp::Abs), ReduceOp::Sum, None))),
    ("ReduceL2", One(reduce_l2)),
    ("ReduceLogSum", One(|cx| reduce_of(cx, None, ReduceOp::Sum, Some(UnaryOp::Log)))),
    ("ReduceLogSumExp", One(reduce_log_sum_exp)),
    ("ReduceMax", One(|cx| reduce_of(cx, None, ReduceOp::Max, None))),
    ("ReduceMean", One(|cx| reduce_of(cx, None, ReduceOp::Mean, None))),
    ("ReduceMin", One(|cx| reduce_of(cx, None, ReduceOp::Min, None))),
    ("ReduceProd", One(|cx| reduce_of(cx, None, ReduceOp::Prod, None))),
    ("ReduceSum", One(|cx| reduce_of(cx, None, ReduceOp::Sum, None))),
    ("ReduceSumSquare", One(reduce_sum_square)),
    (
        "Softmax",
        One(|cx| along_softmax_axis(cx, |cx, x, axis| cx.emit(Op::Softmax { axis }, &[x]))),
    ),
    ("TopK", Many(top_k)),
];

/// The reduced axes of a `Reduce*` node: an attribute at first, an input later.
fn reduced_axes(cx: &mut Cx<'_>, rank: usize) -> R<Vec<usize>> {
    let list = if cx.has(1) { cx.known_ints(1)? } else { cx.ints("axes")?.unwrap_or_default() };
    if !list.is_empty() {
        return axes(&list, rank);
    }
    Ok(if cx.flag("noop_with_empty_axes", false)? { vec![] } else { (0..rank).collect() })
}

/// `after(reduce(before(x)))`.
fn reduce_of(
    cx: &mut Cx<'_>,
    before: Option<UnaryOp>,
    op: ReduceOp,
    after: Option<UnaryOp>,
) -> R<ValueId> {
    let mut x = cx.input(0)?;
    let axes = reduced_axes(cx, cx.rank(x))?;
    let keep = cx.flag("keepdims", true)?;
    if let Some(op) = before {
        x = cx.unary(op, x)?;
    }
    let y = cx.reduce(op, x, &axes, keep)?;
    match after {
        Some(op) => cx.unary(op, y),
        None => Ok(y),
    }
}

fn reduce_sum_square(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let axes = reduced_axes(cx, cx.rank(x))?;
    let keep = cx.flag("keepdims", true)?;
    let square = cx.binary(BinaryOp::Mul, x, x)?;
    cx.reduce(ReduceOp::Sum, square, &axes, keep)
}

fn reduce_l2(cx: &mut Cx<'_>) -> R<ValueId> {
    let total = reduce_sum_square(cx)?;
    let dtype = cx.dtype(total);
    if dtype.is_float() {
        return cx.unary(UnaryOp::Sqrt, total);
    }
    let wide = cx.cast(total, DType::F64)?;
    let root = cx.unary(UnaryOp::Sqrt, wide)?;
    cx.cast(root, dtype)
}

/// `m + ln Σ e^(x − m)` with the maximum `m`; an infinite one is not subtracted, so that
/// rows of −∞ give −∞ rather than NaN.
fn reduce_log_sum_exp(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let axes = reduced_axes(cx, cx.rank(x))?;
    let keep = cx.flag("keepdims", true)?;
    let dtype = cx.dtype(x);
    let x = if dtype.is_float() { x } else { cx.cast(x, DType::F64)? };
    let largest = cx.reduce(ReduceOp::Max, x, &axes, true)?;
    let infinite = cx.unary(UnaryOp::IsInf, largest)?;
    let zero = cx.number_like(x, 0.0)?;
    let shift = cx.select(infinite, zero, largest)?;
    let e = cx.binary(BinaryOp::Sub, x, shift)?;
    let e = cx.unary(UnaryOp::Exp, e)?;
    let total = cx.reduce(ReduceOp::Sum, e, &axes, true)?;
    let log = cx.unary(UnaryOp::Log, total)?;
    let mut y = cx.binary(BinaryOp::Add, log, shift)?;
    if !keep {
        y = cx.squeeze(y, &axes)?;
    }
    cx.cast(y, dtype)
}

fn arg_reduce(cx: &mut Cx<'_>, max: bool) -> R<ValueId> {
    let x = cx.input(0)?;
    let axis = cx.axis("axis", 0, cx.rank(x))?;
    let keep_dims = cx.flag("keepdims", true)?;
    let select_last = cx.flag("select_last_index", false)?;
    cx.emit(Op::ArgReduce { max, axis, keep_dims, select_last }, &[x])
}

fn cum_sum(cx: &mut Cx<'_>) -> R<ValueId> {
    let axis = cx.known_int(1)?;
    let x = cx.input(0)?;
    let axis = super::super::cx::axis(axis, cx.rank(x))?;
    let (exclusive, reverse) = (cx.flag("exclusive", false)?, cx.flag("reverse", false)?);
    cx.emit(Op::CumSum { axis, exclusive, reverse }, &[x])
}

/// Element `i` is the product of those that come no later (`≤`, exclusive `<`): all pairs
/// `[…, i, …, j]` with 1 for the others, reduced over `j`.
fn cum_prod(cx: &mut Cx<'_>) -> R<ValueId> {
    let axis = cx.known_int(1)?;
    let x = cx.input(0)?;
    let axis = super::super::cx::axis(axis, cx.rank(x))?;
    let rank = cx.rank(x);
    let size = cx.shape(x)[axis].clone();
    let (exclusive, reverse) = (cx.flag("exclusive", false)?, cx.flag("reverse", false)?);
    let perm: Vec<usize> = (0..rank).filter(|a| *a != axis).chain([axis]).collect();
    let last = cx.transpose(x, perm.clone())?;
    let pairs = cx.unsqueeze(last, &[rank - 1])?;
    let i = cx.iota(DType::I64, vec![size.clone(), 1.into()], 0)?;
    let j = cx.iota(DType::I64, vec![1.into(), size], 1)?;
    let counts = match (reverse, exclusive) {
        (false, false) => BinaryOp::Le,
        (false, true) => BinaryOp::Lt,
        (true, false) => BinaryOp::Ge,
        (true, true) => BinaryOp::Gt,
    };
    let counts = cx.binary(counts, j, i)?;
    let one = cx.number_like(x, 1.0)?;
    let factors = cx.select(counts, pairs, one)?;
    let y = cx.reduce(ReduceOp::Prod, factors, &[rank], false)?;
    let mut back = vec![0; rank];
    for (to, from) in perm.into_iter().enumerate() {
        back[from] = to;
    }
    cx.transpose(y, back)
}

fn top_k(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let k = if cx.version < 10 {
        Dim::from(cx.int("k", -1)?)
    } else {
        let ks = cx.raw_dims(1)?;
        match ks.as_slice() {
            [k] => k.clone(),
            _ => return malformed!("k must have one element, not {}", ks.len()),
        }
    };
    let x = cx.input(0)?;
    let axis = cx.axis("axis", -1, cx.rank(x))?;
    let (largest, sorted) = (cx.flag("largest", true)?, cx.flag("sorted", true)?);
    many(cx.emit_all(Op::TopK { k, axis, largest, sorted }, &[x])?)
}

/// Before opset 13 the axis split the shape in two parts, and softmax ran over all of the second.
fn along_softmax_axis(
    cx: &mut Cx<'_>,
    f: impl Fn(&mut Cx<'_>, ValueId, usize) -> R<ValueId>,
) -> R<ValueId> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    if cx.version >= 13 {
        let axis = cx.axis("axis", -1, rank)?;
        return f(cx, x, axis);
    }
    let axis = cx.axis("axis", 1, rank.max(2))?;
    if axis + 1 == rank {
        return f(cx, x, axis);
    }
    let shape = cx.shape(x);
    let product = |dims: &[Dim]| dims.iter().cloned().fold(Dim::from(1), |n, d| n * d);
    let axis = axis.min(rank);
    let flat = cx.reshape(x, vec![product(&shape[..axis]), product(&shape[axis..])])?;
    let y = f(cx, flat, 1)?;
    cx.reshape(y, shape)
}

/// `x − m − ln Σ e^(x − m)`.
pub fn log_softmax(cx: &mut Cx<'_>, x: ValueId, axis: usize) -> R<ValueId> {
    let largest = cx.reduce(ReduceOp::Max, x, &[axis], true)?;
    let shifted = cx.binary(BinaryOp::Sub, x, largest)?;
    let e = cx.unary(UnaryOp::Exp, shifted)?;
    let total = cx.reduce(ReduceOp::Sum, e, &[axis], true)?;
    let log = cx.unary(UnaryOp::Log, total)?;
    cx.binary(BinaryOp::Sub, shifted, log)
}

/// 1 at the first largest element, else 0.
fn hardmax(cx: &mut Cx<'_>) -> R<ValueId> {
    along_softmax_axis(cx, |cx, x, axis| {
        let op = Op::ArgReduce { max: true, axis, keep_dims: true, select_last: false };
        let at = cx.emit(op, &[x])?;
        let shape = cx.shape(x);
        let index = cx.iota(DType::I64, shape, axis)?;
        let hit = cx.binary(BinaryOp::Eq, index, at)?;
        let dtype = cx.dtype(x);
        cx.cast(hit, dtype)
    })
}
