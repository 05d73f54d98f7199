//! `cascata run`.

use super::trace::chrome_trace;
use super::{print, print_json};
use crate::support::arrays::{self, Arrays};
use crate::support::device::DeviceArgs;
use crate::support::exit::FileError;
use crate::support::inputs::InputArgs;
use crate::support::parse;
use crate::support::subject::{self, ModelArgs, Setup, Subject};
use crate::support::table::Table;
use crate::support::trust::TrustArgs;
use anyhow::Result;
use cascata::{Tensor, ir};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Runs an artifact or a model once
#[derive(Args)]
#[command(after_help = after_help())]
pub struct Run {
    /// What runs: F.casc, MODEL, O0:MODEL, interp:MODEL
    #[arg(value_parser = parse::<Subject>)]
    subject: Subject,
    #[command(flatten)]
    inputs: InputArgs,
    /// Writes the outputs by name
    #[arg(long, value_name = "FILE.npz")]
    output: Option<PathBuf>,
    /// Threads; 0 means one for each CPU
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Also gives a value of the model (repeatable). In a model it becomes an output, which may
    /// change how ops are fused; of an artifact it must be one that a kernel writes
    #[arg(long, value_name = "VALUE")]
    fetch: Vec<String>,
    /// Writes the time of every launch as a Chrome trace (chrome://tracing, ui.perfetto.dev)
    #[arg(long, value_name = "FILE.json")]
    profile: Option<PathBuf>,
    /// Prints the summary of the outputs as JSON
    #[arg(long)]
    json: bool,
}

fn after_help() -> String {
    format!(
        "{}

Examples:
  cascata run model.casc --input in.npz --output out.npz
  cascata run model.onnx --random 7 --dim batch=3 --range input_ids=0..30000
  cascata run model.casc --input in.npz --threads 1 --profile trace.json
  cascata run model.onnx --input in.npz --fetch /encoder/add_3 --output out.npz

Exit codes: 2 a size, range or value that does not exist, 3 a file is not readable, 5 the inputs
do not fit (everything that is wrong with them is listed).",
        subject::HELP
    )
}

/// One output, summarised.
#[derive(Serialize)]
struct Summary {
    name: String,
    dtype: String,
    dims: Vec<i64>,
    min: Option<f64>,
    mean: Option<f64>,
    max: Option<f64>,
}

impl Run {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let setup = Setup {
            threads: self.threads,
            device: self.device,
            model: self.model.clone(),
            fetch: self.fetch.clone(),
            fetch_groups: false,
            trust: self.trust.clone(),
        };
        let runner = self.subject.open(&setup)?;
        let inputs = self.inputs.arrays(&runner.signature())?;
        let outputs = match &self.profile {
            None => runner.run(&inputs)?,
            Some(path) => {
                let outputs = runner.run(&inputs)?; // The first run reads the weights from the disk.
                let (_, launches) = runner.run_profiled(&inputs)?;
                let trace = chrome_trace(&launches);
                std::fs::write(path, trace.to_string())
                    .map_err(|e| FileError::new("write", path, e))?;
                outputs
            }
        };
        if let Some(path) = &self.output {
            arrays::write(path, &outputs)?;
        }
        let summaries = summaries(&outputs)?;
        if self.json { print_json(&summaries) } else { Ok(print(text(&summaries))?) }
    }
}

fn summaries(outputs: &Arrays) -> Result<Vec<Summary>> {
    outputs.iter().map(|(name, t)| summary(name, t)).collect()
}

fn summary(name: &str, t: &Tensor) -> Result<Summary> {
    let dims: Vec<usize> = t.dims().iter().map(|d| *d as usize).collect();
    let values = ir::interp::Tensor::from_le_bytes(t.dtype(), &dims, t.bytes())?
        .to_f64()
        .unwrap_or_default();
    let some = |x: f64| (!values.is_empty()).then_some(x);
    Ok(Summary {
        name: name.into(),
        dtype: t.dtype().to_string(),
        dims: t.dims().to_vec(),
        min: some(values.iter().copied().fold(f64::INFINITY, f64::min)),
        mean: some(values.iter().sum::<f64>() / values.len() as f64),
        max: some(values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    })
}

fn text(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&["output", "type", ">min", ">mean", ">max"]);
    for s in summaries {
        let dims: Vec<String> = s.dims.iter().map(ToString::to_string).collect();
        let number = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.6}"));
        let ty = format!("{}[{}]", s.dtype, dims.join(","));
        table.row([s.name.clone(), ty, number(s.min), number(s.mean), number(s.max)]);
    }
    table
}
