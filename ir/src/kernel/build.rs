//! Short spellings for writing kernels in code.
//!
//! ```
//! use cascata_ir::kernel::{Expr, KernelBuilder, Stmt};
//! use cascata_ir::types::{DType, Dim, SymbolTable};
//!
//! let mut symbols = SymbolTable::default();
//! let n = symbols.intern("N");
//! let mut k = KernelBuilder::new("add_one", symbols);
//! let x = k.input("x", DType::F32, Dim::sym(n) * 4);
//! let y = k.output("y", DType::F32, Dim::sym(n) * 4);
//! let (tile, i) = (k.tile("t"), k.var("i", 0, 3));
//! let at = Dim::sym(tile) * 4 + Dim::sym(i);
//! let body = vec![Stmt::vector(i, 4, vec![
//!     Stmt::store(y, at.clone(), Expr::load(x, at) + Expr::f32(1.0)),
//! ])];
//! let kernel = k.finish(n, tile, body);
//! assert_eq!(kernel.params, 1);
//! ```

use super::{Buffer, BufferId, Expr, Kernel, Local, LocalId, LoopKind, Place, Space, Stmt};
use crate::op::{BinaryOp, UnaryOp};
use cascata_types::{DType, Dim, PrimaryMap, Scalar, SymbolId, SymbolTable};
use std::ops;

/// Collects the declarations of one kernel.
#[derive(Clone, Debug)]
pub struct KernelBuilder {
    name: String,
    symbols: SymbolTable,
    params: usize,
    buffers: PrimaryMap<BufferId, Buffer>,
    locals: PrimaryMap<LocalId, Local>,
    messages: Vec<String>,
}

impl KernelBuilder {
    /// Starts a kernel whose parameters are all of `symbols`.
    pub fn new(name: &str, symbols: SymbolTable) -> Self {
        Self {
            name: name.to_string(),
            params: symbols.len(),
            symbols,
            buffers: PrimaryMap::new(),
            locals: PrimaryMap::new(),
            messages: Vec::new(),
        }
    }

    /// Declares a buffer.
    pub fn buffer(
        &mut self,
        space: Space,
        name: &str,
        dtype: DType,
        len: impl Into<Dim>,
    ) -> BufferId {
        self.buffers.push(Buffer { name: name.to_string(), dtype, len: len.into(), space })
    }

    /// Declares the next operand.
    pub fn input(&mut self, name: &str, dtype: DType, len: impl Into<Dim>) -> BufferId {
        self.buffer(Space::Input, name, dtype, len)
    }

    /// Declares the next result.
    pub fn output(&mut self, name: &str, dtype: DType, len: impl Into<Dim>) -> BufferId {
        self.buffer(Space::Output, name, dtype, len)
    }

    /// Declares a buffer private to a thread.
    pub fn scratch(&mut self, name: &str, dtype: DType, len: impl Into<Dim>) -> BufferId {
        self.buffer(Space::Scratch, name, dtype, len)
    }

    /// Declares a buffer shared by the threads of a block.
    pub fn shared(&mut self, name: &str, dtype: DType, len: impl Into<Dim>) -> BufferId {
        self.buffer(Space::Shared, name, dtype, len)
    }

    /// Declares an index symbol (a loop variable or a bound index) with values in
    /// `min..=max`; its name gets a suffix where `name` is taken.
    pub fn var(&mut self, name: &str, min: i64, max: i64) -> SymbolId {
        self.symbols.fresh(name, min, max)
    }

    /// Declares the tile's symbol, not negative.
    pub fn tile(&mut self, name: &str) -> SymbolId {
        self.var(name, 0, SymbolTable::DEFAULT_MAX)
    }

    /// Declares a scalar variable.
    pub fn local(&mut self, name: &str, dtype: DType) -> LocalId {
        self.locals.push(Local { name: name.to_string(), dtype })
    }

    /// The symbols so far, for bounds and display.
    pub fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }

    /// The buffers so far.
    pub fn buffers(&self) -> &PrimaryMap<BufferId, Buffer> {
        &self.buffers
    }

    /// The locals so far.
    pub fn locals(&self) -> &PrimaryMap<LocalId, Local> {
        &self.locals
    }

    /// The index of a message, added when new.
    pub fn message(&mut self, text: &str) -> usize {
        self.messages.iter().position(|m| m == text).unwrap_or_else(|| {
            self.messages.push(text.to_string());
            self.messages.len() - 1
        })
    }

    /// Fails the launch with `text` unless `cond` holds.
    pub fn check(&mut self, cond: Expr, text: &str) -> Stmt {
        Stmt::Check { cond, message: self.message(text) }
    }

    /// The kernel that runs `body` for each `tile` in `0..grid`.
    pub fn finish(self, grid: impl Into<Dim>, tile: SymbolId, body: Vec<Stmt>) -> Kernel {
        Kernel {
            name: self.name,
            symbols: self.symbols,
            params: self.params,
            buffers: self.buffers,
            locals: self.locals,
            grid: grid.into(),
            tile,
            body,
            messages: self.messages,
        }
    }
}

impl Place {
    /// Element `at` of `buffer`.
    pub fn new(buffer: BufferId, at: impl Into<Dim>) -> Self {
        Self { buffer, at: at.into() }
    }
}

