//! Determinants by elimination with the largest pivot of each column.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[("Det", One(det))];

/// Largest matrix: each column is a step that is written out.
const LARGEST: i64 = 64;

fn det(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let (dtype, shape) = (cx.dtype(x), cx.shape(x));
    let [lead @ .., rows, columns] = shape.as_slice() else {
        return malformed!("an operand of rank {}, must be 2 or more", shape.len());
    };
    let Some(n) = rows.as_const().filter(|n| (1..=LARGEST).contains(n) && columns.is(*n)) else {
        return unsupported!("matrices must be square with 1 to {LARGEST} rows, known");
    };
    let wide = if dtype == DType::F64 { dtype } else { DType::F32 };
    let batch = lead.iter().cloned().fold(Dim::from(1), |b, d| b * d);
    let x = cx.cast(x, wide)?;
    let mut rest = cx.reshape(x, vec![batch, n.into(), n.into()])?;
    let mut product = None;
    for size in (1..=n).rev() {
        let (pivot, smaller) = eliminate(cx, rest, size)?;
        product = Some(match product {
            Some(p) => cx.binary(BinaryOp::Mul, p, pivot)?,
            None => pivot,
        });
        rest = smaller;
    }
    let Some(product) = product else { return malformed!("a matrix without rows") };
    let y = cx.reshape(product, lead.to_vec())?;
    cx.cast(y, dtype)
}

/// The signed pivot `[B, 1, 1]` of the first column, and what is left of the other columns
/// below it.
fn eliminate(cx: &mut Cx<'_>, a: ValueId, n: i64) -> R<(ValueId, ValueId)> {
    let first = cx.slice_axis(a, 2, 0.into(), 1.into())?;
    if n == 1 {
        return Ok((first, a));
    }
    let size = cx.unary(UnaryOp::Abs, first)?;
    let op = Op::ArgReduce { max: true, axis: 1, keep_dims: true, select_last: false };
    let at = cx.emit(op, &[size])?;
    // The pivot's row changes places with the first one, which changes the sign.
    let row = cx.iota(DType::I64, vec![1.into(), n.into(), 1.into()], 1)?;
    let zero = cx.number(DType::I64, 0.0)?;
    let is_pivot = cx.binary(BinaryOp::Eq, row, at)?;
    let is_first = cx.with_number(BinaryOp::Eq, row, 0.0)?;
    let from = cx.select(is_pivot, zero, row)?;
    let from = cx.select(is_first, at, from)?;
    let shape = cx.shape(a);
    let index = cx.broadcast(from, shape)?;
    let a = cx.emit(Op::GatherElements { axis: 1 }, &[a, index])?;
    let top = cx.slice_axis(a, 1, 0.into(), 1.into())?;
    let pivot = cx.slice_axis(top, 2, 0.into(), 1.into())?;
    let below = cx.slice_axis(a, 1, 1.into(), (n - 1).into())?;
    let factor = cx.slice_axis(below, 2, 0.into(), 1.into())?;
    // A column of zeros makes the determinant 0; what is left must not become NaN.
    let none = cx.with_number(BinaryOp::Eq, pivot, 0.0)?;
    let one = cx.number_like(pivot, 1.0)?;
    let divisor = cx.select(none, one, pivot)?;
    let factor = cx.binary(BinaryOp::Div, factor, divisor)?;
    let others = cx.slice_axis(top, 2, 1.into(), (n - 1).into())?;
    let taken = cx.binary(BinaryOp::Mul, factor, others)?;
    let kept = cx.slice_axis(below, 2, 1.into(), (n - 1).into())?;
    let rest = cx.binary(BinaryOp::Sub, kept, taken)?;
    let stays = cx.with_number(BinaryOp::Eq, at, 0.0)?;
    let negative = cx.unary(UnaryOp::Neg, pivot)?;
    Ok((cx.select(stays, pivot, negative)?, rest))
}
