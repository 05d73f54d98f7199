//! Artifacts: bytes with repaired hashes, and any manifest over code that does nothing.
//!
//! Code is trusted once it is loaded, so what is tested is everything around it: every byte
//! of the code sections here is `ret`, harmless wherever a manifest lets a kernel begin. All
//! that the runtime itself does with a hostile manifest then runs: binding, planning, placing,
//! launching, reading back.

use cascata_runtime::format::manifest::{Entry, Port};
use cascata_runtime::format::{CHUNK_BYTES, Header};
use cascata_runtime::{Artifact, Runtime, Session, SessionOptions, Tensor, TensorView};
use cascata_types::{Dim, Entity};
use std::sync::OnceLock;

/// What became of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was not loaded.
    Refused,
    /// It was loaded, and every run was refused or too large to try.
    Loaded,
    /// A run came to its kernels.
    Ran,
}

const PAGE: usize = 4096;
const RET: u8 = 0xc3;
/// Memory that a run may take here.
const MOST_BYTES: u64 = 16 << 20;
/// Weights over this are not made up for a manifest.
const MOST_WEIGHTS: u64 = 1 << 22;

/// A file that is damaged, with the hash of its header made right again.
pub fn file(bytes: &[u8]) -> Outcome {
    let mut bytes = bytes.to_vec();
    let length = bytes.get(16..20).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    if let Some(header) = bytes.get_mut(..length as usize).filter(|h| h.len() >= 64) {
        seal(header);
    }
    match Artifact::from_bytes(&bytes) {
        Ok(_) => Outcome::Loaded, // Its code is not known: it is not run.
        Err(_) => Outcome::Refused,
    }
}

fn seal(header: &mut [u8]) {
    header[32..64].fill(0);
    let hash = *blake3::hash(header).as_bytes();
    header[32..64].copy_from_slice(&hash);
}

/// A manifest's JSON, in an artifact that fits it as well as can be.
pub fn manifest(json: &[u8]) -> Outcome {
    match Artifact::from_bytes(&around(json)) {
        Ok(artifact) => exercise(&artifact),
        Err(_) => Outcome::Refused,
    }
}

/// The sections that the manifest speaks about, whatever is in them.
fn around(json: &[u8]) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let variants = value["code"].as_array().map_or(0, Vec::len).min(4);
    let number = |w: &serde_json::Value, field: &str| w[field].as_u64().unwrap_or(0);
    let ends = value["weights"].as_array().into_iter().flatten();
    let ends = ends.map(|w| number(w, "offset").saturating_add(number(w, "bytes")));
    let weights = ends.max().unwrap_or(0).min(MOST_WEIGHTS);
    let mut sections = vec![(1, 0, json.to_vec())];
    sections.extend((0..variants as u64).map(|i| (2, i, vec![RET; 1 << 16])));
    if weights > 0 {
        let weights = vec![0; weights as usize];
        let chunk = |c: &[u8]| *blake3::hash(c).as_bytes();
        let hashes = weights.chunks(CHUNK_BYTES as usize).flat_map(chunk).collect();
        sections.extend([(4, 0, hashes), (3, 0, weights)]);
    }
    pack(&sections)
}

/// Lays sections `(kind, index, bytes)` out with the hashes that the format wants.
fn pack(sections: &[(u32, u64, Vec<u8>)]) -> Vec<u8> {
    let header = (64 + sections.len() * 64).next_multiple_of(PAGE);
    let mut out = vec![0; header];
    out[..8].copy_from_slice(b"\x89CASCATA");
    out[8..12].copy_from_slice(&1u32.to_le_bytes());
    out[16..20].copy_from_slice(&(header as u32).to_le_bytes());
    out[20..24].copy_from_slice(&(sections.len() as u32).to_le_bytes());
    let hashes = sections.iter().find(|(kind, _, _)| *kind == 4);
    for (i, (kind, index, bytes)) in sections.iter().enumerate() {
        out.resize(out.len().next_multiple_of(PAGE), 0);
        let offset = out.len() as u64;
        out.extend_from_slice(bytes);
        // The hash of the weights is that of their hashes.
        let hashed = if *kind == 3 { hashes.map_or(bytes, |(_, _, h)| h) } else { bytes };
        let row = &mut out[64 + i * 64..][..64];
        row[..4].copy_from_slice(&kind.to_le_bytes());
        row[8..16].copy_from_slice(&offset.to_le_bytes());
        row[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        row[24..32].copy_from_slice(&index.to_le_bytes());
        row[32..].copy_from_slice(blake3::hash(hashed).as_bytes());
    }
    let length = out.len() as u64;
    out[24..32].copy_from_slice(&length.to_le_bytes());
    seal(&mut out[..header]);
    debug_assert!(Header::parse(&out, length).is_ok());
    out
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::builder().threads(2).build().expect("threads"))
}

