//! Random prefix forests in a cache, and dense attention of a row.

#![allow(dead_code, reason = "each test file uses its own part")]

use cascata_kv::{
    Attention, BlockPool, BlockTable, KvElement, KvLayout, KvStore, Lane, StepBatch, WorkBuilder,
};
use proptest::prelude::*;

/// Sizes of a cache and of what reads it.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub dim: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub block_tokens: u32,
}

/// Small ones.
pub const SMALL: Sizes = Sizes { dim: 4, heads: 4, kv_heads: 2, block_tokens: 4 };

/// A sequence: which one it forks from, at which share of its length, how many tokens of its
/// own follow, and how many of these are rows of the step.
pub type Branch = (usize, f64, usize, usize);

pub fn forest() -> impl Strategy<Value = Vec<Branch>> {
    prop::collection::vec((0..64usize, 0.0..1.0, 1..20usize, 1..8usize), 1..24)
}

pub struct World {
    pub sizes: Sizes,
    pub store: KvStore,
    pub pool: BlockPool,
    pub tables: Vec<BlockTable>,
    /// `[kv_heads, head_dim]` keys and values of each token of each table.
    pub tokens: Vec<Vec<[Vec<f32>; 2]>>,
    rng: u64,
}

impl World {
    pub fn new(sizes: Sizes, element: KvElement) -> Self {
        let layout = KvLayout {
            layers: 1,
            kv_heads: sizes.kv_heads as u32,
            head_dim: sizes.dim as u32,
            block_tokens: sizes.block_tokens,
            element,
        };
        let budget = 512 * layout.block_bytes().unwrap();
        let (store, pool) = KvStore::new(layout, budget).unwrap();
        Self { sizes, store, pool, tables: Vec::new(), tokens: Vec::new(), rng: 1 }
    }

    /// A world with these branches.
    pub fn of(sizes: Sizes, element: KvElement, branches: &[Branch]) -> Self {
        let mut world = Self::new(sizes, element);
        world.grow(branches);
        world
    }

    pub fn random(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.rng = self.rng.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.rng >> 40) as f32 / (1u64 << 22) as f32 - 2.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Queries of a batch's rows.
    pub fn queries(&mut self, batch: &StepBatch) -> Vec<f32> {
        self.random(batch.rows() * self.sizes.heads * self.sizes.dim)
    }

    fn extend(&mut self, at: usize, count: usize) {
        let numbers = self.sizes.kv_heads * self.sizes.dim;
        let mut copies = Vec::new();
        let end = self.tables[at].tokens() + count;
        self.tables[at].reserve(end, &mut self.pool, &mut copies).unwrap();
        copies.iter().for_each(|c| self.store.copy(c));
        for position in self.tables[at].tokens()..end {
            let kv = [self.random(numbers), self.random(numbers)];
            self.store.append(0, self.tables[at].slot(position), &kv[0], &kv[1]);
            self.tokens[at].push(kv);
        }
        self.tables[at].advance(count);
    }

    pub fn grow(&mut self, branches: &[Branch]) {
        for &(from, share, own, _) in branches {
            let (mut table, mut tokens) = (BlockTable::new(self.sizes.block_tokens), Vec::new());
            if !self.tables.is_empty() && from % 5 > 0 {
                let from = from % self.tables.len();
                let cut = (self.tokens[from].len() as f64 * share) as usize;
                table = self.tables[from].fork(&mut self.pool);
                table.truncate(cut, &mut self.pool);
                tokens = self.tokens[from][..cut].to_vec();
            }
            self.tables.push(table);
            self.tokens.push(tokens);
            self.extend(self.tables.len() - 1, own);
        }
    }

    /// A batch of the last tokens of all sequences, as many as the branches say.
    pub fn whole_batch(&self, branches: &[Branch]) -> StepBatch {
        let rows: Vec<usize> = branches.iter().map(|b| b.3).collect();
        self.batch(&(0..branches.len()).collect::<Vec<_>>(), &rows)
    }

    /// A batch of the last `rows` tokens of these sequences.
    pub fn batch(&self, sequences: &[usize], rows: &[usize]) -> StepBatch {
        let (mut batch, mut lane_rows) = (StepBatch::default(), Vec::new());
        for (lane, &s) in sequences.iter().enumerate() {
            let end = self.tables[s].tokens();
            let push = |p: usize| batch.push(0, p as u32, lane as u32);
            lane_rows.push((end - rows[s].min(end)..end).map(push).collect::<Vec<u32>>());
        }
        let blocks = |s: usize| self.tables[s].blocks();
        let lanes = sequences.iter().zip(&lane_rows);
        let lanes: Vec<Lane> = lanes.map(|(&s, rows)| Lane { blocks: blocks(s), rows }).collect();
        let tokens = self.sizes.block_tokens;
        WorkBuilder::default().build(&lanes, &batch.positions, tokens, &mut batch.work);
        batch
    }

    /// Softmax attention in f64 of one row's head.
    pub fn dense(
        &self,
        sequence: usize,
        position: usize,
        q: &[f32],
        head: usize,
        a: &Attention,
    ) -> Vec<f64> {
        let Sizes { dim, heads, kv_heads, .. } = self.sizes;
        let at = head / (heads / kv_heads) * dim;
        let oldest = a.window.map_or(0, |w| (position + 1).saturating_sub(w as usize));
        let seen = &self.tokens[sequence][oldest..=position];
        let dot = |k: &[f32]| q.iter().zip(k).map(|(x, y)| f64::from(x * y)).sum::<f64>();
        let cap = |s: f64| a.soft_cap.map_or(s, |c| f64::from(c) * (s / f64::from(c)).tanh());
        let score = |kv: &[Vec<f32>; 2]| cap(dot(&kv[0][at..at + dim]) * f64::from(a.scale)).exp();
        let sum: f64 = seen.iter().map(score).sum();
        let weighted =
            |d: usize| seen.iter().map(|kv| score(kv) * f64::from(kv[1][at + d])).sum::<f64>();
        (0..dim).map(|d| weighted(d) / sum).collect()
    }
}

/// Plain attention, one with a window, one with a cap.
pub fn attention(kind: usize, sizes: Sizes) -> Attention {
    let plain = Attention { heads: sizes.heads, scale: 0.5, window: None, soft_cap: None };
    match kind {
        0 => plain,
        1 => Attention { window: Some(6), ..plain },
        _ => Attention { soft_cap: Some(2.0), ..plain },
    }
}

/// What the reference computes.
pub fn run(world: &World, attention: &Attention, batch: &StepBatch, q: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; q.len()];
    attention.run(q, &world.store, 0, batch, &mut out);
    out
}
