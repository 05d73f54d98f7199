//! Compiles every reference model and compares every case with ONNX Runtime.
//! `models [FILTER] [--O0]`.

use anyhow::Result;
use cascata_codegen::cpu::CpuLevel;
use cascata_passes::pipeline::OptLevel;
use cascata_runtime::Runtime;
use cascata_tests::{compare, pipeline, references};
use std::time::Instant;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let level = if args.iter().any(|a| a == "--O0") { OptLevel::O0 } else { OptLevel::O2 };
    let filter = args.iter().find(|a| !a.starts_with("--")).cloned().unwrap_or_default();
    let runtime = Runtime::builder().threads(2).build()?;
    let mut last = String::new();
    let mut session = None;
    for case in references::cases()?.into_iter().filter(|c| c.model.contains(&filter)) {
        if case.model != last {
            last = case.model.clone();
            let start = Instant::now();
            session = pipeline::fused(&case.path, level)
                .and_then(|g| {
                    eprintln!("{}: fused after {:?}", case.model, start.elapsed());
                    pipeline::artifact(&g, &[CpuLevel::V3])
                })
                .and_then(|bytes| pipeline::session(&bytes, &runtime))
                .map_err(|e| eprintln!("{}: {e:#}", case.model))
                .ok();
            eprintln!("{}: compiled in {:?}", case.model, start.elapsed());
        }
        let Some(session) = &session else { continue };
        let start = Instant::now();
        match pipeline::run(session, &case.inputs()?) {
            Err(e) => println!("{} {}: {e:#}", case.model, case.name),
            Ok(outputs) => {
                let time = start.elapsed();
                let names: Vec<String> = session.outputs().iter().map(|p| p.name.clone()).collect();
                for (name, expected) in case.outputs()? {
                    let i = names.iter().position(|n| *n == name).expect("an output of that name");
                    let d = compare::relative_difference(&outputs[i], &expected);
                    println!("{} {} {name}: {d:.2e} ({time:?})", case.model, case.name);
                }
            }
        }
    }
    Ok(())
}
