//! The micro-kernels by their formulas: `f64` accumulation, rounded once at the end. Sums of
//! integers are exact that way below 2⁵³, and wrapped once at the end.

use super::codes::CodesPlan;
use super::error::Step;
use super::index::Index;
use super::machine::Machine;
use super::value::{Access, rounded};
use crate::kernel::{DwConv, Gemm, PackB, Place, Rows};
use cascata_types::{DType, EvalError, PANEL_WIDTH, PanelEncoding, Scalar};

const WIDTH: i64 = PANEL_WIDTH as i64;

/// `base + i·stride`.
pub(super) fn step(base: i64, i: i64, stride: i64) -> Step<i64> {
    let sum = i.checked_mul(stride).and_then(|x| base.checked_add(x));
    Ok(sum.ok_or(EvalError::Overflow)?)
}

/// An operand with its first element evaluated.
#[derive(Clone, Copy)]
pub(super) struct Base {
    buffer: usize,
    at: i64,
}

impl Base {
    pub(super) fn load(self, m: &mut Machine, offset: i64) -> Step<f64> {
        m.load(self.buffer, step(self.at, offset, 1)?).map(f64::from_bits)
    }

    pub(super) fn load_i32(self, m: &mut Machine, offset: i64) -> Step<i64> {
        m.load(self.buffer, step(self.at, offset, 1)?).map(|raw| raw as i64)
    }

    /// Stores a float, rounded to the buffer's dtype.
    pub(super) fn store(self, m: &mut Machine, offset: i64, dtype: DType, x: f64) -> Step<()> {
        m.store(self.buffer, step(self.at, offset, 1)?, rounded(dtype, x))
    }

    fn load_int(self, m: &mut Machine, offset: i64) -> Step<f64> {
        m.load(self.buffer, step(self.at, offset, 1)?).map(|raw| raw as i64 as f64)
    }

    /// Stores a whole number, wrapped.
    fn store_i32(self, m: &mut Machine, offset: i64, x: f64) -> Step<()> {
        m.store(self.buffer, step(self.at, offset, 1)?, i64::from(x as i64 as i32) as u64)
    }

    pub(super) fn store_f32(self, m: &mut Machine, offset: i64, x: f64) -> Step<()> {
        m.store(self.buffer, step(self.at, offset, 1)?, rounded(DType::F32, x))
    }

    /// Whether both are the same place.
    pub(super) fn is(self, other: Base) -> bool {
        self.buffer == other.buffer && self.at == other.at
    }

    /// Whether rows of `n` elements overlap.
    pub(super) fn overlaps(self, other: Base, n: i64) -> bool {
        self.buffer == other.buffer && self.at.abs_diff(other.at) < n.max(0) as u64
    }
}

impl Access {
    pub(super) fn base(&self, m: &Machine) -> Step<Base> {
        Ok(Base { buffer: self.buffer, at: m.index(&self.at)? })
    }
}

/// Loads an offset of a row; `None` for a row of zeros.
fn row_offset(m: &mut Machine, offsets: Base, at: i64) -> Step<Option<i64>> {
    let offset = m.load(offsets.buffer, step(offsets.at, at, 1)?)? as i64;
    Ok((offset >= 0).then_some(offset))
}

/// Bounds of a result; NaN passes.
pub(super) struct Clamp(f64, f64);

impl Clamp {
    pub(super) fn new((min, max): (Scalar, Scalar)) -> Self {
        Self(min.to_f64(), max.to_f64())
    }

    pub(super) fn apply(&self, x: f64) -> f64 {
        if x.is_nan() { x } else { x.max(self.0).min(self.1) }
    }
}

/// A place that may be missing.
pub(super) fn optional(place: &Option<Place>) -> Option<Access> {
    place.as_ref().map(Access::new)
}

pub(super) fn base_of(access: &Option<Access>, m: &Machine) -> Step<Option<Base>> {
    access.as_ref().map(|a| a.base(m)).transpose()
}

enum RowsPlan {
    Strided { base: Access, row_stride: Index, batch_stride: Index },
    Indirect { base: Access, offsets: Access },
}

/// A [`Gemm`].
pub(super) struct GemmPlan {
    /// What B holds: i16 or i8, summed in i32, else f32, bf16 or codes, summed in f32.
    factors: DType,
    codes: Option<CodesPlan>,
    a: RowsPlan,
    a_zero: Option<Access>,
    b: Access,
    b_panel_stride: Index,
    b_batch_stride: Index,
    c: Access,
    c_row_stride: Index,
    bias: Option<Access>,
    m: Index,
    n: Index,
    k: Index,
    k_last: Index,
    batch: Index,
    accumulate: bool,
    clamp: Clamp,
}

