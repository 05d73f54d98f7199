//! Calls of micro-kernels through the import table (`cascata_artifact::abi`).

use super::emit::{Emit, Result};
use super::value::Val;
use cascata_artifact::abi::{
    DwConvF32Args, GemmBf16Args, GemmCodesArgs, GemmF32Args, GemmI16Args, GemmU8Args, Import,
    PackBF32Args, context_offset,
};
use cascata_ir::kernel::{DwConv, Expr, Gemm, LocalId, PackB, Place, RowReduce, Rows, Scales};
use cascata_ir::op::UnaryOp;
use cascata_types::{DType, Dim, Scalar};
use cranelift_codegen::ir::types::{F32, I64};
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, Signature, StackSlotData, StackSlotKind, Type, Value,
};
use cranelift_codegen::isa::CallConv;
use std::mem::{offset_of, size_of};

/// One field of an argument block: its byte offset and its value.
type Field = (usize, Value);

impl<'k> Emit<'k, '_> {
    /// Calls `import`; `result` is the type that it returns.
    fn call(&mut self, import: Import, args: &[Value], result: Option<Type>) -> Result<Vec<Value>> {
        self.imports.insert(import);
        let callee = self.import(import)?;
        let mut signature = Signature::new(CallConv::SystemV);
        for arg in args {
            signature.params.push(AbiParam::new(self.fb.func.dfg.value_type(*arg)));
        }
        signature.returns.extend(result.map(AbiParam::new));
        let signature = self.fb.import_signature(signature);
        let call = self.fb.ins().call_indirect(signature, callee, args);
        Ok(self.fb.inst_results(call).to_vec())
    }

    /// Calls `import` with an argument block on the stack.
    fn call_with_block(&mut self, import: Import, size: usize, fields: &[Field]) -> Result<()> {
        let slot = match self.block_slot {
            Some(slot) => slot,
            None => {
                // One slot serves every call: blocks are read during the call only.
                let size = [size_of::<GemmF32Args>(), size_of::<DwConvF32Args>(), size];
                let size = size.into_iter().fold(0, usize::max) as u32;
                let data = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4);
                *self.block_slot.insert(self.fb.create_sized_stack_slot(data))
            }
        };
        for (offset, value) in fields {
            let offset = self.byte_offset(*offset, 1)?;
            self.fb.ins().stack_store(I64, *value, slot, offset);
        }
        let block = self.fb.ins().stack_addr(I64, slot, 0);
        self.call(import, &[block], None).map(drop)
    }

    fn null(&mut self) -> Value {
        self.fb.ins().iconst(I64, 0)
    }

    fn optional(&mut self, place: Option<&Place>) -> Result<Value> {
        match place {
            Some(place) => self.pointer(place),
            None => Ok(self.null()),
        }
    }

    /// A bound of a result; a number, not an expression.
    fn bound(&mut self, x: Scalar) -> Value {
        self.fb.ins().f64const(x.to_f64())
    }

    /// What stands for 0 in bytes, as i64.
    fn zero_point(&mut self, place: Option<&Place>) -> Result<Value> {
        let Some(place) = place else { return Ok(self.null()) };
        let zero = self.load(place)?.v;
        Ok(self.fb.ins().uextend(I64, zero))
    }

    pub(super) fn gemm(&mut self, g: &Gemm) -> Result<()> {
        if let Some(import) = self.narrow_right(g) {
            return self.gemm_codes(g, import);
        }
        let (a, a_offsets, a_row_stride, a_batch_stride) = match &g.a {
            Rows::Strided { base, row_stride, batch_stride } => {
                (self.pointer(base)?, self.null(), self.dim(row_stride)?, self.dim(batch_stride)?)
            }
            Rows::Indirect { base, offsets } => {
                (self.pointer(base)?, self.pointer(offsets)?, self.null(), self.null())
            }
        };
        let accumulate = self.fb.ins().iconst(I64, i64::from(g.accumulate));
        let fields = [
            (offset_of!(GemmF32Args, a), a),
            (offset_of!(GemmF32Args, a_offsets), a_offsets),
            (offset_of!(GemmF32Args, a_row_stride), a_row_stride),
            (offset_of!(GemmF32Args, a_batch_stride), a_batch_stride),
            (offset_of!(GemmF32Args, zeros), self.table(context_offset::ZEROS)?),
            (offset_of!(GemmF32Args, b), self.pointer(&g.b)?),
            (offset_of!(GemmF32Args, b_panel_stride), self.dim(&g.b_panel_stride)?),
            (offset_of!(GemmF32Args, b_batch_stride), self.dim(&g.b_batch_stride)?),
            (offset_of!(GemmF32Args, c), self.pointer(&g.c)?),
            (offset_of!(GemmF32Args, c_row_stride), self.dim(&g.c_row_stride)?),
            (offset_of!(GemmF32Args, bias), self.optional(g.bias.as_ref())?),
            (offset_of!(GemmF32Args, m), self.dim(&g.m)?),
            (offset_of!(GemmF32Args, n), self.dim(&g.n)?),
            (offset_of!(GemmF32Args, k), self.dim(&g.k)?),
            (offset_of!(GemmF32Args, k_last), self.dim(&g.k_last)?),
            (offset_of!(GemmF32Args, batch), self.dim(&g.batch)?),
            (offset_of!(GemmF32Args, accumulate), accumulate),
            (offset_of!(GemmF32Args, min), self.bound(g.clamp.0)),
            (offset_of!(GemmF32Args, max), self.bound(g.clamp.1)),
            (offset_of!(GemmF32Args, a_zero), self.zero_point(g.a_zero.as_ref())?),
        ];
        // The blocks differ in the types of their pointers only.
        const { assert!(size_of::<GemmF32Args>() == size_of::<GemmI16Args>()) };
        const { assert!(size_of::<GemmF32Args>() == size_of::<GemmU8Args>()) };
        const { assert!(size_of::<GemmF32Args>() == size_of::<GemmBf16Args>()) };
        let import = match self.kernel.buffers.get(g.b.buffer).map(|b| b.dtype) {
            Some(DType::I8) => Import::GemmU8,
            Some(DType::I16) => Import::GemmI16,
            Some(DType::BF16) => Import::GemmBf16,
            _ => Import::GemmF32,
        };
        self.call_with_block(import, size_of::<GemmF32Args>(), &fields)
    }

    /// The micro-kernel of f32 rows by a right operand that is narrower.
    fn narrow_right(&self, g: &Gemm) -> Option<Import> {
        let of = |place: &Place| self.kernel.buffers.get(place.buffer).map(|b| b.dtype);
        match of(&g.b)? {
            DType::BF16 if of(g.a.base()) == Some(DType::F32) => Some(Import::GemmF32Bf16),
            DType::I8 if g.scales.is_some() => Some(Import::GemmF32Q8),
            DType::U32 if g.scales.is_some() => Some(Import::GemmF32Q4),
            _ => None,
        }
    }

    fn gemm_codes(&mut self, g: &Gemm, import: Import) -> Result<()> {
        let Rows::Strided { base, row_stride, .. } = &g.a else {
            return Err(self.invalid("codes are multiplied by strided rows".into()));
        };
        let mut fields = vec![
            (offset_of!(GemmCodesArgs, a), self.pointer(base)?),
            (offset_of!(GemmCodesArgs, a_row_stride), self.dim(row_stride)?),
            (offset_of!(GemmCodesArgs, b), self.pointer(&g.b)?),
            (
                offset_of!(GemmCodesArgs, b_panel_stride),
                self.stride_bytes(&g.b, &g.b_panel_stride)?,
            ),
            (offset_of!(GemmCodesArgs, c), self.pointer(&g.c)?),
            (offset_of!(GemmCodesArgs, c_row_stride), self.dim(&g.c_row_stride)?),
            (offset_of!(GemmCodesArgs, bias), self.optional(g.bias.as_ref())?),
            (offset_of!(GemmCodesArgs, m), self.dim(&g.m)?),
            (offset_of!(GemmCodesArgs, n), self.dim(&g.n)?),
            (offset_of!(GemmCodesArgs, k), self.dim(&g.k)?),
            (offset_of!(GemmCodesArgs, min), self.bound(g.clamp.0)),
            (offset_of!(GemmCodesArgs, max), self.bound(g.clamp.1)),
        ];
        fields.extend(self.scale_fields(g.scales.as_ref())?);
        self.call_with_block(import, size_of::<GemmCodesArgs>(), &fields)
    }

    /// What codes stand for; zeros where numbers have no scales.
    fn scale_fields(&mut self, scales: Option<&Scales>) -> Result<[Field; 6]> {
        let number = |e: &mut Self, x: i64| e.fb.ins().iconst(I64, x);
        let (place, stride) = match scales {
            Some(s) => (self.pointer(&s.place)?, self.stride_bytes(&s.place, &s.panel_stride)?),
            None => (self.null(), self.null()),
        };
        let wide = |s: &Scales| self.kernel.buffers[s.place.buffer].dtype == DType::F32;
        let wide = scales.is_some_and(wide);
        let (zero, group) = scales.map_or((0, 0), |s| (s.zero.into(), s.group.into()));
        Ok([
            (offset_of!(GemmCodesArgs, b_zero), number(self, zero)),
            (offset_of!(GemmCodesArgs, scales), place),
            (offset_of!(GemmCodesArgs, scales_panel_stride), stride),
            (offset_of!(GemmCodesArgs, group), number(self, group)),
            (offset_of!(GemmCodesArgs, wide), number(self, wide.into())),
            (
                offset_of!(GemmCodesArgs, offsets),
                number(self, scales.is_some_and(|s| s.offsets).into()),
            ),
        ])
    }

    /// A stride inside of a place's buffer in bytes.
    fn stride_bytes(&mut self, place: &Place, stride: &Dim) -> Result<Value> {
        let dtype = self.kernel.buffers.get(place.buffer).map(|b| b.dtype);
        let size = dtype.map_or(1, DType::stored_bytes) as i64;
        self.dim(&(stride.clone() * size))
    }

    pub(super) fn dwconv(&mut self, d: &DwConv) -> Result<()> {
        let fields = [
            (offset_of!(DwConvF32Args, a), self.pointer(&d.base)?),
            (offset_of!(DwConvF32Args, a_offsets), self.pointer(&d.offsets)?),
            (offset_of!(DwConvF32Args, zeros), self.table(context_offset::ZEROS)?),
            (offset_of!(DwConvF32Args, w), self.pointer(&d.w)?),
            (offset_of!(DwConvF32Args, w_stride), self.dim(&d.w_stride)?),
            (offset_of!(DwConvF32Args, bias), self.optional(d.bias.as_ref())?),
            (offset_of!(DwConvF32Args, c), self.pointer(&d.c)?),
            (offset_of!(DwConvF32Args, c_row_stride), self.dim(&d.c_row_stride)?),
            (offset_of!(DwConvF32Args, m), self.dim(&d.m)?),
            (offset_of!(DwConvF32Args, channels), self.dim(&d.channels)?),
            (offset_of!(DwConvF32Args, taps), self.dim(&d.taps)?),
            (offset_of!(DwConvF32Args, min), self.bound(d.clamp.0)),
            (offset_of!(DwConvF32Args, max), self.bound(d.clamp.1)),
        ];
        self.call_with_block(Import::DwConvF32, size_of::<DwConvF32Args>(), &fields)
    }

    pub(super) fn pack_b(&mut self, p: &PackB) -> Result<()> {
        let fields = [
            (offset_of!(PackBF32Args, src), self.pointer(&p.src)?),
            (offset_of!(PackBF32Args, row_stride), self.dim(&p.row_stride)?),
            (offset_of!(PackBF32Args, col_stride), self.dim(&p.col_stride)?),
            (offset_of!(PackBF32Args, dst), self.pointer(&p.dst)?),
            (offset_of!(PackBF32Args, panel_stride), self.dim(&p.panel_stride)?),
            (offset_of!(PackBF32Args, k), self.dim(&p.k)?),
            (offset_of!(PackBF32Args, n), self.dim(&p.n)?),
        ];
        self.call_with_block(Import::PackBF32, size_of::<PackBF32Args>(), &fields)
    }

    pub(super) fn map_row(&mut self, op: UnaryOp, dst: &Place, src: &Place, n: &Dim) -> Result<()> {
        let import = match op {
            UnaryOp::Exp => Import::ExpF32,
            UnaryOp::Erf => Import::ErfF32,
            UnaryOp::Tanh => Import::TanhF32,
            UnaryOp::Sigmoid => Import::SigmoidF32,
            UnaryOp::Silu => Import::SiluF32,
            UnaryOp::GeluErf => Import::GeluErfF32,
            UnaryOp::GeluTanh => Import::GeluTanhF32,
            UnaryOp::Log => Import::LogF32,
            _ => return Err(self.unsupported(format!("a row primitive for {op}"))),
        };
        let args = [self.pointer(dst)?, self.pointer(src)?, self.dim(n)?];
        self.call(import, &args, None).map(drop)
    }

    pub(super) fn reduce_row(
        &mut self,
        local: LocalId,
        op: RowReduce,
        src: &Place,
        n: &Dim,
    ) -> Result<()> {
        let import = match op {
            RowReduce::Sum => Import::SumF32,
            RowReduce::SumSq => Import::SumSqF32,
            RowReduce::Max => Import::MaxF32,
        };
        let args = [self.pointer(src)?, self.dim(n)?];
        let result = self.call(import, &args, Some(F32))?;
        self.declare_result(local, &result)
    }

    pub(super) fn exp_sum(
        &mut self,
        local: LocalId,
        dst: &Place,
        src: &Place,
        n: &Dim,
        bias: &'k Expr,
    ) -> Result<()> {
        let bias = self.expr(bias)?;
        if bias.dtype != DType::F32 {
            return Err(self.invalid(format!("a bias of {}", bias.dtype)));
        }
        let args = [self.pointer(dst)?, self.pointer(src)?, self.dim(n)?, bias.v];
        let result = self.call(Import::ExpSumF32, &args, Some(F32))?;
        self.declare_result(local, &result)
    }

    fn declare_result(&mut self, local: LocalId, result: &[Value]) -> Result<()> {
        self.declare(local)?;
        match result {
            [v] => self.write(local, Val { v: *v, dtype: DType::F32 }),
            _ => Err(self.invalid("a call without a result".into())),
        }
    }

    /// The address of a micro-kernel.
    fn import(&mut self, import: Import) -> Result<Value> {
        self.import_entry(super::import_index(import))
    }
}
