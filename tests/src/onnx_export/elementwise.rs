//! Element-wise ops and the dtypes that the ONNX operators take.

use super::ops::{Operand, Written};
use super::writer::{Writer, dtype, int, string};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_types::DType;

/// Whether opset 23 lets the operator take the dtype: rows for those that take less than
/// every number. The Python side finds out what ONNX Runtime has kernels for.
fn takes(op: &str, d: DType) -> bool {
    let wide = matches!(d, DType::I32 | DType::U32 | DType::I64 | DType::U64) || d.is_float();
    let bytes = matches!(d, DType::I8 | DType::U8);
    match op {
        "Neg" | "Relu" => d.is_signed_int() || d.is_float(),
        "Abs" | "Sign" | "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Max" | "Min" | "ArgMax"
        | "ArgMin" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => d != DType::Bool,
        "Pow" => matches!(d, DType::I32 | DType::I64) || d.is_float(),
        "BitShift" => d.is_unsigned_int(),
        "Range" => matches!(d, DType::I16 | DType::I32 | DType::I64 | DType::F32 | DType::F64),
        "CumSum" | "ReduceSum" | "ReduceMean" | "ReduceProd" | "MatMul" => wide,
        "ReduceMax" | "ReduceMin" => wide || bytes || d == DType::Bool,
        "MaxPool" => d.is_float() || bytes,
        // The first stage is computed in f32, whatever the operand.
        "LayerNormalization" | "RMSNormalization" => d.is_float() && d != DType::F64,
        "Not" | "And" | "Or" | "Xor" => d == DType::Bool,
        "BitwiseNot" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" => d.is_int(),
        "Equal" | "Where" | "Concat" => true,
        _ => d.is_float(),
    }
}

/// Fails where the operator does not take the dtype.
pub(super) fn require(op: &str, d: DType) -> Result<(), String> {
    match takes(op, d) {
        true => Ok(()),
        false => Err(format!("{op} does not take {d}")),
    }
}

fn unary_name(op: UnaryOp) -> Option<&'static str> {
    use UnaryOp::*;
    Some(match op {
        Neg => "Neg",
        Abs => "Abs",
        Sign => "Sign",
        Floor => "Floor",
        Ceil => "Ceil",
        Round => "Round",
        Sqrt => "Sqrt",
        Recip => "Reciprocal",
        Exp => "Exp",
        Log => "Log",
        Sin => "Sin",
        Cos => "Cos",
        Tan => "Tan",
        Asin => "Asin",
        Acos => "Acos",
        Atan => "Atan",
        Sinh => "Sinh",
        Cosh => "Cosh",
        Tanh => "Tanh",
        Asinh => "Asinh",
        Acosh => "Acosh",
        Atanh => "Atanh",
        Erf => "Erf",
        Sigmoid => "Sigmoid",
        Relu => "Relu",
        HardSwish => "HardSwish",
        Softplus => "Softplus",
        Mish => "Mish",
        Not => "Not",
        BitNot => "BitwiseNot",
        IsNan => "IsNaN",
        IsInf => "IsInf",
        Trunc | Rsqrt | Silu | GeluErf | GeluTanh => return None,
    })
}

pub(super) fn unary(w: &mut Writer, op: UnaryOp, x: &Operand<'_>) -> Written {
    let d = x.tensor.dtype();
    if let Some(name) = unary_name(op) {
        require(name, d)?;
        return Ok(w.node(name, &[&x.name], vec![]));
    }
    require("Sqrt", d)?;
    match op {
        UnaryOp::Rsqrt => {
            let root = w.node("Sqrt", &[&x.name], vec![]);
            Ok(w.node("Reciprocal", &[root], vec![]))
        }
        UnaryOp::Silu => {
            let gate = w.node("Sigmoid", &[&x.name], vec![]);
            Ok(w.node("Mul", &[&x.name, &gate], vec![]))
        }
        UnaryOp::GeluErf => Ok(w.node("Gelu", &[&x.name], vec![string("approximate", "none")])),
        UnaryOp::GeluTanh => Ok(w.node("Gelu", &[&x.name], vec![string("approximate", "tanh")])),
        _ => Err("no operator".into()),
    }
}

fn binary_name(op: BinaryOp) -> Option<&'static str> {
    use BinaryOp::*;
    Some(match op {
        Add => "Add",
        Sub => "Sub",
        Mul => "Mul",
        Div => "Div",
        Mod | Rem => "Mod",
        Pow => "Pow",
        Max => "Max",
        Min => "Min",
        And => "And",
        Or => "Or",
        Xor => "Xor",
        BitAnd => "BitwiseAnd",
        BitOr => "BitwiseOr",
        BitXor => "BitwiseXor",
        Shl | Shr => "BitShift",
        Eq | Ne => "Equal",
        Lt => "Less",
        Le => "LessOrEqual",
        Gt => "Greater",
        Ge => "GreaterOrEqual",
        Atan2 => return None,
    })
}

pub(super) fn binary(w: &mut Writer, op: BinaryOp, a: &Operand<'_>, b: &Operand<'_>) -> Written {
    let name = binary_name(op).ok_or("no operator")?;
    let d = a.tensor.dtype();
    require(name, d)?;
    let attributes = match op {
        BinaryOp::Mod if d.is_float() => return Err("Mod of floats is C's fmod".into()),
        BinaryOp::Rem => vec![int("fmod", 1)],
        BinaryOp::Shl => vec![string("direction", "LEFT")],
        BinaryOp::Shr => vec![string("direction", "RIGHT")],
        _ => vec![],
    };
    let result = w.node(name, &[&a.name, &b.name], attributes);
    Ok(if op == BinaryOp::Ne { w.node("Not", &[result], vec![]) } else { result })
}

pub(super) fn cast(w: &mut Writer, x: &str, to: DType) -> String {
    w.node("Cast", &[x], vec![dtype("to", to)])
}
