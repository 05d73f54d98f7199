//! Dot products in 32-bit lanes, with VNNI and BF16 and without.
//!
//! Without BF16, halves are widened to f32. Without VNNI, bytes are widened to i16 first, the even and the odd ones of each lane apart:
//! `vpmaddubsw` would be shorter but saturates (255·127·2 is no i16).

use super::{Avx2, Avx512, Avx512Bf16, Avx512Vnni, Simd};
use crate::gemm::Dot;
use std::arch::asm;
use std::arch::x86_64::*;

/// `impl`s a level's [`Dot`]: its vector type, casts, and what it calls the intrinsics.
macro_rules! dot {
    ($token:ident, $float:ty, $int:ty, $to_int:ident, $to_float:ident,
     $add:ident, $sub:ident, $mul:ident;
     quads $quads:ty; pairs $pairs:expr; unsigned $unsigned:expr; signed $signed:expr;
     quad_dot $quad_dot:expr; halves $halves:ty, $half:expr, $half_dot:expr) => {
        impl Dot for $token {
            type Quads = $quads;

            type Halves = $halves;

            #[inline(always)]
            fn halves(self, bits: $float) -> $halves {
                // SAFETY: the token proves the level.
                unsafe { $half($to_int(bits)) }
            }
            #[inline(always)]
            #[allow(unused_unsafe, reason = "an instruction, or products that are safe")]
            fn add_half_dot(self, a: $halves, b: $halves, sum: $float) -> $float {
                // SAFETY: as above.
                unsafe { $half_dot(self, a, b, sum) }
            }
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

/// [`dot`] of 512-bit vectors.
macro_rules! dot_512 {
    ($token:ident, $($rest:tt)*) => {
        dot! {
            $token, __m512, __m512i, _mm512_castps_si512, _mm512_castsi512_ps,
            _mm512_add_epi32, _mm512_sub_epi32, _mm512_mullo_epi32; $($rest)*
        }
    };
}

/// The even and the odd elements of lanes, widened.
macro_rules! widened {
    ($name:ident($int:ty) -> $wide:ty { $even:expr, $odd:expr }, $features:literal) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn $name(x: $int) -> [$wide; 2] {
            [$even(x), $odd(x)]
        }
    };
}

widened!(halves_256(__m256i) -> __m256 {
    |x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x)),
    |x| _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(-65536)))
}, "avx2");
widened!(halves_512(__m512i) -> __m512 {
    |x| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x)),
    |x| _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(-65536)))
}, "avx512f");
widened!(unsigned_256(__m256i) -> __m256i {
    |x| _mm256_and_si256(x, _mm256_set1_epi16(0xff)), |x| _mm256_srli_epi16::<8>(x)
}, "avx2");
widened!(unsigned_512(__m512i) -> __m512i {
    |x| _mm512_and_si512(x, _mm512_set1_epi16(0xff)), |x| _mm512_srli_epi16::<8>(x)
}, "avx512f,avx512bw");
widened!(signed_256(__m256i) -> __m256i {
    |x| _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)), |x| _mm256_srai_epi16::<8>(x)
}, "avx2");
widened!(signed_512(__m512i) -> __m512i {
    |x| _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(x)), |x| _mm512_srai_epi16::<8>(x)
}, "avx512f,avx512bw");

/// Products of halves in f32, one after the other.
#[inline(always)]
fn half_dot<S: Simd>(s: S, a: [S::F; 2], b: [S::F; 2], sum: S::F) -> S::F {
    s.fma(a[1], b[1], s.fma(a[0], b[0], sum))
}

dot! {
    Avx2, __m256, __m256i, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_add_epi32, _mm256_sub_epi32, _mm256_mullo_epi32;
    quads [__m256i; 2];
    pairs |a, b, sum| _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    unsigned unsigned_256;
    signed signed_256;
    quad_dot |a: [__m256i; 2], b: [__m256i; 2], sum| {
        let even = _mm256_add_epi32(sum, _mm256_madd_epi16(a[0], b[0]));
        _mm256_add_epi32(even, _mm256_madd_epi16(a[1], b[1]))
    };
    halves [__m256; 2], halves_256, half_dot
}
dot_512! {
    Avx512,
    quads [__m512i; 2];
    pairs |a, b, sum| _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
    unsigned unsigned_512;
    signed signed_512;
    quad_dot |a: [__m512i; 2], b: [__m512i; 2], sum| {
        let even = _mm512_add_epi32(sum, _mm512_madd_epi16(a[0], b[0]));
        _mm512_add_epi32(even, _mm512_madd_epi16(a[1], b[1]))
    };
    halves [__m512; 2], halves_512, half_dot
}

/// A level with VNNI.
macro_rules! vnni {
    ($token:ident, halves $($halves:tt)*) => {
        dot_512! {
            $token,
            quads __m512i;
            pairs pair_dot;
            unsigned |x| x;
            signed |x| x;
            quad_dot |a, b, sum| _mm512_dpbusd_epi32(sum, a, b);
            halves $($halves)*
        }
    };
}

vnni!(Avx512Vnni, halves [__m512; 2], halves_512, half_dot);
vnni!(Avx512Bf16, halves __m512i, |x| x, |_, a, b, sum| half_dot_512(a, b, sum));

/// Defines an instruction of three vectors, the sum the last of them.
macro_rules! instruction {
    ($name:ident: $text:literal, $features:literal, $sum:ty) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn $name(a: __m512i, b: __m512i, mut sum: $sum) -> $sum {
            // SAFETY: the function's features include the instruction, which only computes.
            unsafe {
                asm!(
                    concat!($text, " {sum}, {a}, {b}"),
                    sum = inout(zmm_reg) sum, a = in(zmm_reg) a, b = in(zmm_reg) b,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sum
        }
    };
}

// PERF: LLVM would take `vpdpwssd` apart into a product and a sum, at half the rate.
instruction!(pair_dot: "vpdpwssd", "avx512vnni", __m512i);
instruction!(half_dot_512: "vdpbf16ps", "avx512bf16", __m512);
