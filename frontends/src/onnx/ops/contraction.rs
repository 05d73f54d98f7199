//! MatMul and Gemm.

use super::super::cx::Cx;
use super::super::error::{R, malformed};
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, ReduceOp};
use cascata_ir::types::DType;

pub const OPS: Table = &[("Gemm", One(gemm)), ("MatMul", One(matmul_node))];

fn matmul_node(cx: &mut Cx<'_>) -> R<ValueId> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    matmul(cx, a, b)
}

/// NumPy's `matmul`: vectors are rows on the left and columns on the right.
pub fn matmul(cx: &mut Cx<'_>, a: ValueId, b: ValueId) -> R<ValueId> {
    let (a_rank, b_rank) = (cx.rank(a), cx.rank(b));
    if a_rank == 0 || b_rank == 0 {
        return malformed!("an operand has rank 0");
    }
    let left = if a_rank == 1 { cx.unsqueeze(a, &[0])? } else { a };
    let right = if b_rank == 1 { cx.unsqueeze(b, &[1])? } else { b };
    let mut y = matrices(cx, left, right)?;
    let rank = cx.rank(y);
    if b_rank == 1 {
        y = cx.squeeze(y, &[rank - 1])?;
    }
    if a_rank == 1 {
        let rows = cx.rank(y) - if b_rank == 1 { 1 } else { 2 };
        y = cx.squeeze(y, &[rows])?;
    }
    Ok(y)
}

/// Matrices with leading dims; integers other than `i32` multiply and sum in their own dtype.
fn matrices(cx: &mut Cx<'_>, a: ValueId, b: ValueId) -> R<ValueId> {
    let dtype = cx.dtype(a);
    if dtype.is_float() || dtype == DType::I32 {
        return cx.emit(Op::MatMul, &[a, b]);
    }
    let rows = cx.rank(a);
    let left = cx.unsqueeze(a, &[rows])?;
    let right_at = cx.rank(b) - 2;
    let right = cx.unsqueeze(b, &[right_at])?;
    let products = cx.binary(BinaryOp::Mul, left, right)?;
    let k = cx.rank(products) - 2;
    cx.reduce(ReduceOp::Sum, products, &[k], false)
}

/// `alpha·A'·B' + beta·C`.
pub fn gemm(cx: &mut Cx<'_>) -> R<ValueId> {
    let (mut a, mut b) = (cx.input(0)?, cx.input(1)?);
    if cx.rank(a) != 2 || cx.rank(b) != 2 {
        return malformed!("A and B must have rank 2");
    }
    if cx.flag("transA", false)? {
        a = cx.transpose(a, vec![1, 0])?;
    }
    if cx.flag("transB", false)? {
        b = cx.transpose(b, vec![1, 0])?;
    }
    let (alpha, beta) = (cx.float("alpha", 1.0)?, cx.float("beta", 1.0)?);
    let mut y = matrices(cx, a, b)?;
    if alpha != 1.0 {
        y = cx.with_number(BinaryOp::Mul, y, alpha.into())?;
    }
    if let Some(mut c) = cx.optional(2)?
        && beta != 0.0
    {
        if beta != 1.0 {
            c = cx.with_number(BinaryOp::Mul, c, beta.into())?;
        }
        y = cx.binary(BinaryOp::Add, y, c)?;
    }
    Ok(y)
}
