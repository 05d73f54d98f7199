//! Attention over the prefix forest of a step, fast.
//!
//! * Shapes: `q f32[T,H,D]` over keys and values of G heads in blocks of `t` tokens,
//!   to `f32[T,H,D]`; any sizes.
//! * FuseMax's 1-pass cascade (arXiv 2406.10491, §4.3) by tiles, a block each: scores of all
//!   rows that read the tile by one GEMM, running maximum, denominator and output corrected,
//!   then the second GEMM. What is live is the rows' states and one tile, whatever the length.
//! * Hydragen (arXiv 2402.05099, §3.2) for trees: an item's rows, with all query heads of a key
//!   head, are the rows of one product.
//! * Error: of one GEMM each and of `e^x` (`kernels/online`), the correction once per tile:
//!   `(D + tiles + 8)·2^-24` of the scores' magnitude, as a factor of `e` to it. Where AMX
//!   multiplies whole tiles of a bf16 cache, queries and weights are rounded to bf16, too:
//!   2^-9 of each.
//! * A row's numbers depend on its own tiles in their order and on nothing else: not on what
//!   stands beside it in a product, on who shares a block, or on the number of threads.
//! * Bound by bytes of keys and values for few rows, by flops (`4·D` for each row, query head
//!   and key) from about eight rows of products on.
//!
//! GFLOP/s in tiles of 64 tokens, 9 query and 3 key heads of 64, exp and all (one Intel Emerald
//! Rapids thread, FMA peak 160; `cargo run --release -p cascata-kv --example attention`):
//!
//! | | f32 | f16 | bf16 (AMX) | i8 |
//! |---|---:|---:|---:|---:|
//! | 1 row over 1,088 keys (GB/s) | 66 (44) | 40 (13) | 66 (22) | 32 (6) |
//! | 32 rows over 1,024 shared keys and 64 own | 116 | 107 | 159 | 102 |
//! | 32 rows over 4,096 shared keys and 64 own | 119 | 113 | 185 | 107 |
//! | the last 512 rows of a prompt of 2,048 | 132 | 119 | 179 | 110 |
//!
//! With AMX the products take a third of the time; `e^x` and what is around it is the rest.
//!
//! Work is cut by rows of products, as equal as can be, one share for each thread; a share is
//! computed in chunks of [`CHUNK`] rows, so that queries, states and scores stay in L2 while
//! tiles pass by once.

mod chunk;
mod share;

use crate::step::StepBatch;
use crate::store::{KvLayout, KvStore};
use crate::{Attention, KvElement};
use cascata_kernels::{Isa, Kernels};
use chunk::{Chunk, Scratch};
use share::{Share, shares};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Rows of a chunk: queries and outputs of 64 numbers take 64 KiB.
const CHUNK: usize = cascata_kernels::online::MOST_ROWS;

/// Threads that run tasks.
pub trait Threads {
    /// Runs `job` for ranges that make up `0..tasks`; returns when all are done.
    ///
    /// # Errors
    /// A task panicked.
    fn run(&self, tasks: usize, job: &(dyn Fn(Range<usize>) + Sync)) -> Result<(), String>;
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug)]
pub struct OneThread;

impl Threads for OneThread {
    fn run(&self, tasks: usize, job: &(dyn Fn(Range<usize>) + Sync)) -> Result<(), String> {
        job(0..tasks);
        Ok(())
    }
}

/// The keys and values of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Those of all layers.
    pub kv: &'a KvStore,
    /// Which one.
    pub number: usize,
}

/// Attention of one step's rows, layer by layer.
pub struct AttentionKernel {
    kernels: &'static Kernels,
    isa: Isa,
    rows: Rows,
    shares: Vec<Share>,
    /// One for each share.
    scratch: Vec<Mutex<Scratch>>,
}

/// The rows of a step, lane after lane: the *ranks*.
#[derive(Debug, Default)]
struct Rows {
    /// The row of the batch of each rank.
    order: Vec<u32>,
    /// The position of each rank.
    positions: Vec<u32>,
    /// The ranks of each item's rows, as few ranges as can be, one item after the other.
    runs: Vec<Range<u32>>,
    /// Each item's place in `runs`.
    items: Vec<Range<u32>>,
    /// The rank of each row.
    ranks: Vec<u32>,
}

