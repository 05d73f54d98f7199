//! The loop-level form: one fused kernel.
//!
//! # Semantics
//! A kernel runs its body once per tile of its grid, in any order and in parallel;
//! tiles write disjoint elements of the global buffers. Index expressions are
//! [`Dim`]s over the kernel's symbols: the graph's symbols first (read-only
//! parameters), then loop variables and [`Stmt::Bind`] results. Values are scalars;
//! [`LoopKind::Vector`] promises that iterations are independent except for
//! [`Stmt::Reduce`], whose order of summation is then free. The interpreter ignores
//! the promise; a back end may use it. Reading a scratch element before writing it,
//! indices out of a buffer's bounds, and races are errors that the interpreter reports;
//! so are values of symbols outside of their declared ranges.
//!
//! Inside a [`LoopKind::Threads`] loop each thread has scratch of its own, undefined when
//! the loop starts and lost when it ends; shared and global elements that one thread
//! writes and another uses need a barrier between. The threads join at the loop's end.

use crate::op::{BinaryOp, UnaryOp};
use cascata_types::{DType, Dim, PrimaryMap, Scalar, SymbolId, SymbolTable, entity};

mod attention;
mod build;
pub mod interp;
mod lex;
mod names;
mod parse;
mod print;
mod tile_gemm;
mod verify;

pub use attention::{
    BlockTable, Sees, TileAttention, TileKeys, TileResult, TileRows, TileSchedule,
};
pub use build::KernelBuilder;
pub use lex::ParseError;
pub use parse::{parse_kernel, parse_kernels};
pub use print::print_kernels;
pub use tile_gemm::{GemmSchedule, TileGemm};
pub use verify::{Problem, VerifyError, verify};

entity! {
    /// A buffer of one kernel.
    BufferId, "b"
}
entity! {
    /// A scalar variable of one kernel.
    LocalId, "v"
}

/// One kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Name, unique in an artifact.
    pub name: String,
    /// The graph's symbols (the first [`Kernel::params`]), then loop variables and bound
    /// indices with the ranges that are known of them.
    pub symbols: SymbolTable,
    /// How many leading symbols are the graph's.
    pub params: usize,
    /// Operands and results in launch order, then scratch and shared buffers.
    pub buffers: PrimaryMap<BufferId, Buffer>,
    /// Scalar variables.
    pub locals: PrimaryMap<LocalId, Local>,
    /// Number of tiles, over parameters only.
    pub grid: Dim,
    /// The tile that the body runs for.
    pub tile: SymbolId,
    /// What one tile does.
    pub body: Vec<Stmt>,
    /// Texts of the [`Stmt::Check`]s.
    pub messages: Vec<String>,
}

/// A buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// The graph value it holds, or what it is for.
    pub name: String,
    /// Element type in memory.
    pub dtype: DType,
    /// Number of elements, over parameters only.
    pub len: Dim,
    /// Where it lives.
    pub space: Space,
}

/// A memory space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// An operand of the launch.
    Input,
    /// A result of the launch; may also be read back.
    Output,
    /// Private to the thread that runs the tile; undefined when a tile starts.
    Scratch,
    /// Shared by the threads of a block (GPU); undefined when a tile starts.
    Shared,
}

