//! `gemm_f32@1`, `gemm_bf16@1`, `gemm_i16@1` and `gemm_u8@1`, the batch-reduce GEMM: loop order
//! and blocking of one call.
//!
//! * Shapes: `C f32[m, n] = clamp(init + Σ_t A_t f32[m, k]·B_t f32[k, n])`, any sizes;
//!   B in panels of 16 columns, A strided or through offsets. Of bf16 the same, K in pairs;
//!   of i16, and of u8 less a zero point by i8, without a clamp, summed in i32; K in pairs, and
//!   in quads.
//! * Error: one chain of roundings per element, `(batch·k + 2)·2^-24` relative to
//!   `|init| + Σ|a·b|` with FMA; twice that in the portable version. Integers: none, sums wrap.
//! * Bound by flops from `m = 3` on while B is in L2 or L3; by bytes of B below.
//! * Source: Georganas et al. 2019 (arXiv 1906.06440); blocking after BLIS.
//!
//! A call is cut into passes over at most [`PASS_DEPTH`] of the summed K, so that the
//! rows of a register tile stay in L1 while B streams from L2. Between passes C holds
//! the running sum, which is exact, so each element's sum stays one chain and no choice
//! made here changes a bit.
//!
//! Versions, with GFLOP/s of `128x256x256`, of a 3x3 convolution `100x64x64·9` by
//! offsets, and of `m = 1, 2, 4` times `256x256` in L2 (one Zen 4 thread, FMA peak 118,
//! `cargo run --release -p cascata-kernels --example ceilings -- gemm`):
//! 1. portable: a row x a panel, SSE2 by LLVM, no FMA: 23, 25; 23, 23, 23.
//! 2. avx2: 6x16 tiles, 1x64 and 2x32 for skinny calls: 114, 112; 55, 101, 107.
//! 3. avx512: 8x48, 12x32 and 14x16 tiles, 6x64 and 3x128 for skinny ones: 114, 116;
//!    52, 103, 114. At `m = 1` that is 104 GB/s of B from L2, 90 from L3, 22–31 from DRAM.
//!
//! Zero points: `Σ (a − zero)·b = Σ a·b − zero·Σ b`, whose last sums come with B's panels; a
//! row that is not there is one of zero points (Jacob et al. 2018, arXiv 1712.05877, §2.3).
//!
//! Narrow types on the tiles of f32, best GOP/s of `128x256x256`, of the same convolution, and of
//! `m = 1` times `256x256` (one Intel Emerald Rapids thread beside loud neighbours, FMA peak 160;
//! f32 there: 101–151 of blocks, 46–58 of `m = 1`; `… --example ceilings -- LEVEL "gemm u8"`):
//!
//! | level | ceiling, of FMA peak | bf16 | i16 | u8 |
//! |---|---|---|---|---|
//! | portable | | 5, 5, 5 | 4, 4, 4 | 4, 4, 4 |
//! | avx2 (peak 80) | 1: `vpmaddwd` and the addition share the ports of FMA | 55, 57, 41 | 84, 80, 73 | 78, 74, 59 |
//! | avx512-vnni | 2: `vpdpwssd`; 4: `vpdpbusd` | | 307, 293, 90 | 590, 529, 214 |
//! | avx512-bf16 | ½ here: `vdpbf16ps` | 71, 70, 55 | | |
//! | amx | 16: `tdpbf16ps`; 32: `tdpbusd` | 472, 294, – | | 778, 532, – |
//!
//! Tiles lose most to a busy other thread of the core (`gemm/amx.rs`).
//!
//! Tried without gain: prefetching B 512 to 2,048 elements ahead (interleaved runs from
//! DRAM at `m <= 3` lost 10 to 30 %; beyond, no difference above the noise).

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
pub(crate) mod codes;
mod element;
pub(crate) mod portable;
mod tile;

pub(crate) use element::{Element, IntLanes, Multiply};
pub(crate) use tile::{TileFn, tile};

use cascata_artifact::abi::GemmArgs;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Columns of a panel of a right operand.
pub const PANEL: usize = 16;

/// Summed K of one pass, in units.
// PERF: the 8 x 512 rows of A are 16 KiB, half of L1.
const PASS_DEPTH: usize = 512;

/// The most units of B that a pass rereads for each row tile; a larger B is walked
/// once, and A reread instead.
// PERF: half of a 1 MiB L2. `16x12288x2048` from DRAM: 87 instead of 67 GFLOP/s.
const B_NEAR: usize = 128 * 1024;

/// A level's register tiles.
pub(crate) trait GemmIsa: IntLanes {
    /// The level's vectors of half a panel.
    type Half;

    /// Panels side by side in a tile of a call with `m` rows.
    fn width(m: usize) -> usize;
    /// The most rows of a tile `width` panels wide.
    fn height(width: usize) -> usize;
    /// The tile of `rows <= height(width)` rows.
    fn tile<E: Element>(rows: usize, width: usize) -> TileFn<E>
    where
        Self: Multiply<E>;
    /// The most rows of a tile that uses at most half of its last panel; `None` if there
    /// is none of this width.
    fn half_height(width: usize) -> Option<usize>;
    /// The tile of `rows <= half_height(width)` rows that leaves half of its last panel out.
    fn half_tile<E: Element>(rows: usize, width: usize) -> TileFn<E>
    where
        Self::Half: Multiply<E>;
}

/// Column tiles side by side, all of the same kind.
struct Columns {
    /// The panels that they cover.
    panels: Range<usize>,
    /// Panels a tile.
    width: usize,
    /// At most half of the last panel is C's: one tile, of the kind that leaves the rest out.
    half: bool,
}

