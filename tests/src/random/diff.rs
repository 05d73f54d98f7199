//! The differential run: interpreter on the given graph against compiled code.

use super::generate::Case;
use super::witness::rounding;
use crate::compare::relative_difference;
use crate::pipeline;
use anyhow::{Context, Result};
use cascata_codegen::build::BuildError;
use cascata_codegen::cpu::CpuLevel;
use cascata_codegen::lower::Machine;
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::{self, Tensor};
use cascata_passes::pipeline::OptLevel;
use cascata_runtime::{Artifact, Isa, Runtime, Session, SessionOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a comparison came to.
#[derive(Debug)]
pub enum Outcome {
    /// Every output of this many runs was right.
    Same(usize),
    /// The compiler has no kernel for something: `op: reason` each.
    Refused(Vec<String>),
    /// A wrong result, a crash or an error.
    Differs(Mismatch),
}

/// A failure of the compiled path.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// Which configuration and what went wrong.
    pub what: String,
    /// The configuration.
    pub config: Config,
}

/// How a graph is compiled.
pub type Config = (OptLevel, CpuLevel, Machine);

/// Runtimes that all runs of one worker share.
pub struct Differ {
    runtimes: Vec<Runtime>,
}

impl Differ {
    /// One and two threads, each with every instruction set.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn new() -> Result<Self> {
        let both = [1, 2].into_iter().flat_map(|n| Isa::ALL.map(|isa| (n, isa)));
        let runtime = |(n, isa)| Ok(Runtime::builder().threads(n).isa(isa).build()?);
        Ok(Self { runtimes: both.map(runtime).collect::<Result<_>>()? })
    }

    /// The configurations of a seed: both levels of optimisation; code for old CPUs
    /// now and then, and every other time the kernels that a GPU gets.
    pub fn configs(seed: u64) -> Vec<Config> {
        let mut configs = vec![
            (OptLevel::O2, CpuLevel::V3, Machine::Cpu),
            (OptLevel::O0, CpuLevel::V3, Machine::Cpu),
        ];
        if seed.is_multiple_of(8) {
            let level = if seed.is_multiple_of(16) { OptLevel::O2 } else { OptLevel::O0 };
            configs.push((level, CpuLevel::V1, Machine::Cpu));
        }
        if seed % 2 == 1 {
            configs.push((OptLevel::O2, CpuLevel::V3, Machine::Gpu));
        }
        configs
    }

    /// Compiles `graph` (the case's own, or one with a planted fault) and compares its
    /// results with the interpreter's on the case.
    ///
    /// # Errors
    /// The interpreter refuses the case: a defect of the generator.
    pub fn check(&self, case: &Case, graph: &Graph, configs: &[Config]) -> Result<Outcome> {
        let expected = expected(case)?;
        let mut runs = 0;
        for config in configs {
            let tried =
                catch_unwind(AssertUnwindSafe(|| self.compiled(case, graph, *config, &expected)));
            let error = match tried {
                Ok(Ok(n)) => {
                    runs += n;
                    continue;
                }
                Ok(Err(e)) => e,
                Err(panic) => anyhow::anyhow!("panic: {}", panic_text(&*panic)),
            };
            if let Some(BuildError::Unsupported(all)) = error.downcast_ref() {
                let reasons = all.iter().map(|e| format!("{}: {}", e.op, e.reason));
                return Ok(Outcome::Refused(reasons.collect()));
            }
            let what = format!("{config:?}: {error:#}");
            return Ok(Outcome::Differs(Mismatch { what, config: *config }));
        }
        Ok(Outcome::Same(runs))
    }

    fn compiled(
        &self,
        case: &Case,
        graph: &Graph,
        (opt, level, machine): Config,
        expected: &[Vec<Tensor>],
    ) -> Result<usize> {
        let fused = pipeline::fused_graph(graph.clone(), opt)?;
        let bytes = match machine {
            Machine::Cpu => pipeline::artifact(&fused, &[level])?,
            Machine::Gpu => pipeline::gpu_kernels_for_cpu(&fused, &[level])?,
        };
        let artifact = Artifact::from_bytes(&bytes)?;
        let at = case.seed as usize + usize::from(opt == OptLevel::O0);
        let n = self.runtimes.len();
        // One runtime with one thread and one with two; the instruction sets take turns.
        let runtimes = [at % (n / 2), n / 2 + (at / 3) % (n / 2)];
        let mut runs = 0;
        for runtime in runtimes.map(|i| &self.runtimes[i]) {
            let session =
                artifact.session_with(runtime, &SessionOptions::default().poison(true))?;
            for (i, expected) in expected.iter().enumerate() {
                compare_run(case, i, &session, expected)
                    .with_context(|| {
                        format!("{} threads, {:?}, binding {i}", runtime.threads(), runtime.isa())
                    })
                    .map_err(|e| blame(e, case, i, &fused, expected))?;
                runs += 1;
            }
        }
        Ok(runs)
    }
}

