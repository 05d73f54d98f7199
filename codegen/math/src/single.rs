//! f32 functions with formulas of their own.

use super::exp::{Reduced, exp, expm1_bounded, near_one_scaled, reduced};
use super::log::{log, log1p_unit};
use crate::{Compare, FloatOps};
use cascata_ir::op::UnaryOp;
use std::f64::consts::FRAC_1_SQRT_2;

/// One of the functions that the module text of `math` lists.
pub fn single<O: FloatOps>(o: &mut O, op: UnaryOp, x: O::Value) -> O::Value {
    match op {
        UnaryOp::Exp => exp(o, x),
        UnaryOp::Log => log(o, x),
        UnaryOp::Erf => erf(o, x),
        UnaryOp::Tanh => tanh(o, x),
        UnaryOp::Sigmoid => sigmoid(o, x),
        UnaryOp::Silu => silu(o, x),
        UnaryOp::GeluErf => gelu_erf(o, x),
        UnaryOp::GeluTanh => gelu_tanh(o, x),
        UnaryOp::Softplus => softplus(o, x),
        _ => mish(o, x),
    }
}

/// erf(x): an odd polynomial near 0, `1 − e^(x·Q(x))` beyond; error at most 4 ulp, ±1 at
/// ±inf, NaN kept.
fn erf<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    const NEAR: [f64; 6] = [
        0.128_379_15_f32 as f64,
        -0.376_124_7_f32 as f64,
        0.112_814_88_f32 as f64,
        -0.026_753_107_f32 as f64,
        0.004_972_031_4_f32 as f64,
        -5.879_254e-4_f32 as f64,
    ];
    const FAR: [f64; 6] = [
        -1.128_507_6_f32 as f64,
        -0.635_740_94_f32 as f64,
        -0.105_232_28_f32 as f64,
        0.022_871_163_f32 as f64,
        -0.003_209_138_8_f32 as f64,
        2.132_849_6e-4_f32 as f64,
    ];
    let a = o.abs(x);
    let a = o.at_most(a, 4.0);
    let square = o.mul(a, a);
    let near = o.polynomial(square, &NEAR);
    let near = o.fma(near, a, a);
    let far = o.polynomial(a, &FAR);
    let far = o.mul(a, far);
    let Reduced { bits, p, .. } = reduced(o, far);
    let far = near_one_scaled(o, p, bits);
    let one = o.float(1.0);
    let far = o.sub(one, far);
    let is_near = o.lt_c(a, 0.95_f32.into());
    let magnitude = o.select(is_near, near, far);
    o.with_sign(magnitude, x)
}

/// tanh(x) = ∓E/(E + 2) with `E = e^(−2|x|) − 1`: error at most 4 ulp, NaN kept.
fn tanh<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let z = o.mul_c(a, -2.0);
    let z = o.at_least(z, -20.0);
    let e = expm1_bounded(o, z);
    let denominator = o.add_c(e, 2.0);
    let quotient = o.div(e, denominator);
    o.with_sign(quotient, x)
}

/// 1/(1 + e^−x), as z/(1 + z) with `z = e^−|x|` below 0: error at most 4 ulp, NaN kept.
fn sigmoid<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let a = o.neg(a);
    let z = exp(o, a);
    let (zero, one) = (o.float(0.0), o.float(1.0));
    let negative = o.cmp(Compare::Lt, x, zero);
    let numerator = o.select(negative, z, one);
    let denominator = o.add(one, z);
    o.div(numerator, denominator)
}

/// `x`, but not below −200, where the other factor has long become 0.
fn bounded<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    o.at_least(x, -200.0)
}

/// x·sigmoid(x): error at most 4 ulp while the result is above 1e-36; −0 at −inf.
fn silu<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let (x, gate) = (bounded(o, x), sigmoid(o, x));
    o.mul(x, gate)
}

/// x·(1 + erf(x/√2))/2: absolute error at most 1e-6·max(1, |x|); −0 at −inf.
fn gelu_erf<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let scaled = o.mul_c(x, FRAC_1_SQRT_2);
    let erf = erf(o, scaled);
    let twice = o.add_c(erf, 1.0);
    let x = bounded(o, x);
    let half = o.mul_c(x, 0.5);
    o.mul(half, twice)
}

/// `x·sigmoid(2·√(2/π)·(x + 0.044715·x³))`: absolute error at most 1e-6·max(1, |x|).
fn gelu_tanh<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let square = o.mul(x, x);
    let (cubic, linear) = (o.float(0.071_354_814_f32.into()), o.float(1.595_769_f32.into()));
    let slope = o.fma(square, cubic, linear);
    let inner = o.mul(x, slope);
    let gate = sigmoid(o, inner);
    let x = bounded(o, x);
    o.mul(x, gate)
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^−|x|): error at most 4 ulp, NaN kept.
fn softplus<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let a = o.neg(a);
    let z = exp(o, a);
    let log = log1p_unit(o, z);
    let positive = o.at_least(x, 0.0);
    o.add(positive, log)
}

/// x·tanh(softplus(x)) = x·t/(t + 2) with `t = e^x·(e^x + 2)`: error at most 6 ulp while
/// the result is above 1e-36.
fn mish<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let e = o.at_most(x, 20.0);
    let e = exp(o, e);
    let t = o.add_c(e, 2.0);
    let t = o.mul(t, e);
    let denominator = o.add_c(t, 2.0);
    let gate = o.div(t, denominator);
    o.mul(x, gate)
}
