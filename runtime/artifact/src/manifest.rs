//! The manifest: everything in an artifact except code and weights, as plain data.
//!
//! It is stored as JSON: a person can read it with a pager, and fields may be
//! added within a major version (a reader ignores what it does not know; what it
//! needs has a default). All numbers in it are untrusted until
//! `Manifest::verify` has passed.

use crate::abi::Import;
use crate::cache_attention::CacheAttentionStep;
use crate::gpu::{GpuProgram, GpuTarget};
use cascata_types::text::Dfa;
use cascata_types::{DType, Dim, SymbolId, SymbolTable, TensorType, ValueType};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

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
    /// What may run on a GPU in the place of the entries, least demanding target first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu: Vec<GpuProgram>,
    /// What the code imports, in the order of `Context::imports`.
    pub imports: Vec<Import>,
    /// Constants in the weight section.
    pub weights: Vec<Weight>,
    /// The strings of constants, none empty and none twice: number `i` has the id `i + 1`,
    /// and the id 0 is the empty string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strings: Vec<String>,
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
    /// Formulas that others share, see [`Entry::share_formulas`]: number `i` is what symbol
    /// `symbols.len() + i` stands for, over the inputs' symbols and those before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derived: Vec<Dim>,
    /// Entries that run in this one's place where their guard holds; the first that does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<EntryVariant>,
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
    /// What branches and loops run. A block is called by its number, from 1; the entry's
    /// own steps are block 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Block>,
}

/// Another way to compute an entry, better for some sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryVariant {
    /// Holds when every dim is ≥ 0, over the symbols that the inputs bind.
    pub guard: Vec<Dim>,
    /// Which entry runs: one with the same inputs and outputs, and no variants of its own.
    pub entry: u32,
}

/// A branch or the body of a loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// What runs, in order.
    pub steps: Vec<Step>,
    /// What must hold whenever the block runs, once the symbols are bound.
    #[serde(default)]
    pub checks: Vec<Check>,
}

impl Entry {
    /// The steps of a block; none for a number without a block.
    pub fn steps_of(&self, block: u32) -> &[Step] {
        self.block(block).map_or(&[], |(steps, _)| steps)
    }

    /// The checks of a block.
    pub fn checks_of(&self, block: u32) -> &[Check] {
        self.block(block).map_or(&[], |(_, checks)| checks)
    }

    fn block(&self, block: u32) -> Option<(&[Step], &[Check])> {
        match (block as usize).checked_sub(1) {
            None => Some((&self.steps, &self.checks)),
            Some(i) => self.blocks.get(i).map(|b| (b.steps.as_slice(), b.checks.as_slice())),
        }
    }

    /// Slots that the host fills when a branch or a loop begins or ends; launches fill the
    /// others.
    pub fn given_slots(&self) -> HashSet<u32> {
        let mut given = HashSet::new();
        for (_, _, step) in self.all_steps() {
            match step {
                Step::If(b) => given.extend(b.results.iter().map(|r| r.result)),
                Step::Loop(l) => {
                    given.extend(l.carried.iter().flat_map(|c| [c.param, c.result]));
                    given.extend(l.scanned.iter().map(|s| s.result));
                    given.extend([l.iteration, l.going].into_iter().flatten());
                }
                Step::Launch(_) | Step::Bind { .. } | Step::Text(_) | Step::CacheAttention(_) => {}
            }
        }
        given
    }

    /// Every step with its block and its place there, the entry's own first.
    pub fn all_steps(&self) -> impl Iterator<Item = (u32, usize, &Step)> {
        (0..=self.blocks.len() as u32)
            .flat_map(|b| self.steps_of(b).iter().enumerate().map(move |(i, s)| (b, i, s)))
    }
}

/// A named input or output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// The source model's name for it.
    pub name: String,
    /// Its type.
    pub ty: ValueType,
    /// Of an input that need not be given: the weight that it is then, a `param`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<u32>,
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
    /// The block that it belongs to, for [`Storage::Arena`] and [`Storage::Slot`]: it holds
    /// something during one run of the block, for the block and those inside of it.
    #[serde(default, skip_serializing_if = "is_entry")]
    pub block: u32,
}

fn is_entry(block: &u32) -> bool {
    *block == 0
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
    /// In memory of its own, which the run keeps and grows: what a branch or a loop takes
    /// in or hands out. Moved from slot to slot, not copied.
    Slot,
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
        symbols: Vec<SymbolId>,
    },
    /// Computes strings on the host.
    Text(TextStep),
    /// Attends over the caller's KV cache.
    CacheAttention(CacheAttentionStep),
    /// Runs one of two blocks.
    If(Branch),
    /// Runs a block again and again.
    Loop(Loop),
}

/// Computes strings, or something of strings, on the host. A buffer of strings holds their
/// ids, 8 bytes each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextStep {
    /// What it computes.
    pub op: TextOp,
    /// Buffers of strings, as many as the op takes.
    pub operands: Vec<u32>,
    /// The buffer that it fills.
    pub result: u32,
    /// Source nodes, for reports.
    pub source: Vec<String>,
}

