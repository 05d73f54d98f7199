//! Artifacts put together by hand.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod kernels;

use cascata_artifact::abi::{ABI_VERSION, Import};
use cascata_artifact::manifest::*;
use cascata_artifact::sign::{SIGNATURE_BYTES, SecretKey};
use cascata_artifact::{ArtifactWriter, Manifest, assign_offsets};
use cascata_runtime::{Artifact, Runtime, Session};
use cascata_types::{DType, Dim, Shape, SymbolId, SymbolTable, TensorType};
use std::path::PathBuf;

/// Builds one entry point.
pub struct Model {
    pub entry: Entry,
    kernels: Vec<KernelInfo>,
    functions: Vec<(u64, u64)>,
    code: Vec<u8>,
    weights: Vec<Weight>,
    weight_bytes: Vec<Vec<u8>>,
}

impl Model {
    pub fn new() -> Self {
        let entry = Entry {
            name: "main".into(),
            symbols: SymbolTable::default(),
            inputs: vec![],
            outputs: vec![],
            checks: vec![],
            buffers: vec![],
            steps: vec![],
            blocks: vec![],
            derived: vec![],
            variants: vec![],
        };
        let (kernels, functions, code) = (vec![], vec![], vec![]);
        Self { entry, kernels, functions, code, weights: vec![], weight_bytes: vec![] }
    }

    pub fn symbol(&mut self, name: &str, min: i64, max: i64) -> SymbolId {
        let id = self.entry.symbols.intern(name);
        let s = self.entry.symbols.get_mut(id);
        (s.min, s.max) = (min, max);
        id
    }

    pub fn buffer(&mut self, name: &str, ty: TensorType, storage: Storage) -> u32 {
        let bytes = ty.elements() * ty.dtype.size_bytes().unwrap() as i64;
        self.entry.buffers.push(Buffer { name: name.into(), ty, bytes, storage, block: 0 });
        self.entry.buffers.len() as u32 - 1
    }

    pub fn input(&mut self, name: &str, ty: TensorType) -> u32 {
        self.entry.inputs.push(Port { name: name.into(), ty: ty.clone().into() });
        self.buffer(name, ty, Storage::Input(self.entry.inputs.len() as u32 - 1))
    }

    pub fn output(&mut self, name: &str, ty: TensorType) -> u32 {
        self.entry.outputs.push(Port { name: name.into(), ty: ty.clone().into() });
        self.buffer(name, ty, Storage::Output(self.entry.outputs.len() as u32 - 1))
    }

    pub fn arena(&mut self, name: &str, ty: TensorType, first: u32, last: u32) -> u32 {
        self.buffer(name, ty, Storage::Arena { first, last })
    }

    pub fn weight(&mut self, name: &str, values: &[f32]) -> u32 {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let len = bytes.len() as u64;
        self.weights.push(Weight {
            name: name.into(),
            dtype: DType::F32,
            offset: 0,
            bytes: len,
            param: false,
        });
        self.weight_bytes.push(bytes);
        let ty = TensorType::fixed(DType::F32, &[values.len() as i64]);
        self.buffer(name, ty, Storage::Weight(self.weights.len() as u32 - 1))
    }

    /// Adds a kernel that writes its first buffer.
    pub fn kernel(&mut self, name: &str, code: &[u8], buffers: u32, dims: u32) -> u32 {
        self.functions.push((self.code.len() as u64, code.len() as u64));
        self.code.extend_from_slice(code);
        self.code.resize(self.code.len().next_multiple_of(16), 0xcc);
        let messages = vec!["first message".into(), "an element is negative".into()];
        self.kernels.push(KernelInfo {
            name: name.into(),
            buffers,
            writes: vec![0],
            dims,
            messages,
        });
        self.kernels.len() as u32 - 1
    }

    pub fn launch(
        &mut self,
        kernel: u32,
        buffers: &[u32],
        dims: &[Dim],
        tiles: impl Into<Dim>,
    ) -> &mut Launch {
        let tiles = tiles.into();
        let value = self.entry.buffers[buffers[0] as usize].name.clone();
        self.entry.steps.push(Step::Launch(Launch {
            variants: vec![variant(kernel, dims, tiles.clone())],
            buffers: buffers.to_vec(),
            source: vec![format!("node of {value}")],
            values: vec![value],
            flops: tiles.clone(),
            bytes: tiles * 4,
        }));
        match self.entry.steps.last_mut() {
            Some(Step::Launch(l)) => l,
            _ => unreachable!(),
        }
    }

    pub fn bind(&mut self, buffer: u32, symbols: &[SymbolId]) {
        self.entry.steps.push(Step::Bind { buffer, symbols: symbols.to_vec() });
    }

