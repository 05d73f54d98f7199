//! The kernel against the reference, over random forests of any sizes.

mod common;

use cascata_kernels::Isa;
use cascata_kv::{Attention, AttentionKernel, KvElement, Layer, OneThread, StepBatch, Threads};
use common::{Branch, SMALL, Sizes, World, attention, forest, run};
use proptest::prelude::*;
use std::ops::Range;

/// Tasks on threads of their own.
struct Spawn;

impl Threads for Spawn {
    fn run(&self, tasks: usize, job: &(dyn Fn(Range<usize>) + Sync)) -> Result<(), String> {
        std::thread::scope(|scope| {
            (0..tasks).for_each(|task| drop(scope.spawn(move || job(task..task + 1))));
        });
        Ok(())
    }
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let dims = prop::sample::select(&[4, 20, 48, 64][..]);
    let heads = prop::sample::select(&[(4, 2), (9, 3), (3, 3), (5, 1)][..]);
    let tokens = prop::sample::select(&[4, 16, 20, 32][..]);
    (dims, heads, tokens).prop_map(|(dim, (heads, kv_heads), block_tokens)| Sizes {
        dim,
        heads,
        kv_heads,
        block_tokens,
    })
}

fn by_kernel(
    isa: Isa,
    (shares, threads): (usize, &dyn Threads),
    world: &World,
    attention: &Attention,
    batch: &StepBatch,
    q: &[f32],
) -> Vec<f32> {
    let mut kernel = AttentionKernel::new(isa);
    kernel.begin(batch, attention.heads, world.store.layout(), shares);
    let mut out = vec![f32::NAN; q.len()];
    kernel
        .run(attention, q, Layer { kv: &world.store, number: 0 }, batch, threads, &mut out)
        .expect("no panic");
    out
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn it_computes_what_the_reference_does(
        branches in forest(),
        sizes in sizes(),
        kind in 0..3usize,
        element in prop::sample::select(&KvElement::ALL[..]),
        isa in prop::sample::select(&Isa::ALL[..]),
    ) {
        let mut world = World::of(sizes, element, &branches);
        let attention = attention(kind, sizes);
        let batch = world.whole_batch(&branches);
        let q = world.queries(&batch);
        let want = run(&world, &attention, &batch, &q);
        let found = by_kernel(isa, (1, &OneThread), &world, &attention, &batch, &q);
        // Products of bf16 round queries and weights, too: a score by 2^-8 of its parts.
        let by_tiles = element == KvElement::BF16 && isa.min(Isa::detect()) == Isa::Amx;
        let bound = if by_tiles { 0.1 } else { 2e-5 };
        for (found, want) in found.iter().zip(&want) {
            prop_assert!((found - want).abs() < bound, "{found} for {want}");
        }
    }

    #[test]
    fn sharing_and_threads_change_no_bit(
        branches in forest(),
        sizes in sizes(),
        kind in 0..3usize,
        element in prop::sample::select(&KvElement::ALL[..]),
        threads in 2..5usize,
    ) {
        let mut world = World::of(sizes, element, &branches);
        let attention = attention(kind, sizes);
        let batch = world.whole_batch(&branches);
        let q = world.queries(&batch);
        let isa = Isa::detect();
        let together = by_kernel(isa, (1, &OneThread), &world, &attention, &batch, &q);
        let spread = by_kernel(isa, (threads, &Spawn), &world, &attention, &batch, &q);
        prop_assert_eq!(bits(&spread), bits(&together));
        let rows: Vec<usize> = branches.iter().map(|b| b.3).collect();
        let mut at = 0;
        for sequence in 0..branches.len() {
            let alone = world.batch(&[sequence], &rows);
            let len = alone.rows() * sizes.heads * sizes.dim;
            let out = by_kernel(isa, (1, &OneThread), &world, &attention, &alone, &q[at..at + len]);
            prop_assert_eq!(bits(&out), bits(&together[at..at + len]));
            at += len;
        }
    }
}

/// More rows than a chunk has, in prompts that begin within a tile; scores as small as a
/// model's, so that what products of bf16 round is seen.
#[test]
fn long_prompts() {
    let sizes = Sizes { dim: 40, heads: 6, kv_heads: 2, block_tokens: 16 };
    let branches: [Branch; 3] = [(0, 0.0, 130, 130), (1, 0.4, 77, 77), (2, 0.9, 100, 40)];
    for (element, kind, bound) in [
        (KvElement::F32, 0, 2e-5),
        (KvElement::F32, 1, 2e-5),
        (KvElement::F32, 2, 2e-5),
        (KvElement::BF16, 0, 5e-3),
        (KvElement::BF16, 1, 5e-3),
        (KvElement::BF16, 2, 5e-3),
    ] {
        let mut world = World::of(sizes, element, &branches);
        let attention = Attention { scale: 0.05, ..attention(kind, sizes) };
        let batch = world.whole_batch(&branches);
        let q = world.queries(&batch);
        let want = run(&world, &attention, &batch, &q);
        let found = by_kernel(Isa::detect(), (3, &Spawn), &world, &attention, &batch, &q);
        let apart = found.iter().zip(&want).map(|(f, w)| (f - w).abs()).fold(0.0, f32::max);
        assert!(apart < bound, "{element}: {apart}");
    }
}

#[test]
fn rows_without_keys_give_zeros_and_a_nan_shows() {
    let mut world = World::new(SMALL, KvElement::F32);
    let mut batch = StepBatch::default();
    batch.push(0, 0, 0);
    let (plain, row) = (attention(0, SMALL), SMALL.heads * SMALL.dim);
    let q = vec![1.0; row];
    let alone = by_kernel(Isa::detect(), (1, &OneThread), &world, &plain, &batch, &q);
    assert_eq!(alone, vec![0.0; row]);
    world.grow(&[(0, 0.0, 3, 1)]);
    let slot = world.tables[0].slot(1);
    let kv = SMALL.kv_heads * SMALL.dim;
    world.store.append(0, slot, &vec![f32::NAN; kv], &vec![0.0; kv]);
    let batch = world.batch(&[0], &[1]);
    let out = by_kernel(Isa::detect(), (1, &OneThread), &world, &plain, &batch, &q);
    assert!(out.iter().all(|x| x.is_nan()), "{out:?}");
    // A row does not see what stands after it.
    world.store.append(0, slot, &vec![0.5; kv], &vec![0.5; kv]);
    let last = world.tables[0].slot(2);
    world.store.append(0, last, &vec![f32::NAN; kv], &vec![f32::INFINITY; kv]);
    let batch = world.batch(&[0], &[2]);
    let q = [q.clone(), q].concat();
    let out = by_kernel(Isa::detect(), (1, &OneThread), &world, &plain, &batch, &q);
    assert!(out[..row].iter().all(|x| x.is_finite()), "{out:?}");
    assert!(out[row..].iter().all(|x| x.is_nan()), "{out:?}");
}
