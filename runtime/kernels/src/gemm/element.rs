//! What a GEMM multiplies: f32, pairs of bf16 or i16, or quads of u8 and i8; integers are
//! summed in i32.

use super::PASS_DEPTH;
use crate::simd::Simd;
use cascata_artifact::abi::{Bf16, GemmArgs};
use std::mem::MaybeUninit;

/// Summed K of one pass of bytes, at most: a row of padding is this long.
const MAX_BYTE_PASS: usize = PASS_DEPTH * 4;

/// Memory for a row of padding, of elements that have no zeros elsewhere.
pub(crate) type PaddingRow = [MaybeUninit<u8>; MAX_BYTE_PASS];

/// An element of A, with what it is multiplied by.
pub(crate) trait Element: Copy {
    /// An element of B.
    type Right: Copy;
    /// An element of C.
    type Sum: Copy + Default;
    /// Elements of K that one instruction multiplies and sums: they fill 32 bits of B.
    const UNIT: usize;
    /// The most elements of K in a pass, a multiple of [`UNIT`](Element::UNIT).
    const MAX_PASS: usize = usize::MAX;
    /// A stands for `a − a_zero`, and the sums of B's columns lie behind each panel.
    const HAS_ZERO: bool = false;

    /// What rows of negative offsets read: what stands for 0, of a pass's length.
    fn padding(
        args: &GemmArgs<Self, Self::Right, Self::Sum>,
        _row: &mut PaddingRow,
    ) -> *const Self {
        args.zeros
    }
    /// `sum + (a − zero)·b`.
    fn sum(zero: i64, sum: Self::Sum, a: Self, b: Self::Right) -> Self::Sum;
    /// A finished sum between the call's bounds, which those of integers have none of.
    fn clamped(_: &GemmArgs<Self, Self::Right, Self::Sum>, x: Self::Sum) -> Self::Sum {
        x
    }
    /// [`clamped`](Element::clamped) per lane.
    #[inline(always)]
    fn clamp<S: Simd>(_: S, _: &GemmArgs<Self, Self::Right, Self::Sum>, _: &mut [S::F]) {}
}

/// 32-bit lanes as integers, in the register type of f32: loads and stores move bits.
pub(crate) trait IntLanes: Simd {
    /// `a + b`, wrapping.
    fn add_i32(self, a: Self::F, b: Self::F) -> Self::F;
    /// `c − a·b`, wrapping.
    fn fnma_i32(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
}

/// A level that multiplies an element's units, one in each 32-bit lane.
pub(crate) trait Multiply<E: Element>: IntLanes {
    /// A unit of A in all lanes, as the level multiplies it.
    type Left: Copy;
    /// Units of B.
    type Right: Copy;
    /// The most rows of a tile for which there are registers.
    const MOST_ROWS: usize = usize::MAX;

    /// The unit of these bits.
    fn left(self, bits: f32) -> Self::Left;
    /// The units of these bits.
    fn right(self, bits: Self::F) -> Self::Right;
    /// `sum + a·b` per lane: of all of a unit's elements, wrapping if they are integers.
    fn add_product(self, a: Self::Left, b: Self::Right, sum: Self::F) -> Self::F;
}

impl<S: IntLanes> Multiply<f32> for S {
    type Left = S::F;
    type Right = S::F;

    #[inline(always)]
    fn left(self, bits: f32) -> S::F {
        self.splat(bits)
    }
    #[inline(always)]
    fn right(self, bits: S::F) -> S::F {
        bits
    }
    #[inline(always)]
    fn add_product(self, a: S::F, b: S::F, sum: S::F) -> S::F {
        self.fma(a, b, sum)
    }
}

/// Defines [`Element::clamped`] and [`Element::clamp`] of sums of f32; NaN passes.
macro_rules! clamps {
    () => {
        fn clamped(args: &GemmArgs<Self, Self, f32>, x: f32) -> f32 {
            let (min, max) = (args.min as f32, args.max as f32);
            let x = if x < min { min } else { x };
            if x > max { max } else { x }
        }

        #[inline(always)]
        fn clamp<S: Simd>(s: S, args: &GemmArgs<Self, Self, f32>, sums: &mut [S::F]) {
            let (min, max) = (s.splat(args.min as f32), s.splat(args.max as f32));
            for x in sums {
                *x = s.min(max, s.max(min, *x));
            }
        }
    };
}

impl Element for f32 {
    type Right = f32;
    type Sum = f32;
    const UNIT: usize = 1;

    fn sum(_: i64, sum: f32, a: f32, b: f32) -> f32 {
        sum + a * b
    }

    clamps!();
}

impl Element for Bf16 {
    type Right = Bf16;
    type Sum = f32;
    const UNIT: usize = 2;

    fn sum(_: i64, sum: f32, a: Bf16, b: Bf16) -> f32 {
        sum + f32::from(a) * f32::from(b)
    }

    clamps!();
}

impl Element for i16 {
    type Right = i16;
    type Sum = i32;
    const UNIT: usize = 2;

    fn sum(_: i64, sum: i32, a: i16, b: i16) -> i32 {
        sum.wrapping_add(i32::from(a) * i32::from(b))
    }
}

impl Element for u8 {
    type Right = i8;
    type Sum = i32;
    const UNIT: usize = 4;
    const MAX_PASS: usize = MAX_BYTE_PASS;
    const HAS_ZERO: bool = true;

    fn padding(args: &GemmArgs<u8, i8, i32>, row: &mut PaddingRow) -> *const u8 {
        row.fill(MaybeUninit::new(args.a_zero as u8));
        row.as_ptr().cast()
    }

    fn sum(zero: i64, sum: i32, a: u8, b: i8) -> i32 {
        sum.wrapping_add((i32::from(a) - zero as i32) * i32::from(b))
    }
}