impl GemmPlan {
    pub(super) fn new(g: &Gemm, factors: DType) -> Self {
        let a = match &g.a {
            Rows::Strided { base, row_stride, batch_stride } => RowsPlan::Strided {
                base: Access::new(base),
                row_stride: Index::new(row_stride),
                batch_stride: Index::new(batch_stride),
            },
            Rows::Indirect { base, offsets } => {
                RowsPlan::Indirect { base: Access::new(base), offsets: Access::new(offsets) }
            }
        };
        let codes = g.scales.as_ref().map(|s| CodesPlan::new(g, s, factors));
        Self {
            factors: if codes.is_some() { DType::F32 } else { factors },
            codes,
            a,
            a_zero: optional(&g.a_zero),
            b: Access::new(&g.b),
            b_panel_stride: Index::new(&g.b_panel_stride),
            b_batch_stride: Index::new(&g.b_batch_stride),
            c: Access::new(&g.c),
            c_row_stride: Index::new(&g.c_row_stride),
            bias: optional(&g.bias),
            m: Index::new(&g.m),
            n: Index::new(&g.n),
            k: Index::new(&g.k),
            k_last: Index::new(&g.k_last),
            batch: Index::new(&g.batch),
            accumulate: g.accumulate,
            clamp: Clamp::new(g.clamp),
        }
    }

    pub(super) fn run(&self, machine: &mut Machine) -> Step<()> {
        let (m, n) = (machine.index(&self.m)?, machine.index(&self.n)?);
        if m <= 0 || n <= 0 {
            return Ok(());
        }
        let (k, k_last) = (machine.index(&self.k)?, machine.index(&self.k_last)?);
        let batch = machine.index(&self.batch)?;
        let zero = match base_of(&self.a_zero, machine)? {
            Some(zero) => self.number(machine, zero, 0)?,
            None => 0.0,
        };
        let mut sums = self.initial(machine, m, n)?;
        for t in 0..batch {
            let k = if t + 1 == batch { k_last } else { k };
            let b = match &self.codes {
                Some(codes) => codes.rows(machine, k, n)?,
                None => self.block_of_b(machine, t, k, n)?,
            };
            for i in 0..m {
                let a = self.row_of_a(machine, [t, i, m, k], zero)?;
                let sums = &mut sums[(i * n) as usize..][..n as usize];
                for (a, b) in a.iter().zip(b.chunks_exact(n as usize)) {
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum += a * b;
                    }
                }
            }
        }
        let (c, stride) = (self.c.base(machine)?, machine.index(&self.c_row_stride)?);
        for i in 0..m {
            for j in 0..n {
                let (at, sum) = (step(j, i, stride)?, sums[(i * n + j) as usize]);
                match self.factors.is_int() {
                    true => c.store_i32(machine, at, sum)?,
                    false => c.store_f32(machine, at, self.clamp.apply(sum))?,
                }
            }
        }
        Ok(())
    }

    fn number(&self, machine: &mut Machine, base: Base, at: i64) -> Step<f64> {
        match self.factors.is_int() {
            true => base.load_int(machine, at),
            false => base.load(machine, at),
        }
    }

    fn initial(&self, machine: &mut Machine, m: i64, n: i64) -> Step<Vec<f64>> {
        let (c, stride) = (self.c.base(machine)?, machine.index(&self.c_row_stride)?);
        let bias = base_of(&self.bias, machine)?;
        let mut sums = Vec::new();
        for i in 0..m {
            for j in 0..n {
                sums.push(match bias {
                    _ if self.accumulate => self.number(machine, c, step(j, i, stride)?)?,
                    Some(bias) => self.number(machine, bias, j)?,
                    None => 0.0,
                });
            }
        }
        Ok(sums)
    }

    /// `k` rows of `n` elements; whole panels must exist, since kernels load whole rows.
    fn block_of_b(&self, machine: &mut Machine, t: i64, k: i64, n: i64) -> Step<Vec<f64>> {
        let b = self.b.base(machine)?;
        let start = step(0, t, machine.index(&self.b_batch_stride)?)?;
        let panel_stride = machine.index(&self.b_panel_stride)?;
        let group = PanelEncoding::group_of(self.factors) as i64;
        let mut block = Vec::new();
        for row in 0..k {
            for j in 0..n {
                let panel = step(start, j / WIDTH, panel_stride)?;
                let row_start = step(panel, row / group, group * WIDTH)?;
                if j % WIDTH == 0 {
                    let last = step(row_start, 1, group * WIDTH - 1)?;
                    machine.element(b.buffer, step(b.at, 1, row_start)?)?;
                    machine.element(b.buffer, step(b.at, 1, last)?)?;
                }
                let at = step(row_start, 1, j % WIDTH * group + row % group)?;
                block.push(self.number(machine, b, at)?);
            }
        }
        Ok(block)
    }

    /// `A_t[i, ..k] − zero`; 0 in a row that is not there.
    fn row_of_a(&self, machine: &mut Machine, [t, i, m, k]: [i64; 4], zero: f64) -> Step<Vec<f64>> {
        let (base, start) = match &self.a {
            RowsPlan::Strided { base, row_stride, batch_stride } => {
                let block = step(0, t, machine.index(batch_stride)?)?;
                (base.base(machine)?, Some(step(block, i, machine.index(row_stride)?)?))
            }
            RowsPlan::Indirect { base, offsets } => {
                let offsets = offsets.base(machine)?;
                (base.base(machine)?, row_offset(machine, offsets, step(i, t, m)?)?)
            }
        };
        (0..k)
            .map(|x| match start {
                Some(start) => Ok(self.number(machine, base, step(start, 1, x)?)? - zero),
                None => Ok(0.0),
            })
            .collect()
    }
}

