//! Attention by tiles in the Kernel IR interpreter: prompts against attention key by key, work
//! lists of random prefix forests against the KV cache's own reference.

use cascata_codegen::gpu::tile_attention::{Forest, Heads, Prompt};
use cascata_ir::kernel::interp::{HostBuffer, Outcome, launch_buffers, run};
use cascata_ir::kernel::{Kernel, TileSchedule, parse_kernels, print_kernels, verify};
use cascata_ir::types::DType;
use cascata_kv::{
    Attention, AttentionTile, BlockPool, BlockTable, Cut, KvElement, KvLayout, KvStore, Lane,
    Partial, StepBatch, TileList, WorkBuilder,
};
use proptest::prelude::*;

const SCHEDULE: TileSchedule =
    TileSchedule { rows: 16, keys: 32, warps: 1, stages: 2, ahead: false, wgmma: false };

fn heads(heads: u32, kv_heads: u32, head_dim: u32, dtype: DType) -> Heads {
    Heads { heads, kv_heads, head_dim, dtype, scale: 0.37 }
}

struct Random(u64);

impl Random {
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 40) as f32 / (1u64 << 22) as f32 - 2.0
        };
        (0..count).map(|_| next()).collect()
    }
}

/// Runs a kernel on its operands and gives all its buffers.
fn launch(kernel: &Kernel, params: &[i64], inputs: Vec<HostBuffer>) -> Vec<HostBuffer> {
    verify(kernel).unwrap();
    let text = print_kernels(std::slice::from_ref(kernel));
    assert_eq!(parse_kernels(&text).unwrap(), std::slice::from_ref(kernel), "{text}");
    let mut buffers = launch_buffers(kernel, params).unwrap();
    buffers.iter_mut().zip(inputs).for_each(|(b, input)| *b = input);
    assert_eq!(run(kernel, params, &mut buffers).unwrap(), Outcome::Done);
    buffers
}

fn close(found: f32, want: f32) -> bool {
    (found - want).abs() <= 1e-5 * want.abs().max(1.0)
}

/// Sizes of a prompt: batch, queries, keys.
fn prompt(h: Heads, causal: bool, (b, tq, tk): (usize, usize, usize)) {
    let (heads, kv_heads, dim) = (h.heads as usize, h.kv_heads as usize, h.head_dim as usize);
    let kernel = Prompt { heads: h, causal, schedule: SCHEDULE }.kernel("prompt");
    let mut random = Random(tq as u64);
    let q = random.numbers(b * tq * heads * dim);
    let [k, v] = [0, 1].map(|_| random.numbers(b * tk * kv_heads * dim));
    let inputs = [&q, &k, &v].map(|x| HostBuffer::of(x)).to_vec();
    let out = launch(&kernel, &[b as i64, tq as i64, tk as i64], inputs)[3].values::<f32>();
    let mut want = vec![0.0; dim];
    for (i, found) in out.chunks_exact(dim).enumerate() {
        let (head, row, batch) = (i % heads, i / heads % tq, i / heads / tq);
        let seen = if causal { (row + 1 + tk).saturating_sub(tq) } else { tk };
        let at = |key: usize| ((batch * tk + key) * kv_heads + head / (heads / kv_heads)) * dim;
        let mut state = Partial::empty(dim);
        for key in 0..seen {
            let dot: f32 = (0..dim).map(|d| q[i * dim + d] * k[at(key) + d]).sum();
            let mut one = Partial::empty(dim);
            one.max = dot * h.scale;
            one.push(1.0, &v[at(key)..at(key) + dim]);
            state.merge(&one);
        }
        state.finalize(&mut want);
        let same = found.iter().zip(&want).all(|(x, y)| close(*x, *y));
        assert!(same, "batch {batch}, row {row}, head {head}: {found:?}, not {want:?}");
    }
}

#[test]
fn prompts() {
    prompt(heads(6, 2, 5, DType::F32), true, (2, 35, 35));
    prompt(heads(3, 1, 4, DType::F32), false, (1, 17, 50));
}

#[test]
fn queries_are_the_last_of_the_keys() {
    prompt(heads(4, 4, 3, DType::F32), true, (1, 7, 61));
}

#[test]
fn rows_before_the_first_key_give_zeros() {
    prompt(heads(2, 1, 3, DType::F32), true, (1, 40, 9));
}

