//! Narrow numbers as f32, for callers that keep them narrow and multiply in f32.
//!
//! * Shapes: `[n]` to `f32[n]`; exact.
//! * Bound by bytes: one load, one conversion and one store per vector.
//! * Loops that LLVM makes vectors of, once for each width; half floats have an instruction
//!   that it does not find.

use crate::Isa;
use half::f16;
use std::iter::zip;

/// Calls a loop as it is compiled for the level.
macro_rules! dispatch {
    ($isa:ident, $body:ident, $to:ident, $from:ident) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
            fn avx512<T>(to: &mut [f32], from: &[T], body: impl Fn(&mut [f32], &[T])) {
                body(to, from);
            }
            #[target_feature(enable = "avx2")]
            fn avx2<T>(to: &mut [f32], from: &[T], body: impl Fn(&mut [f32], &[T])) {
                body(to, from);
            }
            match $isa.min(Isa::detect()) {
                Isa::Portable => {}
                // SAFETY: the CPU has AVX2.
                Isa::Avx2 => return unsafe { avx2($to, $from, $body) },
                // SAFETY: the CPU has AVX-512.
                _ => return unsafe { avx512($to, $from, $body) },
            }
        }
        let _ = $isa;
        $body($to, $from)
    }};
}

/// `to = from`, bits of bfloats.
pub fn widen_bf16(isa: Isa, to: &mut [f32], from: &[u16]) {
    assert_eq!(to.len(), from.len());
    dispatch!(isa, bf16_loop, to, from)
}

/// `to = from`.
pub fn widen_i8(isa: Isa, to: &mut [f32], from: &[i8]) {
    assert_eq!(to.len(), from.len());
    dispatch!(isa, i8_loop, to, from)
}

/// `to = from`, bits of half floats.
pub fn widen_f16(isa: Isa, to: &mut [f32], from: &[u16]) {
    assert_eq!(to.len(), from.len());
    #[cfg(target_arch = "x86_64")]
    if isa.min(Isa::detect()) >= Isa::Avx512 {
        // SAFETY: the CPU has AVX-512.
        return unsafe { f16_avx512(to, from) };
    }
    let _ = isa;
    zip(to, from).for_each(|(t, f)| *t = f16::from_bits(*f).to_f32());
}

#[inline(always)]
fn bf16_loop(to: &mut [f32], from: &[u16]) {
    zip(to, from).for_each(|(t, f)| *t = f32::from_bits(u32::from(*f) << 16));
}

#[inline(always)]
fn i8_loop(to: &mut [f32], from: &[i8]) {
    zip(to, from).for_each(|(t, f)| *t = f32::from(*f));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn f16_avx512(to: &mut [f32], from: &[u16]) {
    use std::arch::x86_64::{_mm256_loadu_si256, _mm512_cvtph_ps, _mm512_storeu_ps};
    let (mut to, mut from) = (to.chunks_exact_mut(16), from.chunks_exact(16));
    for (t, f) in (&mut to).zip(&mut from) {
        // SAFETY: both are 16 elements long.
        unsafe {
            let halves = _mm256_loadu_si256(f.as_ptr().cast());
            _mm512_storeu_ps(t.as_mut_ptr(), _mm512_cvtph_ps(halves));
        }
    }
    let rest = zip(to.into_remainder(), from.remainder());
    rest.for_each(|(t, f)| *t = f16::from_bits(*f).to_f32());
}
