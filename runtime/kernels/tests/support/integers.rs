//! Owned operands of a `gemm_i16@1` call.

use super::{Buffer, GemmShape, PANEL, Place, Rng, Rows};
use cascata_artifact::abi::GemmI16Args;

/// The operands, in buffers of exactly the size that may be read.
pub struct GemmI16 {
    /// Sizes.
    pub shape: GemmShape,
    /// A.
    pub a: Buffer<i16>,
    /// Offsets of A's rows, if given so.
    pub offsets: Vec<i32>,
    /// Zeros of a block's depth.
    pub zeros: Buffer<i16>,
    /// Panels of B: `[t][panel][k/2][16][2]`.
    pub b: Buffer<i16>,
    /// One row.
    pub bias: Buffer<i32>,
}

/// Any number, one of four an end of the range.
fn any(rng: &mut Rng) -> i16 {
    match rng.below(8) {
        0 => i16::MIN,
        1 => i16::MAX,
        _ => rng.next() as i16,
    }
}

impl GemmI16 {
    /// Random operands over all of i16.
    pub fn random(rng: &mut Rng, place: Place, shape: GemmShape) -> Self {
        let GemmShape { m, n, k, k_last, batch, rows } = shape;
        let depth = k.max(k_last);
        let (a_len, offsets) = match rows {
            Rows::Strided(extra) if m > 0 && batch > 0 => {
                ((m - 1) * (batch * k + extra) + (batch - 1) * k + k_last, vec![])
            }
            Rows::Strided(_) => (0, vec![]),
            Rows::Offsets(every) => {
                let len = depth + m * batch * 3;
                let offset = |i: usize| match every {
                    n if n > 0 && i % n == n - 1 => -1 - rng.below(9) as i32,
                    _ => rng.below(len - depth + 1) as i32,
                };
                (len, (0..m * batch).map(offset).collect())
            }
        };
        let a: Vec<i16> = (0..a_len).map(|_| any(rng)).collect();
        let mut b = vec![0; batch * n.div_ceil(PANEL) * depth.next_multiple_of(2) * PANEL];
        for t in 0..batch {
            for l in 0..if t + 1 == batch { k_last } else { k } {
                (0..n).for_each(|j| b[at(shape, t, l, j)] = any(rng));
            }
        }
        let bias: Vec<i32> = (0..n).map(|_| rng.next() as i32).collect();
        let (zeros, bias) = (Buffer::new(place, &vec![0; depth]), Buffer::new(place, &bias));
        Self { shape, a: Buffer::new(place, &a), offsets, zeros, b: Buffer::new(place, &b), bias }
    }

    /// The argument block for output rows of `c_row_stride` at `c`.
    pub fn args(&self, c: *mut i32, c_row_stride: usize) -> GemmI16Args {
        let GemmShape { m, n, k, k_last, batch, rows } = self.shape;
        let panel = k.max(k_last).next_multiple_of(2) * PANEL;
        let (a_offsets, stride) = match rows {
            Rows::Strided(extra) => (std::ptr::null(), batch * k + extra),
            Rows::Offsets(_) => (self.offsets.as_ptr(), 0),
        };
        GemmI16Args {
            a: self.a.as_ptr(),
            a_offsets,
            a_row_stride: stride as i64,
            a_batch_stride: k as i64,
            zeros: self.zeros.as_ptr(),
            b: self.b.as_ptr(),
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
            min: f64::NAN,
            max: f64::NAN,
        }
    }

    /// `start + Σ A·B` of one element, wrapping.
    pub fn exact(&self, start: i32, i: usize, j: usize) -> i32 {
        let GemmShape { m, k, k_last, batch, rows, .. } = self.shape;
        let mut sum = start;
        for t in 0..batch {
            let a = match rows {
                Rows::Strided(extra) => Some(i * (batch * k + extra) + t * k),
                Rows::Offsets(_) => usize::try_from(self.offsets[t * m + i]).ok(),
            };
            let Some(a) = a else { continue };
            for l in 0..if t + 1 == batch { k_last } else { k } {
                let b = self.b[at(self.shape, t, l, j)];
                sum = sum.wrapping_add(i32::from(self.a[a + l]) * i32::from(b));
            }
        }
        sum
    }
}

/// Where `B_t[l, j]` lies.
fn at(shape: GemmShape, t: usize, l: usize, j: usize) -> usize {
    let panel = shape.k.max(shape.k_last).next_multiple_of(2) * PANEL;
    (t * shape.n.div_ceil(PANEL) + j / PANEL) * panel + l / 2 * 32 + j % PANEL * 2 + l % 2
}