/// A scalar variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// For the printed form.
    pub name: String,
    /// Its type.
    pub dtype: DType,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// `for var in 0..extent`; an extent ≤ 0 runs nothing.
    For {
        /// Loop variable.
        var: SymbolId,
        /// Number of iterations.
        extent: Dim,
        /// How it may run.
        kind: LoopKind,
        /// What runs.
        body: Vec<Stmt>,
    },
    /// Gives an index symbol the value of an `i64` expression.
    Bind {
        /// The symbol.
        symbol: SymbolId,
        /// Its value.
        value: Expr,
    },
    /// Declares a scalar with a value; in scope to the end of the enclosing body.
    Let {
        /// The variable.
        local: LocalId,
        /// Its value.
        value: Expr,
    },
    /// Changes a scalar that an enclosing body declared.
    Assign {
        /// The variable.
        local: LocalId,
        /// Its new value.
        value: Expr,
    },
    /// `local = local op value`; the only dependence that a vector loop may carry.
    Reduce {
        /// The variable, declared outside of the loop.
        local: LocalId,
        /// `Add`, `Mul`, `Max`, `Min`, `And` or `Or`.
        op: BinaryOp,
        /// Joined value.
        value: Expr,
    },
    /// Writes one element.
    Store {
        /// Where.
        buffer: BufferId,
        /// Element index.
        at: Dim,
        /// Of the buffer's dtype.
        value: Expr,
    },
    /// Branches.
    If {
        /// A bool.
        cond: Expr,
        /// When true.
        then: Vec<Stmt>,
        /// When false.
        otherwise: Vec<Stmt>,
    },
    /// Fails the launch with a message unless the condition holds.
    Check {
        /// A bool.
        cond: Expr,
        /// Index into [`Kernel::messages`].
        message: usize,
    },
    /// Batch-reduce GEMM (`gemm_f32@1`).
    Gemm(Box<Gemm>),
    /// Depthwise contraction (`dwconv_f32@1`).
    DwConv(Box<DwConv>),
    /// Packs a matrix into panels (`pack_b_f32@1`).
    PackB(Box<PackB>),
    /// `dst[i] = f(src[i])` for `i < n`, f32 (a row primitive; error bounds in the ABI).
    MapRow {
        /// One of `Exp, Erf, Tanh, Sigmoid, Silu, GeluErf, GeluTanh, Log`.
        op: UnaryOp,
        /// First result.
        dst: Place,
        /// First operand.
        src: Place,
        /// Number of elements.
        n: Dim,
    },
    /// `local = reduce(src[..n])`, f32 (a row primitive).
    ReduceRow {
        /// The variable; declared by this statement.
        local: LocalId,
        /// What is computed.
        op: RowReduce,
        /// First operand.
        src: Place,
        /// Number of elements.
        n: Dim,
    },
    /// `dst[i] = exp(src[i] − bias)`, `local = Σ dst[i]`, f32 (a row primitive).
    ExpSum {
        /// The variable; declared by this statement.
        local: LocalId,
        /// First result.
        dst: Place,
        /// First operand.
        src: Place,
        /// Number of elements.
        n: Dim,
        /// Subtracted.
        bias: Expr,
    },
    /// Threads of a block wait for each other.
    Barrier,
    /// `local = op` over the values of a group of neighbouring threads, in each of them.
    GroupReduce {
        /// The variable; declared by this statement.
        local: LocalId,
        /// As of [`Stmt::Reduce`].
        op: BinaryOp,
        /// Of one thread.
        value: Expr,
        /// Threads of a group, a power of two that divides the threads of the loop. Values
        /// are combined as a butterfly: neighbours, then pairs, then fours, …
        width: u32,
    },
    /// Attention of a tile of rows, by all threads of a block.
    TileAttention(Box<TileAttention>),
    /// A tile of a matrix product, by all threads of a block.
    TileGemm(Box<TileGemm>),
}

/// How a loop may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoopKind {
    /// In order.
    Serial,
    /// Several iterations at once; see the module text.
    Vector,
    /// As threads of a block; the body may hold barriers that every thread reaches.
    Threads,
}

/// An f32 reduction of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowReduce {
    /// Σ x.
    Sum,
    /// Σ x².
    SumSq,
    /// Largest; NaN if any is NaN.
    Max,
}

/// An element of a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The buffer.
    pub buffer: BufferId,
    /// Element index.
    pub at: Dim,
}

/// A scalar expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A number.
    Const(Scalar),
    /// An index expression as `i64`.
    Index(Dim),
    /// A variable.
    Local(LocalId),
    /// An element.
    Load(Place),
    /// A function of one value.
    Unary(UnaryOp, Box<Expr>),
    /// A function of two values of one dtype.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `if cond { a } else { b }`; both sides may be evaluated, so both must be in bounds.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Conversion, as [`crate::op::Op::Cast`].
    Cast(DType, Box<Expr>),
    /// The same bits, as [`crate::op::Op::BitCast`].
    Bits(DType, Box<Expr>),
}

