//! What scalar functions mean, per dtype; shared by the tensor level and the kernel level.
//!
//! Floats of every width are computed in `f64` and rounded once, to nearest even.
//! Integers are computed exactly and wrapped to their width. Functions of `f64` come
//! from the `libm` crate, so that results are the same on every machine.
//!
//! What the op list leaves open is fixed here:
//! * `max`/`min` order −0 before +0, which makes them commutative bitwise;
//! * integer `pow` wraps; a negative exponent truncates the exact quotient
//!   (so only bases 1 and −1 give non-zero), and base 0 gives 0;
//! * `bool` has `not`, `and`, `or`, `xor` and the comparisons (false before true).

use crate::op::{BinaryOp, UnaryOp};
use crate::types::{DType, Scalar};
use std::cmp::Ordering;

mod binary;
mod num;
mod unary;

pub use num::{Num, round_to_bf16, round_to_f16};

/// An op was applied to a dtype for which it has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op} is not defined for {dtype}")]
pub struct ScalarError {
    /// The op's printed name.
    pub op: &'static str,
    /// The operand's dtype.
    pub dtype: DType,
}

/// Evaluates `$body` with `$T` naming the Rust type of a numeric dtype, or `$none` for strings.
#[macro_export]
macro_rules! with_num {
    ($dtype:expr, $T:ident => $body:expr, str => $none:expr) => {
        match $dtype {
            $crate::types::DType::Bool => {
                type $T = bool;
                $body
            }
            $crate::types::DType::I8 => {
                type $T = i8;
                $body
            }
            $crate::types::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::types::DType::I16 => {
                type $T = i16;
                $body
            }
            $crate::types::DType::U16 => {
                type $T = u16;
                $body
            }
            $crate::types::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::types::DType::U32 => {
                type $T = u32;
                $body
            }
            $crate::types::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::types::DType::U64 => {
                type $T = u64;
                $body
            }
            $crate::types::DType::F16 => {
                type $T = half::f16;
                $body
            }
            $crate::types::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            $crate::types::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::types::DType::F64 => {
                type $T = f64;
                $body
            }
            $crate::types::DType::Str => $none,
        }
    };
}

/// `op(x)`.
///
/// # Errors
/// The op is not defined for the dtype.
pub fn eval_unary(op: UnaryOp, x: Scalar) -> Result<Scalar, ScalarError> {
    with_num!(x.dtype, T => {
        let x = T::of_bits(x.bits);
        if op.result(T::DTYPE) == DType::Bool && T::DTYPE != DType::Bool {
            return Ok(Scalar::bool(test_values(op, &[x])?[0]));
        }
        Ok(unary_values(op, &[x])?[0].scalar())
    }, str => Err(ScalarError { op: op.name(), dtype: DType::Str }))
}

/// `op(a, b)`; both have one dtype.
///
/// # Errors
/// The op is not defined for the dtype, or the dtypes differ (reported for `b`'s).
pub fn eval_binary(op: BinaryOp, a: Scalar, b: Scalar) -> Result<Scalar, ScalarError> {
    if a.dtype != b.dtype {
        return Err(ScalarError { op: op.name(), dtype: b.dtype });
    }
    with_num!(a.dtype, T => {
        let (a, b) = (T::of_bits(a.bits), T::of_bits(b.bits));
        if op.is_comparison() {
            return Ok(Scalar::bool(compare(op, a.partial_cmp(&b))));
        }
        Ok(binary_values(op, &[a], &[b])?[0].scalar())
    }, str => Err(ScalarError { op: op.name(), dtype: DType::Str }))
}

/// `x` as another numeric dtype: floats to int truncate and saturate, NaN gives 0; int
/// to int wraps; anything to bool is `!= 0`; to float rounds once, to nearest even.
/// A string dtype on either side gives 0 of dtype `to`: scalars hold no strings.
pub fn cast(x: Scalar, to: DType) -> Scalar {
    with_num!(x.dtype, T => with_num!(to, U => {
        let y: U = cast_value(T::of_bits(x.bits));
        y.scalar()
    }, str => Scalar { dtype: to, bits: 0 }), str => Scalar { dtype: to, bits: 0 })
}

