//! Model formats to [`cascata_ir::graph::Graph`].
//!
//! * [`onnx`]: ONNX files, opset 7 and newer.
//!
//! Every reader decomposes its format's operators to the core op set and keeps weights
//! as views into the mapped files.
#![deny(unsafe_code)]

mod mapped;
pub mod onnx;
