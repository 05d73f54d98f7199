//! Functions of one value.

use super::emit::{Emit, Mode, Result};
use super::math;
use super::ops::{Mask, Ops};
use super::typing;
use super::value::Val;
use cascata_ir::op::UnaryOp;
use cascata_math::FloatOps;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value};

impl Emit<'_, '_> {
    /// `op(x)` in the current mode.
    pub(super) fn unary(&mut self, op: UnaryOp, x: Val) -> Result<Val> {
        let dtype = x.dtype;
        if !typing::unary_is_defined(op, dtype) {
            return Err(self.undefined(op.name(), dtype));
        }
        let v = match op {
            UnaryOp::Not => match self.mode {
                Mode::Scalar => self.here().ins().bxor_imm_u(x.v, 1),
                Mode::Simd(_) => self.here().ins().bnot(x.v),
            },
            _ if dtype.is_float() => {
                let ty = self.repr(dtype)?;
                let mut ops = self.ops(ty);
                let v = ops.unary(op, x.v);
                if op.result(dtype) == dtype { ops.round_to(v, dtype) } else { v }
            }
            _ => self.unary_int(op, x),
        };
        Ok(Val { v, dtype: op.result(dtype) })
    }

    fn unary_int(&mut self, op: UnaryOp, x: Val) -> Value {
        let unsigned = x.dtype.is_unsigned_int();
        let ty = self.fb.func.dfg.value_type(x.v);
        let simd = ty.is_vector();
        let v = match op {
            UnaryOp::Abs | UnaryOp::Relu if unsigned => return x.v,
            UnaryOp::Neg => self.here().ins().ineg(x.v),
            UnaryOp::Abs => self.here().ins().iabs(x.v),
            UnaryOp::BitNot => self.here().ins().bnot(x.v),
            UnaryOp::Relu => {
                let zero = self.int_like(x.v, 0);
                self.here().ins().smax(x.v, zero)
            }
            _ => self.int_sign(x.v, unsigned),
        };
        if simd { self.wrap_lanes(v, x.dtype) } else { v }
    }

    /// An integer constant of the type of `like`.
    fn int_like(&mut self, like: Value, x: i32) -> Value {
        let ty = self.fb.func.dfg.value_type(like);
        if ty.is_vector() {
            return self.int_lanes([x; 4]);
        }
        let mask = if ty.bits() == 64 { -1 } else { (1i64 << ty.bits()) - 1 };
        self.here().ins().iconst(ty, i64::from(x) & mask)
    }

    fn int_sign(&mut self, x: Value, unsigned: bool) -> Value {
        let (zero, one, minus_one) =
            (self.int_like(x, 0), self.int_like(x, 1), self.int_like(x, -1));
        let ty = self.fb.func.dfg.value_type(x);
        let mut ops = self.ops(ty);
        let nonzero = Mask(ops.c.ins().icmp(IntCC::NotEqual, x, zero));
        let magnitude = ops.select(nonzero, one, zero);
        if unsigned {
            return magnitude;
        }
        let negative = Mask(ops.c.ins().icmp(IntCC::SignedLessThan, x, zero));
        ops.select(negative, minus_one, magnitude)
    }
}

impl Ops<'_> {
    /// `op(x)` of f32 or f64; functions with a row primitive use its formula.
    pub fn unary(&mut self, op: UnaryOp, x: Value) -> Value {
        use UnaryOp::*;
        let double = self.is_double();
        match op {
            Neg => self.neg(x),
            Abs => self.abs(x),
            Sign => self.sign(x),
            Floor => self.floor(x),
            Ceil => self.ceil(x),
            Round => self.round(x),
            Trunc => self.trunc(x),
            Sqrt => self.sqrt(x),
            Rsqrt => {
                let root = self.sqrt(x);
                self.recip(root)
            }
            Recip => self.recip(x),
            Relu => {
                let kept = self.at_least(x, 0.0);
                // −0 becomes +0.
                self.add_c(kept, 0.0)
            }
            HardSwish => self.hard_swish(x),
            IsNan => self.is_nan(x).0,
            IsInf => {
                let magnitude = self.abs(x);
                let infinity = self.float(f64::INFINITY);
                self.cmp(FloatCC::Equal, magnitude, infinity).0
            }
            Exp | Log | Erf | Tanh | Sigmoid | Silu | GeluErf | GeluTanh | Softplus | Mish
                if !double =>
            {
                math::single(self, op, x)
            }
            _ => math::in_f64(self, [x], |ops, [x]| math::double(ops, op, x)),
        }
    }

    fn recip(&mut self, x: Value) -> Value {
        let one = self.float(1.0);
        self.div(one, x)
    }

    fn sign(&mut self, x: Value) -> Value {
        let one = self.float(1.0);
        let signed = self.with_sign(one, x);
        let zero = self.float(0.0);
        // Zeros give +0, a NaN stays.
        let rest = self.add(x, zero);
        let (is_zero, is_nan) = (self.cmp(FloatCC::Equal, x, zero), self.is_nan(x));
        let kept = self.or(is_zero, is_nan);
        self.select(kept, rest, signed)
    }

    fn hard_swish(&mut self, x: Value) -> Value {
        let scaled = self.mul_c(x, 1.0 / 6.0);
        let gate = self.add_c(scaled, 0.5);
        let gate = self.at_least(gate, 0.0);
        let gate = self.at_most(gate, 1.0);
        self.mul(x, gate)
    }
}
