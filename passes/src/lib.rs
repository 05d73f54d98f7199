//! The ordered pipeline from imported Graph to fused groups.
//!
//! [`pipeline::pipeline`] is the list of passes; [`pipeline::optimise`] runs it.
#![forbid(unsafe_code)]

pub mod canonicalise;
pub mod dims;
pub mod egraph;
pub mod error;
pub mod fold;
pub mod fuse;
pub mod horizontal;
pub mod layout;
pub mod pipeline;
pub mod report;
pub mod rules;
mod walk;
pub mod widen;
