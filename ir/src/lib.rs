//! The two compile-time forms of a model and their reference semantics.
//!
//! * [`graph`]: tensor level, SSA over typed ids, regions for bodies ([`op`] is the
//!   closed list of operators, [`infer`] their typing rules, [`cascade`] their algebra);
//! * [`kernel`]: loop level, one fused kernel.
//!
//! Each has a printer, a parser, a verifier that reports all errors, and an
//! interpreter that defines what it means.
#![forbid(unsafe_code)]

pub mod cascade;
pub mod compare;
pub mod graph;
pub mod infer;
pub mod interp;
pub mod kernel;
pub mod op;
pub mod parse;
pub mod print;
pub mod regex;
pub mod scalar;
pub mod verify;

pub use cascata_types as types;
