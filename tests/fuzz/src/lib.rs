//! The targets of `cascata-tests`, without the compiler that crate depends on.
#![forbid(unsafe_code)]

#[path = "../../src/targets/mod.rs"]
pub mod targets;
