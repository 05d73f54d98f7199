//! What a GEMM multiplies: f32, pairs of bf16 or i16, or quads of u8 and i8; integers are
//! summed in i32.

use super::PASS_DEPTH;
use crate::simd::Simd;
use cascata_artifact::abi::{Bf16, GemmArgs};

/// Summed K of one pass of bytes, at most: a row of padding is this long.
const MAX_BYTE_PASS: usize = PASS_DEPTH * 4;

/// Vectors whose 32-bit lanes are integers or groups of them, in the register type of f32:
/// loads and stores move bits.
pub(crate) trait Dot: Simd {
    /// Two bf16 per lane, as the level multiplies them.
    type Halves: Copy;
    /// Four 8-bit integers per lane, as the level multiplies them.
    type Quads: Copy;

    /// Two bf16 per lane.
    fn halves(self, bits: Self::F) -> Self::Halves;
    /// `sum + a₀·b₀ + a₁·b₁` of bf16 per lane; subnormal numbers may count as 0.
    fn add_half_dot(self, a: Self::Halves, b: Self::Halves, sum: Self::F) -> Self::F;

    /// `sum + a₀·b₀ + a₁·b₁` of i16 per lane, wrapping.
    fn add_dot(self, a: Self::F, b: Self::F, sum: Self::F) -> Self::F;
    /// Four u8 per lane.
    fn unsigned_quads(self, bits: Self::F) -> Self::Quads;
    /// Four i8 per lane.
    fn signed_quads(self, bits: Self::F) -> Self::Quads;
    /// `sum + a₀·b₀ + … + a₃·b₃` of u8 and i8 per lane, wrapping.
    fn add_quad_dot(self, a: Self::Quads, b: Self::Quads, sum: Self::F) -> Self::F;
    /// `a + b` of i32, wrapping.
    fn add_i32(self, a: Self::F, b: Self::F) -> Self::F;
    /// `c − a·b` of i32, wrapping.
    fn fnma_i32(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
}

/// An element of A, with what it is multiplied by.
pub(crate) trait Element: Copy {
    /// An element of B.
    type Right: Copy;
    /// An element of C.
    type Sum: Copy + Default;
    /// Elements of K that one instruction multiplies and sums: they fill 32 bits of B.
    const UNIT: usize;
    /// The most elements of K in a pass, a multiple of [`UNIT`](Element::UNIT).
    const MAX_PASS: usize;
    /// A stands for `a − a_zero`, and the sums of B's columns lie behind each panel.
    const HAS_ZERO: bool;
    /// What stands for a row of A that a negative offset names.
    type Padding;
    /// A unit of A in all lanes, and units of B, as the level multiplies them.
    type LeftUnits<S: Dot>: Copy;
    /// Units of B, one a lane.
    type RightUnits<S: Dot>: Copy;

    /// The padding of a call.
    fn padding(args: &GemmArgs<Self, Self::Right, Self::Sum>) -> Self::Padding;
    /// The padding from element `start` of a block on; a pass's elements are readable.
    fn padding_row(padding: &Self::Padding, start: usize) -> *const Self;
    /// `sum + (a − zero)·b`.
    fn sum(zero: i64, sum: Self::Sum, a: Self, b: Self::Right) -> Self::Sum;
    /// A finished sum between the call's bounds.
    fn clamped(args: &GemmArgs<Self, Self::Right, Self::Sum>, x: Self::Sum) -> Self::Sum;

    /// The bits of a unit of which the row has only the first `n`, zeros behind.
    ///
    /// # Safety
    /// `a[..n]` is readable; `n < UNIT`.
    unsafe fn part(a: *const Self, n: usize) -> f32;
    /// The unit of these bits in all lanes.
    fn left_units<S: Dot>(s: S, bits: f32) -> Self::LeftUnits<S>;
    /// The units of these bits.
    fn right_units<S: Dot>(s: S, bits: S::F) -> Self::RightUnits<S>;
    /// `sum + a·b` per lane.
    fn add_product<S: Dot>(s: S, a: Self::LeftUnits<S>, b: Self::RightUnits<S>, sum: S::F) -> S::F;
    /// [`clamped`](Element::clamped) per lane.
    fn clamp<S: Simd>(s: S, args: &GemmArgs<Self, Self::Right, Self::Sum>, sums: &mut [S::F]);
}

impl Element for f32 {
    type Right = f32;
    type Sum = f32;
    const UNIT: usize = 1;
    const MAX_PASS: usize = usize::MAX;
    const HAS_ZERO: bool = false;
    type Padding = *const f32;
    type LeftUnits<S: Dot> = S::F;
    type RightUnits<S: Dot> = S::F;

