//! Micro-kernels on plain slices, to measure what a machine can do with them.

use crate::{Isa, Kernels, MatMul, PANEL};

/// Operands of one call of the GEMM micro-kernel that stay in the first cache levels.
pub struct GemmBlock {
    kernels: &'static Kernels,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    rows: usize,
    columns: usize,
    depth: usize,
}

impl GemmBlock {
    /// A block of `rows × columns`, summed over `depth`; columns are rounded up to panels.
    pub fn new(isa: Isa, rows: usize, columns: usize, depth: usize) -> Self {
        let columns = columns.next_multiple_of(PANEL);
        let filled = |n: usize| (0..n).map(|i| (i % 7) as f32 * 0.125).collect();
        Self {
            kernels: Kernels::new(isa),
            a: filled(rows * depth),
            b: filled(depth * columns),
            c: vec![0.0; rows * columns],
            rows,
            columns,
            depth,
        }
    }

    /// Floating-point operations of one [`Self::run`].
    pub fn flops(&self) -> usize {
        2 * self.rows * self.columns * self.depth
    }

    /// Computes the block once.
    pub fn run(&mut self) {
        let Self { rows: m, columns: n, depth: k, .. } = *self;
        let sizes = MatMul { m, n, k, a_stride: k, b_rows: k, c_stride: n, accumulate: false };
        self.kernels.matmul(sizes, &self.a, &self.b, &mut self.c);
    }

    /// The result, row by row.
    pub fn result(&self) -> &[f32] {
        &self.c
    }
}

/// The sum of the elements by the micro-kernel: each is read once.
pub fn sum(isa: Isa, x: &[f32]) -> f32 {
    // SAFETY: `x` holds that many elements.
    unsafe { (Kernels::new(isa).sum_f32)(x.as_ptr(), x.len() as i64) }
}

#[cfg(test)]
mod tests {
    use super::{GemmBlock, sum};
    use crate::Isa;

    #[test]
    fn the_measured_block_is_a_product() {
        for isa in Isa::ALL {
            let mut block = GemmBlock::new(isa, 5, 20, 3);
            block.run();
            assert_eq!((block.columns, block.flops()), (32, 2 * 5 * 32 * 3));
            for (i, c) in block.result().iter().enumerate() {
                let (row, column) = (i / 32, i % 32);
                let b = |k: usize| block.b[(column / 16) * 48 + k * 16 + column % 16];
                let want: f32 = (0..3).map(|k| block.a[row * 3 + k] * b(k)).sum();
                assert!((c - want).abs() < 1e-6, "{isa} [{row}, {column}]: {c}, not {want}");
            }
        }
    }

    #[test]
    fn every_element_is_read() {
        let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        assert_eq!(sum(Isa::detect(), &x), 499_500.0);
    }
}
