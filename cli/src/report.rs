//! What a compile did, as data.

use cascata_artifact::gpu::GpuTarget;
use cascata_artifact::manifest::{Isolation, Manifest, Step};
use cascata_codegen::build::Built;
use cascata_passes::report::{Report, Rewriting};
use serde::Serialize;

/// What a compile did.
#[derive(Clone, Debug, Serialize)]
pub struct CompileReport {
    /// What wrote the model, e.g. `pytorch 2.3.1`.
    pub producer: String,
    /// The model's opset.
    pub opset: i64,
    /// Phases in order: `import`, the passes, `build`, and `ptx` where there are GPU programs.
    pub phases: Vec<CompilePhase>,
    /// The e-graph stages: rules, stop reasons, cost before and after.
    pub rewriting: Rewriting,
    /// Kernels; equal ones are counted once.
    pub kernels: usize,
    /// Launches, those of branches and of loops' bodies once each.
    pub launches: usize,
    /// Machine code by target.
    pub code: Vec<CodeSize>,
    /// GPU programs by target.
    pub gpu: Vec<GpuSize>,
    /// Bytes of weights, packing included.
    pub weight_bytes: u64,
    /// What is proven about the entries of a batch, if there is a batch.
    pub isolation: Option<Isolation>,
}

/// One phase of a compile.
#[derive(Clone, Debug, Serialize)]
pub struct CompilePhase {
    /// Its name.
    pub name: &'static str,
    /// Its duration, without verification.
    pub seconds: f64,
    /// Time to verify the graph afterwards; 0 when not asked for.
    pub verify_seconds: f64,
    /// Nodes of the graph afterwards; launches after `build` and `ptx`.
    pub nodes: usize,
    /// What it changed, in its own unit.
    pub changes: usize,
}

/// Size of one target's machine code.
#[derive(Clone, Debug, Serialize)]
pub struct CodeSize {
    /// Level name.
    pub target: String,
    /// Bytes.
    pub bytes: u64,
}

/// A GPU program.
#[derive(Clone, Debug, Serialize)]
pub struct GpuSize {
    /// What it is for.
    pub target: GpuTarget,
    /// Its kernels.
    pub kernels: usize,
    /// Bytes of its PTX.
    pub ptx_bytes: u64,
    /// The time to make that.
    pub seconds: f64,
}

/// Launch steps of all entries and of their blocks.
pub(crate) fn launches(manifest: &Manifest) -> usize {
    let steps = manifest.entries.iter().flat_map(|e| e.all_steps());
    steps.filter(|(_, _, s)| matches!(s, Step::Launch(_))).count()
}

pub(crate) fn code_sizes(manifest: &Manifest) -> Vec<CodeSize> {
    let size = |c: &cascata_artifact::manifest::CodeVariant| CodeSize {
        target: c.level.clone(),
        bytes: c.functions.iter().map(|(_, length)| length).sum(),
    };
    manifest.code.iter().map(size).collect()
}

pub(crate) fn gpu_sizes(built: &Built) -> Vec<GpuSize> {
    let programs = built.manifest.gpu.iter().zip(built.ptx());
    let size = programs.map(|(program, (text, seconds))| GpuSize {
        target: program.target,
        kernels: program.kernels.len(),
        ptx_bytes: text.len() as u64,
        seconds,
    });
    size.collect()
}

/// What comes after the passes: `build`, and `ptx` where there are GPU programs.
pub(crate) fn build_phases(
    seconds: f64,
    launches: usize,
    gpu: &[GpuSize],
) -> impl Iterator<Item = CompilePhase> + use<> {
    let phase = move |name, seconds| CompilePhase {
        name,
        seconds,
        verify_seconds: 0.0,
        nodes: launches,
        changes: 0,
    };
    let ptx = (!gpu.is_empty()).then(|| gpu.iter().map(|g| g.seconds).sum::<f64>());
    let build = phase("build", (seconds - ptx.unwrap_or(0.0)).max(0.0));
    std::iter::once(build).chain(ptx.map(|seconds| phase("ptx", seconds)))
}

/// The phases of the pass pipeline.
pub(crate) fn pass_phases(report: &Report) -> impl Iterator<Item = CompilePhase> {
    report.phases.iter().map(|p| CompilePhase {
        name: p.name,
        seconds: p.seconds,
        verify_seconds: p.verify_seconds,
        nodes: p.nodes,
        changes: p.changes,
    })
}