    fn padding(args: &GemmArgs<f32, f32, f32>) -> *const f32 {
        args.zeros
    }

    #[inline(always)]
    fn padding_row(zeros: &*const f32, start: usize) -> *const f32 {
        zeros.wrapping_add(start)
    }

    fn sum(_: i64, sum: f32, a: f32, b: f32) -> f32 {
        sum + a * b
    }

    fn clamped(args: &GemmArgs<f32, f32, f32>, x: f32) -> f32 {
        clamped(args, x)
    }

    #[inline(always)]
    unsafe fn part(_: *const f32, _: usize) -> f32 {
        0.0
    }

    #[inline(always)]
    fn left_units<S: Dot>(s: S, bits: f32) -> S::F {
        s.splat(bits)
    }

    #[inline(always)]
    fn right_units<S: Dot>(_: S, bits: S::F) -> S::F {
        bits
    }

    #[inline(always)]
    fn add_product<S: Dot>(s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
        s.fma(a, b, sum)
    }

    #[inline(always)]
    fn clamp<S: Simd>(s: S, args: &GemmArgs<f32, f32, f32>, sums: &mut [S::F]) {
        clamp(s, args, sums);
    }
}

/// A sum between the call's bounds; NaN passes.
fn clamped<T>(args: &GemmArgs<T, T, f32>, x: f32) -> f32 {
    let (min, max) = (args.min as f32, args.max as f32);
    let x = if x < min { min } else { x };
    if x > max { max } else { x }
}

/// [`clamped`] per lane.
#[inline(always)]
fn clamp<S: Simd, T>(s: S, args: &GemmArgs<T, T, f32>, sums: &mut [S::F]) {
    let (min, max) = (s.splat(args.min as f32), s.splat(args.max as f32));
    for x in sums {
        *x = s.min(max, s.max(min, *x));
    }
}

impl Element for Bf16 {
    type Right = Bf16;
    type Sum = f32;
    const UNIT: usize = 2;
    const MAX_PASS: usize = usize::MAX - 1;
    const HAS_ZERO: bool = false;
    type Padding = *const Bf16;
    type LeftUnits<S: Dot> = S::Halves;
    type RightUnits<S: Dot> = S::Halves;

    fn padding(args: &GemmArgs<Bf16, Bf16, f32>) -> *const Bf16 {
        args.zeros
    }

    #[inline(always)]
    fn padding_row(zeros: &*const Bf16, start: usize) -> *const Bf16 {
        zeros.wrapping_add(start)
    }

    fn sum(_: i64, sum: f32, a: Bf16, b: Bf16) -> f32 {
        sum + f32::from(a) * f32::from(b)
    }

    fn clamped(args: &GemmArgs<Bf16, Bf16, f32>, x: f32) -> f32 {
        clamped(args, x)
    }

    #[inline(always)]
    unsafe fn part(a: *const Bf16, _: usize) -> f32 {
        // SAFETY: the caller's promise: less than a pair is one.
        f32::from_bits(u32::from(unsafe { (*a).0 }))
    }

    #[inline(always)]
    fn left_units<S: Dot>(s: S, bits: f32) -> S::Halves {
        s.halves(s.splat(bits))
    }

    #[inline(always)]
    fn right_units<S: Dot>(s: S, bits: S::F) -> S::Halves {
        s.halves(bits)
    }

