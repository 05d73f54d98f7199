//! Element-wise simplifications that are exact bit for bit.

use super::{Change, Rewriter};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_types::{DType, Scalar, TensorType};

/// A cast to the same dtype; a cast of a cast whose first step loses nothing.
pub(super) fn cast(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Cast { to } = op else { return None };
    let from = r.ty(inputs[0]).dtype;
    if from == *to {
        return r.value(inputs[0], ty);
    }
    let inner = r.def(inputs[0])?;
    let Op::Cast { to: middle } = inner.op else { return None };
    let x = inner.inputs[0];
    let from = r.ty(x).dtype;
    // From the float in between, what is out of range would saturate; from an integer it wraps.
    let saturates = from.is_int() && middle.is_float() && to.is_int();
    if widens(from, middle) && (!saturates || widens(from, *to)) {
        return r.node(Op::Cast { to: *to }, vec![x], ty);
    }
    None
}

/// Whether every value of `from` is a value of `to`.
fn widens(from: DType, to: DType) -> bool {
    let bits = |d: DType| 8 * d.size_bytes().unwrap_or(0) as u32;
    let mantissa = |d: DType| match d {
        DType::F64 => 53,
        DType::F32 => 24,
        DType::F16 => 11,
        DType::BF16 => 8,
        _ => 0,
    };
    match (from, to) {
        (a, b) if a == b => true,
        // Casting to bool asks for `!= 0`, from which no value can be told again.
        (_, DType::Bool | DType::Str) | (DType::Str, _) => false,
        (DType::Bool, _) => true,
        (a, b) if a.is_float() && b.is_float() => bits(a) < bits(b),
        (a, b) if a.is_float() || !b.is_float() && !b.is_int() => false,
        (a, b) if b.is_float() => bits(a) - u32::from(a.is_signed_int()) <= mantissa(b),
        (a, b) if a.is_signed_int() && b.is_signed_int() => bits(a) < bits(b),
        (a, b) if a.is_unsigned_int() => bits(a) < bits(b),
        _ => false,
    }
}

/// x+0, x−0, x·1, x/1, x^1, max(x,−inf), min(x,inf), x∧true, x∨false.
pub(super) fn identity(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Binary(b) = op else { return None };
    let neutral = match b {
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Or => 0.0,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Pow | BinaryOp::And => 1.0,
        BinaryOp::Max => f64::NEG_INFINITY,
        BinaryOp::Min => f64::INFINITY,
        _ => return None,
    };
    if r.uniform(inputs[1]) == Some(neutral) {
        return r.value(inputs[0], ty);
    }
    if b.is_commutative() && r.uniform(inputs[0]) == Some(neutral) {
        return r.value(inputs[1], ty);
    }
    None
}

/// x² as x·x, which the interpreter's f64 `pow` also rounds once.
pub(super) fn power(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    if *op != Op::Binary(BinaryOp::Pow) || !ty.dtype.is_float() {
        return None;
    }
    match r.uniform(inputs[1])? {
        2.0 => r.node(Op::Binary(BinaryOp::Mul), vec![inputs[0], inputs[0]], ty),
        _ => None,
    }
}

/// −−x, ¬¬x, idempotent unary ops.
pub(super) fn involution(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    let Op::Unary(u) = op else { return None };
    let inner = r.def(inputs[0])?;
    if inner.op != *op {
        return None;
    }
    match u {
        UnaryOp::Neg | UnaryOp::Not | UnaryOp::BitNot => r.value(inner.inputs[0], ty),
        UnaryOp::Abs
        | UnaryOp::Relu
        | UnaryOp::Floor
        | UnaryOp::Ceil
        | UnaryOp::Round
        | UnaryOp::Trunc
        | UnaryOp::Sign => r.value(inputs[0], ty),
        _ => None,
    }
}

/// x / 2ᵏ as x · 2⁻ᵏ.
pub(super) fn divide_by_power_of_two(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    if *op != Op::Binary(BinaryOp::Div) || !ty.dtype.is_float() || ty.dtype == DType::F16 {
        return None;
    }
    let by = r.uniform(inputs[1])?;
    let shape = r.ty(inputs[1]).shape.clone();
    // Away from the ends of the exponent range both are exact.
    let exact = by.is_normal() && (by.to_bits() << 12) == 0 && (1e-30..1e30).contains(&by.abs());
    if !exact {
        return None;
    }
    let value = Scalar::from_f64(ty.dtype, 1.0 / by);
    let recip = r.emit(Op::Fill { value, shape }, vec![], "")?;
    r.node(Op::Binary(BinaryOp::Mul), vec![inputs[0], recip], ty)
}

/// A select on a known condition, or between equal values.
pub(super) fn select(
    r: &mut Rewriter,
    op: &Op,
    inputs: &[ValueId],
    ty: &TensorType,
) -> Option<Change> {
    if *op != Op::Select {
        return None;
    }
    if inputs[1] == inputs[2] {
        return r.value(inputs[1], ty);
    }
    let chosen = if r.uniform(inputs[0])? != 0.0 { inputs[1] } else { inputs[2] };
    r.value(chosen, ty)
}
