//! `pack_b_f32@1`: B into panels of 16 columns.
//!
//! * Shapes: `B f32[k, n]` of any strides into `f32[n/16, k, 16]`, zero-padded.
//! * Error: none. Bound by bytes.
//!
//! Two orders of B are fast: rows contiguous (`col_stride == 1`, whole vectors are
//! copied) and columns contiguous (`row_stride == 1`, square blocks are transposed in
//! registers). Any other order is copied element by element.
//!
//! Versions, with GB/s read + written of `512x512` by rows, by columns, otherwise
//! (one Zen 4 thread, `cargo run --release -p cascata-kernels --example ceilings -- pack`):
//! 1. portable: 28, 27, 20.
//! 2. avx2: 8 x 8 transposes: 66, 78, 20.
//! 3. avx512: 16 x 16 transposes: 63, 73, 21.

use crate::gemm::PANEL;
use crate::simd::Simd;
use cascata_artifact::abi::PackBF32Args;

/// A level's in-register transpose.
pub(crate) trait Transpose: Simd {
    /// A square of vectors.
    type Square: AsMut<[Self::F]> + Copy;
    /// A square of zeros.
    fn zeros(self) -> Self::Square;
    /// Lane `i` of vector `j` becomes lane `j` of vector `i`.
    fn transpose(self, square: Self::Square) -> Self::Square;
}

/// Runs a call.
///
/// # Safety
/// The source that `args` describes is readable, the panels are writable.
#[inline(always)]
pub(crate) unsafe fn pack<S: Transpose>(s: S, args: &PackBF32Args) {
    let (k, n) = (args.k.max(0) as usize, args.n.max(0) as usize);
    for column in (0..n).step_by(PANEL) {
        let columns = (n - column).min(PANEL);
        let panel = (column / PANEL) as isize * args.panel_stride as isize;
        // SAFETY: the caller's promise: `columns` columns are left, and their panel exists.
        unsafe {
            let src = args.src.wrapping_offset(column as isize * args.col_stride as isize);
            let dst = args.dst.offset(panel);
            if args.col_stride == 1 {
                copy_rows(s, src, args.row_stride as isize, dst, k, columns);
            } else if args.row_stride == 1 {
                transpose_panel(s, src, args.col_stride as isize, dst, k, columns);
            } else {
                let strides = (args.row_stride as isize, args.col_stride as isize);
                copy_elements(src, strides, dst, k, columns);
            }
        }
    }
}

/// A panel of B whose rows are contiguous.
#[inline(always)]
unsafe fn copy_rows<S: Simd>(
    s: S,
    src: *const f32,
    row_stride: isize,
    dst: *mut f32,
    k: usize,
    columns: usize,
) {
    for row in 0..k {
        for lane in (0..PANEL).step_by(S::LANES) {
            let n = columns.saturating_sub(lane).min(S::LANES);
            // SAFETY: `n` columns of the row are left; the panel has 16.
            unsafe {
                let from = src.offset(row as isize * row_stride).wrapping_add(lane);
                let x = if n == S::LANES { s.load(from) } else { s.load_first(from, n) };
                s.store(dst.add(row * PANEL + lane), x);
            }
        }
    }
}

/// A panel of B whose columns are contiguous.
#[inline(always)]
unsafe fn transpose_panel<S: Transpose>(
    s: S,
    src: *const f32,
    col_stride: isize,
    dst: *mut f32,
    k: usize,
    columns: usize,
) {
    for row in (0..k).step_by(S::LANES) {
        let rows = (k - row).min(S::LANES);
        for lane in (0..PANEL).step_by(S::LANES) {
            let used = columns.saturating_sub(lane).min(S::LANES);
            // SAFETY: `used` columns are left from `lane`, `rows` elements of each from `row`.
            unsafe {
                let from = src.wrapping_offset(lane as isize * col_stride).wrapping_add(row);
                let to = dst.add(row * PANEL + lane);
                if (used, rows) == (S::LANES, S::LANES) {
                    transpose_whole(s, from, col_stride, to);
                } else {
                    transpose_part(s, from, col_stride, to, rows, used);
                }
            }
        }
    }
}

/// A square of B, without a branch: it stays in registers.
#[inline(always)]
unsafe fn transpose_whole<S: Transpose>(s: S, from: *const f32, col_stride: isize, to: *mut f32) {
    let mut square = s.zeros();
    for (j, x) in square.as_mut().iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *x = unsafe { s.load(from.offset(j as isize * col_stride)) };
    }
    for (j, &mut x) in s.transpose(square).as_mut().iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { s.store(to.add(j * PANEL), x) };
    }
}

/// `rows` x `used` of a square of B; the other columns become zeros.
#[inline(always)]
unsafe fn transpose_part<S: Transpose>(
    s: S,
    from: *const f32,
    col_stride: isize,
    to: *mut f32,
    rows: usize,
    used: usize,
) {
    let mut square = s.zeros();
    for (j, x) in square.as_mut().iter_mut().enumerate().take(used) {
        // SAFETY: the caller's promise.
        *x = unsafe { s.load_first(from.offset(j as isize * col_stride), rows) };
    }
    for (j, &mut x) in s.transpose(square).as_mut().iter_mut().enumerate().take(rows) {
        // SAFETY: the caller's promise.
        unsafe { s.store(to.add(j * PANEL), x) };
    }
}

/// A panel of B of any order.
unsafe fn copy_elements(
    src: *const f32,
    (row_stride, col_stride): (isize, isize),
    dst: *mut f32,
    k: usize,
    columns: usize,
) {
    for row in 0..k {
        for lane in 0..PANEL {
            // SAFETY: the element exists if `lane` is a column; the panel has 16.
            unsafe {
                let at = row as isize * row_stride + lane as isize * col_stride;
                *dst.add(row * PANEL + lane) = if lane < columns { *src.offset(at) } else { 0.0 };
            }
        }
    }
}