    #[inline(always)]
    fn add_product<S: Dot>(s: S, a: S::Halves, b: S::Halves, sum: S::F) -> S::F {
        s.add_half_dot(a, b, sum)
    }

    #[inline(always)]
    fn clamp<S: Simd>(s: S, args: &GemmArgs<Bf16, Bf16, f32>, sums: &mut [S::F]) {
        clamp(s, args, sums);
    }
}

impl Element for i16 {
    type Right = i16;
    type Sum = i32;
    const UNIT: usize = 2;
    const MAX_PASS: usize = usize::MAX - 1;
    const HAS_ZERO: bool = false;
    type Padding = *const i16;
    type LeftUnits<S: Dot> = S::F;
    type RightUnits<S: Dot> = S::F;

    fn padding(args: &GemmArgs<i16, i16, i32>) -> *const i16 {
        args.zeros
    }

    #[inline(always)]
    fn padding_row(zeros: &*const i16, start: usize) -> *const i16 {
        zeros.wrapping_add(start)
    }

    fn sum(_: i64, sum: i32, a: i16, b: i16) -> i32 {
        sum.wrapping_add(i32::from(a) * i32::from(b))
    }

    fn clamped(_: &GemmArgs<i16, i16, i32>, x: i32) -> i32 {
        x
    }

    #[inline(always)]
    unsafe fn part(a: *const i16, _: usize) -> f32 {
        // SAFETY: the caller's promise: less than a pair is one.
        f32::from_bits(u32::from(unsafe { *a } as u16))
    }

    #[inline(always)]
    fn left_units<S: Dot>(s: S, bits: f32) -> S::F {
        s.splat(bits)
    }

    #[inline(always)]
    fn right_units<S: Dot>(_: S, bits: S::F) -> S::F {
        bits
    }

    #[inline(always)]
    fn add_product<S: Dot>(s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
        s.add_dot(a, b, sum)
    }

    #[inline(always)]
    fn clamp<S: Simd>(_: S, _: &GemmArgs<i16, i16, i32>, _: &mut [S::F]) {}
}

/// A padded element stands for 0, so that it is the zero point.
impl Element for u8 {
    type Right = i8;
    type Sum = i32;
    const UNIT: usize = 4;
    const MAX_PASS: usize = MAX_BYTE_PASS;
    const HAS_ZERO: bool = true;
    type Padding = [u8; MAX_BYTE_PASS];
    type LeftUnits<S: Dot> = S::Quads;
    type RightUnits<S: Dot> = S::Quads;

    fn padding(args: &GemmArgs<u8, i8, i32>) -> [u8; MAX_BYTE_PASS] {
        [args.a_zero as u8; MAX_BYTE_PASS]
    }

    #[inline(always)]
    fn padding_row(row: &[u8; MAX_BYTE_PASS], _: usize) -> *const u8 {
        row.as_ptr()
    }

    fn sum(zero: i64, sum: i32, a: u8, b: i8) -> i32 {
        sum.wrapping_add((i32::from(a) - zero as i32) * i32::from(b))
    }

    fn clamped(_: &GemmArgs<u8, i8, i32>, x: i32) -> i32 {
        x
    }

    #[inline(always)]
    unsafe fn part(a: *const u8, n: usize) -> f32 {
        // SAFETY: the caller's promise.
        let bits = (0..n).fold(0, |bits, i| bits | u32::from(unsafe { *a.add(i) }) << (8 * i));
        f32::from_bits(bits)
    }

    #[inline(always)]
    fn left_units<S: Dot>(s: S, bits: f32) -> S::Quads {
        s.unsigned_quads(s.splat(bits))
    }

    #[inline(always)]
    fn right_units<S: Dot>(s: S, bits: S::F) -> S::Quads {
        s.signed_quads(bits)
    }

    #[inline(always)]
    fn add_product<S: Dot>(s: S, a: S::Quads, b: S::Quads, sum: S::F) -> S::F {
        s.add_quad_dot(a, b, sum)
    }

    #[inline(always)]
    fn clamp<S: Simd>(_: S, _: &GemmArgs<u8, i8, i32>, _: &mut [S::F]) {}
}
