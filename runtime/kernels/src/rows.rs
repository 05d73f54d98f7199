//! Row primitives: maps and reductions of contiguous f32 rows.
//!
//! * Shapes: `f32[n]`, any `n >= 0`, any alignment; a tail is one masked vector.
//! * Errors: of maps, at each function in `math/`; of sums, the roundings along the
//!   longest path, `n/64 + 6` at 512 bits.
//! * Bound by flops: by the polynomials, or by one vector load and add per cycle in L1.
//! * Order: lane `i % (4·LANES)` takes in its elements in ascending order, then a tree:
//!   it depends on `n` and the ISA level alone, never on the alignment.
//!
//! Versions, with Gelem/s of a row of 2,048 (one Zen 4 thread,
//! `cargo run --release -p cascata-kernels --example ceilings`):
//!
//! | | exp | erf | tanh | sigmoid | silu | gelu_erf | gelu_tanh | log |
//! |---|---|---|---|---|---|---|---|---|
//! | portable | 0.54 | 0.26 | 0.49 | 0.43 | 0.42 | 0.24 | 0.35 | 0.52 |
//! | avx2 | 3.0 | 1.1 | 2.0 | 1.9 | 1.8 | 0.96 | 1.4 | 1.3 |
//! | avx512 | 5.8 | 2.3 | 3.6 | 3.7 | 3.4 | 1.9 | 2.6 | 2.3 |
//!
//! All but exp, erf and log have since had one step of scaling in place of two; on a Zen 3
//! thread (avx2) that took silu from 1.06 to 1.62, gelu_erf from 0.63 to 1.24.
//!
//! | | sum | sum_sq | max | exp_sum |
//! |---|---|---|---|---|
//! | portable | 5.4 | 5.2 | 7.1 | 0.20 |
//! | avx2 | 42 | 34 | 28 | 2.3 |
//! | avx512 | 51 | 51 | 39 | 5.2 |

use crate::math::{MapOp, exp_or_zero};
use crate::simd::Simd;

/// Vectors that a reduction keeps in flight: the latency of an add.
const WIDE: usize = 4;

/// `dst[i] = f(src[i])`.
///
/// # Safety
/// `src[..n]` is readable, `dst[..n]` is writable, and they are equal or disjoint.
#[inline(always)]
pub(crate) unsafe fn map<S: Simd, O: MapOp>(s: S, dst: *mut f32, src: *const f32, n: i64) {
    let n = n.max(0) as usize;
    let mut i = 0;
    while i + S::LANES <= n {
        // SAFETY: `i + LANES <= n`.
        unsafe { s.store(dst.add(i), O::apply(s, s.load(src.add(i)))) };
        i += S::LANES;
    }
    if i < n {
        let left = n - i;
        // SAFETY: `left` elements are left.
        unsafe { s.store_first(dst.add(i), O::apply(s, s.load_first(src.add(i), left)), left) };
    }
}

/// A reduction of vectors to one number.
pub(crate) trait ReduceOp {
    /// The neutral element, which fills a tail.
    const NEUTRAL: f32;
    /// An accumulator.
    type Acc<S: Simd>: Copy;
    /// The accumulator of nothing.
    fn empty<S: Simd>(s: S) -> Self::Acc<S>;
    /// `acc` with `x` taken in.
    fn take<S: Simd>(s: S, acc: Self::Acc<S>, x: S::F) -> Self::Acc<S>;
    /// Two accumulators joined.
    fn join<S: Simd>(s: S, a: Self::Acc<S>, b: Self::Acc<S>) -> Self::Acc<S>;
    /// The lanes joined.
    fn finish<S: Simd>(s: S, acc: Self::Acc<S>) -> f32;
}

/// Sum; 0 when empty.
pub(crate) struct Sum;

impl ReduceOp for Sum {
    const NEUTRAL: f32 = 0.0;
    type Acc<S: Simd> = S::F;
    #[inline(always)]
    fn empty<S: Simd>(s: S) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    fn take<S: Simd>(s: S, acc: S::F, x: S::F) -> S::F {
        s.add(acc, x)
    }
    #[inline(always)]
    fn join<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
    #[inline(always)]
    fn finish<S: Simd>(s: S, acc: S::F) -> f32 {
        s.reduce_add(acc)
    }
}

/// Sum of squares; 0 when empty.
pub(crate) struct SumSq;

