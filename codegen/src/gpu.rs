//! CPU kernels onto thread blocks: Kernel IR to Kernel IR.
//!
//! A tile becomes what a block of threads does. Serial code stays block-level code; a vector
//! loop is dealt out to the threads, which combine what it reduces; micro-kernels and row
//! primitives become loops over threads (`gemm`, `rows`, …). What a tile kept to itself is
//! shared by its threads. The result means what the kernel meant, sums in another order aside,
//! and the Kernel IR interpreter runs it with its threads and barriers.

mod contraction;
mod few;
mod gemm;
mod rows;
pub mod tile_attention;
pub mod tile_gemm;

use cascata_ir::kernel::{
    Buffer, BufferId, Expr, Kernel, Local, LocalId, LoopKind, Place, Space, Stmt,
};
use cascata_ir::op::BinaryOp;
use cascata_types::{DType, Dim, PrimaryMap, Scalar, SymbolId, SymbolTable};

/// Threads of a block with a contraction in it.
const GEMM_THREADS: i64 = 256;
/// Threads of other blocks, at most and at least.
const MOST_THREADS: i64 = 256;
const FEWEST_THREADS: i64 = 32;

/// The kernel for a block of threads: the same operands and parameters.
pub fn map(kernel: &Kernel) -> Kernel {
    let mut m = Mapper {
        symbols: kernel.symbols.clone(),
        buffers: kernel.buffers.clone(),
        locals: kernel.locals.clone(),
        threads: threads(kernel),
        params: kernel.params,
        tiles: kernel.grid.bounds(&kernel.symbols).0,
    };
    for buffer in m.buffers.values_mut() {
        if buffer.space == Space::Scratch {
            buffer.space = Space::Shared;
        }
    }
    let (grid, tile, body) = m.kernel(kernel);
    let Mapper { symbols, buffers, locals, .. } = m;
    Kernel { symbols, buffers, locals, grid, tile, body, ..kernel.clone() }
}

/// Threads for the longest loop that is dealt out.
fn threads(kernel: &Kernel) -> i64 {
    fn longest(body: &[Stmt], symbols: &SymbolTable) -> i64 {
        let of = |s: &Stmt| match s {
            Stmt::For { extent, kind: LoopKind::Vector, .. } => extent.bounds(symbols).1,
            Stmt::For { body, .. } => longest(body, symbols),
            Stmt::If { then, otherwise, .. } => {
                longest(then, symbols).max(longest(otherwise, symbols))
            }
            Stmt::Gemm(_) => GEMM_THREADS,
            Stmt::DwConv(_) | Stmt::PackB(_) => MOST_THREADS,
            Stmt::MapRow { n, .. } | Stmt::ReduceRow { n, .. } | Stmt::ExpSum { n, .. } => {
                n.bounds(symbols).1
            }
            _ => 0,
        };
        body.iter().map(of).max().unwrap_or(0)
    }
    let longest = longest(&kernel.body, &kernel.symbols).clamp(FEWEST_THREADS, MOST_THREADS);
    (longest as u64).next_power_of_two() as i64
}

/// A kernel in the making.
struct Mapper {
    symbols: SymbolTable,
    buffers: PrimaryMap<BufferId, Buffer>,
    locals: PrimaryMap<LocalId, Local>,
    threads: i64,
    /// Leading symbols that are the graph's.
    params: usize,
    /// Tiles that the kernel has at least.
    tiles: i64,
}

impl Mapper {
    /// The grid, its symbol, and what a block does.
    fn kernel(&mut self, kernel: &Kernel) -> (Dim, SymbolId, Vec<Stmt>) {
        self.product_in_parts(kernel)
            .unwrap_or_else(|| (kernel.grid.clone(), kernel.tile, self.block(&kernel.body)))
    }

    /// A contraction that writes the result itself shares its columns among several blocks.
    fn product_in_parts(&mut self, kernel: &Kernel) -> Option<(Dim, SymbolId, Vec<Stmt>)> {
        let (Stmt::Gemm(g), before) = kernel.body.split_last()? else { return None };
        let parts = self.parts(g);
        if parts == 1 || self.buffers[g.c.buffer].space != Space::Output {
            return None;
        }
        let (grid, tile, part, mut body) = self.split_tiles(kernel, parts);
        body.extend(self.block(before));
        body.extend(self.gemm_part(g, part));
        Some((grid, tile, body))
    }

