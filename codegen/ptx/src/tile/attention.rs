//! Attention of a tile: `mma.sync` on tiles that `cp.async` brings, from sm_80 on.
//!
//! Queries lie in shared memory, keys and values in rings of [`TileSchedule::stages`] steps.
//! Each warp has 16 or 32 rows: scores, weights and the output of its rows stay in its
//! registers, the weights as they are the left operand of the second product. Per step of
//! keys there is one barrier. With `ahead`, the scores of step `j + 1` and the weights of
//! step `j` do not depend on each other, so that tensor cores and the other units overlap
//! (FuseMax's binding, arXiv 2406.10491, §5). The output is rescaled only in steps in which
//! a row of the warp has a new maximum.
//!
//! Bound by the tensor cores and, with 16 rows per warp, by reads of shared memory: each warp
//! reads all keys and values of the step.

use super::attention_copy::Copy;
use super::{Effect, half_of};
use crate::emit::Emit;
use crate::index::Symbol;
use crate::text::{Text, Ty, V};
use cascata_ir::kernel::{Sees, TileAttention, TileSchedule};
use cascata_types::DType;

/// Threads of a warp.
const WARP: u32 = 32;

/// The sizes of a tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub dim: u32,
    pub rows: u32,
    pub keys: u32,
    pub stages: u32,
    pub threads: u32,
    pub ahead: bool,
    /// By `wgmma`: columns lie in halves of 128 bytes.
    pub wgmma: bool,
    /// As instructions call the dtype.
    pub half: &'static str,
    /// Tiles of 16 rows of a warp.
    pub row_tiles: u32,
}

impl Shape {
    fn new(a: &TileAttention, dtype: DType) -> Self {
        let TileSchedule { rows, keys, warps, stages, ahead, wgmma } = a.schedule;
        let half = half_of(dtype).unwrap_or("f16");
        let row_tiles = rows / (16 * warps);
        let (dim, threads) = (a.head_dim, warps * WARP);
        Shape { dim, rows, keys, stages, threads, ahead: ahead || wgmma, wgmma, half, row_tiles }
    }

    /// Bytes of a row of queries, keys or values.
    pub fn pitch(&self) -> u32 {
        2 * self.dim
    }

    /// Rows that the threads copy at once, 16 bytes each.
    pub fn pass_rows(&self) -> u32 {
        self.threads / (self.dim / 8)
    }

    /// Bytes of a step of keys.
    pub fn step_bytes(&self) -> u32 {
        self.keys * self.pitch()
    }

    /// Where in shared memory the keys begin, behind the queries.
    pub fn keys_at(&self) -> u32 {
        self.rows * self.pitch()
    }

    pub fn values_at(&self) -> u32 {
        self.keys_at() + self.stages * self.step_bytes()
    }

    fn bytes(&self) -> u32 {
        self.values_at() + self.stages * self.step_bytes()
    }

    fn problem(&self) -> Option<String> {
        let whole = self.pass_rows() > 0
            && self.rows.is_multiple_of(self.pass_rows())
            && self.keys.is_multiple_of(self.pass_rows());
        let fits = matches!(self.dim, 64 | 128)
            && matches!(self.row_tiles, 1 | 2)
            && self.keys.is_multiple_of(16)
            && self.stages >= 2
            && (!self.wgmma
                || self.row_tiles == 1
                    && self.threads.is_multiple_of(4 * WARP)
                    && self.keys <= 256)
            && self.bytes() <= crate::memory::MOST_SHARED as u32;
        let threads = self.threads;
        (!whole || !fits).then(|| {
            format!(
                "attention of head_dim {} by {threads} threads in tiles of {} rows, {} keys and {} steps",
                self.dim, self.rows, self.keys, self.stages
            )
        })
    }
}

/// Shared memory of a tile.
pub(super) fn bytes(a: &TileAttention) -> u32 {
    Shape::new(a, DType::BF16).bytes()
}

/// What a warp keeps from step to step, in registers.
#[derive(Clone)]
pub(super) struct State {
    /// By row tile and half: rows `lane / 4` and 8 below.
    pub max: Vec<V>,
    /// This thread's part of `l`.
    pub sum: Vec<V>,
    /// By row tile, column tile and element.
    pub out: Vec<V>,
    /// With `ahead`: the scores of the step; by `wgmma` its weights.
    pub carried: Vec<V>,
}

impl State {
    pub fn flat(&self) -> Vec<V> {
        [&self.max[..], &self.sum, &self.out, &self.carried].concat()
    }

