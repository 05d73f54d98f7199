//! The kernels on slices, for Rust callers: sizes are checked, so that calling them is safe.

use crate::Kernels;
use cascata_artifact::abi::GemmF32Args;
use std::ptr::null;

/// Columns of a panel of a right operand.
pub const PANEL: usize = 16;

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

impl Kernels {
    /// Multiplies; B, `[n/16, b_rows, 16]`, begins at its first row that counts.
    ///
    /// # Panics
    /// A slice is too short.
    pub fn matmul(&self, sizes: MatMul, a: &[f32], b: &[f32], c: &mut [f32]) {
        let MatMul { m, n, k, a_stride, b_rows, c_stride, accumulate } = sizes;
        if m == 0 || n == 0 {
            return;
        }
        let panels = n.div_ceil(PANEL);
        assert!(a.len() >= (m - 1) * a_stride + k, "A is too short");
        assert!(b.len() >= ((panels - 1) * b_rows + k) * PANEL, "B is too short");
        assert!(c.len() >= (m - 1) * c_stride + n && (m == 1 || c_stride >= n), "C is too short");
        let args = GemmF32Args {
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
        };
        // SAFETY: the operands are as long as asserted; C is borrowed alone.
        unsafe { (self.gemm_f32)(&raw const args) };
    }

    /// `x = e^x`, 0 where that is below 2^-126.
    pub fn exp(&self, x: &mut [f32]) {
        // SAFETY: source and destination are the same slice.
        unsafe { (self.exp_f32)(x.as_mut_ptr(), x.as_ptr(), x.len() as i64) };
    }

    /// `x = e^(x − bias)`, 0 where that is below 2^-126; returns the sum.
    pub fn exp_sum(&self, x: &mut [f32], bias: f32) -> f32 {
        // SAFETY: as of `exp`.
        unsafe { (self.exp_sum_f32)(x.as_mut_ptr(), x.as_ptr(), x.len() as i64, bias) }
    }

    /// `x = tanh(x)`.
    pub fn tanh(&self, x: &mut [f32]) {
        // SAFETY: as of `exp`.
        unsafe { (self.tanh_f32)(x.as_mut_ptr(), x.as_ptr(), x.len() as i64) };
    }

    /// The largest; −inf of none, NaN if any is.
    pub fn max(&self, x: &[f32]) -> f32 {
        // SAFETY: the slice is readable.
        unsafe { (self.max_f32)(x.as_ptr(), x.len() as i64) }
    }
}