/// The interpreter's outputs for every binding.
pub(super) fn expected(case: &Case) -> Result<Vec<Vec<Tensor>>> {
    let run = |b: &super::Binding| interp::run(&case.graph, &b.inputs);
    let runs: Result<_, _> = case.bindings.iter().map(run).collect();
    runs.with_context(|| format!("the interpreter refuses seed {}", case.seed))
}

fn compare_run(case: &Case, i: usize, session: &Session, expected: &[Tensor]) -> Result<()> {
    let names = case.graph.inputs().iter().map(|v| case.graph.values[*v].name.clone());
    let inputs: Vec<_> = names.zip(case.bindings[i].inputs.iter().cloned()).collect();
    let actual = pipeline::run(session, &inputs)?;
    // A second run meets used memory.
    let again = pipeline::run(session, &inputs)?;
    wrong(case, i, &actual, expected)?;
    let same = actual.iter().zip(&again).all(|(a, b)| a.to_le_bytes() == b.to_le_bytes());
    anyhow::ensure!(same, "a second run gives something else");
    Ok(())
}

/// Fails unless every output is within its tolerance.
pub(super) fn wrong(case: &Case, i: usize, actual: &[Tensor], expected: &[Tensor]) -> Result<()> {
    for (j, (a, e)) in actual.iter().zip(expected).enumerate() {
        let d = if e.dtype().is_float() {
            relative_difference(a, e)
        } else {
            f64::from(u8::from(a != e))
        };
        let allowed = tolerance(case, i, j);
        if d > allowed {
            let name = &case.graph.output_names[j];
            let text = |t: &Tensor| {
                let values = t.to_f64().unwrap_or_default();
                format!("{:?} {:?}", t.dims(), &values[..values.len().min(12)])
            };
            anyhow::bail!(
                "output {name} ({}) is {d:.2e} apart, {allowed:.2e} allowed\n  got  {}\n  want {}",
                e.dtype(),
                text(a),
                text(e)
            );
        }
    }
    Ok(())
}

pub(super) fn tolerance(case: &Case, binding: usize, output: usize) -> f64 {
    tolerance_of(case, binding, case.graph.outputs()[output])
}

/// Integers and bools are exact. Floats, relative to the value's largest magnitude: a few
/// roundings of the value itself, and four times what the shadows moved by, since they are
/// one random choice of rounding errors at every op.
pub fn tolerance_of(case: &Case, binding: usize, v: ValueId) -> f64 {
    let spread = case.bindings[binding].spread.get(&v).copied().unwrap_or(0.0);
    8.0 * rounding(case.graph.tensor(v).dtype) + 4.0 * spread
}

/// Says whether the graph was wrong before code generation already.
fn blame(
    error: anyhow::Error,
    case: &Case,
    i: usize,
    fused: &Graph,
    expected: &[Tensor],
) -> anyhow::Error {
    let by_passes = match interp::run(fused, &case.bindings[i].inputs) {
        Ok(outputs) => wrong(case, i, &outputs, expected).is_err(),
        Err(e) => return error.context(format!("passes: the fused graph does not run: {e}")),
    };
    error.context(if by_passes { "passes" } else { "codegen" })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or(panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default()
}
