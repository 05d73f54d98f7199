//! PTX of random graphs and of real models is what `ptxas` accepts for every target, and
//! `codegen/ptx/PTXAS.md` says what the models' kernels take of a GPU (`CASCATA_BLESS=1`
//! rewrites it). Kernels of tiles on tensor cores must need no registers that a thread has not.
#![cfg(feature = "ptx")]

use anyhow::{Context, Result, ensure};
use cascata_artifact::ArtifactReader;
use cascata_artifact::gpu::{GpuProgram, GpuTarget};
use cascata_codegen::build::BuildError;
use cascata_codegen::cpu::CpuLevel;
use cascata_codegen::gpu::tile_attention::{Forest, Heads, NARROW, Prompt, wide};
use cascata_codegen::gpu::tile_gemm::Product;
use cascata_ir::graph::Graph;
use cascata_ir::kernel::{GemmSchedule, Kernel};
use cascata_passes::pipeline::OptLevel;
use cascata_ptx::PtxTarget;
use cascata_tests::pipeline::{fused, fused_graph, gpu_artifact};
use cascata_tests::ptxas::{self, Usage};
use cascata_tests::random::generate;
use cascata_tests::references::cases_or_skip;
use cascata_types::DType;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Random graphs that are compiled.
const GRAPHS: u64 = 60;
/// The models on the page: small ones, of each kind.
const MODELS: [&str; 4] = ["magika", "silero", "wake_alexa", "wake_mel"];

const INTRODUCTION: &str = "\
# What kernels take of a GPU

Of the PTX of some models, as `ptxas` of CUDA 12.9 assembles it: registers of a thread, bytes of
shared memory of a block (with what a launch adds), bytes of a thread's stack, and of its spilled
registers. Where two numbers stand, they are those of sm_80 and sm_90a.

Made and checked by `tests/tests/ptx.rs`; `CASCATA_BLESS=1 cargo test -p cascata-tests --features
ptx --test ptx` writes it anew.
";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../codegen/ptx/PTXAS.md")
}

/// Compiles for all targets and assembles; gives each program with its kernels' usage, in order.
fn assembled(ptxas: &Path, graph: &Graph) -> Result<Vec<(GpuProgram, Vec<Usage>)>> {
    let bytes = gpu_artifact(graph, &[CpuLevel::V3], &GpuTarget::ALL)?;
    let reader = ArtifactReader::parse(&bytes)?;
    let mut all = Vec::new();
    for (i, program) in reader.manifest().gpu.iter().enumerate() {
        let mut usages = ptxas::assemble(ptxas, reader.ptx(i)?, program.target)?;
        let place = |u: &Usage| program.kernels.iter().position(|k| k.info.name == u.kernel);
        usages.sort_by_key(place);
        let names: Vec<&str> = usages.iter().map(|u| u.kernel.as_str()).collect();
        let expected: Vec<&str> = program.kernels.iter().map(|k| k.info.name.as_str()).collect();
        ensure!(names == expected, "ptxas saw {names:?}, not {expected:?}");
        all.push((program.clone(), usages));
    }
    Ok(all)
}

/// A row of a kernel.
fn row(programs: &[(GpuProgram, Vec<Usage>)], kernel: usize) -> String {
    let of = |what: &dyn Fn(&Usage) -> u32| {
        let (old, new) = (what(&programs[0].1[kernel]), what(&programs[2].1[kernel]));
        if old == new { old.to_string() } else { format!("{old} / {new}") }
    };
    let info = &programs[0].0.kernels[kernel];
    format!(
        "| {} | {} | {} | {} | {} | {} |",
        info.info.name,
        info.threads,
        of(&|u| u.registers),
        of(&|u| u.shared_bytes + info.shared_bytes),
        of(&|u| u.stack_bytes),
        of(&|u| u.spill_bytes),
    )
}

fn section(ptxas: &Path, model: &str) -> Result<String> {
    let cases = cases_or_skip(model);
    let path = &cases.first().context("no case")?.path;
    let programs = assembled(ptxas, &fused(path, OptLevel::O2)?)?;
    let mut out = format!(
        "## {model}\n\n| kernel | threads | registers | shared | stack | spilled |\n\
         |---|--:|--:|--:|--:|--:|\n"
    );
    for kernel in 0..programs[0].1.len() {
        let _ = writeln!(out, "{}", row(&programs, kernel));
    }
    Ok(out)
}

