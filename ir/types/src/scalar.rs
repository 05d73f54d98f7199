//! One constant number with its dtype.

use crate::DType;
use crate::rounding::{int_to_odd, round_to_bf16, round_to_f16};
use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// A constant of a numeric dtype, kept as its little-endian bits so that NaN
/// payloads, −0 and u64 survive and equality is bitwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scalar {
    /// Element type; never `Str`.
    pub dtype: DType,
    /// The element's bits, zero-extended.
    pub bits: u64,
}

impl Scalar {
    /// An `f32` constant.
    pub fn f32(x: f32) -> Self {
        Self { dtype: DType::F32, bits: x.to_bits().into() }
    }

    /// An `i64` constant.
    pub fn i64(x: i64) -> Self {
        Self { dtype: DType::I64, bits: x as u64 }
    }

    /// A `bool` constant.
    pub fn bool(x: bool) -> Self {
        Self { dtype: DType::Bool, bits: x.into() }
    }

    /// `x` rounded to `dtype` (floats to nearest even; integers saturate, NaN is 0).
    pub fn from_f64(dtype: DType, x: f64) -> Self {
        let bits = match dtype {
            DType::F64 => x.to_bits(),
            DType::F32 => (x as f32).to_bits().into(),
            DType::F16 => round_to_f16(x).to_bits().into(),
            DType::BF16 => round_to_bf16(x).to_bits().into(),
            DType::Bool => (x != 0.0).into(),
            DType::U64 => x as u64,
            DType::I64 | DType::Str => return Self::from_i64(dtype, x as i64),
            d => {
                let bits = 8 * d.size_bytes().unwrap_or(8) as u32;
                let (low, high) = match d.is_signed_int() {
                    true => (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1),
                    false => (0, (1i64 << bits) - 1),
                };
                return Self::from_i64(d, (x as i64).clamp(low, high));
            }
        };
        Self { dtype, bits }
    }

    /// `x` converted to `dtype` (integers wrap; floats round).
    pub fn from_i64(dtype: DType, x: i64) -> Self {
        let bits = match dtype {
            DType::I8 | DType::U8 => x as u8 as u64,
            DType::I16 | DType::U16 => x as u16 as u64,
            DType::I32 | DType::U32 => x as u32 as u64,
            DType::I64 | DType::U64 => x as u64,
            DType::Bool => (x != 0).into(),
            DType::F32 => (x as f32).to_bits().into(),
            DType::F64 => (x as f64).to_bits(),
            DType::F16 | DType::BF16 => return Self::from_f64(dtype, int_to_odd(x.into())),
            DType::Str => 0,
        };
        Self { dtype, bits }
    }

    /// The value as `f64` (exact except for large 64-bit integers).
    pub fn to_f64(self) -> f64 {
        match self.dtype {
            DType::F64 => f64::from_bits(self.bits),
            DType::F32 => f32::from_bits(self.bits as u32).into(),
            DType::F16 => f16::from_bits(self.bits as u16).into(),
            DType::BF16 => bf16::from_bits(self.bits as u16).into(),
            DType::U64 => self.bits as f64,
            _ => self.to_i64() as f64,
        }
    }

    /// The value as `i64`: integers keep their bits (u64 wraps), floats truncate and saturate.
    pub fn to_i64(self) -> i64 {
        match self.dtype {
            DType::I8 => self.bits as i8 as i64,
            DType::I16 => self.bits as i16 as i64,
            DType::I32 => self.bits as i32 as i64,
            d if d.is_float() => self.to_f64() as i64,
            _ => self.bits as i64,
        }
    }
}
