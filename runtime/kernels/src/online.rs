//! The steps of an online softmax between two products, row by row.
//!
//! * FuseMax's 1-pass cascade (arXiv 2406.10491, §4.3): scores of one tile of keys come in, the
//!   running maximum `m` and denominator `l` are brought up to date, scores become weights
//!   `e^(s − m)`; what was summed before is multiplied by `e^(m_old − m)`.
//! * Shapes: scores `f32[rows, tokens]`, states `f32[rows]`, sums `f32[rows, width]`.
//! * Errors: those of `exp_sum_f32@1`, and of one product a tile.
//! * A row's numbers depend on its own scores alone.
//! * Bound by flops: of `e^x`, one for each score.

use crate::math::{Exp, Tanh};
use crate::rows::{self, Max};
use crate::simd::{Simd, by_level};
use std::iter::zip;
use std::ops::Range;

/// Most rows of one call of [`weigh`].
pub const MOST_ROWS: usize = 128;

/// Rows whose scores become weights.
pub struct Weigh<'a> {
    /// Scores, then weights.
    pub scores: &'a mut [f32],
    /// Elements from a row to the next.
    pub stride: usize,
    /// Which elements of each row are scores.
    pub tokens: Range<usize>,
    /// Scores are `score/cap`; they become `cap·tanh(score/cap)` first.
    pub cap: Option<f32>,
    /// `m`, one for each row.
    pub max: &'a mut [f32],
    /// `l`.
    pub sum: &'a mut [f32],
    /// `e^(m_old − m)`, by which what was summed before is to be multiplied.
    pub factor: &'a mut [f32],
}

/// Sums that are multiplied, each row by its factor.
pub struct Rescale<'a> {
    /// `[rows, width]`.
    pub sums: &'a mut [f32],
    /// What is added then, of the same shape; nothing where it is empty.
    pub more: &'a [f32],
    /// `[rows]`.
    pub factor: &'a [f32],
    /// Elements of a row.
    pub width: usize,
}

by_level! {
    /// Makes weights of scores. A row all of whose scores are −∞ keeps its state if it has seen
    /// none but those; a NaN wins, so that it shows.
    ///
    /// # Panics
    /// A slice is too short, or there are more than [`MOST_ROWS`] rows.
    weigh, weigh_rows, Weigh<'_>
}

by_level! {
    /// `sums = sums·factor (+ more)`.
    ///
    /// # Panics
    /// The slices are of different lengths.
    rescale, rescale_rows, Rescale<'_>
}

#[inline(always)]
fn weigh_rows<S: Simd>(s: S, args: Weigh<'_>) {
    let Weigh { scores, stride, tokens, cap, max, sum, factor } = args;
    let count = max.len();
    assert!(count <= MOST_ROWS && sum.len() == count && factor.len() == count);
    let mut totals = [0.0; MOST_ROWS];
    for row in 0..count {
        let scores = &mut scores[row * stride + tokens.start..row * stride + tokens.end];
        if let Some(cap) = cap {
            capped(s, scores, cap);
        }
        let (at, n) = (scores.as_mut_ptr(), scores.len() as i64);
        // SAFETY: the slice is that long.
        let largest = unsafe { rows::reduce::<S, Max>(s, at, n) };
        let new = if largest > max[row] || largest.is_nan() { largest } else { max[row] };
        if new == f32::NEG_INFINITY {
            scores.fill(0.0);
            factor[row] = 0.0;
        } else {
            // SAFETY: as above.
            totals[row] = unsafe { rows::exp_sum(s, at, at, n, new) };
            factor[row] = max[row] - new;
        }
        max[row] = new;
    }
    let at = factor.as_mut_ptr();
    // SAFETY: as above.
    unsafe { rows::map::<S, Exp>(s, at, at, count as i64) };
    for ((sum, factor), total) in zip(zip(sum, factor), totals) {
        *sum = *sum * *factor + total;
    }
}

#[inline(always)]
fn capped<S: Simd>(s: S, scores: &mut [f32], cap: f32) {
    let at = scores.as_mut_ptr();
    // SAFETY: the slice is that long.
    unsafe { rows::map::<S, Tanh>(s, at, at, scores.len() as i64) };
    scores.iter_mut().for_each(|x| *x *= cap);
}

#[inline(always)]
fn rescale_rows<S: Simd>(_: S, args: Rescale<'_>) {
    let Rescale { sums, more, factor, width } = args;
    assert!(sums.len() == factor.len() * width && (more.is_empty() || more.len() == sums.len()));
    let sums = sums.chunks_exact_mut(width.max(1));
    if more.is_empty() {
        for (sums, factor) in zip(sums, factor).filter(|(_, f)| **f != 1.0) {
            sums.iter_mut().for_each(|x| *x *= factor);
        }
        return;
    }
    for ((sums, more), factor) in zip(zip(sums, more.chunks_exact(width.max(1))), factor) {
        zip(sums, more).for_each(|(x, y)| *x = *x * factor + y);
    }
}
