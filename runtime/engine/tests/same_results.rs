//! A request gives the same tokens and the same log-probabilities, to the bit, whatever else
//! runs and however it is run: shared prefixes of any depth, chunks, tiny caches, preemption,
//! drafts.

mod common;

use cascata_engine::{Config, Params, Speculation};
use cascata_kv::KvElement;
use common::{Ask, BLOCK_BYTES, Random, alone, config, core, sampled, together};

/// Prompts that are paths of a random tree of this depth, with ragged groups and lengths.
fn forest(depth: usize, batch: usize, seed: u64) -> Vec<Ask> {
    let mut random = Random(seed);
    let mut level: Vec<Vec<u32>> = vec![random.tokens(3 + seed as usize % 7)];
    for _ in 1..depth {
        let children = 1 + random.below(3);
        let from = |r: &mut Random, l: &[Vec<u32>]| l[r.below(l.len())].clone();
        let mut grow = |i: usize| {
            let mut tokens =
                if i < level.len() { level[i].clone() } else { from(&mut random, &level) };
            let more = 1 + random.below(9);
            tokens.extend(random.tokens(more));
            tokens
        };
        level = (0..level_size(batch, children)).map(&mut grow).collect();
    }
    let ask = |i: usize| {
        let sampling = if i.is_multiple_of(3) { Default::default() } else { sampled(i as u64) };
        let params = Params {
            max_tokens: 5 + (i % 4) as u32,
            log_probs: Some(64),
            sampling,
            ..Params::default()
        };
        let mut prompt = level[i % level.len()].clone();
        prompt.extend(random.tokens(1 + i % 5));
        (prompt, params)
    };
    (0..batch).map(ask).collect()
}

fn level_size(batch: usize, children: usize) -> usize {
    (children * 2).min(batch).max(1)
}

/// The largest difference of two answers' log-probabilities; the tokens must be equal.
fn difference(a: &common::Answer, b: &common::Answer) -> f32 {
    assert_eq!(a.outputs, b.outputs);
    let pairs = a.log_probs.iter().flatten().zip(b.log_probs.iter().flatten());
    let one = |((_, x), (_, y)): (&(u32, u32), &(u32, u32))| {
        (f32::from_bits(*x) - f32::from_bits(*y)).abs()
    };
    pairs.map(one).fold(0.0, f32::max)
}

#[test]
fn shared_prefixes_of_any_depth_change_nothing() {
    let (mut largest, mut read, mut unshared) = (0.0f32, 0, 0);
    for depth in 1..=5 {
        for batch in [1, 2, 7, 19, 64] {
            let asks = forest(depth, batch, (depth * 100 + batch) as u64);
            let mut core = core(config());
            let shared = together(&mut core, &asks);
            read += core.stats().tiles_read;
            unshared += core.stats().tiles_unshared;
            let off = Config { prefix_sharing: false, ..config() };
            let private = together(&mut common::core(off), &asks);
            for (a, b) in shared.iter().zip(&private) {
                largest = largest.max(difference(a, b));
            }
            assert_eq!(shared, private, "depth {depth}, batch {batch}");
            if batch <= 7 {
                assert_eq!(shared, alone(&asks));
            }
        }
    }
    println!("largest difference of log-probabilities: {largest}; tiles read {read} of {unshared}");
    assert!(largest == 0.0 && read * 3 < unshared * 2, "sharing must save: {read} of {unshared}");
}

#[test]
fn chunks_and_batches_change_nothing() {
    let asks = forest(3, 12, 5);
    let want = alone(&asks);
    for (step_tokens, max_sequences) in [(1, 1), (2, 2), (5, 3), (16, 16), (64, 12)] {
        let config = Config { step_tokens, max_sequences, ..config() };
        assert_eq!(together(&mut core(config), &asks), want, "{step_tokens} {max_sequences}");
    }
}

