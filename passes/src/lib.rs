//! The ordered pipeline from imported Graph to fused groups.

pub mod fuse;
pub mod layout;
