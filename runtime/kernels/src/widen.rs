//! Narrow numbers as f32 and back, for callers that keep them narrow.
//!
//! * Shapes: `[n]` to `[n]`; widening is exact, narrowing rounds to nearest even.
//! * Bound by bytes: one load, one conversion and one store per vector.
//! * Loops that LLVM makes vectors of, once for each level; half floats have an instruction
//!   that it does not find.

use crate::simd::{Simd, by_level};
use crate::{Isa, PANEL};
use half::f16;
use std::iter::zip;

by_level! {
    /// The first slice becomes the numbers of the second one.
    ///
    /// # Panics
    /// The slices are of different lengths.
    widen_i8, widen_bytes, (&mut [f32], &[i8])
}

by_level! {
    /// Panels of pairs of rows of bf16, `[.., 16, 2]`, as panels of rows of f32, `[.., 2, 16]`.
    ///
    /// # Panics
    /// The slices are of different lengths, or no whole pairs of rows.
    widen_bf16_pairs, widen_pairs, (&mut [f32], &[u16])
}

by_level! {
    /// The first slice becomes the second one as bf16.
    ///
    /// # Panics
    /// The slices are of different lengths.
    narrow_bf16, narrow_floats, (&mut [u16], &[f32])
}

/// The first slice becomes the half floats of the second one.
///
/// # Panics
/// The slices are of different lengths.
pub fn widen_f16(isa: Isa, (to, from): (&mut [f32], &[u16])) {
    assert_eq!(to.len(), from.len());
    #[cfg(target_arch = "x86_64")]
    if isa.min(Isa::detect()) >= Isa::Avx512 {
        // SAFETY: the CPU has AVX-512.
        return unsafe { halves_avx512(to, from) };
    }
    let _ = isa;
    zip(to, from).for_each(|(t, f)| *t = f16::from_bits(*f).to_f32());
}

#[inline(always)]
fn widen_bytes<S: Simd>(_: S, (to, from): (&mut [f32], &[i8])) {
    assert_eq!(to.len(), from.len());
    zip(to, from).for_each(|(t, f)| *t = f32::from(*f));
}

#[inline(always)]
fn widen_pairs<S: Simd>(_: S, (to, from): (&mut [f32], &[u16])) {
    assert!(to.len() == from.len() && to.len().is_multiple_of(2 * PANEL));
    for (to, from) in zip(to.chunks_exact_mut(2 * PANEL), from.chunks_exact(2 * PANEL)) {
        let (even, odd) = to.split_at_mut(PANEL);
        for ((even, odd), pair) in zip(zip(even, odd), from.chunks_exact(2)) {
            let word = u32::from(pair[0]) | u32::from(pair[1]) << 16;
            *even = f32::from_bits(word << 16);
            *odd = f32::from_bits(word & 0xffff_0000);
        }
    }
}

#[inline(always)]
fn narrow_floats<S: Simd>(_: S, (to, from): (&mut [u16], &[f32])) {
    assert_eq!(to.len(), from.len());
    for (to, from) in zip(to, from) {
        let bits = from.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let quiet = bits >> 16 | 0x40;
        *to = if from.is_nan() { quiet } else { rounded } as u16;
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn halves_avx512(to: &mut [f32], from: &[u16]) {
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
