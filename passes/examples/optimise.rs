//! Optimises an ONNX model, prints the report and, with sizes for the symbols, compares
//! the result with the source in the interpreter.
//!
//! `cargo run --release -p cascata-passes --example optimise -- MODEL.onnx [SYMBOL=SIZE]… [--print] [--run]`

use anyhow::{Context, Result, ensure};
use cascata_frontends::onnx::{ImportOptions, import};
use cascata_ir::graph::Graph;
use cascata_ir::interp::{self, Tensor};
use cascata_ir::types::DType;
use cascata_passes::pipeline::{Options, optimise};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().context("give a model")?;
    let flag = |name: &str| args.iter().any(|a| a == name);
    let sizes: HashMap<&str, i64> = args
        .iter()
        .filter_map(|a| a.split_once('='))
        .map(|(n, v)| Ok((n, v.parse()?)))
        .collect::<Result<_>>()?;
    let start = Instant::now();
    let source = import(Path::new(path), &ImportOptions::default())?.graph;
    println!("import {:.3} s, {}", start.elapsed().as_secs_f64(), ops(&source));
    let mut graph = source.clone();
    let options = Options { verify: !flag("--no-verify"), ..Options::default() };
    let report = optimise(&mut graph, &options, &mut |_, _| {})?;
    for p in &report.phases {
        println!("{:16} {:7.3} s  nodes {:5}  changes {}", p.name, p.seconds, p.nodes, p.changes);
    }
    let r = &report.rewriting;
    println!(
        "slices {} distinct {} kept {} enodes {} stops {:?} cost {:.0} -> {:.0} us",
        r.slices,
        r.distinct,
        r.kept,
        r.enodes,
        r.stops,
        r.cost_before / 1e3,
        r.cost_after / 1e3
    );
    let c = &r.checks;
    println!(
        "compared {} slices, {} unchanged, {} not compared",
        c.compared,
        c.unchanged,
        c.skipped.len()
    );
    for s in &c.skipped {
        println!("  not compared: {}: {}", s.values.join(", "), s.reason);
    }
    for (name, c) in r.rules.iter().filter(|(_, c)| c.matched > 0) {
        println!(
            "  {name:28} matched {:5} fired {:5} used {:4} {:.3} s",
            c.matched, c.fired, c.used, c.seconds
        );
    }
    println!("after: {}", ops(&graph));
    if flag("--print") {
        print!("{}", cascata_ir::print::print(&graph, Default::default()));
    }
    if flag("--run") {
        compare(&source, &graph, &sizes)?;
    }
    Ok(())
}

/// Node counts by op.
fn ops(graph: &Graph) -> String {
    let mut counts = BTreeMap::new();
    let mut regions = vec![Graph::ROOT];
    while let Some(r) = regions.pop() {
        for &n in &graph.regions[r].nodes {
            let op = &graph.nodes[n].op;
            *counts.entry(op.name()).or_insert(0) += 1;
            regions.extend(op.regions());
        }
    }
    let list: Vec<String> = counts.iter().map(|(n, c)| format!("{n} {c}")).collect();
    format!("{} nodes: {}", counts.values().sum::<i32>(), list.join(", "))
}

fn compare(source: &Graph, graph: &Graph, sizes: &HashMap<&str, i64>) -> Result<()> {
    let inputs = inputs(source, sizes)?;
    let start = Instant::now();
    let expected = interp::run(source, &inputs)?;
    let before = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let got = interp::run(graph, &inputs)?;
    println!("interpreter {before:.2} s, optimised {:.2} s", start.elapsed().as_secs_f64());
    for ((name, a), b) in source.output_names.iter().zip(&expected).zip(&got) {
        ensure!((a.dims(), a.dtype()) == (b.dims(), b.dtype()), "{name} changed its type");
        let (x, y) = (a.to_f64().context("numbers")?, b.to_f64().context("numbers")?);
        let most = x.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let worst = x.iter().zip(&y).fold(0.0f64, |m, (p, q)| m.max((p - q).abs()));
        println!("{name} {:?}: largest {most:.4}, largest difference {worst:.3e}", a.dims());
    }
    Ok(())
}

fn inputs(graph: &Graph, sizes: &HashMap<&str, i64>) -> Result<Vec<Tensor>> {
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let mut out = vec![];
    for &v in graph.inputs() {
        let ty = graph.tensor(v);
        let name = &graph.values[v].name;
        let bind = |s| sizes.get(graph.symbols.name(s).as_str()).copied().or(Some(3));
        let dims = ty.shape.iter().map(|d| Ok(d.eval(&bind)? as usize));
        let dims: Vec<usize> = dims.collect::<Result<_>>()?;
        let n = dims.iter().product();
        let value = |x: f64| match ty.dtype {
            d if d.is_float() => x * 2.0 - 1.0,
            _ if name == "sr" => 16000.0,
            _ if name.contains("mask") => (x + 0.7).floor(),
            _ if name.contains("type") => (x * 2.0).floor(),
            _ => (x * 200.0).floor(),
        };
        let values: Vec<f64> = (0..n).map(|_| value(random())).collect();
        out.push(match ty.dtype {
            d if d.is_float() => Tensor::from_f64(d, &dims, values)?,
            d => {
                ensure!(d != DType::Str, "{name} is a string");
                Tensor::from_i128(d, &dims, &values.iter().map(|x| *x as i128).collect::<Vec<_>>())?
            }
        });
    }
    Ok(out)
}
