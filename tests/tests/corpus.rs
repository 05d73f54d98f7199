//! The fuzz targets on their corpus: cheap, and on stable Rust.
//!
//! A target that accepts nothing of its corpus tests only its own front door, so most of it
//! must be accepted. Files named `crash-*` are what fuzzing has found.

use cascata_tests::targets::{artifact, onnx, text, weights};
use std::path::Path;

/// Runs a target on its corpus; gives how many files there are and how many it accepts.
fn replay(name: &str, target: fn(&[u8]) -> bool) -> (usize, usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = files.map(|f| f.unwrap().path()).collect();
    paths.sort();
    let accepted = paths.iter().filter(|p| {
        println!("{}", p.display());
        target(&std::fs::read(p).unwrap())
    });
    (accepted.count(), paths.len())
}

#[test]
fn graphs() {
    let (accepted, all) = replay("graph_text", text::graph);
    assert!(all >= 8 && accepted * 2 > all, "{accepted} of {all}");
}

#[test]
fn kernels() {
    let (accepted, all) = replay("kernel_text", text::kernel);
    assert!(all >= 5 && accepted * 2 > all, "{accepted} of {all}");
}

#[test]
fn models() {
    let (accepted, all) = replay("onnx", onnx::model);
    assert!(all >= 20 && accepted * 2 > all, "{accepted} of {all}");
}

#[test]
fn text_models() {
    let (accepted, all) = replay("gguf", weights::gguf);
    assert!(all >= 6 && accepted * 2 > all, "{accepted} of {all}");
    let (accepted, all) = replay("safetensors", weights::safetensors);
    assert!(all >= 8 && accepted * 2 > all, "{accepted} of {all}");
}

#[test]
fn built_models() {
    let (_, all) = replay("onnx_nodes", onnx::nodes);
    assert!(all >= 5);
    // Most bytes build a model that is refused for a reason; some of these must not be.
    let bytes = |seed: u32| {
        (0..64).map(|i| (seed.wrapping_mul(2_654_435_761 + i) >> 13) as u8).collect::<Vec<_>>()
    };
    let accepted = (0..2000).filter(|seed| onnx::nodes(&bytes(*seed))).count();
    println!("{accepted} of 2000 random models are imported");
    assert!(accepted > 20, "{accepted}");
}

#[test]
fn artifacts() {
    let (accepted, all) = replay("artifact", |b| artifact::file(b) > artifact::Outcome::Refused);
    assert!(all >= 1 && accepted >= 1, "{accepted} of {all}");
    let (accepted, all) = replay("manifest", |b| artifact::manifest(b) == artifact::Outcome::Ran);
    assert!(all >= 2 && accepted * 2 > all, "{accepted} of {all}");
}
