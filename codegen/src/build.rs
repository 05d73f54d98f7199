//! A fused graph to an artifact: lowering, machine code, manifest.
//!
//! Every step that nothing can be done about is reported, all of them at once. Equal
//! kernels (identical layers) are compiled once. Machine code of each target is made by
//! all CPUs; the result does not depend on how many there are.

use crate::cpu::{CodeBlob, CodegenError, CpuLevel, CpuTarget, compile_all};
use crate::lower::{LowerError, Lowering, WeightId};
use bytes::Bytes;
use cascata_artifact::gpu::GpuTarget;
use cascata_artifact::manifest::{
    CodeVariant, Entry, EntryVariant, KernelInfo, Manifest, Provenance, Weight,
};
use cascata_artifact::sign::{SIGNATURE_BYTES, SecretKey};
use cascata_artifact::{ArtifactWriter, WriteError, abi};
use cascata_ir::graph::Graph;
use cascata_ir::kernel::{Kernel, Space};
use cascata_types::{DType, Dim};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use strings::Strings;

mod entry;
mod facts;
mod gpu;
mod strings;
mod weights;

/// What to build.
pub struct BuildOptions {
    /// Targets that get machine code, lowest first.
    pub targets: Vec<CpuTarget>,
    /// GPUs that get a program beside the CPU's; needs feature `ptx`.
    pub gpu: Vec<GpuTarget>,
    /// Keep the printed Kernel IR in the artifact.
    pub keep_kernel_ir: bool,
    /// Recorded as it is.
    pub provenance: Provenance,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Ops that have no kernel, all of them.
    #[error("{} cannot be compiled:\n{}", count(.0.len(), "op"), list(.0))]
    Unsupported(Vec<LowerError>),
    /// Kernels that did not become machine code, all of them.
    #[error("{} did not compile:\n{}", count(.0.len(), "kernel"), list(.0))]
    Codegen(Vec<CodegenError>),
    /// Kernels that did not become PTX, all of them.
    #[cfg(feature = "ptx")]
    #[error("{} did not compile:\n{}", count(.0.len(), "GPU kernel"), list(.0))]
    Ptx(Vec<cascata_ptx::PtxError>),
    /// A GPU was asked for.
    #[error(
        "no program for {}: this compiler was built without feature `ptx` (tests/setup_ptx.sh \
         installs what that needs, `cargo build --features ptx` builds it)",
        .0.name()
    )]
    NoPtx(GpuTarget),
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(|e| format!("  {e}")).collect::<Vec<_>>().join("\n")
}

/// A graph that went through the whole pipeline, and where it is the one to run: where every
/// dim is ≥ 0. The last of several has no guard.
pub type GraphVariant<'g> = (&'g [Dim], &'g Graph);

/// Everything that goes into an artifact; constants are still in the source's files.
pub struct Built<'g> {
    /// The manifest.
    pub manifest: Manifest,
    code: Vec<CodeBlob>,
    ptx: Vec<gpu::Ptx>,
    parts: Vec<Part<'g>>,
    /// The weights of the manifest: which part has them.
    weights: Vec<(usize, WeightId)>,
    strings: Strings,
    /// Weights after those: what inputs are that nobody gives.
    defaults: Vec<Bytes>,
    /// Files that go with the model, by their names.
    pub attachments: BTreeMap<String, String>,
}

/// One graph, lowered.
struct Part<'g> {
    graph: &'g Graph,
    lowering: Lowering<'g>,
    steps: Vec<entry::Step>,
}

