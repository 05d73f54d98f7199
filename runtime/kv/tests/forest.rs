//! Random prefix forests: the work list holds every block once, and attention over it is the
//! dense attention of every row, and bit for bit what each sequence gets on its own.

use cascata_kv::{
    Append, Attention, BlockPool, BlockTable, KvElement, KvLayout, KvStore, Lane, StepBatch,
    WorkBuilder,
};
use proptest::prelude::*;
use std::collections::HashSet;

const DIM: usize = 4;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const BLOCK_TOKENS: u32 = 4;

/// A sequence: which one it forks from, at which share of its length, how many tokens of its
/// own follow, and how many of these are rows of the step.
type Branch = (usize, f64, usize, usize);

fn forest() -> impl Strategy<Value = Vec<Branch>> {
    prop::collection::vec((0..64usize, 0.0..1.0, 1..20usize, 1..8usize), 1..24)
}

struct World {
    store: KvStore,
    pool: BlockPool,
    tables: Vec<BlockTable>,
    /// `[kv_heads, head_dim]` keys and values of each token of each table.
    tokens: Vec<Vec<[Vec<f32>; 2]>>,
    rng: u64,
}

impl World {
    fn new(element: KvElement) -> Self {
        let layout = KvLayout {
            layers: 1,
            kv_heads: KV_HEADS as u32,
            head_dim: DIM as u32,
            block_tokens: BLOCK_TOKENS,
            element,
        };
        let (store, pool) = KvStore::new(layout, 1 << 20).unwrap();
        Self { store, pool, tables: Vec::new(), tokens: Vec::new(), rng: 1 }
    }

    fn random(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.rng = self.rng.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.rng >> 40) as f32 / (1u64 << 22) as f32 - 2.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn extend(&mut self, at: usize, count: usize) {
        let mut copies = Vec::new();
        let end = self.tables[at].tokens() + count;
        self.tables[at].reserve(end, &mut self.pool, &mut copies).unwrap();
        copies.iter().for_each(|c| self.store.copy(c));
        for position in self.tables[at].tokens()..end {
            let kv = [self.random(KV_HEADS * DIM), self.random(KV_HEADS * DIM)];
            self.store.append(0, self.tables[at].slot(position), &kv[0], &kv[1]);
            self.tokens[at].push(kv);
        }
        self.tables[at].advance(count);
    }

