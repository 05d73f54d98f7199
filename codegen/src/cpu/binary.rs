//! Functions of two values.

use super::divide::{self, Operand};
use super::emit::{Emit, Mode, Result};
use super::math;
use super::ops::{Mask, Ops};
use super::typing;
use super::value::Val;
use cascata_ir::op::BinaryOp;
use cascata_math::FloatOps;
use cascata_types::DType;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value};

impl Emit<'_, '_> {
    /// `op(a, b)` in the current mode.
    pub(super) fn binary(&mut self, op: BinaryOp, a: Val, b: Val) -> Result<Val> {
        let dtype = a.dtype;
        if dtype != b.dtype {
            return Err(self.invalid(format!("{op} of {dtype} and {}", b.dtype)));
        }
        if !typing::binary_is_defined(op, dtype) {
            return Err(self.undefined(op.name(), dtype));
        }
        let v = match dtype {
            DType::Bool => self.binary_bool(op, a.v, b.v),
            d if d.is_float() => self.binary_float(op, dtype, a.v, b.v)?,
            _ => self.binary_int(op, dtype, a.v, b.v)?,
        };
        Ok(Val { v, dtype: op.result(dtype) })
    }

    /// Bools are 0 and 1 as scalars, 0 and −1 as lanes; false is below true.
    fn binary_bool(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        use BinaryOp::*;
        let simd = matches!(self.mode, Mode::Simd(_));
        let mut c = self.here();
        match op {
            And | Min => c.ins().band(a, b),
            Or | Max => c.ins().bor(a, b),
            Xor => c.ins().bxor(a, b),
            _ => {
                // As signed lanes true (−1) lies below false.
                let cc = int_condition(op, !simd);
                if simd { c.ins().icmp(cc, b, a) } else { c.ins().icmp(cc, a, b) }
            }
        }
    }

    fn binary_int(&mut self, op: BinaryOp, dtype: DType, a: Value, b: Value) -> Result<Value> {
        use BinaryOp::*;
        let unsigned = dtype.is_unsigned_int();
        let simd = matches!(self.mode, Mode::Simd(_));
        let mut c = self.here();
        let v = match op {
            Add => c.ins().iadd(a, b),
            Sub => c.ins().isub(a, b),
            Mul => c.ins().imul(a, b),
            Max if unsigned => c.ins().umax(a, b),
            Max => c.ins().smax(a, b),
            Min if unsigned => c.ins().umin(a, b),
            Min => c.ins().smin(a, b),
            BitAnd => c.ins().band(a, b),
            BitOr => c.ins().bor(a, b),
            BitXor => c.ins().bxor(a, b),
            Eq | Ne | Lt | Le | Gt | Ge => {
                // Narrow lanes are extended, so that signed order is theirs too.
                let unsigned = unsigned && (!simd || dtype == DType::U32);
                return Ok(c.ins().icmp(int_condition(op, unsigned), a, b));
            }
            _ if simd => return Err(self.unsupported(format!("{op} of {dtype} in SIMD code"))),
            Div | Mod | Rem => return Ok(self.divide(op, dtype, a, b)),
            Shl | Shr => return Ok(self.shift(op, a, b)),
            Pow => return self.int_power(dtype, a, b),
            And | Or | Xor | Atan2 => return Err(self.undefined(op.name(), dtype)),
        };
        let narrows = matches!(op, Add | Sub | Mul) && simd;
        Ok(if narrows { self.wrap_lanes(v, dtype) } else { v })
    }

    /// Quotients and rests; 0 for a zero divisor, `MIN / −1` wraps.
    fn divide(&mut self, op: BinaryOp, dtype: DType, a: Value, b: Value) -> Value {
        let (x, y) = (self.widen_int(Val { v: a, dtype }), self.widen_int(Val { v: b, dtype }));
        let ty = self.fb.func.dfg.value_type(a);
        let mut c = self.here();
        let zero = c.ins().iconst(I64, 0);
        let quotient = if dtype == DType::U64 {
            divide::unsigned(&mut c, x, y)
        } else {
            let limit = if ty == I64 { i64::MAX } else { 1 << 32 };
            let range = (-limit, limit);
            let (a, b) = (Operand { value: x, range }, Operand { value: y, range });
            divide::truncated(&mut c, a, b)
        };
        let wide = match op {
            BinaryOp::Div => quotient,
            BinaryOp::Mod if dtype.is_signed_int() => {
                let (_, rest) = divide::floor_fix(&mut c, x, y, quotient);
                c.ins().select(y, rest, zero)
            }
            _ => {
                let multiple = c.ins().imul(quotient, y);
                let rest = c.ins().isub(x, multiple);
                c.ins().select(y, rest, zero)
            }
        };
        if ty == I64 { wide } else { c.ins().ireduce(ty, wide) }
    }

