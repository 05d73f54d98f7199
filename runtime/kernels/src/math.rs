//! Elementary functions on vectors, one formula for all levels, so that they differ
//! only by the rounding of `a·b + c`. Coefficients: `scripts/minimax.py`.

mod erf;
mod exp;
mod log;
mod sigmoid;
mod tanh;

pub(crate) use erf::{Erf, GeluErf};
pub(crate) use exp::{Exp, exp_or_zero};
pub(crate) use log::Log;
pub(crate) use sigmoid::{GeluTanh, Sigmoid, Silu};
pub(crate) use tanh::Tanh;

use crate::simd::Simd;

/// A function of one f32, on a vector.
pub(crate) trait MapOp {
    /// `f(x)`, lane by lane.
    fn apply<S: Simd>(s: S, x: S::F) -> S::F;
}
