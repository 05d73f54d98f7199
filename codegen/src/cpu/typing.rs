//! Dtypes of expressions, and which op is defined for which dtype.

use cascata_ir::kernel::{Expr, Kernel};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_types::DType;

/// The dtype of an expression; `None` where it names what the kernel does not have.
pub(super) fn dtype(kernel: &Kernel, e: &Expr) -> Option<DType> {
    Some(match e {
        Expr::Const(x) => x.dtype,
        Expr::Index(_) => DType::I64,
        Expr::Local(l) => kernel.locals.get(*l)?.dtype,
        Expr::Load(p) => kernel.buffers.get(p.buffer)?.dtype,
        Expr::Unary(op, x) => op.result(dtype(kernel, x)?),
        Expr::Binary(op, a, _) => op.result(dtype(kernel, a)?),
        Expr::Select(_, a, _) => dtype(kernel, a)?,
        Expr::Cast(to, _) | Expr::Bits(to, _) => *to,
    })
}

/// Whether `op` has a meaning on `dtype`.
pub(super) fn unary_is_defined(op: UnaryOp, dtype: DType) -> bool {
    use UnaryOp::*;
    match op {
        Not => dtype == DType::Bool,
        BitNot => dtype.is_int(),
        Neg | Abs | Sign | Relu => dtype.is_int() || dtype.is_float(),
        _ => dtype.is_float(),
    }
}

/// Whether `op` has a meaning on `dtype`.
pub(super) fn binary_is_defined(op: BinaryOp, dtype: DType) -> bool {
    use BinaryOp::*;
    match op {
        And | Or | Xor => dtype == DType::Bool,
        BitAnd | BitOr | BitXor | Shl | Shr => dtype.is_int(),
        Max | Min | Eq | Ne | Lt | Le | Gt | Ge => dtype != DType::Str,
        Add | Sub | Mul | Div | Mod | Rem | Pow => dtype.is_int() || dtype.is_float(),
        Atan2 => dtype.is_float(),
    }
}
