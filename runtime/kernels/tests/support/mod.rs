//! What tests and the benchmark share: random numbers and owned operands of a call.

#![allow(dead_code, reason = "each test file uses its part")]

mod buffer;
pub mod codes;
pub mod exact;

pub use buffer::{Buffer, Place};

use cascata_artifact::abi::{DwConvF32Args, GemmArgs, GemmF32Args};
use cascata_kernels::Isa;

/// Columns of a panel of B.
pub const PANEL: usize = 16;

/// The levels to test; prints which ones this CPU lacks.
pub fn levels() -> Vec<Isa> {
    let (have, lack): (Vec<Isa>, Vec<Isa>) =
        Isa::ALL.iter().partition(|&&isa| isa <= Isa::detect());
    for isa in lack {
        println!("note: skipped {isa}: this CPU lacks it");
    }
    have
}

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In `-1.0..1.0`, of 16 bits, so that products are exact in f64.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 48) as f32 / 32768.0 - 1.0
    }

    /// `n` of [`Rng::unit`].
    pub fn units(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

/// Where the rows of A are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rows {
    /// `a[i·stride + t·k + ..]`, with the stride `batch·k + extra`.
    Strided(usize),
    /// Through offsets, every `n`-th of which is negative (0: none).
    Offsets(usize),
}

/// Sizes of a GEMM call.
#[derive(Clone, Copy, Debug)]
pub struct GemmShape {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// K of a block.
    pub k: usize,
    /// K of the last block.
    pub k_last: usize,
    /// Blocks.
    pub batch: usize,
    /// How A is given.
    pub rows: Rows,
}

impl GemmShape {
    /// Any small shape; blocks are less than `depth` deep.
    pub fn random(rng: &mut Rng, depth: usize) -> GemmShape {
        let (k, batch) = (rng.below(depth), 1 + rng.below(5));
        let k_last = if rng.below(2) == 0 { k } else { rng.below(k + 1) };
        let rows = match rng.below(3) {
            0 => Rows::Strided(rng.below(9)),
            1 => Rows::Offsets(0),
            _ => Rows::Offsets(3),
        };
        GemmShape { m: 1 + rng.below(45), n: 1 + rng.below(180), k, k_last, batch, rows }
    }

    /// Shapes without rows, columns or products.
    pub fn empty() -> [GemmShape; 5] {
        let base = GemmShape { m: 7, n: 20, k: 5, k_last: 5, batch: 2, rows: Rows::Strided(0) };
        [
            GemmShape { m: 0, ..base },
            GemmShape { n: 0, ..base },
            GemmShape { k: 0, k_last: 0, ..base },
            GemmShape { batch: 0, ..base },
            GemmShape { batch: 1, k_last: 0, ..base },
        ]
    }

    /// The longest block.
    pub fn depth(self) -> usize {
        self.k.max(self.k_last)
    }

    /// Elements of A, and the offsets of its rows, if they are given so.
    pub fn left(self, rng: &mut Rng) -> (usize, Vec<i32>) {
        let GemmShape { m, k, k_last, batch, rows, .. } = self;
        match rows {
            Rows::Strided(extra) if m > 0 && batch > 0 => {
                ((m - 1) * (batch * k + extra) + (batch - 1) * k + k_last, vec![])
            }
            Rows::Strided(_) => (0, vec![]),
            Rows::Offsets(every) => {
                let len = self.depth() + m * batch * 3;
                let offset = |i: usize| match every {
                    n if n > 0 && i % n == n - 1 => -1 - rng.below(9) as i32,
                    _ => rng.below(len - self.depth() + 1) as i32,
                };
                (len, (0..m * batch).map(offset).collect())
            }
        }
    }

    /// Where row `i` of block `t` begins; `None` for a row that is not there.
    pub fn row(self, offsets: &[i32], t: usize, i: usize) -> Option<usize> {
        match self.rows {
            Rows::Strided(extra) => Some(i * (self.batch * self.k + extra) + t * self.k),
            Rows::Offsets(_) => usize::try_from(offsets[t * self.m + i]).ok(),
        }
    }

    /// The argument block without bias, bounds and zero point, for panels of so many elements
    /// and output rows of `c_row_stride` at `c`.
    pub fn args<A, B, S>(
        self,
        (a, offsets, zeros): (&[A], &[i32], &[A]),
        (b, panel): (&[B], usize),
        (c, c_row_stride): (*mut S, usize),
    ) -> GemmArgs<A, B, S> {
        let GemmShape { m, n, k, k_last, batch, rows } = self;
        let (a_offsets, stride) = match rows {
            Rows::Strided(extra) => (std::ptr::null(), batch * k + extra),
            Rows::Offsets(_) => (offsets.as_ptr(), 0),
        };
        GemmArgs {
            a: a.as_ptr(),
            a_offsets,
            a_row_stride: stride as i64,
            a_batch_stride: k as i64,
            zeros: zeros.as_ptr(),
            b: b.as_ptr(),
            b_panel_stride: panel as i64,
            b_batch_stride: (n.div_ceil(PANEL) * panel) as i64,
            c,
            c_row_stride: c_row_stride as i64,
            bias: std::ptr::null(),
            m: m as i64,
            n: n as i64,
            k: k as i64,
            k_last: k_last as i64,
            batch: batch as i64,
            accumulate: 0,
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
            a_zero: 0,
        }
    }
}