    pub fn like(&self, flat: &[V]) -> Self {
        let (max, rest) = flat.split_at(self.max.len());
        let (sum, rest) = rest.split_at(self.sum.len());
        let (out, carried) = rest.split_at(self.out.len());
        State { max: max.into(), sum: sum.into(), out: out.into(), carried: carried.into() }
    }
}

/// A tile in the making.
pub(super) struct Tile<'e, 'k> {
    pub e: &'e mut Emit<'k>,
    pub a: &'k TileAttention,
    pub s: Shape,
    /// The first byte of the tile's shared memory.
    pub shared: V,
    /// `lane / 4`, and the first column that the thread has of 8: `2 · (lane mod 4)`.
    pub lane_row: V,
    pub lane_col: V,
    /// The warp's first row.
    pub warp_row: V,
    /// Address in shared memory of this lane's queries for `ldmatrix`, in the first pair of
    /// 16-byte columns.
    pub q_lane: V,
    /// Bytes from there to this lane's values of the ring's first step.
    pub to_values: V,
    /// As `q_lane`, of keys of the ring's first step.
    pub k_lane: V,
    /// `scale · log2 e`.
    pub factor: V,
    /// Rows and keys that exist.
    pub row_count: V,
    pub key_count: V,
    /// Steps with keys that some row sees; the first of them that not all rows see.
    pub steps: V,
    pub full_steps: V,
    pub copy: Copy,
}

impl<'k> Emit<'k> {
    /// A tile of attention.
    pub fn tile_attention(&mut self, a: &'k TileAttention) {
        let dtype = self.kernel.buffers[a.q.buffer].dtype;
        let s = Shape::new(a, dtype);
        if !matches!(dtype, DType::BF16 | DType::F16) {
            return self.problem(format!("attention of {dtype} on tensor cores"));
        }
        if self.in_threads {
            return self.problem("attention of a tile in a loop over threads".into());
        }
        if s.threads != self.threads {
            return self.problem(format!(
                "a tile of {} threads in a block of {}",
                s.threads, self.threads
            ));
        }
        if let Some(problem) = s.problem() {
            return self.problem(problem);
        }
        let Some(shared) = self.tile_memory else {
            return self.problem("attention without shared memory".into());
        };
        let mut tile = Tile::new(self, a, s, shared);
        tile.prologue();
        let state = tile.all_steps();
        tile.drain();
        tile.renew();
        tile.write(state);
        // The next use of the memory.
        self.barrier();
    }
}

impl<'e, 'k> Tile<'e, 'k> {
    fn new(e: &'e mut Emit<'k>, a: &'k TileAttention, s: Shape, shared: V) -> Self {
        let counts = (e.dim(&a.rows.count), e.dim(&a.keys.count));
        let [row_count, key_count] = [counts.0, counts.1].map(|v| e.text.resize(v, Ty::I32, true));
        let (tid, t) = (e.tid, &mut e.text);
        let base = t.define(Ty::I32, format_args!("llvm.ptrtoint {shared} : !llvm.ptr<3> to i32"));
        let lane = t.with("arith.andi", tid, 31);
        let [warp_row, lane_row, lane_col] = thread_place(t, s, tid);
        let pitch = i64::from(s.pitch());
        let q_rows = t.with("arith.muli", warp_row, pitch);
        let q_base = t.op("arith.addi", &[base, q_rows]);
        let q_lane = matrix_lane(t, q_base, lane, pitch, (3, 4));
        let values_at = t.i32(i64::from(s.values_at()));
        let to_values = t.op("arith.subi", &[values_at, q_rows]);
        let k_base = t.with("arith.addi", base, i64::from(s.keys_at()));
        let k_lane = matrix_lane(t, k_base, lane, pitch, (4, 3));
        let scale = a.scale.to_f64() * std::f64::consts::LOG2_E;
        let factor = t.float(Ty::F32, scale);
        let copy = Copy::new(e, a, s, base);
        let (steps, full_steps) = bounds(e, a, s, row_count, key_count);
        Tile {
            e,
            a,
            s,
            shared: base,
            lane_row,
            lane_col,
            warp_row,
            q_lane,
            to_values,
            k_lane,
            factor,
            row_count,
            key_count,
            steps,
            full_steps,
            copy,
        }
    }

    pub fn t(&mut self) -> &mut Text {
        &mut self.e.text
    }

