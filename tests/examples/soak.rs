//! Random graphs, interpreter against compiled code, for as long as asked.
//! `soak [--seed S] [--count N] [--threads T]`.

use anyhow::{Context, Result, ensure};
use cascata_tests::random::{Counts, soak};

fn argument(name: &str, default: u64) -> Result<u64> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().position(|a| a == name) {
        None => Ok(default),
        Some(i) => {
            let text = args.get(i + 1).with_context(|| format!("{name} needs a number"))?;
            text.parse().with_context(|| format!("{name} {text}"))
        }
    }
}

fn main() -> Result<()> {
    let (seed, count) = (argument("--seed", 0)?, argument("--count", 1000)?);
    let threads = argument("--threads", 2)? as usize;
    let progress = |c: &Counts| {
        if c.graphs().is_multiple_of(50) {
            eprintln!("{} graphs, {} refused, {} wrong", c.graphs(), c.refused, c.mismatches.len());
        }
    };
    let counts = soak(seed..seed + count, threads, &progress)?;
    for (op, n) in &counts.ops {
        println!("{n:6} {op}");
    }
    for (reason, n) in &counts.refusals {
        println!("refused {n:5} {reason}");
    }
    for (seed, what) in &counts.mismatches {
        println!("seed {seed}: {what}");
    }
    let graphs = counts.graphs();
    let mean = counts.nodes as f64 / counts.same.max(1) as f64;
    println!(
        "{graphs} graphs: {} equal in {} runs ({mean:.1} nodes each), {} refused, {} wrong",
        counts.same,
        counts.runs,
        counts.refused,
        counts.mismatches.len()
    );
    ensure!(counts.mismatches.is_empty(), "{} graphs are wrong", counts.mismatches.len());
    Ok(())
}
