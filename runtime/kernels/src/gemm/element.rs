//! What a GEMM multiplies: f32, or pairs of i16 summed in i32.

use crate::simd::Simd;
use cascata_artifact::abi::GemmArgs;

/// Vectors whose 32-bit lanes are pairs of i16, or i32, in the register type of f32: loads
/// and stores move bits.
pub(crate) trait Dot: Simd {
    /// `sum + a₀·b₀ + a₁·b₁` per lane, wrapping.
    fn add_dot(self, a: Self::F, b: Self::F, sum: Self::F) -> Self::F;
}

/// An element of A and B, [`UNIT`](Element::UNIT) of which fill the 32 bits of a sum.
pub(crate) trait Element: Copy {
    /// An element of C.
    type Sum: Copy + Default;
    /// Elements of K that one instruction multiplies and sums.
    const UNIT: usize;

    /// `sum + a·b`.
    fn sum(sum: Self::Sum, a: Self, b: Self) -> Self::Sum;
    /// A finished sum between the call's bounds.
    fn clamped(args: &GemmArgs<Self, Self::Sum>, x: Self::Sum) -> Self::Sum;

    /// A unit that `a` begins but the row does not fill, zeros behind; its bits.
    ///
    /// # Safety
    /// `a[..UNIT - 1]` is readable.
    unsafe fn part(a: *const Self) -> f32;
    /// `sum + a·b` per lane.
    fn add_product<S: Dot>(s: S, a: S::F, b: S::F, sum: S::F) -> S::F;
    /// [`clamped`](Element::clamped) per lane.
    fn clamp<S: Simd>(s: S, args: &GemmArgs<Self, Self::Sum>, sums: &mut [S::F]);
}

impl Element for f32 {
    type Sum = f32;
    const UNIT: usize = 1;

    fn sum(sum: f32, a: f32, b: f32) -> f32 {
        sum + a * b
    }

    /// NaN passes.
    fn clamped(args: &GemmArgs<f32, f32>, x: f32) -> f32 {
        let (min, max) = (args.min as f32, args.max as f32);
        let x = if x < min { min } else { x };
        if x > max { max } else { x }
    }

    #[inline(always)]
    unsafe fn part(_: *const f32) -> f32 {
        0.0
    }

    #[inline(always)]
    fn add_product<S: Dot>(s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
        s.fma(a, b, sum)
    }

    /// NaN passes.
    #[inline(always)]
    fn clamp<S: Simd>(s: S, args: &GemmArgs<f32, f32>, sums: &mut [S::F]) {
        let (min, max) = (s.splat(args.min as f32), s.splat(args.max as f32));
        for x in sums {
            *x = s.min(max, s.max(min, *x));
        }
    }
}

impl Element for i16 {
    type Sum = i32;
    const UNIT: usize = 2;

    fn sum(sum: i32, a: i16, b: i16) -> i32 {
        sum.wrapping_add(i32::from(a) * i32::from(b))
    }

    fn clamped(_: &GemmArgs<i16, i32>, x: i32) -> i32 {
        x
    }

    #[inline(always)]
    unsafe fn part(a: *const i16) -> f32 {
        // SAFETY: the caller's promise.
        f32::from_bits(u32::from(unsafe { *a } as u16))
    }

    #[inline(always)]
    fn add_product<S: Dot>(s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
        s.add_dot(a, b, sum)
    }

    #[inline(always)]
    fn clamp<S: Simd>(_: S, _: &GemmArgs<i16, i32>, _: &mut [S::F]) {}
}
