//! Statements.

use super::scope::Loop;
use super::{At, LoopKind, Problem, Stmt, Verifier};
use crate::kernel::{Expr, LocalId};
use crate::op::BinaryOp;
use cascata_types::{DType, Dim, SymbolId};

impl<'k> Verifier<'k> {
    pub(super) fn body(&mut self, body: &'k [Stmt]) {
        let mark = self.scope.enter();
        for stmt in body {
            self.place = At::Stmt(stmt);
            self.stmt(stmt);
        }
        self.scope.leave(mark);
    }

    /// Long because exhaustive.
    fn stmt(&mut self, stmt: &'k Stmt) {
        match stmt {
            Stmt::For { var, extent, kind, body } => self.for_loop(*var, extent, *kind, body),
            Stmt::Bind { symbol, value } => {
                let loops = self.expect_expr("the index", DType::I64, value);
                if self.free_symbol(*symbol) {
                    self.scope.bind(*symbol, loops);
                }
            }
            Stmt::Let { local, value } => {
                let (found, loops) = self.expr(value);
                self.declare(*local, found, loops);
            }
            Stmt::Assign { local, value } => self.assign(*local, value),
            Stmt::Reduce { local, op, value } => self.reduce(*local, *op, value),
            Stmt::Store { buffer, at, value } => {
                let (found, _) = self.expr(value);
                if let Some(dtype) = self.write(*buffer, at) {
                    self.expect_dtype("the stored value", dtype, found);
                }
            }
            Stmt::If { cond, then, otherwise } => {
                let loops = self.expect_expr("the condition", DType::Bool, cond);
                self.scope.push_branch(loops);
                self.body(then);
                self.body(otherwise);
                self.scope.pop_branch();
            }
            Stmt::Check { cond, message } => {
                self.expect_expr("the condition", DType::Bool, cond);
                if *message >= self.kernel.messages.len() {
                    self.report(Problem::UndefinedMessage(*message));
                }
            }
            Stmt::Gemm(gemm) => self.gemm(gemm),
            Stmt::DwConv(conv) => self.dw_conv(conv),
            Stmt::PackB(pack) => self.pack_b(pack),
            Stmt::MapRow { op, dst, src, n } => self.map_row(*op, dst, src, n),
            Stmt::ReduceRow { local, src, n, .. } => {
                let loops = self.operand("the row", src, DType::F32) | self.dim(n);
                self.declare(*local, Some(DType::F32), loops);
            }
            Stmt::ExpSum { local, dst, src, n, bias } => {
                let loops = self.operand("the row", src, DType::F32) | self.dim(n);
                let in_bias = self.expect_expr("the bias", DType::F32, bias);
                self.result(dst, DType::F32);
                self.declare(*local, Some(DType::F32), loops | in_bias);
            }
            Stmt::TileAttention(attention) => self.tile_attention(attention),
            Stmt::TileGemm(gemm) => self.tile_gemm(gemm),
            Stmt::Barrier => self.barrier(),
            Stmt::GroupReduce { local, op, value, width } => {
                self.group_reduce(*local, *op, value, *width);
            }
        }
    }

    fn group_reduce(&mut self, local: LocalId, op: BinaryOp, value: &'k Expr, width: u32) {
        let (found, _) = self.expr(value);
        self.barrier();
        self.reduction(op, found);
        self.group(width);
        // What a group has in common still differs from group to group.
        self.declare(local, found, self.scope.thread_loops());
    }

    /// Whether a symbol may get a value here.
    fn free_symbol(&mut self, id: SymbolId) -> bool {
        if self.kernel.symbols.get(id).is_none() {
            self.report(Problem::UndefinedSymbol(id.to_string()));
            return false;
        }
        let free = self.scope.symbol(id).is_none();
        if !free {
            self.report(Problem::SymbolRebound(self.symbol_name(id)));
        }
        free
    }

    fn for_loop(&mut self, var: SymbolId, extent: &Dim, kind: LoopKind, body: &'k [Stmt]) {
        let loops = self.dim(extent);
        if !self.free_symbol(var) {
            // The body cannot be judged with a wrong meaning of the variable.
            return;
        }
        self.loop_range(var, extent);
        let inside_parallel = self.scope.loops.iter().any(|l| l.kind != LoopKind::Serial);
        if kind == LoopKind::Threads && inside_parallel {
            self.report(Problem::NestedThreads);
        }
        let mark = self.scope.enter();
        let repeats = extent.as_const().is_none_or(|n| n > 1);
        let entered = Loop {
            var,
            kind,
            repeats,
            extent: extent.as_const(),
            reduced: Vec::new(),
            read: Vec::new(),
        };
        self.scope.push_loop(entered, loops);
        let place = self.place.clone();
        self.body(body);
        self.place = place;
        if let Some(ended) = self.scope.pop_loop() {
            self.reduced_values(&ended);
        }
        self.scope.leave(mark);
    }