/// The operands of a GEMM call, in buffers of exactly the size that may be read.
pub struct Gemm {
    /// Sizes.
    pub shape: GemmShape,
    /// A.
    pub a: Buffer,
    /// Offsets of A's rows, if given so.
    pub offsets: Vec<i32>,
    /// Zeros of a block's depth.
    pub zeros: Buffer,
    /// Panels of B: `[t][panel][k][16]`.
    pub b: Buffer,
    /// One row.
    pub bias: Buffer,
}

impl Gemm {
    /// Random operands.
    pub fn random(rng: &mut Rng, place: Place, shape: GemmShape) -> Gemm {
        let buffer = |values: Vec<f32>| Buffer::new(place, &values);
        let GemmShape { n, batch, .. } = shape;
        let (panels, depth) = (n.div_ceil(PANEL), shape.depth());
        let (a_len, offsets) = shape.left(rng);
        let mut b = rng.units(batch * panels * depth * PANEL);
        if n % PANEL != 0 {
            for (i, x) in b.iter_mut().enumerate() {
                let panel = i / (depth * PANEL) % panels;
                if panel * PANEL + i % PANEL >= n {
                    *x = 0.0;
                }
            }
        }
        let (a, bias) = (buffer(rng.units(a_len)), buffer(rng.units(n)));
        Gemm { shape, a, offsets, zeros: buffer(vec![0.0; depth]), b: buffer(b), bias }
    }

    /// The argument block for output rows of `c_row_stride` at `c`.
    pub fn args(&self, c: *mut f32, c_row_stride: usize) -> GemmF32Args {
        let panel = self.shape.depth() * PANEL;
        let left = (&*self.a, &*self.offsets, &*self.zeros);
        self.shape.args(left, (&*self.b, panel), (c, c_row_stride))
    }

    /// `Σ A·B` of one element in f64, and the sum of the magnitudes.
    pub fn exact(&self, i: usize, j: usize) -> (f64, f64) {
        let GemmShape { n, k, k_last, batch, .. } = self.shape;
        let depth = self.shape.depth();
        let (mut sum, mut size) = (0.0, 0.0);
        for t in 0..batch {
            let a = self.shape.row(&self.offsets, t, i);
            let panel = (t * n.div_ceil(PANEL) + j / PANEL) * depth;
            for l in 0..if t + 1 == batch { k_last } else { k } {
                let a = a.map_or(0.0, |a| self.a[a + l] as f64);
                let product = a * self.b[(panel + l) * PANEL + j % PANEL] as f64;
                sum += product;
                size += product.abs();
            }
        }
        (sum, size)
    }
}

/// The operands of a depthwise call.
pub struct DwConv {
    /// Pixels.
    pub m: usize,
    /// Channels.
    pub channels: usize,
    /// Taps.
    pub taps: usize,
    /// A.
    pub a: Buffer,
    /// Offsets of its rows.
    pub offsets: Vec<i32>,
    /// Zeros of a row.
    pub zeros: Buffer,
    /// `w[t·channels + c]`.
    pub w: Buffer,
    /// One row.
    pub bias: Buffer,
}

impl DwConv {
    /// Random operands; every fifth row is zeros if `pad`.
    pub fn random(
        rng: &mut Rng,
        place: Place,
        [m, channels, taps]: [usize; 3],
        pad: bool,
    ) -> DwConv {
        let buffer = |values: Vec<f32>| Buffer::new(place, &values);
        let a_len = channels + m * 7;
        let offsets = (0..m * taps)
            .map(|i| if pad && i % 5 == 3 { -1 } else { rng.below(m * 7 + 1) as i32 })
            .collect();
        let (a, w) = (buffer(rng.units(a_len)), buffer(rng.units(taps * channels)));
        let (bias, zeros) = (buffer(rng.units(channels)), buffer(vec![0.0; channels]));
        DwConv { m, channels, taps, a, offsets, zeros, w, bias }
    }

    /// The argument block for output rows of `c_row_stride` at `c`.
    pub fn args(&self, c: *mut f32, c_row_stride: usize) -> DwConvF32Args {
        DwConvF32Args {
            a: self.a.as_ptr(),
            a_offsets: self.offsets.as_ptr(),
            zeros: self.zeros.as_ptr(),
            w: self.w.as_ptr(),
            w_stride: self.channels as i64,
            bias: std::ptr::null(),
            c,
            c_row_stride: c_row_stride as i64,
            m: self.m as i64,
            channels: self.channels as i64,
            taps: self.taps as i64,
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
        }
    }

    /// One element's sum without bias in f64.
    pub fn exact(&self, i: usize, c: usize) -> f64 {
        let term = |t: usize| {
            let a = usize::try_from(self.offsets[t * self.m + i]).map_or(0.0, |at| self.a[at + c]);
            a as f64 * self.w[t * self.channels + c] as f64
        };
        (0..self.taps).map(term).sum()
    }
}
