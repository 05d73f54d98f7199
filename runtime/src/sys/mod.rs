//! Everything that needs `unsafe`: raw memory, mapped files and code, the thread
//! pool's shared job, and the call of generated kernels.
#![allow(unsafe_code, reason = "the only place for it, beside the C API")]

pub(crate) mod block;
mod cache_attention;
pub(crate) mod control;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
pub(crate) mod element;
pub(crate) mod exec;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;
pub(crate) mod map;
pub(crate) mod memory;
pub(crate) mod pool;
pub(crate) mod run;
pub(crate) mod text;
