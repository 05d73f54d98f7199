//! `cascata diff-run`.

use super::sample::{computed, step_name};
use super::{print, print_json};
use crate::support::arrays::Arrays;
use crate::support::exit::{No, Usage};
use crate::support::inputs::InputArgs;
use crate::support::parse;
use crate::support::subject::{
    self, How, ModelArgs, Runner, Setup, Subject, from_interpreter, interpret,
};
use crate::support::table::Table;
use anyhow::{Context, Result};
use cascata::Tensor;
use cascata::artifact::manifest::Step;
use cascata::ir::interp;
use clap::Args;
use serde::Serialize;

/// Runs two things on the same inputs and compares the outputs
///
/// A is the reference. An output diverges when its largest difference, divided by the largest
/// magnitude of the reference, is above the tolerance; integers and booleans must be equal, and
/// NaN and infinities must be in the same places. If outputs diverge and A and B both start from
/// a model, the intermediate results are compared as well, and the first one that diverges is
/// named with the kernel that computed it.
#[derive(Args)]
#[command(after_help = after_help())]
pub struct DiffRun {
    /// The reference
    #[arg(value_parser = parse::<Subject>)]
    a: Subject,
    /// What is compared with it
    #[arg(value_parser = parse::<Subject>)]
    b: Subject,
    #[command(flatten)]
    inputs: InputArgs,
    /// Largest allowed relative difference of floats
    #[arg(long, default_value_t = 1e-3, value_name = "X", value_parser = tolerance)]
    tolerance: f64,
    /// Threads of compiled subjects; 0 means one for each CPU
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    #[command(flatten)]
    model: ModelArgs,
    /// Prints the result as JSON; a difference that is not finite is null
    #[arg(long)]
    json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let tolerance = text.parse::<f64>().ok().filter(|x| *x >= 0.0);
    tolerance.ok_or_else(|| "it must be a number from 0".into())
}

fn after_help() -> String {
    format!(
        "{}

Examples:
  cascata diff-run interp:model.onnx model.casc --random 1 --dim batch=3
  cascata diff-run O0:model.onnx O2:model.onnx --input in.npz --tolerance 1e-4
  cascata diff-run old.casc new.casc --input in.npz --json

Exit codes: 0 all outputs agree, 1 one diverges, others as usual.",
        subject::HELP
    )
}

