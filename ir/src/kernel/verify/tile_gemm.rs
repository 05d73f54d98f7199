//! A tile of a product.

use super::{Problem, Verifier};
use crate::kernel::{LoopKind, Place, Space, TileGemm};
use cascata_types::DType;

impl Verifier<'_> {
    pub(super) fn tile_gemm(&mut self, g: &TileGemm) {
        if self.scope.loops.iter().any(|l| l.kind != LoopKind::Serial) {
            self.report(Problem::TileInParallelLoop);
        }
        let (dtype, _) = self.read(&g.a);
        let (other, _) = self.read(&g.b);
        if let Some(dtype) = dtype {
            self.expect_dtype("the right operand", dtype, other);
        }
        let result = self.write(g.c.buffer, &g.c.at);
        let is_float = |d: DType| matches!(d, DType::F16 | DType::BF16 | DType::F32);
        if [dtype, result].into_iter().flatten().any(|d| !is_float(d)) {
            self.report(Problem::TileFloat);
        }
        if let Some(bias) = &g.bias {
            self.operand("the bias", bias, DType::F32);
        }
        for dim in [&g.a_row_stride, &g.b_col_stride, &g.c_row_stride, &g.m, &g.n, &g.k] {
            self.dim(dim);
        }
        self.clamp(g.clamp);
        self.tile_gemm_sizes(g);
        self.of_launch(g.operands().into_iter().chain([&g.c]));
    }

    /// Copy engines and other blocks see nothing else.
    pub(super) fn of_launch<'a>(&mut self, mut places: impl Iterator<Item = &'a Place>) {
        let own = |p: &&Place| {
            let buffer = self.kernel.buffers.get(p.buffer);
            buffer.is_some_and(|b| !matches!(b.space, Space::Input | Space::Output))
        };
        let found = places.find(own);
        if let Some(name) = found.map(|p| self.kernel.buffers[p.buffer].name.clone()) {
            self.report(Problem::TileOfOwnBuffer(name));
        }
    }

    fn tile_gemm_sizes(&mut self, g: &TileGemm) {
        let s = g.schedule;
        let most = |count: Option<i64>, most: u32| count.is_none_or(|n| n <= i64::from(most));
        for (holds, what) in [
            (s.rows > 0 && s.cols > 0, "tile_rows and tile_cols are 1 or more"),
            (s.stages > 0, "stages are 1 or more"),
            (most(g.m.as_const(), s.rows), "m is tile_rows at most"),
            (most(g.n.as_const(), s.cols), "n is tile_cols at most"),
        ] {
            if !holds {
                self.report(Problem::TileSize(what));
            }
        }
    }
}