impl Built<'_> {
    /// Writes the artifact; it appears under its name only when it is complete.
    ///
    /// # Errors
    /// I/O, or a manifest that does not verify (a defect of this crate).
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), WriteError> {
        self.writer().write(path, |i, sink| sink(&self.weight(i)))
    }

    /// As [`Built::write`], signed.
    ///
    /// # Errors
    /// As [`Built::write`].
    pub fn write_signed(&self, path: impl AsRef<Path>, key: &SecretKey) -> Result<(), WriteError> {
        let writer = self.writer().signature(SIGNATURE_BYTES, |root| key.sign(root));
        writer.write(path, |i, sink| sink(&self.weight(i)))
    }

    /// The artifact's bytes.
    ///
    /// # Errors
    /// A manifest that does not verify (a defect of this crate).
    pub fn to_bytes(&self) -> Result<Vec<u8>, WriteError> {
        self.writer().to_bytes(|i, sink| sink(&self.weight(i)))
    }

    /// The PTX of each of the manifest's GPU programs, and the seconds that it took to make.
    pub fn ptx(&self) -> impl Iterator<Item = (&str, f64)> {
        self.ptx.iter().map(|ptx| (ptx.text.as_str(), ptx.seconds))
    }

    /// Gives inputs a value for runs that do not bring one; others are no inputs of the model
    /// (any more) and left out.
    pub fn default_inputs(&mut self, defaults: impl IntoIterator<Item = (String, Bytes)>) {
        for (name, data) in defaults {
            let ports = |e: &Entry| e.inputs.iter().position(|p| p.name == name);
            let Some(port) = self.manifest.entries.first().and_then(ports) else { continue };
            let dtype = self.manifest.entries[0].inputs[port].ty.as_tensor().map(|t| t.dtype);
            let Some(dtype) = dtype else { continue };
            let index = self.manifest.weights.len() as u32;
            let bytes = data.len() as u64;
            self.manifest.weights.push(Weight { name, dtype, offset: 0, bytes, param: true });
            self.defaults.push(data);
            // Variants have the same inputs in the same order.
            let programs = self.manifest.gpu.iter_mut().flat_map(|p| &mut p.entries);
            for entry in self.manifest.entries.iter_mut().chain(programs) {
                entry.inputs[port].default = Some(index);
            }
        }
        cascata_artifact::assign_offsets(&mut self.manifest.weights);
    }

    fn writer(&self) -> ArtifactWriter<'_> {
        let writer = ArtifactWriter::new(self.manifest.clone());
        let writer = self.code.iter().fold(writer, |w, blob| w.code(blob.bytes()));
        let writer = self.ptx.iter().fold(writer, |w, ptx| w.ptx(&ptx.text));
        self.attachments.iter().fold(writer, |w, (name, text)| w.attachment(name, text.as_bytes()))
    }

    fn weight(&self, index: usize) -> std::borrow::Cow<'_, [u8]> {
        let Some(&(part, id)) = self.weights.get(index) else {
            return self.defaults[index - self.weights.len()].as_ref().into();
        };
        let Part { graph, lowering, .. } = &self.parts[part];
        let data = lowering.weights.data(id, graph);
        match lowering.weights.items[id].2 {
            DType::Str => self.strings.ids(&data).into(),
            _ => data,
        }
    }
}

/// Builds the artifact of a graph.
///
/// # Errors
/// Every op without a kernel, or every kernel without code.
pub fn build<'g>(graph: &'g Graph, options: &BuildOptions) -> Result<Built<'g>, BuildError> {
    build_variants(&[(&[], graph)], options)
}

/// Builds the artifact of several graphs of one model, best for different sizes, which share
/// kernels and weights.
///
/// # Errors
/// As [`build`].
///
/// # Panics
/// There is no graph.
pub fn build_variants<'g>(
    graphs: &[GraphVariant<'g>],
    options: &BuildOptions,
) -> Result<Built<'g>, BuildError> {
    let lower = |(_, graph): &GraphVariant<'g>| {
        let graph = *graph;
        let (lowering, steps) = entry::lower(graph).map_err(BuildError::Unsupported)?;
        Ok(Part { graph, lowering, steps })
    };
    let parts: Vec<Part> = graphs.iter().map(lower).collect::<Result<_, _>>()?;
    let (kernels, kernels_of) = distinct(&parts);
    let compiled = options
        .targets
        .iter()
        .map(|target| machine_code(&kernels, target))
        .collect::<Result<Vec<_>, _>>()
        .map_err(BuildError::Codegen)?;
    let scratch = compiled.first().map_or(&[][..], |c| &c.scratch);
    let described = parts.iter().zip(&kernels_of);
    let mut entries: Vec<Entry> = described
        .map(|(p, of)| entry::describe(p.graph, &p.lowering, &p.steps, of, scratch))
        .collect();
    let used = weights::number(&mut entries, &parts);
    let weights = weights::describe(&parts, &used);
    let strings = Strings::of(&parts, &used);
    let code = options.targets.iter().zip(&compiled).map(|(t, c)| variant(t, c)).collect();
    let mut manifest = manifest(&kernels, join(entries, graphs), code, weights, options);
    manifest.strings.clone_from(&strings.list);
    let programs = gpu::programs(&kernels, &manifest.entries, &options.gpu)?;
    let ptx = gpu::add(programs, &mut manifest, options.keep_kernel_ir);
    let code = compiled.into_iter().map(|c| c.code).collect();
    Ok(Built {
        manifest,
        code,
        ptx,
        parts,
        weights: used,
        strings,
        defaults: vec![],
        attachments: BTreeMap::new(),
    })
}

