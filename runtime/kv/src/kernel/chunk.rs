//! Rows of one key head's products, taken through all tiles that they read.

use super::Step;
use crate::BlockId;
use crate::store::{Numbers, Panels, Tile};
use cascata_kernels::{MatMul, widen_bf16, widen_f16, widen_i8};
use std::ops::Range;

/// What a share needs for itself; kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Results, row after row.
    pub(super) done: Vec<f32>,
    /// Queries, scaled, `[rows, D]`.
    q: Vec<f32>,
    /// Scores, then weights, `[rows, tokens]`.
    scores: Vec<f32>,
    /// `m`: running maxima.
    max: Vec<f32>,
    /// `l`: running denominators.
    sum: Vec<f32>,
    /// `e^(m − m')` of the tile that is taken in.
    correction: Vec<f32>,
    /// A tile's keys and values in f32.
    wide: [Vec<f32>; 2],
}

/// Some rows of products of one key head.
pub(super) struct Chunk<'a> {
    step: &'a Step<'a>,
    head: usize,
    /// Ranks times query heads of a key head.
    rows: Range<usize>,
    scratch: &'a mut Scratch,
    /// Where `scratch.done` holds `o`, the outputs before the division.
    out: usize,
}

/// A tile of the keys that a product's rows see.
struct Seen {
    block: BlockId,
    /// Rows of the chunk.
    rows: Range<usize>,
    /// Tokens of the tile.
    tokens: Range<usize>,
}

impl<'a> Chunk<'a> {
    pub(super) fn new(
        step: &'a Step<'a>,
        head: usize,
        rows: Range<usize>,
        scratch: &'a mut Scratch,
    ) -> Self {
        let (dim, count) = (step.head_dim(), rows.len());
        let a = step.attention;
        // Of capped scores the cap's part is taken out once, here.
        let scale = a.soft_cap.map_or(a.scale, |cap| a.scale / cap);
        scratch.q.clear();
        for at in rows.clone() {
            let from = step.place(head, at);
            scratch.q.extend(step.q[from..from + dim].iter().map(|x| x * scale));
        }
        refill(&mut scratch.max, count, f32::NEG_INFINITY);
        refill(&mut scratch.sum, count, 0.0);
        refill(&mut scratch.correction, count, 0.0);
        scratch.scores.resize(count * step.kv.layout().block_tokens as usize, 0.0);
        let out = scratch.done.len();
        scratch.done.resize(out + count * dim, 0.0);
        Self { step, head, rows, scratch, out }
    }

    /// Takes in every tile, then divides.
    pub(super) fn run(mut self) {
        let step = self.step;
        let rows = &step.kernel.rows;
        for (item, runs) in step.batch.work.items.iter().zip(&rows.items) {
            let runs = &rows.runs[runs.start as usize..runs.end as usize];
            let (Some(first), Some(last)) = (runs.first(), runs.last()) else { continue };
            if self.own(&(first.start..last.end)).is_empty() {
                continue;
            }
            for (tile, &block) in (item.first_tile..).zip(step.batch.work.blocks_of(item)) {
                self.tile(tile, block, runs);
            }
        }
        self.divide();
    }

    /// The rows of the chunk that belong to these ranks.
    fn own(&self, ranks: &Range<u32>) -> Range<usize> {
        let group = self.step.group();
        let start = (ranks.start as usize * group).max(self.rows.start);
        let end = (ranks.end as usize * group).min(self.rows.end);
        start..end.max(start)
    }

    /// Takes in one tile: neighbours that see the same of it together.
    fn tile(&mut self, tile: u32, block: BlockId, runs: &[Range<u32>]) {
        let group = self.step.group();
        let mut loaded = false;
        for run in runs {
            let own = self.own(run);
            if own.is_empty() {
                continue;
            }
            let (mut rank, end) = (own.start / group, own.end.div_ceil(group));
            while rank < end {
                let tokens = self.visible(rank, tile);
                let same = (rank + 1..end).take_while(|r| self.visible(*r, tile) == tokens);
                let next = rank + 1 + same.count();
                if !tokens.is_empty() {
                    let rows = self.own(&(rank as u32..next as u32));
                    let rows = rows.start - self.rows.start..rows.end - self.rows.start;
                    if !std::mem::replace(&mut loaded, true) {
                        self.load(block);
                    }
                    self.take_in(&Seen { block, rows, tokens });
                }
                rank = next;
            }
        }
    }

    /// Which tokens of a tile a rank sees.
    fn visible(&self, rank: usize, tile: u32) -> Range<usize> {
        let tokens = self.step.kv.layout().block_tokens;
        let position = self.step.kernel.rows.positions[rank];
        self.step.attention.visible(position, tile * tokens, tokens)
    }

    fn tiles(&self, block: BlockId) -> [Tile<'a>; 2] {
        let Step { kv, layer, .. } = *self.step;
        [kv.keys(layer, block, self.head), kv.values(layer, block, self.head)]
    }

