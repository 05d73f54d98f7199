//! Expressions in the current mode.

use super::contract::{Contraction, Form, contraction};
use super::emit::{Emit, Mode, Result, SimdLoop};
use super::memory::lane_index;
use super::plan::{mentions, stride};
use super::quantise::quantised;
use super::value::{Val, repr};
use cascata_ir::kernel::Expr;
use cascata_ir::op::BinaryOp;
use cascata_math::FloatOps;
use cascata_types::{DType, Dim, Scalar};
use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::{I32, I32X4};

impl<'k> Emit<'k, '_> {
    /// The value of an expression.
    pub(super) fn expr(&mut self, e: &'k Expr) -> Result<Val> {
        if let Some(known) = self.hoisted.get(&(std::ptr::from_ref(e), self.mode)) {
            return Ok(*known);
        }
        if let (Mode::Simd(part), Some(around)) = (self.mode, self.simd) {
            return self.lanes(e, part, around);
        }
        match e {
            Expr::Index(d) => Ok(Val { v: self.dim(d)?, dtype: DType::I64 }),
            _ => self.compound(e),
        }
    }

    /// An expression in SIMD mode.
    fn lanes(&mut self, e: &'k Expr, part: usize, around: SimdLoop) -> Result<Val> {
        match e {
            Expr::Const(x) => self.constant(*x),
            _ if self.is_shared(e, around) => {
                let scalar = self.uniform(e)?;
                self.splat(scalar)
            }
            Expr::Index(d) => self.index_lanes(d, part, around),
            _ => self.compound(e),
        }
    }

    /// Whether all lanes have one value.
    fn is_shared(&self, e: &Expr, around: SimdLoop) -> bool {
        match e {
            Expr::Const(_) => true,
            Expr::Index(d) => !mentions(d, around.var),
            Expr::Local(l) => self.slots.get(l).is_some_and(|slot| !slot.simd),
            Expr::Load(p) => !mentions(&p.at, around.var),
            Expr::Unary(_, x) | Expr::Cast(_, x) | Expr::Bits(_, x) => self.is_shared(x, around),
            Expr::Binary(_, a, b) => self.is_shared(a, around) && self.is_shared(b, around),
            Expr::Select(c, a, b) => [c, a, b].iter().all(|x| self.is_shared(x, around)),
        }
    }

    /// An index expression that fits `i32`, per lane.
    fn index_lanes(&mut self, d: &Dim, part: usize, around: SimdLoop) -> Result<Val> {
        let first = 4 * part as i64;
        let step = stride(d, around.var).and_then(|s| i32::try_from(s).ok());
        let steps = step.and_then(|s| Some([0, s, s.checked_mul(2)?, s.checked_mul(3)?]));
        let dtype = DType::I64;
        if let Some(steps) = steps {
            let base = self.dim(&lane_index(d, around.var, first))?;
            let steps = self.int_lanes(steps);
            let mut c = self.here();
            let base = c.ins().ireduce(I32, base);
            let base = c.ins().splat(I32X4, base);
            return Ok(Val { v: c.ins().iadd(base, steps), dtype });
        }
        let mut lanes = Vec::with_capacity(4);
        for lane in 0..4 {
            lanes.push(self.dim(&lane_index(d, around.var, first + lane))?);
        }
        Ok(Val { v: self.join_lanes(&lanes, dtype)?, dtype })
    }

    /// An expression from the values of its parts.
    fn compound(&mut self, e: &'k Expr) -> Result<Val> {
        if let Some(fused) = contraction(self.kernel, e) {
            return self.contracted(&fused);
        }
        if let (Mode::Simd(_), Some(quantised)) = (self.mode, quantised(self.kernel, e)) {
            return self.quantise(&quantised);
        }
        match e {
            Expr::Const(x) => self.constant(*x),
            Expr::Index(d) => Ok(Val { v: self.dim(d)?, dtype: DType::I64 }),
            Expr::Local(l) => self.read(*l),
            Expr::Load(place) => self.load(place),
            Expr::Unary(op, x) => {
                let x = self.expr(x)?;
                self.unary(*op, x)
            }
            Expr::Binary(op, a, b) => {
                if let Some(n) = whole_power(*op, b) {
                    return self.power(a, n);
                }
                if let Some((x, limit)) = limit(*op, a, b) {
                    let x = self.expr(x)?;
                    return self.limited(*op, x, limit);
                }
                let (a, b) = (self.expr(a)?, self.expr(b)?);
                self.binary(*op, a, b)
            }
            Expr::Select(cond, a, b) => {
                let (cond, a, b) = (self.expr(cond)?, self.expr(a)?, self.expr(b)?);
                self.choose(cond, a, b)
            }
            Expr::Cast(to, x) => {
                let x = self.expr(x)?;
                self.cast(x, *to)
            }
            Expr::Bits(to, x) => {
                let x = self.expr(x)?;
                self.bits(x, *to)
            }
        }
    }

    /// `a^n` by multiplication.
    fn power(&mut self, a: &'k Expr, n: u32) -> Result<Val> {
        let a = self.expr(a)?;
        let mut product = a;
        for _ in 1..n {
            product = self.binary(BinaryOp::Mul, product, a)?;
        }
        Ok(product)
    }

    /// The larger or smaller of a float and a number that [`limit`] found.
    fn limited(&mut self, op: BinaryOp, x: Val, limit: Scalar) -> Result<Val> {
        if x.dtype != limit.dtype {
            return Err(self.invalid(format!("{op} of {} and {}", x.dtype, limit.dtype)));
        }
        let (ty, limit) = (self.repr(x.dtype)?, limit.to_f64());
        let mut ops = self.ops(ty);
        let v = match op {
            BinaryOp::Max => ops.at_least(x.v, limit),
            _ => ops.at_most(x.v, limit),
        };
        Ok(Val { v, dtype: x.dtype })
    }

    fn contracted(&mut self, fused: &Contraction<'k>) -> Result<Val> {
        let (mut a, b, mut c) = (self.expr(fused.a)?, self.expr(fused.b)?, self.expr(fused.c)?);
        match fused.form {
            Form::Add => {}
            Form::SubtractValue => c.v = self.here().ins().fneg(c.v),
            Form::SubtractProduct => a.v = self.here().ins().fneg(a.v),
        }
        self.multiply_add(a, b, c)
    }

    /// `a·b + c` of f32 or f64, rounded once where the level has FMA.
    pub(super) fn multiply_add(&mut self, a: Val, b: Val, c: Val) -> Result<Val> {
        let dtype = a.dtype;
        if dtype != b.dtype || dtype != c.dtype {
            return Err(self.invalid("operands of different dtypes".into()));
        }
        let ty = repr(dtype, self.mode).ok_or_else(|| self.unsupported(format!("{dtype}")))?;
        Ok(Val { v: self.ops(ty).fma(a.v, b.v, c.v), dtype })
    }
}

/// The exponent of a square or a cube. Exporters write them as `pow`; one or two
/// multiplications are at least as exact (1 ulp) and a hundredth of the work.
pub(super) fn whole_power(op: BinaryOp, exponent: &Expr) -> Option<u32> {
    let Expr::Const(x) = exponent else { return None };
    match (op, x.to_f64()) {
        (BinaryOp::Pow, 2.0) => Some(2),
        (BinaryOp::Pow, 3.0) => Some(3),
        _ => None,
    }
}

/// The value and the number that a float is compared with, where one instruction gives the
/// larger or smaller of them. It gives the value if they are equal: zeros of either sign are left
/// to what knows that −0 lies below +0.
pub(super) fn limit<'e>(op: BinaryOp, a: &'e Expr, b: &'e Expr) -> Option<(&'e Expr, Scalar)> {
    let (x, limit) = match (a, b) {
        (x, Expr::Const(limit)) | (Expr::Const(limit), x) => (x, *limit),
        _ => return None,
    };
    let number = limit.to_f64();
    let one = matches!(op, BinaryOp::Max | BinaryOp::Min) && limit.dtype.is_float();
    (one && number != 0.0 && !number.is_nan()).then_some((x, limit))
}