impl Stmt {
    /// A loop of any kind.
    pub fn loop_of(kind: LoopKind, var: SymbolId, extent: impl Into<Dim>, body: Vec<Stmt>) -> Self {
        Stmt::For { var, extent: extent.into(), kind, body }
    }

    /// A loop in order.
    pub fn serial(var: SymbolId, extent: impl Into<Dim>, body: Vec<Stmt>) -> Self {
        Self::loop_of(LoopKind::Serial, var, extent, body)
    }

    /// A loop that may run several iterations at once.
    pub fn vector(var: SymbolId, extent: impl Into<Dim>, body: Vec<Stmt>) -> Self {
        Self::loop_of(LoopKind::Vector, var, extent, body)
    }

    /// A loop over the threads of a block.
    pub fn threads(var: SymbolId, extent: impl Into<Dim>, body: Vec<Stmt>) -> Self {
        Self::loop_of(LoopKind::Threads, var, extent, body)
    }

    /// Gives an index symbol a value.
    pub fn bind(symbol: SymbolId, value: Expr) -> Self {
        Stmt::Bind { symbol, value }
    }

    /// Declares a scalar.
    pub fn declare(local: LocalId, value: Expr) -> Self {
        Stmt::Let { local, value }
    }

    /// Changes a scalar.
    pub fn assign(local: LocalId, value: Expr) -> Self {
        Stmt::Assign { local, value }
    }

    /// `local = local op value`.
    pub fn reduce(local: LocalId, op: BinaryOp, value: Expr) -> Self {
        Stmt::Reduce { local, op, value }
    }

    /// Writes one element.
    pub fn store(buffer: BufferId, at: impl Into<Dim>, value: Expr) -> Self {
        Stmt::Store { buffer, at: at.into(), value }
    }

    /// Branches, with nothing to do otherwise.
    pub fn when(cond: Expr, then: Vec<Stmt>) -> Self {
        Stmt::If { cond, then, otherwise: Vec::new() }
    }

    /// Branches.
    pub fn branch(cond: Expr, then: Vec<Stmt>, otherwise: Vec<Stmt>) -> Self {
        Stmt::If { cond, then, otherwise }
    }
}

impl Expr {
    /// An `f32` constant.
    pub fn f32(x: f32) -> Self {
        Expr::Const(Scalar::f32(x))
    }

    /// An `i64` constant.
    pub fn i64(x: i64) -> Self {
        Expr::Const(Scalar::i64(x))
    }

    /// A `bool` constant.
    pub fn bool(x: bool) -> Self {
        Expr::Const(Scalar::bool(x))
    }

    /// `x` rounded to `dtype`, as [`Scalar::from_f64`].
    pub fn number(dtype: DType, x: f64) -> Self {
        Expr::Const(Scalar::from_f64(dtype, x))
    }

    /// An index expression as `i64`.
    pub fn index(dim: impl Into<Dim>) -> Self {
        Expr::Index(dim.into())
    }

    /// Element `at` of `buffer`.
    pub fn load(buffer: BufferId, at: impl Into<Dim>) -> Self {
        Expr::Load(Place::new(buffer, at))
    }

    /// `op(self)`.
    pub fn unary(self, op: UnaryOp) -> Self {
        Expr::Unary(op, Box::new(self))
    }

    /// `op(self, other)`.
    pub fn binary(self, op: BinaryOp, other: Expr) -> Self {
        Expr::Binary(op, Box::new(self), Box::new(other))
    }

    /// `if self { a } else { b }`.
    pub fn select(self, a: Expr, b: Expr) -> Self {
        Expr::Select(Box::new(self), Box::new(a), Box::new(b))
    }

    /// Converts to `dtype`.
    pub fn cast(self, dtype: DType) -> Self {
        Expr::Cast(dtype, Box::new(self))
    }
}

/// Methods named after the binary ops.
macro_rules! binary_methods {
    ($($name:ident $op:ident $doc:literal,)*) => {
        impl Expr { $(
            #[doc = $doc]
            pub fn $name(self, other: Expr) -> Self {
                self.binary(BinaryOp::$op, other)
            }
        )* }
    };
}

binary_methods! {
    max Max "The larger; NaN if either is NaN.",
    min Min "The smaller; NaN if either is NaN.",
    and And "Logical and.",
    or Or "Logical or.",
    equals Eq "`bool`: equal.",
    differs Ne "`bool`: not equal.",
    lt Lt "`bool`: less.",
    le Le "`bool`: less or equal.",
    gt Gt "`bool`: greater.",
    ge Ge "`bool`: greater or equal.",
}

/// Operators that build expressions of the same meaning.
macro_rules! operators {
    ($($trait:ident $method:ident $op:ident,)*) => { $(
        impl ops::$trait for Expr {
            type Output = Expr;
            fn $method(self, other: Expr) -> Expr {
                self.binary(BinaryOp::$op, other)
            }
        }
    )* };
}

operators! {
    Add add Add,
    Sub sub Sub,
    Mul mul Mul,
    Div div Div,
}

impl ops::Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        self.unary(UnaryOp::Neg)
    }
}

impl From<LocalId> for Expr {
    fn from(local: LocalId) -> Expr {
        Expr::Local(local)
    }
}

impl From<Scalar> for Expr {
    fn from(x: Scalar) -> Expr {
        Expr::Const(x)
    }
}
