//! A model file to a running session in one call.

use anyhow::{Context, Result};
use cascata_artifact::gpu::GpuTarget;
use cascata_codegen::build::{BuildOptions, build};
use cascata_codegen::cpu::{CpuLevel, CpuTarget};
use cascata_codegen::lower::Machine;
use cascata_frontends::onnx::{ImportOptions, import};
use cascata_ir::graph::Graph;
use cascata_ir::interp;
use cascata_passes::pipeline::{OptLevel, Options, optimise};
use cascata_runtime::{Artifact, Runtime, Session, TensorView};
use cascata_types::DType;
use std::path::Path;

/// Imports a model and brings it to fused groups.
///
/// # Errors
/// Import or optimisation failed.
pub fn fused(path: &Path, level: OptLevel) -> Result<Graph> {
    let import = import(path, &ImportOptions::default()).context("import")?;
    fused_graph(import.graph, level)
}

/// Brings a graph to fused groups.
///
/// # Errors
/// Optimisation failed.
pub fn fused_graph(mut graph: Graph, level: OptLevel) -> Result<Graph> {
    let options = Options { level, verify: true, ..Options::default() };
    optimise(&mut graph, &options, &mut |_, _| ()).context("optimise")?;
    Ok(graph)
}

/// Builds an artifact in memory.
///
/// # Errors
/// An op without a kernel, or code generation failed.
pub fn artifact(graph: &Graph, levels: &[CpuLevel]) -> Result<Vec<u8>> {
    let options = BuildOptions { keep_kernel_ir: true, ..build_options(levels)? };
    Ok(build(graph, &options)?.to_bytes()?)
}

/// Builds an artifact in memory that runs on GPUs, too.
///
/// # Errors
/// As [`artifact`]; feature `ptx` is off.
pub fn gpu_artifact(graph: &Graph, levels: &[CpuLevel], gpu: &[GpuTarget]) -> Result<Vec<u8>> {
    let options = BuildOptions { gpu: gpu.to_vec(), ..build_options(levels)? };
    Ok(build(graph, &options)?.to_bytes()?)
}

/// As [`artifact`], of the kernels that a GPU gets, in code for the CPU.
///
/// # Errors
/// As [`artifact`].
pub fn gpu_kernels_for_cpu(graph: &Graph, levels: &[CpuLevel]) -> Result<Vec<u8>> {
    let options = BuildOptions { machine: Machine::Gpu, ..build_options(levels)? };
    Ok(build(graph, &options)?.to_bytes()?)
}

fn build_options(levels: &[CpuLevel]) -> Result<BuildOptions> {
    let targets = levels.iter().map(|l| CpuTarget::new(*l)).collect::<Result<_, _>>()?;
    let provenance = Default::default();
    let machine = Machine::Cpu;
    Ok(BuildOptions { targets, machine, gpu: vec![], keep_kernel_ir: false, provenance })
}

/// A session over artifact bytes.
///
/// # Errors
/// The artifact is refused.
pub fn session(bytes: &[u8], runtime: &Runtime) -> Result<Session> {
    Ok(Artifact::from_bytes(bytes)?.session(runtime)?)
}

/// Runs a session on named tensors; results as interpreter tensors.
///
/// # Errors
/// The run failed.
pub fn run(session: &Session, inputs: &[(String, interp::Tensor)]) -> Result<Vec<interp::Tensor>> {
    let raw: Vec<(DType, Vec<i64>, Vec<u8>)> = inputs
        .iter()
        .map(|(_, t)| (t.dtype(), t.dims().iter().map(|d| *d as i64).collect(), t.to_le_bytes()))
        .collect();
    let mut views = Vec::new();
    for ((name, _), (dtype, dims, bytes)) in inputs.iter().zip(&raw) {
        views.push((name.as_str(), TensorView::new(*dtype, dims, bytes)?));
    }
    let outputs = session.run(&views)?;
    let convert = |t: &cascata_runtime::Tensor| {
        let dims: Vec<usize> = t.dims().iter().map(|d| *d as usize).collect();
        interp::Tensor::from_le_bytes(t.dtype(), &dims, t.bytes())
    };
    Ok(outputs.iter().map(convert).collect::<Result<_, _>>()?)
}
