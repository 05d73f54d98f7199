//! Row primitives, by all threads of a block.

use super::{Mapper, moved, neutral};
use cascata_ir::kernel::{Expr, LocalId, Place, RowReduce, Stmt};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_types::{DType, Dim, SymbolId};

impl Mapper {
    /// `dst[i] = f(src[i])`.
    pub(super) fn map_row(&mut self, op: UnaryOp, dst: &Place, src: &Place, n: &Dim) -> Vec<Stmt> {
        let i = self.row_index(n);
        let at = Dim::sym(i);
        let value = Expr::Load(moved(src, at.clone())).unary(op);
        self.deal(i, n, vec![store(dst, at, value)])
    }

    /// `local = reduce(src)`.
    pub(super) fn reduce_row(
        &mut self,
        local: LocalId,
        op: RowReduce,
        src: &Place,
        n: &Dim,
    ) -> Vec<Stmt> {
        let i = self.row_index(n);
        let x = Expr::Load(moved(src, Dim::sym(i)));
        let (join, value) = match op {
            RowReduce::Sum => (BinaryOp::Add, x),
            RowReduce::SumSq => (BinaryOp::Add, x.clone().binary(BinaryOp::Mul, x)),
            RowReduce::Max => (BinaryOp::Max, x),
        };
        let start = Expr::Const(neutral(join, DType::F32));
        let mut out = vec![Stmt::declare(local, start)];
        out.extend(self.deal(i, n, vec![Stmt::reduce(local, join, value)]));
        out
    }

    /// `dst[i] = exp(src[i] − bias)`, `local = Σ dst[i]`.
    pub(super) fn exp_sum(
        &mut self,
        local: LocalId,
        dst: &Place,
        src: &Place,
        n: &Dim,
        bias: &Expr,
    ) -> Vec<Stmt> {
        let i = self.row_index(n);
        let at = Dim::sym(i);
        let e = self.local("e", DType::F32);
        let shifted = Expr::Load(moved(src, at.clone())).binary(BinaryOp::Sub, bias.clone());
        let body = vec![
            Stmt::declare(e, shifted.unary(UnaryOp::Exp)),
            store(dst, at, Expr::Local(e)),
            Stmt::reduce(local, BinaryOp::Add, Expr::Local(e)),
        ];
        let mut out = vec![Stmt::declare(local, Expr::f32(0.0))];
        out.extend(self.deal(i, n, body));
        out
    }

    fn row_index(&mut self, n: &Dim) -> SymbolId {
        let last = n.bounds(&self.symbols).1.saturating_sub(1).max(0);
        self.symbols.fresh("i", 0, last)
    }
}

fn store(to: &Place, at: Dim, value: Expr) -> Stmt {
    let place = moved(to, at);
    Stmt::store(place.buffer, place.at, value)
}
