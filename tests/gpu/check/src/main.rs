//! Runs a bundle of compiled cases on a GPU, compares every result with what it must be, and
//! times the models. Needs nothing but a driver.
//!
//! `gpu-check FOLDER [--device 0] [--only SUBSTRING] [--json FILE]`
//!
//! Cases run in a process of their own, which is replaced when a kernel breaks the device's
//! context or does not end: one bad kernel costs one case.

mod bundle;
mod case;
mod compare;
mod supervise;

use anyhow::{Context, Result};
use bundle::Bundle;
use clap::Parser;
use std::io::Write as _;
use std::path::PathBuf;

/// What to run.
#[derive(Parser)]
pub struct Options {
    /// The folder with `bundle.json` and `bundle.bin`.
    folder: PathBuf,
    /// Which GPU.
    #[arg(long, default_value_t = 0)]
    device: u32,
    /// Only cases with this in their `group/name`.
    #[arg(long, default_value = "")]
    only: String,
    /// Where the outcomes go, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seconds that a case may take.
    #[arg(long, default_value_t = 20)]
    limit_s: u64,
    /// Runs the cases from this one on and prints an outcome per line.
    #[arg(long, hide = true)]
    from: Option<usize>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let bundle = Bundle::read(&options.folder)?;
    let wanted = |c: &bundle::Case| format!("{}/{}", c.group, c.name).contains(&options.only);
    let picked: Vec<usize> =
        (0..bundle.cases.len()).filter(|i| wanted(&bundle.cases[*i])).collect();
    if let Some(from) = options.from {
        return work(&bundle, &picked[from.min(picked.len())..], options.device);
    }
    let outcomes = supervise::run(&options, &bundle, &picked)?;
    let failed = supervise::print(&outcomes);
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&outcomes)?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    anyhow::ensure!(failed == 0, "{failed} of {} cases failed", outcomes.len());
    Ok(())
}

/// The worker: one JSON line per case, at once.
fn work(bundle: &Bundle, cases: &[usize], device: u32) -> Result<()> {
    let runner = case::Runner::new(bundle, device)?;
    let mut out = std::io::stdout().lock();
    for &i in cases {
        let outcome = runner.run(&bundle.cases[i]);
        writeln!(out, "{}", serde_json::to_string(&outcome)?)?;
        out.flush()?;
        if outcome.breaks_context() {
            std::process::exit(3);
        }
    }
    Ok(())
}