/// The last entry, which serves all sizes, first; the others as its variants.
fn join(mut entries: Vec<Entry>, graphs: &[GraphVariant]) -> Vec<Entry> {
    let mut general = entries.pop().expect("there is a graph");
    for (i, (entry, (guard, _))) in entries.iter_mut().zip(graphs).enumerate() {
        entry.name = format!("{}@{}", general.name, i + 1);
        general.variants.push(EntryVariant { guard: guard.to_vec(), entry: i as u32 + 1 });
    }
    entries.insert(0, general);
    entries
}

fn manifest(
    kernels: &[Kernel],
    entries: Vec<Entry>,
    code: Vec<CodeVariant>,
    weights: Vec<Weight>,
    options: &BuildOptions,
) -> Manifest {
    let mut provenance = options.provenance.clone();
    if options.keep_kernel_ir {
        let text = |k: &Kernel| (k.name.clone(), k.to_string());
        provenance.kernel_ir = kernels.iter().map(text).collect();
    }
    Manifest {
        abi: abi::ABI_VERSION,
        entries,
        kernels: kernels.iter().map(info).collect(),
        code,
        gpu: vec![],
        imports: abi::Import::ALL.to_vec(),
        weights,
        strings: vec![],
        zeros_bytes: kernels.iter().map(facts::zeros_bytes).max().unwrap_or(0),
        provenance,
        metadata: Default::default(),
    }
}

fn info(kernel: &Kernel) -> KernelInfo {
    let buffers = || kernel.buffers.iter();
    let writes = buffers().filter(|(_, b)| b.space == Space::Output).map(|(id, _)| id.0);
    KernelInfo {
        name: kernel.name.clone(),
        buffers: buffers().filter(|(_, b)| is_operand(b.space)).count() as u32,
        writes: writes.collect(),
        dims: kernel.params as u32,
        messages: kernel.messages.clone(),
    }
}

fn is_operand(space: Space) -> bool {
    matches!(space, Space::Input | Space::Output)
}

/// The distinct kernels of all parts, and for each launch of each part which one each of its
/// variants runs.
fn distinct(parts: &[Part]) -> (Vec<Kernel>, Vec<Vec<Vec<u32>>>) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut kernels: Vec<Kernel> = Vec::new();
    let mut number = |kernel: &Kernel, part: usize| {
        *seen.entry(facts::anonymous_text(kernel)).or_insert_with(|| {
            let mut kernel = kernel.clone();
            if part > 0 {
                kernel.name = format!("{}_p{part}", kernel.name);
            }
            kernels.push(kernel);
            kernels.len() as u32 - 1
        })
    };
    let mut of = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let launches = part.lowering.launches.iter();
        let numbers = launches.map(|l| l.variants.iter().map(|v| number(&v.kernel, i)).collect());
        of.push(numbers.collect());
    }
    (kernels, of)
}

/// Every kernel's code for one target.
struct Compiled {
    code: CodeBlob,
    scratch: Vec<Dim>,
}

fn machine_code(kernels: &[Kernel], target: &CpuTarget) -> Result<Compiled, Vec<CodegenError>> {
    let mut all = Compiled { code: CodeBlob::default(), scratch: Vec::new() };
    let mut errors = Vec::new();
    for result in compile_all(kernels, target) {
        match result {
            Ok(kernel) => {
                all.code.push(&kernel.code);
                all.scratch.push(kernel.scratch_bytes);
            }
            Err(e) => errors.push(e),
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}

fn variant(target: &CpuTarget, compiled: &Compiled) -> CodeVariant {
    let range = |r: &crate::cpu::CodeRange| (r.offset as u64, r.len as u64);
    CodeVariant {
        triple: "x86_64-unknown-linux".into(),
        level: target.level().name().into(),
        features: cpu_features(target.level()).iter().map(|f| f.to_string()).collect(),
        functions: compiled.code.functions().iter().map(range).collect(),
    }
}

/// What a CPU must have to run code of a level, by Rust's names.
fn cpu_features(level: CpuLevel) -> &'static [&'static str] {
    const V3: &[&str] = &["avx", "avx2", "bmi1", "bmi2", "fma", "lzcnt", "popcnt", "sse4.2"];
    const V4: &[&str] = &[
        "avx", "avx2", "bmi1", "bmi2", "fma", "lzcnt", "popcnt", "sse4.2", "avx512f", "avx512dq",
        "avx512vl", "avx512bw",
    ];
    match level {
        CpuLevel::V1 => &[],
        CpuLevel::V3 => V3,
        CpuLevel::V4 => V4,
    }
}
