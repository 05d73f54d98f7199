//! Numbers rounded to 8 or 16 bits, and back: what quantised models do between any two ops.
//!
//! Where a float is less than 2²² in magnitude, adding 1.5·2²³ leaves no bits for a fraction: it
//! rounds to the nearest integer, ties to even, which is then in the low bits of the sum. The
//! bounds of a narrow integer are whole, so that clamping first gives the same integers.

use super::emit::{Emit, Result};
use super::ops::Ops;
use super::typing;
use super::value::Val;
use cascata_ir::kernel::{Expr, Kernel};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_math::FloatOps;
use cascata_types::{DType, Scalar};
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{InstBuilder, Value};

/// 1.5·2²³, whose neighbours are 1 away.
const SHIFT: f32 = 12_582_912.0;
/// The largest zero point that keeps numbers below 2²².
const LARGEST_ZERO: f64 = 65536.0;

/// `to(round(x) + zero)`, or that as f32 less the zero point.
pub(super) struct Quantised<'e> {
    /// Of f32.
    pub x: &'e Expr,
    to: DType,
    zero: f64,
    /// Whether it is an f32 again.
    back: bool,
}

/// How `e` quantises, if it does.
pub(super) fn quantised<'e>(kernel: &Kernel, e: &'e Expr) -> Option<Quantised<'e>> {
    match e {
        Expr::Cast(DType::F32, x) => {
            // In fewer than 32 bits the difference would wrap.
            let (bytes, subtracted) = match &**x {
                Expr::Binary(BinaryOp::Sub, wide, zero) => match &**wide {
                    Expr::Cast(DType::I32, x) => (&**x, number(zero)?),
                    _ => return None,
                },
                Expr::Cast(DType::I32, x) => (&**x, 0.0),
                x => (x, 0.0),
            };
            let found = narrowed(kernel, bytes)?;
            (found.zero == subtracted).then_some(Quantised { back: true, ..found })
        }
        e => narrowed(kernel, e),
    }
}

/// `to(round(x) + zero)` of a narrow dtype.
fn narrowed<'e>(kernel: &Kernel, e: &'e Expr) -> Option<Quantised<'e>> {
    let Expr::Cast(to, sum) = e else { return None };
    let (rounded, zero) = match &**sum {
        Expr::Binary(BinaryOp::Add, x, zero) => (&**x, number(zero)?),
        x => (x, 0.0),
    };
    let Expr::Unary(UnaryOp::Round, x) = rounded else { return None };
    let narrow = matches!(to, DType::I8 | DType::U8 | DType::I16 | DType::U16);
    let whole = zero.fract() == 0.0 && zero.abs() <= LARGEST_ZERO;
    let single = typing::dtype(kernel, x) == Some(DType::F32);
    (narrow && whole && single).then_some(Quantised { x, to: *to, zero, back: false })
}

fn number(e: &Expr) -> Option<f64> {
    match e {
        Expr::Const(x) => Some(x.to_f64()),
        _ => None,
    }
}

impl<'k> Emit<'k, '_> {
    /// Four quantised numbers; NaN gives 0, of unsigned dtypes the least.
    // PERF: four instructions, which saturate and keep off NaN, where rounding, adding and
    // casting there and back are ten: ocr_cls_qdq in 1.1 ms, with the rules that drop clamps
    // before casts, instead of 2.7 (`cascata bench ocr_cls_qdq.casc --threads 1 --launches`).
    pub(super) fn quantise(&mut self, q: &Quantised<'k>) -> Result<Val> {
        let x = self.expr(q.x)?;
        let [low, high] = [f64::NEG_INFINITY, f64::INFINITY].map(|x| Scalar::from_f64(q.to, x));
        let mut ops = self.ops(F32X4);
        let low = low.to_f64() - q.zero;
        let x = if q.to.is_unsigned_int() {
            ops.at_least_or_nan(x.v, low)
        } else {
            let (nan, nothing) = (ops.is_nan(x.v), ops.float(-q.zero));
            let x = ops.select(nan, nothing, x.v);
            ops.at_least(x, low)
        };
        let x = ops.at_most(x, high.to_f64() - q.zero);
        let shifted = ops.add_c(x, SHIFT.into());
        if q.back {
            return Ok(Val { v: ops.add_c(shifted, -f64::from(SHIFT)), dtype: DType::F32 });
        }
        let bits = ops.bits(shifted);
        let offset = ops.int(q.zero as i64 - i64::from(SHIFT.to_bits()));
        Ok(Val { v: ops.c.ins().iadd(bits, offset), dtype: q.to })
    }
}

impl Ops<'_> {
    /// The larger of `x` and a number, one instruction; the number for a NaN `x`.
    pub(super) fn at_least_or_nan(&mut self, x: Value, lowest: f64) -> Value {
        let lowest = self.float(lowest);
        let above = self.cmp(FloatCC::LessThan, lowest, x);
        self.select(above, x, lowest)
    }
}
