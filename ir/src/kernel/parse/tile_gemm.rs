//! `tile_gemm { a: %a[0], … }`, fields in any order.

use super::{ParseError, Parser};
use crate::kernel::{GemmSchedule, Stmt, TileGemm};

impl Parser<'_> {
    pub(super) fn tile_gemm(&mut self) -> Result<Stmt, ParseError> {
        let f = &mut self.fields("tile_gemm")?;
        let gemm = TileGemm {
            a: self.take_place(f, "a")?,
            a_row_stride: self.take_dim(f, "a_row_stride")?,
            b: self.take_place(f, "b")?,
            b_col_stride: self.take_dim(f, "b_col_stride")?,
            c: self.take_place(f, "c")?,
            c_row_stride: self.take_dim(f, "c_row_stride")?,
            bias: self.take_optional(f, "bias")?,
            m: self.take_dim(f, "m")?,
            n: self.take_dim(f, "n")?,
            k: self.take_dim(f, "k")?,
            clamp: self.take_clamp(f)?,
            schedule: GemmSchedule {
                rows: self.take_count(f, "tile_rows")?,
                cols: self.take_count(f, "tile_cols")?,
                stages: self.take_count(f, "stages")?,
            },
        };
        self.end(f)?;
        Ok(Stmt::TileGemm(Box::new(gemm)))
    }
}
