//! Attention kernels of several schedules, to be checked and timed on a GPU:
//! `attention_package FOLDER` writes their PTX and `kernels.json`, which
//! `tests/gpu/run_attention.py FOLDER` reads.

use cascata_codegen::gpu::tile_attention::{Forest, Heads, Prompt, by_wgmma, wide};
use cascata_codegen::lower::{Lowering, Machine, Operand};
use cascata_ir::graph::Graph;
use cascata_ir::kernel::{Kernel, TileSchedule, verify};
use cascata_ir::op::Op;
use cascata_ir::parse::parse;
use cascata_ir::types::DType;
use cascata_passes::pipeline::{Options, optimise};
use cascata_ptx::{PtxTarget, compile};
use serde_json::{Value, json};
use std::error::Error;
use std::path::PathBuf;

/// Shared memory that a schedule may take, in bytes.
const MOST_SHARED: u32 = 160 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: attention_package FOLDER")?;
    let mut package = Package { folder: folder.into(), kernels: vec![] };
    std::fs::create_dir_all(&package.folder)?;
    prompts(&mut package)?;
    checks(&mut package)?;
    graphs(&mut package)?;
    forests(&mut package)?;
    let text = serde_json::to_string_pretty(&package.kernels)?;
    Ok(std::fs::write(package.folder.join("kernels.json"), text)?)
}

/// The kernels that were written.
struct Package {
    folder: PathBuf,
    kernels: Vec<Value>,
}

impl Package {
    fn add(&mut self, kernel: &Kernel, wgmma: bool, facts: Value) -> Result<(), Box<dyn Error>> {
        let name = &kernel.name;
        verify(kernel).map_err(|e| format!("{name}: {e:?}"))?;
        let target = PtxTarget { name: if wgmma { "sm_90a" } else { "sm_90" } };
        let module =
            compile(std::slice::from_ref(kernel), target).map_err(|e| format!("{name}: {e:?}"))?;
        std::fs::write(self.folder.join(format!("{name}.ptx")), &module.text)?;
        let launch = &module.kernels[0];
        let mut described = facts;
        described["name"] = json!(name);
        described["threads"] = json!(launch.threads);
        described["shared"] = json!(launch.shared_bytes);
        self.kernels.push(described);
        Ok(())
    }
}

fn heads(heads: u32, kv_heads: u32, head_dim: u32, dtype: DType) -> Heads {
    Heads { heads, kv_heads, head_dim, dtype, scale: 1.0 / (head_dim as f32).sqrt() }
}

fn described(kind: &str, heads: Heads, rows: u32) -> Value {
    let Heads { heads, kv_heads, head_dim, dtype, .. } = heads;
    json!({
        "kind": kind, "heads": heads, "kv_heads": kv_heads, "dim": head_dim,
        "dtype": dtype.to_string(), "rows": rows,
    })
}

/// By `mma.sync`.
fn mma(rows: u32, keys: u32, warps: u32, stages: u32, ahead: bool) -> TileSchedule {
    TileSchedule { rows, keys, warps, stages, ahead, wgmma: false }
}

/// By `wgmma`.
fn wgmma(rows: u32, keys: u32, warps: u32, stages: u32) -> TileSchedule {
    TileSchedule { rows, keys, warps, stages, ahead: true, wgmma: true }
}

fn label(s: TileSchedule) -> String {
    let kind = match (s.wgmma, s.ahead) {
        (true, _) => "g",
        (false, true) => "a",
        (false, false) => "",
    };
    format!("r{}k{}w{}s{}{kind}", s.rows, s.keys, s.warps, s.stages)
}

/// Whether a schedule fits heads of a dim.
fn fits(s: TileSchedule, dim: u32) -> bool {
    let bytes = (s.rows + 2 * s.stages * s.keys) * dim * 2;
    bytes <= MOST_SHARED && s.keys.is_multiple_of(s.warps * 32 / (dim / 8))
}

/// To be timed: causal, 16 heads.
fn prompts(package: &mut Package) -> Result<(), Box<dyn Error>> {
    let schedules = [
        mma(128, 64, 4, 2, false),
        mma(128, 64, 8, 2, false),
        mma(64, 64, 4, 2, true),
        mma(128, 48, 4, 2, false),
        wgmma(128, 128, 8, 2),
        wgmma(128, 64, 8, 2),
        wgmma(64, 128, 4, 2),
        wgmma(64, 64, 4, 3),
        wgmma(128, 96, 8, 2),
    ];
    for dim in [128, 64] {
        for schedule in schedules.into_iter().filter(|s| fits(*s, dim)) {
            let heads = heads(16, 16, dim, DType::BF16);
            let name = format!("prompt_d{dim}_{}", label(schedule));
            let kernel = Prompt { heads, causal: true, schedule }.kernel(&name);
            let mut facts = described("prompt", heads, schedule.rows);
            facts["causal"] = json!(true);
            package.add(&kernel, schedule.wgmma, facts)?;
        }
    }
    Ok(())
}

