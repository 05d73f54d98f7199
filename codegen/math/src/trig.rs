//! sin, cos, tan in f64 by `x = n·π/2 + r` (fdlibm's kernels).

use crate::{Compare, FloatOps};
use std::f64::consts::FRAC_2_PI;

/// 1.5·2^52: adding it leaves the nearest integer in the low bits.
const SHIFT: f64 = 6_755_399_441_055_744.0;

/// Above π/4 by more than the rounding of `n` and of `r` for small `x`.
const LARGEST_R: f64 = 0.786;

/// `(r, low bits of n)`. π/2 has 33 + 33 + 53 bits here, so that the relative error of
/// `r` is that of one rounding for `|x| <= 2^20·π/2`; beyond, the reduction loses bits,
/// and above 2^51 results are meaningless numbers. `r` is at most π/4 and its rounding in
/// any case, so that sines stay sines.
fn reduced<O: FloatOps>(o: &mut O, x: O::Value) -> (O::Value, O::Value) {
    let (two_over_pi, shift) = (o.float(FRAC_2_PI), o.float(SHIFT));
    let shifted = o.fma(x, two_over_pi, shift);
    let n = o.add_c(shifted, -SHIFT);
    let mut r = x;
    for part in [1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21] {
        let part = o.float(part);
        r = o.fnma(n, part, r);
    }
    let r = o.at_most(r, LARGEST_R);
    let r = o.at_least(r, -LARGEST_R);
    (r, o.bits(shifted))
}

/// Whether a bit of `n` is set.
fn bit<O: FloatOps>(o: &mut O, n: O::Value, bit: i64) -> O::Mask {
    let (mask, zero) = (o.int(bit), o.int(0));
    let masked = o.int_and(n, mask);
    o.int_differ(masked, zero)
}

/// `(sin r, cos r)` for `|r| <= π/4`: error below 1 ulp each.
fn kernels<O: FloatOps>(o: &mut O, r: O::Value) -> (O::Value, O::Value) {
    const S: [f64; 6] = [
        -0.16666666666666632,
        0.00833333333332249,
        -0.0001984126982985795,
        2.7557313707070068e-06,
        -2.5050760253406863e-08,
        1.58969099521155e-10,
    ];
    const C: [f64; 6] = [
        0.0416666666666666,
        -0.001388888888887411,
        2.480158728947673e-05,
        -2.7557314351390663e-07,
        2.087572321298175e-09,
        -1.1359647557788195e-11,
    ];
    let z = o.mul(r, r);
    let s = o.polynomial(z, &S);
    let cube = o.mul(z, r);
    let sin = o.fma(cube, s, r);
    let c = o.polynomial(z, &C);
    let half = o.mul_c(z, 0.5);
    let one = o.float(1.0);
    let whole = o.sub(one, half);
    // What the subtraction lost, then the small terms.
    let lost = o.sub(one, whole);
    let lost = o.sub(lost, half);
    let square = o.mul(z, z);
    let tail = o.fma(square, c, lost);
    (sin, o.add(whole, tail))
}

/// `(sin x, cos x)`, infinite and NaN `x` give NaN.
fn sin_cos<O: FloatOps>(o: &mut O, x: O::Value) -> (O::Value, O::Value) {
    let (r, n) = reduced(o, x);
    let (s, c) = kernels(o, r);
    let odd = bit(o, n, 1);
    let (sin, cos) = (o.select(odd, c, s), o.select(odd, s, c));
    let negative_sin = bit(o, n, 2);
    let one = o.int(1);
    let next = o.int_add(n, one);
    let negative_cos = bit(o, next, 2);
    let (minus_sin, minus_cos) = (o.neg(sin), o.neg(cos));
    (o.select(negative_sin, minus_sin, sin), o.select(negative_cos, minus_cos, cos))
}

/// sin(x): error at most 2 ulp for `|x| <= 2^20`.
pub(crate) fn sin<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let (sin, _) = sin_cos(o, x);
    // −0 stays −0: the reduction gives −0 − 0·c = −0 only without FMA's sign rules.
    let zero = o.float(0.0);
    let is_zero = o.cmp(Compare::Eq, x, zero);
    o.select(is_zero, x, sin)
}

/// cos(x): error at most 2 ulp for `|x| <= 2^20`.
pub(crate) fn cos<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    sin_cos(o, x).1
}

/// tan(x) = sin(x)/cos(x): error at most 4 ulp for `|x| <= 2^20`.
pub(crate) fn tan<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let (_, cos) = sin_cos(o, x);
    let sin = sin(o, x);
    o.div(sin, cos)
}