    /// Computes again what was computed from the thread's and the tile's number, so that it
    /// takes no registers in the loop before.
    fn renew(&mut self) {
        let (s, tile) = (self.s, self.e.kernel.tile);
        let tid = self.t().asm("mov.u32 $0, %tid.x;", &[Ty::I32], &[], Effect::Memory)[0];
        [self.warp_row, self.lane_row, self.lane_col] = thread_place(self.t(), s, tid);
        if let Some(Symbol::Value(v)) = self.e.symbols.get(&tile).copied() {
            let again = self.t().asm("mov.b64 $0, $1;", &[Ty::I64], &[v], Effect::Memory)[0];
            self.e.symbols.insert(tile, Symbol::Value(again));
        }
        let count = self.e.dim(&self.a.rows.count);
        self.row_count = self.t().resize(count, Ty::I32, true);
    }

    /// How many steps keys are ahead of values.
    fn lead(&self) -> u32 {
        u32::from(self.s.ahead)
    }

    /// Starts the copies of the first steps.
    fn prologue(&mut self) {
        self.copy_queries();
        if self.s.ahead {
            let zero = self.t().i32(0);
            self.copy_step(Some(zero), None);
        }
        for i in 0..self.s.stages - 1 {
            let (k, v) = (i64::from(i + self.lead()), i64::from(i));
            let (k, v) = (self.t().i32(k), self.t().i32(v));
            self.copy_step(Some(k), Some(v));
        }
    }

    /// Waits until all copies but those of the last `groups` are there, for all threads.
    pub fn wait(&mut self, groups: u32) {
        // The units of `wgmma` must see what threads have written.
        let fence = if self.s.wgmma { " fence.proxy.async.shared::cta;" } else { "" };
        let code = format!("cp.async.wait_group {groups};{fence}");
        self.t().asm(&code, &[], &[], Effect::Memory);
        self.e.barrier();
    }

    fn drain(&mut self) {
        self.t().asm("cp.async.wait_group 0;", &[], &[], Effect::Memory);
    }

    /// All steps of keys.
    fn all_steps(&mut self) -> State {
        let (row_tiles, columns) = (self.s.row_tiles as usize, (self.s.dim / 8) as usize);
        let t = self.t();
        let (zero, least) = (t.float(Ty::F32, 0.0), t.float(Ty::F32, f64::NEG_INFINITY));
        let mut state = State {
            max: vec![least; 2 * row_tiles],
            sum: vec![zero; 2 * row_tiles],
            out: vec![zero; 4 * row_tiles * columns],
            carried: vec![],
        };
        if self.s.wgmma {
            return self.wgmma_steps(state);
        }
        let first = self.t().i32(0);
        let (steps, full) = (self.steps, self.full_steps);
        if !self.s.ahead {
            state = self.step_loop((first, full), state, |t, i, s| t.step(i, s, false, true));
            self.renew();
            return self.step_loop((full, steps), state, |t, i, s| t.step(i, s, true, true));
        }
        self.wait(self.s.stages - 1);
        state.carried = self.scores(first);
        let last = self.t().with("arith.addi", steps, -1);
        let full = self.t().op("arith.minsi", &[full, last]);
        state = self.step_loop((first, full), state, |t, i, s| t.step(i, s, false, true));
        self.renew();
        state = self.step_loop((full, last), state, |t, i, s| t.step(i, s, true, true));
        let zero = self.t().i32(0);
        let any = self.t().cmpi("sgt", steps, zero);
        self.last_step(any, last, state)
    }

    pub fn step_loop(
        &mut self,
        range: (V, V),
        state: State,
        body: impl FnOnce(&mut Self, V, State) -> State,
    ) -> State {
        let start = state.flat();
        // The text is borrowed by the loop; the tile needs it inside.
        let mut own = std::mem::take(&mut self.e.text);
        let end = own.carried_loop(range, &start, |text, step, flat| {
            std::mem::swap(text, &mut self.e.text);
            let after = body(self, step, state.like(&flat)).flat();
            std::mem::swap(text, &mut self.e.text);
            after
        });
        self.e.text = own;
        state.like(&end)
    }

    /// What `then` makes of values where a condition holds.
    pub fn conditional(
        &mut self,
        cond: V,
        values: &[V],
        then: impl FnOnce(&mut Self) -> Vec<V>,
    ) -> Vec<V> {
        let mut own = std::mem::take(&mut self.e.text);
        let end = own.changed_if(cond, values, |text| {
            std::mem::swap(text, &mut self.e.text);
            let after = then(self);
            std::mem::swap(text, &mut self.e.text);
            after
        });
        self.e.text = own;
        end
    }

    fn last_step(&mut self, any: V, step: V, state: State) -> State {
        let kept = State { carried: vec![], ..state.clone() };
        let end = self.conditional(any, &kept.flat(), |tile| {
            State { carried: vec![], ..tile.step(step, state, true, false) }.flat()
        });
        kept.like(&end)
    }