/// To be compared on odd sizes: grouped heads, both dtypes, causal or not.
fn checks(package: &mut Package) -> Result<(), Box<dyn Error>> {
    let schedules = [
        mma(128, 64, 4, 2, false),
        mma(64, 64, 4, 3, true),
        wgmma(128, 128, 8, 2),
        wgmma(64, 64, 4, 3),
    ];
    for (dim, dtype, causal, of_queries, of_keys) in [
        (64, DType::F16, true, 6, 2),
        (128, DType::F16, false, 4, 4),
        (128, DType::BF16, true, 8, 2),
        (64, DType::BF16, false, 3, 1),
    ] {
        for schedule in schedules.into_iter().filter(|s| fits(*s, dim)) {
            let heads = heads(of_queries, of_keys, dim, dtype);
            let seen = if causal { "causal" } else { "all" };
            let name = format!("check_d{dim}_{dtype}_{seen}_{}", label(schedule));
            let kernel = Prompt { heads, causal, schedule }.kernel(&name);
            let mut facts = described("check", heads, schedule.rows);
            facts["causal"] = json!(causal);
            package.add(&kernel, schedule.wgmma, facts)?;
        }
    }
    Ok(())
}

/// What the attention of a graph becomes, to be compared and, with 16 key heads, timed: the
/// operands lie as those of the kernels above.
fn graphs(package: &mut Package) -> Result<(), Box<dyn Error>> {
    for (kind, of_keys) in [("prompt", 16), ("check", 2)] {
        for (dim, dtype, causal) in
            [(64, DType::BF16, true), (128, DType::BF16, true), (128, DType::F16, false)]
        {
            if kind == "prompt" && !causal {
                continue;
            }
            let heads = heads(if kind == "prompt" { 16 } else { 6 }, of_keys, dim, dtype);
            let kernel = of_graph(heads, causal)?;
            let new = by_wgmma(&kernel).ok_or("the graph's attention has no tiles")?;
            for (kernel, wgmma) in [(kernel, false), (new, true)] {
                let end = if wgmma { "_g" } else { "" };
                let name = format!("{kind}_graph_d{dim}_{dtype}{end}");
                let mut facts = described(kind, heads, wide(dim, wgmma).rows);
                facts["causal"] = json!(causal);
                package.add(&Kernel { name, ..kernel }, wgmma, facts)?;
            }
        }
    }
    Ok(())
}

/// The one kernel of a graph of projected queries, keys and values.
fn of_graph(heads: Heads, causal: bool) -> Result<Kernel, Box<dyn Error>> {
    let Heads { heads: h, kv_heads: g, head_dim: d, dtype, scale } = heads;
    let text = format!(
        "graph \"attention\" {{
  symbol B in 1..=64
  symbol S in 1..=65536
  symbol T in 1..=65536
  body(%0 \"q\" : {dtype}[B,S,{h},{d}], %1 \"k\" : {dtype}[B,T,{g},{d}], %2 \"v\" : {dtype}[B,T,{g},{d}]) {{
    %3 = transpose(%0) {{perm = [0, 2, 1, 3]}} : {dtype}[B,{h},S,{d}]
    %4 = transpose(%1) {{perm = [0, 2, 1, 3]}} : {dtype}[B,{g},T,{d}]
    %5 = transpose(%2) {{perm = [0, 2, 1, 3]}} : {dtype}[B,{g},T,{d}]
    %6 = attention(%3, %4, %5) {{scale = f32({scale}), causal = {causal}, zero_masked_rows = true}} : {dtype}[B,{h},S,{d}]
    %7 = transpose(%6) {{perm = [0, 2, 1, 3]}} : {dtype}[B,S,{h},{d}]
    return %7 \"y\"
  }}
}}
"
    );
    let mut graph = parse(&text)?;
    optimise(&mut graph, &Options::default(), &mut |_, _| {})?;
    let mut lowering = Lowering::new(&graph, Machine::Gpu);
    for id in &graph.regions[Graph::ROOT].nodes {
        if matches!(graph.nodes[*id].op, Op::Group { .. }) {
            lowering.group(*id)?;
        }
    }
    let operands = [graph.inputs(), graph.outputs()].concat();
    let operands: Vec<Operand> = operands.into_iter().map(|v| lowering.operand(v)).collect();
    match lowering.launches.as_slice() {
        [launch] if launch.operands == operands => Ok(launch.variants[0].kernel.clone()),
        other => Err(format!("no one launch over {operands:?}: {other:?}").into()),
    }
}

/// Decoding over shared prefixes: tiles of many rows for those, of few for what is a
/// sequence's own, and what merges their states.
fn forests(package: &mut Package) -> Result<(), Box<dyn Error>> {
    let schedules = [
        mma(128, 64, 4, 2, false),
        wgmma(128, 128, 8, 2),
        mma(16, 64, 1, 2, false),
        mma(16, 64, 1, 2, true),
    ];
    for of_keys in [2, 4, 8, 16] {
        let heads = heads(16, of_keys, 128, DType::BF16);
        let forest = Forest { heads, block_tokens: 16 };
        for schedule in schedules {
            let kernel =
                forest.partial(&format!("forest_kv{of_keys}_{}", label(schedule)), schedule);
            package.add(&kernel, schedule.wgmma, described("forest", heads, schedule.rows))?;
        }
        if of_keys == heads.heads {
            package.add(&forest.merge("merge"), false, described("merge", heads, 0))?;
        }
    }
    Ok(())
}