/// Rows of the left operand of a contraction.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// Row `i` of block `t` starts at `base + i·row_stride + t·batch_stride`.
    Strided {
        /// First element.
        base: Place,
        /// Elements between rows.
        row_stride: Dim,
        /// Elements between blocks.
        batch_stride: Dim,
    },
    /// Row `i` of block `t` starts at `base + offsets[t·m + i]`; a negative offset is a
    /// row of zeros.
    Indirect {
        /// What offsets count from.
        base: Place,
        /// First offset, in an `i32` buffer.
        offsets: Place,
    },
}

impl Rows {
    /// What rows are counted from.
    pub fn base(&self) -> &Place {
        match self {
            Rows::Strided { base, .. } | Rows::Indirect { base, .. } => base,
        }
    }
}

/// `C[i,j] = clamp(init + Σ_t Σ_k A_t[i,k]·B_t[k,j])`; see `GemmArgs` in the ABI.
///
/// Bias and C are f32, and A and B, too, or bf16; or bias and C are i32, sums wrap, and A and B
/// are i16, or u8 and i8. Of one block, B alone may be narrow: bf16, or codes with scales; see
/// `GemmCodesArgs` in the ABI.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    /// Left operand.
    pub a: Rows,
    /// What stands for 0 in a left operand of u8, one u8; 0 does if there is none.
    pub a_zero: Option<Place>,
    /// Right operand in panels (with sums, if i8 without scales): first element.
    pub b: Place,
    /// What the codes of a right operand of i8 or u32 stand for.
    pub scales: Option<Scales>,
    /// Elements between panels.
    pub b_panel_stride: Dim,
    /// Elements between blocks.
    pub b_batch_stride: Dim,
    /// Result: first element.
    pub c: Place,
    /// Elements between rows of the result.
    pub c_row_stride: Dim,
    /// Added per column.
    pub bias: Option<Place>,
    /// Rows.
    pub m: Dim,
    /// Columns.
    pub n: Dim,
    /// Length of a block.
    pub k: Dim,
    /// Length of the last block.
    pub k_last: Dim,
    /// Number of blocks.
    pub batch: Dim,
    /// Start from the result rather than from the bias or zero.
    pub accumulate: bool,
    /// Bounds of the result, f32; infinite for none, as integers have.
    pub clamp: (Scalar, Scalar),
}

/// What codes in panels stand for: `scale·(code − zero) + offset`, rounded to f32.
///
/// Codes of 8 bits are i8, those of 4 bits lie in u32, eight rows of a column in each.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// First scale, f16 or f32. A panel's are 16 for each group of rows, and 16 offsets behind
    /// those if there are any.
    pub place: Place,
    /// Elements between panels' scales.
    pub panel_stride: Dim,
    /// Rows that share a scale.
    pub group: u32,
    /// What codes of 4 bits are less.
    pub zero: u32,
    /// Whether offsets follow the scales; else they are 0.
    pub offsets: bool,
}

/// `C[i,c] = clamp(bias[c] + Σ_t A_t[i,c]·W[t,c])`; see `DwConvF32Args` in the ABI.
#[derive(Clone, Debug, PartialEq)]
pub struct DwConv {
    /// Operand rows; always indirect.
    pub base: Place,
    /// First offset (`[taps][m]`), in an `i32` buffer.
    pub offsets: Place,
    /// Weights: first element.
    pub w: Place,
    /// Elements between taps.
    pub w_stride: Dim,
    /// Added per channel.
    pub bias: Option<Place>,
    /// Result: first element.
    pub c: Place,
    /// Elements between rows of the result.
    pub c_row_stride: Dim,
    /// Rows.
    pub m: Dim,
    /// Channels.
    pub channels: Dim,
    /// Taps.
    pub taps: Dim,
    /// Bounds of the result, f32; infinite for none.
    pub clamp: (Scalar, Scalar),
}

/// Packs `B[k,n] = src[k·row_stride + n·col_stride]` into panels; see `PackBF32Args`.
#[derive(Clone, Debug, PartialEq)]
pub struct PackB {
    /// First operand element.
    pub src: Place,
    /// Elements between rows.
    pub row_stride: Dim,
    /// Elements between columns.
    pub col_stride: Dim,
    /// First panel element.
    pub dst: Place,
    /// Elements between panels.
    pub panel_stride: Dim,
    /// Rows.
    pub k: Dim,
    /// Columns.
    pub n: Dim,
}
