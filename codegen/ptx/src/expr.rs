//! Expressions.

use crate::emit::Emit;
use crate::scalar::{self, Val};
use crate::text::{Ty, V};
use cascata_ir::kernel::{Expr, LocalId};
use cascata_ir::op::BinaryOp;
use cascata_types::{DType, Scalar};

impl<'k> Emit<'k> {
    /// The value of an expression; none after a problem.
    pub fn expr(&mut self, e: &'k Expr) -> Option<Val> {
        match e {
            Expr::Const(x) => Some(self.constant(*x)),
            Expr::Index(dim) => Some(Val { v: self.dim(dim), dtype: DType::I64 }),
            Expr::Local(local) => self.local(*local),
            Expr::Load(place) => self.read(place.buffer, &place.at),
            Expr::Unary(op, x) => {
                let x = self.expr(x)?;
                let y = scalar::unary(&mut self.text, *op, x);
                self.defined(y, op.name(), x.dtype)
            }
            Expr::Binary(op, a, b) => self.two(*op, a, b),
            Expr::Select(c, a, b) => {
                let (c, a, b) = (self.expr(c)?, self.expr(a)?, self.expr(b)?);
                Some(Val { v: self.text.select(c.v, a.v, b.v), dtype: a.dtype })
            }
            Expr::Cast(to, x) => {
                let x = self.expr(x)?;
                let v = scalar::cast(&mut self.text, x, *to).map(|v| Val { v, dtype: *to });
                self.defined(v, "cast", x.dtype)
            }
            Expr::Bits(to, x) => {
                let x = self.expr(x)?;
                let v = scalar::bits(&mut self.text, x, *to).map(|v| Val { v, dtype: *to });
                self.defined(v, "bits", x.dtype)
            }
        }
    }

    /// `local op value`.
    pub fn reduced(&mut self, local: LocalId, op: BinaryOp, value: &'k Expr) -> Option<Val> {
        if op == BinaryOp::Add
            && matches!(self.kernel.locals[local].dtype, DType::F32 | DType::F64)
            && let Expr::Binary(BinaryOp::Mul, a, b) = value
        {
            let (a, b, c) = (self.expr(a)?, self.expr(b)?, self.local(local)?);
            return Some(self.fma(a.v, b.v, c.v, c.dtype));
        }
        let (before, value) = (self.local(local)?, self.expr(value)?);
        let v = scalar::binary(&mut self.text, op, before, value);
        self.defined(v, op.name(), value.dtype)
    }

    /// Sums and differences with a product in them are rounded once, as on CPUs.
    fn two(&mut self, op: BinaryOp, a: &'k Expr, b: &'k Expr) -> Option<Val> {
        let product = |e: &'k Expr| match e {
            Expr::Binary(BinaryOp::Mul, x, y) => Some((&**x, &**y)),
            _ => None,
        };
        if matches!(op, BinaryOp::Add | BinaryOp::Sub)
            && let Some((x, y, rest, first)) = match (product(a), product(b)) {
                (Some((x, y)), _) => Some((x, y, b, true)),
                (None, Some((x, y))) => Some((x, y, a, false)),
                _ => None,
            }
        {
            let (mut x, y) = (self.expr(x)?, self.expr(y)?);
            if matches!(x.dtype, DType::F32 | DType::F64) {
                let mut rest = self.expr(rest)?;
                let negated = if first { &mut rest } else { &mut x };
                if op == BinaryOp::Sub {
                    negated.v = self.text.op("arith.negf", &[negated.v]);
                }
                return Some(self.fma(x.v, y.v, rest.v, rest.dtype));
            }
            let product = scalar::binary(&mut self.text, BinaryOp::Mul, x, y);
            let product = self.defined(product, "mul", x.dtype)?;
            let rest = self.expr(rest)?;
            let (a, b) = if first { (product, rest) } else { (rest, product) };
            let v = scalar::binary(&mut self.text, op, a, b);
            return self.defined(v, op.name(), a.dtype);
        }
        if let (BinaryOp::Pow, Expr::Const(n)) = (op, b)
            && let n @ (2.0 | 3.0) = n.to_f64()
        {
            // Exporters write squares and cubes so; products are at least as exact.
            let a = self.expr(a)?;
            let square = scalar::binary(&mut self.text, BinaryOp::Mul, a, a);
            let square = self.defined(square, "mul", a.dtype)?;
            if n == 2.0 {
                return Some(square);
            }
            let cube = scalar::binary(&mut self.text, BinaryOp::Mul, square, a);
            return self.defined(cube, "mul", a.dtype);
        }
        let (a, b) = (self.expr(a)?, self.expr(b)?);
        let v = scalar::binary(&mut self.text, op, a, b);
        self.defined(v, op.name(), a.dtype)
    }

    fn fma(&mut self, a: V, b: V, c: V, dtype: DType) -> Val {
        Val { v: self.text.intrinsic("fma", &[a, b, c]), dtype }
    }

    fn defined(&mut self, v: Option<Val>, op: &str, dtype: DType) -> Option<Val> {
        if v.is_none() {
            self.problem(format!("'{op}' of {dtype}"));
        }
        v
    }

    fn constant(&mut self, x: Scalar) -> Val {
        let ty = Ty::held(x.dtype);
        let v = if ty.is_float() {
            self.text.float(ty, x.to_f64())
        } else {
            let unused = 64 - ty.bits();
            self.text.int(ty, ((x.bits << unused) as i64) >> unused)
        };
        Val { v, dtype: x.dtype }
    }
}
