//! Dot products of integers in 32-bit lanes, with VNNI and without.
//!
//! Without VNNI, bytes are widened to i16 first, the even and the odd ones of each lane apart:
//! `vpmaddubsw` would be shorter but saturates (255·127·2 is no i16).

use super::{Avx2, Avx2Vnni, Avx512, Avx512Vnni};
use crate::gemm::Dot;
use std::arch::asm;
use std::arch::x86_64::*;

/// `impl`s a level's [`Dot`]: its vector type, casts, and what it calls the intrinsics.
macro_rules! dot {
    ($token:ident, $float:ty, $int:ty, $to_int:ident, $to_float:ident,
     $add:ident, $sub:ident, $mul:ident;
     quads $quads:ty; pairs $pairs:expr; unsigned $unsigned:expr; signed $signed:expr;
     quad_dot $quad_dot:expr) => {
        impl Dot for $token {
            type Quads = $quads;

            #[inline(always)]
            fn add_dot(self, a: $float, b: $float, sum: $float) -> $float {
                // SAFETY: the token proves the level.
                unsafe { $to_float($pairs($to_int(a), $to_int(b), $to_int(sum))) }
            }
            #[inline(always)]
            fn unsigned_quads(self, bits: $float) -> $quads {
                // SAFETY: as above.
                unsafe { $unsigned($to_int(bits)) }
            }
            #[inline(always)]
            fn signed_quads(self, bits: $float) -> $quads {
                // SAFETY: as above.
                unsafe { $signed($to_int(bits)) }
            }
            #[inline(always)]
            fn add_quad_dot(self, a: $quads, b: $quads, sum: $float) -> $float {
                // SAFETY: as above.
                unsafe { $to_float($quad_dot(a, b, $to_int(sum))) }
            }
            #[inline(always)]
            fn add_i32(self, a: $float, b: $float) -> $float {
                // SAFETY: as above.
                unsafe { $to_float($add($to_int(a), $to_int(b))) }
            }
            #[inline(always)]
            fn fnma_i32(self, a: $float, b: $float, c: $float) -> $float {
                // SAFETY: as above.
                unsafe { $to_float($sub($to_int(c), $mul($to_int(a), $to_int(b)))) }
            }
        }
    };
}

/// A level without VNNI: products of i16 are summed in pairs, then added.
macro_rules! widening {
    ($token:ident, $float:ty, $int:ty, $to_int:ident, $to_float:ident,
     $add:ident, $sub:ident, $mul:ident, $madd:ident, $ones:ident, $and:ident,
     $left:ident, $right:ident, $right_signed:ident) => {
        dot! {
            $token, $float, $int, $to_int, $to_float, $add, $sub, $mul;
            quads [$int; 2];
            pairs |a, b, sum| $add(sum, $madd(a, b));
            unsigned |x| [$and(x, $ones(0xff)), $right::<8>(x)];
            signed |x| [$right_signed::<8>($left::<8>(x)), $right_signed::<8>(x)];
            quad_dot |a: [$int; 2], b: [$int; 2], sum| {
                $add($add(sum, $madd(a[0], b[0])), $madd(a[1], b[1]))
            }
        }
    };
}

widening! {
    Avx2, __m256, __m256i, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_add_epi32, _mm256_sub_epi32, _mm256_mullo_epi32, _mm256_madd_epi16,
    _mm256_set1_epi16, _mm256_and_si256,
    _mm256_slli_epi16, _mm256_srli_epi16, _mm256_srai_epi16
}
widening! {
    Avx512, __m512, __m512i, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_add_epi32, _mm512_sub_epi32, _mm512_mullo_epi32, _mm512_madd_epi16,
    _mm512_set1_epi16, _mm512_and_si512,
    _mm512_slli_epi16, _mm512_srli_epi16, _mm512_srai_epi16
}
dot! {
    Avx2Vnni, __m256, __m256i, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_add_epi32, _mm256_sub_epi32, _mm256_mullo_epi32;
    quads __m256i;
    pairs |a, b, sum| pair_dot_256(a, b, sum);
    unsigned |x| x;
    signed |x| x;
    quad_dot |a, b, sum| _mm256_dpbusd_epi32(sum, a, b)
}
dot! {
    Avx512Vnni, __m512, __m512i, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_add_epi32, _mm512_sub_epi32, _mm512_mullo_epi32;
    quads __m512i;
    pairs |a, b, sum| pair_dot_512(a, b, sum);
    unsigned |x| x;
    signed |x| x;
    quad_dot |a, b, sum| _mm512_dpbusd_epi32(sum, a, b)
}

/// Defines `vpdpwssd`, which LLVM takes apart into a product and a sum if it can choose.
macro_rules! pair_dot {
    ($name:ident, $int:ty, $register:ident, $features:literal) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn $name(a: $int, b: $int, mut sum: $int) -> $int {
            // SAFETY: the function's features include the instruction, which only computes.
            unsafe {
                asm!(
                    "vpdpwssd {sum}, {a}, {b}",
                    sum = inout($register) sum, a = in($register) a, b = in($register) b,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sum
        }
    };
}

pair_dot!(pair_dot_256, __m256i, ymm_reg, "avx512vnni,avx512vl");
pair_dot!(pair_dot_512, __m512i, zmm_reg, "avx512vnni");
