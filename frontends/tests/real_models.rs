//! Real models: import them, and compare the interpreter with ONNX Runtime's outputs.
//!
//! Models and references come from `<cache>/models/<id>/model.onnx` and
//! `<cache>/refs/<id>/<case>/{inputs,outputs}.npz` (made by tests/models). Without the
//! cache these tests say so and pass.

mod common;

use cascata_frontends::onnx::{Import, ImportOptions, import};
use cascata_ir::interp::{Tensor, run};
use cascata_ir::op::Op;
use std::path::PathBuf;

const MODELS: &[&str] = &[
    "magika",
    "ocr_det",
    "ocr_rec",
    "ocr_cls",
    "nudenet",
    "nsfw",
    "minilm_l3",
    "minilm_int8",
    "silero",
    "silero_ifless",
];

fn model(id: &str) -> Option<PathBuf> {
    let path = common::cache("models")?.join(id).join("model.onnx");
    path.is_file().then_some(path)
}

fn import_with(id: &str, options: &ImportOptions) -> Option<Import> {
    let Some(path) = model(id) else {
        println!("skipped: {id} is not in the cache");
        return None;
    };
    Some(import(&path, options).unwrap_or_else(|e| panic!("{id}: {e}")))
}

/// silero decides its branches on its dims and its sample rate.
fn options(id: &str, case: &str) -> ImportOptions {
    let mut options = ImportOptions::default();
    if id == "silero" {
        let (samples, rate) = if case.contains("8k") { (288, 8000) } else { (576, 16000) };
        let samples = case.split("_t").nth(1).and_then(|t| t.parse().ok()).unwrap_or(samples);
        options = options.dim(&format!("input:1={samples}")).expect("a dim option");
        options = options.value(&format!("sr={rate}")).expect("a value option");
    }
    options
}

#[test]
fn every_model_is_imported_and_verifies() {
    for id in MODELS {
        let Some(imported) = import_with(id, &options(id, "b1_16k")) else { continue };
        let errors = cascata_ir::verify::verify(&imported.graph);
        assert!(errors.is_ok(), "{id}: {:?}", errors.unwrap_err().first().map(ToString::to_string));
    }
}

/// No shape arithmetic is left: it was evaluated to dims.
#[test]
fn shape_arithmetic_disappears() {
    for id in MODELS {
        let Some(imported) = import_with(id, &options(id, "b1_16k")) else { continue };
        let graph = &imported.graph;
        let nodes = graph.regions.values().flat_map(|r| &r.nodes);
        for node in nodes.map(|n| &graph.nodes[*n]) {
            let shape_op = matches!(node.op, Op::DimValues { .. } | Op::BindDims { .. });
            assert!(!shape_op, "{id}: {} is left for '{}'", node.op.name(), node.source);
        }
        let bound = graph.symbols.iter().find(|(_, s)| s.data_dependent);
        assert!(bound.is_none(), "{id}: {bound:?}");
    }
}

/// Cases that the interpreter runs in seconds, with the tolerance: f32 sums in another
/// order than ONNX Runtime's, relative to outputs around 1.
const CASES: &[(&str, &str, f64)] = &[
    ("magika", "n1", 1e-4),
    ("minilm_int8", "b2_s1", 1e-4),
    ("minilm_int8", "b3_s7", 1e-4),
    ("minilm_l3", "b2_s1", 1e-4),
    ("minilm_l3", "b3_s7", 1e-4),
    ("ocr_cls", "n2_37x101", 1e-4),
    ("ocr_det", "n2_32x64", 1e-4),
    ("ocr_rec", "n1_w33", 1e-4),
    ("silero", "b1_16k", 1e-4),
    ("silero", "b1_8k", 1e-4),
    ("silero", "b2_16k_t701", 1e-4),
    ("silero", "b3_16k", 1e-4),
    ("silero", "b3_8k", 1e-4),
    ("silero_ifless", "b1_16k", 1e-4),
    ("silero_ifless", "b2_16k_t1101", 1e-4),
    ("silero_ifless", "b3_8k", 1e-4),
    // Made with scales [0, 1, 0], so without noise; its lengths depend on the data.
    ("voice", "p9", 1e-4),
];

/// Minutes in the interpreter; run with `--ignored`.
const SLOW_CASES: &[(&str, &str, f64)] = &[
    ("nsfw", "n1", 1e-4),
    ("nudenet", "n3_96x160", 1e-3),
    ("ocr_rec", "n3_w97", 1e-4),
    ("ocr_cls", "n3_48x192", 1e-4),
    ("ocr_det", "n1_224x96", 1e-4),
    ("magika", "n3", 1e-4),
];

fn check_case(id: &str, case: &str, tolerance: f64) -> Result<(), String> {
    let Some(imported) = import_with(id, &options(id, case)) else { return Ok(()) };
    let Some(folder) = common::cache("refs").map(|r| r.join(id).join(case)) else { return Ok(()) };
    let inputs = common::read_npz(&folder.join("inputs.npz"))?;
    let wanted = common::read_npz(&folder.join("outputs.npz"))?;
    let graph = &imported.graph;
    let named = |name: &str, list: &[(String, Tensor)]| {
        let found = list.iter().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        found.ok_or(format!("no array for '{name}'"))
    };
    // ONNX Runtime takes one element for a number; the references hold vectors of one.
    let operand = |v: &cascata_ir::graph::ValueId| {
        let tensor = named(&graph.values[*v].name, &inputs)?;
        let scalar = graph.tensor(*v).rank() == 0 && tensor.len() == 1;
        if scalar { tensor.with_dims(&[]).map_err(|e| e.to_string()) } else { Ok(tensor) }
    };
    let inputs: Vec<Tensor> = graph.inputs().iter().map(operand).collect::<Result<_, _>>()?;
    let outputs = run(graph, &inputs).map_err(|e| e.to_string())?;
    for (name, got) in graph.output_names.iter().zip(&outputs) {
        let want = named(name, &wanted)?;
        common::compare(got, &want, tolerance, tolerance).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

fn check_cases(cases: &[(&str, &str, f64)]) {
    let mut wrong = Vec::new();
    for (id, case, tolerance) in cases {
        let start = std::time::Instant::now();
        if let Err(e) = check_case(id, case, *tolerance) {
            wrong.push(format!("{id} {case}: {e}"));
        }
        println!("{id} {case}: {:.1} s", start.elapsed().as_secs_f64());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn outputs_equal_onnx_runtime() {
    check_cases(CASES);
}

#[test]
#[ignore = "minutes in the interpreter"]
fn outputs_equal_onnx_runtime_slow() {
    check_cases(SLOW_CASES);
}
