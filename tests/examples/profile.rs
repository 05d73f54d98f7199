//! Times one model × case and lists its slowest launches. `profile MODEL CASE [THREADS] [RUNS]`.
use anyhow::{Context, Result};
use cascata_codegen::cpu::CpuLevel;
use cascata_passes::pipeline::OptLevel;
use cascata_runtime::{Runtime, TensorView};
use cascata_tests::{pipeline, references};
use std::collections::BTreeMap;
use std::time::Instant;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let threads = args.get(2).map_or(2, |t| t.parse().unwrap());
    let runs: usize = args.get(3).map_or(30, |t| t.parse().unwrap());
    let runtime = Runtime::builder().threads(threads).build()?;
    let all = references::cases()?;
    let case =
        all.iter().find(|c| c.model == args[0] && c.name == args[1]).context("no such case")?;
    let graph = pipeline::fused(&case.path, OptLevel::O2)?;
    let bytes = pipeline::artifact(&graph, &[CpuLevel::V3])?;
    let session = pipeline::session(&bytes, &runtime)?;
    let inputs = case.inputs()?;
    let raw: Vec<_> = inputs
        .iter()
        .map(|(_, t)| {
            (t.dtype(), t.dims().iter().map(|d| *d as i64).collect::<Vec<_>>(), t.to_le_bytes())
        })
        .collect();
    let views: Vec<(&str, TensorView)> = inputs
        .iter()
        .zip(&raw)
        .map(|((n, _), (d, dims, b))| (n.as_str(), TensorView::new(*d, dims, b).unwrap()))
        .collect();
    let mut times = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        session.run(&views)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{} {} threads {threads}: median {:.3} ms, best {:.3}",
        case.model,
        case.name,
        times[runs / 2],
        times[0]
    );
    let mut sums: BTreeMap<usize, (String, f64, f64)> = BTreeMap::new();
    for _ in 0..5 {
        let (_, profile) = session.run_profiled(&views)?;
        for (i, p) in profile.iter().enumerate() {
            let e = sums.entry(i).or_insert((format!("{} {:?}", p.kernel, p.values), 0.0, 0.0));
            e.1 += p.ns as f64 / 5.0;
            e.2 = p.flops as f64;
        }
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    let total: f64 = rows.iter().map(|r| r.1.1).sum();
    rows.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    println!("launches {} total {:.3} ms", rows.len(), total / 1e6);
    for (i, (name, ns, flops)) in rows.iter().take(22) {
        println!(
            "{i:4} {:8.1} us {:5.1}% {:7.2} GF/s  {:.90}",
            ns / 1e3,
            100.0 * ns / total,
            flops / ns,
            name
        );
    }
    Ok(())
}
