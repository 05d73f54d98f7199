//! The attention kernel on one thread: a batch over one shared prefix, 64 own tokens each
//! (9 query heads, 3 key heads, 64 numbers a head), and a prompt. GFLOP/s count 4·D for each
//! row, query head and key; GB/s count each block once.
//!
//! `cargo run --release -p cascata-kv --example attention [LEVEL]`

use cascata_kernels::Isa;
use cascata_kv::{
    Attention, AttentionKernel, BlockPool, BlockTable, KvElement, KvLayout, KvStore, Lane, Layer,
    OneThread, StepBatch, WorkBuilder,
};
use std::time::Instant;

const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const DIM: usize = 64;

/// Sequences, tokens that they share, own tokens of each, rows of each.
#[derive(Clone, Copy)]
struct Case {
    batch: usize,
    shared: usize,
    own: usize,
    rows: usize,
}

struct World {
    store: KvStore,
    batch: StepBatch,
    q: Vec<f32>,
    blocks: usize,
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 101) % 64) as f32 / 32.0 - 1.0).collect()
}

fn extend(table: &mut BlockTable, store: &mut KvStore, pool: &mut BlockPool, tokens: usize) {
    let mut copies = Vec::new();
    table.reserve(table.tokens() + tokens, pool, &mut copies).expect("blocks");
    copies.iter().for_each(|c| store.copy(c));
    for position in table.tokens()..table.tokens() + tokens {
        let kv = numbers(KV_HEADS * DIM, position);
        store.append(0, table.slot(position), &kv, &kv);
    }
    table.advance(tokens);
}

fn world(case: Case, element: KvElement, block_tokens: u32) -> World {
    let layout = KvLayout {
        layers: 1,
        kv_heads: KV_HEADS as u32,
        head_dim: DIM as u32,
        block_tokens,
        element,
    };
    let tokens = case.shared + case.batch * (case.own + block_tokens as usize);
    let blocks = tokens.div_ceil(block_tokens as usize) as u64 + 1;
    let budget = blocks * layout.block_bytes().expect("a size");
    let (mut store, mut pool) = KvStore::new(layout, budget).expect("memory");
    let mut prefix = BlockTable::new(block_tokens);
    extend(&mut prefix, &mut store, &mut pool, case.shared);
    let (mut batch, mut tables, mut rows) = (StepBatch::default(), vec![], vec![]);
    for sequence in 0..case.batch {
        let mut table = prefix.fork(&mut pool);
        extend(&mut table, &mut store, &mut pool, case.own);
        let positions = table.tokens() - case.rows..table.tokens();
        rows.push(positions.map(|p| batch.push(0, p as u32, sequence as u32)).collect::<Vec<_>>());
        tables.push(table);
    }
    let lanes: Vec<Lane<'_>> =
        tables.iter().zip(&rows).map(|(t, rows)| Lane { blocks: t.blocks(), rows }).collect();
    WorkBuilder::default().build(&lanes, &batch.positions, block_tokens, &mut batch.work);
    let q = numbers(batch.rows() * HEADS * DIM, 7);
    let blocks = batch.work.blocks.len();
    World { store, batch, q, blocks }
}

fn measure(isa: Isa, case: Case, element: KvElement, block_tokens: u32) {
    let w = world(case, element, block_tokens);
    let attention = Attention { heads: HEADS, scale: 0.125, window: None, soft_cap: None };
    let mut kernel = AttentionKernel::new(isa);
    kernel.begin(&w.batch, HEADS, w.store.layout(), 1);
    let layer = Layer { kv: &w.store, number: 0 };
    let mut y = vec![0.0; w.q.len()];
    let mut once = || {
        let start = Instant::now();
        let done = kernel.run(&attention, &w.q, layer, &w.batch, &OneThread, &mut y);
        done.expect("no panic");
        start.elapsed().as_secs_f64()
    };
    let begin = Instant::now();
    let mut times = vec![once()];
    while times.len() < 5 || begin.elapsed().as_secs_f64() < 0.3 {
        times.push(once());
    }
    times.sort_by(f64::total_cmp);
    let best = times[times.len() / 10];
    let keys: f64 = w.batch.positions.iter().map(|p| f64::from(*p) + 1.0).sum();
    let flops = keys * (HEADS * DIM * 4) as f64;
    let block = w.store.layout().block_bytes().expect("a size") as f64;
    println!(
        "{element:>4} tiles of {block_tokens:3}, batch {:2} x {:3} rows, {:5} shared + {:3}: {:9.1} us, {:6.1} GFLOP/s, {:5.1} GB/s",
        case.batch,
        case.rows,
        case.shared,
        case.own,
        best * 1e6,
        flops / best / 1e9,
        w.blocks as f64 * block / best / 1e9,
    );
}

fn main() {
    let level = std::env::args().nth(1);
    let isa = level.map_or_else(Isa::detect, |text| text.parse().expect("a level"));
    let decode = |batch, shared| Case { batch, shared, own: 64, rows: 1 };
    let cases = [
        decode(1, 1024),
        decode(32, 0),
        decode(32, 1024),
        decode(32, 4096),
        Case { batch: 1, shared: 0, own: 512, rows: 512 },
        Case { batch: 1, shared: 0, own: 2048, rows: 512 },
    ];
    for element in [KvElement::F32, KvElement::BF16, KvElement::F16, KvElement::I8] {
        for case in cases {
            for block_tokens in [32, 64] {
                measure(isa, case, element, block_tokens);
            }
        }
    }
}
