//! What the compiler and the runtime both speak: element types, symbolic dims,
//! tensor types and encodings.
//!
//! This crate is small on purpose: the runtime links it into other people's
//! services. It allocates only for shapes and never panics on values read from
//! a file; every evaluation is checked.
#![forbid(unsafe_code)]

mod dim;
mod dtype;
mod encoding;
mod id;
mod quant;
pub mod rounding;
mod scalar;
mod symbol;
mod tensor_type;
pub mod text;

pub use dim::{Atom, Dim, EvalError, Monomial};
pub use dtype::DType;
pub use encoding::{BYTE_GROUP, Encoding, PANEL_WIDTH, PanelEncoding, QuantFormat};
pub use id::{Entity, PrimaryMap, SecondaryMap};
pub use quant::{CODES_OF_WORD, CodeFormat, Codes};
pub use scalar::Scalar;
pub use symbol::{Symbol, SymbolId, SymbolTable};
pub use tensor_type::{ElemKind, Shape, TensorType, ValueType};