    /// Makes f32 of a block's numbers, where they are something else.
    fn load(&mut self, block: BlockId) {
        let isa = self.step.kernel.isa;
        for (tile, wide) in self.tiles(block).iter().zip(&mut self.scratch.wide) {
            wide.resize(tile.panels.len(), 0.0);
            match tile.numbers {
                Numbers::F32(_) => {}
                Numbers::F16(x) => widen_f16(isa, wide, x),
                Numbers::BF16(x) => widen_bf16(isa, wide, x),
                Numbers::I8(x, scales) => {
                    widen_i8(isa, wide, x);
                    rescale(wide, tile, scales);
                }
            }
        }
    }

    /// Takes in tokens of a tile that was loaded.
    fn take_in(&mut self, seen: &Seen) {
        self.score(seen);
        self.weigh(seen);
        self.mix(seen);
    }

    /// Scores of the tile's tokens up to the last one seen.
    fn score(&mut self, Seen { block, rows, tokens }: &Seen) {
        let (dim, stride) = (self.step.head_dim(), self.step.kv.layout().block_tokens as usize);
        let [keys, _] = self.tiles(*block);
        let Scratch { q, scores, wide, .. } = &mut *self.scratch;
        let keys = if let Numbers::F32(x) = keys.numbers { x } else { &wide[0] };
        let sizes = MatMul {
            m: rows.len(),
            n: tokens.end,
            k: dim,
            a_stride: dim,
            b_rows: dim,
            c_stride: stride,
            accumulate: false,
        };
        let (q, scores) = (&q[rows.start * dim..], &mut scores[rows.start * stride..]);
        self.step.kernel.kernels.matmul(sizes, q, keys, scores);
    }

    /// Adds the values, by their weights.
    fn mix(&mut self, Seen { block, rows, tokens }: &Seen) {
        let (dim, stride) = (self.step.head_dim(), self.step.kv.layout().block_tokens as usize);
        let [_, values] = self.tiles(*block);
        let Scratch { done, scores, wide, .. } = &mut *self.scratch;
        let values = if let Numbers::F32(x) = values.numbers { x } else { &wide[1] };
        let sizes = MatMul {
            m: rows.len(),
            n: dim,
            k: tokens.len(),
            a_stride: stride,
            b_rows: stride,
            c_stride: dim,
            accumulate: true,
        };
        let weights = &scores[rows.start * stride + tokens.start..];
        let values = &values[tokens.start * Panels::WIDTH..];
        let out = &mut done[self.out + rows.start * dim..];
        self.step.kernel.kernels.matmul(sizes, weights, values, out);
    }

    /// Makes weights of scores, and corrects the states for the new maxima.
    fn weigh(&mut self, seen: &Seen) {
        let kernels = self.step.kernel.kernels;
        let stride = self.step.kv.layout().block_tokens as usize;
        let (cap, dim) = (self.step.attention.soft_cap, self.step.head_dim());
        let Scratch { done, scores, max, sum, correction, .. } = &mut *self.scratch;
        let mut sums = [0.0; super::CHUNK];
        for row in seen.rows.clone() {
            let at = row * stride;
            let scores = &mut scores[at + seen.tokens.start..at + seen.tokens.end];
            if let Some(cap) = cap {
                kernels.tanh(scores);
                scores.iter_mut().for_each(|s| *s *= cap);
            }
            let largest = kernels.max(scores);
            // A NaN wins, so that it shows.
            let new = if largest > max[row] || largest.is_nan() { largest } else { max[row] };
            if new == f32::NEG_INFINITY {
                // No weight yet: the state stays that of no keys.
                scores.fill(0.0);
                correction[row] = 0.0;
            } else {
                sums[row] = kernels.exp_sum(scores, new);
                correction[row] = max[row] - new;
            }
            max[row] = new;
        }
        kernels.exp(&mut correction[seen.rows.clone()]);
        for row in seen.rows.clone() {
            let factor = correction[row];
            sum[row] = sum[row] * factor + sums[row];
            if factor != 1.0 {
                let out = self.out + row * dim;
                done[out..out + dim].iter_mut().for_each(|o| *o *= factor);
            }
        }
    }

    /// Outputs before the division become outputs: zeros where there was no key.
    fn divide(self) {
        let dim = self.step.head_dim();
        let Scratch { done, sum, .. } = self.scratch;
        for (out, sum) in done[self.out..].chunks_exact_mut(dim).zip(sum) {
            let scale = if *sum == 0.0 { 0.0 } else { 1.0 / *sum };
            out.iter_mut().for_each(|o| *o *= scale);
        }
    }
}

fn refill(list: &mut Vec<f32>, len: usize, number: f32) {
    list.clear();
    list.resize(len, number);
}

/// Multiplies each token's codes by its scale.
fn rescale(wide: &mut [f32], tile: &Tile<'_>, scales: &[f32]) {
    let Panels { rows, .. } = tile.panels;
    for (panel, numbers) in wide.chunks_exact_mut(rows * Panels::WIDTH).enumerate() {
        for (row, numbers) in numbers.chunks_exact_mut(Panels::WIDTH).enumerate() {
            if tile.token_columns {
                let scales = &scales[panel * Panels::WIDTH..];
                numbers.iter_mut().zip(scales).for_each(|(n, s)| *n *= s);
            } else {
                numbers.iter_mut().for_each(|n| *n *= scales[row]);
            }
        }
    }
}
