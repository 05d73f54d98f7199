//! Everything that can go wrong, with what to do about it.

use cascata_artifact::FormatError;
use cascata_types::DType;
use std::path::PathBuf;

/// Why a tensor cannot be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum TensorError {
    /// The dims or the dtype give no size.
    #[error(
        "{text} has no size: dims must not be negative, their product must fit memory, and strings have no size before they are known"
    )]
    Dims { text: String },
    /// Bytes and dims disagree.
    #[error("{text} takes {expected} bytes and {found} were given")]
    Length { text: String, expected: u64, found: u64 },
    /// The bytes are not strings.
    #[error(
        "{text} takes so many strings, each as its length in bytes (u32, little-endian) and UTF-8; the bytes given are not that"
    )]
    NotStrings { text: String },
    /// The bytes do not start where an element may.
    #[error(
        "the bytes of a {dtype} tensor must be {align}-byte aligned; copy them into a Vec<T> or a Tensor first"
    )]
    Misaligned { dtype: DType, align: usize },
    /// The elements are of another type.
    #[error("the tensor's elements are {found}, not {asked}")]
    DType { asked: DType, found: DType },
    /// The allocator gave nothing.
    #[error("out of memory: {bytes} bytes for a tensor")]
    OutOfMemory { bytes: u64 },
}

/// Why an artifact cannot be loaded, or a session not be made from it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum LoadError {
    /// The file cannot be read or mapped.
    #[error("cannot read the artifact {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// The bytes are not a usable artifact.
    #[error("{}: {source}", path.display())]
    Format { path: PathBuf, source: FormatError },
    /// No code variant runs here.
    #[error(
        "{}: this machine ({host}) runs none of its code: {}; compile it with a lower level, e.g. `--target x86-64-v1`",
        path.display(), variants.join("; ")
    )]
    Unsupported { path: PathBuf, host: String, variants: Vec<String> },
    /// The forced level is not in the artifact.
    #[error("{}: there is no code of level '{level}', only {}", path.display(), levels.join(", "))]
    NoSuchLevel { path: PathBuf, level: String, levels: Vec<String> },
    /// The entry point does not exist.
    #[error("there is no entry point '{entry}', only {}", entries.join(", "))]
    NoSuchEntry { entry: String, entries: Vec<String> },
    /// A port holds something that this runtime cannot pass.
    #[error("port '{port}' is {ty}; this runtime passes dense tensors of numbers only")]
    UnsupportedPort { port: String, ty: String },
    /// Threads cannot be started.
    #[error("cannot start the thread pool: {0}")]
    Threads(std::io::Error),
    /// The GPU cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Why a GPU cannot be used, or does not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum DeviceError {
    /// This runtime knows no GPUs.
    #[error("this runtime was built without feature `cuda`: it runs on CPUs only")]
    NotBuilt,
    /// No driver, or none that works.
    #[error("there is no NVIDIA driver to use: {reason}")]
    NoDriver { reason: String },
    /// No such GPU.
    #[error("there is no GPU {index}: the driver knows {count}")]
    NoSuchGpu { index: u32, count: u32 },
    /// No program of the artifact runs on the GPU.
    #[error(
        "the artifact has no program for {name} (compute capability {major}.{minor}), only {}; compile it with `--gpu sm_80`",
        if .programs.is_empty() { "for CPUs".to_string() } else { .programs.join(", ") }
    )]
    NoProgram { name: String, major: u32, minor: u32, programs: Vec<String> },
    /// The driver refuses the PTX.
    #[error("the driver does not take the artifact's PTX: {error}\n{log}")]
    Ptx { error: String, log: String },
    /// A call of the driver failed.
    #[error("{call} failed while {doing}: {error}")]
    Call { call: &'static str, doing: String, error: String },
}

