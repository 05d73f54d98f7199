//! A tile of a product by its formula, in f64, rounded once at the end.

use super::contraction::{Clamp, base_of, optional, step};
use super::error::{Fault, Step};
use super::index::Index;
use super::machine::Machine;
use super::program::Action;
use super::value::Access;
use crate::kernel::{Kernel, TileGemm};
use cascata_types::DType;

/// A [`TileGemm`].
pub(super) struct TileGemmPlan {
    a: (Access, Index),
    b: (Access, Index),
    c: (Access, Index),
    dtype: DType,
    bias: Option<Access>,
    /// Rows, columns, and how many of each there may be.
    m: (Index, i64),
    n: (Index, i64),
    k: Index,
    clamp: Clamp,
}

impl TileGemmPlan {
    pub(super) fn action<'k>(kernel: &Kernel, g: &TileGemm) -> Action<'k> {
        Action::TileGemm(Box::new(Self {
            a: (Access::new(&g.a), Index::new(&g.a_row_stride)),
            b: (Access::new(&g.b), Index::new(&g.b_col_stride)),
            c: (Access::new(&g.c), Index::new(&g.c_row_stride)),
            dtype: kernel.buffers[g.c.buffer].dtype,
            bias: optional(&g.bias),
            m: (Index::new(&g.m), i64::from(g.schedule.rows)),
            n: (Index::new(&g.n), i64::from(g.schedule.cols)),
            k: Index::new(&g.k),
            clamp: Clamp::new(g.clamp),
        }))
    }

    pub(super) fn run(&self, m: &mut Machine) -> Step<()> {
        let (rows, cols, terms) = (m.index(&self.m.0)?, m.index(&self.n.0)?, m.index(&self.k)?);
        for (what, count, most) in [("rows", rows, self.m.1), ("columns", cols, self.n.1)] {
            if count > most {
                return Err(Fault::TileSize { what, count, most }.into());
            }
        }
        let row = |m: &mut Machine, (base, stride): &(Access, Index), i: i64| {
            let at = step(0, i, m.index(stride)?)?;
            let base = base.base(m)?;
            (0..terms).map(|p| base.load(m, step(at, p, 1)?)).collect::<Step<Vec<f64>>>()
        };
        let bias = base_of(&self.bias, m)?;
        let (c, c_stride) = (self.c.0.base(m)?, m.index(&self.c.1)?);
        for j in 0..cols {
            let b = row(m, &self.b, j)?;
            let start = bias.map_or(Ok(0.0), |bias| bias.load(m, j))?;
            for i in 0..rows {
                let a = row(m, &self.a, i)?;
                let sum = a.iter().zip(&b).fold(start, |sum, (a, b)| sum + a * b);
                c.store(m, step(j, i, c_stride)?, self.dtype, self.clamp.apply(sum))?;
            }
        }
        Ok(())
    }
}
