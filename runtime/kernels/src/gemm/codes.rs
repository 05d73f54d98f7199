//! `gemm_f32_bf16@1`, `gemm_f32_q8@1` and `gemm_f32_q4@1`: f32 rows by a matrix that stays narrow
//! in memory.
//!
//! * Shapes: `C f32[m, n] = clamp(bias + A f32[m, k]·B[k, n])`, any sizes (codes: k a multiple of
//!   what shares a scale); B in panels of 16 columns.
//! * Error: that of `gemm_f32@1` on B's numbers, whose bits these are: numbers are unpacked exactly
//!   (rounded once where they have an offset), and summed in the same chain.
//! * Bytes of B, per number: bf16 2, q8_0 1.06, q4_1 0.63, q4_0 0.56; flops 2 a row.
//! * Bound at `m = 1` by memory, or by what unpacking takes of two ports: of codes a conversion
//!   (q8: `vpmovsxbd`, `vcvtdq2ps`; q4: a shift, `vpermps`) and two FMAs for 16 numbers, which is
//!   32 GB/s of q8_0, 19 of q4_1 and 17 of q4_0 at 3.8 GHz; by flops of `gemm_f32@1` from
//!   `m = 8` on.
//!
//! One row multiplies what it unpacks in registers. More rows multiply panels that are unpacked a
//! [`DEPTH`] at a time: the numbers are made once, not once a row, at the price of a store and a
//! load in L1 or L2.
//!
//! GB/s of B at `m = 1`, `576x576` in L2, `12288x2048` (L3, mostly) and `196608x576` from DRAM
//! (f32 of that size: 14; this thread's share moved between 8 and 20 in those minutes), and GFLOP/s
//! at `m = 2, 4, 8` in L2 and at `64x192x576` (one Intel Emerald Rapids thread, FMA peak 242 and
//! 131, `cargo run --release -p cascata-kernels --example ceilings -- LEVEL "f32 by"`):
//!
//! | level | bf16 | q8_0 | q4_0 | q4_1 | `m = 2, 4, 8; 64` of q4_1 |
//! |---|---|---|---|---|---|
//! | avx2 | 57, 28, 16 | 16, 14, 12 | 6, 5, 6 | 7, 6, 5 | 37, 54, 69; 107 |
//! | avx512 | 73, 28, 16 | 27, 22, 14 | 14, 13, 11 | 16, 15, 12 | 50, 84, 112; 166 |
//!
//! Not taken: activations rounded to i8 for each 32 rows and `vpdpbusd`, 82 GB/s of q4_1 in L2: one
//! thread would be bound by memory, but every product would be of rounded rows. Two threads
//! reach about half of the stream bandwidth now.

use super::PANEL;
use crate::simd::Simd;
use cascata_artifact::abi::{BlockFn, GemmCodesArgs, GemmF32Args};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of B that are unpacked at once, a multiple of all steps'.
const DEPTH: usize = 128;
/// Panels side by side, unpacked and in the tile of one row.
const WIDTH: usize = 4;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Vectors of a panel at most: one lane each.
const LONGEST: usize = PANEL;

/// A level that widens narrow numbers. Words are 32-bit lanes, in the register type of f32.
pub(crate) trait Unpack: Simd {
    /// What says the numbers of nibbles.
    type Table: Copy;

    /// Asks for a cache line; any address will do.
    fn prefetch(self, p: *const u8);
    /// f16.
    ///
    /// # Safety
    /// `p[..LANES]` is readable.
    unsafe fn halves(self, p: *const u16) -> Self::F;
    /// i8.
    ///
    /// # Safety
    /// `p[..LANES]` is readable.
    unsafe fn bytes(self, p: *const i8) -> Self::F;
    /// The lower and the upper bf16 of words.
    fn pairs(self, words: Self::F) -> [Self::F; 2];
    /// For [`nibble`](Unpack::nibble): the numbers `0..16`, less `zero`.
    fn table(self, zero: i64) -> Self::Table;
    /// The number of each word's low 4 bits.
    fn nibble(self, words: Self::F, table: Self::Table) -> Self::F;
    /// The words, less their low 4 bits.
    fn next_nibble(self, words: Self::F) -> Self::F;
}

/// How B lies in memory: in steps of a few rows.
pub(crate) trait Codes {
    /// Rows of a step.
    const ROWS: usize;
    /// Bytes of a panel's step.
    const BYTES: usize;
    /// Numbers are codes with scales.
    const SCALED: bool;

