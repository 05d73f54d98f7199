//! Mutates the fuzz corpus on stable Rust, without coverage: for machines that cannot build
//! the targets of `tests/fuzz`.
//!
//! `cargo run -p cascata-tests --example mutate -- graph_text 60 1`: target, seconds, seed. Runs
//! until a target panics (the bytes are then in `mutate-TARGET.bin`) or the time is over, and says how
//! many executions there were and how many inputs were accepted.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use cascata_tests::random::Rng;
use cascata_tests::targets::{artifact, onnx, text, weights};
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

fn target(name: &str) -> Result<fn(&[u8]) -> bool> {
    Ok(match name {
        "graph_text" => text::graph,
        "kernel_text" => text::kernel,
        "onnx" => onnx::model,
        "onnx_nodes" => onnx::nodes,
        "gguf" => weights::gguf,
        "safetensors" => weights::safetensors,
        "artifact" => |b| artifact::file(b) > artifact::Outcome::Refused,
        "manifest" => |b| artifact::manifest(b) > artifact::Outcome::Refused,
        _ => bail!("there is no target '{name}'"),
    })
}

/// One to four changes: a bit, a byte, a number, a piece of another file, a repeated or lost piece.
fn mutate(files: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = files[rng.below(files.len())].clone();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + 1 + rng.below(16)).min(bytes.len());
        match rng.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = rng.below(256) as u8,
            2 => {
                let number = ["0", "-1", "9223372036854775807", "4294967296", "2"][rng.below(5)];
                bytes.splice(at..end, number.bytes());
            }
            3 => {
                let other = &files[rng.below(files.len())];
                let from = rng.below(other.len() + 1);
                let to = (from + rng.below(64)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            4 => {
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => drop(bytes.drain(at.min(end)..end)),
        }
    }
    bytes
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, seconds, seed] = args.as_slice() else { bail!("usage: mutate TARGET SECONDS SEED") };
    let run = target(name)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let files = files.map(|f| Ok(std::fs::read(f?.path())?)).collect::<Result<Vec<_>>>()?;
    let mut rng = Rng::new(seed.parse()?);
    let (end, mut runs, mut accepted) =
        (Instant::now() + Duration::from_secs(seconds.parse()?), 0u64, 0u64);
    while Instant::now() < end {
        let bytes = mutate(&files, &mut rng);
        match catch_unwind(|| run(&bytes)) {
            Ok(yes) => accepted += u64::from(yes),
            Err(_) => {
                let path = format!("mutate-{name}.bin");
                std::fs::write(&path, &bytes)?;
                bail!("{name} panicked after {runs} executions; the bytes are in {path}");
            }
        }
        runs += 1;
    }
    println!("{name}: {runs} executions, {accepted} accepted");
    Ok(())
}
