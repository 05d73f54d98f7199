//! Conversions between dtypes.
//!
//! Float to integer truncates and saturates, NaN gives 0; integer to integer wraps;
//! anything to bool is `!= 0`; to float rounds once, to nearest even.

use super::emit::{Emit, Mode, Result};
use super::ops::{Mask, Ops};
use super::value::Val;
use cascata_math::FloatOps;
use cascata_types::DType;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, F64, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, Type, Value};

/// Inclusive bounds of an integer dtype narrower than 32 bits, or u32.
fn bounds(dtype: DType) -> Option<(i64, i64)> {
    Some(match dtype {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U8 => (0, u8::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::U16 => (0, u16::MAX.into()),
        DType::U32 => (0, u32::MAX.into()),
        _ => return None,
    })
}

impl Emit<'_, '_> {
    /// `x` as `to`.
    pub(super) fn cast(&mut self, x: Val, to: DType) -> Result<Val> {
        if x.dtype == to {
            return Ok(x);
        }
        if x.dtype == DType::Str || to == DType::Str {
            return Err(self.undefined("cast", DType::Str));
        }
        let v = match self.mode {
            Mode::Scalar => self.cast_scalar(x, to)?,
            Mode::Simd(_) => self.cast_lanes(x, to)?,
        };
        Ok(Val { v, dtype: to })
    }

    /// The bits of `x` as `to`: whole registers only, in scalar code only.
    pub(super) fn bits(&mut self, x: Val, to: DType) -> Result<Val> {
        let (from, ty) = (self.repr(x.dtype)?, self.repr(to)?);
        let half = |d: DType| matches!(d, DType::F16 | DType::BF16);
        if from.bits() != ty.bits() || half(x.dtype) || half(to) || self.mode != Mode::Scalar {
            return Err(self.undefined("bits", to));
        }
        Ok(Val { v: self.ops(F32).cast_bits(x.v, ty), dtype: to })
    }

    fn cast_scalar(&mut self, x: Val, to: DType) -> Result<Value> {
        let ty = self.repr(to)?;
        if to == DType::Bool {
            return Ok(self.is_nonzero(x));
        }
        if x.dtype.is_float() {
            return Ok(match to.is_float() {
                true => self.float_to_float(x, to),
                false => self.float_to_int(x, to, ty),
            });
        }
        let wide = self.widen_int(x);
        if !to.is_float() {
            let mut c = self.here();
            return Ok(if ty == I64 { wide } else { c.ins().ireduce(ty, wide) });
        }
        Ok(self.int_to_float(wide, x.dtype, to))
    }

    fn is_nonzero(&mut self, x: Val) -> Value {
        if x.dtype.is_float() {
            let mut ops = self.ops(if x.dtype == DType::F64 { F64 } else { F32 });
            let zero = ops.float(0.0);
            return ops.cmp(FloatCC::NotEqual, x.v, zero).0;
        }
        self.here().ins().icmp_imm_u(IntCC::NotEqual, x.v, 0)
    }

    /// An integer or bool extended to `I64`.
    pub(super) fn widen_int(&mut self, x: Val) -> Value {
        let mut c = self.here();
        match x.dtype {
            DType::I64 | DType::U64 => x.v,
            d if d.is_signed_int() => c.ins().sextend(I64, x.v),
            _ => c.ins().uextend(I64, x.v),
        }
    }

    fn float_to_float(&mut self, x: Val, to: DType) -> Value {
        match (x.dtype, to) {
            (DType::F64, DType::F32) => self.here().ins().fdemote(F32, x.v),
            (DType::F64, _) => {
                let odd = self.ops(F64).demote_to_odd(x.v);
                self.ops(F32).round_to(odd, to)
            }
            (_, DType::F64) => self.here().ins().fpromote(F64, x.v),
            _ => self.ops(F32).round_to(x.v, to),
        }
    }

    fn float_to_int(&mut self, x: Val, to: DType, ty: Type) -> Value {
        let mut c = self.here();
        match to {
            DType::U64 => c.ins().fcvt_to_uint_sat(I64, x.v),
            DType::I64 | DType::I32 => c.ins().fcvt_to_sint_sat(ty, x.v),
            _ => {
                let (low, high) = bounds(to).expect("every other integer is narrow");
                let wide = c.ins().fcvt_to_sint_sat(I64, x.v);
                let (low, high) = (c.ins().iconst(I64, low), c.ins().iconst(I64, high));
                let wide = c.ins().smax(wide, low);
                let wide = c.ins().smin(wide, high);
                c.ins().ireduce(ty, wide)
            }
        }
    }

    fn int_to_float(&mut self, wide: Value, from: DType, to: DType) -> Value {
        let unsigned = from == DType::U64;
        let ty = if to == DType::F64 { F64 } else { F32 };
        if matches!(to, DType::F32 | DType::F64) {
            let mut c = self.here();
            return match unsigned {
                true => c.ins().fcvt_from_uint(ty, wide),
                false => c.ins().fcvt_from_sint(ty, wide),
            };
        }
        let exact = self.ops(F64).int_to_odd(wide, unsigned);
        let odd = self.ops(F64).demote_to_odd(exact);
        self.ops(F32).round_to(odd, to)
    }

    fn cast_lanes(&mut self, x: Val, to: DType) -> Result<Value> {
        let mut ops = self.ops(F32X4);
        if to == DType::Bool {
            if x.dtype.is_float() {
                let zero = ops.float(0.0);
                return Ok(ops.cmp(FloatCC::NotEqual, x.v, zero).0);
            }
            let zero = ops.int(0);
            return Ok(ops.c.ins().icmp(IntCC::NotEqual, x.v, zero));
        }
        if x.dtype.is_float() {
            return Ok(match to {
                _ if to.is_float() => ops.round_to(x.v, to),
                DType::U32 => ops.c.ins().fcvt_to_uint_sat(I32X4, x.v),
                _ => ops.float_to_narrow_lanes(x.v, to),
            });
        }
        let v = match x.dtype {
            DType::Bool => ops.c.ins().ineg(x.v),
            _ => x.v,
        };
        if !to.is_float() {
            return Ok(self.wrap_lanes(v, to));
        }
        let float = match x.dtype {
            DType::U32 => ops.c.ins().fcvt_from_uint(F32X4, v),
            _ => ops.c.ins().fcvt_from_sint(F32X4, v),
        };
        if to == DType::F32 {
            return Ok(float);
        }
        if matches!(x.dtype, DType::I32 | DType::U32 | DType::I64) {
            let what = format!("a vector cast from {} to {to}", x.dtype);
            return Err(self.unsupported(what));
        }
        // 16 bits and fewer are exact as f32, so this rounds once.
        Ok(ops.round_to(float, to))
    }
}

impl Ops<'_> {
    /// f32 lanes to a signed or narrow integer dtype.
    fn float_to_narrow_lanes(&mut self, x: Value, to: DType) -> Value {
        let Some((low, high)) = bounds(to) else {
            return self.c.ins().fcvt_to_sint_sat(I32X4, x);
        };
        // PERF: a bare conversion of what is in range, 3 to 5 instructions where one that
        // saturates at 32 bits first takes 14: with `expr::limit`, 2.7 ms of 5.6 that
        // ocr_cls_qdq takes (`cascata bench ocr_cls_qdq.casc --threads 1 --launches`).
        let (low, high) = (low as f64, high as f64);
        let x = if low == 0.0 {
            self.at_least_or_nan(x, low)
        } else {
            let x = self.zero_for_nan(x);
            self.at_least(x, low)
        };
        let x = self.at_most(x, high);
        self.c.ins().x86_cvtt2dq(I32X4, x)
    }

    /// `x`, or +0 where it is NaN.
    fn zero_for_nan(&mut self, x: Value) -> Value {
        let ordered = self.cmp(FloatCC::Ordered, x, x);
        let bits = self.bits(x);
        let bits = self.c.ins().band(bits, ordered.0);
        self.of_bits(bits)
    }

    /// An f64 as f32 so that an inexact result has an odd last bit; rounding that to two
    /// or more bits less is then as if done in one step (Boldo and Melquiond 2008).
    fn demote_to_odd(&mut self, x: Value) -> Value {
        let near = self.c.ins().fdemote(F32, x);
        let back = self.c.ins().fpromote(F64, near);
        let inexact = self.cmp(FloatCC::OrderedNotEqual, back, x);
        let (b, a) = (self.abs(back), self.abs(x));
        let too_large = self.cmp(FloatCC::GreaterThan, b, a);
        let mut single = self.with_type(F32);
        let bits = single.bits(near);
        let one = single.int(1);
        let odd = single.c.ins().band(bits, one);
        let even = single.c.ins().icmp_imm_u(IntCC::Equal, odd, 0);
        let (down, up) = (single.c.ins().isub(bits, one), single.c.ins().iadd(bits, one));
        let moved = single.select(too_large, down, up);
        let wrong = single.and(inexact, Mask(even));
        let bits = single.select(wrong, moved, bits);
        single.of_bits(bits)
    }

    /// A 64-bit integer as an f64 with the same rounding to 24 bits or fewer: what does
    /// not fit leaves a sticky bit.
    fn int_to_odd(&mut self, x: Value, unsigned: bool) -> Value {
        let low = self.c.ins().band_imm_s(x, 0x7ff);
        let sticky = self.c.ins().icmp_imm_u(IntCC::NotEqual, low, 0);
        let sticky = self.c.ins().uextend(I64, sticky);
        let sticky = self.c.ins().ishl_imm_u(sticky, 11);
        let high = self.c.ins().band_imm_s(x, !0x7ff);
        let short = self.c.ins().bor(high, sticky);
        // Up to 2^53 the integer is exact as it is.
        let top = self.c.ins().sshr_imm_u(x, 53);
        let small = match unsigned {
            true => self.c.ins().icmp_imm_u(IntCC::Equal, top, 0),
            false => {
                let shifted = self.c.ins().iadd_imm_s(top, 1);
                self.c.ins().icmp_imm_u(IntCC::UnsignedLessThan, shifted, 2)
            }
        };
        let exact = self.c.ins().select(small, x, short);
        match unsigned {
            true => self.c.ins().fcvt_from_uint(F64, exact),
            false => self.c.ins().fcvt_from_sint(F64, exact),
        }
    }
}
