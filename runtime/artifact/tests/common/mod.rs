//! A small artifact to damage.
#![allow(dead_code, reason = "each test file uses a part of it")]

use cascata_artifact::abi::ABI_VERSION;
use cascata_artifact::manifest::*;
use cascata_artifact::{ArtifactWriter, assign_offsets};
use cascata_types::{DType, Dim, SymbolTable, TensorType};

/// Bytes of weight `i`.
pub fn weight_bytes(i: usize) -> Vec<u8> {
    (0..[100, 3_000_000, 7][i]).map(|j: usize| (j * 31 + i) as u8).collect()
}

pub fn weight(name: &str, bytes: u64) -> Weight {
    Weight { name: name.into(), dtype: DType::U8, offset: 0, bytes, param: false }
}

/// `y = k1(k0(x, w0))` over `f32[B]`, `B in 1..=64`, and two targets.
pub fn manifest() -> Manifest {
    let mut symbols = SymbolTable::default();
    let b = symbols.intern("B");
    (symbols.get_mut(b).min, symbols.get_mut(b).max) = (1, 64);
    let b = Dim::sym(b);
    let ty = TensorType::dense(DType::F32, vec![b.clone()]);
    let buffer = |name: &str, storage| Buffer {
        name: name.into(),
        ty: ty.clone(),
        bytes: b.clone() * 4,
        storage,
        block: 0,
    };
    let step = |kernel, buffers: &[u32]| {
        Step::Launch(Launch {
            variants: vec![Variant {
                guard: vec![],
                kernel,
                dims: vec![b.clone()],
                tiles: b.clone(),
                scratch_bytes: 0.into(),
                min_tiles: 1.into(),
            }],
            buffers: buffers.to_vec(),
            values: vec!["y".into()],
            source: vec!["node".into()],
            flops: b.clone(),
            bytes: b.clone() * 8,
        })
    };
    let kernel = |name: &str, buffers, writes: &[u32]| KernelInfo {
        name: name.into(),
        buffers,
        writes: writes.to_vec(),
        dims: 1,
        messages: vec![],
    };
    let code = |level: &str| CodeVariant {
        triple: "x86_64-unknown-linux".into(),
        level: level.into(),
        features: vec![],
        functions: vec![(0, 64), (64, 36)],
    };
    let entry = Entry {
        name: "main".into(),
        symbols,
        inputs: vec![Port { name: "x".into(), ty: ty.clone().into(), default: None }],
        outputs: vec![Port { name: "y".into(), ty: ty.clone().into(), default: None }],
        checks: vec![],
        buffers: vec![
            buffer("x", Storage::Input(0)),
            buffer("w", Storage::Weight(0)),
            buffer("t", Storage::Arena { first: 0, last: 1 }),
            buffer("y", Storage::Output(0)),
        ],
        steps: vec![step(0, &[2, 0, 1]), step(1, &[3, 2])],
        blocks: vec![],
        derived: vec![],
        variants: vec![],
    };
    let mut weights = vec![weight("w0", 100), weight("w1", 3_000_000), weight("w2", 7)];
    assign_offsets(&mut weights);
    Manifest {
        abi: ABI_VERSION,
        entries: vec![entry],
        kernels: vec![kernel("k0", 3, &[0]), kernel("k1", 2, &[0])],
        code: vec![code("x86-64-v1"), code("x86-64-v3")],
        gpu: vec![],
        imports: vec![],
        weights,
        strings: vec![],
        zeros_bytes: 64,
        provenance: Provenance {
            source: "model.onnx".into(),
            stages: [("source".to_string(), "graph".to_string())].into(),
            ..Default::default()
        },
        metadata: Default::default(),
    }
}

/// The artifact's bytes.
pub fn artifact() -> Vec<u8> {
    ArtifactWriter::new(manifest())
        .code(&[0xc3; 100])
        .code(&[0x90; 100])
        .attachment("labels.txt", b"cat\ndog\n")
        .signature(8, |root| root[..8].to_vec())
        .to_bytes(|i, sink| weight_bytes(i).chunks(1000).try_for_each(sink))
        .unwrap()
}
