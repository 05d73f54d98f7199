//! Inverse trigonometric and hyperbolic functions in f64 (fdlibm's formulas).

use super::log::{log, log1p};
use crate::{Compare, FloatOps};
use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, LN_2, PI};

/// π/2 beyond its f64.
const FRAC_PI_2_LOW: f64 = 6.123233995736766e-17;

/// atan(x): error at most 2 ulp, NaN kept.
pub(crate) fn atan<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    // |x| = (t + c)/(1 − t·c) for c = 0, 1/2, 1, 3/2, ∞, so that |t| < 7/16.
    let at_half = reduction(o, a, 0.5);
    let at_one = reduction(o, a, 1.0);
    let at_three_halves = reduction(o, a, 1.5);
    let minus_one = o.float(-1.0);
    let at_infinity = o.div(minus_one, a);
    let zero = o.float(0.0);
    let (mut t, mut high, mut low) = (a, zero, zero);
    for (from, at, angle_high, angle_low) in [
        (7.0 / 16.0, at_half, 0.4636476090008061, 2.2698777452961687e-17),
        (11.0 / 16.0, at_one, FRAC_PI_4, 3.061616997868383e-17),
        (19.0 / 16.0, at_three_halves, 0.982793723247329, 1.3903311031230998e-17),
        (39.0 / 16.0, at_infinity, FRAC_PI_2, FRAC_PI_2_LOW),
    ] {
        let (from, angle_high, angle_low) =
            (o.float(from), o.float(angle_high), o.float(angle_low));
        let beyond = o.cmp(Compare::Ge, a, from);
        t = o.select(beyond, at, t);
        high = o.select(beyond, angle_high, high);
        low = o.select(beyond, angle_low, low);
    }
    let tail = atan_tail(o, t);
    let small = o.sub(low, tail);
    let small = o.add(small, t);
    let angle = o.add(high, small);
    o.with_sign(angle, x)
}

/// `(a − c)/(1 + c·a)`.
fn reduction<O: FloatOps>(o: &mut O, a: O::Value, c: f64) -> O::Value {
    let numerator = o.add_c(a, -c);
    let (c, one) = (o.float(c), o.float(1.0));
    let denominator = o.fma(c, a, one);
    o.div(numerator, denominator)
}

/// `t − atan t` for `|t| < 7/16`.
fn atan_tail<O: FloatOps>(o: &mut O, t: O::Value) -> O::Value {
    const P: [f64; 11] = [
        0.3333333333333293,
        -0.19999999999876483,
        0.14285714272503466,
        -0.11111110405462356,
        0.09090887133436507,
        -0.0769187620504483,
        0.06661073137387531,
        -0.058335701337905735,
        0.049768779946159324,
        -0.036531572744216916,
        0.016285820115365782,
    ];
    let z = o.mul(t, t);
    let p = o.polynomial(z, &P);
    let p = o.mul(z, p);
    o.mul(t, p)
}

/// The angle of the point `(x, y)`: error at most 3 ulp, signed zeros and infinities as in
/// C's `atan2`, NaN if either is NaN.
pub fn atan2<O: FloatOps>(o: &mut O, y: O::Value, x: O::Value) -> O::Value {
    let (ax, ay) = (o.abs(x), o.abs(y));
    let steep = o.cmp(Compare::Gt, ay, ax);
    let (small, large) = (o.select(steep, ax, ay), o.select(steep, ay, ax));
    let quotient = o.div(small, large);
    let (zero, one, infinity) = (o.float(0.0), o.float(1.0), o.float(f64::INFINITY));
    let at_origin = o.cmp(Compare::Eq, large, zero);
    let quotient = o.select(at_origin, zero, quotient);
    let diagonal = o.cmp(Compare::Eq, small, infinity);
    let quotient = o.select(diagonal, one, quotient);
    let angle = atan(o, quotient);
    let (right, low) = (o.float(FRAC_PI_2), o.float(FRAC_PI_2_LOW));
    let complement = o.sub(angle, low);
    let complement = o.sub(right, complement);
    let angle = o.select(steep, complement, angle);
    let (bits, none) = (o.bits(x), o.int(0));
    let left = o.int_less(bits, none);
    let (half_turn, low) = (o.float(PI), o.float(2.0 * FRAC_PI_2_LOW));
    let mirrored = o.sub(angle, low);
    let mirrored = o.sub(half_turn, mirrored);
    let angle = o.select(left, mirrored, angle);
    let angle = o.with_sign(angle, y);
    let sum = o.add(x, y);
    let nan = o.cmp(Compare::Unordered, x, y);
    o.select(nan, sum, angle)
}