    fn grow(&mut self, branches: &[Branch]) {
        for &(from, share, own, _) in branches {
            let (mut table, mut tokens) = (BlockTable::new(BLOCK_TOKENS), Vec::new());
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

    /// A batch of the last `rows` tokens of these sequences.
    fn batch(&self, sequences: &[usize], rows: &[usize]) -> StepBatch {
        let (mut batch, mut lane_rows) = (StepBatch::default(), Vec::new());
        for (lane, &s) in sequences.iter().enumerate() {
            let end = self.tables[s].tokens();
            let push = |p: usize| batch.push(0, p as u32, lane as u32);
            lane_rows.push((end - rows[s].min(end)..end).map(push).collect::<Vec<u32>>());
        }
        let blocks = |s: usize| self.tables[s].blocks();
        let lanes = sequences.iter().zip(&lane_rows);
        let lanes: Vec<Lane> = lanes.map(|(&s, rows)| Lane { blocks: blocks(s), rows }).collect();
        WorkBuilder::default().build(&lanes, &batch.positions, BLOCK_TOKENS, &mut batch.work);
        batch
    }

    /// Softmax attention in f64 of one row's head.
    fn dense(
        &self,
        sequence: usize,
        position: usize,
        q: &[f32],
        head: usize,
        a: &Attention,
    ) -> Vec<f64> {
        let at = head / (HEADS / KV_HEADS) * DIM;
        let oldest = a.window.map_or(0, |w| (position + 1).saturating_sub(w as usize));
        let seen = &self.tokens[sequence][oldest..=position];
        let dot = |k: &[f32]| q.iter().zip(k).map(|(x, y)| f64::from(x * y)).sum::<f64>();
        let cap = |s: f64| a.soft_cap.map_or(s, |c| f64::from(c) * (s / f64::from(c)).tanh());
        let score = |kv: &[Vec<f32>; 2]| cap(dot(&kv[0][at..at + DIM]) * f64::from(a.scale)).exp();
        let sum: f64 = seen.iter().map(score).sum();
        let weighted =
            |d: usize| seen.iter().map(|kv| score(kv) * f64::from(kv[1][at + d])).sum::<f64>();
        (0..DIM).map(|d| weighted(d) / sum).collect()
    }
}

fn run(world: &World, attention: &Attention, batch: &StepBatch, q: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; q.len()];
    attention.run(q, &world.store, 0, batch, &mut out);
    out
}

fn attention(kind: usize) -> Attention {
    let plain = Attention { heads: HEADS, scale: 0.5, window: None, soft_cap: None };
    match kind {
        0 => plain,
        1 => Attention { window: Some(6), ..plain },
        _ => Attention { soft_cap: Some(2.0), ..plain },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_block_is_read_once_and_by_all_its_rows(branches in forest()) {
        let mut world = World::new(KvElement::F32);
        world.grow(&branches);
        let rows: Vec<usize> = branches.iter().map(|b| b.3).collect();
        let all: Vec<usize> = (0..branches.len()).collect();
        let batch = world.batch(&all, &rows);
        let distinct: HashSet<_> = batch.work.blocks.iter().collect();
        prop_assert_eq!(distinct.len(), batch.work.blocks.len());
        // Every row meets every tile up to its own, in order.
        let mut next_tile = vec![0; batch.rows()];
        for item in &batch.work.items {
            let blocks = batch.work.blocks_of(item);
            prop_assert!(!blocks.is_empty());
            for &row in batch.work.rows_of(item) {
                let table = &world.tables[batch.sequences[row as usize] as usize];
                prop_assert_eq!(item.first_tile, next_tile[row as usize]);
                prop_assert!(table.blocks()[item.first_tile as usize..].starts_with(blocks));
                next_tile[row as usize] += blocks.len() as u32;
            }
        }
        for (position, tiles) in batch.positions.iter().zip(&next_tile) {
            prop_assert!(*tiles > position / BLOCK_TOKENS);
        }
    }

    #[test]
    fn attention_over_the_forest_is_dense_attention(branches in forest(), kind in 0..3usize) {
        let (mut world, attention) = (World::new(KvElement::F32), attention(kind));
        world.grow(&branches);
        let rows: Vec<usize> = branches.iter().map(|b| b.3).collect();
        let all: Vec<usize> = (0..branches.len()).collect();
        let batch = world.batch(&all, &rows);
        let q = world.random(batch.rows() * HEADS * DIM);
        let out = run(&world, &attention, &batch, &q);
        for row in 0..batch.rows() {
            for head in 0..HEADS {
                let range = (row * HEADS + head) * DIM..(row * HEADS + head + 1) * DIM;
                let (sequence, position) = (batch.sequences[row], batch.positions[row]);
                let want = world.dense(
                    sequence as usize, position as usize, &q[range.clone()], head, &attention);
                for (found, want) in out[range].iter().zip(want) {
                    prop_assert!((f64::from(*found) - want).abs() < 1e-5, "{} for {}", found, want);
                }
            }
        }
    }

    #[test]
    fn sharing_changes_no_bit(branches in forest(), element in prop::sample::select(&KvElement::ALL[..])) {
        let (mut world, attention) = (World::new(element), attention(0));
        world.grow(&branches);
        let rows: Vec<usize> = branches.iter().map(|b| b.3).collect();
        let all: Vec<usize> = (0..branches.len()).collect();
        let batch = world.batch(&all, &rows);
        let q = world.random(batch.rows() * HEADS * DIM);
        let together = run(&world, &attention, &batch, &q);
        let mut at = 0;
        for sequence in all {
            let alone = world.batch(&[sequence], &rows);
            let len = alone.rows() * HEADS * DIM;
            let out = run(&world, &attention, &alone, &q[at..at + len]);
            let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&out), bits(&together[at..at + len]));
            at += len;
        }
    }
}

#[test]
fn a_row_that_sees_no_key_gives_zeros() {
    let world = World::new(KvElement::F32);
    let mut batch = StepBatch::default();
    batch.push(0, 0, 0);
    assert_eq!(run(&world, &attention(0), &batch, &[1.0; HEADS * DIM]), [0.0; HEADS * DIM]);
}

#[test]
fn a_nan_key_is_not_hidden() {
    let mut world = World::new(KvElement::F32);
    world.grow(&[(0, 0.0, 3, 1)]);
    let slot = world.tables[0].slot(1);
    world.store.append(0, slot, &[f32::NAN; KV_HEADS * DIM], &[0.0; KV_HEADS * DIM]);
    let out = run(&world, &attention(0), &world.batch(&[0], &[1]), &[1.0; HEADS * DIM]);
    assert!(out.iter().all(|x| x.is_nan()), "{out:?}");
}

#[test]
fn branches_of_a_draft_append_a_row_more_than_once() {
    let mut world = World::new(KvElement::F32);
    world.grow(&[(0, 0.0, 6, 1)]);
    let mut fork = world.tables[0].fork(&mut world.pool);
    let mut copies = Vec::new();
    fork.reserve(7, &mut world.pool, &mut copies).unwrap();
    world.tables[0].reserve(7, &mut world.pool, &mut copies).unwrap();
    assert_eq!(copies.len(), 1, "the last holder writes in place");
    let appends = [&fork, &world.tables[0]].map(|t| Append { row: 0, slot: t.slot(6) });
    assert_ne!(appends[0].slot.block, appends[1].slot.block);
}
