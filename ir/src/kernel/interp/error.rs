//! Why a kernel does not run.

use crate::kernel::VerifyError;
use cascata_types::{DType, EvalError};

/// Why a run has no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum KernelRunError {
    #[error("the kernel is not valid: {}", texts(.0))]
    Invalid(Vec<VerifyError>),
    #[error("{expected} parameters are needed, {found} given")]
    ParamCount { expected: usize, found: usize },
    #[error("parameter '{name}' is {value}, but lies in {min}..={max}")]
    ParamRange { name: String, value: i64, min: i64, max: i64 },
    #[error("{expected} launch buffers are needed, {found} given")]
    BufferCount { expected: usize, found: usize },
    #[error("buffer '%{name}' holds {expected_dtype}[{expected}], given {found_dtype}[{found}]")]
    BufferType {
        name: String,
        expected_dtype: DType,
        expected: usize,
        found_dtype: DType,
        found: usize,
    },
    #[error("the size of {what} is not computable: {error}")]
    Size { what: String, error: EvalError },
    #[error("the size of {what} is {size}")]
    BadSize { what: String, size: i64 },
    #[error("kernel '{kernel}', tile {tile}, '{statement}': {fault}")]
    Fault { kernel: String, tile: i64, statement: String, fault: Fault },
}

fn texts(errors: &[VerifyError]) -> String {
    errors.iter().map(VerifyError::to_string).collect::<Vec<_>>().join("; ")
}

/// What a statement did wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum Fault {
    #[error("index {index} is out of bounds of '%{buffer}' with {len} elements")]
    OutOfBounds { buffer: String, index: i64, len: usize },
    #[error("element {index} of '%{buffer}' is read before it is written")]
    Uninitialised { buffer: String, index: i64 },
    #[error("element {index} of '%{buffer}' is written by tile {other} too")]
    WriteRace { buffer: String, index: i64, other: i64 },
    #[error("element {index} of '%{buffer}' is read, but tile {other} writes it")]
    ReadRace { buffer: String, index: i64, other: i64 },
    #[error("element {index} of '%{buffer}' is written, but another tile reads it")]
    WriteAfterRead { buffer: String, index: i64 },
    #[error(
        "threads {first} and {second} use element {index} of '%{buffer}' with no barrier \
         between, and one writes it"
    )]
    ThreadRace { buffer: String, index: i64, first: ThreadId, second: ThreadId },
    #[error("threads {first} and {second} do not agree here, but a barrier follows")]
    Divergence { first: u32, second: u32 },
    #[error("'{symbol}' is {value}, but declared in {min}..={max}")]
    Range { symbol: String, value: i64, min: i64, max: i64 },
    #[error("the index has no value: {0}")]
    Index(#[from] EvalError),
    #[error("the rows overlap: only the same row may be both operand and result")]
    RowOverlap,
    #[error("{count} {what} in a tile of {most}")]
    TileSize { what: &'static str, count: i64, most: i64 },
    #[error("token {token} sees {keys} keys, but {least} were promised")]
    SeesLess { token: i64, keys: i64, least: i64 },
    #[error("a loop over {0} threads is too large")]
    TooManyThreads(i64),
}

/// A thread of a block, or several that are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadId {
    /// One thread.
    One(u32),
    /// More than one.
    Several,
}

impl std::fmt::Display for ThreadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ThreadId::One(thread) => write!(f, "{thread}"),
            ThreadId::Several => f.write_str("(several)"),
        }
    }
}

/// Boxed, so that the results of hot functions stay small.
pub(super) type Step<T> = Result<T, Box<Fault>>;

impl From<EvalError> for Box<Fault> {
    fn from(error: EvalError) -> Self {
        Box::new(Fault::Index(error))
    }
}
