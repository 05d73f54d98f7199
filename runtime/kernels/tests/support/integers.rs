//! Owned operands of a GEMM call that sums integers.

use super::{Buffer, GemmShape, PANEL, Place, Rng, Rows};
use cascata_artifact::abi::{BlockFn, GemmArgs};
use cascata_kernels::Kernels;

/// Bytes of the sums behind a panel of i8.
const SUMS: usize = 4 * PANEL;

/// What is multiplied: the type of A's elements, with that of B's.
pub trait Factor: Copy + Default + Into<i32> {
    /// An element of B.
    type Right: Copy + Default + Into<i32>;
    /// Elements of K that lie together.
    const GROUP: usize;
    /// Sums of B's columns lie behind each panel.
    const HAS_SUMS: bool;
    /// Any number, one of four an end of the range.
    fn any(rng: &mut Rng) -> (Self, Self::Right);
    /// The bytes of sums, as elements of B.
    fn stored(sums: [i32; PANEL]) -> Vec<Self::Right>;
    /// The micro-kernel.
    fn kernel(kernels: &Kernels) -> BlockFn<GemmArgs<Self, Self::Right, i32>>;
}

impl Factor for i16 {
    type Right = i16;
    const GROUP: usize = 2;
    const HAS_SUMS: bool = false;
    fn any(rng: &mut Rng) -> (i16, i16) {
        let mut one = || match rng.below(8) {
            0 => i16::MIN,
            1 => i16::MAX,
            _ => rng.next() as i16,
        };
        (one(), one())
    }
    fn stored(_: [i32; PANEL]) -> Vec<i16> {
        vec![]
    }
    fn kernel(kernels: &Kernels) -> BlockFn<GemmArgs<i16, i16, i32>> {
        kernels.gemm_i16
    }
}

impl Factor for u8 {
    type Right = i8;
    const GROUP: usize = 4;
    const HAS_SUMS: bool = true;
    fn any(rng: &mut Rng) -> (u8, i8) {
        match rng.below(8) {
            0 => (u8::MAX, i8::MIN),
            1 => (u8::MAX, i8::MAX),
            _ => (rng.next() as u8, rng.next() as i8),
        }
    }
    fn stored(sums: [i32; PANEL]) -> Vec<i8> {
        sums.iter().flat_map(|x| x.to_le_bytes()).map(|x| x as i8).collect()
    }
    fn kernel(kernels: &Kernels) -> BlockFn<GemmArgs<u8, i8, i32>> {
        kernels.gemm_u8
    }
}

/// The operands, in buffers of exactly the size that may be read.
pub struct IntegerGemm<A: Factor> {
    /// Sizes.
    pub shape: GemmShape,
    /// A.
    pub a: Buffer<A>,
    /// What stands for 0 in A.
    pub a_zero: u8,
    /// Offsets of A's rows, if given so.
    pub offsets: Vec<i32>,
    /// Zeros of a block's depth.
    pub zeros: Buffer<A>,
    /// Panels of B: `[t][panel][k/g][16][g]`, with their sums.
    pub b: Buffer<A::Right>,
    /// One row.
    pub bias: Buffer<i32>,
}

impl<A: Factor> IntegerGemm<A> {
    /// Random operands over all of their types.
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
        let a: Vec<A> = (0..a_len).map(|_| A::any(rng).0).collect();
        let b = Self::panels(rng, shape);
        let a_zero = if A::HAS_SUMS { [0, 128, rng.next() as u8][rng.below(3)] } else { 0 };
        let bias: Vec<i32> = (0..n).map(|_| rng.next() as i32).collect();
        let zeros = Buffer::new(place, &vec![A::default(); depth]);
        let (a, b, bias) =
            (Buffer::new(place, &a), Buffer::new(place, &b), Buffer::new(place, &bias));
        Self { shape, a, a_zero, offsets, zeros, b, bias }
    }

    fn panels(rng: &mut Rng, shape: GemmShape) -> Vec<A::Right> {
        let GemmShape { n, k, k_last, batch, .. } = shape;
        let stride = panel_stride::<A>(shape);
        let mut b = vec![A::Right::default(); batch * n.div_ceil(PANEL) * stride];
        for t in 0..batch {
            for l in 0..if t + 1 == batch { k_last } else { k } {
                (0..n).for_each(|j| b[at::<A>(shape, t, l, j)] = A::any(rng).1);
            }
        }
        for panel in b.chunks_exact_mut(stride.max(1)) {
            let mut sums = [0i32; PANEL];
            let end = panel.len() - A::stored(sums).len();
            for (i, x) in panel[..end].iter().enumerate() {
                sums[i / A::GROUP % PANEL] += (*x).into();
            }
            panel[end..].copy_from_slice(&A::stored(sums));
        }
        b
    }

    /// The argument block for output rows of `c_row_stride` at `c`.
    pub fn args(&self, c: *mut i32, c_row_stride: usize) -> GemmArgs<A, A::Right, i32> {
        let GemmShape { m, n, k, k_last, batch, rows } = self.shape;
        let panel = panel_stride::<A>(self.shape);
        let (a_offsets, stride) = match rows {
            Rows::Strided(extra) => (std::ptr::null(), batch * k + extra),
            Rows::Offsets(_) => (self.offsets.as_ptr(), 0),
        };
        GemmArgs {
            a: self.a.as_ptr(),
            a_offsets,
            a_row_stride: stride as i64,
            a_batch_stride: k as i64,
            zeros: if A::HAS_SUMS { std::ptr::null() } else { self.zeros.as_ptr() },
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
            a_zero: self.a_zero.into(),
        }
    }

    /// `start + Σ (A − zero)·B` of one element, wrapping.
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
                let b: i32 = self.b[at::<A>(self.shape, t, l, j)].into();
                let a: i32 = self.a[a + l].into();
                sum = sum.wrapping_add((a - i32::from(self.a_zero)) * b);
            }
        }
        sum
    }
}

/// Elements between panels.
fn panel_stride<A: Factor>(shape: GemmShape) -> usize {
    let sums = if A::HAS_SUMS { SUMS } else { 0 };
    shape.k.max(shape.k_last).next_multiple_of(A::GROUP) * PANEL + sums
}

/// Where `B_t[l, j]` lies.
fn at<A: Factor>(shape: GemmShape, t: usize, l: usize, j: usize) -> usize {
    let g = A::GROUP;
    (t * shape.n.div_ceil(PANEL) + j / PANEL) * panel_stride::<A>(shape)
        + l / g * (PANEL * g)
        + j % PANEL * g
        + l % g
}
