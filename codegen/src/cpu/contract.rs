//! Fused multiply-add: which sums of products become one operation.
//!
//! The choice looks at the expression alone, so that every place that computes it (vector
//! body, scalar tail, ahead of a loop) rounds alike.

use super::typing;
use cascata_ir::kernel::{Expr, Kernel};
use cascata_ir::op::BinaryOp;
use cascata_types::DType;

/// A product joined with a third value.
pub(super) struct Contraction<'e> {
    pub a: &'e Expr,
    pub b: &'e Expr,
    pub c: &'e Expr,
    pub form: Form,
}

/// How the product and the third value are joined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `a·b + c`.
    Add,
    /// `a·b − c`.
    SubtractValue,
    /// `c − a·b`.
    SubtractProduct,
}

/// The operands of `e`, where it is an f32 or f64 sum or difference with a product in it.
pub(super) fn contraction<'e>(kernel: &Kernel, e: &'e Expr) -> Option<Contraction<'e>> {
    let Expr::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), x, y) = e else { return None };
    if !matches!(typing::dtype(kernel, x)?, DType::F32 | DType::F64) {
        return None;
    }
    let (product, c, form) = match (op, product(x), product(y)) {
        (BinaryOp::Add, Some(p), _) => (p, y, Form::Add),
        (BinaryOp::Add, None, Some(p)) => (p, x, Form::Add),
        (_, Some(p), _) => (p, y, Form::SubtractValue),
        (_, None, Some(p)) => (p, x, Form::SubtractProduct),
        _ => return None,
    };
    Some(Contraction { a: product.0, b: product.1, c, form })
}

/// The factors of a product.
pub(super) fn product(e: &Expr) -> Option<(&Expr, &Expr)> {
    match e {
        Expr::Binary(BinaryOp::Mul, a, b) => Some((a, b)),
        _ => None,
    }
}
