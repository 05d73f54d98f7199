//! Attention of a graph on tensor cores: which groups become tiles, which do not, and that
//! the launches compute what the graph's interpreter says.

use cascata_codegen::lower::{Launch, Lowering, Machine, Operand};
use cascata_ir::graph::Graph;
use cascata_ir::interp::{self, Tensor};
use cascata_ir::kernel::interp::{HostBuffer, Outcome, launch_buffers, run};
use cascata_ir::kernel::{Kernel, Stmt, TileAttention, verify};
use cascata_ir::op::Op;
use cascata_ir::parse::parse;
use cascata_ir::types::SymbolId;
use cascata_passes::pipeline::{Options, optimise};
use std::collections::HashMap;

const SYMBOLS: &str = "symbol B in 1..=4\n symbol S in 1..=300\n symbol T in 1..=300";

/// Queries, keys and values where heads lie between tokens, as projections give them.
const BETWEEN: &str = "body(%0 \"q\" : f16[B,S,384], %1 \"k\" : f16[B,T,128], %2 \"v\" : f16[B,T,128]) {
    %3 = reshape(%0) {shape = [B, S, 6, 64]} : f16[B,S,6,64]
    %4 = reshape(%1) {shape = [B, T, 2, 64]} : f16[B,T,2,64]
    %5 = reshape(%2) {shape = [B, T, 2, 64]} : f16[B,T,2,64]
    %6 = transpose(%3) {perm = [0, 2, 1, 3]} : f16[B,6,S,64]
    %7 = transpose(%4) {perm = [0, 2, 1, 3]} : f16[B,2,T,64]
    %8 = transpose(%5) {perm = [0, 2, 1, 3]} : f16[B,2,T,64]
    %9 = attention(%6, %7, %8) {scale = f32(0.125), causal = CAUSAL, zero_masked_rows = true} : f16[B,6,S,64]
    %10 = transpose(%9) {perm = [0, 2, 1, 3]} : f16[B,S,6,64]
    %11 = reshape(%10) {shape = [B, S, 384]} : f16[B,S,384]
    return %11 \"y\"
  }";

/// Dense operands of some types; `MASK` is an operand more.
fn dense(dtype: &str, dim: usize, attrs: &str, mask: bool) -> String {
    let (input, operand) = if mask { (", %3 \"mask\" : bool[B,1,S,T]", ", %3") } else { ("", "") };
    let result = if mask { 4 } else { 3 };
    format!(
        "body(%0 \"q\" : {dtype}[B,4,S,{dim}], %1 \"k\" : {dtype}[B,2,T,{dim}], %2 \"v\" : {dtype}[B,2,T,{dim}]{input}) {{
    %{result} = attention(%0, %1, %2{operand}) {{scale = f32(0.125), {attrs}}} : {dtype}[B,4,S,{dim}]
    return %{result} \"y\"
  }}"
    )
}

fn graph(body: &str) -> (Graph, Graph) {
    let text = format!("graph \"attention\" {{\n {SYMBOLS}\n {body}\n}}");
    let source = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut fused = source.clone();
    let options = Options { verify: true, ..Options::default() };
    optimise(&mut fused, &options, &mut |_, _| {}).expect("the pipeline runs");
    (source, fused)
}

fn lowered(graph: &Graph, machine: Machine) -> Lowering<'_> {
    let mut lowering = Lowering::new(graph, machine);
    for id in &graph.regions[Graph::ROOT].nodes {
        if matches!(graph.nodes[*id].op, Op::Group { .. }) {
            lowering.group(*id).expect("every group has a kernel");
        }
    }
    lowering
}

fn kernels<'l>(lowering: &'l Lowering<'_>) -> impl Iterator<Item = &'l Kernel> {
    lowering.launches.iter().flat_map(|l| &l.variants).map(|v| &v.kernel)
}

fn tile(kernel: &Kernel) -> Option<&TileAttention> {
    kernel.body.iter().find_map(|s| match s {
        Stmt::TileAttention(a) => Some(&**a),
        _ => None,
    })
}

/// How many kernels a body becomes for a GPU, and the attention in them if it is by tiles.
fn tiled(body: &str) -> (usize, Option<TileAttention>) {
    let (_, fused) = graph(body);
    let on_cpu = lowered(&fused, Machine::Cpu);
    assert!(kernels(&on_cpu).all(|k| tile(k).is_none()), "a CPU has no tensor cores");
    let lowering = lowered(&fused, Machine::Gpu);
    let found = kernels(&lowering).find_map(tile).cloned();
    (lowering.launches.len(), found)
}

/// Runs a launch over the memory that there is.
fn launch(launch: &Launch, params: &[i64], memory: &mut HashMap<Operand, HostBuffer>) {
    let kernel = &launch.variants.last().expect("a launch has kernels").kernel;
    verify(kernel).unwrap_or_else(|e| panic!("{}\n{kernel}", e[0]));
    let mut buffers = launch_buffers(kernel, params).unwrap();
    for (buffer, operand) in buffers.iter_mut().zip(&launch.operands) {
        if let Some(found) = memory.get(operand) {
            *buffer = found.clone();
        }
    }
    assert_eq!(run(kernel, params, &mut buffers).unwrap(), Outcome::Done);
    memory.extend(launch.operands.iter().copied().zip(buffers));
}