/// One pass over the K blocks `blocks`, in each over the rows `depth` of B.
pub(crate) struct Pass<'a, E: Element> {
    /// The call.
    pub(crate) args: &'a GemmArgs<E, E::Right, E::Sum>,
    /// What rows of negative offsets read.
    pub(crate) padding: *const E,
    /// The K blocks.
    pub(crate) blocks: Range<usize>,
    /// The part of each block.
    pub(crate) depth: Range<usize>,
    /// The sum starts from C, else from the bias.
    pub(crate) from_c: bool,
    /// The sum is complete: clamp it.
    pub(crate) last: bool,
}

impl<E: Element> Pass<'_, E> {
    /// The length of `depth` inside block `t`.
    #[inline(always)]
    pub(crate) fn depth_of(&self, t: usize) -> usize {
        let last = t as i64 + 1 == self.args.batch;
        let k = if last { self.args.k_last } else { self.args.k };
        (k.max(0) as usize).min(self.depth.end).saturating_sub(self.depth.start)
    }
}

/// Calls `run` with each pass of `args`, at most `limit` deep, in order; at least once.
fn for_each_pass<E: Element>(
    args: &GemmArgs<E, E::Right, E::Sum>,
    limit: usize,
    run: &mut dyn FnMut(&Pass<E>),
) {
    let (batch, k) = (args.batch.max(0) as usize, args.k.max(args.k_last).max(0) as usize);
    let mut row = [MaybeUninit::uninit(); _];
    let padding = E::padding(args, &mut row);
    let mut from_c = args.accumulate != 0;
    let mut pass = |blocks: Range<usize>, depth: Range<usize>, last: bool| {
        run(&Pass { args, padding, blocks, depth, from_c, last });
        from_c = true;
    };
    if k > limit {
        for t in 0..batch {
            for start in (0..k).step_by(limit) {
                let last = t + 1 == batch && start + limit >= k;
                pass(t..t + 1, start..start + limit, last);
            }
        }
    } else {
        let step = limit / k.max(1);
        for start in (0..batch).step_by(step) {
            let end = batch.min(start.saturating_add(step));
            pass(start..end, 0..k, end == batch);
        }
    }
    if batch == 0 {
        pass(0..0, 0..0, true);
    }
}

/// Calls `run` with the runs of equally wide column tiles of `n` columns.
/// A single left-over panel of a width of 3 is avoided by two tiles of 2.
fn for_each_run<S: GemmIsa>(n: usize, width: usize, run: &mut dyn FnMut(Columns)) {
    let panels = n.div_ceil(PANEL);
    let mut wide = panels - panels % width;
    if width == 3 && panels % 3 == 1 && panels > 3 {
        wide -= 3;
    }
    let (rest, last) = match panels - wide {
        0 => (width, width.min(panels)),
        4 if width == 3 => (2, 2),
        rest => (rest, rest),
    };
    let half = (1..=PANEL / 2).contains(&(n % PANEL)) && S::half_height(last).is_some();
    let mut at = 0;
    let mut until = |end: usize, width: usize, half: bool| {
        if end > at {
            run(Columns { panels: at..end, width, half });
            at = end;
        }
    };
    let end = if half { panels - last } else { panels };
    until(wide.min(end), width, false);
    until(end, rest, false);
    until(panels, last, true);
}

/// Runs a call.
///
/// # Safety
/// The operands that `args` describes are readable, C is writable and overlaps none.
pub(crate) unsafe fn gemm<S, E: Element>(args: &GemmArgs<E, E::Right, E::Sum>)
where
    S: GemmIsa<Half: Multiply<E>> + Multiply<E>,
{
    let (m, n) = (args.m.max(0) as usize, args.n.max(0) as usize);
    let width = S::width(m);
    // One row tile reads A once per column tile in any case: no reason to cut K.
    let limit = if m <= height::<S, E>(width) { E::MAX_PASS } else { PASS_DEPTH * E::UNIT };
    for_each_pass(args, limit, &mut |pass| {
        for_each_run::<S>(n, width, &mut |columns| {
            // SAFETY: the caller's promise; the tiles cover `m` x `n` once.
            unsafe { gemm_run::<S, E>(pass, m, columns) };
        });
    });
}

/// The most rows of a tile `width` panels wide.
fn height<S: GemmIsa + Multiply<E>, E: Element>(width: usize) -> usize {
    S::height(width).min(S::MOST_ROWS)
}

/// One pass over some columns. Row tiles differ in height by at most one, so that no
/// tile is too low to hide the FMA latency.
///
/// # Safety
/// As of [`gemm`].
unsafe fn gemm_run<S, E: Element>(pass: &Pass<E>, m: usize, columns: Columns)
where
    S: GemmIsa<Half: Multiply<E>> + Multiply<E>,
{
    let Columns { panels, width, half } = columns;
    let half = S::half_height(width).filter(|_| half);
    let tiles = m.div_ceil(half.unwrap_or(height::<S, E>(width)));
    // The tile `index` begins at row `index·m / tiles`.
    let row = |index: usize| index * m / tiles;
    let run = |index: usize, panel: usize| {
        let rows = row(index + 1) - row(index);
        let tile = if half.is_some() { S::half_tile(rows, width) } else { S::tile(rows, width) };
        // SAFETY: the caller's promise; the tile starts inside of C.
        unsafe { tile(pass, row(index), panel * PANEL) };
    };
    let depth = pass.blocks.len() * (pass.depth.end - pass.depth.start);
    if panels.len() > m / PANEL && panels.len() * PANEL * depth > B_NEAR * E::UNIT {
        for panel in panels.step_by(width) {
            (0..tiles).for_each(|index| run(index, panel));
        }
    } else {
        for index in 0..tiles {
            panels.clone().step_by(width).for_each(|panel| run(index, panel));
        }
    }
}
