//! What the commands share.

pub mod arrays;
pub mod exit;
pub mod file;
pub mod inputs;
pub mod progress;
pub mod subject;
pub mod table;
