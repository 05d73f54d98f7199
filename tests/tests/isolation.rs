//! Batch isolation of real models: what is proven at import and after every pass, how long
//! that takes, and that compiled code keeps to it bit by bit.

use anyhow::{Context, Result, ensure};
use cascata_codegen::cpu::CpuLevel;
use cascata_frontends::onnx::{ImportOptions, import};
use cascata_ir::interp::Tensor;
use cascata_passes::isolation::{Batch, Report, Select, Verdict, check};
use cascata_passes::pipeline::OptLevel;
use cascata_runtime::Runtime;
use cascata_tests::pipeline;
use cascata_tests::references::{Case, cases_or_skip};
use cascata_types::DType;
use std::time::{Duration, Instant};

/// The proof of one graph, which must take less than a second.
fn prove(graph: &cascata_ir::graph::Graph, what: &str) -> Result<Report> {
    let start = Instant::now();
    let report = check(graph, &Batch::find(graph, &Select::Leading)?);
    let time = start.elapsed();
    println!("{what}: {:.1} ms, isolated: {}", time.as_secs_f64() * 1e3, report.isolated());
    ensure!(time < Duration::from_secs(1), "{what}: {time:?}");
    Ok(report)
}

/// What is proven of a model as imported.
fn imported(case: &Case) -> Result<Report> {
    let graph = import(&case.path, &ImportOptions::default())?.graph;
    prove(&graph, &case.model)
}

#[test]
fn models_that_isolate_are_proven() -> Result<()> {
    const MODELS: [&str; 8] =
        ["magika", "ocr_det", "ocr_rec", "ocr_cls", "nudenet", "nsfw", "minilm_l3", "minilm_int8"];
    for model in MODELS {
        for case in cases_or_skip(model).iter().take(1) {
            let report = imported(case)?;
            let optimised = pipeline::fused(&case.path, OptLevel::O2)?;
            let optimised = prove(&optimised, &format!("{model} after the passes"))?;
            ensure!(optimised.isolated(), "{model}: {:?}", optimised.leaks().next());
            let leaks: Vec<String> = report.leaks().map(|(o, l)| format!("{o}: {l}")).collect();
            ensure!(leaks.is_empty(), "{model}: {leaks:?}");
        }
    }
    Ok(())
}

/// The elements of a tensor by entry, as bytes.
fn parts(t: &Tensor, axis: usize) -> Vec<Vec<u8>> {
    let after: usize = t.dims()[axis + 1..].iter().product();
    let n = t.dims()[axis];
    let size = t.dtype().size_bytes().unwrap_or(1);
    let mut parts = vec![Vec::new(); n];
    for (i, row) in t.to_le_bytes().chunks((after * size).max(1)).enumerate() {
        parts[i % n].extend_from_slice(row);
    }
    parts
}

/// The tensor with entry `entry` of axis 0 changed: to the entry's elements backwards.
fn changed(t: &Tensor, entry: usize) -> Result<Tensor> {
    let mut parts = parts(t, 0);
    let size = t.dtype().size_bytes().unwrap_or(1);
    let turned: Vec<u8> = parts[entry].chunks(size).rev().flatten().copied().collect();
    // An entry that reads the same backwards gets another first element.
    let same = turned == parts[entry];
    parts[entry] = turned;
    if same && t.dtype() == DType::F32 {
        parts[entry][..4].copy_from_slice(&7.5f32.to_le_bytes());
    }
    Ok(Tensor::from_le_bytes(t.dtype(), t.dims(), &parts.concat())?)
}

/// Whether the others' parts of the outputs are the same, bit by bit, when one entry changes.
fn keeps_apart(case: &Case) -> Result<bool> {
    let graph = pipeline::fused(&case.path, OptLevel::O2)?;
    let report = prove(&graph, &format!("{} after the passes", case.model))?;
    let session = pipeline::session(
        &pipeline::artifact(&graph, &[CpuLevel::V1])?,
        &Runtime::builder().threads(2).build()?,
    )?;
    let inputs = case.inputs()?;
    let entries = inputs[0].1.dims()[0];
    ensure!(entries > 1, "one entry");
    let before = pipeline::run(&session, &inputs)?;
    let mut apart = true;
    for entry in 0..entries {
        let other: Vec<(String, Tensor)> = inputs
            .iter()
            .map(|(name, t)| Ok((name.clone(), changed(t, entry)?)))
            .collect::<Result<_>>()?;
        let after = pipeline::run(&session, &other)?;
        let mut own = false;
        for (verdict, (a, b)) in report.outputs.iter().zip(before.iter().zip(&after)) {
            let axis = if let Verdict::Isolated(p) = &verdict.verdict { p.axis } else { 0 };
            for (i, (a, b)) in parts(a, axis).iter().zip(parts(b, axis)).enumerate() {
                apart &= i == entry || *a == b;
                own |= i == entry && *a != b;
            }
        }
        ensure!(own, "entry {entry} does not depend on itself");
    }
    ensure!(report.isolated() <= apart, "{} is proven isolated and is not", case.model);
    Ok(apart)
}

/// The case with that name.
fn case(model: &str, name: &str) -> Option<Case> {
    cases_or_skip(model).into_iter().find(|c| c.name == name)
}

#[test]
fn compiled_models_keep_entries_apart() -> Result<()> {
    for (model, name) in [
        ("magika", "n3"),
        ("ocr_cls", "n3_48x192"),
        ("minilm_l3", "b3_s7"),
        ("minilm_int8", "b3_s7"),
    ] {
        if let Some(case) = case(model, name) {
            ensure!(keeps_apart(&case)?, "{model}");
        }
    }
    Ok(())
}

/// `y = x` through one quantisation scale for the whole tensor, as exporters write it.
const ONE_SCALE: &str = "graph \"g\" {
  symbol B in 1..=8
  body(%0 \"x\" : f32[B,4]) {
    %1 = abs(%0) : f32[B,4]
    %2 \"scale\" = reduce(%1) {op = max, axes = [0, 1], keep_dims = false} : f32[]
    %3 = div(%0, %2) : f32[B,4]
    %4 = fill() {value = f32(127.0), shape = []} : f32[]
    %5 = mul(%3, %4) : f32[B,4]
    %6 = round(%5) : f32[B,4]
    %7 = mul(%6, %2) : f32[B,4]
    return %7 \"y\"
  }
}
";

#[test]
fn a_compiled_model_that_mixes_is_named_and_mixes() -> Result<()> {
    let graph = pipeline::fused_graph(cascata_ir::parse::parse(ONE_SCALE)?, OptLevel::O2)?;
    let report = prove(&graph, "one scale")?;
    let (_, leak) = report.leaks().next().context("one scale is no leak")?;
    ensure!((leak.op.as_str(), leak.value.as_str()) == ("reduce", "scale"), "{leak}");
    let bytes = pipeline::artifact(&graph, &[CpuLevel::V1])?;
    let session = pipeline::session(&bytes, &Runtime::builder().threads(1).build()?)?;
    let run = |first: f32| {
        let x = [first, -0.3, 0.7, 0.1, 0.33, -0.25, 0.9, 0.5];
        let x = Tensor::new(&[2, 4], x.to_vec()).context("x")?;
        pipeline::run(&session, &[("x".into(), x)])
    };
    let second = |t: &[Tensor]| parts(&t[0], 0)[1].clone();
    ensure!(second(&run(0.2)?) == second(&run(0.3)?), "the scale is the second entry's");
    ensure!(second(&run(0.2)?) != second(&run(30.0)?), "the scale is the first entry's");
    Ok(())
}
