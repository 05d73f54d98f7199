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
        self.entry.inputs.push(Port { name: name.into(), ty: ty.clone().into(), default: None });
        self.buffer(name, ty, Storage::Input(self.entry.inputs.len() as u32 - 1))
    }

    pub fn output(&mut self, name: &str, ty: TensorType) -> u32 {
        self.entry.outputs.push(Port { name: name.into(), ty: ty.clone().into(), default: None });
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
            gpu: vec![],
            imports: vec![Import::ExpF32],
            weights,
            strings: vec![],
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

pub fn bools() -> TensorType {
    TensorType::fixed(DType::Bool, &[])
}

pub fn one_i64() -> TensorType {
    TensorType::fixed(DType::I64, &[])
}

pub fn slot(m: &mut Model, name: &str, ty: TensorType, block: u32) -> u32 {
    let b = m.buffer(name, ty, Storage::Slot);
    m.entry.buffers[b as usize].block = block;
    b
}

/// Moves the last step of the entry to the end of a block.
pub fn into_block(m: &mut Model, block: u32) {
    let step = m.entry.steps.pop().unwrap();
    m.entry.blocks[block as usize - 1].steps.push(step);
}

/// `n` times, or once less where `going` is false: `acc += x`, every `acc` and `2·i + 1`
/// stacked; `list` is `iota` of one element more each time.
pub fn loops(most: i64) -> Model {
    let mut m = Model::new();
    let b = Dim::sym(m.symbol("B", 1, 100));
    let [trips, inside, after] =
        ["trips", "inside", "after"].map(|s| m.entry.symbols.fresh(s, 0, most));
    m.entry.blocks = vec![Block::default()];
    let (n, go) = (m.input("n", one_i64()), m.input("go", bools()));
    let x = m.input("x", f32s([b.clone()]));
    let one = m.input("list", i64s([1.into()]));
    let t = Dim::sym(trips);
    let out = m.output("acc", f32s([b.clone()]));
    let rows_out = m.output("rows", f32s([t.clone(), b.clone()]));
    let odd_out = m.output("odd", i64s([t.clone()]));
    let list_out = m.output("list", i64s([Dim::sym(after)]));
    let acc = slot(&mut m, "acc", f32s([b.clone()]), 1);
    let next = slot(&mut m, "next", f32s([b.clone()]), 1);
    let i = slot(&mut m, "i", one_i64(), 1);
    let going = slot(&mut m, "going", bools(), 1);
    let list = slot(&mut m, "list", i64s([Dim::sym(inside)]), 1);
    let longer = slot(&mut m, "longer", i64s([Dim::sym(inside) + 1]), 1);
    let odd = m.arena("odd", i64s([1.into()]), 1, 2);
    m.entry.buffers[odd as usize].block = 1;
    let end = slot(&mut m, "end", f32s([b.clone()]), 0);
    let rows = slot(&mut m, "rows", f32s([t.clone(), b.clone()]), 0);
    let odds = slot(&mut m, "odds", i64s([t.clone()]), 0);
    let list_end = slot(&mut m, "list", i64s([Dim::sym(after)]), 0);
    let add = m.kernel("add", kernels::ADD_F32, 3, 0);
    let affine = m.kernel("affine", kernels::AFFINE_I64, 2, 2);
    let range = m.kernel("iota", kernels::IOTA_I64, 1, 0);
    let copy = m.kernel("copy", kernels::NONNEG_F32, 2, 0);
    m.launch(add, &[next, acc, x], &[], b.clone());
    into_block(&mut m, 1);
    m.launch(affine, &[odd, i], &[2.into(), 1.into()], 1);
    into_block(&mut m, 1);
    m.launch(range, &[longer], &[], Dim::sym(inside) + 1);
    into_block(&mut m, 1);
    m.entry.steps.push(Step::Loop(Loop {
        trip: n,
        cond: go,
        body: 1,
        iteration: Some(i),
        going: Some(going),
        next_cond: going,
        carried: vec![
            Carried { initial: x, param: acc, next: Some(next), result: end },
            Carried { initial: one, param: list, next: Some(longer), result: list_end },
        ],
        scanned: vec![Scanned { row: next, result: rows }, Scanned { row: odd, result: odds }],
        count: trips,
        dims: vec![LoopDim { inside, after, initial: 1.into(), next: Dim::sym(inside) + 1 }],
        source: vec!["Loop_1".into()],
    }));
    m.launch(copy, &[out, end], &[], b.clone());
    m.launch(copy, &[rows_out, rows], &[], t.clone() * b);
    m.launch(affine, &[odd_out, odds], &[1.into(), 0.into()], t);
    m.launch(affine, &[list_out, list_end], &[1.into(), 0.into()], Dim::sym(after));
    m
}
