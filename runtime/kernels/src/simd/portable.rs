//! One lane of plain Rust: the reference level, which LLVM may vectorise.

use super::{SQRT_HALF_BITS, Simd};
use crate::pack::Transpose;

/// Token of [`Isa::Portable`](crate::Isa::Portable).
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type F = f32;
    type M = bool;
    const LANES: usize = 1;
    const FREE_MASKS: bool = false;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Portable
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { p.read() }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> f32 {
        // SAFETY: the caller's promise; nothing is read when `n` is 0.
        if n == 0 { 0.0 } else { unsafe { p.read() } }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: f32) {
        // SAFETY: the caller's promise.
        unsafe { p.write(v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: f32, n: usize) {
        if n > 0 {
            // SAFETY: the caller's promise.
            unsafe { p.write(v) }
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }
    // PERF: not `mul_add`, which without FMA is a library call of 5 ns per element.
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
    #[inline(always)]
    fn fnma(self, a: f32, b: f32, c: f32) -> f32 {
        c - a * b
    }
    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }
    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn abs(self, a: f32) -> f32 {
        a.abs()
    }
    #[inline(always)]
    fn with_sign(self, magnitude: f32, sign: f32) -> f32 {
        magnitude.copysign(sign)
    }
    // PERF: `round_ties_even` is a library call on baseline x86-64; this is two adds.
    #[inline(always)]
    fn round(self, a: f32) -> f32 {
        const MAGIC: f32 = 12_582_912.0; // 1.5·2^23
        (a + MAGIC) - MAGIC
    }
    #[inline(always)]
    fn ldexp(self, v: f32, n: f32) -> f32 {
        let n = n as i32;
        let half = n >> 1;
        v * power_of_two(half) * power_of_two(n - half)
    }
    #[inline(always)]
    fn pow2(self, n: f32) -> f32 {
        power_of_two(n as i32)
    }
    #[inline(always)]
    fn split(self, v: f32) -> (f32, f32) {
        let bits = (v.to_bits() as i32).wrapping_sub(SQRT_HALF_BITS);
        let mantissa = (bits & 0x7f_ffff).wrapping_add(SQRT_HALF_BITS);
        (f32::from_bits(mantissa as u32), (bits >> 23) as f32)
    }
    #[inline(always)]
    fn first(self, n: usize) -> bool {
        n > 0
    }
    #[inline(always)]
    fn lt(self, a: f32, b: f32) -> bool {
        a < b
    }
    #[inline(always)]
    fn unordered(self, a: f32, b: f32) -> bool {
        a.is_nan() | b.is_nan()
    }
    #[inline(always)]
    fn or(self, a: bool, b: bool) -> bool {
        a | b
    }
    #[inline(always)]
    fn any(self, m: bool) -> bool {
        m
    }
    #[inline(always)]
    fn select(self, m: bool, a: f32, b: f32) -> f32 {
        if m { a } else { b }
    }
    #[inline(always)]
    fn reduce_add(self, v: f32) -> f32 {
        v
    }
    #[inline(always)]
    fn reduce_max(self, v: f32) -> f32 {
        v
    }
}

impl Transpose for Portable {
    type Square = [f32; 1];
    #[inline(always)]
    fn zeros(self) -> [f32; 1] {
        [0.0]
    }
    #[inline(always)]
    fn transpose(self, square: [f32; 1]) -> [f32; 1] {
        square
    }
}

/// `2^n` for `n` in `-126..=127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}
