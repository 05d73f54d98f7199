//! What can be wrong with a kernel.

use cascata_types::DType;

/// One thing wrong with a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel '{kernel}', {place}: {problem}")]
pub struct VerifyError {
    /// The kernel's name.
    pub kernel: String,
    /// The declaration or the first line of the statement.
    pub place: String,
    /// What is wrong.
    pub problem: Problem,
}

/// See [`VerifyError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum Problem {
    #[error("{params} parameters of {symbols} symbols")]
    Params { params: usize, symbols: usize },
    #[error("the tile '{0}' is a parameter")]
    TileIsParam(String),
    #[error("the operands and results of the launch come before scratch and shared buffers")]
    BufferOrder,
    #[error("'{0}' is not a parameter: sizes are fixed at launch")]
    NotParam(String),
    #[error("strings are not elements of a kernel")]
    StringDtype,
    #[error("the bits of {from} are not those of {to}")]
    Bits { from: DType, to: DType },
    #[error("symbol {0} is not in the kernel's table")]
    UndefinedSymbol(String),
    #[error("symbol '{0}' is not in scope here")]
    SymbolOutOfScope(String),
    #[error("symbol '{0}' already has a value here")]
    SymbolRebound(String),
    #[error("symbol '{symbol}' is in {min}..={max}, but the loop counts to {last}")]
    LoopRange { symbol: String, min: i64, max: i64, last: i64 },
    #[error("buffer {0} is not in the kernel's table")]
    UndefinedBuffer(String),
    #[error("variable {0} is not in the kernel's table")]
    UndefinedLocal(String),
    #[error("variable '{0}' is not in scope here")]
    LocalOutOfScope(String),
    #[error("variable '{0}' is declared already")]
    LocalRedeclared(String),
    #[error("{what} is {found}, not {expected}")]
    Dtype { what: String, expected: DType, found: DType },
    #[error("'{op}' is not defined for {dtype}")]
    UndefinedOp { op: &'static str, dtype: DType },
    #[error("the bits {bits:#x} are no {dtype}")]
    ConstBits { dtype: DType, bits: u64 },
    #[error("'%{0}' is an operand of the launch: it cannot be written")]
    NotWritable(String),
    #[error("'{0}' is no reduction: add, mul, max, min, and, or are")]
    NotAReduction(&'static str),
    #[error("a tile of a whole block inside a parallel loop")]
    TileInParallelLoop,
    #[error("a tile of numbers that are not f16, bf16 or f32")]
    TileFloat,
    #[error("'%{0}' is a block's own: a tile's operands and results are the launch's")]
    TileOfOwnBuffer(String),
    #[error("this tile cannot be: {0}")]
    TileSize(&'static str),
    #[error("'{0}' is no row primitive")]
    NotARowOp(&'static str),
    #[error("the lower bound of the clamp is not below the upper one")]
    ClampOrder,
    #[error("sums of integers have no bounds")]
    IntegerClamp,
    #[error("only a left operand of u8 has a zero point")]
    ZeroPoint,
    #[error("a narrow right operand of f32 is one block, by strided rows, that starts a sum")]
    NarrowBlock,
    #[error("codes of {codes} with a zero of {zero} and a scale for {group} rows")]
    Codes { codes: DType, zero: u32, group: u32 },
    #[error("message {0} does not exist")]
    UndefinedMessage(usize),
    #[error("'{local}' belongs to all iterations of the vector loop '{symbol}': only reduce it")]
    AssignInVector { local: String, symbol: String },
    #[error("'{local}' is reduced in the vector loop '{symbol}' in two ways")]
    MixedReduce { local: String, symbol: String },
    #[error("'{local}' is reduced in the vector loop '{symbol}', so its value is not known there")]
    ReadsReduced { local: String, symbol: String },
    #[error("every iteration of the vector loop '{symbol}' writes the same element of '%{buffer}'")]
    SameElement { buffer: String, symbol: String },
    #[error("'{local}' belongs to all threads of '{symbol}': one thread cannot change it")]
    ChangedByThread { local: String, symbol: String },
    #[error("a loop over threads inside a vector loop or another loop over threads")]
    NestedThreads,
    #[error("groups of {width} threads: not a power of two that divides {threads:?} threads")]
    GroupWidth { width: u32, threads: Option<i64> },
    #[error("a barrier outside of a loop over threads")]
    BarrierOutsideThreads,
    #[error("a barrier inside a vector loop")]
    BarrierInVector,
    #[error("not every thread reaches this barrier equally often: '{0}' differs between them")]
    DivergentBarrier(String),
}