/// Plans and runs every entry for some sizes.
fn exercise(artifact: &Artifact) -> Outcome {
    let names: Vec<String> = artifact.entries().map(str::to_string).collect();
    let one = |name: &String| {
        let options = SessionOptions::default().entry(name).poison(true);
        let session = artifact.session_with(runtime(), &options).ok()?;
        (0..3).map(|i| attempt(&session, i)).max()
    };
    names.iter().filter_map(one).max().unwrap_or(Outcome::Loaded)
}

/// One run, if it takes little memory. Sizes are the least, the least plus one, or 3.
fn attempt(session: &Session, which: i64) -> Outcome {
    let entry = session.entry();
    let size = |min: i64, max: i64| match which {
        0 => min,
        1 => min.saturating_add(1).min(max),
        _ => 3.clamp(min, max.max(min)),
    };
    let values: Vec<i64> = entry.symbols.iter().map(|(_, s)| size(s.min, s.max)).collect();
    let symbols: Vec<(&str, i64)> = entry
        .symbols
        .iter()
        .zip(&values)
        .filter(|((_, s), _)| !s.data_dependent)
        .map(|((_, s), v)| (s.name.as_str(), *v))
        .collect();
    let Ok(plan) = session.memory_plan(&symbols) else { return Outcome::Loaded };
    let scratch = plan.segments.iter().map(|s| s.scratch_bytes).max().unwrap_or(0);
    let (Some(inputs), Some(outputs)) = (tensors(&entry.inputs, &values), largest(entry, &values))
    else {
        return Outcome::Loaded;
    };
    if plan.arena_bytes().saturating_add(scratch).saturating_add(outputs) > MOST_BYTES {
        return Outcome::Loaded;
    }
    let named: Vec<(&str, TensorView<'_>)> =
        entry.inputs.iter().zip(&inputs).map(|(p, t)| (p.name.as_str(), t.view())).collect();
    match session.run(&named) {
        Ok(_) | Err(cascata_runtime::RunError::Kernel { .. }) => Outcome::Ran,
        Err(_) => Outcome::Loaded,
    }
}

/// Zeros for small inputs.
fn tensors(ports: &[Port], values: &[i64]) -> Option<Vec<Tensor>> {
    let one = |p: &Port| {
        let dims = dims(p, values)?;
        (bytes(&dims) <= MOST_BYTES).then(|| Tensor::zeros(p.ty.as_tensor()?.dtype, &dims).ok())?
    };
    ports.iter().map(one).collect()
}

/// Bytes of all outputs, at most.
fn largest(entry: &Entry, values: &[i64]) -> Option<u64> {
    let mut most = values.to_vec();
    for ((_, s), v) in entry.symbols.iter().zip(&mut most) {
        *v = if s.data_dependent { s.max } else { *v };
    }
    let sizes = entry.outputs.iter().map(|p| Some(bytes(&dims(p, &most)?)));
    sizes.sum::<Option<u64>>()
}

fn dims(port: &Port, values: &[i64]) -> Option<Vec<i64>> {
    let value = |d: &Dim| d.eval(&|s| values.get(s.index()).copied()).ok().filter(|d| *d >= 0);
    port.ty.as_tensor()?.shape.iter().map(value).collect()
}

/// Eight bytes an element; saturates.
fn bytes(dims: &[i64]) -> u64 {
    dims.iter().fold(8u64, |n, d| n.saturating_mul(d.unsigned_abs()).min(1 << 40))
}
