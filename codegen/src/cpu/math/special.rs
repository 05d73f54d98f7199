//! erf and erfc in f64 (fdlibm's rational functions, without its branches).

use super::exp::exp;
use crate::cpu::ops::{Mask, Ops};
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Value};

const ERX: f64 = 8.45062911510467529297e-01;
const PP: [f64; 5] = [
    1.28379167095512558561e-01, -3.25042107247001499370e-01, -2.84817495755985104766e-02,
    -5.77027029648944159157e-03, -2.37630166566501626084e-05,
];
const QQ: [f64; 6] = [
    1.0, 3.97917223959155352819e-01, 6.50222499887672944485e-02, 5.08130628187576562776e-03,
    1.32494738004321644526e-04, -3.96022827877536812320e-06,
];
const PA: [f64; 7] = [
    -2.36211856075265944077e-03, 4.14856118683748331666e-01, -3.72207876035701323847e-01,
    3.18346619901161753674e-01, -1.10894694282396677476e-01, 3.54783043256182359371e-02,
    -2.16637559486879084300e-03,
];
const QA: [f64; 7] = [
    1.0, 1.06420880400844228286e-01, 5.40397917702171048937e-01, 7.18286544141962662868e-02,
    1.26171219808761642112e-01, 1.36370839120290507362e-02, 1.19844998467991074170e-02,
];
const RA: [f64; 8] = [
    -9.86494403484714822705e-03, -6.93858572707181764372e-01, -1.05586262253232909814e+01,
    -6.23753324503260060396e+01, -1.62396669462573470355e+02, -1.84605092906711035994e+02,
    -8.12874355063065934246e+01, -9.81432934416914548592e+00,
];
const SA: [f64; 9] = [
    1.0, 1.96512716674392571292e+01, 1.37657754143519042600e+02, 4.34565877475229228821e+02,
    6.45387271733267880336e+02, 4.29008140027567833386e+02, 1.08635005541779435134e+02,
    6.57024977031928170135e+00, -6.04244152148580987438e-02,
];
const RB: [f64; 8] = [
    -9.86494292470009928597e-03, -7.99283237680523006574e-01, -1.77579549177547519889e+01,
    -1.60636384855821916062e+02, -6.37566443368389627722e+02, -1.02509513161107724954e+03,
    -4.83519191608651397019e+02, 0.0,
];
const SB: [f64; 9] = [
    1.0, 3.03380607434824582924e+01, 3.25792512996573918826e+02, 1.53672958608443695994e+03,
    3.19985821950859553908e+03, 2.55305040643316442583e+03, 4.74528541206955367215e+02,
    -2.24409524465858183362e+01, 0.0,
];

/// `erf(x) = x + x·r` for `|x| < 0.84375`; returns `r`.
fn near_ratio(o: &mut Ops<'_>, a: Value) -> Value {
    let z = o.mul(a, a);
    let (p, q) = (o.polynomial(z, &PP), o.polynomial(z, &QQ));
    o.div(p, q)
}

/// `erf(a) − ERX` for `0.84375 <= a < 1.25`.
fn middle(o: &mut Ops<'_>, a: Value) -> Value {
    let s = o.add_c(a, -1.0);
    let (p, q) = (o.polynomial(s, &PA), o.polynomial(s, &QA));
    o.div(p, q)
}

/// Horner's scheme with coefficients that depend on a mask.
fn horner_of(o: &mut Ops<'_>, x: Value, mask: Mask, yes: &[f64], no: &[f64]) -> Value {
    let mut sum = o.float(0.0);
    for (yes, no) in yes.iter().zip(no).rev() {
        let (yes, no) = (o.float(*yes), o.float(*no));
        let c = o.select(mask, yes, no);
        sum = o.fma(sum, x, c);
    }
    sum
}

/// erfc(a) for `a >= 1.25`.
fn far(o: &mut Ops<'_>, a: Value) -> Value {
    let square = o.mul(a, a);
    let one = o.float(1.0);
    let s = o.div(one, square);
    let close = o.lt_c(a, 1.0 / 0.35);
    let (r, q) = (horner_of(o, s, close, &RA, &RB), horner_of(o, s, close, &SA, &SB));
    let ratio = o.div(r, q);
    // The high half of a has an exact square.
    let (bits, mask) = (o.bits(a), o.int(!0xffff_ffff));
    let high = o.c.ins().band(bits, mask);
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
fn parts(o: &mut Ops<'_>, a: Value) -> (Value, Value) {
    let ratio = near_ratio(o, a);
    let middle = middle(o, a);
    let rest = o.float(1.0 - ERX);
    let middle = o.sub(rest, middle);
    let far = far(o, a);
    let is_middle = o.lt_c(a, 1.25);
    (ratio, o.select(is_middle, middle, far))
}

/// erf(x): error at most 2 ulp, ±1 at ±inf, NaN kept.
pub(super) fn erf(o: &mut Ops<'_>, x: Value) -> Value {
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
pub(super) fn erfc(o: &mut Ops<'_>, x: Value) -> Value {
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
    let negative = o.cmp(FloatCC::LessThan, x, zero);
    let rest = o.select(negative, mirrored, complement);
    let is_near = o.lt_c(a, 0.84375);
    o.select(is_near, near, rest)
}