    /// Starts the copies of the steps that follow those in the rings.
    pub fn copy_following(&mut self, step: V) {
        let (stages, lead) = (self.s.stages, self.lead());
        let values = self.t().with("arith.addi", step, i64::from(stages - 1));
        let keys = self.t().with("arith.addi", step, i64::from(stages - 1 + lead));
        self.copy_step(Some(keys), Some(values));
    }

    /// One step of keys; `next` whether another one may follow.
    fn step(&mut self, step: V, state: State, masked: bool, next: bool) -> State {
        self.wait(self.s.stages - 2);
        if next {
            self.copy_following(step);
        }
        let (scores, following) = match (self.s.ahead, next) {
            (false, _) => (self.scores(step), vec![]),
            (true, false) => (state.carried.clone(), vec![]),
            (true, true) => {
                let following = self.t().with("arith.addi", step, 1);
                (state.carried.clone(), self.scores(following))
            }
        };
        let scores = if masked { self.masked(step, scores) } else { scores };
        let weighed = self.weigh(scores, state);
        let out = self.rescaled(weighed.changed, &weighed.factors, weighed.state.out);
        let weights = self.packed(&weighed.weights);
        let out = self.add_values(step, &weights, out);
        State { out, carried: following, ..weighed.state }
    }
}

/// The warp's first row, the lane's row in a row tile, and its first column of eight.
fn thread_place(t: &mut Text, s: Shape, tid: V) -> [V; 3] {
    let lane = t.with("arith.andi", tid, 31);
    let warp = t.with("arith.shrui", tid, 5);
    let warp_row = t.with("arith.muli", warp, i64::from(16 * s.row_tiles));
    let lane_row = t.with("arith.shrui", lane, 2);
    let quad = t.with("arith.andi", lane, 3);
    [warp_row, lane_row, t.with("arith.shli", quad, 1)]
}

/// Address of a lane's row of four 8×8 matrices for `ldmatrix`: one bit of the lane's number
/// says which eight rows, the other which 16-byte column of a pair, so that the two registers
/// of each right operand are neighbours. Columns are swapped by the row's lowest bits, so that
/// eight rows lie in different banks: see [`Tile::pairs`] for the other pairs.
fn matrix_lane(t: &mut Text, base: V, lane: V, pitch: i64, (low, high): (i64, i64)) -> V {
    let in_eight = t.with("arith.andi", lane, 7);
    let bit = |t: &mut Text, n: i64| {
        let moved = t.with("arith.shrui", lane, n);
        t.with("arith.andi", moved, 1)
    };
    let (row_bit, column_bit) = (bit(t, low), bit(t, high));
    let eights = t.with("arith.shli", row_bit, 3);
    let row = t.op("arith.addi", &[eights, in_eight]);
    let row_bytes = t.with("arith.muli", row, pitch);
    let at = t.op("arith.addi", &[base, row_bytes]);
    let column = t.op("arith.xori", &[column_bit, in_eight]);
    let bytes = t.with("arith.shli", column, 4);
    t.op("arith.addi", &[at, bytes])
}

/// The steps that some row sees, and how many of them all rows see.
fn bounds(e: &mut Emit<'_>, a: &TileAttention, s: Shape, rows: V, keys: V) -> (V, V) {
    let step = i64::from(s.keys);
    let (visible, full) = match &a.sees {
        Sees::All => (keys, keys),
        Sees::UpTo { first } => {
            let first = e.dim(first);
            let t = &mut e.text;
            let first = t.resize(first, Ty::I32, true);
            let group = i64::from(a.rows.group);
            let above = t.with("arith.addi", rows, group - 1);
            let tokens = t.with("arith.divsi", above, group);
            let last = t.op("arith.addi", &[first, tokens]);
            let least = t.with("arith.addi", first, 1);
            (t.op("arith.minsi", &[last, keys]), t.op("arith.minsi", &[least, keys]))
        }
        Sees::Positions { least, .. } => {
            let least = e.dim(least);
            let t = &mut e.text;
            let least = t.resize(least, Ty::I32, true);
            (keys, t.op("arith.minsi", &[least, keys]))
        }
    };
    let t = &mut e.text;
    let zero = t.i32(0);
    let [visible, full] = [visible, full].map(|v| t.op("arith.maxsi", &[v, zero]));
    // No rows, no steps.
    let any = t.cmpi("sgt", rows, zero);
    let [visible, full] = [visible, full].map(|v| t.select(any, v, zero));
    let above = t.with("arith.addi", visible, step - 1);
    (t.with("arith.divui", above, step), t.with("arith.divui", full, step))
}