#[test]
fn narrow_elements_are_shared_to_the_bit_too() {
    let asks = forest(3, 8, 13);
    let wide = alone(&asks);
    for kv_element in [KvElement::F16, KvElement::BF16, KvElement::I8] {
        let config = Config { kv_element, speculation: Some(Speculation::default()), ..config() };
        let found = together(&mut core(config.clone()), &asks);
        let off = Config { prefix_sharing: false, speculation: None, ..config };
        assert_eq!(found, together(&mut core(off), &asks), "{kv_element}");
        assert_ne!(found, wide, "{kv_element} rounds");
    }
}

#[test]
fn block_sizes_change_rounding_at_most() {
    let asks = forest(2, 6, 9);
    let want = alone(&asks);
    for block_tokens in [1, 3, 16] {
        let found = together(&mut core(Config { block_tokens, ..config() }), &asks);
        let largest = want.iter().zip(&found).map(|(a, b)| difference(a, b)).fold(0.0, f32::max);
        assert!(largest < 1e-4, "{block_tokens}: {largest}");
    }
}

#[test]
fn running_out_of_blocks_changes_nothing() {
    let mut asks = forest(3, 24, 6);
    asks.iter_mut().for_each(|a| a.1.max_tokens = 24);
    let want = alone(&asks);
    let longest = asks.iter().map(|a| a.0.len() + 24).max().unwrap().div_ceil(4);
    for (blocks, sharing) in [(longest, true), (longest, false), (longest + 9, true), (30, false)] {
        let kv_budget_bytes = blocks as u64 * BLOCK_BYTES;
        let mut core = core(Config { kv_budget_bytes, prefix_sharing: sharing, ..config() });
        assert_eq!(together(&mut core, &asks), want, "{blocks} blocks, sharing {sharing}");
        assert!(core.stats().preemptions > 0, "{blocks}: {:?}", core.stats());
        core.clear_cache();
        assert_eq!(core.stats().blocks_free, blocks);
    }
}

#[test]
fn drafts_change_nothing() {
    let mut asks = forest(2, 10, 8);
    // Text that repeats itself, greedy and sampled: some drafts are right and some are not.
    for (i, ask) in asks.iter_mut().enumerate() {
        let pattern: Vec<u32> = (0..24).map(|t| (t % (3 + i as u32 % 4)) * 7).collect();
        ask.0.extend(pattern);
        ask.1.max_tokens = 40;
        ask.1.sampling.temperature *= 0.5;
    }
    let want = alone(&asks);
    for (max_tokens, branches, blocks) in [(4, 1, 4096), (5, 3, 4096), (3, 2, 60)] {
        let speculation = Some(Speculation { max_tokens, branches, min_match: 1, max_match: 3 });
        let kv_budget_bytes = blocks * BLOCK_BYTES;
        let mut core = core(Config { speculation, kv_budget_bytes, ..config() });
        assert_eq!(together(&mut core, &asks), want, "{max_tokens} {branches} {blocks}");
        let stats = core.stats();
        println!(
            "{max_tokens} x {branches}: {} of {} drafts right",
            stats.drafts_accepted, stats.draft_rows
        );
        assert!(stats.drafts_accepted > 0 && stats.drafts_accepted < stats.draft_rows);
    }
}

#[test]
fn samples_share_their_prompt_and_differ() {
    let prompt = Random(3).tokens(21);
    let params = Params {
        max_tokens: 12,
        samples: 6,
        sampling: sampled(11),
        log_probs: Some(64),
        ..Params::default()
    };
    let mut shared = core(config());
    let found = together(&mut shared, &[(prompt.clone(), params.clone())]);
    assert_eq!(found[0].outputs.len(), 6);
    assert_eq!(shared.stats().prefill_rows, 21, "the prompt runs once");
    let first = Params { samples: 1, ..params.clone() };
    assert_eq!(found[0].outputs[0], alone(&[(prompt.clone(), first)])[0].outputs[0]);
    let mut distinct: Vec<_> = found[0].outputs.iter().map(|o| &o.0).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 6);
    // Without room for six, they take turns.
    let tight = Config { kv_budget_bytes: 12 * BLOCK_BYTES, ..config() };
    assert_eq!(together(&mut core(tight), &[(prompt, params)]), found);
}