    /// What a vector loop reduces is not read in it and reduced in one way.
    fn reduced_values(&mut self, ended: &Loop) {
        if ended.kind != LoopKind::Vector {
            return;
        }
        let mut seen: Vec<LocalId> = Vec::new();
        for (local, op) in &ended.reduced {
            if seen.contains(local) {
                continue;
            }
            seen.push(*local);
            let (name, symbol) = (self.local_name(*local), self.symbol_name(ended.var));
            if ended.read.contains(local) {
                let (local, symbol) = (name.clone(), symbol.clone());
                self.report(Problem::ReadsReduced { local, symbol });
            }
            if ended.reduced.iter().any(|(l, o)| l == local && o != op) {
                self.report(Problem::MixedReduce { local: name, symbol });
            }
        }
    }

    /// Declares a local with a value of dtype `found`.
    fn declare(&mut self, id: LocalId, found: Option<DType>, loops: u64) {
        let Some(local) = self.kernel.locals.get(id) else {
            self.report(Problem::UndefinedLocal(id.to_string()));
            return;
        };
        if self.scope.is_declared(id) {
            self.report(Problem::LocalRedeclared(local.name.clone()));
            return;
        }
        self.expect_dtype("the value", local.dtype, found);
        self.scope.declare(id, loops);
    }

    fn assign(&mut self, id: LocalId, value: &Expr) {
        let (found, loops) = self.expr(value);
        let Some(dtype) = self.local_in_scope(id) else { return };
        self.expect_dtype("the value", dtype, found);
        let local = self.local_name(id);
        let inner = self.scope.change(id, loops).iter();
        let parallel: Vec<_> = inner.map(|l| (l.kind, l.var)).collect();
        for (kind, var) in parallel {
            let (local, symbol) = (local.clone(), self.symbol_name(var));
            match kind {
                LoopKind::Serial => {}
                LoopKind::Vector => self.report(Problem::AssignInVector { local, symbol }),
                LoopKind::Threads => self.report(Problem::ChangedByThread { local, symbol }),
            }
        }
    }

    fn reduce(&mut self, id: LocalId, op: BinaryOp, value: &Expr) {
        let (found, loops) = self.expr(value);
        self.reduction(op, found);
        let Some(dtype) = self.local_in_scope(id) else { return };
        self.expect_dtype("the value", dtype, found);
        let mut thread_loops = Vec::new();
        for inner in self.scope.change(id, loops) {
            match inner.kind {
                LoopKind::Threads => thread_loops.push(inner.var),
                _ => inner.reduced.push((id, op)),
            }
        }
        for var in thread_loops {
            let (local, symbol) = (self.local_name(id), self.symbol_name(var));
            self.report(Problem::ChangedByThread { local, symbol });
        }
    }

    fn reduction(&mut self, op: BinaryOp, dtype: Option<DType>) {
        use BinaryOp::*;
        if !matches!(op, Add | Mul | Max | Min | And | Or) {
            self.report(Problem::NotAReduction(op.name()));
        }
        if let Some(dtype) = dtype {
            self.binary(op, dtype);
        }
    }

    /// A group divides the threads of its loop.
    fn group(&mut self, width: u32) {
        let threads = self.scope.loops.iter().find(|l| l.kind == LoopKind::Threads);
        let Some(threads) = threads.map(|l| l.extent) else { return };
        let divides = threads.is_some_and(|t| t % i64::from(width.max(1)) == 0);
        if !width.is_power_of_two() || !divides {
            self.report(Problem::GroupWidth { width, threads });
        }
    }

    fn barrier(&mut self) {
        let loops = &self.scope.loops;
        let (in_threads, in_vector) = (
            loops.iter().any(|l| l.kind == LoopKind::Threads),
            loops.iter().any(|l| l.kind == LoopKind::Vector),
        );
        if !in_threads {
            self.report(Problem::BarrierOutsideThreads);
        }
        if in_vector {
            self.report(Problem::BarrierInVector);
        }
        if let Some(var) = self.scope.divergent_threads() {
            self.report(Problem::DivergentBarrier(self.symbol_name(var)));
        }
    }
}