/// `(asin(x) − x)/x` with `z = x²`, for `|x| <= 1/2`.
fn asin_ratio<O: FloatOps>(o: &mut O, z: O::Value) -> O::Value {
    const P: [f64; 6] = [
        0.16666666666666666,
        -0.3255658186224009,
        0.20121253213486293,
        -0.04005553450067941,
        0.0007915349942898145,
        3.479331075960212e-05,
    ];
    const Q: [f64; 5] =
        [1.0, -2.403394911734414, 2.0209457602335057, -0.6882839716054533, 0.07703815055590194];
    let p = o.polynomial(z, &P);
    let p = o.mul(z, p);
    let q = o.polynomial(z, &Q);
    o.div(p, q)
}

/// `(asin(t), t)` of `|x|` up to 1/2, else of `√((1 − |x|)/2)`, and which one it is.
fn asin_parts<O: FloatOps>(o: &mut O, a: O::Value) -> (O::Value, O::Mask) {
    let one = o.float(1.0);
    let z = o.sub(one, a);
    let z = o.mul_c(z, 0.5);
    let root = o.sqrt(z);
    let far = o.gt_c(a, 0.5);
    let square = o.mul(a, a);
    let (t, z) = (o.select(far, root, a), o.select(far, z, square));
    let ratio = asin_ratio(o, z);
    (o.fma(t, ratio, t), far)
}

/// asin(x): error at most 3 ulp, NaN outside of [−1, 1].
pub(crate) fn asin<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let (part, far) = asin_parts(o, a);
    let twice = o.mul_c(part, 2.0);
    let (right, low) = (o.float(FRAC_PI_2), o.float(FRAC_PI_2_LOW));
    let complement = o.sub(twice, low);
    let complement = o.sub(right, complement);
    let angle = o.select(far, complement, part);
    o.with_sign(angle, x)
}

/// acos(x): error at most 3 ulp, NaN outside of [−1, 1].
pub(crate) fn acos<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let (part, far) = asin_parts(o, a);
    let zero = o.float(0.0);
    let negative = o.cmp(Compare::Lt, x, zero);
    let twice = o.mul_c(part, 2.0);
    let (half_turn, low) = (o.float(PI), o.float(2.0 * FRAC_PI_2_LOW));
    let mirrored = o.sub(twice, low);
    let mirrored = o.sub(half_turn, mirrored);
    let outer = o.select(negative, mirrored, twice);
    let signed = o.with_sign(part, x);
    let (right, low) = (o.float(FRAC_PI_2), o.float(FRAC_PI_2_LOW));
    let inner = o.sub(signed, low);
    let inner = o.sub(right, inner);
    o.select(far, outer, inner)
}

/// asinh(x): error at most 4 ulp, ±inf and NaN kept.
pub(crate) fn asinh<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let square = o.mul(a, a);
    let root = o.add_c(square, 1.0);
    let root = o.sqrt(root);
    let denominator = o.add_c(root, 1.0);
    let quotient = o.div(square, denominator);
    let inner = o.add(a, quotient);
    let near = log1p(o, inner);
    let far = log_of_double(o, a);
    let is_far = o.gt_c(a, 268_435_456.0);
    let magnitude = o.select(is_far, far, near);
    o.with_sign(magnitude, x)
}

/// ln(2x).
fn log_of_double<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let log = log(o, x);
    o.add_c(log, LN_2)
}

/// acosh(x): error at most 4 ulp, NaN below 1.
pub(crate) fn acosh<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let t = o.add_c(x, -1.0);
    let twice = o.add_c(t, 2.0);
    let root = o.mul(t, twice);
    let root = o.sqrt(root);
    let inner = o.add(t, root);
    let near = log1p(o, inner);
    let far = log_of_double(o, x);
    let is_far = o.gt_c(x, 268_435_456.0);
    let y = o.select(is_far, far, near);
    let (below, undefined) = (o.lt_c(x, 1.0), o.float(f64::NAN));
    o.select(below, undefined, y)
}

/// atanh(x): error at most 4 ulp, ±inf at ±1, NaN outside.
pub(crate) fn atanh<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let one = o.float(1.0);
    let denominator = o.sub(one, a);
    let twice = o.mul_c(a, 2.0);
    let quotient = o.div(twice, denominator);
    let log = log1p(o, quotient);
    let half = o.mul_c(log, 0.5);
    o.with_sign(half, x)
}
