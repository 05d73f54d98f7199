//! Model formats to [`cascata_ir::graph::Graph`].
//!
//! * [`onnx`]: ONNX files, opset 7 and newer;
//! * [`hf`]: Hugging Face directories, with [`safetensors`] for their tensors;
//! * [`gguf`]: GGUF files.
//!
//! [`import()`] tells them apart.
//!
//! Every reader decomposes its format's operators to the core op set and keeps weights
//! as views into the mapped files.
#![deny(unsafe_code)]

mod error;
pub mod gguf;
pub mod hf;
mod import;
mod mapped;
pub mod onnx;
pub mod safetensors;
mod stored;
mod transformer;

pub use error::ImportError;
pub use import::{files, import};
pub use onnx::Import;
pub use stored::Stored;
pub use transformer::{TextCache, TextOptions};
