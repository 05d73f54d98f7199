//! What each level multiplies besides f32.

use super::avx512::Vector512;
use super::{Avx2, Avx512Bf16, Avx512Vnni, Simd};
use crate::gemm::{IntLanes, Multiply};
use cascata_artifact::abi::Bf16;
use std::arch::asm;
use std::arch::x86_64::*;

impl IntLanes for Avx2 {
    #[inline(always)]
    fn add_i32(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)))
        }
    }
    #[inline(always)]
    fn fnma_i32(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe {
            let product = _mm256_mullo_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b));
            _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(c), product))
        }
    }
}

impl<const DOT: u8> IntLanes for Vector512<DOT> {
    #[inline(always)]
    fn add_i32(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)))
        }
    }
    #[inline(always)]
    fn fnma_i32(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let product = _mm512_mullo_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b));
            _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(c), product))
        }
    }
}

/// A level that multiplies units as they are, by one function of vectors.
macro_rules! by {
    ($token:ident, $element:ident, $vector:ty, $product:ident) => {
        impl Multiply<$element> for $token {
            type Left = $vector;
            type Right = $vector;

            #[inline(always)]
            fn left(self, bits: f32) -> $vector {
                self.splat(bits)
            }
            #[inline(always)]
            fn right(self, bits: $vector) -> $vector {
                bits
            }
            #[inline(always)]
            fn add_product(self, a: $vector, b: $vector, sum: $vector) -> $vector {
                // SAFETY: the token proves the level.
                unsafe { $product(a, b, sum) }
            }
        }
    };
}

by!(Avx2, i16, __m256, add_pairs);
by!(Avx512Vnni, i16, __m512, vpdpwssd);
by!(Avx512Vnni, u8, __m512, vpdpbusd);
by!(Avx512Bf16, Bf16, __m512, vdpbf16ps);

#[inline]
#[target_feature(enable = "avx2")]
fn add_pairs(a: __m256, b: __m256, sum: __m256) -> __m256 {
    let products = _mm256_madd_epi16(_mm256_castps_si256(a), _mm256_castps_si256(b));
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum), products))
}

/// Defines an instruction of three vectors, the sum the last of them.
// PERF: an intrinsic of `vpdpwssd` LLVM takes apart into a product and a sum, at half the rate.
macro_rules! instruction {
    ($name:ident, $feature:literal) => {
        #[inline]
        #[target_feature(enable = $feature)]
        fn $name(a: __m512, b: __m512, mut sum: __m512) -> __m512 {
            // SAFETY: the function's features include the instruction, which only computes.
            unsafe {
                asm!(
                    concat!(stringify!($name), " {sum}, {a}, {b}"),
                    sum = inout(zmm_reg) sum, a = in(zmm_reg) a, b = in(zmm_reg) b,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sum
        }
    };
}

instruction!(vpdpwssd, "avx512vnni");
instruction!(vpdpbusd, "avx512vnni");
instruction!(vdpbf16ps, "avx512bf16");

/// Halves widened to f32, the even and the odd ones apart.
impl Multiply<Bf16> for Avx2 {
    type Left = [__m256; 2];
    type Right = [__m256; 2];
    // PERF: 6 rows of two vectors beside units in two vectors are more than 16 registers.
    const MOST_ROWS: usize = 4;

    #[inline(always)]
    fn left(self, bits: f32) -> [__m256; 2] {
        Multiply::<Bf16>::right(self, self.splat(bits))
    }
    #[inline(always)]
    fn right(self, bits: __m256) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            let bits = _mm256_castps_si256(bits);
            let odd = _mm256_and_si256(bits, _mm256_set1_epi32(-65536));
            [_mm256_slli_epi32::<16>(bits), odd].map(|x| _mm256_castsi256_ps(x))
        }
    }
    #[inline(always)]
    fn add_product(self, a: [__m256; 2], b: [__m256; 2], sum: __m256) -> __m256 {
        self.fma(a[1], b[1], self.fma(a[0], b[0], sum))
    }
}

/// Bytes widened to i16, the even and the odd ones apart: `vpmaddubsw` would be shorter but
/// saturates (255·127·2 is no i16).
impl Multiply<u8> for Avx2 {
    type Left = [__m256; 2];
    type Right = [__m256; 2];
    // PERF: 6 rows of two vectors beside units in two vectors are more than 16 registers.
    const MOST_ROWS: usize = 4;

    #[inline(always)]
    fn left(self, bits: f32) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            let bits = _mm256_castps_si256(self.splat(bits));
            let even = _mm256_and_si256(bits, _mm256_set1_epi16(0xff));
            [even, _mm256_srli_epi16::<8>(bits)].map(|x| _mm256_castsi256_ps(x))
        }
    }
    #[inline(always)]
    fn right(self, bits: __m256) -> [__m256; 2] {
        // SAFETY: as above.
        unsafe {
            let bits = _mm256_castps_si256(bits);
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bits));
            [even, _mm256_srai_epi16::<8>(bits)].map(|x| _mm256_castsi256_ps(x))
        }
    }
    #[inline(always)]
    fn add_product(self, a: [__m256; 2], b: [__m256; 2], sum: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { add_pairs(a[1], b[1], add_pairs(a[0], b[0], sum)) }
    }
}
