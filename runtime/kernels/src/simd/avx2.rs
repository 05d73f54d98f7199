//! 256-bit vectors with FMA.

use super::{SQRT_HALF_BITS, Simd};
use crate::pack::Transpose;
use std::arch::x86_64::*;

/// Token of [`Isa::Avx2`](crate::Isa::Avx2).
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Lanes `0..n` all ones.
#[inline(always)]
fn first_lanes(_: Avx2, n: usize) -> __m256i {
    // SAFETY: the token proves AVX2.
    unsafe {
        let index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), index)
    }
}

/// `2^n` per lane, for `n` in `-126..=127`; infinite for 128.
#[inline(always)]
fn powers_of_two(_: Avx2, n: __m256i) -> __m256 {
    // SAFETY: the token proves AVX2.
    unsafe {
        let biased = _mm256_add_epi32(n, _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
    }
}

/// The sum of four lanes as a tree of halves.
#[inline(always)]
pub(super) fn reduce_add_128(_: Avx2, v: __m128) -> f32 {
    // SAFETY: the token proves AVX2, which includes SSE.
    unsafe {
        let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
    }
}

/// Methods whose bodies are AVX2 and FMA intrinsics on values.
macro_rules! intrinsics {
    ($(fn $name:ident($s:ident $(, $arg:ident: $ty:ty)*) -> $ret:ty { $body:expr })*) => {$(
        #[inline(always)]
        fn $name($s $(, $arg: $ty)*) -> $ret {
            // SAFETY: the token proves AVX2 and FMA.
            unsafe { $body }
        }
    )*};
}

impl Simd for Avx2 {
    type F = __m256;
    type M = __m256;
    const LANES: usize = 8;
    const FREE_MASKS: bool = false;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Avx2(())
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m256 {
        // SAFETY: the caller's promise; masked lanes are neither read nor fault.
        unsafe { _mm256_maskload_ps(p, first_lanes(self, n)) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: __m256, n: usize) {
        // SAFETY: the caller's promise; masked lanes are not written.
        unsafe { _mm256_maskstore_ps(p, first_lanes(self, n), v) }
    }
    intrinsics! {
        fn splat(self, x: f32) -> __m256 { _mm256_set1_ps(x) }
        fn add(self, a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
        fn sub(self, a: __m256, b: __m256) -> __m256 { _mm256_sub_ps(a, b) }
        fn mul(self, a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
        fn div(self, a: __m256, b: __m256) -> __m256 { _mm256_div_ps(a, b) }
        fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fmadd_ps(a, b, c) }
        fn fnma(self, a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fnmadd_ps(a, b, c) }
        fn min(self, a: __m256, b: __m256) -> __m256 { _mm256_min_ps(a, b) }
        fn max(self, a: __m256, b: __m256) -> __m256 { _mm256_max_ps(a, b) }
        fn abs(self, a: __m256) -> __m256 { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
        fn with_sign(self, magnitude: __m256, sign: __m256) -> __m256 {
            _mm256_or_ps(magnitude, _mm256_and_ps(_mm256_set1_ps(-0.0), sign))
        }
        fn round(self, a: __m256) -> __m256 {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
        }
        fn ldexp(self, v: __m256, n: __m256) -> __m256 {{
            let n = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(n);
            let v = _mm256_mul_ps(v, powers_of_two(self, half));
            _mm256_mul_ps(v, powers_of_two(self, _mm256_sub_epi32(n, half)))
        }}
        fn pow2(self, n: __m256) -> __m256 { powers_of_two(self, _mm256_cvtps_epi32(n)) }
        fn split(self, v: __m256) -> (__m256, __m256) {{
            let low = _mm256_set1_epi32(SQRT_HALF_BITS);
            let bits = _mm256_sub_epi32(_mm256_castps_si256(v), low);
            let mantissa = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f_ffff));
            let mantissa = _mm256_castsi256_ps(_mm256_add_epi32(mantissa, low));
            (mantissa, _mm256_cvtepi32_ps(_mm256_srai_epi32::<23>(bits)))
        }}
        fn first(self, n: usize) -> __m256 { _mm256_castsi256_ps(first_lanes(self, n)) }
        fn lt(self, a: __m256, b: __m256) -> __m256 { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }
        fn unordered(self, a: __m256, b: __m256) -> __m256 { _mm256_cmp_ps::<_CMP_UNORD_Q>(a, b) }
        fn or(self, a: __m256, b: __m256) -> __m256 { _mm256_or_ps(a, b) }
        fn any(self, m: __m256) -> bool { _mm256_movemask_ps(m) != 0 }
        fn select(self, m: __m256, a: __m256, b: __m256) -> __m256 { _mm256_blendv_ps(b, a, m) }
        fn reduce_add(self, v: __m256) -> f32 {
            reduce_add_128(self, _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v)))
        }
        fn reduce_max(self, v: __m256) -> f32 {{
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_shuffle_ps::<1>(v, v)))
        }}
    }
}

impl Transpose for Avx2 {
    type Square = [__m256; 8];
    #[inline(always)]
    fn zeros(self) -> [__m256; 8] {
        [self.splat(0.0); 8]
    }
    /// Pairs, then quads, then halves change places.
    #[inline(always)]
    fn transpose(self, [a, b, c, d, e, f, g, h]: [__m256; 8]) -> [__m256; 8] {
        // SAFETY: the token proves AVX2.
        unsafe {
            let quads = |a, b, c, d| {
                let (ab0, ab1) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd0, cd1) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                [
                    _mm256_shuffle_ps::<0x44>(ab0, cd0),
                    _mm256_shuffle_ps::<0xee>(ab0, cd0),
                    _mm256_shuffle_ps::<0x44>(ab1, cd1),
                    _mm256_shuffle_ps::<0xee>(ab1, cd1),
                ]
            };
            let ([p0, p1, p2, p3], [q0, q1, q2, q3]) = (quads(a, b, c, d), quads(e, f, g, h));
            [
                _mm256_permute2f128_ps::<0x20>(p0, q0),
                _mm256_permute2f128_ps::<0x20>(p1, q1),
                _mm256_permute2f128_ps::<0x20>(p2, q2),
                _mm256_permute2f128_ps::<0x20>(p3, q3),
                _mm256_permute2f128_ps::<0x31>(p0, q0),
                _mm256_permute2f128_ps::<0x31>(p1, q1),
                _mm256_permute2f128_ps::<0x31>(p2, q2),
                _mm256_permute2f128_ps::<0x31>(p3, q3),
            ]
        }
    }
}
