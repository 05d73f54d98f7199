//! Functions of one element.

use crate::op::UnaryOp;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// The function on floats; `None` where undefined or where the result is bool.
pub(super) fn float(op: UnaryOp) -> Option<fn(f64) -> f64> {
    Some(match op {
        UnaryOp::Neg => |x| -x,
        UnaryOp::Abs => f64::abs,
        UnaryOp::Sign => sign,
        UnaryOp::Floor => f64::floor,
        UnaryOp::Ceil => f64::ceil,
        UnaryOp::Round => f64::round_ties_even,
        UnaryOp::Trunc => f64::trunc,
        UnaryOp::Sqrt => f64::sqrt,
        UnaryOp::Rsqrt => |x| 1.0 / x.sqrt(),
        UnaryOp::Recip => |x| 1.0 / x,
        UnaryOp::Exp => libm::exp,
        UnaryOp::Log => libm::log,
        UnaryOp::Sin => libm::sin,
        UnaryOp::Cos => libm::cos,
        UnaryOp::Tan => libm::tan,
        UnaryOp::Asin => libm::asin,
        UnaryOp::Acos => libm::acos,
        UnaryOp::Atan => libm::atan,
        UnaryOp::Sinh => libm::sinh,
        UnaryOp::Cosh => libm::cosh,
        UnaryOp::Tanh => libm::tanh,
        UnaryOp::Asinh => libm::asinh,
        UnaryOp::Acosh => libm::acosh,
        UnaryOp::Atanh => libm::atanh,
        UnaryOp::Erf => libm::erf,
        UnaryOp::Sigmoid => sigmoid,
        UnaryOp::Relu => |x| if x > 0.0 || x.is_nan() { x } else { 0.0 },
        UnaryOp::Silu => |x| x * sigmoid(x),
        // erfc keeps its relative precision where 1 + erf(x/√2) cancels.
        UnaryOp::GeluErf => |x| x * libm::erfc(-x * FRAC_1_SQRT_2) / 2.0,
        UnaryOp::GeluTanh => gelu_tanh,
        UnaryOp::HardSwish => |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        UnaryOp::Softplus => softplus,
        UnaryOp::Mish => |x| x * libm::tanh(softplus(x)),
        UnaryOp::Not | UnaryOp::BitNot | UnaryOp::IsNan | UnaryOp::IsInf => return None,
    })
}

/// The function on integers, before wrapping.
pub(super) fn int(op: UnaryOp) -> Option<fn(i128) -> i128> {
    Some(match op {
        UnaryOp::Neg => |x| -x,
        UnaryOp::Abs => i128::abs,
        UnaryOp::Sign => i128::signum,
        UnaryOp::Relu => |x| x.max(0),
        UnaryOp::BitNot => |x| !x,
        _ => return None,
    })
}

/// The function on bools as 0 and 1.
pub(super) fn boolean(op: UnaryOp) -> Option<fn(i128) -> i128> {
    match op {
        UnaryOp::Not => Some(|x| 1 - x),
        _ => None,
    }
}

fn sign(x: f64) -> f64 {
    if x.is_nan() { x } else { f64::from(i8::from(x > 0.0) - i8::from(x < 0.0)) }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / PI).sqrt() * (x + 0.044715 * x * x * x);
    x * (1.0 + libm::tanh(inner)) / 2.0
}

/// Written so that e^x does not overflow.
fn softplus(x: f64) -> f64 {
    if x > 0.0 { x + libm::log1p(libm::exp(-x)) } else { libm::log1p(libm::exp(x)) }
}
