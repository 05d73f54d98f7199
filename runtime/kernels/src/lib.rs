//! CPU micro-kernels: every [`Import`](cascata_artifact::abi::Import) of the kernel ABI
//! at three instruction set levels.
//!
//! [`resolve`] gives the function addresses for an artifact's kernel table; [`Kernels`]
//! is the same table, typed, for Rust callers.

mod dwconv;
mod entries;
mod gemm;
mod isa;
mod math;
pub mod measure;
pub mod online;
mod pack;
mod rows;
mod simd;
mod slices;
mod widen;

pub use entries::{Kernels, resolve};
pub use gemm::PANEL;
pub use isa::{Isa, UnknownIsa};
pub use slices::MatMul;
pub use widen::{narrow_bf16, widen_bf16_pairs, widen_f16, widen_i8};