    /// Shifts by counts that may be as large as the width, or negative (which is larger).
    fn shift(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        let ty = self.fb.func.dfg.value_type(a);
        let mut c = self.here();
        let shifted = match op {
            BinaryOp::Shl => c.ins().ishl(a, b),
            _ => c.ins().ushr(a, b),
        };
        let zero = c.ins().iconst(ty, 0);
        let fits = c.ins().icmp_imm_u(IntCC::UnsignedLessThan, b, i64::from(ty.bits()));
        c.ins().select(fits, shifted, zero)
    }

    /// By squaring, wrapping; a negative exponent truncates the exact quotient.
    fn int_power(&mut self, dtype: DType, a: Value, b: Value) -> Result<Value> {
        let (x, n) = (self.widen_int(Val { v: a, dtype }), self.widen_int(Val { v: b, dtype }));
        let ty = self.fb.func.dfg.value_type(a);
        let (head, body, done) =
            (self.fb.create_block(), self.fb.create_block(), self.fb.create_block());
        let [product, base, left] = [I64; 3].map(|ty| self.fb.append_block_param(head, ty));
        let one = self.fb.ins().iconst(I64, 1);
        self.fb.ins().jump(head, &[one, x, n].map(BlockArg::Value));
        self.fb.switch_to_block(head);
        // A negative exponent of a signed dtype ends the loop at once.
        let positive = match dtype.is_signed_int() {
            true => self.fb.ins().icmp_imm_s(IntCC::SignedGreaterThan, left, 0),
            false => self.fb.ins().icmp_imm_s(IntCC::NotEqual, left, 0),
        };
        self.fb.ins().brif(positive, body, &[], done, &[]);
        self.fb.switch_to_block(body);
        self.fb.seal_block(body);
        let odd = self.fb.ins().band_imm_s(left, 1);
        let multiplied = self.fb.ins().imul(product, base);
        let product_next = self.fb.ins().select(odd, multiplied, product);
        let square = self.fb.ins().imul(base, base);
        let halved = self.fb.ins().ushr_imm_u(left, 1);
        self.fb.ins().jump(head, &[product_next, square, halved].map(BlockArg::Value));
        self.fb.seal_block(head);
        self.fb.switch_to_block(done);
        self.fb.seal_block(done);
        let wide = match dtype.is_signed_int() {
            true => self.negative_power(x, n, product),
            false => product,
        };
        Ok(if ty == I64 { wide } else { self.fb.ins().ireduce(ty, wide) })
    }

    /// `x^n` for `n < 0`: 1 and ±1 for bases 1 and −1, else 0; `otherwise` for `n >= 0`.
    fn negative_power(&mut self, x: Value, n: Value, otherwise: Value) -> Value {
        let mut c = self.here();
        let (zero, one, minus_one) =
            (c.ins().iconst(I64, 0), c.ins().iconst(I64, 1), c.ins().iconst(I64, -1));
        let odd = c.ins().band_imm_s(n, 1);
        let alternating = c.ins().select(odd, minus_one, one);
        let is_minus_one = c.ins().icmp_imm_s(IntCC::Equal, x, -1);
        let of_minus_one = c.ins().select(is_minus_one, alternating, zero);
        let is_one = c.ins().icmp_imm_s(IntCC::Equal, x, 1);
        let value = c.ins().select(is_one, one, of_minus_one);
        let negative = c.ins().icmp_imm_s(IntCC::SignedLessThan, n, 0);
        c.ins().select(negative, value, otherwise)
    }

    fn binary_float(&mut self, op: BinaryOp, dtype: DType, a: Value, b: Value) -> Result<Value> {
        use BinaryOp::*;
        let ty = self.repr(dtype)?;
        if let Some(cc) = float_condition(op) {
            return Ok(self.ops(ty).cmp(cc, a, b).0);
        }
        if matches!(op, Mod | Rem) {
            if ty.is_vector() {
                return Err(self.unsupported(format!("{op} of {dtype} in SIMD code")));
            }
            return Ok(self.float_rest(op, a, b));
        }
        let mut ops = self.ops(ty);
        let v = match op {
            Add => ops.add(a, b),
            Sub => ops.sub(a, b),
            Mul => ops.mul(a, b),
            Div => ops.div(a, b),
            Max => ops.max(a, b),
            Min => ops.min(a, b),
            Pow => math::in_f64(&mut ops, [a, b], |ops, [a, b]| math::pow(ops, a, b)),
            Atan2 => math::in_f64(&mut ops, [a, b], |ops, [a, b]| math::atan2(ops, a, b)),
            _ => return Err(self.undefined(op.name(), dtype)),
        };
        Ok(ops.round_to(v, dtype))
    }

