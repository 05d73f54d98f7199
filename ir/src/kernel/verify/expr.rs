//! Dtypes of expressions.

use super::{Problem, Verifier};
use crate::kernel::{Expr, LocalId};
use crate::op::{BinaryOp, UnaryOp};
use crate::scalar::{eval_binary, eval_unary};
use cascata_types::{DType, Scalar};

impl Verifier<'_> {
    /// Checks an expression; returns its dtype (`None` after an error) and the loops that
    /// its value depends on.
    pub(super) fn expr(&mut self, expr: &Expr) -> (Option<DType>, u64) {
        match expr {
            Expr::Const(x) => (self.constant(*x), 0),
            Expr::Index(dim) => (Some(DType::I64), self.dim(dim)),
            Expr::Local(id) => self.local_value(*id),
            Expr::Load(place) => self.read(place),
            Expr::Unary(op, a) => {
                let (dtype, loops) = self.expr(a);
                (dtype.and_then(|d| self.unary(*op, d)), loops)
            }
            Expr::Binary(op, a, b) => {
                let ((a, in_a), (b, in_b)) = (self.expr(a), self.expr(b));
                let what = || format!("the second operand of '{op}'");
                (
                    a.and_then(|a| self.same(what, a, b)).and_then(|d| self.binary(*op, d)),
                    in_a | in_b,
                )
            }
            Expr::Select(c, a, b) => {
                let in_c = self.expect_expr("the condition", DType::Bool, c);
                let ((a, in_a), (b, in_b)) = (self.expr(a), self.expr(b));
                let what = || "the second choice".to_string();
                (a.and_then(|a| self.same(what, a, b)), in_c | in_a | in_b)
            }
            Expr::Cast(to, a) => {
                let (_, loops) = self.expr(a);
                if *to == DType::Str {
                    self.report(Problem::StringDtype);
                    return (None, loops);
                }
                (Some(*to), loops)
            }
            Expr::Bits(to, a) => {
                let (from, loops) = self.expr(a);
                (self.bits(from, *to), loops)
            }
        }
    }

    /// As many bits, none of them of a half float, whose arithmetic is another dtype's.
    fn bits(&mut self, from: Option<DType>, to: DType) -> Option<DType> {
        let from = from?;
        let whole = |d: DType| d.is_int() || matches!(d, DType::F32 | DType::F64);
        if !whole(from) || !whole(to) || from.size_bytes() != to.size_bytes() {
            self.report(Problem::Bits { from, to });
            return None;
        }
        Some(to)
    }

    fn constant(&mut self, x: Scalar) -> Option<DType> {
        let (dtype, bits) = (x.dtype, x.bits);
        let Some(bytes) = dtype.size_bytes() else {
            self.report(Problem::StringDtype);
            return None;
        };
        let width = if dtype == DType::Bool { 1 } else { bytes * 8 };
        if width < 64 && bits >> width != 0 {
            self.report(Problem::ConstBits { dtype, bits });
        }
        Some(dtype)
    }

    fn local_value(&mut self, id: LocalId) -> (Option<DType>, u64) {
        let Some(dtype) = self.local_in_scope(id) else { return (None, 0) };
        (Some(dtype), self.scope.read(id))
    }

    /// The dtype of a local that must be in scope.
    pub(super) fn local_in_scope(&mut self, id: LocalId) -> Option<DType> {
        let Some(local) = self.kernel.locals.get(id) else {
            self.report(Problem::UndefinedLocal(id.to_string()));
            return None;
        };
        if !self.scope.is_declared(id) {
            self.report(Problem::LocalOutOfScope(local.name.clone()));
        }
        Some(local.dtype)
    }

    fn same(&mut self, what: impl Fn() -> String, a: DType, b: Option<DType>) -> Option<DType> {
        self.expect_dtype(&what(), a, b);
        (b == Some(a)).then_some(a)
    }

    fn unary(&mut self, op: UnaryOp, dtype: DType) -> Option<DType> {
        if eval_unary(op, Scalar { dtype, bits: 0 }).is_err() {
            self.report(Problem::UndefinedOp { op: op.name(), dtype });
            return None;
        }
        Some(op.result(dtype))
    }

    pub(super) fn binary(&mut self, op: BinaryOp, dtype: DType) -> Option<DType> {
        let zero = Scalar { dtype, bits: 0 };
        if eval_binary(op, zero, zero).is_err() {
            self.report(Problem::UndefinedOp { op: op.name(), dtype });
            return None;
        }
        Some(op.result(dtype))
    }
}