/// How one tensor differs.
#[derive(Debug, Serialize)]
struct Difference {
    name: String,
    ty: String,
    max_abs: f64,
    max_rel: f64,
    diverges: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// The first intermediate result that diverges.
#[derive(Debug, Serialize)]
struct First {
    #[serde(flatten)]
    difference: Difference,
    /// What computes it in B: kernel and source nodes.
    computed_by: Option<String>,
    /// How many results before it agree.
    agreeing_before: usize,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output {
    diverges: bool,
    tolerance: f64,
    outputs: Vec<Difference>,
    first: Option<First>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl DiffRun {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let setup = self.setup(false);
        let (a, b) = (self.open(&self.a, &setup)?, self.open(&self.b, &setup)?);
        let inputs = self.inputs.arrays(&a.signature())?;
        let outputs = self.compare(&a.run(&inputs).context("A")?, &b.run(&inputs).context("B")?)?;
        let diverges = outputs.iter().any(|d| d.diverges);
        let (first, note) = if diverges { self.first(&inputs)? } else { (None, None) };
        let result = Output { diverges, tolerance: self.tolerance, outputs, first, note };
        if self.json {
            print_json(&result)?
        } else {
            print(text(&result))?
        }
        let worst = result.outputs.iter().filter(|d| d.diverges).map(|d| d.name.as_str());
        match diverges {
            true => {
                Err(No(format!("outputs diverge: {}", worst.collect::<Vec<_>>().join(", "))).into())
            }
            false => Ok(()),
        }
    }

    /// Model arguments are for the models; an artifact beside one has them compiled in.
    fn open(&self, subject: &Subject, setup: &Setup) -> Result<Runner> {
        let artifact = subject.is_artifact()?;
        let model = if artifact { ModelArgs::default() } else { setup.model.clone() };
        subject.open(&Setup { model, ..setup.clone() })
    }

    fn setup(&self, fetch_groups: bool) -> Setup {
        let model = self.model.clone();
        Setup { threads: self.threads, model, fetch_groups, ..Setup::default() }
    }

    fn compare(&self, a: &Arrays, b: &Arrays) -> Result<Vec<Difference>> {
        let names = |x: &Arrays| x.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
        let find = |name: &String| b.iter().find(|(n, _)| n == name).map(|(_, t)| t);
        let pair = |(name, x): &(String, Tensor)| {
            let y = find(name).ok_or_else(|| {
                Usage(format!(
                    "A has the outputs {}, B has {}",
                    names(a).join(", "),
                    names(b).join(", ")
                ))
            })?;
            self.difference(name, x, y)
        };
        a.iter().map(pair).collect()
    }

    fn difference(&self, name: &str, a: &Tensor, b: &Tensor) -> Result<Difference> {
        let ty = |t: &Tensor| format!("{t:?}").trim_start_matches("Tensor ").to_string();
        let mut d = Difference {
            name: name.into(),
            ty: ty(a),
            max_abs: f64::INFINITY,
            max_rel: f64::INFINITY,
            diverges: true,
            note: None,
        };
        if a.dtype() != b.dtype() || a.dims() != b.dims() {
            d.note = Some(format!("B has {}", ty(b)));
            return Ok(d);
        }
        (d.max_abs, d.max_rel) = distance(&floats(a)?, &floats(b)?);
        let limit = if a.dtype().is_float() { self.tolerance } else { 0.0 };
        d.diverges = d.max_rel > limit;
        Ok(d)
    }

    /// The first intermediate result that differs, or why there is none.
    fn first(&self, inputs: &Arrays) -> Result<(Option<First>, Option<String>)> {
        for subject in [&self.a, &self.b] {
            if subject.is_artifact()? {
                let text = format!(
                    "to find the first value that diverges, give the model instead of {} (as MODEL or O2:MODEL)",
                    subject.path.display()
                );
                return Ok((None, Some(text)));
            }
        }
        let (a, b) = (self.intermediate(&self.a, inputs)?, self.intermediate(&self.b, inputs)?);
        let mut agreeing = 0;
        for (name, y) in &b.values {
            let Some((_, x)) = a.values.iter().find(|(n, _)| n == name) else { continue };
            // A pass may have given the name to another layout of the value.
            if x.dims() != y.dims() || x.dtype() != y.dtype() {
                continue;
            }
            let difference = self.difference(name, x, y)?;
            if difference.diverges {
                let computed_by = b.computed_by(name);
                return Ok((
                    Some(First { difference, computed_by, agreeing_before: agreeing }),
                    None,
                ));
            }
            agreeing += 1;
        }
        let text = format!(
            "none of {agreeing} intermediate results diverges when all of them are kept: \
             suspect what keeping them changes, the reuse of memory"
        );
        Ok((None, Some(text)))
    }

    /// Every named result that can be seen, in the order of computation.
    fn intermediate(&self, subject: &Subject, inputs: &Arrays) -> Result<Intermediate> {
        let runner = subject.open(&self.setup(subject.how != Some(How::Interpret)))?;
        let values = match &runner {
            Runner::Session(..) => runner.run(inputs)?,
            Runner::Interpreter(graph) => {
                let mut values = Arrays::new();
                let mut failed = None;
                interpret(graph, inputs, &mut |id, value| {
                    let name = &graph.values[id].name;
                    if !name.is_empty() {
                        match from_interpreter(value.tensor()) {
                            Ok(t) => values.push((name.clone(), t)),
                            Err(e) => failed = Some(e),
                        }
                    }
                })?;
                failed.map_or(Ok(values), Err)?
            }
        };
        let mut all = Intermediate { runner, values };
        all.sort();
        Ok(all)
    }
}

struct Intermediate {
    runner: Runner,
    values: Arrays,
}

impl Intermediate {
    /// The step that computes a value, its kernel and its source nodes.
    fn step(&self, name: &str) -> Option<((u32, usize), String)> {
        let Runner::Session(s, _) = &self.runner else { return None };
        let manifest = s.artifact().manifest();
        s.entry().all_steps().find_map(|(block, i, step)| match step {
            Step::Launch(l) if computed(manifest, s.entry(), l).iter().any(|v| v == name) => {
                let kernel = &manifest.kernels.get(l.variants.last()?.kernel as usize)?.name;
                let (at, from) = (step_name(block, i), l.source.join(", "));
                Some(((block, i), format!("step {at}, kernel {kernel}, from {from}")))
            }
            _ => None,
        })
    }