    /// Calls `row` with each row's codes in the vector at column `lane` of a step, in order.
    ///
    /// # Safety
    /// The step at `p` is readable.
    unsafe fn unpack<S: Unpack>(
        s: S,
        p: *const u8,
        lane: usize,
        table: S::Table,
        row: impl FnMut(usize, S::F),
    );
}

/// Pairs of bf16.
pub(crate) struct Pairs;
/// Codes of 8 bits.
pub(crate) struct Bytes;
/// Codes of 4 bits.
pub(crate) struct Nibbles;

impl Codes for Pairs {
    const ROWS: usize = 2;
    const BYTES: usize = 4 * PANEL;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn unpack<S: Unpack>(
        s: S,
        p: *const u8,
        lane: usize,
        _: S::Table,
        mut row: impl FnMut(usize, S::F),
    ) {
        // SAFETY: the caller's promise.
        let words = unsafe { s.load(p.cast::<f32>().add(lane)) };
        let [even, odd] = s.pairs(words);
        row(0, even);
        row(1, odd);
    }
}

impl Codes for Bytes {
    const ROWS: usize = 8;
    const BYTES: usize = 8 * PANEL;
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn unpack<S: Unpack>(
        s: S,
        p: *const u8,
        lane: usize,
        _: S::Table,
        mut row: impl FnMut(usize, S::F),
    ) {
        for r in 0..Self::ROWS {
            // SAFETY: the caller's promise.
            row(r, unsafe { s.bytes(p.add(r * PANEL + lane).cast()) });
        }
    }
}

impl Codes for Nibbles {
    const ROWS: usize = 8;
    const BYTES: usize = 4 * PANEL;
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn unpack<S: Unpack>(
        s: S,
        p: *const u8,
        lane: usize,
        table: S::Table,
        mut row: impl FnMut(usize, S::F),
    ) {
        // SAFETY: the caller's promise.
        let mut words = unsafe { s.load(p.cast::<f32>().add(lane)) };
        for r in 0..Self::ROWS {
            row(r, s.nibble(words, table));
            words = s.next_nibble(words);
        }
    }
}

/// Scale and offset of a group, per column of a vector.
type Scale<S> = (<S as Simd>::F, <S as Simd>::F);

/// B of a call, as the level reads it.
struct Matrix<'a, S: Unpack> {
    s: S,
    args: &'a GemmCodesArgs,
    table: S::Table,
}

impl<S: Unpack> Matrix<'_, S> {
    /// Rows that share a scale: all, where numbers have none.
    #[inline(always)]
    fn group<C: Codes>(&self) -> usize {
        if C::SCALED { self.args.group as usize } else { self.args.k as usize }
    }

    /// The scales of group `group` for the vector at column `lane` of a panel.
    ///
    /// # Safety
    /// The panel and the group exist.
    #[inline(always)]
    unsafe fn scale<C: Codes>(&self, panel: usize, group: usize, lane: usize) -> Scale<S> {
        let (s, args) = (self.s, self.args);
        // An offset that changes nothing, not even the sign of 0.
        let none = s.splat(-0.0);
        if !C::SCALED {
            return (none, none);
        }
        let size = if args.wide != 0 { size_of::<f32>() } else { size_of::<u16>() };
        let kinds = if args.offsets != 0 { 2 } else { 1 };
        // SAFETY: the caller's promise.
        unsafe {
            let at = args.scales.offset(panel as isize * args.scales_panel_stride as isize);
            let at = at.add((group * kinds * PANEL + lane) * size);
            let load = |p: *const u8| match args.wide != 0 {
                true => s.load(p.cast()),
                false => s.halves(p.cast()),
            };
            (load(at), if kinds == 2 { load(at.add(PANEL * size)) } else { none })
        }
    }

    /// The step of row `k` of a panel.
    ///
    /// # Safety
    /// The panel and the row exist.
    #[inline(always)]
    unsafe fn step<C: Codes>(&self, panel: usize, k: usize) -> *const u8 {
        let start = panel as isize * self.args.b_panel_stride as isize;
        // SAFETY: the caller's promise.
        unsafe { self.args.b.offset(start).add(k / C::ROWS * C::BYTES) }
    }

    /// The number of a code.
    #[inline(always)]
    fn number<C: Codes>(&self, code: S::F, (scale, offset): Scale<S>) -> S::F {
        if C::SCALED { self.s.fma(code, scale, offset) } else { code }
    }
}