/// A forest of sequences in a cache, and the last tokens of each as a step.
struct World {
    store: KvStore,
    batch: StepBatch,
    q: Vec<f32>,
}

/// A sequence: which one it forks from, at which share of its length, tokens of its own,
/// rows of the step.
type Branch = (usize, f64, usize, usize);

fn world(h: Heads, block_tokens: u32, branches: &[Branch]) -> World {
    let layout = KvLayout {
        layers: 1,
        kv_heads: h.kv_heads,
        head_dim: h.head_dim,
        block_tokens,
        element: KvElement::F32,
    };
    let (mut store, mut pool) = KvStore::new(layout, 1 << 20).unwrap();
    let (mut random, mut tables) = (Random(9), Vec::<BlockTable>::new());
    let numbers = (h.kv_heads * h.head_dim) as usize;
    for &(from, share, own, _) in branches {
        let table = match tables.is_empty() {
            true => BlockTable::new(block_tokens),
            false => forked(&tables[from % tables.len()], share, &mut pool),
        };
        tables.push(extended(table, own, &mut pool, &mut store, &mut random, numbers));
    }
    let mut batch = StepBatch::default();
    let lanes: Vec<Vec<u32>> = (0..)
        .zip(&tables)
        .zip(branches)
        .map(|((lane, table), branch)| {
            let end = table.tokens();
            (end - branch.3.min(end)..end).map(|p| batch.push(0, p as u32, lane)).collect()
        })
        .collect();
    let lanes: Vec<Lane<'_>> = tables
        .iter()
        .zip(&lanes)
        .map(|(table, rows)| Lane { blocks: table.blocks(), rows })
        .collect();
    WorkBuilder::default().build(&lanes, &batch.positions, block_tokens, &mut batch.work);
    let q = random.numbers(batch.rows() * (h.heads * h.head_dim) as usize);
    World { store, batch, q }
}

fn forked(table: &BlockTable, share: f64, pool: &mut BlockPool) -> BlockTable {
    let mut fork = table.fork(pool);
    fork.truncate((table.tokens() as f64 * share) as usize, pool);
    fork
}

fn extended(
    mut table: BlockTable,
    own: usize,
    pool: &mut BlockPool,
    store: &mut KvStore,
    random: &mut Random,
    numbers: usize,
) -> BlockTable {
    let (mut copies, from) = (Vec::new(), table.tokens());
    table.reserve(from + own, pool, &mut copies).unwrap();
    copies.iter().for_each(|c| store.copy(c));
    for position in from..from + own {
        let [k, v] = [0, 1].map(|_| random.numbers(numbers));
        store.append(0, table.slot(position), &k, &v);
    }
    table.advance(own);
    table
}

/// The cache's blocks by number, as far as the step reads them.
fn planes(world: &World, h: Heads, block_tokens: u32) -> (i64, [Vec<f32>; 2]) {
    let work = &world.batch.work.blocks;
    let blocks = work.iter().map(|b| b.index() + 1).max().unwrap_or(0);
    let tile = (block_tokens * h.head_dim) as usize;
    let heads = h.kv_heads as usize;
    let mut planes = [0, 1].map(|_| vec![f32::NAN; blocks * heads * tile]);
    for &block in work {
        for head in 0..heads {
            let both = [world.store.keys(0, block, head), world.store.values(0, block, head)];
            for (plane, from) in planes.iter_mut().zip(both) {
                let at = (block.index() * heads + head) * tile;
                let tokens = plane[at..at + tile].chunks_exact_mut(h.head_dim as usize);
                tokens.enumerate().for_each(|(token, numbers)| from.read(token, numbers));
            }
        }
    }
    (blocks as i64, planes)
}