impl ReduceOp for SumSq {
    const NEUTRAL: f32 = 0.0;
    type Acc<S: Simd> = S::F;
    #[inline(always)]
    fn empty<S: Simd>(s: S) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    fn take<S: Simd>(s: S, acc: S::F, x: S::F) -> S::F {
        s.fma(x, x, acc)
    }
    #[inline(always)]
    fn join<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
    #[inline(always)]
    fn finish<S: Simd>(s: S, acc: S::F) -> f32 {
        s.reduce_add(acc)
    }
}

/// Maximum; −inf when empty, NaN if any element is. The accumulator holds where a NaN
/// was seen beside the maximum, because `max` forgets one at the next number.
pub(crate) struct Max;

impl ReduceOp for Max {
    const NEUTRAL: f32 = f32::NEG_INFINITY;
    type Acc<S: Simd> = (S::F, S::M);
    #[inline(always)]
    fn empty<S: Simd>(s: S) -> (S::F, S::M) {
        (s.splat(f32::NEG_INFINITY), s.first(0))
    }
    #[inline(always)]
    fn take<S: Simd>(s: S, (max, nan): (S::F, S::M), x: S::F) -> (S::F, S::M) {
        (s.max(x, max), s.or(nan, s.unordered(x, x)))
    }
    #[inline(always)]
    fn join<S: Simd>(s: S, a: (S::F, S::M), b: (S::F, S::M)) -> (S::F, S::M) {
        (s.max(a.0, b.0), s.or(a.1, b.1))
    }
    #[inline(always)]
    fn finish<S: Simd>(s: S, (max, nan): (S::F, S::M)) -> f32 {
        if s.any(nan) { f32::NAN } else { s.reduce_max(max) }
    }
}

/// The reduction `O` of `src[..n]`.
///
/// # Safety
/// `src[..n]` is readable.
#[inline(always)]
pub(crate) unsafe fn reduce<S: Simd, O: ReduceOp>(s: S, src: *const f32, n: i64) -> f32 {
    let n = n.max(0) as usize;
    let mut acc = [O::empty(s); WIDE];
    let mut i = 0;
    while i + WIDE * S::LANES <= n {
        for (slot, acc) in acc.iter_mut().enumerate() {
            // SAFETY: `i + WIDE·LANES <= n`.
            let x = unsafe { s.load(src.add(i + slot * S::LANES)) };
            *acc = O::take(s, *acc, x);
        }
        i += WIDE * S::LANES;
    }
    for acc in &mut acc {
        let left = (n - i).min(S::LANES);
        if left > 0 {
            // SAFETY: `i + left <= n`.
            let x = unsafe { s.load_first(src.add(i), left) };
            *acc = O::take(s, *acc, s.select(s.first(left), x, s.splat(O::NEUTRAL)));
        }
        i += left;
    }
    O::finish(s, O::join(s, O::join(s, acc[0], acc[1]), O::join(s, acc[2], acc[3])))
}

/// `dst[i] = exp(src[i] − bias)`, 0 where that is below 2^-126; returns the sum of the results.
///
/// # Safety
/// As of [`map`].
#[inline(always)]
pub(crate) unsafe fn exp_sum<S: Simd>(
    s: S,
    dst: *mut f32,
    src: *const f32,
    n: i64,
    bias: f32,
) -> f32 {
    let n = n.max(0) as usize;
    let bias = s.splat(bias);
    let mut acc = [s.splat(0.0); WIDE];
    let mut i = 0;
    while i + WIDE * S::LANES <= n {
        for (slot, acc) in acc.iter_mut().enumerate() {
            let at = i + slot * S::LANES;
            // SAFETY: `i + WIDE·LANES <= n`.
            let y = exp_or_zero(s, s.sub(unsafe { s.load(src.add(at)) }, bias));
            // SAFETY: as above.
            unsafe { s.store(dst.add(at), y) };
            *acc = s.add(*acc, y);
        }
        i += WIDE * S::LANES;
    }
    for acc in &mut acc {
        let left = (n - i).min(S::LANES);
        if left > 0 {
            // SAFETY: `i + left <= n`.
            let y = exp_or_zero(s, s.sub(unsafe { s.load_first(src.add(i), left) }, bias));
            // SAFETY: as above.
            unsafe { s.store_first(dst.add(i), y, left) };
            *acc = s.add(*acc, s.select(s.first(left), y, s.splat(0.0)));
        }
        i += left;
    }
    s.reduce_add(s.add(s.add(acc[0], acc[1]), s.add(acc[2], acc[3])))
}
