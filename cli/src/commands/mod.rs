//! One file for each command.

pub mod bench;
pub mod bench_llm;
pub mod calibrate;
pub mod check;
pub mod compile;
pub mod diff_run;
pub mod explain;
pub mod generate;
pub mod inspect;
pub mod keygen;
mod launches;
mod programs;
pub mod run;
mod sample;
mod trace;

use std::io::Write;

/// Prints to standard output; a closed pipe is an error that `main` forgives.
fn print(text: impl std::fmt::Display) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}")?;
    out.flush()
}

/// Prints JSON, indented.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(print(format!("{}\n", serde_json::to_string_pretty(value)?))?)
}