/// What a [`TextStep`] computes of each element of its operands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextOp {
    /// Two strings joined.
    Concat,
    /// The string in upper or lower case.
    Case {
        /// Upper rather than lower.
        upper: bool,
    },
    /// A bool: whether the automaton accepts the string.
    Match {
        /// The automaton.
        dfa: Dfa,
    },
    /// An `i64`: the number of its parts.
    Count {
        /// What is between parts; white space where it is empty.
        delimiter: String,
        /// Most splits.
        at_most: u64,
    },
    /// Its parts; empty strings fill up what the result has room for.
    Split {
        /// What is between parts; white space where it is empty.
        delimiter: String,
        /// Most splits.
        at_most: u64,
    },
}

impl TextOp {
    /// How many operands it takes.
    pub fn operands(&self) -> usize {
        if matches!(self, TextOp::Concat) { 2 } else { 1 }
    }

    /// The elements of the result.
    pub fn result(&self) -> DType {
        match self {
            TextOp::Concat | TextOp::Case { .. } | TextOp::Split { .. } => DType::Str,
            TextOp::Match { .. } => DType::Bool,
            TextOp::Count { .. } => DType::I64,
        }
    }
}

/// Runs one of two blocks and takes over its results; everything after it is planned anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// A buffer with one bool.
    pub cond: u32,
    /// The block that runs when it is true.
    pub then_block: u32,
    /// The block that runs when it is false.
    pub else_block: u32,
    /// What either block hands out.
    pub results: Vec<BranchResult>,
    /// Symbols that the taken block decides.
    #[serde(default)]
    pub dims: Vec<BranchDim>,
    /// Source nodes, for reports.
    pub source: Vec<String>,
}

/// A slot that takes over the memory of a slot of the block that ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BranchResult {
    /// The slot of `then_block`.
    pub then: u32,
    /// The slot of `else_block`.
    pub other: u32,
    /// The slot that takes over, of the block with the step.
    pub result: u32,
}

/// A symbol that is bound to what one of two formulas gives at the end of its block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BranchDim {
    /// Data-dependent.
    pub symbol: SymbolId,
    /// Its value after `then_block`.
    pub then: Dim,
    /// Its value after `else_block`.
    pub other: Dim,
}

/// Runs a block while a condition holds, at most `trip` times; everything after it is
/// planned anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loop {
    /// A buffer with one `i64`: iterations at most.
    pub trip: u32,
    /// A buffer with one bool: whether there is a first iteration.
    pub cond: u32,
    /// The block.
    pub body: u32,
    /// A slot of the body that gets the iteration's number, `i64`, if the body reads it.
    #[serde(default)]
    pub iteration: Option<u32>,
    /// A slot of the body that gets a true bool, if the body reads it.
    #[serde(default)]
    pub going: Option<u32>,
    /// A buffer that holds one bool when the body ends: whether there is another iteration.
    pub next_cond: u32,
    /// What goes from iteration to iteration.
    pub carried: Vec<Carried>,
    /// What is stacked.
    pub scanned: Vec<Scanned>,
    /// Bound to the number of iterations.
    pub count: SymbolId,
    /// Dims that change from iteration to iteration.
    #[serde(default)]
    pub dims: Vec<LoopDim>,
    /// Source nodes, for reports.
    pub source: Vec<String>,
}

/// A value that a loop carries: copied into `param` once, then moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// Any buffer.
    pub initial: u32,
    /// A slot of the body.
    pub param: u32,
    /// The slot of the body whose memory `param` takes over after an iteration; `None` if
    /// the value stays what it was.
    pub next: Option<u32>,
    /// The slot that takes over `param`'s memory when the loop ends, of the block with the step.
    pub result: u32,
}

/// A value of each iteration, stacked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scanned {
    /// Any buffer that holds the row when the body ends.
    pub row: u32,
    /// The slot that collects the rows, of the block with the step.
    pub result: u32,
}

/// A dim that changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopDim {
    /// Its symbol in the body, bound anew for each iteration.
    pub inside: SymbolId,
    /// Its symbol after the loop.
    pub after: SymbolId,
    /// Its value before the first iteration.
    pub initial: Dim,
    /// Its value at the end of an iteration, over the body's symbols.
    pub next: Dim,
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
    pub stages: Vec<(String, String)>,
    /// Printed Kernel IR by kernel name, for `inspect --kernels`.
    #[serde(default)]
    pub kernel_ir: BTreeMap<String, String>,
    /// The same of each GPU program's kernels, as they were mapped onto blocks of threads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpu_kernel_ir: BTreeMap<GpuTarget, BTreeMap<String, String>>,
}

impl Provenance {
    /// Takes what only people read: the manifest, which every load parses, is without it.
    pub fn take_bulk(&mut self) -> Provenance {
        Provenance {
            explanations: std::mem::take(&mut self.explanations),
            stages: std::mem::take(&mut self.stages),
            kernel_ir: std::mem::take(&mut self.kernel_ir),
            gpu_kernel_ir: std::mem::take(&mut self.gpu_kernel_ir),
            ..Provenance::default()
        }
    }

    /// Puts back what [`Provenance::take_bulk`] took.
    pub fn put_bulk(&mut self, bulk: Provenance) {
        let Provenance { explanations, stages, kernel_ir, gpu_kernel_ir, .. } = bulk;
        (self.explanations, self.stages) = (explanations, stages);
        (self.kernel_ir, self.gpu_kernel_ir) = (kernel_ir, gpu_kernel_ir);
    }

    /// The printed graph after a stage, if it was kept.
    pub fn graph(&self, stage: &str) -> Option<&str> {
        self.stages.iter().find(|(name, _)| name == stage).map(|(_, text)| text.as_str())
    }
}
