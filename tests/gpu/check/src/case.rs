//! One case on the GPU and on the CPU.

use crate::bundle::{Bundle, Case};
use crate::compare::{excess, numbers, relative};
use anyhow::{Context, Result, ensure};
use cascata_runtime::{Artifact, Device, Runtime, Session, SessionOptions, Tensor, TensorView};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Runs of a model that are timed.
const RUNS: usize = 30;

/// What became of a case.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub group: String,
    pub name: String,
    /// Why it failed; none where all is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The distance from the reference, as a multiple of what is allowed.
    pub of_tolerance: f64,
    /// The largest difference from the CPU's result, relative to its largest magnitude.
    pub from_cpu: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
}

/// Milliseconds, medians; of models only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Times {
    /// Reading the artifact, uploading weights, compiling or finding machine code.
    pub load_ms: f64,
    pub first_ms: f64,
    /// Inputs and outputs travel.
    pub gpu_ms: f64,
    /// The same artifact on this machine's CPUs.
    pub cpu_ms: f64,
    pub cpu_threads: usize,
}

impl Outcome {
    /// Whether nothing more can run in this process.
    pub fn breaks_context(&self) -> bool {
        self.problem.as_ref().is_some_and(|p| p.contains("CUDA_ERROR"))
    }
}

/// What cases share.
pub struct Runner<'b> {
    bundle: &'b Bundle,
    runtime: Runtime,
    device: u32,
}

impl<'b> Runner<'b> {
    pub fn new(bundle: &'b Bundle, device: u32) -> Result<Self> {
        Ok(Self { bundle, runtime: Runtime::builder().build()?, device })
    }

    pub fn run(&self, case: &Case) -> Outcome {
        let mut outcome =
            Outcome { group: case.group.clone(), name: case.name.clone(), ..Default::default() };
        if let Err(e) = self.stages(case, &mut outcome) {
            outcome.problem = Some(format!("{e:#}"));
        }
        outcome
    }

    fn stages(&self, case: &Case, outcome: &mut Outcome) -> Result<()> {
        let artifact =
            Artifact::from_bytes(self.bundle.artifact(case.artifact)?).context("load")?;
        let on = |device| {
            let options = SessionOptions::default().device(device).poison(case.group != "model");
            artifact.session_with(&self.runtime, &options)
        };
        let start = Instant::now();
        let gpu = on(Device::Cuda(self.device)).context("session on the GPU")?;
        let load_ms = ms(start);
        let cpu = on(Device::Cpu).context("session on the CPU")?;
        let inputs = self.inputs(case)?;
        let start = Instant::now();
        let got = gpu.run(&inputs).context("run on the GPU")?;
        let first_ms = ms(start);
        let expected = cpu.run(&inputs).context("run on the CPU")?;
        let worst = got.iter().zip(&expected).map(|(g, w)| apart(g, w)).fold(0.0, f64::max);
        // JSON has no infinity.
        outcome.from_cpu = worst.min(f64::MAX);
        outcome.of_tolerance = self.compare(case, &gpu, &got)?.min(f64::MAX);
        ensure!(outcome.of_tolerance <= 1.0, "{:.2} of the tolerance", outcome.of_tolerance);
        let again = gpu.run(&inputs).context("second run on the GPU")?;
        let same = got.iter().zip(&again).all(|(a, b)| a.bytes() == b.bytes());
        ensure!(same || random(case), "the second run gives another result");
        if case.group == "model" {
            let (gpu_ms, cpu_ms) = (median(&gpu, &inputs)?, median(&cpu, &inputs)?);
            let cpu_threads = self.runtime.threads();
            outcome.times = Some(Times { load_ms, first_ms, gpu_ms, cpu_ms, cpu_threads });
        }
        Ok(())
    }

    fn inputs(&self, case: &'b Case) -> Result<Vec<(&'b str, TensorView<'b>)>> {
        let view = |a: &'b crate::bundle::Array| {
            let bytes = self.bundle.bytes(a)?;
            Ok((a.name.as_str(), TensorView::new(a.dtype, &a.dims, bytes)?))
        };
        case.inputs.iter().map(view).collect()
    }

    /// The largest excess over all outputs.
    fn compare(&self, case: &Case, session: &Session, got: &[Tensor]) -> Result<f64> {
        let mut worst = 0.0f64;
        for (i, output) in case.outputs.iter().enumerate() {
            let want = &output.array;
            let named = session.outputs().iter().position(|p| p.name == want.name);
            let got = named.or(Some(i)).and_then(|i| got.get(i)).context("an output is missing")?;
            let show = |dtype, dims: &[i64]| format!("{dtype}{dims:?}");
            let (is, expected) = (show(got.dtype(), got.dims()), show(want.dtype, &want.dims));
            ensure!(is == expected, "'{}' is {is}, expected {expected}", want.name);
            let want_bytes = self.bundle.bytes(want)?;
            worst = worst.max(excess(want.dtype, got.bytes(), want_bytes, output.tolerance));
        }
        Ok(worst)
    }
}

/// Whether a case draws numbers without a seed.
fn random(case: &Case) -> bool {
    ["bernoulli", "random"].iter().any(|w| case.name.contains(w))
}

fn apart(got: &Tensor, want: &Tensor) -> f64 {
    if got.bytes() == want.bytes() {
        return 0.0;
    }
    match (numbers(got.dtype(), got.bytes()), numbers(want.dtype(), want.bytes())) {
        (Some(g), Some(w)) if g.len() == w.len() => relative(&g, &w),
        _ => f64::INFINITY,
    }
}

fn median(session: &Session, inputs: &[(&str, TensorView<'_>)]) -> Result<f64> {
    let mut all = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        session.run(inputs)?;
        all.push(ms(start));
    }
    all.sort_by(f64::total_cmp);
    Ok(all[RUNS / 2])
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
