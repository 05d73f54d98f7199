//! Float arithmetic on one element or on a vector of them, one spelling for both.
//!
//! Formulas in `math/` are written once over [`Ops`] and give the same bits for a lane of a
//! vector as for a scalar, so that a loop's tail agrees with its vector body.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::{F32, F32X4, F64, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{ConstantData, InstBuilder, MemFlagsData, Type, Value};

/// What the CPU has beyond SSE2, as far as formulas care.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    /// Fused multiply-add.
    pub fma: bool,
    /// Rounding instructions.
    pub sse41: bool,
    /// Memory operands of any alignment.
    pub avx: bool,
}

/// Emits float operations of one type at a cursor.
pub(super) struct Ops<'c> {
    /// Where instructions go.
    pub c: FuncCursor<'c>,
    /// `F32`, `F32X4`, `F64` or `F64X2`.
    pub ty: Type,
    /// The CPU's.
    pub features: Features,
}

/// The result of a comparison: an `I8` for a scalar, a lane mask for a vector.
#[derive(Clone, Copy)]
pub(super) struct Mask(pub Value);

impl Ops<'_> {
    /// Whether elements are `f64`.
    pub fn is_double(&self) -> bool {
        self.ty.lane_type() == F64
    }

    /// The integer type of the same shape.
    pub fn int_ty(&self) -> Type {
        match self.ty {
            F32 => I32,
            F32X4 => I32X4,
            F64 => I64,
            _ => I64X2,
        }
    }

    /// The same operations on another type.
    pub fn with_type(&mut self, ty: Type) -> Ops<'_> {
        let at = self.c.position();
        let mut c = FuncCursor::new(self.c.func);
        c.set_position(at);
        Ops { c, ty, features: self.features }
    }

    /// `x` rounded to the element type, in every lane.
    pub fn float(&mut self, x: f64) -> Value {
        match self.ty {
            F32 => self.c.ins().f32const(x as f32),
            F64 => self.c.ins().f64const(x),
            _ if self.is_double() => self.lanes(&x.to_bits().to_le_bytes()),
            _ => self.lanes(&(x as f32).to_bits().to_le_bytes()),
        }
    }

    /// A vector constant with equal lanes.
    fn lanes(&mut self, lane: &[u8]) -> Value {
        let data: ConstantData = lane.iter().copied().cycle().take(16).collect();
        let constant = self.c.func.dfg.constants.insert(data);
        self.c.ins().vconst(self.ty, constant)
    }

    /// An integer constant, in every lane.
    pub fn int(&mut self, x: i64) -> Value {
        let ty = self.int_ty();
        match ty {
            I32 => self.c.ins().iconst(ty, i64::from(x as u32)),
            I64 => self.c.ins().iconst(ty, x),
            _ => {
                let bytes = if ty == I32X4 { &x.to_le_bytes()[..4] } else { &x.to_le_bytes()[..] };
                self.with_type(ty).lanes(bytes)
            }
        }
    }

    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.c.ins().fadd(a, b)
    }

    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.c.ins().fsub(a, b)
    }

    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.c.ins().fmul(a, b)
    }

    pub fn div(&mut self, a: Value, b: Value) -> Value {
        self.c.ins().fdiv(a, b)
    }

    pub fn neg(&mut self, a: Value) -> Value {
        self.c.ins().fneg(a)
    }

    pub fn abs(&mut self, a: Value) -> Value {
        self.c.ins().fabs(a)
    }

    pub fn sqrt(&mut self, a: Value) -> Value {
        self.c.ins().sqrt(a)
    }

    /// `a·b + c`, fused where the CPU can.
    pub fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.features.fma {
            return self.c.ins().fma(a, b, c);
        }
        let product = self.mul(a, b);
        self.add(product, c)
    }

    /// `c − a·b`, fused where the CPU can.
    pub fn fnma(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.features.fma {
            let minus_a = self.neg(a);
            return self.c.ins().fma(minus_a, b, c);
        }
        let product = self.mul(a, b);
        self.sub(c, product)
    }

    pub fn cmp(&mut self, cc: FloatCC, a: Value, b: Value) -> Mask {
        Mask(self.c.ins().fcmp(cc, a, b))
    }

    pub fn and(&mut self, a: Mask, b: Mask) -> Mask {
        Mask(self.c.ins().band(a.0, b.0))
    }

    pub fn or(&mut self, a: Mask, b: Mask) -> Mask {
        Mask(self.c.ins().bor(a.0, b.0))
    }

    /// `a` where the mask holds, else `b`; floats or integers of the same shape.
    pub fn select(&mut self, mask: Mask, a: Value, b: Value) -> Value {
        let ty = self.c.func.dfg.value_type(a);
        if !ty.is_vector() {
            return self.c.ins().select(mask.0, a, b);
        }
        let mask = self.cast_bits(mask.0, ty);
        self.c.ins().bitselect(mask, a, b)
    }

    /// The same bits as another type of the same size.
    pub fn cast_bits(&mut self, x: Value, ty: Type) -> Value {
        if self.c.func.dfg.value_type(x) == ty {
            return x;
        }
        let mut flags = MemFlagsData::new();
        if ty.is_vector() {
            flags.set_endianness(cranelift_codegen::ir::Endianness::Little);
        }
        self.c.ins().bitcast(ty, flags, x)
    }

    /// The bits of a float.
    pub fn bits(&mut self, x: Value) -> Value {
        let ty = self.int_ty();
        self.cast_bits(x, ty)
    }

    /// The float with these bits.
    pub fn of_bits(&mut self, x: Value) -> Value {
        let ty = self.ty;
        self.cast_bits(x, ty)
    }

    /// The bits of an integer vector shifted left (`by > 0`) or logically right.
    pub fn shift(&mut self, bits: Value, by: i64) -> Value {
        let count = self.c.ins().iconst(I32, by.abs());
        if by >= 0 { self.c.ins().ishl(bits, count) } else { self.c.ins().ushr(bits, count) }
    }
}
