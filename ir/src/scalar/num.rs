//! Element types: exact conversion to `f64` and `i128`, and back with one rounding.

use crate::types::{DType, Scalar};
use half::{bf16, f16};

/// A numeric (or bool) element type.
pub trait Num: Copy + Default + PartialOrd + std::fmt::Debug + 'static {
    /// The dtype of this type.
    const DTYPE: DType;
    /// Width in bits.
    const BITS: u32;
    /// The value as `f64`; 64-bit integers round.
    fn to_f64(self) -> f64;
    /// `x` rounded to nearest even (floats), truncated and saturated with NaN as 0
    /// (integers), or `x != 0` (bool).
    fn of_f64(x: f64) -> Self;
    /// The value as an integer; floats truncate and saturate.
    fn to_i128(self) -> i128;
    /// `x` wrapped to the width (integers), rounded (floats), or `x != 0` (bool).
    fn wrap(x: i128) -> Self;
    /// The element's bits, zero-extended.
    fn bits(self) -> u64;
    /// The element with these bits; higher bits are ignored.
    fn of_bits(bits: u64) -> Self;
    /// The element as a [`Scalar`].
    fn scalar(self) -> Scalar {
        Scalar { dtype: Self::DTYPE, bits: self.bits() }
    }
}

macro_rules! int_num {
    ($($T:ty, $U:ty, $dtype:ident;)*) => {$(
        impl Num for $T {
            const DTYPE: DType = DType::$dtype;
            const BITS: u32 = <$T>::BITS;
            fn to_f64(self) -> f64 { self as f64 }
            fn of_f64(x: f64) -> Self { x as $T }
            fn to_i128(self) -> i128 { self as i128 }
            fn wrap(x: i128) -> Self { x as $T }
            fn bits(self) -> u64 { self as $U as u64 }
            fn of_bits(bits: u64) -> Self { bits as $T }
        }
    )*};
}

int_num! {
    i8, u8, I8; u8, u8, U8; i16, u16, I16; u16, u16, U16;
    i32, u32, I32; u32, u32, U32; i64, u64, I64; u64, u64, U64;
}

macro_rules! float_num {
    ($($T:ty, $B:ty, $dtype:ident, $round:expr, $from_int:expr;)*) => {$(
        impl Num for $T {
            const DTYPE: DType = DType::$dtype;
            const BITS: u32 = <$B>::BITS;
            fn to_f64(self) -> f64 { f64::from(self) }
            fn of_f64(x: f64) -> Self { $round(x) }
            fn to_i128(self) -> i128 { f64::from(self) as i128 }
            fn wrap(x: i128) -> Self { $from_int(x) }
            fn bits(self) -> u64 { <$T>::to_bits(self) as u64 }
            fn of_bits(bits: u64) -> Self { <$T>::from_bits(bits as $B) }
        }
    )*};
}

float_num! {
    f16, u16, F16, round_to_f16, |x| round_to_f16(int_to_odd(x));
    bf16, u16, BF16, round_to_bf16, |x| round_to_bf16(int_to_odd(x));
    f32, u32, F32, |x| x as f32, |x| x as f32;
    f64, u64, F64, |x| x, |x| x as f64;
}

impl Num for bool {
    const DTYPE: DType = DType::Bool;
    const BITS: u32 = 1;
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn of_f64(x: f64) -> Self {
        x != 0.0
    }
    fn to_i128(self) -> i128 {
        self.into()
    }
    fn wrap(x: i128) -> Self {
        x != 0
    }
    fn bits(self) -> u64 {
        self.into()
    }
    fn of_bits(bits: u64) -> Self {
        bits & 0xff != 0
    }
}

/// `x` rounded once to `f16`, to nearest even.
pub fn round_to_f16(x: f64) -> f16 {
    f16::from_f32(f32_to_odd(x))
}

/// `x` rounded once to `bf16`, to nearest even.
pub fn round_to_bf16(x: f64) -> bf16 {
    bf16::from_f32(f32_to_odd(x))
}

/// `x` rounded to `f32` so that an inexact result has an odd last bit. A later rounding
/// to two or more bits less is then as if done in one step (Boldo and Melquiond 2008);
/// `half`'s own `from_f64` rounds twice or drops low bits.
fn f32_to_odd(x: f64) -> f32 {
    let near = x as f32;
    let exact = f64::from(near) == x || x.is_nan();
    if exact || near.to_bits() & 1 == 1 {
        return near;
    }
    let toward_zero = f64::from(near).abs() > x.abs();
    f32::from_bits(if toward_zero { near.to_bits() - 1 } else { near.to_bits() + 1 })
}

/// As [`f32_to_odd`], from integers to `f64`.
fn int_to_odd(x: i128) -> f64 {
    let near = x as f64;
    let back = near as i128;
    if back == x || near.to_bits() & 1 == 1 {
        return near;
    }
    let toward_zero = back.unsigned_abs() > x.unsigned_abs();
    f64::from_bits(if toward_zero { near.to_bits() - 1 } else { near.to_bits() + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_rounds_once() {
        // Halfway between 1 and 1+2^-10, plus less than an f32 can hold.
        let tie = 1.0 + f64::powi(2.0, -11);
        assert_eq!(round_to_f16(tie).to_f64(), 1.0);
        assert_eq!(round_to_f16(tie + f64::powi(2.0, -50)).to_f64(), 1.0 + f64::powi(2.0, -10));
        assert_eq!(round_to_f16(-tie - f64::powi(2.0, -50)).to_f64(), -1.0 - f64::powi(2.0, -10));
        assert_eq!(round_to_f16(65519.999).to_f64(), 65504.0);
        assert_eq!(round_to_f16(65520.0).to_f64(), f64::INFINITY);
        assert_eq!(round_to_f16(1e300).to_f64(), f64::INFINITY);
        assert_eq!(round_to_f16(f64::powi(2.0, -25)).to_f64(), 0.0);
        assert_eq!(round_to_f16(f64::powi(2.0, -25) * 1.0000001).to_f64(), f64::powi(2.0, -24));
        assert!(round_to_f16(f64::NAN).is_nan());
        assert_eq!(round_to_f16(-0.0).to_bits(), 0x8000);
    }

    #[test]
    fn bf16_rounds_once() {
        let tie = 1.0 + f64::powi(2.0, -8);
        assert_eq!(round_to_bf16(tie).to_f64(), 1.0);
        assert_eq!(round_to_bf16(tie + f64::powi(2.0, -40)).to_f64(), 1.0 + f64::powi(2.0, -7));
        let big = (1i128 << 62) + (1i128 << 54);
        assert_eq!(bf16::wrap(big).to_f64(), (1i128 << 62) as f64);
        assert_eq!(bf16::wrap(big + 1).to_f64(), ((1i128 << 62) + (1i128 << 55)) as f64);
        assert_eq!(bf16::wrap(-big - 1).to_f64(), -(((1i128 << 62) + (1i128 << 55)) as f64));
    }
}
