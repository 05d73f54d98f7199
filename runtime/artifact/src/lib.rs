//! The artifact file format and the kernel ABI: the only thing that the
//! compiler and the runtime share besides `cascata-types`.
#![forbid(unsafe_code)]

pub mod abi;
pub mod manifest;
