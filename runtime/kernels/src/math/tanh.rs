//! tanh|x| = −E/(E + 2) with `E = e^(−2|x|) − 1`, which keeps relative accuracy at 0.
//! Error measured over a sweep of f32: 2.48 ulp.

use super::{MapOp, exp};
use crate::simd::Simd;

/// tanh(x): error at most 4 ulp, ±1 at ±inf, NaN kept.
pub(crate) struct Tanh;

/// tanh rounds to 1 above half of this.
const SATURATED: f32 = -20.0;

impl MapOp for Tanh {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        let z = s.mul(s.abs(x), s.splat(-2.0));
        let (n, p) = exp::reduced(s, s.max(s.splat(SATURATED), z));
        let one = s.splat(1.0);
        let scale = s.pow2(n);
        let e = s.fma(scale, p, s.sub(scale, one));
        s.with_sign(s.abs(s.div(e, s.add(e, s.splat(2.0)))), x)
    }
}
