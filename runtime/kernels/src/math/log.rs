//! Natural logarithm by `x = m·2^e`, `m` in `[√½, √2)`, and a polynomial in `m − 1`.
//! Error measured over a sweep of f32: 1.07 ulp.

use super::{MapOp, exp::LN2_HIGH, exp::LN2_LOW};
use crate::simd::{Simd, horner};

/// Scale of denormals, and its exponent.
const DENORMAL_SCALE: f32 = 8_388_608.0;
const DENORMAL_SHIFT: f32 = 23.0;

/// log m·2^e for normal positive `x`.
#[inline(always)]
fn log_normal<S: Simd>(s: S, x: S::F, shift: S::F) -> S::F {
    const P: [f32; 9] = [
        0.333_333_13,
        -0.250_001_67,
        0.200_022_24,
        -0.166_593_67,
        0.142_097_58,
        -0.125_501_17,
        0.121_050_37,
        -0.107_560_64,
        0.049_751_13,
    ];
    let (m, e) = s.split(x);
    let e = s.sub(e, shift);
    let f = s.sub(m, s.splat(1.0));
    let square = s.mul(f, f);
    let tail = s.mul(s.mul(square, f), horner(s, f, P));
    let tail = s.fma(e, s.splat(LN2_LOW), tail);
    let tail = s.fnma(s.splat(0.5), square, tail);
    s.fma(e, s.splat(LN2_HIGH), s.add(f, tail))
}

/// log(x): error at most 2 ulp, −inf at ±0, NaN below, NaN and +inf kept.
pub(crate) struct Log;

impl MapOp for Log {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        let zero = s.splat(0.0);
        let denormal = s.lt(x, s.splat(f32::MIN_POSITIVE));
        let scaled = s.select(denormal, s.mul(x, s.splat(DENORMAL_SCALE)), x);
        let shift = s.select(denormal, s.splat(DENORMAL_SHIFT), zero);
        let y = log_normal(s, scaled, shift);
        // NaN and +inf are their own logarithms.
        let fixed = s.or(s.lt(s.splat(f32::MAX), x), s.unordered(x, x));
        let y = s.select(fixed, x, y);
        let is_zero = s.lt(s.abs(x), s.splat(f32::from_bits(1)));
        let y = s.select(is_zero, s.splat(f32::NEG_INFINITY), y);
        s.select(s.lt(x, zero), s.splat(f32::NAN), y)
    }
}