/// The launches against the graph, for sizes of `B`, `S` and `T`.
fn compare(body: &str, params: [i64; 3]) {
    let (source, fused) = graph(body);
    let bind = |s: SymbolId| Some(params[s.0 as usize]);
    let mut state = 5u64;
    let mut number = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 22) as f64 - 2.0
    };
    let mut inputs = Vec::new();
    for v in source.inputs() {
        let ty = source.tensor(*v);
        let dims = ty.shape.iter().map(|d| d.eval(&bind).expect("bound") as usize);
        let dims: Vec<usize> = dims.collect();
        let values = (0..dims.iter().product()).map(|_| number()).collect();
        inputs.push(Tensor::from_f64(ty.dtype, &dims, values).expect("sizes agree"));
    }
    let want = interp::run(&source, &inputs).unwrap()[0].to_f64().unwrap();
    let mut lowering = lowered(&fused, Machine::Gpu);
    let mut memory = HashMap::new();
    for (v, tensor) in fused.inputs().iter().zip(&inputs) {
        let buffer = HostBuffer::rounded(tensor.dtype(), &tensor.to_f64().unwrap());
        memory.insert(Operand::Value(*v), buffer);
    }
    lowering.launches.iter().for_each(|l| launch(l, &params, &mut memory));
    let result = lowering.operand(fused.outputs()[0]);
    let found: Vec<f64> = memory[&result].scalars().iter().map(|x| x.to_f64()).collect();
    assert_eq!(found.len(), want.len());
    for (i, (x, y)) in found.iter().zip(&want).enumerate() {
        assert!((x - y).abs() <= 4e-3 * y.abs().max(1.0), "{i} at {params:?}: {x}, not {y}");
    }
}

#[test]
fn heads_between_tokens_are_read_and_written_where_they_lie() {
    for causal in ["false", "true"] {
        let body = BETWEEN.replace("CAUSAL", causal);
        let (launches, found) = tiled(&body);
        assert_eq!(launches, 1);
        let found = found.expect("attention by tiles");
        assert_eq!((found.rows.token_stride.clone(), found.keys.stride), (384.into(), 128.into()));
        compare(&body, [2, 67, 35]);
        compare(&body, [1, 3, 130]);
    }
}

#[test]
fn dense_heads_of_both_dtypes() {
    for (dtype, dim) in [("f16", 64), ("f16", 128)] {
        let body = dense(dtype, dim, "causal = true, zero_masked_rows = true", false);
        let (launches, found) = tiled(&body);
        assert!((launches, found.is_some()) == (1, true));
        compare(&body, [2, 19, 21]);
    }
    let body = dense("bf16", 64, "causal = false, zero_masked_rows = false", false);
    assert!(tiled(&body).1.is_some());
}

/// What is computed on the way to a query is computed in 16 bits, once.
#[test]
fn queries_that_are_computed_in_the_group() {
    let body = BETWEEN
        .replace("%9 = attention(%6,", "%12 = mul(%6, %6) : f16[B,6,S,64]\n %9 = attention(%12,")
        .replace("CAUSAL", "true");
    assert!(tiled(&body).1.is_some());
    compare(&body, [1, 37, 41]);
}

/// A step of a decoder: one warp for the one row, and sizes that are known.
#[test]
fn few_queries_take_a_narrow_tile() {
    let body = dense("f16", 64, "causal = true, zero_masked_rows = false", false);
    let body = body.replace("4,S,", "4,1,");
    let found = tiled(&body).1.expect("attention by tiles");
    assert_eq!((found.schedule.rows, found.schedule.warps), (16, 1));
    compare(&body, [3, 1, 77]);
}

/// Each of these would be wrong or has no instruction.
#[test]
fn others_are_no_tiles() {
    let plain = "causal = false, zero_masked_rows = false";
    for (what, body) in [
        ("f32 would lose bits", dense("f32", 64, plain, false)),
        ("a mask", dense("f16", 64, plain, true)),
        ("heads of 48 numbers", dense("f16", 48, plain, false)),
        // With S = 2 and T = 1 the first row is NaN in the graph and 0 in a tile.
        ("rows without keys", dense("f16", 64, "causal = true, zero_masked_rows = false", false)),
        ("a negative scale", dense("f16", 64, plain, false).replace("0.125", "-0.125")),
    ] {
        assert!(tiled(&body).1.is_none(), "{what}");
    }
}

/// One artifact: each target gets the products that it has.
#[cfg(feature = "ptx")]
#[test]
fn every_target_has_its_products() {
    use cascata_artifact::ArtifactReader;
    use cascata_artifact::gpu::GpuTarget;
    use cascata_codegen::build::{BuildOptions, build};
    use cascata_codegen::cpu::{CpuLevel, CpuTarget};
    let (_, fused) = graph(&BETWEEN.replace("CAUSAL", "true"));
    let options = BuildOptions {
        targets: vec![CpuTarget::new(CpuLevel::V3).unwrap()],
        machine: Machine::Cpu,
        gpu: GpuTarget::ALL.to_vec(),
        keep_kernel_ir: false,
        provenance: Default::default(),
    };
    let bytes = build(&fused, &options).unwrap().to_bytes().unwrap();
    let reader = ArtifactReader::parse(&bytes).unwrap();
    for (i, program) in reader.manifest().gpu.iter().enumerate() {
        let ptx = reader.ptx(i).unwrap();
        let by_wgmma = program.target == GpuTarget::Sm90a;
        assert_eq!(ptx.contains("wgmma.mma_async"), by_wgmma, "{:?}", program.target);
        assert_eq!(ptx.contains("mma.sync."), !by_wgmma, "{:?}", program.target);
        let name = format!(".target {}", program.target.name());
        assert!(ptx.contains(&name) && program.kernels[0].threads == 128);
    }
}
