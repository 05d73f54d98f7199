//! Every model and every case against ONNX Runtime, through compiled artifacts.
//!
//! Tolerance: 1e-4 of each output's largest magnitude, because sums of f32 products are
//! taken in another order than ONNX Runtime's. The smallest case of each model runs with
//! every optimisation level × code level × micro-kernel level × thread count, the others
//! with what a user gets by default. Quantised models are compared by cosine.

use anyhow::{Context, Result, bail, ensure};
use cascata_codegen::cpu::CpuLevel;
use cascata_ir::interp::Tensor;
use cascata_passes::pipeline::OptLevel;
use cascata_runtime::{Artifact, Isa, LoadError, Runtime};
use cascata_tests::bundle::Tolerance;
use cascata_tests::references::{Case, cases_or_skip};
use cascata_tests::{compare, pipeline};
use std::time::Instant;

/// One case with its arrays.
struct Loaded {
    name: String,
    tolerance: f64,
    distance: fn(&Tensor, &Tensor) -> f64,
    inputs: Vec<(String, Tensor)>,
    outputs: Vec<(String, Tensor)>,
}

fn load(case: &Case) -> Result<Loaded> {
    let (distance, tolerance): (fn(&Tensor, &Tensor) -> f64, f64) = match case.tolerance() {
        Tolerance::Angle(t) => (compare::angle, t),
        Tolerance::Relative(t) => (compare::relative_difference, t),
        Tolerance::Elements { .. } => bail!("models are not compared by element"),
    };
    let (inputs, outputs) = (case.inputs()?, case.outputs()?);
    Ok(Loaded { name: case.name.clone(), tolerance, distance, inputs, outputs })
}

fn input_bytes(case: &Loaded) -> usize {
    case.inputs.iter().map(|(_, t)| t.len()).sum()
}

fn runtime(isa: Isa, threads: usize) -> Result<Runtime> {
    Ok(Runtime::builder().threads(threads).isa(isa).build()?)
}

/// Runs a case and compares; the error says what it was run with.
fn check(bytes: &[u8], level: CpuLevel, runtime: &Runtime, case: &Loaded) -> Result<f64> {
    let what = || {
        let (isa, threads) = (runtime.isa(), runtime.threads());
        format!("{} with {}, {isa}, {threads} threads", case.name, level.name())
    };
    let artifact = Artifact::options().level(level.name()).from_bytes(bytes)?;
    let session = artifact.session(runtime)?;
    let names: Vec<String> = session.outputs().iter().map(|p| p.name.clone()).collect();
    let outputs = pipeline::run(&session, &case.inputs).with_context(what)?;
    let worst =
        compare::worst_by(case.distance, &names, &outputs, &case.outputs).with_context(what)?;
    ensure!(worst <= case.tolerance, "{}: difference {worst:.2e}", what());
    Ok(worst)
}

/// Whether this CPU runs code of the level.
fn runs_here(bytes: &[u8], level: CpuLevel) -> bool {
    let loaded = Artifact::options().level(level.name()).from_bytes(bytes);
    let fits = !matches!(loaded, Err(LoadError::Unsupported { .. }));
    if !fits {
        println!("skipped: this CPU has no {}", level.name());
    }
    fits
}

/// All combinations on one case; failures are collected.
fn cross_product(bytes: &[u8], opt: OptLevel, case: &Loaded, failures: &mut Vec<String>) {
    for level in CpuLevel::ALL.into_iter().filter(|l| runs_here(bytes, *l)) {
        for isa in Isa::ALL.into_iter().filter(|i| *i <= Isa::detect()) {
            for threads in [1, 2] {
                let outcome = runtime(isa, threads).and_then(|r| check(bytes, level, &r, case));
                if let Err(e) = outcome {
                    failures.push(format!("{opt:?} {e:#}"));
                }
            }
        }
    }
}

/// Every case once, as a user would run it.
fn default_run(bytes: &[u8], cases: &[Loaded], failures: &mut Vec<String>) {
    let level = if runs_here(bytes, CpuLevel::V3) { CpuLevel::V3 } else { CpuLevel::V1 };
    for case in cases {
        let start = Instant::now();
        match runtime(Isa::detect(), 2).and_then(|r| check(bytes, level, &r, case)) {
            Ok(worst) => println!("{}: {worst:.2e} ({:.2?})", case.name, start.elapsed()),
            Err(e) => failures.push(format!("{e:#}")),
        }
    }
}

fn compiled(model: &str) {
    let cases = cases_or_skip(model);
    let Some(path) = cases.first().map(|c| c.path.clone()) else { return };
    let mut cases: Vec<_> = cases.iter().map(|c| load(c).expect("readable references")).collect();
    cases.sort_by_key(input_bytes);
    let mut failures = Vec::new();
    for opt in [OptLevel::O0, OptLevel::O2] {
        let start = Instant::now();
        let graph = pipeline::fused(&path, opt).unwrap_or_else(|e| panic!("{model}: {e:#}"));
        let bytes = pipeline::artifact(&graph, &CpuLevel::ALL)
            .unwrap_or_else(|e| panic!("{model} {opt:?}: {e:#}"));
        println!("{model} {opt:?}: compiled in {:.2?}", start.elapsed());
        cross_product(&bytes, opt, &cases[0], &mut failures);
        println!("{model} {opt:?}: all combinations after {:.2?}", start.elapsed());
        if opt == OptLevel::O2 {
            default_run(&bytes, &cases, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{model}:\n{}", failures.join("\n"));
}

macro_rules! models {
    ($run:ident: $($name:ident)*) => { $(
        #[test]
        fn $name() {
            $run(stringify!($name));
        }
    )* };
}

models!(compiled: magika minilm_int8 minilm_l3 nsfw nudenet ocr_cls ocr_det ocr_rec);
models!(compiled: silero silero_ifless silero_v4 piper);
models!(compiled: minilm_l3_dynamic ocr_cls_qdq);
models!(compiled: wake_alexa wake_embedding wake_jarvis wake_mel wake_mycroft wake_rhasspy wake_timer wake_weather);