#[test]
fn the_page_is_current() {
    let Some(ptxas) = ptxas::find() else { return };
    if cases_or_skip(MODELS[0]).is_empty() {
        return;
    }
    let section =
        |model: &&str| section(&ptxas, model).unwrap_or_else(|e| panic!("{model}: {e:#}"));
    let sections: Vec<String> = MODELS.iter().map(section).collect();
    let now = format!("{INTRODUCTION}\n{}", sections.join("\n"));
    if std::env::var_os("CASCATA_BLESS").is_some() {
        std::fs::write(page(), &now).expect("the page is writable");
    }
    let kept = std::fs::read_to_string(page()).unwrap_or_default();
    let changed: Vec<&str> = now.lines().filter(|l| !kept.lines().any(|k| k == *l)).collect();
    let gone = kept.lines().filter(|l| !now.lines().any(|n| n == *l)).count();
    assert!(
        changed.is_empty() && gone == 0,
        "codegen/ptx/PTXAS.md is not current (CASCATA_BLESS=1 rewrites it); {gone} lines are gone, \
         and these are new:\n{}",
        changed.join("\n")
    );
}

#[test]
fn random_graphs_assemble() {
    let Some(ptxas) = ptxas::find() else { return };
    let (next, kernels) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= GRAPHS {
                break;
            }
            let Ok(graph) = fused_graph(generate(seed).graph, OptLevel::O2) else { continue };
            match assembled(&ptxas, &graph) {
                Ok(programs) => {
                    kernels.fetch_add(programs[0].1.len() as u64, Ordering::Relaxed);
                }
                // The CPU has no kernel either.
                Err(e) if matches!(e.downcast_ref(), Some(BuildError::Unsupported(_))) => {}
                Err(e) => panic!("graph {seed}: {e:#}"),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    let kernels = kernels.into_inner();
    println!("{kernels} kernels of {GRAPHS} graphs, for {} targets", GpuTarget::ALL.len());
    assert!(kernels > GRAPHS, "only {kernels} kernels were assembled");
}

/// Prompts, prefix forests and their merge, at both sizes of a head.
fn attention(wgmma: bool) -> Vec<Kernel> {
    let mut all = vec![];
    for (head_dim, dtype) in [(64, DType::F16), (128, DType::BF16)] {
        let heads = Heads { heads: 16, kv_heads: 4, head_dim, dtype, scale: 0.1 };
        let schedule = wide(head_dim, wgmma);
        let forest = Forest { heads, block_tokens: 16 };
        for causal in [false, true] {
            let name = format!("prompt{head_dim}{causal}");
            all.push(Prompt { heads, causal, schedule }.kernel(&name));
        }
        all.push(forest.partial(&format!("wide{head_dim}"), schedule));
        all.push(forest.partial(&format!("narrow{head_dim}"), NARROW));
        all.push(forest.merge(&format!("merge{head_dim}")));
    }
    all
}

fn products() -> Vec<Kernel> {
    let mut all = vec![];
    for (rows, cols, stages) in [(128, 256, 4), (256, 128, 4), (64, 64, 3)] {
        let plain = Product::plain(DType::BF16, GemmSchedule { rows, cols, stages });
        let clamped = Product { bias: true, result: DType::F32, clamp: (0.0, 6.0), ..plain };
        all.push(plain.kernel(&format!("plain{rows}x{cols}")));
        all.push(clamped.kernel(&format!("clamped{rows}x{cols}")));
    }
    all
}

#[test]
fn tiles_on_tensor_cores_assemble_without_spills() {
    let Some(ptxas) = ptxas::find() else { return };
    for target in GpuTarget::ALL {
        let wgmma = target == GpuTarget::Sm90a;
        let mut kernels = attention(wgmma);
        if wgmma {
            kernels.append(&mut products());
        }
        let text = cascata_ptx::compile(&kernels, PtxTarget { name: target.name() }).unwrap().text;
        let usages = ptxas::assemble(&ptxas, &text, target).unwrap();
        assert_eq!(usages.len(), kernels.len());
        let waits = |u: &&Usage| u.spill_bytes > 0 || u.serialized;
        let bad: Vec<&Usage> = usages.iter().filter(waits).collect();
        assert!(bad.is_empty(), "{}: {bad:#?}", target.name());
    }
}
