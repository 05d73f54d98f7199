//! Compiles cases for the CPU and for a GPU into a bundle that `tests/gpu/check` runs where a
//! GPU is: `gpu_pack FOLDER [--target sm_90a] [--groups onnx,contrib,random,model]
//! [--only SUBSTRING,…] [--random 200]`.
//!
//! * `onnx`, `contrib`: every case of the ONNX backend suite that compiles, with the suite's
//!   own outputs;
//! * `random`: random graphs with the interpreter's outputs;
//! * `model`: the real models with ONNX Runtime's outputs, one artifact each.

use anyhow::{Context, Result, bail};
use cascata_artifact::gpu::GpuTarget;
use cascata_codegen::build::BuildError;
use cascata_codegen::cpu::CpuLevel;
use cascata_ir::graph::Graph;
use cascata_ir::interp::{self, Tensor};
use cascata_passes::pipeline::OptLevel;
use cascata_tests::bundle::{Bundle, Tolerance};
use cascata_tests::onnx_backend::{self, imported};
use cascata_tests::random::{generate, tolerance_of};
use cascata_tests::{pipeline, references};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A worker's stack: inlined functions nest deeply.
const STACK: usize = 64 << 20;

/// One compiled graph and its runs.
struct Packed {
    group: &'static str,
    artifact: Vec<u8>,
    cases: Vec<Run>,
}

struct Run {
    name: String,
    inputs: Vec<(String, Tensor)>,
    outputs: Vec<(String, Tensor, Tolerance)>,
}

/// Something to compile.
enum Work {
    Backend(&'static str, PathBuf),
    Random(u64),
    Model(Vec<references::Case>),
}

struct Args(Vec<String>);

impl Args {
    fn get(&self, name: &str, default: &str) -> String {
        let at = self.0.iter().position(|a| a == name);
        at.and_then(|i| self.0.get(i + 1)).map_or(default, String::as_str).to_string()
    }
}

fn main() -> Result<()> {
    let args = Args(std::env::args().skip(1).collect());
    let folder = args.0.first().context("gpu_pack FOLDER …")?.clone();
    let target = args.get("--target", "sm_90a");
    let target =
        GpuTarget::ALL.into_iter().find(|t| t.name() == target).context("no such target")?;
    let works = works(&args)?;
    let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(work) = works.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = pack(work, target);
            let mut results = results.lock().unwrap_or_else(|e| e.into_inner());
            results.insert(work.name(), result);
            if results.len().is_multiple_of(100) {
                eprintln!("{} of {}", results.len(), works.len());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let thread = std::thread::Builder::new().stack_size(STACK);
            thread.spawn_scoped(scope, work).expect("a thread");
        }
    });
    write(Path::new(&folder), results.into_inner().unwrap_or_else(|e| e.into_inner()))
}

fn write(folder: &Path, results: BTreeMap<String, Result<Option<Packed>>>) -> Result<()> {
    let (mut bundle, mut refused, mut failed) = (Bundle::default(), 0, 0);
    for (name, result) in results {
        match result {
            Ok(Some(packed)) => {
                let artifact = bundle.artifact(&packed.artifact);
                for run in packed.cases {
                    let of = (packed.group, run.name.as_str());
                    bundle.case(of, artifact, &run.inputs, &run.outputs);
                }
            }
            Ok(None) => refused += 1,
            Err(e) => {
                failed += 1;
                println!("{name}: {e:#}");
            }
        }
    }
    bundle.write(folder)?;
    println!("{} cases, {refused} refused for the CPU too, {failed} failed", bundle.len());
    if failed > 0 {
        bail!("{failed} graphs that compile for the CPU do not for the GPU");
    }
    Ok(())
}

impl Work {
    fn name(&self) -> String {
        match self {
            Work::Backend(group, folder) => format!("{group}/{}", folder.display()),
            Work::Random(seed) => format!("random/{seed}"),
            Work::Model(cases) => format!("model/{}", cases[0].model),
        }
    }
}

fn works(args: &Args) -> Result<Vec<Work>> {
    let (groups, only) =
        (args.get("--groups", "onnx,contrib,random,model"), args.get("--only", ""));
    let random: u64 = args.get("--random", "200").parse()?;
    let mut works = Vec::new();
    for group in groups.split(',') {
        match group {
            "onnx" => works.extend(backend("onnx", "onnx_backend")?),
            "contrib" => works.extend(backend("contrib", "contrib")?),
            "random" => works.extend((0..random).map(Work::Random)),
            "model" => works.extend(models()?),
            other => bail!("no group '{other}'"),
        }
    }
    // A name ends with a slash, so that one can be told from those that it begins.
    works.retain(|w| only.split(',').any(|part| format!("{}/", w.name()).contains(part)));
    Ok(works)
}

