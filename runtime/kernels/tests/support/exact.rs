//! Owned operands of a GEMM call whose sums are exact: those of integers, and of bf16 that hold
//! small ones.

use super::{Buffer, GemmShape, PANEL, Place, Rng};
use cascata_artifact::abi::{Bf16, BlockFn, GemmArgs};
use cascata_kernels::Kernels;
use std::fmt::Debug;

/// Bytes of the sums behind a panel of i8.
const SUMS: usize = 4 * PANEL;

/// What is multiplied: the type of A's elements, with that of B's.
pub trait Factor: Copy + Default {
    /// An element of B.
    type Right: Copy + Default;
    /// An element of C.
    type Sum: Copy + PartialEq + Debug;
    /// Elements of K that lie together.
    const GROUP: usize;
    /// Sums of B's columns lie behind each panel.
    const HAS_SUMS: bool;
    /// A number for each side: of integers any, one of four an end of the range.
    fn any(rng: &mut Rng) -> (Self, Self::Right);
    /// The product of `a − zero` and `b`.
    fn product(a: Self, zero: u8, b: Self::Right) -> i32;
    /// `b` as a number.
    fn right(b: Self::Right) -> i32;
    /// A number that C starts from, made of any.
    fn start(x: i32) -> i32 {
        x
    }
    /// A number as an element of C.
    fn sum(x: i32) -> Self::Sum;
    /// The bytes of sums, as elements of B.
    fn stored(sums: [i32; PANEL]) -> Vec<Self::Right>;
    /// The micro-kernel.
    fn kernel(kernels: &Kernels) -> BlockFn<GemmArgs<Self, Self::Right, Self::Sum>>;
}

impl Factor for Bf16 {
    type Right = Bf16;
    type Sum = f32;
    const GROUP: usize = 2;
    const HAS_SUMS: bool = false;
    fn any(rng: &mut Rng) -> (Bf16, Bf16) {
        let mut one = || Bf16(((rng.below(19) as f32 - 9.0).to_bits() >> 16) as u16);
        (one(), one())
    }
    fn product(a: Bf16, _: u8, b: Bf16) -> i32 {
        (f32::from(a) * f32::from(b)) as i32
    }
    fn right(b: Bf16) -> i32 {
        f32::from(b) as i32
    }
    fn start(x: i32) -> i32 {
        x % 1000
    }
    fn sum(x: i32) -> f32 {
        x as f32
    }
    fn stored(_: [i32; PANEL]) -> Vec<Bf16> {
        vec![]
    }
    fn kernel(kernels: &Kernels) -> BlockFn<GemmArgs<Bf16, Bf16, f32>> {
        kernels.gemm_bf16
    }
}

