//! How values of each dtype are held while they are computed with.

use super::emit::{Emit, Mode, Result};
use super::ops::Mask;
use cascata_types::{DType, Scalar};
use cranelift_codegen::ir::types::{F32, F32X4, F64, I8, I16, I32, I32X4, I64};
use cranelift_codegen::ir::{ConstantData, InstBuilder, Type, Value};

/// A value of a dtype in the representation of the current mode.
///
/// | dtype | scalar | SIMD |
/// |---|---|---|
/// | bool | `I8`, 0 or 1 | `I32X4`, 0 or −1 |
/// | 8 and 16 bit integers | `I8`, `I16` | `I32X4`, extended |
/// | i32, u32 | `I32` | `I32X4` |
/// | i64 | `I64` | `I32X4`, only where bounds prove that it fits |
/// | u64, f64 | `I64`, `F64` | never |
/// | f16, bf16, f32 | `F32`, rounded to the dtype | `F32X4`, rounded to the dtype |
#[derive(Clone, Copy)]
pub(super) struct Val {
    pub v: Value,
    pub dtype: DType,
}

/// The Cranelift type of a dtype in a mode; `None` where there is none.
pub(super) fn repr(dtype: DType, mode: Mode) -> Option<Type> {
    use DType::*;
    Some(match (dtype, mode) {
        (Str, _) => return None,
        (F16 | BF16 | F32, Mode::Scalar) => self::F32,
        (F16 | BF16 | F32, Mode::Simd(_)) => F32X4,
        (U64 | F64, Mode::Simd(_)) => return None,
        (_, Mode::Simd(_)) => I32X4,
        (Bool | I8 | U8, Mode::Scalar) => self::I8,
        (I16 | U16, Mode::Scalar) => self::I16,
        (I32 | U32, Mode::Scalar) => self::I32,
        (I64 | U64, Mode::Scalar) => self::I64,
        (F64, Mode::Scalar) => self::F64,
    })
}

impl Emit<'_, '_> {
    /// The Cranelift type of a dtype in the current mode.
    pub(super) fn repr(&self, dtype: DType) -> Result<Type> {
        let mode = self.mode;
        repr(dtype, mode).ok_or_else(|| self.unsupported(format!("{dtype} in {mode:?} code")))
    }

    /// A constant in the current mode.
    pub(super) fn constant(&mut self, x: Scalar) -> Result<Val> {
        let ty = self.repr(x.dtype)?;
        let dtype = x.dtype;
        let v = match ty {
            F32 | F32X4 | F64 => self.ops(ty).float(x.to_f64()),
            I32X4 => {
                let lane = match dtype {
                    DType::Bool => -i64::from(x.to_i64() != 0),
                    _ => x.to_i64(),
                };
                self.int_lanes([lane as i32; 4])
            }
            _ => {
                let mask = if ty == I64 { u64::MAX } else { (1 << ty.bits()) - 1 };
                let bits = if dtype == DType::Bool { u64::from(x.to_i64() != 0) } else { x.bits };
                self.here().ins().iconst(ty, (bits & mask) as i64)
            }
        };
        Ok(Val { v, dtype })
    }

    /// An `I32X4` constant.
    pub(super) fn int_lanes(&mut self, lanes: [i32; 4]) -> Value {
        let data: ConstantData = lanes.iter().flat_map(|x| x.to_le_bytes()).collect();
        let constant = self.fb.func.dfg.constants.insert(data);
        self.here().ins().vconst(I32X4, constant)
    }

    /// A scalar in every lane.
    pub(super) fn splat(&mut self, x: Val) -> Result<Val> {
        let mut c = self.here();
        use DType::*;
        let v = match x.dtype {
            F16 | BF16 | F32 => c.ins().splat(F32X4, x.v),
            Bool => {
                let wide = c.ins().uextend(self::I32, x.v);
                let mask = c.ins().ineg(wide);
                c.ins().splat(I32X4, mask)
            }
            I8 | I16 => {
                let wide = c.ins().sextend(self::I32, x.v);
                c.ins().splat(I32X4, wide)
            }
            U8 | U16 => {
                let wide = c.ins().uextend(self::I32, x.v);
                c.ins().splat(I32X4, wide)
            }
            I32 | U32 => c.ins().splat(I32X4, x.v),
            I64 => {
                let narrow = c.ins().ireduce(self::I32, x.v);
                c.ins().splat(I32X4, narrow)
            }
            U64 | F64 | Str => {
                return Err(self.unsupported(format!("{} in SIMD code", x.dtype)));
            }
        };
        Ok(Val { v, dtype: x.dtype })
    }

    /// Wraps `I32X4` lanes to the width of a narrower integer dtype.
    pub(super) fn wrap_lanes(&mut self, v: Value, dtype: DType) -> Value {
        let mut ops = self.ops(F32X4);
        match dtype {
            DType::U8 | DType::U16 => {
                let mask = ops.int(if dtype == DType::U8 { 0xff } else { 0xffff });
                ops.c.ins().band(v, mask)
            }
            DType::I8 | DType::I16 => {
                let bits = if dtype == DType::I8 { 24 } else { 16 };
                let count = ops.c.ins().iconst(I32, bits);
                let high = ops.c.ins().ishl(v, count);
                ops.c.ins().sshr(high, count)
            }
            _ => v,
        }
    }

    /// `cond ? a : b`.
    pub(super) fn choose(&mut self, cond: Val, a: Val, b: Val) -> Result<Val> {
        if cond.dtype != DType::Bool || a.dtype != b.dtype {
            return Err(self.invalid("a select needs a bool and two values of one dtype".into()));
        }
        let v = self.ops(F32).select(Mask(cond.v), a.v, b.v);
        Ok(Val { v, dtype: a.dtype })
    }
}
