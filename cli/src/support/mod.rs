//! What the commands share.

pub mod arrays;
pub mod device;
pub mod exit;
pub mod file;
pub mod inputs;
pub mod progress;
pub mod subject;
pub mod table;
pub mod trust;

/// Parses by [`std::str::FromStr`] with the error as text.
pub fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse::<T>().map_err(|e| e.to_string())
}