/// Runs a call; `gemm_f32` is the level's.
///
/// # Safety
/// The operands that `args` describes are readable, C is writable and overlaps none.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Unpack, C: Codes>(
    s: S,
    args: &GemmCodesArgs,
    gemm_f32: BlockFn<GemmF32Args>,
) {
    let b = Matrix { s, args, table: s.table(args.b_zero) };
    let panels = (args.n.max(0) as usize).div_ceil(PANEL);
    for panel in (0..panels).step_by(WIDTH) {
        let width = WIDTH.min(panels - panel);
        // SAFETY: the caller's promise, for panels that exist.
        unsafe {
            match args.m {
                1 => row::<S, C>(&b, panel, width),
                2.. => unpacked::<S, C>(&b, panel, width, gemm_f32),
                _ => {}
            }
        }
    }
}

/// The only row, times `width` panels.
#[inline(always)]
unsafe fn row<S: Unpack, C: Codes>(b: &Matrix<S>, panel: usize, width: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        // One lane has no registers for more, and its code would be four times as large.
        if S::LANES > 1 && width == WIDTH {
            return row_of::<S, C, WIDTH>(b, panel);
        }
        (panel..panel + width).for_each(|panel| row_of::<S, C, 1>(b, panel));
    }
}

/// What each vector of `NP` panels holds; a level with more lanes than one leaves the rest of a
/// panel's entries alone.
type PerVector<T, const NP: usize> = [[T; LONGEST]; NP];

/// The only row, times `NP` panels.
#[inline(always)]
unsafe fn row_of<S: Unpack, C: Codes, const NP: usize>(b: &Matrix<S>, panel: usize) {
    let (s, k, group) = (b.s, b.args.k.max(0) as usize, b.group::<C>().max(1));
    let mut sums = [[s.splat(0.0); LONGEST]; NP];
    // SAFETY: the caller's promise.
    unsafe {
        for_each_vector::<S, _, NP>(&mut sums, |p, lane, sum| *sum = initial(b, panel + p, lane));
        for start in (0..k).step_by(group) {
            add_group::<S, C, NP>(b, panel, start..k.min(start + group), &mut sums);
        }
        for_each_vector::<S, _, NP>(&mut sums, |p, lane, sum| finish(b, panel + p, lane, *sum));
    }
}

/// Adds the products of rows that share a scale.
#[inline(always)]
unsafe fn add_group<S: Unpack, C: Codes, const NP: usize>(
    b: &Matrix<S>,
    panel: usize,
    rows: Range<usize>,
    sums: &mut PerVector<S::F, NP>,
) {
    let (s, args, group) = (b.s, b.args, rows.start / b.group::<C>());
    let ahead = NP as isize * args.b_panel_stride as isize;
    let mut scales = [[(s.splat(0.0), s.splat(0.0)); LONGEST]; NP];
    // SAFETY: the caller's promise.
    unsafe {
        for_each_vector::<S, _, NP>(&mut scales, |p, lane, scale| {
            *scale = b.scale::<C>(panel + p, group, lane);
        });
        for at in rows.clone().step_by(C::ROWS) {
            for_each_vector::<S, _, NP>(sums, |p, lane, sum| {
                let (step, scale) = (b.step::<C>(panel + p, at), scales[p][lane / S::LANES]);
                // PERF: B is walked four panels at a time, each a new stream. Without, q4_1 and q8_0
                // from DRAM had 9 and 11 GB/s instead of 12 and 13 in interleaved runs; where B is
                // in L2 or L3, q4_1 has 18 instead of 16 (… --example ceilings -- avx512 "f32 by q4_1").
                if lane == 0 {
                    for line in (0..C::BYTES).step_by(LINE) {
                        s.prefetch(step.wrapping_offset(ahead).wrapping_add(line));
                    }
                }
                C::unpack(s, step, lane, b.table, |r, code| {
                    if C::SCALED || r < rows.end - at {
                        let a = s.splat(*args.a.add(at + r));
                        *sum = s.fma(a, b.number::<C>(code, scale), *sum);
                    }
                });
            });
        }
    }
}

/// Calls `each` with the panel, the first column and the entry of each vector.
#[inline(always)]
fn for_each_vector<S: Simd, T, const NP: usize>(
    entries: &mut PerVector<T, NP>,
    mut each: impl FnMut(usize, usize, &mut T),
) {
    for (p, entries) in entries.iter_mut().enumerate() {
        for (v, entry) in entries.iter_mut().enumerate().take(PANEL / S::LANES) {
            each(p, v * S::LANES, entry);
        }
    }
}

/// How many columns of C the vector at column `lane` of a panel has.
#[inline(always)]
fn columns<S: Unpack>(b: &Matrix<S>, panel: usize, lane: usize) -> usize {
    (b.args.n as usize).saturating_sub(panel * PANEL + lane).min(S::LANES)
}

