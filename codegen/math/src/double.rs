//! f64 functions by name.

use super::exp::{exp, expm1_bounded};
use super::inverse::{acos, acosh, asin, asinh, atan, atanh};
use super::log::{log, log1p_unit};
use super::special::{erf, erfc};
use super::trig::{cos, sin, tan};
use crate::FloatOps;
use cascata_ir::op::UnaryOp;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// A transcendental function; others are not asked for.
pub fn double<O: FloatOps>(o: &mut O, op: UnaryOp, x: O::Value) -> O::Value {
    match op {
        UnaryOp::Exp => exp(o, x),
        UnaryOp::Log => log(o, x),
        UnaryOp::Sin => sin(o, x),
        UnaryOp::Cos => cos(o, x),
        UnaryOp::Tan => tan(o, x),
        UnaryOp::Asin => asin(o, x),
        UnaryOp::Acos => acos(o, x),
        UnaryOp::Atan => atan(o, x),
        UnaryOp::Sinh => sinh(o, x),
        UnaryOp::Cosh => cosh(o, x),
        UnaryOp::Tanh => tanh(o, x),
        UnaryOp::Asinh => asinh(o, x),
        UnaryOp::Acosh => acosh(o, x),
        UnaryOp::Atanh => atanh(o, x),
        UnaryOp::Erf => erf(o, x),
        UnaryOp::Sigmoid => sigmoid(o, x),
        UnaryOp::Silu => {
            let gate = sigmoid(o, x);
            o.mul(x, gate)
        }
        UnaryOp::GeluErf => {
            let scaled = o.mul_c(x, -FRAC_1_SQRT_2);
            let twice = erfc(o, scaled);
            let half = o.mul_c(x, 0.5);
            o.mul(half, twice)
        }
        UnaryOp::GeluTanh => gelu_tanh(o, x),
        UnaryOp::Softplus => softplus(o, x),
        _ => mish(o, x),
    }
}

/// 1/(1 + e^−x): error at most 3 ulp.
fn sigmoid<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let minus = o.neg(x);
    let e = exp(o, minus);
    let (one, sum) = (o.float(1.0), o.add_c(e, 1.0));
    o.div(one, sum)
}

/// tanh(x): error at most 4 ulp.
fn tanh<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let z = o.mul_c(a, -2.0);
    let z = o.at_least(z, -44.0);
    let e = expm1_bounded(o, z);
    let denominator = o.add_c(e, 2.0);
    let quotient = o.div(e, denominator);
    o.with_sign(quotient, x)
}

/// e^|x|/2 without early overflow.
fn half_exp<O: FloatOps>(o: &mut O, magnitude: O::Value) -> O::Value {
    let half = o.mul_c(magnitude, 0.5);
    let root = exp(o, half);
    let scaled = o.mul_c(root, 0.5);
    o.mul(scaled, root)
}

/// sinh(x): error at most 4 ulp below 22, relative error at most 2^-48 above.
fn sinh<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let small = o.at_most(a, 22.0);
    let e = expm1_bounded(o, small);
    let denominator = o.add_c(e, 1.0);
    let quotient = o.div(e, denominator);
    let sum = o.add(e, quotient);
    let near = o.mul_c(sum, 0.5);
    let far = half_exp(o, a);
    let is_far = o.gt_c(a, 22.0);
    let magnitude = o.select(is_far, far, near);
    o.with_sign(magnitude, x)
}

/// cosh(x): error at most 4 ulp below 22, relative error at most 2^-48 above.
fn cosh<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let small = o.at_most(a, 22.0);
    let e = exp(o, small);
    let one = o.float(1.0);
    let inverse = o.div(one, e);
    let sum = o.add(e, inverse);
    let near = o.mul_c(sum, 0.5);
    let far = half_exp(o, a);
    let is_far = o.gt_c(a, 22.0);
    o.select(is_far, far, near)
}

/// `x·sigmoid(2·√(2/π)·(x + 0.044715·x³))`: relative error at most 2^-46.
fn gelu_tanh<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let square = o.mul(x, x);
    let slope = 2.0 * (2.0 / PI).sqrt();
    let (cubic, linear) = (o.float(0.044715 * slope), o.float(slope));
    let slope = o.fma(square, cubic, linear);
    let inner = o.mul(x, slope);
    let gate = sigmoid(o, inner);
    o.mul(x, gate)
}

/// ln(1 + e^x): error at most 4 ulp.
fn softplus<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let a = o.abs(x);
    let a = o.neg(a);
    let z = exp(o, a);
    let log = log1p_unit(o, z);
    let positive = o.at_least(x, 0.0);
    o.add(positive, log)
}

/// x·tanh(softplus(x)): error at most 6 ulp.
fn mish<O: FloatOps>(o: &mut O, x: O::Value) -> O::Value {
    let e = o.at_most(x, 40.0);
    let e = exp(o, e);
    let t = o.add_c(e, 2.0);
    let t = o.mul(t, e);
    let denominator = o.add_c(t, 2.0);
    let gate = o.div(t, denominator);
    o.mul(x, gate)
}
