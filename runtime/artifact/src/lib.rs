//! The artifact file format and the kernel ABI: the only thing that the
//! compiler and the runtime share besides `cascata-types`.
//!
//! * [`abi`]: how generated code is called and what it may call.
//! * [`manifest`]: what the artifact holds, as data, and its verifier.
//! * [`gpu`]: what runs on GPUs in the CPU code's place, and how it is called.
//! * [`format`](mod@format): how the bytes lie in the file.
//! * [`ArtifactWriter`] writes a file, [`ArtifactReader`] checks and reads one.
#![forbid(unsafe_code)]

pub mod abi;
mod cache_attention;
mod derived;
mod error;
pub mod format;
pub mod gpu;
pub mod manifest;
mod reader;
pub mod sign;
mod verify;
mod weights;
mod writer;

pub use cache_attention::CacheAttentionStep;
pub use error::{FormatError, ManifestError, WriteError};
pub use format::{Header, Section, SectionKind};
pub use manifest::Manifest;
pub use reader::{ArtifactReader, parse_manifest};
pub use verify::SectionSizes;
pub use weights::{CHUNK_BYTES, WEIGHT_ALIGN, assign_offsets};
pub use writer::ArtifactWriter;
