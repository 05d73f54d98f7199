//! Right operands of codes and scales, by their formula.

use super::contraction::{Base, step};
use super::error::Step;
use super::index::Index;
use super::machine::Machine;
use super::value::Access;
use crate::kernel::{Gemm, Scales};
use cascata_types::{CODES_OF_WORD, DType, PANEL_WIDTH};

const WIDTH: i64 = PANEL_WIDTH as i64;

/// The right operand of a [`Gemm`] with [`Scales`].
pub(super) struct CodesPlan {
    /// i8, or u32 of eight codes.
    dtype: DType,
    codes: Access,
    panel_stride: Index,
    scales: Access,
    scales_panel_stride: Index,
    group: i64,
    zero: i64,
    offsets: bool,
}

impl CodesPlan {
    pub(super) fn new(g: &Gemm, s: &Scales, dtype: DType) -> Self {
        Self {
            dtype,
            codes: Access::new(&g.b),
            panel_stride: Index::new(&g.b_panel_stride),
            scales: Access::new(&s.place),
            scales_panel_stride: Index::new(&s.panel_stride),
            group: i64::from(s.group),
            zero: i64::from(s.zero),
            offsets: s.offsets,
        }
    }

    /// `k` rows of `n` elements; whole panels must exist, since kernels load whole rows.
    pub(super) fn rows(&self, machine: &mut Machine, k: i64, n: i64) -> Step<Vec<f64>> {
        let (codes, scales) = (self.codes.base(machine)?, self.scales.base(machine)?);
        let strides =
            [machine.index(&self.panel_stride)?, machine.index(&self.scales_panel_stride)?];
        let mut out = Vec::new();
        for row in 0..k {
            for col in 0..n {
                if col % WIDTH == 0 {
                    self.number(machine, [codes, scales], strides, row, col + WIDTH - 1)?;
                }
                out.push(self.number(machine, [codes, scales], strides, row, col)?);
            }
        }
        Ok(out)
    }

    fn number(
        &self,
        machine: &mut Machine,
        [codes, scales]: [Base; 2],
        [codes_stride, scales_stride]: [i64; 2],
        row: i64,
        col: i64,
    ) -> Step<f64> {
        let (panel, col) = (col / WIDTH, col % WIDTH);
        let of_word = CODES_OF_WORD as i64;
        let start = step(col, panel, codes_stride)?;
        let code = match self.dtype {
            DType::U32 => {
                let word = codes.load_i32(machine, step(start, row / of_word, WIDTH)?)?;
                (word >> (row % of_word * 4) & 15) - self.zero
            }
            _ => codes.load_i32(machine, step(start, row, WIDTH)?)?,
        };
        let kinds = if self.offsets { 2 } else { 1 };
        let at = step(col, panel, scales_stride)?;
        let at = step(at, row / self.group.max(1), kinds * WIDTH)?;
        let product = scales.load(machine, at)? * code as f64;
        let offset = if self.offsets { scales.load(machine, step(at, 1, WIDTH)?)? } else { 0.0 };
        Ok(f64::from((product + offset) as f32))
    }
}