    pub fn manifest(&self) -> Manifest {
        let mut weights = self.weights.clone();
        assign_offsets(&mut weights);
        let code = |level: &str, features: &[&str]| CodeVariant {
            triple: "x86_64-unknown-linux".into(),
            level: level.into(),
            features: features.iter().map(ToString::to_string).collect(),
            functions: self.functions.clone(),
        };
        Manifest {
            abi: ABI_VERSION,
            entries: vec![self.entry.clone()],
            kernels: self.kernels.clone(),
            code: vec![code("x86-64-v1", &["sse2"]), code("x86-64-v9", &["teleport"])],
            imports: vec![Import::ExpF32],
            weights,
            zeros_bytes: 64,
            provenance: Provenance::default(),
            metadata: Default::default(),
        }
    }

    pub fn writer(&self) -> ArtifactWriter<'_> {
        ArtifactWriter::new(self.manifest()).code(&self.code).code(&self.code)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.writer().to_bytes(|i, sink| sink(&self.weight_bytes[i])).unwrap()
    }

    /// The artifact with a signature.
    pub fn signed_bytes(&self, key: &SecretKey) -> Vec<u8> {
        let writer = self.writer().signature(SIGNATURE_BYTES, |root| key.sign(root));
        writer.to_bytes(|i, sink| sink(&self.weight_bytes[i])).unwrap()
    }

    /// Writes the signed artifact to a file of its own.
    pub fn signed_file(&self, name: &str, key: &SecretKey) -> TempFile {
        let file = TempFile::new(name);
        std::fs::write(&file.0, self.signed_bytes(key)).unwrap();
        file
    }

    /// Writes the artifact to a file of its own.
    pub fn file(&self, name: &str) -> TempFile {
        let file = TempFile::new(name);
        self.writer().write(&file.0, |i, sink| sink(&self.weight_bytes[i])).unwrap();
        file
    }

    pub fn artifact(&self) -> Artifact {
        Artifact::from_bytes(&self.bytes()).unwrap()
    }

    pub fn session(&self, threads: usize) -> Session {
        self.artifact().session(&runtime(threads)).unwrap()
    }
}

pub fn variant(kernel: u32, dims: &[Dim], tiles: Dim) -> Variant {
    Variant {
        guard: vec![],
        kernel,
        dims: dims.to_vec(),
        tiles,
        scratch_bytes: 0.into(),
        min_tiles: 1.into(),
    }
}

pub fn runtime(threads: usize) -> Runtime {
    Runtime::builder().threads(threads).build().unwrap()
}

pub fn f32s(shape: impl Into<Shape>) -> TensorType {
    TensorType::dense(DType::F32, shape)
}

pub fn i64s(shape: impl Into<Shape>) -> TensorType {
    TensorType::dense(DType::I64, shape)
}

/// A file that goes with the test.
pub struct TempFile(pub PathBuf);

impl TempFile {
    pub fn new(name: &str) -> Self {
        let name = format!("cascata-{}-{name}.cascata", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `y[B] = (x + x) + x`, by way of the arena; `B in 1..=1000`.
pub fn triple() -> Model {
    let mut m = Model::new();
    let b = Dim::sym(m.symbol("B", 1, 1000));
    let x = m.input("x", f32s([b.clone()]));
    let y = m.output("y", f32s([b.clone()]));
    let t = m.arena("t", f32s([b.clone()]), 0, 1);
    let add = m.kernel("add", kernels::ADD_F32, 3, 0);
    m.launch(add, &[t, x, x], &[], b.clone());
    m.launch(add, &[y, t, x], &[], b);
    m
}

/// `n = k[0]·2 + 1` is data-dependent; `y[n] = iota(n)·3 + 0`, `z[B] = x + x` lives across the cut.
pub fn data_dependent() -> Model {
    let mut m = Model::new();
    let b = Dim::sym(m.symbol("B", 1, 100));
    let n = m.entry.symbols.fresh("n", 0, 50);
    let k = m.input("k", i64s([1.into()]));
    let x = m.input("x", f32s([b.clone()]));
    let y = m.output("y", i64s([Dim::sym(n)]));
    let z = m.output("z", f32s([b.clone()]));
    let count = m.arena("count", i64s([1.into()]), 0, 2);
    let keep = m.arena("keep", f32s([b.clone()]), 1, 5);
    let iota = m.arena("iota", i64s([Dim::sym(n)]), 3, 4);
    let affine = m.kernel("affine", kernels::AFFINE_I64, 2, 2);
    let add = m.kernel("add", kernels::ADD_F32, 3, 0);
    let range = m.kernel("iota", kernels::IOTA_I64, 1, 0);
    m.launch(affine, &[count, k], &[2.into(), 1.into()], 1);
    m.launch(add, &[keep, x, x], &[], b.clone());
    m.bind(count, &[n]);
    m.launch(range, &[iota], &[], Dim::sym(n));
    m.launch(affine, &[y, iota], &[3.into(), 0.into()], Dim::sym(n));
    m.launch(add, &[z, keep, x], &[], b);
    m
}
