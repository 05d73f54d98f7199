//! Operands of the micro-kernels and row primitives.

use super::{Problem, Verifier};
use crate::kernel::{DwConv, Gemm, PackB, Place, Rows};
use crate::op::UnaryOp;
use cascata_types::{DType, Dim, Scalar};

impl Verifier<'_> {
    pub(super) fn operand(&mut self, what: &str, place: &Place, expected: DType) -> u64 {
        let (found, loops) = self.read(place);
        self.expect_dtype(what, expected, found);
        loops
    }

    pub(super) fn result(&mut self, place: &Place, expected: DType) {
        let found = self.write(place.buffer, &place.at);
        self.expect_dtype("the result", expected, found);
    }

    fn dims(&mut self, dims: &[&Dim]) {
        for dim in dims {
            self.dim(dim);
        }
    }

    fn bias(&mut self, bias: &Option<Place>, expected: DType) {
        if let Some(bias) = bias {
            self.operand("the bias", bias, expected);
        }
    }

    pub(super) fn clamp(&mut self, (min, max): (Scalar, Scalar)) {
        for bound in [min, max] {
            self.expect_dtype("the bound", DType::F32, Some(bound.dtype));
        }
        if !matches!(
            min.to_f64().partial_cmp(&max.to_f64()),
            Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)
        ) {
            self.report(Problem::ClampOrder);
        }
    }

    /// The result says what is multiplied.
    pub(super) fn gemm(&mut self, g: &Gemm) {
        let of = |place: &Place| self.kernel.buffers.get(place.buffer).map(|b| b.dtype);
        let integers = of(&g.c) == Some(DType::I32);
        let bytes = integers && of(&g.b) == Some(DType::I8);
        let halves = of(&g.b) == Some(DType::BF16);
        let wide_rows = of(g.a.base()) == Some(DType::F32);
        let (left, right, sum) = match integers {
            true if bytes => (DType::U8, DType::I8, DType::I32),
            true => (DType::I16, DType::I16, DType::I32),
            false if g.scales.is_some() => {
                let codes = if of(&g.b) == Some(DType::U32) { DType::U32 } else { DType::I8 };
                (DType::F32, codes, DType::F32)
            }
            false if halves && wide_rows => (DType::F32, DType::BF16, DType::F32),
            false if halves => (DType::BF16, DType::BF16, DType::F32),
            false => (DType::F32, DType::F32, DType::F32),
        };
        if left != right && sum == DType::F32 {
            self.narrow_block(g, right);
        }
        match &g.a {
            Rows::Strided { base, row_stride, batch_stride } => {
                self.operand("the left operand", base, left);
                self.dims(&[row_stride, batch_stride]);
            }
            Rows::Indirect { base, offsets } => {
                self.operand("the left operand", base, left);
                self.operand("the offsets", offsets, DType::I32);
            }
        }
        self.operand("the right operand", &g.b, right);
        if let Some(zero) = &g.a_zero {
            self.operand("the zero point", zero, left);
            if !bytes {
                self.report(Problem::ZeroPoint);
            }
        }
        self.bias(&g.bias, sum);
        self.result(&g.c, sum);
        self.dims(&[&g.b_panel_stride, &g.b_batch_stride, &g.c_row_stride]);
        self.dims(&[&g.m, &g.n, &g.k, &g.k_last, &g.batch]);
        self.clamp(g.clamp);
        if integers
            && !(g.clamp.0.to_f64() == f64::NEG_INFINITY && g.clamp.1.to_f64() == f64::INFINITY)
        {
            self.report(Problem::IntegerClamp);
        }
    }

    /// What a narrow right operand of f32 rows needs.
    fn narrow_block(&mut self, g: &Gemm, right: DType) {
        let strided = matches!(g.a, Rows::Strided { .. });
        if !strided || !g.batch.is(1) || g.k != g.k_last || g.accumulate {
            self.report(Problem::NarrowBlock);
        }
        let Some(s) = &g.scales else { return };
        let wide = self.kernel.buffers.get(s.place.buffer).is_some_and(|b| b.dtype == DType::F32);
        self.operand("the scales", &s.place, if wide { DType::F32 } else { DType::F16 });
        self.dim(&s.panel_stride);
        let zeros = if right == DType::U32 { 16 } else { 1 };
        if s.zero >= zeros || s.group == 0 || !s.group.is_multiple_of(8) {
            self.report(Problem::Codes { codes: right, zero: s.zero, group: s.group });
        }
    }

    pub(super) fn dw_conv(&mut self, d: &DwConv) {
        self.operand("the operand", &d.base, DType::F32);
        self.operand("the offsets", &d.offsets, DType::I32);
        self.operand("the weights", &d.w, DType::F32);
        self.bias(&d.bias, DType::F32);
        self.result(&d.c, DType::F32);
        self.dims(&[&d.w_stride, &d.c_row_stride, &d.m, &d.channels, &d.taps]);
        self.clamp(d.clamp);
    }

    pub(super) fn pack_b(&mut self, p: &PackB) {
        self.operand("the operand", &p.src, DType::F32);
        self.result(&p.dst, DType::F32);
        self.dims(&[&p.row_stride, &p.col_stride, &p.panel_stride, &p.k, &p.n]);
    }

    pub(super) fn map_row(&mut self, op: UnaryOp, dst: &Place, src: &Place, n: &Dim) {
        use UnaryOp::*;
        if !matches!(op, Exp | Erf | Tanh | Sigmoid | Silu | GeluErf | GeluTanh | Log) {
            self.report(Problem::NotARowOp(op.name()));
        }
        self.operand("the row", src, DType::F32);
        self.result(dst, DType::F32);
        self.dim(n);
    }
}
