//! What a loop does not change, so that it can be computed ahead of it.
//!
//! Only statements that every iteration runs are searched, up to the first check: a load
//! under a condition may be out of bounds where the condition does not hold. The caller
//! computes the expressions only where the loop has an iteration.

use super::contract::{contraction, product};
use super::plan::mentions;
use super::typing;
use cascata_ir::kernel::{BufferId, Expr, Kernel, LocalId, Stmt};
use cascata_ir::op::BinaryOp;
use cascata_types::{DType, SymbolId};
use std::collections::HashSet;

/// What the iterations of a loop change.
#[derive(Default)]
pub(super) struct Changes {
    symbols: HashSet<SymbolId>,
    locals: HashSet<LocalId>,
    buffers: HashSet<BufferId>,
}

impl Changes {
    /// Everything that a loop binds, assigns and writes.
    pub fn of_loop(var: SymbolId, body: &[Stmt]) -> Self {
        let mut changes = Changes::default();
        changes.symbols.insert(var);
        changes.body(body);
        changes
    }

    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::For { var, body, .. } => {
                self.symbols.insert(*var);
                self.body(body);
            }
            Stmt::Bind { symbol, .. } => {
                self.symbols.insert(*symbol);
            }
            Stmt::Let { local, .. } | Stmt::Assign { local, .. } | Stmt::Reduce { local, .. } => {
                self.locals.insert(*local);
            }
            Stmt::Store { buffer, .. } => {
                self.buffers.insert(*buffer);
            }
            Stmt::If { then, otherwise, .. } => {
                self.body(then);
                self.body(otherwise);
            }
            Stmt::Gemm(g) => {
                self.buffers.insert(g.c.buffer);
            }
            Stmt::DwConv(d) => {
                self.buffers.insert(d.c.buffer);
            }
            Stmt::PackB(p) => {
                self.buffers.insert(p.dst.buffer);
            }
            Stmt::MapRow { dst, .. } => {
                self.buffers.insert(dst.buffer);
            }
            Stmt::ReduceRow { local, .. } => {
                self.locals.insert(*local);
            }
            Stmt::ExpSum { local, dst, .. } => {
                self.locals.insert(*local);
                self.buffers.insert(dst.buffer);
            }
            Stmt::TileGemm(g) => self.buffers.extend([g.c.buffer]),
            Stmt::TileAttention(a) => {
                self.buffers.extend(a.results().into_iter().map(|p| p.buffer));
            }
            Stmt::Check { .. } | Stmt::Barrier | Stmt::GroupReduce { .. } => {}
        }
    }

    /// Whether the value of `e` is the same in every iteration.
    fn keeps(&self, e: &Expr) -> bool {
        let fixed = |d| self.symbols.iter().all(|s| !mentions(d, *s));
        match e {
            Expr::Const(_) => true,
            Expr::Index(d) => fixed(d),
            Expr::Local(l) => !self.locals.contains(l),
            Expr::Load(p) => !self.buffers.contains(&p.buffer) && fixed(&p.at),
            Expr::Unary(_, x) | Expr::Cast(_, x) | Expr::Bits(_, x) => self.keeps(x),
            Expr::Binary(_, a, b) => self.keeps(a) && self.keeps(b),
            Expr::Select(c, a, b) => self.keeps(c) && self.keeps(a) && self.keeps(b),
        }
    }
}

/// The largest unchanged expressions that take longer to compute than to keep.
pub(super) fn worthwhile<'k>(
    body: &'k [Stmt],
    changes: &Changes,
    kernel: &Kernel,
) -> Vec<&'k Expr> {
    let mut found = Vec::new();
    for (value, _) in unconditional(body, kernel) {
        collect(value, changes, kernel, &mut found);
    }
    found.retain(|e| !matches!(e, Expr::Const(_) | Expr::Local(_) | Expr::Index(_)));
    found
}

/// The largest unchanged expressions that a vector loop uses as vectors.
pub(super) fn splats<'k>(
    body: &'k [Stmt],
    changes: &Changes,
    kernel: &Kernel,
    constants: bool,
) -> Vec<&'k Expr> {
    let mut found = Vec::new();
    for (value, lanes) in unconditional(body, kernel) {
        if lanes {
            collect(value, changes, kernel, &mut found);
        }
    }
    found.retain(|e| constants || !matches!(e, Expr::Const(_)));
    found
}

/// The expressions that every iteration computes, and whether it does so for every lane.
fn unconditional<'k>(body: &'k [Stmt], kernel: &Kernel) -> Vec<(&'k Expr, bool)> {
    let mut out = Vec::new();
    for stmt in body {
        match stmt {
            Stmt::Let { value, .. } | Stmt::Assign { value, .. } | Stmt::Store { value, .. } => {
                out.push((value, true));
            }
            Stmt::Reduce { local, op, value } => {
                let dtype = typing::dtype(kernel, &Expr::Local(*local));
                let fused = *op == BinaryOp::Add && matches!(dtype, Some(DType::F32 | DType::F64));
                match product(value) {
                    Some((a, b)) if fused => out.extend([(a, true), (b, true)]),
                    _ => out.push((value, true)),
                }
            }
            Stmt::Bind { value, .. } | Stmt::If { cond: value, .. } => out.push((value, false)),
            Stmt::Check { cond, .. } => {
                out.push((cond, false));
                break;
            }
            _ => {}
        }
        if may_fail(stmt) {
            break;
        }
    }
    out
}

fn may_fail(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Check { .. } => true,
        Stmt::For { body, .. } => body.iter().any(may_fail),
        Stmt::If { then, otherwise, .. } => then.iter().chain(otherwise).any(may_fail),
        _ => false,
    }
}

fn collect<'k>(e: &'k Expr, changes: &Changes, kernel: &Kernel, found: &mut Vec<&'k Expr>) {
    if changes.keeps(e) {
        found.push(e);
        return;
    }
    if let Some(fused) = contraction(kernel, e) {
        for x in [fused.a, fused.b, fused.c] {
            collect(x, changes, kernel, found);
        }
        return;
    }
    match e {
        Expr::Const(_) | Expr::Index(_) | Expr::Local(_) | Expr::Load(_) => {}
        Expr::Unary(_, x) | Expr::Cast(_, x) | Expr::Bits(_, x) => {
            collect(x, changes, kernel, found)
        }
        Expr::Binary(_, a, b) => {
            collect(a, changes, kernel, found);
            collect(b, changes, kernel, found);
        }
        Expr::Select(c, a, b) => {
            for x in [c, a, b] {
                collect(x, changes, kernel, found);
            }
        }
    }
}
