//! Narrow numbers as vectors of f32, at each level.

use super::Portable;
use crate::gemm::codes::Unpack;

#[cfg(target_arch = "x86_64")]
use super::{Avx2, avx512::Vector512};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
impl<const DOT: u8> Unpack for Vector512<DOT> {
    type Table = __m512;

    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: it reads nothing, and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn halves(self, p: *const u16) -> __m512 {
        // SAFETY: the token proves AVX-512 F; the rest is the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn bytes(self, p: *const i8) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    fn pairs(self, words: __m512) -> [__m512; 2] {
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            let bits = _mm512_castps_si512(words);
            let odd = _mm512_and_si512(bits, _mm512_set1_epi32(-65536));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)), _mm512_castsi512_ps(odd)]
        }
    }
    /// The sixteen numbers.
    #[inline(always)]
    fn table(self, zero: i64) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            _mm512_cvtepi32_ps(_mm512_sub_epi32(lanes, _mm512_set1_epi32(zero as i32)))
        }
    }
    // PERF: `vpermps` reads the low 4 bits of an index and no others: one instruction instead of
    // a mask, a subtraction and a conversion.
    #[inline(always)]
    fn nibble(self, words: __m512, table: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_permutexvar_ps(_mm512_castps_si512(words), table) }
    }
    #[inline(always)]
    fn next_nibble(self, words: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_castsi512_ps(_mm512_srli_epi32::<4>(_mm512_castps_si512(words))) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Unpack for Avx2 {
    type Table = __m256i;

    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: it reads nothing, and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn halves(self, p: *const u16) -> __m256 {
        // SAFETY: the token proves F16C; the rest is the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn bytes(self, p: *const i8) -> __m256 {
        // SAFETY: the token proves AVX2; the rest is the caller's promise.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
    }
    #[inline(always)]
    fn pairs(self, words: __m256) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            let bits = _mm256_castps_si256(words);
            let odd = _mm256_and_si256(bits, _mm256_set1_epi32(-65536));
            [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits)), _mm256_castsi256_ps(odd)]
        }
    }
    /// What is subtracted.
    #[inline(always)]
    fn table(self, zero: i64) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_set1_epi32(zero as i32) }
    }
    #[inline(always)]
    fn nibble(self, words: __m256, zero: __m256i) -> __m256 {
        // SAFETY: as above.
        unsafe {
            let code = _mm256_and_si256(_mm256_castps_si256(words), _mm256_set1_epi32(15));
            _mm256_cvtepi32_ps(_mm256_sub_epi32(code, zero))
        }
    }
    #[inline(always)]
    fn next_nibble(self, words: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_castsi256_ps(_mm256_srli_epi32::<4>(_mm256_castps_si256(words))) }
    }
}

impl Unpack for Portable {
    type Table = i32;

    #[inline(always)]
    fn prefetch(self, _: *const u8) {}

    #[inline(always)]
    unsafe fn halves(self, p: *const u16) -> f32 {
        // SAFETY: the caller's promise.
        widened(unsafe { p.read_unaligned() })
    }
    #[inline(always)]
    unsafe fn bytes(self, p: *const i8) -> f32 {
        // SAFETY: the caller's promise.
        f32::from(unsafe { p.read() })
    }
    #[inline(always)]
    fn pairs(self, words: f32) -> [f32; 2] {
        [words.to_bits() << 16, words.to_bits() & 0xffff_0000].map(f32::from_bits)
    }
    #[inline(always)]
    fn table(self, zero: i64) -> i32 {
        zero as i32
    }
    #[inline(always)]
    fn nibble(self, words: f32, zero: i32) -> f32 {
        ((words.to_bits() & 15) as i32 - zero) as f32
    }
    #[inline(always)]
    fn next_nibble(self, words: f32) -> f32 {
        f32::from_bits(words.to_bits() >> 4)
    }
}

/// An f16, exactly.
fn widened(half: u16) -> f32 {
    let magnitude = u32::from(half & 0x7fff);
    let sign = u32::from(half >> 15) << 31;
    let bits = match magnitude {
        // Infinite or NaN.
        0x7c00.. => magnitude << 13 | 0x7f80_0000,
        // The exponent is biased by 112 less; numbers without one become normal.
        _ => (f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000)).to_bits(),
    };
    f32::from_bits(bits | sign)
}

#[cfg(test)]
mod tests {
    use super::widened;

    #[test]
    fn every_half_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let magnitude = match exponent {
                0 => fraction * 2f64.powi(-24),
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                e => (1024.0 + fraction) * 2f64.powi(e - 25),
            };
            let want = if bits >> 15 == 1 { -magnitude } else { magnitude };
            let got = f64::from(widened(bits));
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{bits:x}");
        }
    }
}
