//! Narrow numbers as f32 and back, for callers that keep them narrow.
//!
//! * Shapes: `[n]` to `[n]`; widening is exact, narrowing rounds to nearest even.
//! * Bound by bytes: one load, one conversion and one store per vector.

use crate::PANEL;
use crate::gemm::codes::Unpack;
use crate::simd::{Simd, by_level};
use std::iter::zip;

by_level! {
    /// The first slice becomes the numbers of the second one.
    ///
    /// # Panics
    /// The slices are of different lengths, or no whole panels' rows.
    widen_i8, widen_bytes, (&mut [f32], &[i8])
}

by_level! {
    /// The first slice becomes the half floats of the second one.
    ///
    /// # Panics
    /// The slices are of different lengths, or no whole panels' rows.
    widen_f16, widen_halves, (&mut [f32], &[u16])
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

#[inline(always)]
fn widen_bytes<S: Unpack>(s: S, (to, from): (&mut [f32], &[i8])) {
    assert!(to.len() == from.len() && to.len().is_multiple_of(PANEL));
    for at in (0..to.len()).step_by(S::LANES) {
        // SAFETY: both are whole panels' rows, hence whole vectors.
        unsafe { s.store(to.as_mut_ptr().add(at), s.bytes(from.as_ptr().add(at))) };
    }
}

#[inline(always)]
fn widen_halves<S: Unpack>(s: S, (to, from): (&mut [f32], &[u16])) {
    assert!(to.len() == from.len() && to.len().is_multiple_of(PANEL));
    for at in (0..to.len()).step_by(S::LANES) {
        // SAFETY: as of `widen_bytes`.
        unsafe { s.store(to.as_mut_ptr().add(at), s.halves(from.as_ptr().add(at))) };
    }
}

#[inline(always)]
fn widen_pairs<S: Unpack>(s: S, (to, from): (&mut [f32], &[u16])) {
    assert!(to.len() == from.len() && to.len().is_multiple_of(2 * PANEL));
    for pair in (0..to.len()).step_by(2 * PANEL) {
        for lane in (0..PANEL).step_by(S::LANES) {
            // SAFETY: a pair of rows is 16 words, and becomes two rows of 16 numbers.
            unsafe {
                let [even, odd] = s.pairs(s.load(from.as_ptr().add(pair + 2 * lane).cast()));
                s.store(to.as_mut_ptr().add(pair + lane), even);
                s.store(to.as_mut_ptr().add(pair + PANEL + lane), odd);
            }
        }
    }
}

/// A loop that LLVM makes vectors of at each level.
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