impl Factor for i16 {
    type Right = i16;
    type Sum = i32;
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
    fn product(a: i16, _: u8, b: i16) -> i32 {
        i32::from(a) * i32::from(b)
    }
    fn right(b: i16) -> i32 {
        b.into()
    }
    fn sum(x: i32) -> i32 {
        x
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
    type Sum = i32;
    const GROUP: usize = 4;
    const HAS_SUMS: bool = true;
    fn any(rng: &mut Rng) -> (u8, i8) {
        match rng.below(8) {
            0 => (u8::MAX, i8::MIN),
            1 => (u8::MAX, i8::MAX),
            _ => (rng.next() as u8, rng.next() as i8),
        }
    }
    fn product(a: u8, zero: u8, b: i8) -> i32 {
        (i32::from(a) - i32::from(zero)) * i32::from(b)
    }
    fn right(b: i8) -> i32 {
        b.into()
    }
    fn sum(x: i32) -> i32 {
        x
    }
    fn stored(sums: [i32; PANEL]) -> Vec<i8> {
        sums.iter().flat_map(|x| x.to_le_bytes()).map(|x| x as i8).collect()
    }
    fn kernel(kernels: &Kernels) -> BlockFn<GemmArgs<u8, i8, i32>> {
        kernels.gemm_u8
    }
}

/// The operands, in buffers of exactly the size that may be read.
pub struct ExactGemm<A: Factor> {
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
    pub bias: Buffer<A::Sum>,
    /// The same.
    pub bias_numbers: Vec<i32>,
}

impl<A: Factor> ExactGemm<A> {
    /// Random operands over all of their types.
    pub fn random(rng: &mut Rng, place: Place, shape: GemmShape) -> Self {
        let (n, depth) = (shape.n, shape.depth());
        let (a_len, offsets) = shape.left(rng);
        let a: Vec<A> = (0..a_len).map(|_| A::any(rng).0).collect();
        let b = Self::panels(rng, shape);
        let a_zero = if A::HAS_SUMS { [0, 128, rng.next() as u8][rng.below(3)] } else { 0 };
        let bias_numbers: Vec<i32> = (0..n).map(|_| A::start(rng.next() as i32)).collect();
        let bias: Vec<A::Sum> = bias_numbers.iter().map(|x| A::sum(*x)).collect();
        let zeros = Buffer::new(place, &vec![A::default(); depth]);
        let (a, b, bias) =
            (Buffer::new(place, &a), Buffer::new(place, &b), Buffer::new(place, &bias));
        Self { shape, a, a_zero, offsets, zeros, b, bias, bias_numbers }
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
                sums[i / A::GROUP % PANEL] += A::right(*x);
            }
            panel[end..].copy_from_slice(&A::stored(sums));
        }
        b
    }

    /// The argument block for output rows of `c_row_stride` at `c`.
    pub fn args(&self, c: *mut A::Sum, c_row_stride: usize) -> GemmArgs<A, A::Right, A::Sum> {
        let (left, panel) =
            ((&*self.a, &*self.offsets, &*self.zeros), panel_stride::<A>(self.shape));
        let args = self.shape.args(left, (&*self.b, panel), (c, c_row_stride));
        // What has a zero point reads no zeros.
        let zeros = if A::HAS_SUMS { std::ptr::null() } else { args.zeros };
        GemmArgs { zeros, a_zero: self.a_zero.into(), ..args }
    }

    /// `start + Σ (A − zero)·B` of one element, wrapping.
    pub fn exact(&self, start: i32, i: usize, j: usize) -> i32 {
        let products = self.factors(i, j).map(|(a, b)| A::product(a, self.a_zero, b));
        products.fold(start, i32::wrapping_add)
    }

    /// What is multiplied for one element, padding left out.
    fn factors(&self, i: usize, j: usize) -> impl Iterator<Item = (A, A::Right)> + '_ {
        let GemmShape { k, k_last, batch, .. } = self.shape;
        let blocks =
            (0..batch).filter_map(move |t| Some((t, self.shape.row(&self.offsets, t, i)?)));
        blocks.flat_map(move |(t, a)| {
            let depth = if t + 1 == batch { k_last } else { k };
            (0..depth).map(move |l| (self.a[a + l], self.b[at::<A>(self.shape, t, l, j)]))
        })
    }
}

impl ExactGemm<Bf16> {
    /// The products of one element, of any bf16.
    pub fn products(&self, i: usize, j: usize) -> impl Iterator<Item = f64> + '_ {
        self.factors(i, j).map(|(a, b)| f64::from(f32::from(a)) * f64::from(f32::from(b)))
    }
}

/// Elements between panels.
fn panel_stride<A: Factor>(shape: GemmShape) -> usize {
    let sums = if A::HAS_SUMS { SUMS } else { 0 };
    shape.depth().next_multiple_of(A::GROUP) * PANEL + sums
}

/// Where `B_t[l, j]` lies.
fn at<A: Factor>(shape: GemmShape, t: usize, l: usize, j: usize) -> usize {
    let g = A::GROUP;
    (t * shape.n.div_ceil(PANEL) + j / PANEL) * panel_stride::<A>(shape)
        + l / g * (PANEL * g)
        + j % PANEL * g
        + l % g
}
