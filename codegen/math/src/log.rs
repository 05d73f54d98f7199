//! Natural logarithms by `x = m·2^e`, `m` in `[√½, √2)`.

use crate::{Compare, FloatOps};

/// `(m − 1, e)` for normal positive `x`, both as floats.
fn split<O: FloatOps>(o: &mut O, x: O::Value) -> (O::Value, O::Value) {
    // 1 − √½ as a distance of bits, √½, the mantissa, and 2^52 (2^23) with the bias.
    let double = o.is_double();
    let (distance, sqrt_half, mantissa, bits, integer_bits, offset) = match double {
        true => (
            0x3ff0_0000_0000_0000 - 0x3fe6_a09e_667f_3bcd,
            0x3fe6_a09e_667f_3bcd,
            (1 << 52) - 1,
            52,
            0x4330_0000_0000_0000,
            4_503_599_627_370_496.0 + 1023.0,
        ),
        false => (
            0x3f80_0000 - 0x3f35_04f3,
            0x3f35_04f3,
            (1 << 23) - 1,
            23,
            0x4b00_0000,
            8_388_608.0 + 127.0,
        ),
    };
    let raw = o.bits(x);
    let distance = o.int(distance);
    let moved = o.int_add(raw, distance);
    let exponent = o.shift(moved, -bits);
    let integer_bits = o.int(integer_bits);
    let exponent = o.int_or(exponent, integer_bits);
    let exponent = o.of_bits(exponent);
    let exponent = o.add_c(exponent, -offset);
    let (mantissa, sqrt_half) = (o.int(mantissa), o.int(sqrt_half));
    let m = o.int_and(moved, mantissa);
    let m = o.int_add(m, sqrt_half);
    let m = o.of_bits(m);
    (o.add_c(m, -1.0), exponent)
}

/// `ln(1 + f) + e·ln 2` in f32.
fn single<O: FloatOps>(o: &mut O, f: O::Value, e: O::Value) -> O::Value {
    const P: [f64; 9] = [
        0.333_333_14_f32 as f64,
        -0.250_001_67_f32 as f64,
        0.200_022_24_f32 as f64,
        -0.166_593_67_f32 as f64,
        0.142_097_58_f32 as f64,
        -0.125_501_17_f32 as f64,
        0.121_050_37_f32 as f64,
        -0.107_560_64_f32 as f64,
        0.049_751_13_f32 as f64,
    ];
    let (high, low) = (o.float(355.0 / 512.0), o.float(-2.121_944_4e-4_f32 as f64));
    let square = o.mul(f, f);
    let cube = o.mul(square, f);
    let p = o.polynomial(f, &P);
    let tail = o.mul(cube, p);
    let tail = o.fma(e, low, tail);
    let half = o.float(0.5);
    let tail = o.fnma(half, square, tail);
    let sum = o.add(f, tail);
    o.fma(e, high, sum)
}

/// `ln(1 + f) + e·ln 2` in f64 (fdlibm's `e_log`).
fn double<O: FloatOps>(o: &mut O, f: O::Value, e: O::Value) -> O::Value {
    const P: [f64; 7] = [
        0.6666666666666735,
        0.3999999999940942,
        0.2857142874366239,
        0.22222198432149784,
        0.1818357216161805,
        0.15313837699209373,
        0.14798198605116586,
    ];
    let (high, low) = (o.float(0.6931471803691238), o.float(1.9082149292705877e-10));
    let half = o.mul_c(f, 0.5);
    let half_square = o.mul(half, f);
    let denominator = o.add_c(f, 2.0);
    let s = o.div(f, denominator);
    let z = o.mul(s, s);
    let p = o.polynomial(z, &P);
    let r = o.mul(z, p);
    let r = o.add(half_square, r);
    let tail = o.mul(e, low);
    let tail = o.fma(s, r, tail);
    let tail = o.sub(tail, half_square);
    let sum = o.add(tail, f);
    o.fma(e, high, sum)
}

/// ln x for normal positive `x`.
fn log_normal<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let (f, e) = split(o, x);
    if o.is_double() { double(o, f, e) } else { single(o, f, e) }
}

/// ln x: error at most 2 ulp, −inf at ±0, NaN below, NaN and +inf kept.
pub(crate) fn log<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let (tiny, scale, shift, largest) = match o.is_double() {
        true => (f64::MIN_POSITIVE, 18_014_398_509_481_984.0, 54.0, f64::MAX),
        false => (f64::from(f32::MIN_POSITIVE), 8_388_608.0, 23.0, f64::from(f32::MAX)),
    };
    let denormal = o.lt_c(x, tiny);
    let scaled = o.mul_c(x, scale);
    let normal = o.select(denormal, scaled, x);
    let (f, e) = split(o, normal);
    let (zero, shift) = (o.float(0.0), o.float(shift));
    let shift = o.select(denormal, shift, zero);
    let e = o.sub(e, shift);
    let y = if o.is_double() { double(o, f, e) } else { single(o, f, e) };
    let (huge, nan) = (o.gt_c(x, largest), o.is_nan(x));
    let kept = o.or(huge, nan);
    let y = o.select(kept, x, y);
    let is_zero = o.cmp(Compare::Eq, x, zero);
    let minus_infinity = o.float(f64::NEG_INFINITY);
    let y = o.select(is_zero, minus_infinity, y);
    let (negative, undefined) = (o.cmp(Compare::Lt, x, zero), o.float(f64::NAN));
    o.select(negative, undefined, y)
}

/// ln(1 + y) for `y` in `[0, 1]`: error at most 3 ulp, NaN kept.
pub(crate) fn log1p_unit<O: FloatOps>(o: &mut O, y: O::Value) -> O::Value {
    let u = o.add_c(y, 1.0);
    let log = log_normal(o, u);
    let lost = rounding_loss(o, y, u);
    let log = o.add(log, lost);
    // The split of a NaN is some number.
    let nan = o.is_nan(y);
    o.select(nan, y, log)
}

/// ln(1 + y): error at most 3 ulp; −inf at −1, NaN below, NaN and +inf kept.
pub(crate) fn log1p<O: FloatOps>(o: &mut O, y: O::Value) -> O::Value {
    let u = o.add_c(y, 1.0);
    let log = log(o, u);
    let lost = rounding_loss(o, y, u);
    // Nothing is lost that matters above, and at −1 the quotient has no meaning.
    let (magnitude, zero) = (o.abs(u), o.float(0.0));
    let (large, tiny) = (o.gt_c(magnitude, 1e15), o.cmp(Compare::Eq, u, zero));
    let skip = o.or(large, tiny);
    let lost = o.select(skip, zero, lost);
    o.add(log, lost)
}

/// `ln(1 + y) − ln u` to first order, for `u` the rounded `1 + y`.
fn rounding_loss<O: FloatOps>(o: &mut O, y: O::Value, u: O::Value) -> O::Value {
    let whole = o.add_c(u, -1.0);
    let lost = o.sub(y, whole);
    o.div(lost, u)
}
