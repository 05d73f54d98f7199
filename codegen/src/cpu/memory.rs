//! Loads and stores of every dtype, one element or four at a time.

use super::emit::{Emit, Mode, Result, SimdLoop};
use super::plan::stride;
use super::scope::Address;
use super::value::Val;
use cascata_ir::kernel::Place;
use cascata_types::{DType, Dim};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, F64, I8, I8X16, I16, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value};

/// Memory cannot fault (bounds are the verifier's business) and has any alignment.
fn flags() -> MemFlagsData {
    MemFlagsData::new().with_trap_code(None)
}

/// The type of an element in memory.
fn memory_type(dtype: DType) -> Option<Type> {
    use DType::*;
    Some(match dtype {
        Bool | I8 | U8 => self::I8,
        I16 | U16 | F16 | BF16 => self::I16,
        I32 | U32 => self::I32,
        I64 | U64 => self::I64,
        F32 => self::F32,
        F64 => self::F64,
        Str => return None,
    })
}

impl Emit<'_, '_> {
    /// The element at `place` in the current mode.
    pub(super) fn load(&mut self, place: &Place) -> Result<Val> {
        let dtype = self.buffer_info(place.buffer)?.dtype;
        let v = match (self.mode, self.simd) {
            (Mode::Simd(part), Some(around)) => self.load_lanes(place, dtype, part, around)?,
            _ => {
                let address = self.address(place)?;
                self.load_scalar(address, dtype)?
            }
        };
        Ok(Val { v, dtype })
    }

    fn load_scalar(&mut self, at: Address, dtype: DType) -> Result<Value> {
        let ty = memory_type(dtype).ok_or_else(|| self.unsupported("a string".into()))?;
        let mut c = self.here();
        let raw = c.ins().load(ty, flags(), at.base, at.offset);
        Ok(match dtype {
            DType::Bool => c.ins().icmp_imm_u(IntCC::NotEqual, raw, 0),
            DType::F16 | DType::BF16 => {
                let bits = c.ins().uextend(I32, raw);
                self.ops(F32).widen_half(bits, dtype)
            }
            _ => raw,
        })
    }

    fn load_lanes(
        &mut self,
        place: &Place,
        dtype: DType,
        part: usize,
        around: SimdLoop,
    ) -> Result<Value> {
        if stride(&place.at, around.var) == Some(1) {
            let at = lane_index(&place.at, around.var, 4 * part as i64);
            let address = self.address_of(place.buffer, &at)?;
            return self.load_vector(address, dtype);
        }
        self.repr(dtype)?;
        let mut lanes = Vec::with_capacity(4);
        for lane in 0..4 {
            let at = lane_index(&place.at, around.var, 4 * part as i64 + lane);
            let address = self.address_of(place.buffer, &at)?;
            lanes.push(self.load_scalar(address, dtype)?);
        }
        self.join_lanes(&lanes, dtype)
    }

    /// A vector from four scalars.
    pub(super) fn join_lanes(&mut self, lanes: &[Value], dtype: DType) -> Result<Value> {
        let ty = self.repr(dtype)?;
        let mut c = self.here();
        let mut vector = None;
        for (i, x) in lanes.iter().enumerate() {
            let x = match dtype {
                DType::I8 | DType::I16 => c.ins().sextend(I32, *x),
                DType::U8 | DType::U16 => c.ins().uextend(I32, *x),
                DType::Bool => {
                    let wide = c.ins().uextend(I32, *x);
                    c.ins().ineg(wide)
                }
                DType::I64 => c.ins().ireduce(I32, *x),
                _ => *x,
            };
            vector = Some(match vector {
                None => c.ins().scalar_to_vector(ty, x),
                Some(v) => c.ins().insertlane(v, x, i as u8),
            });
        }
        vector.ok_or_else(|| self.invalid("a vector without lanes".into()))
    }

    /// Four neighbours.
    fn load_vector(&mut self, at: Address, dtype: DType) -> Result<Value> {
        let (base, offset) = (at.base, at.offset);
        let mut c = self.here();
        use DType::*;
        Ok(match dtype {
            F32 => return Ok(self.load_unfolded(at, F32X4, I32X4)),
            I32 | U32 => return Ok(self.load_unfolded(at, I32X4, F32X4)),
            I16 => c.ins().sload16x4(flags(), base, offset),
            U16 => c.ins().uload16x4(flags(), base, offset),
            F16 | BF16 => {
                let bits = c.ins().uload16x4(flags(), base, offset);
                self.ops(F32X4).widen_half(bits, dtype)
            }
            I8 | U8 | Bool => {
                let bytes = c.ins().load(self::I32, flags(), base, offset);
                let bytes = c.ins().scalar_to_vector(I32X4, bytes);
                let bytes = self.ops(F32X4).cast_bits(bytes, I8X16);
                self.widen_bytes(bytes, dtype)
            }
            I64 | U64 | F64 | Str => {
                return Err(self.unsupported(format!("a vector of {dtype}")));
            }
        })
    }

    /// A vector of `ty`. Without AVX, memory operands must be aligned, which Cranelift
    /// 0.135 overlooks when it folds a load into `cmpps`: a detour through the type
    /// `other` of the same size keeps the load an instruction of its own.
    fn load_unfolded(&mut self, at: Address, ty: Type, other: Type) -> Value {
        if self.features.avx {
            return self.here().ins().load(ty, flags(), at.base, at.offset);
        }
        let raw = self.here().ins().load(other, flags(), at.base, at.offset);
        self.ops(F32X4).cast_bits(raw, ty)
    }

