//! The logistic function and the activations made of it.
//! Errors measured over a sweep of f32: sigmoid 2.17 ulp, gelu_tanh 1.4e-7·max(1, |x|).

use super::MapOp;
use super::exp::{LOWEST_NORMAL, exp_normal};
use crate::simd::Simd;

/// 1 + e^−x: never cancels; infinite below −88.37.
#[inline(always)]
fn one_and_exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.max(s.splat(LOWEST_NORMAL), s.sub(s.splat(0.0), x));
    s.add(s.splat(1.0), exp_normal(s, s.min(s.splat(89.0), x)))
}

/// `x`, but not below `lowest`, where the other factor has long become 0: without
/// it, −inf·0 would be NaN. NaN stays.
#[inline(always)]
fn bounded_below<S: Simd>(s: S, x: S::F, lowest: f32) -> S::F {
    s.max(s.splat(lowest), x)
}

/// sigmoid(x): error at most 4 ulp, 0 below −88.37, NaN kept.
pub(crate) struct Sigmoid;

impl MapOp for Sigmoid {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        s.div(s.splat(1.0), one_and_exp(s, x))
    }
}

/// x·sigmoid(x): error at most 4 ulp while the result is above 1e-36 in magnitude;
/// −0 below −88.37, NaN kept.
pub(crate) struct Silu;

impl MapOp for Silu {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        s.div(bounded_below(s, x, -200.0), one_and_exp(s, x))
    }
}

/// `x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2 = x·sigmoid(2·√(2/π)·(x + 0.044715·x³))`:
/// absolute error at most 1e-6·max(1, |x|); −0 at −inf, NaN kept.
pub(crate) struct GeluTanh;

/// 2·√(2/π).
const LINEAR: f32 = 1.595_769;
/// 0.044715·[`LINEAR`].
const CUBIC: f32 = 0.071_354_814;

impl MapOp for GeluTanh {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        let slope = s.fma(s.mul(x, x), s.splat(CUBIC), s.splat(LINEAR));
        s.div(bounded_below(s, x, -200.0), one_and_exp(s, s.mul(x, slope)))
    }
}
