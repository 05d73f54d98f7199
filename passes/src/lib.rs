//! The ordered pipeline from imported Graph to fused groups.
//!
//! [`pipeline::pipeline`] is the list of passes; [`pipeline::optimise`] runs it.
#![forbid(unsafe_code)]

pub mod canonicalise;
pub mod control;
pub mod dims;
pub mod egraph;
pub mod error;
pub mod fold;
pub mod fuse;
pub mod horizontal;
pub mod integer_contractions;
pub mod isolation;
mod known;
pub mod layout;
pub mod names;
mod narrow;
pub mod narrow_floats;
pub mod narrow_integers;
pub mod pad_columns;
pub mod pipeline;
pub mod report;
pub mod rules;
pub mod variants;
mod walk;
pub mod widen;