/// A [`DwConv`].
pub(super) struct DwConvPlan {
    base: Access,
    offsets: Access,
    w: Access,
    w_stride: Index,
    bias: Option<Access>,
    c: Access,
    c_row_stride: Index,
    m: Index,
    channels: Index,
    taps: Index,
    clamp: Clamp,
}

impl DwConvPlan {
    pub(super) fn new(d: &DwConv) -> Self {
        Self {
            base: Access::new(&d.base),
            offsets: Access::new(&d.offsets),
            w: Access::new(&d.w),
            w_stride: Index::new(&d.w_stride),
            bias: optional(&d.bias),
            c: Access::new(&d.c),
            c_row_stride: Index::new(&d.c_row_stride),
            m: Index::new(&d.m),
            channels: Index::new(&d.channels),
            taps: Index::new(&d.taps),
            clamp: Clamp::new(d.clamp),
        }
    }

    pub(super) fn run(&self, machine: &mut Machine) -> Step<()> {
        let (m, channels) = (machine.index(&self.m)?, machine.index(&self.channels)?);
        let (c, stride) = (self.c.base(machine)?, machine.index(&self.c_row_stride)?);
        for i in 0..m {
            for channel in 0..channels {
                let sum = self.clamp.apply(self.sum(machine, i, m, channel)?);
                c.store_f32(machine, step(channel, i, stride)?, sum)?;
            }
        }
        Ok(())
    }

    fn sum(&self, machine: &mut Machine, i: i64, m: i64, channel: i64) -> Step<f64> {
        let (base, offsets) = (self.base.base(machine)?, self.offsets.base(machine)?);
        let (w, w_stride) = (self.w.base(machine)?, machine.index(&self.w_stride)?);
        let mut sum = match base_of(&self.bias, machine)? {
            Some(bias) => bias.load(machine, channel)?,
            None => 0.0,
        };
        for t in 0..machine.index(&self.taps)? {
            let a = match row_offset(machine, offsets, step(i, t, m)?)? {
                Some(offset) => base.load(machine, step(offset, 1, channel)?)?,
                None => 0.0,
            };
            sum += a * w.load(machine, step(channel, t, w_stride)?)?;
        }
        Ok(sum)
    }
}

/// A [`PackB`].
pub(super) struct PackBPlan {
    src: Access,
    row_stride: Index,
    col_stride: Index,
    dst: Access,
    panel_stride: Index,
    k: Index,
    n: Index,
}

impl PackBPlan {
    pub(super) fn new(p: &PackB) -> Self {
        Self {
            src: Access::new(&p.src),
            row_stride: Index::new(&p.row_stride),
            col_stride: Index::new(&p.col_stride),
            dst: Access::new(&p.dst),
            panel_stride: Index::new(&p.panel_stride),
            k: Index::new(&p.k),
            n: Index::new(&p.n),
        }
    }

    pub(super) fn run(&self, machine: &mut Machine) -> Step<()> {
        let (src, dst) = (self.src.base(machine)?, self.dst.base(machine)?);
        let (row_stride, col_stride) =
            (machine.index(&self.row_stride)?, machine.index(&self.col_stride)?);
        let panel_stride = machine.index(&self.panel_stride)?;
        let (k, n) = (machine.index(&self.k)?, machine.index(&self.n)?);
        let padded = step(0, n.max(0).div_euclid(WIDTH) + i64::from(n % WIDTH > 0), WIDTH)?;
        for row in 0..k {
            for col in 0..padded {
                let x = match col < n {
                    true => src.load(machine, step(step(0, row, row_stride)?, col, col_stride)?)?,
                    false => 0.0,
                };
                let panel = step(col % WIDTH, col / WIDTH, panel_stride)?;
                dst.store_f32(machine, step(panel, row, WIDTH)?, x)?;
            }
        }
        Ok(())
    }
}
