//! The kernels on slices, for Rust callers: sizes are checked, so that calling them is safe.

use crate::{Kernels, PANEL};
use cascata_artifact::abi::{GemmArgs, GemmF32Args};
use std::ptr::null;

/// Sizes and places of `C[m,n] = A[m,k]·B[k,n]`.
#[derive(Clone, Copy, Debug)]
pub struct MatMul {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Elements from a row of A to the next.
    pub a_stride: usize,
    /// Rows of a panel of B, of which `k` count.
    pub b_rows: usize,
    /// Elements from a row of C to the next.
    pub c_stride: usize,
    /// Add to what C holds.
    pub accumulate: bool,
}

impl MatMul {
    /// Elements of B from its first row to its last.
    fn b_len(&self) -> usize {
        ((self.n.div_ceil(PANEL) - 1) * self.b_rows + self.k) * PANEL
    }

    /// A call of at least one element.
    fn args<T>(&self, a: &[T], b: &[T], c: &mut [f32]) -> GemmArgs<T, T, f32> {
        let MatMul { m, n, k, a_stride, b_rows, c_stride, accumulate } = *self;
        assert!(a.len() >= (m - 1) * a_stride + k, "A is too short");
        assert!(b.len() >= self.b_len(), "B is too short");
        assert!(c.len() >= (m - 1) * c_stride + n && (m == 1 || c_stride >= n), "C is too short");
        GemmArgs {
            a: a.as_ptr(),
            a_offsets: null(),
            a_row_stride: a_stride as i64,
            a_batch_stride: 0,
            zeros: null(),
            b: b.as_ptr(),
            b_panel_stride: (b_rows * PANEL) as i64,
            b_batch_stride: 0,
            c: c.as_mut_ptr(),
            c_row_stride: c_stride as i64,
            bias: null(),
            m: m as i64,
            n: n as i64,
            k: k as i64,
            k_last: k as i64,
            batch: 1,
            accumulate: i64::from(accumulate),
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
            a_zero: 0,
        }
    }
}

impl Kernels {
    /// Multiplies; B, `[n/16, b_rows, 16]`, begins at its first row that counts.
    ///
    /// # Panics
    /// A slice is too short.
    pub fn matmul(&self, sizes: MatMul, a: &[f32], b: &[f32], c: &mut [f32]) {
        if sizes.m > 0 && sizes.n > 0 {
            let args: GemmF32Args = sizes.args(a, b, c);
            // SAFETY: the operands are as long as asserted; C is borrowed alone.
            unsafe { (self.gemm_f32)(&raw const args) };
        }
    }

    /// The same of bits of bfloats, B in pairs of rows, `[n/16, b_rows/2, 16, 2]`.
    ///
    /// # Panics
    /// A slice is too short, or half of a pair.
    pub fn matmul_bf16(&self, sizes: MatMul, a: &[u16], b: &[u16], c: &mut [f32]) {
        assert!(sizes.b_rows.is_multiple_of(2), "half of a pair of rows");
        if sizes.m > 0 && sizes.n > 0 {
            let whole = MatMul { k: sizes.k.next_multiple_of(2), ..sizes };
            assert!(b.len() >= whole.b_len(), "B is too short");
            let args: GemmArgs<u16, u16, f32> = sizes.args(a, b, c);
            // SAFETY: as of `matmul`; a `Bf16` is its bits.
            unsafe { (self.gemm_bf16)((&raw const args).cast()) };
        }
    }
}
