//! A tile of a product.

use super::{Printer, clamp_field};
use crate::kernel::TileGemm;

impl Printer<'_> {
    pub(super) fn tile_gemm(&mut self, g: &TileGemm) {
        let s = g.schedule;
        let mut lines = vec![
            vec![("a", self.place(&g.a)), ("a_row_stride", self.dim(&g.a_row_stride))],
            vec![("b", self.place(&g.b)), ("b_col_stride", self.dim(&g.b_col_stride))],
            vec![("c", self.place(&g.c)), ("c_row_stride", self.dim(&g.c_row_stride))],
        ];
        lines.extend(g.bias.as_ref().map(|b| vec![("bias", self.place(b))]));
        lines.push(vec![("m", self.dim(&g.m)), ("n", self.dim(&g.n)), ("k", self.dim(&g.k))]);
        lines.extend(clamp_field(&g.clamp).map(|field| vec![field]));
        lines.push(vec![
            ("tile_rows", s.rows.to_string()),
            ("tile_cols", s.cols.to_string()),
            ("stages", s.stages.to_string()),
        ]);
        self.block("tile_gemm", &lines);
    }
}
