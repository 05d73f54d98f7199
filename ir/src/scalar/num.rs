//! Element types: exact conversion to `f64` and `i128`, and back with one rounding.

use crate::types::rounding::int_to_odd;
use crate::types::{DType, Scalar};
use half::{bf16, f16};

pub use crate::types::rounding::{round_to_bf16, round_to_f16};

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
