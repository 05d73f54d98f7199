//! 512-bit vectors: AVX-512 F, VL, BW and DQ, and with VNNI.

use super::{Avx2, SQRT_HALF_BITS, Simd};
use crate::pack::Transpose;
use std::arch::x86_64::*;

/// Token of [`Isa::Avx512`](crate::Isa::Avx512) and of those above, which differ in their dot
/// products: `DOT` is 1 with VNNI, 2 with BF16 too.
#[derive(Clone, Copy)]
pub(crate) struct Vector512<const DOT: u8>(());

/// The upper and the lower half.
#[inline(always)]
fn halves<const DOT: u8>(_: Vector512<DOT>, v: __m512) -> (__m256, __m256) {
    // SAFETY: the token proves AVX-512 F and DQ.
    unsafe { (_mm512_extractf32x8_ps::<1>(v), _mm512_castps512_ps256(v)) }
}

impl<const DOT: u8> Vector512<DOT> {
    /// The token of the level below.
    #[inline(always)]
    fn below(self) -> Avx2 {
        // SAFETY: this level includes AVX2 and FMA.
        unsafe { Avx2::assume() }
    }
}

/// Methods whose bodies are AVX-512 intrinsics on values.
macro_rules! intrinsics {
    ($(fn $name:ident($s:ident $(, $arg:ident: $ty:ty)*) -> $ret:ty { $body:expr })*) => {$(
        #[inline(always)]
        fn $name($s $(, $arg: $ty)*) -> $ret {
            // SAFETY: the token proves AVX-512 F, VL, BW and DQ.
            unsafe { $body }
        }
    )*};
}

impl<const DOT: u8> Simd for Vector512<DOT> {
    type F = __m512;
    type M = __mmask16;
    const LANES: usize = 16;
    const FREE_MASKS: bool = true;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Vector512(())
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: the caller's promise; masked lanes are neither read nor fault.
        unsafe { _mm512_maskz_loadu_ps(self.first(n), p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: __m512, n: usize) {
        // SAFETY: the caller's promise; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(p, self.first(n), v) }
    }
    #[inline(always)]
    fn first(self, n: usize) -> __mmask16 {
        ((1u32 << n) - 1) as __mmask16
    }
    #[inline(always)]
    fn or(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a | b
    }
    #[inline(always)]
    fn any(self, m: __mmask16) -> bool {
        m != 0
    }
    #[inline(always)]
    fn reduce_add(self, v: __m512) -> f32 {
        let (high, low) = halves(self, v);
        self.below().reduce_add(self.below().add(low, high))
    }
    #[inline(always)]
    fn reduce_max(self, v: __m512) -> f32 {
        let (high, low) = halves(self, v);
        self.below().reduce_max(self.below().max(low, high))
    }
    intrinsics! {
        fn splat(self, x: f32) -> __m512 { _mm512_set1_ps(x) }
        fn add(self, a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn sub(self, a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn mul(self, a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn div(self, a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fnmadd_ps(a, b, c) }
        fn min(self, a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn max(self, a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn abs(self, a: __m512) -> __m512 { _mm512_andnot_ps(_mm512_set1_ps(-0.0), a) }
        fn with_sign(self, magnitude: __m512, sign: __m512) -> __m512 {
            _mm512_or_ps(magnitude, _mm512_and_ps(_mm512_set1_ps(-0.0), sign))
        }
        fn round(self, a: __m512) -> __m512 {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
        }
        fn ldexp(self, v: __m512, n: __m512) -> __m512 { _mm512_scalef_ps(v, n) }
        fn pow2(self, n: __m512) -> __m512 { _mm512_scalef_ps(_mm512_set1_ps(1.0), n) }
        fn split(self, v: __m512) -> (__m512, __m512) {{
            let low = _mm512_set1_epi32(SQRT_HALF_BITS);
            let bits = _mm512_sub_epi32(_mm512_castps_si512(v), low);
            let mantissa = _mm512_and_si512(bits, _mm512_set1_epi32(0x7f_ffff));
            let mantissa = _mm512_castsi512_ps(_mm512_add_epi32(mantissa, low));
            (mantissa, _mm512_cvtepi32_ps(_mm512_srai_epi32::<23>(bits)))
        }}
        fn lt(self, a: __m512, b: __m512) -> __mmask16 { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
        fn unordered(self, a: __m512, b: __m512) -> __mmask16 {
            _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b)
        }
        fn select(self, m: __mmask16, a: __m512, b: __m512) -> __m512 {
            _mm512_mask_blend_ps(m, b, a)
        }
    }
}

/// Transposes each 4 x 4 block of four vectors.
#[inline(always)]
fn transpose_quads<const DOT: u8>(_: Vector512<DOT>, [a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: the token proves AVX-512 F.
    unsafe {
        let (ab0, ab1) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd0, cd1) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps::<0x44>(ab0, cd0),
            _mm512_shuffle_ps::<0xee>(ab0, cd0),
            _mm512_shuffle_ps::<0x44>(ab1, cd1),
            _mm512_shuffle_ps::<0xee>(ab1, cd1),
        ]
    }
}

/// Transposes four vectors as a 4 x 4 matrix of 128-bit blocks.
#[inline(always)]
fn transpose_blocks<const DOT: u8>(_: Vector512<DOT>, [a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: the token proves AVX-512 F.
    unsafe {
        let (ab0, ab1) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
        let (cd0, cd1) = (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
        [
            _mm512_shuffle_f32x4::<0x88>(ab0, cd0),
            _mm512_shuffle_f32x4::<0xdd>(ab0, cd0),
            _mm512_shuffle_f32x4::<0x88>(ab1, cd1),
            _mm512_shuffle_f32x4::<0xdd>(ab1, cd1),
        ]
    }
}

impl<const DOT: u8> Transpose for Vector512<DOT> {
    type Square = [__m512; 16];
    #[inline(always)]
    fn zeros(self) -> [__m512; 16] {
        [self.splat(0.0); 16]
    }
    #[inline(always)]
    fn transpose(self, x: [__m512; 16]) -> [__m512; 16] {
        let quads = |i: usize| transpose_quads(self, [x[i], x[i + 1], x[i + 2], x[i + 3]]);
        let (p, q, r, t) = (quads(0), quads(4), quads(8), quads(12));
        let mut out = [self.splat(0.0); 16];
        for i in 0..4 {
            let blocks = transpose_blocks(self, [p[i], q[i], r[i], t[i]]);
            for (j, block) in blocks.into_iter().enumerate() {
                out[4 * j + i] = block;
            }
        }
        out
    }
}
