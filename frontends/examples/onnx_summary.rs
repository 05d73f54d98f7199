//! Imports an ONNX file and prints its signature and how often each core op occurs.
//!
//! ```text
//! cargo run -p cascata-frontends --example onnx_summary -- MODEL [--dim batch=1..8] [--set sr=16000]
//! ```

use cascata_frontends::onnx::{ImportOptions, import};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn main() {
    if let Err(e) = summarise() {
        eprintln!("error: {e}");
        std::process::exit(1);
    }
}

fn summarise() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = PathBuf::from(args.next().ok_or("usage: onnx_summary MODEL [--dim D] [--set V]")?);
    let mut options = ImportOptions::default();
    while let Some(flag) = args.next() {
        let text = args.next().ok_or("an option needs a value")?;
        options = match flag.as_str() {
            "--dim" => options.dim(&text)?,
            "--set" => options.value(&text)?,
            other => return Err(format!("unknown option '{other}'").into()),
        };
    }
    let start = std::time::Instant::now();
    let import = import(&path, &options)?;
    let graph = &import.graph;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    println!("{} (opset {}, {}) in {ms:.1} ms", graph.name, import.opset, import.producer);
    for &v in graph.inputs() {
        let value = &graph.values[v];
        println!("in   {}: {}", value.name, value.ty.display(&graph.symbols));
    }
    for (name, &v) in graph.output_names.iter().zip(graph.outputs()) {
        println!("out  {name}: {}", graph.ty(v).display(&graph.symbols));
    }
    for (_, s) in graph.symbols.iter() {
        let kind = if s.data_dependent { " (data-dependent)" } else { "" };
        println!("sym  {} in {}..={}{kind}", s.name, s.min, s.max);
    }
    for check in &graph.root().checks {
        let (lhs, rhs) = (check.lhs.display(&graph.symbols), check.rhs.display(&graph.symbols));
        println!("must {lhs} == {rhs}   ({})", check.what);
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for region in graph.regions.values() {
        for &n in &region.nodes {
            *counts.entry(graph.nodes[n].op.name()).or_default() += 1;
        }
    }
    let list: Vec<String> = counts.iter().map(|(op, n)| format!("{n} {op}")).collect();
    println!("ops  {}", list.join(", "));
    Ok(())
}