    /// The four low bytes as lanes.
    fn widen_bytes(&mut self, bytes: Value, dtype: DType) -> Value {
        let mut c = self.here();
        if dtype == DType::I8 {
            let wide = c.ins().swiden_low(bytes);
            return c.ins().swiden_low(wide);
        }
        let wide = c.ins().uwiden_low(bytes);
        let wide = c.ins().uwiden_low(wide);
        if dtype != DType::Bool {
            return wide;
        }
        let zero = self.int_lanes([0; 4]);
        self.here().ins().icmp(IntCC::NotEqual, wide, zero)
    }

    /// Writes the element at `place` in the current mode.
    pub(super) fn store(&mut self, place: &Place, x: Val) -> Result<()> {
        let dtype = self.buffer_info(place.buffer)?.dtype;
        if dtype != x.dtype {
            return Err(self.invalid(format!("a {} is stored in a buffer of {dtype}", x.dtype)));
        }
        match (self.mode, self.simd) {
            (Mode::Simd(part), Some(around)) => self.store_lanes(place, x, part, around),
            _ => {
                let address = self.address(place)?;
                self.store_scalar(address, x)
            }
        }
    }

    fn store_scalar(&mut self, at: Address, x: Val) -> Result<()> {
        let raw = match x.dtype {
            DType::F16 | DType::BF16 => {
                let bits = self.ops(F32).narrow_half(x.v, x.dtype);
                self.here().ins().ireduce(I16, bits)
            }
            _ => x.v,
        };
        self.here().ins().store(flags(), raw, at.base, at.offset);
        Ok(())
    }

    fn store_lanes(&mut self, place: &Place, x: Val, part: usize, around: SimdLoop) -> Result<()> {
        if stride(&place.at, around.var) == Some(1) {
            let at = lane_index(&place.at, around.var, 4 * part as i64);
            let address = self.address_of(place.buffer, &at)?;
            return self.store_vector(address, x);
        }
        for lane in 0..4 {
            let at = lane_index(&place.at, around.var, 4 * part as i64 + lane);
            let address = self.address_of(place.buffer, &at)?;
            let v = self.split_lane(x, lane as u8);
            self.store_scalar(address, Val { v, dtype: x.dtype })?;
        }
        Ok(())
    }

    /// One lane of a vector as a scalar.
    pub(super) fn split_lane(&mut self, x: Val, lane: u8) -> Value {
        let mut c = self.here();
        let v = c.ins().extractlane(x.v, lane);
        match x.dtype {
            DType::I8 | DType::U8 => c.ins().ireduce(I8, v),
            DType::I16 | DType::U16 => c.ins().ireduce(I16, v),
            DType::Bool => c.ins().icmp_imm_u(IntCC::NotEqual, v, 0),
            DType::I64 => c.ins().sextend(I64, v),
            _ => v,
        }
    }

    fn store_vector(&mut self, at: Address, x: Val) -> Result<()> {
        use DType::*;
        let raw = match x.dtype {
            F32 | I32 | U32 => x.v,
            I16 => self.pack_words(x.v),
            U16 => self.pack_signed_words(x.v),
            F16 | BF16 => {
                let bits = self.ops(F32X4).narrow_half(x.v, x.dtype);
                self.pack_signed_words(bits)
            }
            I8 | U8 | Bool => self.pack_bytes(x),
            I64 => {
                let mut c = self.here();
                let (low, high) = (c.ins().swiden_low(x.v), c.ins().swiden_high(x.v));
                let second = c.ins().iadd_imm_s(at.base, 16);
                c.ins().store(flags(), high, second, at.offset);
                low
            }
            U64 | F64 | Str => {
                return Err(self.unsupported(format!("a vector of {}", x.dtype)));
            }
        };
        self.here().ins().store(flags(), raw, at.base, at.offset);
        Ok(())
    }

    /// Zero-extended 16-bit lanes as one `I64`: SSE2 only packs with signed saturation.
    fn pack_signed_words(&mut self, v: Value) -> Value {
        let signed = self.wrap_lanes(v, DType::I16);
        self.pack_words(signed)
    }

    /// Sign-extended 16-bit lanes as one `I64`.
    fn pack_words(&mut self, v: Value) -> Value {
        let words = self.here().ins().snarrow(v, v);
        let pairs = self.ops(F32).cast_bits(words, I64X2);
        self.here().ins().extractlane(pairs, 0)
    }

    /// 8-bit lanes as one `I32`.
    fn pack_bytes(&mut self, x: Val) -> Value {
        let mut c = self.here();
        let words = c.ins().snarrow(x.v, x.v);
        let bytes = match x.dtype {
            DType::U8 => c.ins().unarrow(words, words),
            _ => c.ins().snarrow(words, words),
        };
        let ints = self.ops(F32).cast_bits(bytes, I32X4);
        let mut c = self.here();
        let bytes = c.ins().extractlane(ints, 0);
        if x.dtype == DType::Bool { c.ins().band_imm_s(bytes, 0x0101_0101) } else { bytes }
    }
}

/// `at` for the lane `by` after the first.
pub(super) fn lane_index(at: &Dim, var: cascata_types::SymbolId, by: i64) -> Dim {
    if by == 0 {
        return at.clone();
    }
    at.substitute(&|s| (s == var).then(|| Dim::sym(var) + by))
}
