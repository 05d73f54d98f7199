//! A tensor where it lies in a model file.

use bytes::Bytes;
use cascata_ir::types::TensorType;

/// A tensor of a model file; the bytes are a view into the mapping.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name in the file.
    pub name: String,
    /// Its type; all dims are numbers, and the encoding is the file's.
    pub ty: TensorType,
    /// Little-endian elements or blocks.
    pub data: Bytes,
    /// The file's name.
    pub file: String,
}