/// Where the sums of the only row start.
#[inline(always)]
unsafe fn initial<S: Unpack>(b: &Matrix<S>, panel: usize, lane: usize) -> S::F {
    if b.args.bias.is_null() {
        return b.s.splat(0.0);
    }
    let bias = b.args.bias.wrapping_add(panel * PANEL + lane);
    // SAFETY: the caller's promise: C's columns have a bias each.
    unsafe { b.s.load_first(bias, columns(b, panel, lane)) }
}

/// Clamps and stores; NaN passes.
#[inline(always)]
unsafe fn finish<S: Unpack>(b: &Matrix<S>, panel: usize, lane: usize, sum: S::F) {
    let (s, args) = (b.s, b.args);
    let sum = s.min(s.splat(args.max as f32), s.max(s.splat(args.min as f32), sum));
    let c = args.c.wrapping_add(panel * PANEL + lane);
    // SAFETY: the caller's promise.
    unsafe { s.store_first(c, sum, columns(b, panel, lane)) };
}

/// All rows, times `width` panels unpacked a part at a time; between parts C holds the sums,
/// which is exact.
#[inline(always)]
unsafe fn unpacked<S: Unpack, C: Codes>(
    b: &Matrix<S>,
    panel: usize,
    width: usize,
    gemm_f32: BlockFn<GemmF32Args>,
) {
    let k = b.args.k.max(0) as usize;
    let mut numbers = [MaybeUninit::<f32>::uninit(); WIDTH * DEPTH * PANEL];
    let numbers = numbers.as_mut_ptr().cast::<f32>();
    // An empty sum is one part, too.
    for start in (0..k.max(1)).step_by(DEPTH) {
        let depth = DEPTH.min(k - start);
        for p in 0..width {
            // SAFETY: the caller's promise; there is room for `WIDTH` panels.
            unsafe { unpack::<S, C>(b, panel + p, start, depth, numbers.add(p * DEPTH * PANEL)) };
        }
        let args = part(b.args, panel * PANEL, start, depth, numbers);
        // SAFETY: a part of the caller's operands, and the panels just unpacked.
        unsafe { gemm_f32(&args) };
    }
}

/// The call that adds the products of rows `start..start + depth` of B.
fn part(
    args: &GemmCodesArgs,
    column: usize,
    start: usize,
    depth: usize,
    b: *const f32,
) -> GemmF32Args {
    let (first, last) = (start == 0, start + depth == args.k.max(0) as usize);
    let bias = if first && !args.bias.is_null() {
        args.bias.wrapping_add(column)
    } else {
        std::ptr::null()
    };
    GemmF32Args {
        a: args.a.wrapping_add(start),
        a_offsets: std::ptr::null(),
        a_row_stride: args.a_row_stride,
        a_batch_stride: 0,
        zeros: std::ptr::null(),
        b,
        b_panel_stride: (DEPTH * PANEL) as i64,
        b_batch_stride: 0,
        c: args.c.wrapping_add(column),
        c_row_stride: args.c_row_stride,
        bias,
        m: args.m,
        n: (args.n - column as i64).min((WIDTH * PANEL) as i64),
        k: depth as i64,
        k_last: depth as i64,
        batch: 1,
        accumulate: i64::from(!first),
        min: if last { args.min } else { f64::NEG_INFINITY },
        max: if last { args.max } else { f64::INFINITY },
        a_zero: 0,
    }
}

/// Rows `start..start + depth` of a panel as f32.
///
/// # Safety
/// They exist, and `to` has room for them.
#[inline(always)]
unsafe fn unpack<S: Unpack, C: Codes>(
    b: &Matrix<S>,
    panel: usize,
    start: usize,
    depth: usize,
    to: *mut f32,
) {
    let group = b.group::<C>().max(1);
    let mut from = start;
    while from < start + depth {
        let end = (start + depth).min((from / group + 1) * group);
        for lane in (0..PANEL).step_by(S::LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                let scale = b.scale::<C>(panel, from / group, lane);
                for at in (from..end).step_by(C::ROWS) {
                    let step = b.step::<C>(panel, at);
                    C::unpack(b.s, step, lane, b.table, |r, code| {
                        if C::SCALED || r < end - at {
                            let to = to.add((at + r - start) * PANEL + lane);
                            b.s.store(to, b.number::<C>(code, scale));
                        }
                    });
                }
            }
        }
        from = end;
    }
}
