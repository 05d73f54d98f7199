//! `cascata check`.

use super::{print, print_json};
use crate::support::exit::{No, Usage};
use crate::support::subject::ModelArgs;
use crate::support::table::Table;
use anyhow::Result;
use cascata::passes::isolation::{Batch, BatchError, Leak, Report, Select, Verdict, check};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Proves properties of a model without compiling it
///
/// `--isolation batch`: no entry of a batch reaches another entry's part of an output, whatever
/// the sizes. Where that does not hold, or cannot be proven, the value and the op are named with
/// the way from the input to the output.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Check {
    /// The model, an ONNX file
    model: PathBuf,
    /// What is proven
    #[arg(long, value_enum, value_name = "WHAT")]
    isolation: Isolation,
    /// The batch by its symbol; the default is the first symbol at axis 0 of an input
    #[arg(long, value_name = "NAME", conflicts_with = "axis")]
    symbol: Option<String>,
    /// The batch by an input's axis (repeatable: axes of one size)
    #[arg(long, value_name = "INPUT:AXIS")]
    axis: Vec<String>,
    #[command(flatten)]
    import: ModelArgs,
    /// Prints the report as JSON, with whole paths
    #[arg(long)]
    json: bool,
}

/// What entries are isolated.
#[derive(Clone, Copy, ValueEnum)]
enum Isolation {
    Batch,
}

const AFTER_HELP: &str = "\
Examples:
  cascata check model.onnx --isolation batch
  cascata check model.onnx --isolation batch --symbol batch_size --json
  cascata check model.onnx --isolation batch --axis input_ids:0 --axis attention_mask:0

Exit codes: 0 isolated (or every run holds one entry), 1 entries mix or isolation cannot be proven,
2 there is no such symbol, input or axis, 3 the file is no model.";

impl Check {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let Isolation::Batch = self.isolation;
        let graph =
            cascata::import(&self.model, &self.import.import_options(), Default::default())?.graph;
        let report = match Batch::find(&graph, &self.select()?) {
            Ok(batch) => check(&graph, &batch),
            Err(e @ BatchError::Single(_)) => return self.single(&e),
            Err(e) => return Err(Usage(e.to_string()).into()),
        };
        if self.json {
            print_json(&json!({ "isolated": report.isolated(), "report": report }))?;
        } else {
            print(text(&report))?;
        }
        if report.isolated() {
            Ok(())
        } else {
            Err(No("entries of the batch are not isolated".into()).into())
        }
    }

    fn select(&self) -> Result<Select, Usage> {
        if let Some(symbol) = &self.symbol {
            return Ok(Select::Symbol(symbol.clone()));
        }
        if self.axis.is_empty() {
            return Ok(Select::Leading);
        }
        let parse = |text: &String| {
            let (input, axis) = text.rsplit_once(':')?;
            Some((input.to_string(), axis.parse().ok()?))
        };
        let axes = self.axis.iter().map(|t| {
            parse(t).ok_or_else(|| Usage(format!("'{t}' is not INPUT:AXIS, e.g. input_ids:0")))
        });
        axes.collect::<Result<_, _>>().map(Select::Axes)
    }

    fn single(&self, why: &BatchError) -> Result<()> {
        if self.json {
            return print_json(&json!({ "isolated": true, "reason": why.to_string() }));
        }
        Ok(print(format!("isolated: {why}\n"))?)
    }
}

fn text(report: &Report) -> String {
    let mut out = format!("batch     {}\n", report.batch);
    for (name, axis) in &report.inputs {
        let place =
            axis.map_or("shared by all entries".into(), |a| format!("entries along axis {a}"));
        let _ = writeln!(out, "input     {name}: {place}");
    }
    for output in &report.outputs {
        let verdict = match &output.verdict {
            Verdict::Isolated(p) => {
                let size: Vec<&str> =
                    p.size.iter().map(String::as_str).filter(|s| *s != "1").collect();
                format!("isolated, entries along axis {} ({})", p.axis, size.join("*"))
            }
            Verdict::Shared => "depends on no entry".into(),
            Verdict::Leak(leak) => format!("NOT ISOLATED: {leak}"),
        };
        let _ = writeln!(out, "output    {}: {verdict}", output.name);
    }
    for (name, leak) in report.leaks() {
        let _ = write!(out, "\nway to {name}\n{}", way(leak));
    }
    out
}

/// How many values are shown on each side of the one where entries meet.
const SHOWN: usize = 6;

fn way(leak: &Leak) -> Table {
    let mut table = Table::new(&["", "value"]);
    let at = leak.path.iter().position(|v| *v == leak.value).unwrap_or(0);
    let mut skipped = 0;
    for (i, value) in leak.path.iter().enumerate() {
        let end = i == 0 || i + 1 == leak.path.len();
        if !end && i.abs_diff(at) > SHOWN {
            skipped += 1;
            continue;
        }
        if std::mem::take(&mut skipped) > 0 {
            table.row(["", "..."]);
        }
        table.row([if i == at { "mixes" } else { "" }, value]);
    }
    table
}