    fn computed_by(&self, name: &str) -> Option<String> {
        self.step(name).map(|(_, text)| text)
    }

    /// Outputs of a session come in the order of the signature; the interpreter's are in order.
    fn sort(&mut self) {
        let mut values = std::mem::take(&mut self.values);
        values.sort_by_key(|(name, _)| self.step(name).map_or((u32::MAX, 0), |(at, _)| at));
        self.values = values;
    }
}

fn floats(t: &Tensor) -> Result<Vec<f64>> {
    let dims: Vec<usize> = t.dims().iter().map(|d| *d as usize).collect();
    let t = interp::Tensor::from_le_bytes(t.dtype(), &dims, t.bytes())?;
    t.to_f64().context("strings cannot be compared")
}

/// The largest difference, and the same divided by the largest finite magnitude of `a`;
/// infinite where one has a NaN or an infinity that the other has not.
fn distance(a: &[f64], b: &[f64]) -> (f64, f64) {
    let largest = a.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs()));
    let apart = |(x, y): (&f64, &f64)| match x == y || (x.is_nan() && y.is_nan()) {
        true => 0.0,
        false if x.is_finite() && y.is_finite() => (x - y).abs(),
        false => f64::INFINITY,
    };
    let max_abs = a.iter().zip(b).map(apart).fold(0.0, f64::max);
    (max_abs, if largest > 0.0 { max_abs / largest } else { max_abs })
}

fn text(o: &Output) -> String {
    let mut table = Table::new(&["output", "type", ">max abs", ">max rel", ""]);
    let row = |d: &Difference| {
        let verdict =
            d.note.clone().unwrap_or_else(|| if d.diverges { "diverges" } else { "" }.into());
        [
            d.name.clone(),
            d.ty.clone(),
            format!("{:.2e}", d.max_abs),
            format!("{:.2e}", d.max_rel),
            verdict,
        ]
    };
    o.outputs.iter().for_each(|d| table.row(row(d)));
    let mut out = table.to_string();
    if let Some(first) = &o.first {
        let d = &first.difference;
        out += &format!(
            "\nfirst to diverge: {} {} (max abs {:.2e}, max rel {:.2e}), after {} that agree\n",
            d.name, d.ty, d.max_abs, d.max_rel, first.agreeing_before
        );
        if let Some(by) = &first.computed_by {
            out += &format!("  computed by {by}\n");
        }
    }
    if let Some(note) = &o.note {
        out += &format!("\n{note}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances() {
        assert_eq!(distance(&[1.0, -4.0], &[1.0, -3.0]), (1.0, 0.25));
        assert_eq!(distance(&[0.0], &[1e-9]), (1e-9, 1e-9));
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert_eq!(distance(&[nan, inf], &[nan, inf]), (0.0, 0.0));
        assert_eq!(distance(&[nan], &[0.0]).0, inf);
        assert_eq!(distance(&[inf, 1.0], &[2.0, 1.0]).0, inf);
    }
}
