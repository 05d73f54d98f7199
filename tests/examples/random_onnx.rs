//! Random graphs as ONNX models, for `tests/models/random_onnx.py`.
//!
//! `random_onnx FOLDER --seed S --count N [--threads T]` writes the models of the seeds;
//! `random_onnx --seed S --value V` prints the graph's text of the node that computes %V alone.

use anyhow::{Context, Result, ensure};
use cascata_ir::graph::ValueId;
use cascata_tests::onnx_export::write_seeds;
use cascata_tests::random::{generate, one_node, text_of};
use std::path::Path;

fn argument(name: &str) -> Result<Option<u64>> {
    let args: Vec<String> = std::env::args().collect();
    let Some(i) = args.iter().position(|a| a == name) else { return Ok(None) };
    let text = args.get(i + 1).with_context(|| format!("{name} needs a number"))?;
    text.parse().map(Some).with_context(|| format!("{name} {text}"))
}

fn main() -> Result<()> {
    let seed = argument("--seed")?.unwrap_or(0);
    if let Some(value) = argument("--value")? {
        let small = one_node(&generate(seed), ValueId(value as u32)).context("no such value")?;
        print!("{}", text_of(&small.graph));
        return Ok(());
    }
    let folder = std::env::args().nth(1).context("random_onnx FOLDER --seed S --count N")?;
    let count = argument("--count")?.unwrap_or(200);
    let threads = argument("--threads")?.unwrap_or(2) as usize;
    let written = write_seeds(seed..seed + count, threads, Path::new(&folder))?;
    for ((op, reason), n) in &written.cut {
        println!("not expressible {n:6} {op}: {reason}");
    }
    for failure in &written.failures {
        println!("{failure}");
    }
    let cut: usize = written.cut.values().sum();
    println!("{} models, {} nodes, {cut} cut", written.models, written.nodes);
    ensure!(written.failures.is_empty(), "{} models are wrong", written.failures.len());
    Ok(())
}
