//! `dwconv_f32@1`, the depthwise contraction.
//!
//! * Shapes: `C f32[m, channels] = clamp(bias + Σ_t A_t ⊙ W[t])`, any sizes.
//! * Error: one chain of `taps` roundings per element, `(taps + 1)·2^-24` relative to
//!   `|bias| + Σ|a·w|` with FMA; twice that in the portable version.
//! * Bound by bytes from L1: each FMA loads a vector of A, which by instruction counts
//!   leaves about 0.75 of the FMA peak, half of that where rows are no multiple of 64
//!   bytes. What keeps it at 0.55 is not found: neither the clamp (+0–8 % without) nor
//!   misses on A (no gain when A stays in L1) explain it.
//!
//! A tile of pixels x channel vectors stays in registers over all taps; a tap's
//! weights are loaded once per tile and used for each of its pixels.
//!
//! Versions, with GFLOP/s of 3x3 on 14x14 pixels x 64, 96 and 100 channels and 5x5 on
//! 256 (one Zen 4 thread, FMA peak 118,
//! `cargo run --release -p cascata-kernels --example ceilings -- dwconv`):
//! 1. portable: 16 channels of a pixel: 9, 9, 8, 8.
//! 2. avx2: 3 pixels x 4 vectors: 53, 53, 38, 47 (4x4 spills, 4x2 and 6x2: 49).
//! 3. avx512: 6 pixels x 4 vectors: 65, 65, 43, 63 (2 pixels: 58, 56, 37, 47).
//!
//! Tried without gain: channels in the outer loop.

pub(crate) mod portable;

use crate::simd::Simd;
use cascata_artifact::abi::DwConvF32Args;

/// Runs a call in tiles of `P` pixels x `CV` channel vectors.
///
/// # Safety
/// The operands that `args` describes are readable, C is writable and overlaps none.
#[inline(always)]
pub(crate) unsafe fn dwconv<S: Simd, const P: usize, const CV: usize>(s: S, args: &DwConvF32Args) {
    let (m, channels) = (args.m.max(0) as usize, args.channels.max(0) as usize);
    let whole = m - m % P;
    // SAFETY: the caller's promise; the tiles cover `m` x `channels` once.
    unsafe {
        for i in (0..whole).step_by(P) {
            row::<S, P, CV>(s, args, i, channels);
        }
        for i in whole..m {
            row::<S, 1, CV>(s, args, i, channels);
        }
    }
}

/// All channels of `P` pixels.
#[inline(always)]
unsafe fn row<S: Simd, const P: usize, const CV: usize>(
    s: S,
    args: &DwConvF32Args,
    i: usize,
    channels: usize,
) {
    let mut c = 0;
    // SAFETY: the caller's promise; every tile lies inside of the channels.
    unsafe {
        while c + CV * S::LANES <= channels {
            tile::<S, P, CV>(s, args, i, c, S::LANES);
            c += CV * S::LANES;
        }
        if CV > 2 && c + 2 * S::LANES <= channels {
            tile::<S, P, 2>(s, args, i, c, S::LANES);
            c += 2 * S::LANES;
        }
        while c < channels {
            let lanes = (channels - c).min(S::LANES);
            tile::<S, P, 1>(s, args, i, c, lanes);
            c += lanes;
        }
    }
}

/// `p[..n]` as a vector.
#[inline(always)]
unsafe fn load<S: Simd>(s: S, p: *const f32, n: usize) -> S::F {
    // SAFETY: the caller's promise.
    unsafe { if n == S::LANES { s.load(p) } else { s.load_first(p, n) } }
}

/// `P` pixels x `CV` vectors of `n` channels each, from `C[i, c]`.
#[inline(always)]
unsafe fn tile<S: Simd, const P: usize, const CV: usize>(
    s: S,
    args: &DwConvF32Args,
    i: usize,
    c: usize,
    n: usize,
) {
    let at = |v: usize| c + v * S::LANES;
    let mut acc = [[s.splat(0.0); CV]; P];
    // SAFETY: the caller's promise: `P` pixels and `CV` vectors of `n` channels are left.
    unsafe {
        if !args.bias.is_null() {
            let bias: [S::F; CV] = std::array::from_fn(|v| load(s, args.bias.add(at(v)), n));
            acc = [bias; P];
        }
        for t in 0..args.taps.max(0) as usize {
            let weights = args.w.offset(t as isize * args.w_stride as isize);
            let w: [S::F; CV] = std::array::from_fn(|v| load(s, weights.add(at(v)), n));
            for (p, acc) in acc.iter_mut().enumerate() {
                let offset = *args.a_offsets.add(t * args.m as usize + i + p);
                let a = if offset < 0 { args.zeros } else { args.a.offset(offset as isize) };
                for v in 0..CV {
                    acc[v] = s.fma(load(s, a.add(at(v)), n), w[v], acc[v]);
                }
            }
        }
        let (min, max) = (s.splat(args.min as f32), s.splat(args.max as f32));
        for (p, acc) in acc.iter().enumerate() {
            let row = args.c.offset((i + p) as isize * args.c_row_stride as isize);
            for (v, &x) in acc.iter().enumerate() {
                let x = s.min(max, s.max(min, x));
                let to = row.add(at(v));
                if n == S::LANES { s.store(to, x) } else { s.store_first(to, x, n) }
            }
        }
    }
}