/// [`cast`] between Rust types.
pub fn cast_value<T: Num, U: Num>(x: T) -> U {
    if T::DTYPE.is_float() { U::of_f64(x.to_f64()) } else { U::wrap(x.to_i128()) }
}

/// `op` of each element, for ops whose result has the operand's dtype.
///
/// # Errors
/// The op is not defined for the dtype.
pub fn unary_values<T: Num>(op: UnaryOp, xs: &[T]) -> Result<Vec<T>, ScalarError> {
    let undefined = ScalarError { op: op.name(), dtype: T::DTYPE };
    if T::DTYPE.is_float() {
        let f = unary::float(op).ok_or(undefined)?;
        return Ok(xs.iter().map(|x| T::of_f64(f(x.to_f64()))).collect());
    }
    let f = match T::DTYPE {
        DType::Bool => unary::boolean(op),
        _ => unary::int(op),
    };
    let f = f.ok_or(undefined)?;
    Ok(xs.iter().map(|x| T::wrap(f(x.to_i128()))).collect())
}

/// `op` of each element, for the tests `is_nan` and `is_inf`.
///
/// # Errors
/// The op is another, or the dtype is not a float.
pub fn test_values<T: Num>(op: UnaryOp, xs: &[T]) -> Result<Vec<bool>, ScalarError> {
    let f: fn(f64) -> bool = match op {
        UnaryOp::IsNan if T::DTYPE.is_float() => f64::is_nan,
        UnaryOp::IsInf if T::DTYPE.is_float() => f64::is_infinite,
        _ => return Err(ScalarError { op: op.name(), dtype: T::DTYPE }),
    };
    Ok(xs.iter().map(|x| f(x.to_f64())).collect())
}

/// `op` of each pair of elements, for ops that are not comparisons.
///
/// # Errors
/// The op is not defined for the dtype.
pub fn binary_values<T: Num>(op: BinaryOp, a: &[T], b: &[T]) -> Result<Vec<T>, ScalarError> {
    let undefined = ScalarError { op: op.name(), dtype: T::DTYPE };
    let pairs = a.iter().zip(b);
    if T::DTYPE.is_float() {
        let f = binary::float(op).ok_or(undefined)?;
        return Ok(pairs.map(|(a, b)| T::of_f64(f(a.to_f64(), b.to_f64()))).collect());
    }
    let f = match T::DTYPE {
        DType::Bool => binary::boolean(op),
        _ => binary::int(op),
    };
    let f = f.ok_or(undefined)?;
    Ok(pairs.map(|(a, b)| T::wrap(f(T::BITS, a.to_i128(), b.to_i128()))).collect())
}

/// The answer of a comparison op for two elements in the given order (`None` with NaN).
/// Other ops are never true.
pub fn compare(op: BinaryOp, order: Option<Ordering>) -> bool {
    use BinaryOp::*;
    match op {
        Eq => order == Some(Ordering::Equal),
        Ne => order != Some(Ordering::Equal),
        Lt => order == Some(Ordering::Less),
        Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Gt => order == Some(Ordering::Greater),
        Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        _ => false,
    }
}

/// The larger, NaN if either is NaN, −0 below +0.
pub fn max_f64(a: f64, b: f64) -> f64 {
    match a.partial_cmp(&b) {
        None => f64::NAN,
        Some(Ordering::Greater) => a,
        Some(Ordering::Less) => b,
        Some(Ordering::Equal) => {
            if a.is_sign_negative() {
                b
            } else {
                a
            }
        }
    }
}

/// The smaller, NaN if either is NaN, −0 below +0.
pub fn min_f64(a: f64, b: f64) -> f64 {
    -max_f64(-a, -b)
}

/// A float function of one element.
///
/// Returns `None` for the ops that have no meaning on floats or whose result is bool.
pub fn float_unary(op: UnaryOp) -> Option<fn(f64) -> f64> {
    unary::float(op)
}