    /// `fmod` and the floor modulo, exactly.
    fn float_rest(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        let rest = math::fmod(self, a, b);
        if op == BinaryOp::Rem {
            return rest;
        }
        let ty = self.fb.func.dfg.value_type(a);
        let mut ops = self.ops(ty);
        let zero = ops.float(0.0);
        let (r_negative, b_negative) =
            (ops.cmp(FloatCC::LessThan, rest, zero), ops.cmp(FloatCC::LessThan, b, zero));
        let differ = Mask(ops.c.ins().bxor(r_negative.0, b_negative.0));
        let moved = ops.add(rest, b);
        let fixed = ops.select(differ, moved, rest);
        let is_zero = ops.cmp(FloatCC::Equal, rest, zero);
        let signed_zero = ops.with_sign(zero, b);
        ops.select(is_zero, signed_zero, fixed)
    }
}

impl Ops<'_> {
    /// The larger, NaN if either is NaN, −0 below +0.
    pub fn max(&mut self, a: Value, b: Value) -> Value {
        if !self.ty.is_vector() {
            return self.c.ins().fmax(a, b);
        }
        let (ab, ba) = (self.second_unless_greater(a, b), self.second_unless_greater(b, a));
        // They differ for NaN, and for zeros of both signs: +0 is what both bits agree on.
        let (ab, ba) = (self.bits(ab), self.bits(ba));
        let larger = self.c.ins().band(ab, ba);
        self.nan_if_unordered(a, b, larger)
    }

    /// The smaller, NaN if either is NaN, −0 below +0.
    pub fn min(&mut self, a: Value, b: Value) -> Value {
        if !self.ty.is_vector() {
            return self.c.ins().fmin(a, b);
        }
        let ab = self.cmp(FloatCC::LessThan, a, b);
        let ab = self.select(ab, a, b);
        let ba = self.cmp(FloatCC::LessThan, b, a);
        let ba = self.select(ba, b, a);
        let (ab, ba) = (self.bits(ab), self.bits(ba));
        let smaller = self.c.ins().bor(ab, ba);
        self.nan_if_unordered(a, b, smaller)
    }

    /// `a > b ? a : b`, one instruction.
    fn second_unless_greater(&mut self, a: Value, b: Value) -> Value {
        let greater = self.cmp(FloatCC::LessThan, b, a);
        self.select(greater, a, b)
    }

    /// The float of `bits`, or a NaN (all ones) where `a` or `b` is one.
    // PERF: five instructions where Cranelift's `fmax` has eight, for any NaN's sake.
    fn nan_if_unordered(&mut self, a: Value, b: Value, bits: Value) -> Value {
        let unordered = self.cmp(FloatCC::Unordered, a, b);
        let bits = self.c.ins().bor(bits, unordered.0);
        self.of_bits(bits)
    }
}

/// The condition of a comparison op.
fn int_condition(op: BinaryOp, unsigned: bool) -> IntCC {
    match (op, unsigned) {
        (BinaryOp::Eq, _) => IntCC::Equal,
        (BinaryOp::Ne, _) => IntCC::NotEqual,
        (BinaryOp::Lt, false) => IntCC::SignedLessThan,
        (BinaryOp::Lt, true) => IntCC::UnsignedLessThan,
        (BinaryOp::Le, false) => IntCC::SignedLessThanOrEqual,
        (BinaryOp::Le, true) => IntCC::UnsignedLessThanOrEqual,
        (BinaryOp::Gt, false) => IntCC::SignedGreaterThan,
        (BinaryOp::Gt, true) => IntCC::UnsignedGreaterThan,
        (_, false) => IntCC::SignedGreaterThanOrEqual,
        (_, true) => IntCC::UnsignedGreaterThanOrEqual,
    }
}

/// The condition of a comparison op on floats; only `!=` holds for NaN.
fn float_condition(op: BinaryOp) -> Option<FloatCC> {
    Some(match op {
        BinaryOp::Eq => FloatCC::Equal,
        BinaryOp::Ne => FloatCC::NotEqual,
        BinaryOp::Lt => FloatCC::LessThan,
        BinaryOp::Le => FloatCC::LessThanOrEqual,
        BinaryOp::Gt => FloatCC::GreaterThan,
        BinaryOp::Ge => FloatCC::GreaterThanOrEqual,
        _ => return None,
    })
}