    /// Makes `parts` tiles of each: the grid, its symbol, the part's number, and what binds
    /// that and the number of the kernel's own tile.
    fn split_tiles(&mut self, kernel: &Kernel, parts: i64) -> (Dim, SymbolId, SymbolId, Vec<Stmt>) {
        let grid = kernel.grid.clone() * parts;
        let (tile, part) = (self.index("tile", &grid), self.index("part", &parts.into()));
        let (whole, number) =
            (Dim::sym(tile).floor_div(&parts.into()), Dim::sym(tile).modulo(&parts.into()));
        let binds = vec![
            Stmt::bind(kernel.tile, Expr::Index(whole)),
            Stmt::bind(part, Expr::Index(number)),
        ];
        (grid, tile, part, binds)
    }

    /// Block-level code.
    fn block(&mut self, body: &[Stmt]) -> Vec<Stmt> {
        body.iter().flat_map(|s| self.stmt(s)).collect()
    }

    fn stmt(&mut self, stmt: &Stmt) -> Vec<Stmt> {
        match stmt {
            Stmt::For { var, extent, kind: LoopKind::Vector, body } => {
                self.deal(*var, extent, body.clone())
            }
            Stmt::For { var, extent, kind, body } => {
                let body = self.block(body);
                vec![Stmt::For { var: *var, extent: extent.clone(), kind: *kind, body }]
            }
            Stmt::If { cond, then, otherwise } => {
                vec![Stmt::branch(cond.clone(), self.block(then), self.block(otherwise))]
            }
            Stmt::Gemm(g) => self.gemm(g),
            Stmt::DwConv(d) => self.dw_conv(d),
            Stmt::PackB(p) => self.pack_b(p),
            Stmt::MapRow { op, dst, src, n } => self.map_row(*op, dst, src, n),
            Stmt::ReduceRow { local, op, src, n } => self.reduce_row(*local, *op, src, n),
            Stmt::ExpSum { local, dst, src, n, bias } => self.exp_sum(*local, dst, src, n, bias),
            other => vec![other.clone()],
        }
    }

    /// Deals the iterations of a vector loop out to the threads: thread `t` runs `t`, `t + T`, …
    fn deal(&mut self, var: SymbolId, extent: &Dim, mut body: Vec<Stmt>) -> Vec<Stmt> {
        let reduced = reduced_outside(&body);
        let mut after = Vec::new();
        let dealt = self.over_threads(|m, t| {
            let (mut stmts, mut tail) = (Vec::new(), Vec::new());
            for (local, op) in reduced {
                let dtype = m.locals[local].dtype;
                let own = m.local("own", dtype);
                stmts.push(Stmt::declare(own, Expr::Const(neutral(op, dtype))));
                body.iter_mut().for_each(|s| rename(s, local, own));
                let (combine, all) = m.combined(op, own, t);
                tail.extend(combine);
                after.push(Stmt::reduce(local, op, all));
            }
            stmts.push(m.strided(t, var, extent, body));
            stmts.extend(tail);
            stmts
        });
        std::iter::once(dealt).chain(after).collect()
    }

    /// A loop over all threads of the block.
    fn over_threads(&mut self, body: impl FnOnce(&mut Self, SymbolId) -> Vec<Stmt>) -> Stmt {
        let t = self.symbols.fresh("t", 0, self.threads - 1);
        let body = body(self, t);
        Stmt::threads(t, self.threads, body)
    }

    /// `var = t, t + T, … < extent`.
    fn strided(&mut self, t: SymbolId, var: SymbolId, extent: &Dim, mut body: Vec<Stmt>) -> Stmt {
        let most = extent.bounds(&self.symbols).1.max(0);
        // Rounded up without a sum: the bound of an unbounded size is the greatest number.
        let turns = most / self.threads + i64::from(most % self.threads > 0);
        let turn = self.symbols.fresh("turn", 0, (turns - 1).max(0));
        let count = (extent.clone() - Dim::sym(t)).ceil_div(&self.threads.into());
        let at = Dim::sym(turn) * self.threads + Dim::sym(t);
        body.insert(0, Stmt::bind(var, Expr::Index(at)));
        Stmt::serial(turn, count, body)
    }

