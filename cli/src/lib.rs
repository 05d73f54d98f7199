//! Compiler and runtime in one import.
//!
//! ```no_run
//! use cascata::{CompileOptions, Runtime, TensorView, compile};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let compiled = compile("model.onnx", &CompileOptions::default(), &mut ())?;
//! compiled.write("model.casc")?; // for later, and for other machines
//! let session = compiled.session(&Runtime::global()?)?; // or run it right here
//! let x = [0.0f32; 6];
//! let outputs = session.run(&[("x", TensorView::of(&[2, 3], &x)?)])?;
//! println!("{:?}", outputs[0].as_slice::<f32>()?);
//! # Ok(())
//! # }
//! ```
//!
//! [`compile`] is the whole way from a model file to an artifact; its source is one page.
//! A service that only runs artifacts depends on `cascata-runtime` alone: no compiler is
//! linked into it.
#![forbid(unsafe_code)]

mod compile;
mod fetch;
pub mod machine;
mod options;
mod report;
mod target;
#[cfg(feature = "generate")]
mod text;

pub use cascata_artifact as artifact;
pub use cascata_codegen::build::BuildError;
pub use cascata_codegen::cpu::CpuLevel;
#[cfg(feature = "generate")]
pub use cascata_engine as engine;
pub use cascata_frontends::onnx;
pub use cascata_frontends::{ImportError, TextCache, TextOptions, import};
pub use cascata_ir as ir;
#[cfg(feature = "generate")]
pub use cascata_kv as kv;
pub use cascata_passes as passes;
pub use cascata_runtime::calibrate;
pub use cascata_runtime::{
    Artifact, CacheAttention, DType, Device, Element, InputError, IoBinding, Isa, KvCache,
    LaunchProfile, LoadError, LoadOptions, MemoryPlan, RunError, Runtime, RuntimeBuilder, Session,
    SessionOptions, Tensor, TensorError, TensorView, TensorViewMut, Threads,
};
pub use compile::{CompileError, Compiled, compile};
pub use fetch::fetch_values;
pub use options::{CompileOptions, Progress};
pub use report::{CodeSize, CompilePhase, CompileReport, GpuSize};
pub use target::{UnknownGpu, UnknownTarget, native_level, parse_gpus, parse_targets};
#[cfg(feature = "generate")]
pub use text::{PagedModel, SessionModel, TextError, engine_of, model_of};
