//! One case through every stage.

use cascata_codegen::build::BuildError;
use cascata_codegen::cpu::CpuLevel;
use cascata_frontends::onnx::{Import, ImportError};
use cascata_ir::interp::{self, Tensor};
use cascata_passes::pipeline::OptLevel;
use cascata_runtime::Runtime;
use cascata_tests::onnx_backend::{Case, compare, imported};
use cascata_tests::pipeline;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Cases whose numbers are random: shape and dtype are the reference's, the numbers the
/// interpreter's.
const RANDOM: &[&str] = &["test_bernoulli"];

/// What became of a case.
pub enum Outcome {
    /// Interpreter and compiled code both give the reference's outputs.
    Passed,
    /// Refused by name, with the reason.
    Refused(String),
    /// Another result than the reference's, or an error that is not a refusal.
    Wrong(String),
    /// A stage panicked.
    Panicked(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed => write!(f, "passed"),
            Outcome::Refused(why) => write!(f, "refused: {why}"),
            Outcome::Wrong(what) => write!(f, "WRONG: {what}"),
            Outcome::Panicked(what) => write!(f, "PANICKED: {what}"),
        }
    }
}

/// One thread: the cases are spread over the CPUs already.
pub fn runtime() -> Runtime {
    Runtime::builder().threads(1).build().expect("a runtime")
}

/// Runs a case; a panic is its failure, not the test's.
pub fn case(case: &Case, runtime: &Runtime) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| stages(case, runtime))) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(outcome)) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or(panic.downcast_ref::<&str>().map(|s| s.to_string()));
            Outcome::Panicked(text.unwrap_or_default())
        }
    }
}

fn stages(case: &Case, runtime: &Runtime) -> Result<(), Outcome> {
    let imported = imported(case).map_err(|e| refusal(&e))?;
    if let Some(reason) = &case.skip {
        return Err(Outcome::Refused(format!("test data: {reason}")));
    }
    if let Err(errors) = cascata_ir::verify::verify(&imported.graph) {
        return Err(Outcome::Wrong(format!("verify: {}", errors[0])));
    }
    let given: Vec<(String, Tensor)> =
        case.inputs.iter().filter(|(n, _)| !imported.fixed.contains(n)).cloned().collect();
    let tensors: Vec<Tensor> = given.iter().map(|(_, t)| t.clone()).collect();
    let defined = interp::run(&imported.graph, &tensors)
        .map_err(|e| Outcome::Wrong(format!("interpreter: {e}")))?;
    let compiled = compiled(imported, &given, runtime)?;
    let interpreted = matches(case, &defined, &defined);
    let compiled = matches(case, &compiled, &defined);
    match (interpreted, compiled) {
        (Ok(()), Ok(())) => Ok(()),
        (Ok(()), Err(e)) => Err(Outcome::Wrong(format!("compiled, not interpreted: {e}"))),
        (Err(e), Ok(())) => Err(Outcome::Wrong(format!("interpreted, not compiled: {e}"))),
        (Err(e), Err(_)) => Err(other_reference(case, e)),
    }
}

/// A difference from a reference that the reference evaluator does not meet either says
/// nothing about us.
fn other_reference(case: &Case, e: String) -> Outcome {
    match &case.reference {
        Some(why) => Outcome::Refused(format!("the reference evaluator fails too: {why}")),
        None => Outcome::Wrong(format!("interpreted and compiled: {e}")),
    }
}

fn matches(case: &Case, got: &[Tensor], defined: &[Tensor]) -> Result<(), String> {
    let random = RANDOM.iter().any(|r| case.name.starts_with(r));
    let dims_only = |(d, w): (&Tensor, &Tensor)| d.dims() == w.dims() && d.dtype() == w.dtype();
    let wanted = match random && defined.iter().zip(&case.outputs).all(dims_only) {
        true => defined,
        false => &case.outputs,
    };
    if got.len() != wanted.len() {
        return Err(format!("{} outputs, want {}", got.len(), wanted.len()));
    }
    for (i, (got, want)) in got.iter().zip(wanted).enumerate() {
        compare(got, want, (case.rtol, case.atol), case.steps)
            .map_err(|e| format!("output {i}: {e}"))?;
    }
    Ok(())
}

fn compiled(
    imported: Import,
    inputs: &[(String, Tensor)],
    runtime: &Runtime,
) -> Result<Vec<Tensor>, Outcome> {
    let wrong = |stage: &str, e: anyhow::Error| Outcome::Wrong(format!("{stage}: {e:#}"));
    let fused =
        pipeline::fused_graph(imported.graph, OptLevel::O2).map_err(|e| wrong("passes", e))?;
    let bytes = pipeline::artifact(&fused, &[CpuLevel::V3]).map_err(|e| {
        match e.downcast_ref::<BuildError>() {
            Some(BuildError::Unsupported(all)) => {
                Outcome::Refused(format!("codegen: {}: {}", all[0].op, all[0].reason))
            }
            _ => wrong("build", e),
        }
    })?;
    let session = pipeline::session(&bytes, runtime).map_err(|e| wrong("load", e))?;
    pipeline::run(&session, inputs).map_err(|e| wrong("run", e))
}

fn refusal(error: &ImportError) -> Outcome {
    match error {
        ImportError::Nodes(problems) => {
            let p = &problems[0];
            match p.reason.starts_with("not supported") {
                true => Outcome::Refused(format!("{}: {}", p.op, p.reason)),
                false => Outcome::Wrong(format!("import: {p}")),
            }
        }
        ImportError::Model { reason, .. } => {
            let named = ["supported", "must be known", "older than"];
            match named.iter().any(|n| reason.contains(n)) {
                true => Outcome::Refused(reason.clone()),
                false => Outcome::Wrong(format!("import: {error}")),
            }
        }
        e => Outcome::Wrong(format!("import: {e}")),
    }
}