    /// What all threads have in `own`, combined: statements for inside the loop over threads,
    /// and the value behind it.
    fn combined(&mut self, op: BinaryOp, own: LocalId, t: SymbolId) -> (Vec<Stmt>, Expr) {
        let dtype = self.locals[own].dtype;
        let (all, shared) = (self.local("all", dtype), self.shared("all", dtype, 1));
        let width = self.threads as u32;
        let first = Expr::Index(Dim::sym(t)).binary(BinaryOp::Eq, Expr::i64(0));
        let store = Stmt::store(shared, Dim::from(0), Expr::Local(all));
        let stmts = vec![
            Stmt::GroupReduce { local: all, op, value: Expr::Local(own), width },
            Stmt::branch(first, vec![store], vec![]),
        ];
        (stmts, Expr::load(shared, Dim::from(0)))
    }

    fn local(&mut self, hint: &str, dtype: DType) -> LocalId {
        let name = format!("{hint}{}", self.locals.len());
        self.locals.push(Local { name, dtype })
    }

    fn shared(&mut self, hint: &str, dtype: DType, len: impl Into<Dim>) -> BufferId {
        self.memory(Space::Shared, hint, dtype, len.into())
    }

    /// Each thread's own.
    fn registers(&mut self, hint: &str, dtype: DType, len: i64) -> BufferId {
        self.memory(Space::Scratch, hint, dtype, len.into())
    }

    fn memory(&mut self, space: Space, hint: &str, dtype: DType, len: Dim) -> BufferId {
        let name = format!("{hint}{}", self.buffers.len());
        self.buffers.push(Buffer { name, dtype, len, space })
    }
}

/// Variables from outside of a loop that its body reduces, with their operations.
fn reduced_outside(body: &[Stmt]) -> Vec<(LocalId, BinaryOp)> {
    fn walk(body: &[Stmt], declared: &mut Vec<LocalId>, found: &mut Vec<(LocalId, BinaryOp)>) {
        for s in body {
            match s {
                Stmt::Let { local, .. } => declared.push(*local),
                Stmt::Reduce { local, op, .. }
                    if !declared.contains(local) && !found.iter().any(|(l, _)| l == local) =>
                {
                    found.push((*local, *op));
                }
                Stmt::For { body, .. } => walk(body, declared, found),
                Stmt::If { then, otherwise, .. } => {
                    walk(then, declared, found);
                    walk(otherwise, declared, found);
                }
                _ => {}
            }
        }
    }
    let (mut declared, mut found) = (Vec::new(), Vec::new());
    walk(body, &mut declared, &mut found);
    found
}

/// Has reductions of `from` go to `to`. A vector loop does nothing else with such a variable.
fn rename(stmt: &mut Stmt, from: LocalId, to: LocalId) {
    match stmt {
        Stmt::Reduce { local, .. } if *local == from => *local = to,
        Stmt::For { body, .. } => body.iter_mut().for_each(|s| rename(s, from, to)),
        Stmt::If { then, otherwise, .. } => {
            then.iter_mut().chain(otherwise).for_each(|s| rename(s, from, to));
        }
        _ => {}
    }
}

/// What changes nothing in a reduction.
fn neutral(op: BinaryOp, dtype: DType) -> Scalar {
    let extreme = |float: f64| match dtype {
        DType::Bool => Scalar::bool(float > 0.0),
        d if d.is_float() => Scalar::from_f64(d, float),
        d => Scalar::from_f64(d, if float > 0.0 { 1e30 } else { -1e30 }),
    };
    match op {
        BinaryOp::Mul | BinaryOp::And => Scalar::from_i64(dtype, 1),
        BinaryOp::Max => extreme(f64::NEG_INFINITY),
        BinaryOp::Min => extreme(f64::INFINITY),
        _ => Scalar::from_i64(dtype, 0),
    }
}

/// `base + by`.
fn moved(base: &Place, by: Dim) -> Place {
    Place { buffer: base.buffer, at: base.at.clone() + by }
}

/// `a < b` of indices.
fn less(a: Dim, b: Dim) -> Expr {
    Expr::Index(a).binary(BinaryOp::Lt, Expr::Index(b))
}
