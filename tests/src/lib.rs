//! What the whole-way tests share: reference arrays, one-call compilation, comparison.
#![forbid(unsafe_code)]

pub mod ablation;
pub mod bundle;
pub mod compare;
pub mod onnx_backend;
pub mod onnx_export;
pub mod pipeline;
pub mod ptxas;
pub mod random;
pub mod references;
pub mod targets;