fn backend(group: &'static str, folder: &str) -> Result<Vec<Work>> {
    let folder = references::cache().join(folder);
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    Ok(entries.filter_map(|e| Some(Work::Backend(group, e.ok()?.path()))).collect())
}

fn models() -> Result<Vec<Work>> {
    let mut by_model: BTreeMap<String, Vec<references::Case>> = BTreeMap::new();
    for case in references::cases()? {
        by_model.entry(case.model.clone()).or_default().push(case);
    }
    Ok(by_model.into_values().map(Work::Model).collect())
}

/// Compiles; none where the CPU has no kernel either.
fn pack(work: &Work, target: GpuTarget) -> Result<Option<Packed>> {
    match work {
        Work::Backend(group, folder) => backend_case(group, folder, target),
        Work::Random(seed) => random_graph(*seed, target),
        Work::Model(cases) => model(cases, target),
    }
}

fn compile(graph: Graph, target: GpuTarget) -> Result<Option<Vec<u8>>> {
    let fused = pipeline::fused_graph(graph, OptLevel::O2)?;
    match pipeline::gpu_artifact(&fused, &[CpuLevel::V3], &[target]) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.downcast_ref(), Some(BuildError::Unsupported(_))) => Ok(None),
        Err(e) => Err(e),
    }
}

fn backend_case(group: &'static str, folder: &Path, target: GpuTarget) -> Result<Option<Packed>> {
    let Some(case) = onnx_backend::Case::read(folder) else { return Ok(None) };
    let Ok(import) = imported(&case) else { return Ok(None) };
    if case.skip.is_some() || case.reference.is_some() {
        return Ok(None);
    }
    let names = import.graph.output_names.clone();
    let given = case.inputs.iter().filter(|(n, _)| !import.fixed.contains(n));
    let inputs: Vec<(String, Tensor)> = given.cloned().collect();
    let tensors: Vec<Tensor> = inputs.iter().map(|(_, t)| t.clone()).collect();
    // The interpreter's numbers where the reference's are random.
    let random = case.name.contains("bernoulli");
    let wanted = if random { interp::run(&import.graph, &tensors)? } else { case.outputs.clone() };
    let Some(artifact) = compile(import.graph, target)? else { return Ok(None) };
    let tolerance = Tolerance::Elements { rtol: case.rtol, atol: case.atol, steps: case.steps };
    let outputs = names.into_iter().zip(wanted).map(|(n, t)| (n, t, tolerance)).collect();
    let cases = vec![Run { name: case.name, inputs, outputs }];
    Ok(Some(Packed { group, artifact, cases }))
}

fn random_graph(seed: u64, target: GpuTarget) -> Result<Option<Packed>> {
    let case = generate(seed);
    let Some(artifact) = compile(case.graph.clone(), target)? else { return Ok(None) };
    let graph = &case.graph;
    let mut cases = Vec::new();
    for (i, binding) in case.bindings.iter().enumerate() {
        let names = graph.inputs().iter().map(|v| graph.values[*v].name.clone());
        let inputs = names.zip(binding.inputs.iter().cloned()).collect();
        let tolerance = |v| match graph.tensor(v).dtype.is_float() {
            true => Tolerance::Relative(tolerance_of(&case, i, v)),
            false => Tolerance::Elements { rtol: 0.0, atol: 0.0, steps: 0 },
        };
        let wanted = interp::run(graph, &binding.inputs)?;
        let named = graph.output_names.iter().zip(graph.outputs()).zip(wanted);
        let outputs = named.map(|((n, v), t)| (n.clone(), t, tolerance(*v))).collect();
        cases.push(Run { name: format!("{seed}_{i}"), inputs, outputs });
    }
    Ok(Some(Packed { group: "random", artifact, cases }))
}

fn model(cases: &[references::Case], target: GpuTarget) -> Result<Option<Packed>> {
    let import = cascata_frontends::onnx::import(&cases[0].path, &Default::default())?;
    let Some(artifact) = compile(import.graph, target)? else { return Ok(None) };
    let mut runs = Vec::new();
    for case in cases {
        let tolerance = case.tolerance();
        let outputs = case.outputs()?.into_iter().map(|(n, t)| (n, t, tolerance)).collect();
        let name = format!("{}/{}", case.model, case.name);
        runs.push(Run { name, inputs: case.inputs()?, outputs });
    }
    Ok(Some(Packed { group: "model", artifact, cases: runs }))
}