/// The step by the kernels for a GPU.
fn by_tiles(world: &World, h: Heads, block_tokens: u32, cut: Cut) -> Vec<f32> {
    let forest = Forest { heads: h, block_tokens };
    let (batch, mut tiles) = (&world.batch, TileList::default());
    tiles.build(&batch.work, &batch.positions, block_tokens, cut);
    let (blocks, [k, v]) = planes(world, h, block_tokens);
    let i32s = |x: &[u32]| HostBuffer::of(&x.iter().map(|n| *n as i32).collect::<Vec<_>>());
    let (rows, states) = (batch.rows() as i64, i64::from(tiles.states));
    let mut states_of = vec![];
    let wide = TileSchedule { rows: 32, ..SCHEDULE };
    for (list, schedule) in [(&tiles.wide, wide), (&tiles.narrow, SCHEDULE)] {
        let work: Vec<i32> = list.iter().flat_map(|t: &AttentionTile| *t).collect();
        let lists = (batch.work.blocks.len() as i64, batch.work.rows.len() as i64);
        let params = [list.len() as i64, rows, lists.0, lists.1, blocks, states];
        let inputs = vec![
            HostBuffer::of(&world.q),
            HostBuffer::of(&k),
            HostBuffer::of(&v),
            HostBuffer::of(&work),
            i32s(&batch.work.blocks.iter().map(|b| b.index() as u32).collect::<Vec<_>>()),
            i32s(&batch.work.rows),
            i32s(&batch.positions),
        ];
        states_of.push(launch(&forest.partial("partial", schedule), &params, inputs));
    }
    // Each launch has written the states of its own tiles.
    let joined = |buffer: usize| {
        let [wide, narrow] = [0, 1].map(|i| states_of[i][buffer].values::<f32>());
        let per_state = wide.len() / tiles.states as usize;
        let mut all = wide;
        for tile in &tiles.narrow {
            let range = tile[5] as usize * per_state..(tile[5] + tile[4]) as usize * per_state;
            all[range.clone()].copy_from_slice(&narrow[range]);
        }
        HostBuffer::of(&all)
    };
    let inputs = vec![
        joined(7),
        joined(8),
        joined(9),
        HostBuffer::of(&tiles.starts),
        HostBuffer::of(&tiles.parts),
    ];
    let params = [rows, tiles.parts.len() as i64, states];
    launch(&forest.merge("merge"), &params, inputs)[5].values()
}

fn forest_equals_attention(branches: &[Branch], cut: Cut) -> Result<(), TestCaseError> {
    let h = heads(6, 2, 4, DType::F32);
    let world = world(h, 4, branches);
    let found = by_tiles(&world, h, 4, cut);
    let reference =
        Attention { heads: h.heads as usize, scale: h.scale, window: None, soft_cap: None };
    let mut want = vec![f32::NAN; world.q.len()];
    reference.run(&world.q, &world.store, 0, &world.batch, &mut want);
    for (i, (x, y)) in found.iter().zip(&want).enumerate() {
        prop_assert!(close(*x, *y), "number {}: {} for {}", i, x, y);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(48)
    })]

    #[test]
    fn tiles_of_a_forest_are_its_attention(
        branches in prop::collection::vec((0..64usize, 0.0..1.0, 1..20usize, 1..5usize), 1..12),
        wide_from in 1..6u32, wide_rows in 1..9u32, blocks in 1..4u32,
    ) {
        let cut = Cut { wide_from, rows: [wide_rows, 5], blocks: [blocks, 3] };
        forest_equals_attention(&branches, cut)?;
    }
}

#[test]
fn a_fork_within_a_block_shares_what_is_before_it() {
    let cut = Cut { wide_from: 1, rows: [3, 5], blocks: [1, 3] };
    forest_equals_attention(&[(0, 0.0, 12, 1), (0, 0.94, 14, 3)], cut).unwrap();
}

#[test]
fn a_row_without_states_gives_zeros() {
    let merge = Forest { heads: heads(2, 1, 3, DType::F32), block_tokens: 4 }.merge("merge");
    let negative = f32::NEG_INFINITY;
    // Row 0 has no state, row 1 two empty ones, row 2 an empty one on each side of a full one.
    let max: [f32; 8] = [negative, negative, negative, negative, 2.0, -3.0, negative, negative];
    let sum = [0.0f32, 0.0, 0.0, 0.0, 4.0, 0.5, 0.0, 0.0];
    let mut out = vec![0.0f32; 4 * 2 * 3];
    out[2 * 6..3 * 6].copy_from_slice(&[4.0, 8.0, -2.0, 0.5, 0.25, 1.0]);
    let inputs = vec![
        HostBuffer::of(&max),
        HostBuffer::of(&sum),
        HostBuffer::of(&out),
        HostBuffer::of(&[0i32, 0, 2, 5]),
        HostBuffer::of(&[0i32, 1, 0, 2, 3]),
    ];
    let found = launch(&merge, &[3, 5, 4], inputs)[5].values::<f32>();
    assert_eq!(found[..12], [0.0; 12]);
    assert_eq!(found[12..], [1.0, 2.0, -0.5, 1.0, 0.5, 2.0]);
}
