//! The ONNX backend tests through import and interpreter.
//!
//! They are not checked in: `collect.py` beside this file writes them to
//! `<cache>/onnx_backend`; without that folder this test says so and passes. With
//! `ONNX_BACKEND_FILTER=substring` only some run and every outcome is printed.

mod common;

use cascata_frontends::onnx::{ImportError, ImportOptions, ValueOption, import};
use cascata_ir::interp::{Tensor, run};
use cascata_ir::types::DType;
use std::collections::BTreeMap;
use std::path::Path;

/// Tests whose reference cannot be met, each with the reason.
const EXPECTED_DIFFERENCES: &[(&str, &str)] = &[
    ("test_PReLU_1d_multiparam", "converted from opset 6 to a slope that does not broadcast"),
    ("test_PReLU_2d_multiparam", "converted from opset 6 to a slope that does not broadcast"),
    ("test_PReLU_3d_multiparam", "converted from opset 6 to a slope that does not broadcast"),
    ("test_bernoulli", "random"),
    ("test_bernoulli_double", "random"),
    ("test_bernoulli_double_expanded", "random"),
    ("test_bernoulli_expanded", "random"),
    ("test_bernoulli_seed", "random"),
    ("test_bernoulli_seed_expanded", "random"),
];

enum Outcome {
    Pass,
    Refused(String),
    Wrong(String),
}

#[test]
fn backend_tests() {
    let Some(folder) = common::cache("onnx_backend") else {
        println!("skipped: no <cache>/onnx_backend; run collect.py");
        return;
    };
    let filter = std::env::var("ONNX_BACKEND_FILTER").ok();
    let mut names: Vec<String> = std::fs::read_dir(folder.as_path())
        .expect("the folder can be listed")
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|n| filter.as_ref().is_none_or(|f| n.contains(f.as_str())))
        .collect();
    names.sort();
    let (mut passed, mut refused, mut wrong) =
        (0, BTreeMap::<String, Vec<String>>::new(), Vec::new());
    for name in names {
        let outcome = run_case(&folder.join(&name));
        if filter.is_some() {
            let text = match &outcome {
                Outcome::Pass => "pass".to_string(),
                Outcome::Refused(r) => format!("refused: {r}"),
                Outcome::Wrong(w) => format!("WRONG: {w}"),
            };
            println!("{name}: {text}");
        }
        match outcome {
            Outcome::Pass => passed += 1,
            Outcome::Refused(reason) => refused.entry(reason).or_default().push(name),
            Outcome::Wrong(what) => wrong.push(format!("{name}: {what}")),
        }
    }
    let refusals: usize = refused.values().map(Vec::len).sum();
    for (reason, names) in &refused {
        println!("refused {}: {reason} ({}…)", names.len(), names[0]);
    }
    for line in &wrong {
        println!("wrong   {line}");
    }
    println!("{passed} passed, {refusals} refused, {} wrong", wrong.len());
    let unexpected =
        |w: &&String| !EXPECTED_DIFFERENCES.iter().any(|(n, _)| w.starts_with(&format!("{n}:")));
    assert_eq!(wrong.iter().filter(unexpected).count(), 0, "see the list above");
}

fn run_case(folder: &Path) -> Outcome {
    let meta = std::fs::read_to_string(folder.join("meta.json")).expect("meta.json");
    let meta: serde_json::Value = serde_json::from_str(&meta).expect("meta.json is JSON");
    if let Some(reason) = meta["skip"].as_str() {
        return Outcome::Refused(format!("test data: {reason}"));
    }
    let read = |stem: &str| -> Vec<Tensor> {
        let mut arrays = common::read_npz(&folder.join(format!("{stem}.npz"))).expect("npz");
        arrays.sort_by_key(|(name, _)| name.parse::<usize>().unwrap_or(0));
        let bf16 = meta["bfloat16"][stem].as_array().cloned().unwrap_or_default();
        let is_bf16 = |i: usize| bf16.iter().any(|b| b.as_u64() == Some(i as u64));
        let convert = |(i, (_, t)): (usize, (String, Tensor))| match is_bf16(i) {
            true => t.cast(DType::BF16).expect("a float"),
            false => t,
        };
        arrays.into_iter().enumerate().map(convert).collect()
    };
    let (inputs, wanted) = (read("inputs"), read("outputs"));
    let names: Vec<&str> =
        meta["inputs"].as_array().expect("names").iter().filter_map(|n| n.as_str()).collect();
    let inputs: Vec<(&str, Tensor)> = names.into_iter().zip(inputs).collect();
    let path = folder.join("model.onnx");
    // Axes, scales and the like are inputs in these tests; where they must be known they are fixed.
    let imported = match import(&path, &ImportOptions::default()) {
        Err(e)
            if e.to_string().contains("must be known") || e.to_string().contains("with --dim") =>
        {
            import(&path, &fixing(&inputs))
        }
        result => result,
    };
    let imported = match imported {
        Ok(imported) => imported,
        Err(e) => return refusal(&e),
    };
    if let Err(errors) = cascata_ir::verify::verify(&imported.graph) {
        return Outcome::Wrong(format!("verify: {}", errors[0]));
    }
    let inputs: Vec<Tensor> = inputs
        .into_iter()
        .filter(|(name, _)| !imported.fixed.iter().any(|f| f == name))
        .map(|(_, t)| t)
        .collect();
    let outputs = match run(&imported.graph, &inputs) {
        Ok(outputs) => outputs,
        Err(e) => return Outcome::Wrong(format!("run: {e}")),
    };
    let (rtol, atol) =
        (meta["rtol"].as_f64().unwrap_or(1e-3), meta["atol"].as_f64().unwrap_or(1e-7));
    for (i, (got, want)) in outputs.iter().zip(&wanted).enumerate() {
        // Half floats are rounded at other places than in the reference: two units in the last place.
        let rtol = match got.dtype() {
            DType::BF16 => rtol.max(1.0 / 64.0),
            DType::F16 => rtol.max(1.0 / 512.0),
            _ => rtol,
        };
        if let Err(e) = common::compare(got, want, rtol, atol) {
            return Outcome::Wrong(format!("output {i}: {e}"));
        }
    }
    Outcome::Pass
}

/// Options that fix every small vector or number but the first input.
fn fixing(inputs: &[(&str, Tensor)]) -> ImportOptions {
    let small = |t: &Tensor| t.rank() <= 1 && (1..=16).contains(&t.len());
    let mut options = ImportOptions::default();
    for (name, tensor) in inputs.iter().skip(1).filter(|(_, t)| small(t)) {
        let values = tensor.cast(DType::F64).and_then(|t| t.to_f64()).unwrap_or_default();
        options.values.push(ValueOption { input: name.to_string(), values });
    }
    options
}

fn refusal(error: &ImportError) -> Outcome {
    match error {
        ImportError::Nodes(problems) => {
            let p = &problems[0];
            match p.reason.starts_with("not supported") {
                true => Outcome::Refused(format!("{}: {}", p.op, p.reason)),
                false => Outcome::Wrong(format!("import: {p}")),
            }
        }
        ImportError::Model { reason, .. }
            if reason.contains("supported")
                || reason.contains("rank must be known")
                || reason.contains("older than") =>
        {
            Outcome::Refused(reason.clone())
        }
        e => Outcome::Wrong(format!("import: {e}")),
    }
}
