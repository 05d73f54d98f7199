//! Functions of two elements.

use super::{max_f64, min_f64};
use crate::op::BinaryOp;

/// The function on floats; `None` where undefined or for comparisons.
pub(super) fn float(op: BinaryOp) -> Option<fn(f64, f64) -> f64> {
    Some(match op {
        BinaryOp::Add => |a, b| a + b,
        BinaryOp::Sub => |a, b| a - b,
        BinaryOp::Mul => |a, b| a * b,
        BinaryOp::Div => |a, b| a / b,
        BinaryOp::Mod => float_mod,
        BinaryOp::Rem => |a, b| a % b,
        BinaryOp::Pow => libm::pow,
        BinaryOp::Max => max_f64,
        BinaryOp::Min => min_f64,
        BinaryOp::Atan2 => libm::atan2,
        _ => return None,
    })
}

/// The function on integers of a width in bits, before wrapping.
pub(super) fn int(op: BinaryOp) -> Option<fn(u32, i128, i128) -> i128> {
    Some(match op {
        BinaryOp::Add => |_, a, b| a + b,
        BinaryOp::Sub => |_, a, b| a - b,
        BinaryOp::Mul => |_, a, b| a.wrapping_mul(b),
        BinaryOp::Div => |_, a, b| if b == 0 { 0 } else { a / b },
        BinaryOp::Mod => int_mod,
        BinaryOp::Rem => |_, a, b| if b == 0 { 0 } else { a % b },
        BinaryOp::Pow => |_, a, b| int_pow(a, b),
        BinaryOp::Max => |_, a, b| a.max(b),
        BinaryOp::Min => |_, a, b| a.min(b),
        BinaryOp::BitAnd => |_, a, b| a & b,
        BinaryOp::BitOr => |_, a, b| a | b,
        BinaryOp::BitXor => |_, a, b| a ^ b,
        BinaryOp::Shl => |bits, a, b| if in_width(b, bits) { a << b } else { 0 },
        BinaryOp::Shr => |bits, a, b| if in_width(b, bits) { unsigned(a, bits) >> b } else { 0 },
        _ => return None,
    })
}

/// The function on bools as 0 and 1.
pub(super) fn boolean(op: BinaryOp) -> Option<fn(u32, i128, i128) -> i128> {
    Some(match op {
        BinaryOp::And | BinaryOp::Min => |_, a, b| a & b,
        BinaryOp::Or | BinaryOp::Max => |_, a, b| a | b,
        BinaryOp::Xor => |_, a, b| a ^ b,
        _ => return None,
    })
}

/// A negative count is a large one.
fn in_width(count: i128, bits: u32) -> bool {
    (0..i128::from(bits)).contains(&count)
}

/// The low `bits` bits of `a`, zero-extended.
fn unsigned(a: i128, bits: u32) -> i128 {
    a & ((1i128 << bits) - 1)
}

fn int_mod(_: u32, a: i128, b: i128) -> i128 {
    if b == 0 {
        return 0;
    }
    let r = a % b;
    if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
}

/// NumPy's `mod`: the result has the sign of `b`, also when it is zero.
fn float_mod(a: f64, b: f64) -> f64 {
    let r = a % b;
    if r == 0.0 {
        return r.abs().copysign(b);
    }
    if (r < 0.0) != (b < 0.0) { r + b } else { r }
}

/// By squaring; wraps at 128 bits, hence at every narrower width.
fn int_pow(a: i128, b: i128) -> i128 {
    if b < 0 {
        return match a {
            1 => 1,
            -1 => 1 - 2 * (b & 1),
            _ => 0,
        };
    }
    let (mut base, mut exponent, mut product) = (a, b, 1i128);
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = product.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    product
}
