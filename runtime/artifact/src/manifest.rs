//! The manifest: everything in an artifact except code and weights, as plain data.
//!
//! It is stored as JSON: a person can read it with a pager, and fields may be
//! added within a major version (a reader ignores what it does not know; what it
//! needs has a default). All numbers in it are untrusted until
//! `Manifest::verify` has passed.

use crate::abi::Import;
use cascata_types::{DType, Dim, SymbolTable, TensorType, ValueType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything in an artifact except code and weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the kernel ABI that the code was generated for.
    pub abi: u32,
    /// Entry points; they share kernels and weights.
    pub entries: Vec<Entry>,
    /// Kernels by index.
    pub kernels: Vec<KernelInfo>,
    /// Machine code, one per target, best last.
    pub code: Vec<CodeVariant>,
    /// What the code imports, in the order of `Context::imports`.
    pub imports: Vec<Import>,
    /// Constants in the weight section.
    pub weights: Vec<Weight>,
    /// How many zero bytes the code may read at `Context::zeros`.
    pub zeros_bytes: u64,
    /// Where it all came from.
    pub provenance: Provenance,
    /// The user's own text (labels, tokenizer, chat template), by name.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// One callable function of the artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Name; a single entry is called `main`.
    pub name: String,
    /// Symbols with their ranges.
    pub symbols: SymbolTable,
    /// Inputs in order; their dims bind the symbols.
    pub inputs: Vec<Port>,
    /// Outputs in order.
    pub outputs: Vec<Port>,
    /// What must hold once the symbols are bound.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Every tensor that a step touches.
    pub buffers: Vec<Buffer>,
    /// What runs, in order.
    pub steps: Vec<Step>,
}

/// A named input or output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// The source model's name for it.
    pub name: String,
    /// Its type.
    pub ty: ValueType,
}

/// A condition on the bound symbols: `lhs == rhs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Left side.
    pub lhs: Dim,
    /// Right side.
    pub rhs: Dim,
    /// Which op and values it protects, for the error text.
    pub what: String,
}

/// A region of memory that launches read or write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// The graph value it holds.
    pub name: String,
    /// Its logical type (the encoding says how it lies in memory).
    pub ty: TensorType,
    /// Size under a binding.
    pub bytes: Dim,
    /// Where it lives.
    pub storage: Storage,
}

/// Where a buffer lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// The caller's input tensor.
    Input(u32),
    /// The caller's (or a fresh) output tensor.
    Output(u32),
    /// A constant, read-only.
    Weight(u32),
    /// In the arena from step `first` to step `last` inclusive; the offset is
    /// assigned when symbols are bound.
    Arena {
        /// First step that touches it.
        first: u32,
        /// Last step that touches it.
        last: u32,
    },
    /// The same memory as another buffer, `offset_bytes` further on.
    Alias {
        /// The other buffer; never an alias itself.
        of: u32,
        /// Distance from its start.
        offset_bytes: Dim,
    },
}

/// One step of an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Runs a kernel.
    Launch(Launch),
    /// Reads an `i64` buffer on the host and binds its elements to data-dependent
    /// symbols; everything after it is planned anew.
    Bind {
        /// The buffer.
        buffer: u32,
        /// One symbol per element.
        symbols: Vec<cascata_types::SymbolId>,
    },
}

/// One kernel launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Candidates in order; the first whose guard holds runs. The last has no guard.
    pub variants: Vec<Variant>,
    /// Buffers in the kernel's order (the same for every variant).
    pub buffers: Vec<u32>,
    /// Graph values that this launch computes, for profiles and errors.
    pub values: Vec<String>,
    /// Source nodes, for errors.
    pub source: Vec<String>,
    /// Floating-point operations, for scheduling and reports.
    pub flops: Dim,
    /// Bytes read and written at least once.
    pub bytes: Dim,
}

/// One way to run a launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Holds when every dim listed is ≥ 0; empty means always.
    #[serde(default)]
    pub guard: Vec<Dim>,
    /// Index into `Manifest::kernels`.
    pub kernel: u32,
    /// The kernel's dim parameters.
    pub dims: Vec<Dim>,
    /// Size of the grid; tiles may run in any order and in parallel.
    pub tiles: Dim,
    /// Scratch bytes per thread.
    pub scratch_bytes: Dim,
    /// Tiles handed out together at least (cost hint: a launch with fewer than
    /// two such chunks runs inline on the caller).
    pub min_tiles: Dim,
}

/// One kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelInfo {
    /// Name, unique in the artifact.
    pub name: String,
    /// Number of buffers it takes; those at `writes` are written.
    pub buffers: u32,
    /// Which buffers are written.
    pub writes: Vec<u32>,
    /// Number of dim parameters.
    pub dims: u32,
    /// What a non-zero status `i + 1` means.
    #[serde(default)]
    pub messages: Vec<String>,
}

/// Machine code for one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CodeVariant {
    /// Target triple, e.g. `x86_64-unknown-linux`.
    pub triple: String,
    /// Level name: `x86-64-v1`, `x86-64-v3`, `x86-64-v4`.
    pub level: String,
    /// CPU features that must be present, by their Rust names.
    pub features: Vec<String>,
    /// `(offset, length)` of each kernel in this variant's code section.
    pub functions: Vec<(u64, u64)>,
}

/// A constant in the weight section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// The source model's name for it (or the fused constant's).
    pub name: String,
    /// Stored element type.
    pub dtype: DType,
    /// Offset in the weight section, a multiple of 64.
    pub offset: u64,
    /// Stored bytes, packing included.
    pub bytes: u64,
    /// Whether a caller may rebind it at run time.
    #[serde(default)]
    pub param: bool,
}

/// What was proven at compile time about the entries of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// The batch: a symbol.
    pub batch: String,
    /// Why an output may hold another entry's data; none if it is proven that none does.
    #[serde(default)]
    pub leak: Option<String>,
}

/// Where an artifact came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// File name of the source model.
    pub source: String,
    /// blake3 of the source model file, hex.
    pub source_hash: String,
    /// Compiler version.
    pub compiler: String,
    /// Options that matter for the result.
    pub options: Vec<String>,
    /// Rewrite rules that fired, with counts.
    pub rules: Vec<(String, u64)>,
    /// Whether entries of a batch see each other; none where there is no batch.
    #[serde(default)]
    pub isolation: Option<Isolation>,
    /// Why each value looks as it does: value name → rules that led to it.
    #[serde(default)]
    pub explanations: BTreeMap<String, Vec<String>>,
    /// Printed graph after the stages that changed it, in order: `(stage, text)`, for
    /// `inspect --graph`.
    #[serde(default)]
    pub graphs: Vec<(String, String)>,
    /// Printed Kernel IR by kernel name, for `inspect --kernels`.
    #[serde(default)]
    pub kernel_ir: BTreeMap<String, String>,
}

impl Provenance {
    /// The printed graph after a stage, if it was kept.
    pub fn graph(&self, stage: &str) -> Option<&str> {
        self.graphs.iter().find(|(name, _)| name == stage).map(|(_, text)| text.as_str())
    }
}
