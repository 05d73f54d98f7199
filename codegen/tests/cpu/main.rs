//! Compiled kernels against the Kernel IR interpreter, at every level that this CPU runs.

mod corpus;
mod elementwise;
mod fuzz;
mod math;
mod refusals;
mod support;
