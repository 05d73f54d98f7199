//! Matrix products by tiles, on tensor cores.
//!
//! `a[M,K]`, `b[N,K]` → `c[M,N]`, both operands with what is summed side by side (`K` a multiple
//! of 8). A block has a tile of `c`; tiles go down groups of row blocks, so that blocks that run
//! together share rows and columns in L2. Bound by flops: `2·M·N·K`; what [`LARGE`] reaches on an
//! H200 beside cuBLAS is in `tests/reports/` (bf16, 8192³: 97 % of it, 634 TFLOP/s).
//!
//! Error: sums in f32, the result rounded once.

use cascata_ir::kernel::{GemmSchedule, Kernel, KernelBuilder, Place, Stmt, TileGemm};
use cascata_ir::types::{DType, Dim, Scalar, SymbolTable};

/// The fastest of the schedules that were measured, for products that fill a GPU.
pub const LARGE: GemmSchedule = GemmSchedule { rows: 128, cols: 256, stages: 4 };

/// A product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// Of both operands: f16 or bf16.
    pub dtype: DType,
    /// Of the result.
    pub result: DType,
    /// A number of each column, f32, is added.
    pub bias: bool,
    /// Bounds of the results.
    pub clamp: (f32, f32),
    /// How a block computes a tile.
    pub schedule: GemmSchedule,
    /// Row blocks of a group.
    pub group: u32,
}

impl Product {
    /// Nothing is done to the sums but rounding.
    pub fn plain(dtype: DType, schedule: GemmSchedule) -> Self {
        let clamp = (f32::NEG_INFINITY, f32::INFINITY);
        Self { dtype, result: dtype, bias: false, clamp, schedule, group: 8 }
    }

    /// The kernel; its parameters are `M`, `N`, `K`.
    pub fn kernel(&self, name: &str) -> Kernel {
        let mut symbols = SymbolTable::default();
        let [m, n, k] = ["M", "N", "K"].map(|s| Dim::sym(symbols.intern(s)));
        let mut builder = KernelBuilder::new(name, symbols);
        let a = builder.input("a", self.dtype, m.clone() * k.clone());
        let b = builder.input("b", self.dtype, n.clone() * k.clone());
        let bias = self.bias.then(|| builder.input("bias", DType::F32, n.clone()));
        let c = builder.output("c", self.result, m.clone() * n.clone());
        let tile = builder.tile("tile");
        let (rows, cols) = (i64::from(self.schedule.rows), i64::from(self.schedule.cols));
        let (row_blocks, col_blocks) = (m.ceil_div(&rows.into()), n.ceil_div(&cols.into()));
        // Groups of row blocks, each column by column.
        let group = i64::from(self.group);
        let of_group = col_blocks.clone() * group;
        let first = Dim::sym(tile).floor_div(&of_group) * group;
        let height = (row_blocks.clone() - first.clone()).minimum(&group.into());
        let inside = Dim::sym(tile).modulo(&of_group);
        let row = (first + inside.modulo(&height)) * rows;
        let col = inside.floor_div(&height) * cols;
        let gemm = TileGemm {
            a: Place::new(a, row.clone() * k.clone()),
            a_row_stride: k.clone(),
            b: Place::new(b, col.clone() * k.clone()),
            b_col_stride: k.clone(),
            c: Place::new(c, row.clone() * n.clone() + col.clone()),
            c_row_stride: n.clone(),
            bias: bias.map(|bias| Place::new(bias, col.clone())),
            m: (m - row).minimum(&rows.into()),
            n: (n - col).minimum(&cols.into()),
            k,
            clamp: (Scalar::f32(self.clamp.0), Scalar::f32(self.clamp.1)),
            schedule: self.schedule,
        };
        builder.finish(row_blocks * col_blocks, tile, vec![Stmt::TileGemm(Box::new(gemm))])
    }
}