impl Rows {
    /// Every row is in one item of depth 0; items list rows in the order of their lanes.
    fn read(&mut self, batch: &StepBatch) {
        let work = &batch.work;
        self.order.clear();
        let roots = work.items.iter().filter(|item| item.depth == 0);
        roots.for_each(|item| self.order.extend(work.rows_of(item)));
        self.positions.clear();
        self.positions.extend(self.order.iter().map(|r| batch.positions[*r as usize]));
        self.ranks.clear();
        self.ranks.resize(batch.rows(), 0);
        (0..).zip(&self.order).for_each(|(rank, row)| self.ranks[*row as usize] = rank);
        self.runs.clear();
        self.items.clear();
        for item in &work.items {
            let first = self.runs.len();
            for row in work.rows_of(item) {
                let rank = self.ranks[*row as usize];
                match self.runs[first..].last_mut() {
                    Some(run) if run.end == rank => run.end += 1,
                    _ => self.runs.push(rank..rank + 1),
                }
            }
            self.items.push(first as u32..self.runs.len() as u32);
        }
    }
}

impl AttentionKernel {
    /// A kernel of this instruction set level, or of what the CPU has of it.
    pub fn new(isa: Isa) -> Self {
        Self {
            kernels: Kernels::new(isa),
            isa: isa.min(Isa::detect()),
            rows: Rows::default(),
            shares: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes in a step's rows; [`AttentionKernel::run`] is for this batch from now on.
    pub fn begin(&mut self, batch: &StepBatch, heads: usize, layout: &KvLayout, threads: usize) {
        self.rows.read(batch);
        let groups = layout.kv_heads as usize;
        self.shares.clear();
        shares(&self.rows.positions, heads / groups.max(1), groups, threads, &mut self.shares);
        self.scratch.resize_with(self.shares.len().max(self.scratch.len()), Mutex::default);
    }

    /// Attention over a layer; `q` and `y` are `f32[T,H,D]`.
    ///
    /// # Errors
    /// A thread panicked.
    pub fn run(
        &self,
        attention: &Attention,
        q: &[f32],
        Layer { kv, number: layer }: Layer<'_>,
        batch: &StepBatch,
        threads: &dyn Threads,
        y: &mut [f32],
    ) -> Result<(), String> {
        let step = Step { kernel: self, attention, q, kv, layer, batch };
        // Rows of no item see no key.
        if self.rows.order.len() < batch.rows() {
            y.fill(0.0);
        }
        threads.run(self.shares.len(), &|tasks| {
            for (share, scratch) in self.shares[tasks.clone()].iter().zip(&self.scratch[tasks]) {
                let mut scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
                step.share(share, &mut scratch);
            }
        })?;
        for (share, scratch) in self.shares.iter().zip(&self.scratch) {
            let scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
            step.give(share, &scratch.done, y);
        }
        Ok(())
    }
}

/// One call.
struct Step<'a> {
    kernel: &'a AttentionKernel,
    attention: &'a Attention,
    q: &'a [f32],
    kv: &'a KvStore,
    layer: usize,
    batch: &'a StepBatch,
}

impl Step<'_> {
    fn head_dim(&self) -> usize {
        self.kv.layout().head_dim as usize
    }

    /// Query heads of a key head.
    fn group(&self) -> usize {
        self.attention.heads / self.kv.layout().kv_heads as usize
    }

    /// Where the numbers of a row of products lie in `q` and `y`.
    fn place(&self, head: usize, at: usize) -> usize {
        let group = self.group();
        let row = self.kernel.rows.order[at / group] as usize;
        (row * self.attention.heads + head * group + at % group) * self.head_dim()
    }

    /// Whether whole tiles are multiplied as they are stored: where tiles of AMX do it, for all
    /// numbers of rows alike.
    fn multiplies_bf16(&self) -> bool {
        let layout = self.kv.layout();
        let pairs = layout.element == KvElement::BF16 && layout.block_tokens.is_multiple_of(2);
        pairs && self.kernel.isa >= Isa::Amx
    }

    /// Computes a share: its results lie in `scratch.done`, row after row.
    fn share(&self, share: &Share, scratch: &mut Scratch) {
        scratch.done.clear();
        for (head, rows) in share.pieces() {
            for first in rows.clone().step_by(CHUNK) {
                let chunk = first..rows.end.min(first + CHUNK);
                Chunk::new(self, head, chunk, scratch).run();
            }
        }
    }

    /// Puts a share's results where they belong.
    fn give(&self, share: &Share, done: &[f32], y: &mut [f32]) {
        let dim = self.head_dim();
        let mut done = done.chunks_exact(dim);
        for (head, rows) in share.pieces() {
            for (at, numbers) in rows.zip(&mut done) {
                let to = self.place(head, at);
                y[to..to + dim].copy_from_slice(numbers);
            }
        }
    }
}
