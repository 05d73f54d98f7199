//! Random prefix forests: the work list holds every block once, and attention over it is the
//! dense attention of every row, and bit for bit what each sequence gets on its own.

mod common;

use cascata_kv::{Append, KvElement, StepBatch};
use common::{SMALL, World, attention, forest, run};
use proptest::prelude::*;
use std::collections::HashSet;

/// Numbers of a row's queries, and of its keys.
const ROW: usize = SMALL.heads * SMALL.dim;
const KV: usize = SMALL.kv_heads * SMALL.dim;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_block_is_read_once_and_by_all_its_rows(branches in forest()) {
        let world = World::of(SMALL, KvElement::F32, &branches);
        let batch = world.whole_batch(&branches);
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
            prop_assert!(*tiles > position / SMALL.block_tokens);
        }
    }

    #[test]
    fn attention_over_the_forest_is_dense_attention(branches in forest(), kind in 0..3usize) {
        let mut world = World::of(SMALL, KvElement::F32, &branches);
        let attention = attention(kind, SMALL);
        let batch = world.whole_batch(&branches);
        let q = world.queries(&batch);
        let out = run(&world, &attention, &batch, &q);
        for row in 0..batch.rows() {
            for head in 0..SMALL.heads {
                let at = row * SMALL.heads + head;
                let range = at * SMALL.dim..(at + 1) * SMALL.dim;
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
        let mut world = World::of(SMALL, element, &branches);
        let attention = attention(0, SMALL);
        let rows: Vec<usize> = branches.iter().map(|b| b.3).collect();
        let batch = world.whole_batch(&branches);
        let q = world.queries(&batch);
        let together = run(&world, &attention, &batch, &q);
        let mut at = 0;
        for sequence in 0..branches.len() {
            let alone = world.batch(&[sequence], &rows);
            let len = alone.rows() * ROW;
            let out = run(&world, &attention, &alone, &q[at..at + len]);
            let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&out), bits(&together[at..at + len]));
            at += len;
        }
    }
}

#[test]
fn a_row_that_sees_no_key_gives_zeros() {
    let world = World::new(SMALL, KvElement::F32);
    let mut batch = StepBatch::default();
    batch.push(0, 0, 0);
    assert_eq!(run(&world, &attention(0, SMALL), &batch, &[1.0; ROW]), [0.0; ROW]);
}

#[test]
fn a_nan_key_is_not_hidden() {
    let mut world = World::new(SMALL, KvElement::F32);
    world.grow(&[(0, 0.0, 3, 1)]);
    let slot = world.tables[0].slot(1);
    world.store.append(0, slot, &[f32::NAN; KV], &[0.0; KV]);
    let out = run(&world, &attention(0, SMALL), &world.batch(&[0], &[1]), &[1.0; ROW]);
    assert!(out.iter().all(|x| x.is_nan()), "{out:?}");
}

#[test]
fn branches_of_a_draft_append_a_row_more_than_once() {
    let mut world = World::new(SMALL, KvElement::F32);
    world.grow(&[(0, 0.0, 6, 1)]);
    let mut fork = world.tables[0].fork(&mut world.pool);
    let mut copies = Vec::new();
    fork.reserve(7, &mut world.pool, &mut copies).unwrap();
    world.tables[0].reserve(7, &mut world.pool, &mut copies).unwrap();
    assert_eq!(copies.len(), 1, "the last holder writes in place");
    let appends = [&fork, &world.tables[0]].map(|t| Append { row: 0, slot: t.slot(6) });
    assert_ne!(appends[0].slot.block, appends[1].slot.block);
}
