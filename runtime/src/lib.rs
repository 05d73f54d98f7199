//! Loads and runs artifacts.
//!
//! ```no_run
//! use cascata_runtime::{Session, TensorView};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Session::load("model.cascata")?;
//! let x = [0.0f32; 6];
//! let outputs = session.run(&[("x", TensorView::of(&[2, 3], &x)?)])?;
//! println!("{:?}", outputs[0].as_slice::<f32>()?);
//! # Ok(())
//! # }
//! ```
//!
//! An [`Artifact`] is a loaded file, a [`Runtime`] owns the threads, a [`Session`] is an
//! entry point of the one on the other. All three are cheap to share and may be used from
//! several threads. `include/cascata.h` is the same for C.
#![deny(unsafe_code)]

mod arena;
mod artifact;
mod bind;
mod cache;
pub mod calibrate;
mod cancel;
mod capi;
mod cpu;
mod device;
mod error;
mod fetch;
#[cfg(feature = "cuda")]
pub mod gpus;
mod io_binding;
mod kv_cache;
mod memory_plan;
mod plan;
mod profile;
mod program;
mod runtime;
mod session;
mod source;
mod sys;
mod tensor;
mod texts;

pub use artifact::{Artifact, LoadOptions};
pub use cancel::{CancelToken, RunOptions};
pub use cascata_artifact as format;
pub use cascata_artifact::sign::PublicKey;
pub use cascata_kernels::Isa;
pub use cascata_types::DType;
pub use device::{Device, NoDevice};
pub use error::{DeviceError, InputError, LoadError, RunError, TensorError};
pub use io_binding::IoBinding;
pub use kv_cache::{CacheAttention, KvCache, Threads};
pub use memory_plan::{BufferMemory, MemoryPlan, SegmentMemory};
pub use profile::LaunchProfile;
pub use runtime::{Runtime, RuntimeBuilder};
pub use session::{Session, SessionOptions};
pub use tensor::{Element, Tensor, TensorView, TensorViewMut};