/// Why a run failed. The session stays usable.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum RunError {
    /// The GPU.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Everything that is wrong with the inputs.
    #[error("{}", lines(.0))]
    Inputs(Vec<InputError>),
    /// A condition of the model does not hold for these shapes.
    #[error("{what}: {lhs} must equal {rhs}")]
    Check { what: String, lhs: String, rhs: String },
    /// A data-dependent size is out of its range.
    #[error("'{symbol}' = {value}, read from '{buffer}', is outside {min}..={max}")]
    DataDependent { symbol: String, value: i64, buffer: String, min: i64, max: i64 },
    /// A size formula has no value, or a negative one, for these shapes.
    #[error("{at}: {formula} {problem}; with {symbols}")]
    Formula { at: String, formula: String, problem: String, symbols: String },
    /// The artifact's formulas contradict each other.
    #[error(
        "buffer '{buffer}' needs {needs} bytes of {has}: the artifact is inconsistent, recompile the model and report this"
    )]
    Plan { buffer: String, needs: u64, has: u64 },
    /// A kernel reported a failed check.
    #[error("{message} (kernel '{kernel}', computing {}{})", values.join(", "), from(source_nodes))]
    Kernel { kernel: String, message: String, values: Vec<String>, source_nodes: Vec<String> },
    /// The allocator gave nothing.
    #[error("out of memory: {bytes} bytes for {what}")]
    OutOfMemory { what: String, bytes: u64 },
    /// The memory bound for an output has another type.
    #[error("output '{name}' is {expected}, the memory bound for it is {found}")]
    Output { name: String, expected: String, found: String },
    /// Strings have no size before they are computed, so that no memory can be bound for them.
    #[error("output '{name}' is strings, which go into no bound memory: leave it unbound")]
    BoundText { name: String },
    /// Strings that cannot be computed.
    #[error("{problem}{}", from(source_nodes))]
    Text { problem: String, source_nodes: Vec<String> },
    /// Attention over a cache that the caller did not bring, or that refused.
    #[error("{problem}{}", from(source_nodes))]
    Cache { problem: String, source_nodes: Vec<String> },
    /// There is no such port.
    #[error("there is no {kind} '{name}', only {}", names.join(", "))]
    NoSuchPort { kind: &'static str, name: String, names: Vec<String> },
    /// A value that was to be fetched is computed in a branch or loop that did not run.
    #[error("'{value}' was not computed: its branch or loop did not run")]
    NotComputed { value: String },
    /// A [`CancelToken`](crate::CancelToken) asked for it.
    #[error("the run was cancelled before step {step}")]
    Cancelled { step: usize },
    /// A bug of the runtime.
    #[error(
        "a thread of the pool panicked in kernel '{kernel}'; this is a bug of the runtime, report it"
    )]
    Panicked { kernel: String },
}

fn from(nodes: &[String]) -> String {
    if nodes.is_empty() { String::new() } else { format!(", from {}", nodes.join(", ")) }
}

fn lines(errors: &[InputError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum InputError {
    /// The input was not given.
    #[error("input '{name}' is missing; it is {expected}")]
    Missing { name: String, expected: String },
    /// The model has no such input.
    #[error("there is no input '{name}'; the inputs are {}", inputs.join(", "))]
    Unknown { name: String, inputs: Vec<String> },
    /// The input was given more than once.
    #[error("input '{name}' is given twice")]
    Duplicate { name: String },
    /// The elements have another type.
    #[error("input '{name}' has dtype {found}, expected {expected}")]
    DType { name: String, expected: DType, found: DType },
    /// The number of dims is another one.
    #[error("input '{name}' has {found} dims, expected {expected}")]
    Rank { name: String, expected: String, found: usize },
    /// A dim has another value.
    #[error("input '{name}', axis {axis}: the size is {found}, expected {expected}")]
    Dim { name: String, axis: usize, expected: String, found: i64 },
    /// A dim is outside its symbol's range.
    #[error("input '{name}', axis {axis}: {symbol} = {found} is outside {min}..={max}")]
    Range { name: String, axis: usize, symbol: String, found: i64, min: i64, max: i64 },
}
