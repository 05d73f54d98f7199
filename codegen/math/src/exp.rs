//! e^x and e^x − 1 by `x = n·ln 2 + r`, `|r| <= ln 2 / 2`, and a polynomial in `r`.

use crate::FloatOps;
use std::f64::consts::LOG2_E;

/// Adding it to a small number leaves the nearest integer in the low bits.
fn rounding_shift(double: bool) -> f64 {
    if double { 6_755_399_441_055_744.0 } else { 12_582_912.0 }
}

/// `x` as `n·ln 2 + r`.
pub(crate) struct Reduced<V> {
    /// The whole number.
    pub n: V,
    /// The bits of `n` plus the shift: `n` itself in the low bits.
    pub bits: V,
    /// `e^r − 1`.
    pub p: V,
}

/// Reduces `x`; `|x|` below 2^20 (f32: 2^7) or NaN.
pub(crate) fn reduced<O: FloatOps>(o: &mut O, x: O::Value) -> Reduced<O::Value> {
    // ln 2 to few bits, so that its product with any n is exact, and the rest.
    const SINGLE_LN2: (f64, f64) = (355.0 / 512.0, -2.121_944_4e-4_f32 as f64);
    const DOUBLE_LN2: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);
    const SINGLE: [f64; 5] = [
        0.499_999_97_f32 as f64,
        0.166_665_38_f32 as f64,
        0.041_667_74_f32 as f64,
        0.008_367_319_f32 as f64,
        0.001_383_786_f32 as f64,
    ];
    // 1/2! … 1/13!: the rest is below 2^-57.
    const DOUBLE: [f64; 12] = [
        1.0 / 2.0,
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5_040.0,
        1.0 / 40_320.0,
        1.0 / 362_880.0,
        1.0 / 3_628_800.0,
        1.0 / 39_916_800.0,
        1.0 / 479_001_600.0,
        1.0 / 6_227_020_800.0,
    ];
    let double = o.is_double();
    let ((high, low), p) = match double {
        true => (DOUBLE_LN2, &DOUBLE[..]),
        false => (SINGLE_LN2, &SINGLE[..]),
    };
    let shift = rounding_shift(double);
    let (log2_e, shift_by) = (o.float(LOG2_E), o.float(shift));
    let shifted = o.fma(x, log2_e, shift_by);
    let n = o.add_c(shifted, -shift);
    let (high, low) = (o.float(high), o.float(low));
    let r = o.fnma(n, high, x);
    let r = o.fnma(n, low, r);
    let square = o.mul(r, r);
    let tail = o.polynomial(r, p);
    let p = o.fma(square, tail, r);
    Reduced { n, bits: o.bits(shifted), p }
}

/// `2^(n + by)` from [`Reduced::bits`], for normal results; others are any number.
fn power_of_two<O: FloatOps>(o: &mut O, bits: O::Value, by: i64) -> O::Value {
    let (bias, mantissa_bits) = if o.is_double() { (1023, 52) } else { (127, 23) };
    let bias = o.int(bias + by);
    let biased = o.int_add(bits, bias);
    let bits = o.shift(biased, mantissa_bits);
    o.of_bits(bits)
}

/// `v·2^n` in two steps, so that results may be denormal; NaN if `v` is.
fn scaled<O: FloatOps>(o: &mut O, v: O::Value, n: O::Value) -> O::Value {
    let shift = rounding_shift(o.is_double());
    let half = o.mul_c(n, 0.5);
    let half_shifted = o.add_c(half, shift);
    let half = o.add_c(half_shifted, -shift);
    let rest = o.sub(n, half);
    let rest_shifted = o.add_c(rest, shift);
    let (half, rest) = (o.bits(half_shifted), o.bits(rest_shifted));
    let (half, rest) = (power_of_two(o, half, 0), power_of_two(o, rest, 0));
    let v = o.mul(v, half);
    o.mul(v, rest)
}

/// e^x: error at most 2 ulp, infinite above the largest number, NaN kept, 0 below the
/// smallest denormal (f64) or below −86.9 (f32, where e^x is under 2·10^-38).
pub(crate) fn exp<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    if o.is_double() {
        let x = o.at_least(x, -746.0);
        let x = o.at_most(x, 710.0);
        let Reduced { n, p, .. } = reduced(o, x);
        let v = o.add_c(p, 1.0);
        return scaled(o, v, n);
    }
    let tiny = o.lt_c(x, -86.9);
    let x = o.at_most(x, 89.0);
    let Reduced { bits, p, .. } = reduced(o, x);
    let y = near_one_scaled(o, p, bits);
    // PERF: one scaling instead of the two that denormals need: 12 instructions less of 28.
    let zero = o.float(0.0);
    o.select(tiny, zero, y)
}

/// `(1 + p)·2^n` in f32 for n in −125..=128, infinite above.
pub(crate) fn near_one_scaled<O: FloatOps>(o: &mut O, p: O::Value, bits: O::Value) -> O::Value {
    let two = o.float(2.0);
    let doubled = o.fma(p, two, two);
    let half_scale = power_of_two(o, bits, -1);
    o.mul(doubled, half_scale)
}

/// e^x − 1 for `|x| < 80`: error at most 2 ulp.
pub(crate) fn expm1_bounded<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let Reduced { bits, p, .. } = reduced(o, x);
    let scale = power_of_two(o, bits, 0);
    let whole = o.add_c(scale, -1.0);
    o.fma(scale, p, whole)
}
