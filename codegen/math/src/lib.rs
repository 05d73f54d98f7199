//! Elementary functions as inline code, written once for every back end.
//!
//! * f32 `exp, log, erf, tanh, sigmoid, silu, gelu_*, softplus, mish` have formulas of
//!   their own ([`single`]); those that are also row primitives of the kernel ABI use the
//!   same formulas and coefficients there.
//! * Every other f32 function is the f64 one ([`double`]), rounded: error at most 1 ulp.
//! * f64 formulas are fdlibm's, without its branches; errors are stated at each function.
//!
//! Bounds hold with fused multiply-add; without it (x86-64-v1) they may double. A back end
//! gives the operations ([`FloatOps`]): of one element or of a vector of them.
#![forbid(unsafe_code)]

mod double;
mod exp;
mod inverse;
mod log;
mod ops;
mod power;
mod single;
mod special;
mod trig;

pub use double::double;
pub use inverse::atan2;
pub use ops::{Compare, FloatOps};
pub use power::pow;
pub use single::single;
