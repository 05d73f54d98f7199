//! What the attention kernel computes from a work list, naively, in f32.
//!
//! A partial attention over a set of keys is a state `(m, l, o)`: running maximum,
//! denominator, and output before the division (FuseMax's 1-pass cascade, arXiv 2406.10491,
//! §4.3). A tile gives a state; states merge from left to right; the empty set is
//! `(−∞, 0, 0)`, which changes no state that it is merged with, bit for bit.

use crate::step::StepBatch;
use crate::store::KvStore;
use crate::work::WorkItem;

/// A partial attention of one query over some keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// `m`: the largest score.
    pub max: f32,
    /// `l`: the sum of `e^(score − m)`.
    pub sum: f32,
    /// `o`: the values, weighted by `e^(score − m)`.
    pub out: Vec<f32>,
}

impl Partial {
    /// Over no keys at all.
    pub fn empty(head_dim: usize) -> Self {
        Self { max: f32::NEG_INFINITY, sum: 0.0, out: vec![0.0; head_dim] }
    }

    /// Becomes the state over no keys.
    pub fn clear(&mut self) {
        (self.max, self.sum) = (f32::NEG_INFINITY, 0.0);
        self.out.fill(0.0);
    }

    /// Takes in one more key, whose weight is `e^(score − m)`.
    pub fn push(&mut self, weight: f32, value: &[f32]) {
        self.sum += weight;
        self.out.iter_mut().zip(value).for_each(|(o, v)| *o = weight.mul_add(*v, *o));
    }

    /// Becomes the state over both sets of keys; `self` is the left one.
    pub fn merge(&mut self, right: &Partial) {
        if self.max == f32::NEG_INFINITY && right.max == f32::NEG_INFINITY {
            return;
        }
        let max = self.max.max(right.max);
        let (a, b) = ((self.max - max).exp(), (right.max - max).exp());
        self.max = max;
        self.sum = self.sum * a + right.sum * b;
        let both = self.out.iter_mut().zip(&right.out);
        both.for_each(|(o, r)| *o = *o * a + r * b);
    }

    /// The attention: zeros where there was no key.
    pub fn finalize(&self, out: &mut [f32]) {
        let scale = if self.sum == 0.0 { 0.0 } else { 1.0 / self.sum };
        out.iter_mut().zip(&self.out).for_each(|(o, x)| *o = x * scale);
    }
}

/// Attention of a batch's rows over the cache; the reference for kernels.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Query heads, a multiple of the key and value heads.
    pub heads: usize,
    /// Factor of all scores.
    pub scale: f32,
    /// A row sees this many keys at most, itself included.
    pub window: Option<u32>,
    /// Scores become `cap · tanh(score / cap)`.
    pub soft_cap: Option<f32>,
}

impl Attention {
    /// `q` and `out` are `f32[T, heads, head_dim]`.
    pub fn run(&self, q: &[f32], kv: &KvStore, layer: usize, batch: &StepBatch, out: &mut [f32]) {
        let dim = kv.layout().head_dim as usize;
        let mut states = vec![Partial::empty(dim); batch.rows() * self.heads];
        for item in &batch.work.items {
            self.item(q, kv, layer, batch, item, &mut states);
        }
        for (state, out) in states.iter().zip(out.chunks_exact_mut(dim)) {
            state.finalize(out);
        }
    }

    fn item(
        &self,
        q: &[f32],
        kv: &KvStore,
        layer: usize,
        batch: &StepBatch,
        item: &WorkItem,
        states: &mut [Partial],
    ) {
        let dim = kv.layout().head_dim as usize;
        let tokens = kv.layout().block_tokens;
        let group = self.heads / kv.layout().kv_heads as usize;
        let mut tile = TileScores::new(tokens as usize, dim);
        for (tile_number, &block) in (item.first_tile..).zip(batch.work.blocks_of(item)) {
            let first_key = tile_number * tokens;
            for head in 0..self.heads {
                tile.load(kv, layer, block, head / group);
                for &row in batch.work.rows_of(item) {
                    let at = row as usize * self.heads + head;
                    let visible = self.visible(batch.positions[row as usize], first_key, tokens);
                    let partial = tile.partial(&q[at * dim..(at + 1) * dim], visible, self);
                    states[at].merge(partial);
                }
            }
        }
    }

    /// Which keys of a tile a row at `position` sees.
    pub(crate) fn visible(
        &self,
        position: u32,
        first_key: u32,
        tokens: u32,
    ) -> std::ops::Range<usize> {
        let end = (position + 1).saturating_sub(first_key).min(tokens);
        let oldest = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
        let start = oldest.saturating_sub(first_key).min(end);
        start as usize..end as usize
    }

    fn score(&self, q: &[f32], key: &[f32]) -> f32 {
        let dot = q.iter().zip(key).fold(0.0f32, |sum, (a, b)| a.mul_add(*b, sum));
        let score = dot * self.scale;
        self.soft_cap.map_or(score, |cap| cap * (score / cap).tanh())
    }
}

/// One tile's numbers and what one row makes of them.
struct TileScores {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    partial: Partial,
}

impl TileScores {
    fn new(tokens: usize, dim: usize) -> Self {
        let numbers = vec![0.0; tokens * dim];
        let partial = Partial::empty(dim);
        Self { keys: numbers.clone(), values: numbers, scores: vec![0.0; tokens], partial }
    }

    fn load(&mut self, kv: &KvStore, layer: usize, block: crate::BlockId, head: usize) {
        let dim = self.partial.out.len();
        let (keys, values) = (kv.keys(layer, block, head), kv.values(layer, block, head));
        for offset in 0..self.scores.len() {
            let range = offset * dim..(offset + 1) * dim;
            keys.read(offset, &mut self.keys[range.clone()]);
            values.read(offset, &mut self.values[range]);
        }
    }

    fn partial(
        &mut self,
        q: &[f32],
        visible: std::ops::Range<usize>,
        attention: &Attention,
    ) -> &Partial {
        let dim = q.len();
        let (scores, partial) = (&mut self.scores[..visible.len()], &mut self.partial);
        let keys = self.keys[visible.start * dim..visible.end * dim].chunks_exact(dim);
        let values = self.values[visible.start * dim..visible.end * dim].chunks_exact(dim);
        scores.iter_mut().zip(keys).for_each(|(s, key)| *s = attention.score(q, key));
        partial.clear();
        // A NaN wins, so that it shows.
        let larger = |m: f32, s: &f32| if *s > m || s.is_nan() { *s } else { m };
        partial.max = scores.iter().fold(f32::NEG_INFINITY, larger);
        if partial.max != f32::NEG_INFINITY {
            let max = partial.max;
            scores.iter().zip(values).for_each(|(s, v)| partial.push((s - max).exp(), v));
        }
        &self.partial
    }
}
