//! A tile of a matrix product, by all threads of a block.
//!
//! # Semantics
//! For `i < m`, `j < n`, with sums in f32 or better in any order:
//!
//! ```text
//! c[i·c_row_stride + j] = clamp(bias[j] + Σ_{p < k} a[i·a_row_stride + p] · b[j·b_col_stride + p])
//! ```
//!
//! Both operands have what is summed side by side in memory; strides and first elements of both
//! are multiples of 16 bytes.

use super::Place;
use cascata_types::{Dim, Scalar};

/// A tile of a matrix product; see the module text.
#[derive(Clone, Debug, PartialEq)]
pub struct TileGemm {
    /// First number of the tile's first row.
    pub a: Place,
    /// Elements between rows.
    pub a_row_stride: Dim,
    /// First number of the tile's first column.
    pub b: Place,
    /// Elements between columns.
    pub b_col_stride: Dim,
    /// First result.
    pub c: Place,
    /// Elements between rows of results.
    pub c_row_stride: Dim,
    /// f32, a number of each column.
    pub bias: Option<Place>,
    /// Rows: at most [`GemmSchedule::rows`].
    pub m: Dim,
    /// Columns: at most [`GemmSchedule::cols`].
    pub n: Dim,
    /// Terms of a sum.
    pub k: Dim,
    /// Bounds of the results.
    pub clamp: (Scalar, Scalar),
    /// How a GPU computes it.
    pub schedule: GemmSchedule,
}

/// How a GPU's block computes a tile of a product: by `wgmma` (sm_90a), four warps for every 64
/// rows, in steps of 64 terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GemmSchedule {
    /// Rows of a tile: a multiple of 64.
    pub rows: u32,
    /// Columns of a tile: a multiple of 16, 256 at most.
    pub cols: u32,
    /// Steps of both operands in shared memory: 3 or more.
    pub stages: u32,
}

impl TileGemm {
    /// The first elements of all operands.
    pub fn operands(&self) -> Vec<&Place> {
        [&self.a, &self.b].into_iter().chain(&self.bias).collect()
    }

    /// Operands and the result.
    pub fn places_mut(&mut self) -> Vec<&mut Place> {
        [&mut self.a, &mut self.b, &mut self.c].into_iter().chain(&mut self.bias).collect()
    }

    /// All index expressions that are not part of a place.
    pub fn dims_mut(&mut self) -> Vec<&mut Dim> {
        let strides = [&mut self.a_row_stride, &mut self.b_col_stride, &mut self.c_row_stride];
        strides.into_iter().chain([&mut self.m, &mut self.n, &mut self.k]).collect()
    }
}
