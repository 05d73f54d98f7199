//! Random graphs as ONNX models: ONNX Runtime, our importer and compiler agree with the
//! interpreter on the graph that was exported.

use cascata_tests::onnx_export::{export, write_seeds};
use cascata_tests::random::generate;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Python with ONNX Runtime: `CASCATA_PYTHON`, else what `tests/setup_env.sh` makes.
fn python() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    std::env::var_os("CASCATA_PYTHON").map_or(own, PathBuf::from)
}

fn skipped() -> bool {
    let skipped = std::env::var_os("CASCATA_SKIP_MODELS").is_some_and(|v| v == "1");
    if skipped {
        println!("skipped: CASCATA_SKIP_MODELS=1");
    }
    skipped
}

/// An empty folder.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the models");
    folder
}

/// Runs ONNX Runtime over the models; whether all are right, and what it printed.
fn onnx_runtime(folder: &Path) -> (bool, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/models/random_onnx.py");
    let run = Command::new(python()).arg(script).arg(folder).output();
    let run = run.unwrap_or_else(|e| panic!("{}: {e}; run tests/setup_env.sh", python().display()));
    let text = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    (run.status.success(), text.into_owned())
}

/// The number before `what` in the summary.
fn count(text: &str, what: &str) -> usize {
    let line = text.lines().find_map(|l| l.trim().strip_suffix(what));
    line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn onnx_runtime_equals_the_interpreter() {
    if skipped() {
        return;
    }
    let folder = folder("random-onnx");
    let written = write_seeds(0..200, 2, &folder).expect("the generator's graphs run");
    assert!(written.failures.is_empty(), "{:#?}", written.failures);
    println!("not expressible: {:#?}", written.cut);
    assert!(written.nodes >= 6000, "{} nodes written", written.nodes);
    let (right, text) = onnx_runtime(&folder);
    println!("{text}");
    assert!(right, "{text}");
    let [models, nodes] = ["models equal", "nodes compared"].map(|what| count(&text, what));
    assert!(models >= 440 && nodes >= 5500, "{models} models, {nodes} nodes");
}

/// The comparison notices one wrong element.
#[test]
fn a_wrong_value_is_noticed() {
    if skipped() {
        return;
    }
    let folder = folder("random-onnx-wrong");
    let mut exported = export(&generate(3), 0).expect("seed 3 runs").expect("a node of seed 3");
    let outputs = &exported.model.graph.as_ref().expect("a graph").output;
    let name = outputs.last().expect("an output").name.clone();
    let values = &mut exported.values.graph.as_mut().expect("a graph").initializer;
    let value = values.iter_mut().find(|t| t.name == name).expect("the output's value");
    let mut bytes = value.raw_data.clone().expect("bytes").to_vec();
    *bytes.last_mut().expect("an element") ^= 0x41;
    value.raw_data = Some(bytes.into());
    exported.save(&folder.join("3_0")).expect("the model is written");
    let (right, text) = onnx_runtime(&folder);
    assert!(!right && text.contains("1 mismatches"), "{text}");
}
