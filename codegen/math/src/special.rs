//! erf and erfc in f64 (fdlibm's rational functions, without its branches).

use super::exp::exp;
use crate::{Compare, FloatOps};

const ERX: f64 = 0.8450629115104675;
const PP: [f64; 5] = [
    0.12837916709551256,
    -0.3250421072470015,
    -0.02848174957559851,
    -0.005770270296489442,
    -2.3763016656650163e-05,
];
const QQ: [f64; 6] = [
    1.0,
    0.39791722395915535,
    0.0650222499887673,
    0.005081306281875766,
    0.00013249473800432164,
    -3.960228278775368e-06,
];
const PA: [f64; 7] = [
    -0.0023621185607526594,
    0.41485611868374833,
    -0.3722078760357013,
    0.31834661990116175,
    -0.11089469428239668,
    0.035478304325618236,
    -0.002166375594868791,
];
const QA: [f64; 7] = [
    1.0,
    0.10642088040084423,
    0.540397917702171,
    0.07182865441419627,
    0.12617121980876164,
    0.01363708391202905,
    0.011984499846799107,
];
const RA: [f64; 8] = [
    -0.009864944034847148,
    -0.6938585727071818,
    -10.558626225323291,
    -62.375332450326006,
    -162.39666946257347,
    -184.60509290671104,
    -81.2874355063066,
    -9.814329344169145,
];
const SA: [f64; 9] = [
    1.0,
    19.651271667439257,
    137.65775414351904,
    434.56587747522923,
    645.3872717332679,
    429.00814002756783,
    108.63500554177944,
    6.570249770319282,
    -0.0604244152148581,
];
const RB: [f64; 8] = [
    -0.0098649429247001,
    -0.799283237680523,
    -17.757954917754752,
    -160.63638485582192,
    -637.5664433683896,
    -1025.0951316110772,
    -483.5191916086514,
    0.0,
];
const SB: [f64; 9] = [
    1.0,
    30.33806074348246,
    325.7925129965739,
    1536.729586084437,
    3199.8582195085955,
    2553.0504064331644,
    474.52854120695537,
    -22.44095244658582,
    0.0,
];

/// `erf(x) = x + x·r` for `|x| < 0.84375`; returns `r`.
fn near_ratio<O: FloatOps>(o: &mut O, a: O::Value) -> O::Value {
    let z = o.mul(a, a);
    let (p, q) = (o.polynomial(z, &PP), o.polynomial(z, &QQ));
    o.div(p, q)
}

/// `erf(a) − ERX` for `0.84375 <= a < 1.25`.
fn middle<O: FloatOps>(o: &mut O, a: O::Value) -> O::Value {
    let s = o.add_c(a, -1.0);
    let (p, q) = (o.polynomial(s, &PA), o.polynomial(s, &QA));
    o.div(p, q)
}

/// Horner's scheme with coefficients that depend on a mask.
fn horner_of<O: FloatOps>(
    o: &mut O,
    x: O::Value,
    mask: O::Mask,
    yes: &[f64],
    no: &[f64],
) -> O::Value {
    let mut sum = o.float(0.0);
    for (yes, no) in yes.iter().zip(no).rev() {
        let (yes, no) = (o.float(*yes), o.float(*no));
        let c = o.select(mask, yes, no);
        sum = o.fma(sum, x, c);
    }
    sum
}

/// erfc(a) for `a >= 1.25`.
fn far<O: FloatOps>(o: &mut O, a: O::Value) -> O::Value {
    let square = o.mul(a, a);
    let one = o.float(1.0);
    let s = o.div(one, square);
    let close = o.lt_c(a, 1.0 / 0.35);
    let (r, q) = (horner_of(o, s, close, &RA, &RB), horner_of(o, s, close, &SA, &SB));
    let ratio = o.div(r, q);
    // The high half of a has an exact square.
    let (bits, mask) = (o.bits(a), o.int(!0xffff_ffff));
    let high = o.int_and(bits, mask);
    let z = o.of_bits(high);
    let minus = o.neg(z);
    let first = o.mul(minus, z);
    let first = o.add_c(first, -0.5625);
    let first = exp(o, first);
    let (difference, sum) = (o.sub(z, a), o.add(z, a));
    let product = o.mul(difference, sum);
    let second = o.add(product, ratio);
    let second = exp(o, second);
    let both = o.mul(first, second);
    o.div(both, a)
}

/// `(r, erfc a)`, the first for `a < 0.84375`, the second elsewhere.
fn parts<O: FloatOps>(o: &mut O, a: O::Value) -> (O::Value, O::Value) {
    let ratio = near_ratio(o, a);
    let middle = middle(o, a);
    let rest = o.float(1.0 - ERX);
    let middle = o.sub(rest, middle);
    let far = far(o, a);
    let is_middle = o.lt_c(a, 1.25);
    (ratio, o.select(is_middle, middle, far))
}

/// erf(x): error at most 2 ulp, ±1 at ±inf, NaN kept.
pub(crate) fn erf<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let a = o.at_most(a, 28.0);
    let (ratio, complement) = parts(o, a);
    let near = o.fma(a, ratio, a);
    let one = o.float(1.0);
    let rest = o.sub(one, complement);
    let is_near = o.lt_c(a, 0.84375);
    let magnitude = o.select(is_near, near, rest);
    o.with_sign(magnitude, x)
}

/// erfc(x) = 1 − erf(x): error at most 4 ulp, NaN kept.
pub(crate) fn erfc<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let a = o.at_most(a, 28.0);
    let (ratio, complement) = parts(o, a);
    let (one, half, zero) = (o.float(1.0), o.float(0.5), o.float(0.0));
    // 1 − erf(x) from the smaller distance: 1/2 − (x − 1/2) loses nothing above 1/4.
    let small = o.fma(x, ratio, x);
    let small = o.sub(one, small);
    let shifted = o.sub(x, half);
    let shifted = o.fma(x, ratio, shifted);
    let shifted = o.sub(half, shifted);
    let above = o.gt_c(x, 0.25);
    let near = o.select(above, shifted, small);
    let two = o.float(2.0);
    let mirrored = o.sub(two, complement);
    let negative = o.cmp(Compare::Lt, x, zero);
    let rest = o.select(negative, mirrored, complement);
    let is_near = o.lt_c(a, 0.84375);
    o.select(is_near, near, rest)
}
