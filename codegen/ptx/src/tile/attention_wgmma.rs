//! The same tiles by `wgmma` (sm_90a): four warps multiply 64 rows, with keys and values where
//! they lie in shared memory.
//!
//! Scores of step `j + 1` and the product of step `j` are under way together; the weights of
//! step `j + 1` are computed beside the product (the schedule of FlashAttention-3,
//! arXiv 2407.08608, §3.2, without its roles for warps). A warp's part of the accumulators
//! lies in its registers as that of `mma.sync` does, so everything else is the same.

use super::ROW;
use super::attention::{Shape, State, Tile};
use crate::text::V;
use std::fmt::Write as _;

impl Tile<'_, '_> {
    /// Starts the product of the queries with the keys of a step, and adding the weights'
    /// product with the values of a step: scores and output, a group each.
    ///
    /// All in one piece: where anything else defines an operand between them, `ptxas` makes
    /// each product wait for the one before.
    fn start(&mut self, keys: Option<V>, values: Option<(V, &[V], &[V])>) -> (Vec<V>, Vec<V>) {
        let scores = if keys.is_some() { (self.s.keys / 2) as usize } else { 0 };
        let (out, weights) = values.map_or((&[][..], &[][..]), |(_, weights, out)| (out, weights));
        let mut code = Code::new(scores, out.len(), weights.len());
        let mut operands = weights.to_vec();
        if let Some(step) = keys {
            operands.extend(self.score_operands(step));
            code.scores(self.s);
        }
        if let Some((step, ..)) = values {
            operands.push(self.value_operand(step));
            code.values(self.s, operands.len() - 1);
        }
        let mut results = self.t().asm_in_place(&code.finish(), (scores, out), &operands);
        let sums = results.split_off(scores);
        (results, sums)
    }

    /// Descriptors of the warps' queries and of a step's keys.
    fn score_operands(&mut self, step: V) -> [V; 2] {
        let s = self.s;
        let slot = self.slot_bytes(step);
        let (base, warp_row) = (self.shared, self.warp_row);
        let t = self.t();
        let four_warps = t.with("arith.andi", warp_row, -64);
        let rows = t.with("arith.muli", four_warps, i64::from(ROW));
        let queries = t.op("arith.addi", &[base, rows]);
        let keys = t.with("arith.addi", base, i64::from(s.keys_at()));
        let keys = t.op("arith.addi", &[keys, slot]);
        // Of a product along rows the distance of column blocks is not read.
        [t.descriptor(queries, 16), t.descriptor(keys, 16)]
    }

    /// Descriptor of a step's values.
    fn value_operand(&mut self, step: V) -> V {
        let s = self.s;
        let slot = self.slot_bytes(step);
        let base = self.shared;
        let t = self.t();
        let values = t.with("arith.addi", base, i64::from(s.values_at()));
        let values = t.op("arith.addi", &[values, slot]);
        t.descriptor(values, s.keys * ROW)
    }

    /// Accumulators of all products but the last `groups`.
    fn settled(&mut self, groups: u32, sums: &[V]) -> Vec<V> {
        let code = format!("wgmma.wait_group.sync.aligned {groups};");
        self.t().asm_in_place(&code, (0, sums), &[])
    }

    /// All steps of keys.
    pub fn wgmma_steps(&mut self, state: State) -> State {
        let steps = self.steps;
        let zero = self.t().i32(0);
        let any = self.t().cmpi("sgt", steps, zero);
        let kept = state.clone();
        let end = self.conditional(any, &state.flat(), |tile| tile.some_steps(kept).flat());
        state.like(&end)
    }

    fn some_steps(&mut self, state: State) -> State {
        let (steps, full) = (self.steps, self.full_steps);
        self.wait(self.s.stages - 1);
        let first = self.t().i32(0);
        let (scores, _) = self.start(Some(first), None);
        let scores = self.settled(0, &scores);
        let scores = self.masked(first, scores);
        let weighed = self.weigh(scores, state);
        let carried = self.packed(&weighed.weights);
        let mut state = State { carried, ..weighed.state };
        let t = self.t();
        let last = t.with("arith.addi", steps, -1);
        let before_full = t.with("arith.addi", full, -1);
        let unmasked = t.op("arith.minsi", &[before_full, last]);
        let unmasked = t.op("arith.maxsi", &[unmasked, first]);
        state = self.step_loop((first, unmasked), state, |tile, step, state| {
            tile.wgmma_step(step, state, false)
        });
        state = self.step_loop((unmasked, last), state, |tile, step, state| {
            tile.wgmma_step(step, state, true)
        });
        self.wait(self.s.stages - 2);
        let (_, out) = self.start(None, Some((last, &state.carried, &state.out)));
        let out = self.settled(0, &out);
        State { out, carried: vec![], ..state }
    }

    /// The product of a step, and the weights of the next one.
    fn wgmma_step(&mut self, step: V, state: State, masked: bool) -> State {
        self.wait(self.s.stages - 2);
        self.copy_following(step);
        let next = self.t().with("arith.addi", step, 1);
        let (scores, out) = self.start(Some(next), Some((step, &state.carried, &state.out)));
        let scores = self.settled(1, &scores);
        let scores = if masked { self.masked(next, scores) } else { scores };
        let weighed = self.weigh(scores, State { carried: vec![], ..state });
        // The product reads the packed weights until then: the next ones come after it.
        let mut weights = self.settled(0, &[weighed.weights, out].concat());
        let out = weights.split_off((self.s.keys / 2) as usize);
        let carried = self.packed(&weights);
        let out = self.rescaled(weighed.changed, &weighed.factors, out);
        State { out, carried, ..weighed.state }
    }
}

/// The text of products under way together.
struct Code {
    /// Descriptors of all products, before the first of them.
    addresses: String,
    products: String,
    scores: usize,
    out: usize,
    /// The first operand behind the accumulators.
    others: usize,
    weights: usize,
}

impl Code {
    fn new(scores: usize, out: usize, weights: usize) -> Self {
        let (addresses, products) = (String::new(), String::new());
        Code { addresses, products, scores, out, others: scores + 2 * out, weights }
    }

    fn address(&mut self, name: &str, operand: usize, units: u32) {
        let _ = write!(
            self.addresses,
            ".reg .b64 {name}; add.s64 {name}, ${}, {units}; ",
            self.others + operand
        );
    }

    fn scores(&mut self, s: Shape) {
        let sums = numbered(0, self.scores);
        for pair in 0..s.dim / 16 {
            let behind = |rows: u32| (pair / 4 * rows * ROW + pair % 4 * 32) / 16;
            let (a, b) = (format!("wq{pair}"), format!("wk{pair}"));
            self.address(&a, self.weights, behind(s.rows));
            self.address(&b, self.weights + 1, behind(s.keys));
            let adds = if pair > 0 { "wtrue" } else { "wfalse" };
            let _ = write!(
                self.products,
                "wgmma.mma_async.sync.aligned.m64n{}k16.f32.{h}.{h} {{{sums}}}, {a}, {b}, {adds}, 1, 1, 0, 0; ",
                s.keys,
                h = s.half
            );
        }
        self.products += "wgmma.commit_group.sync.aligned; ";
    }

    fn values(&mut self, s: Shape, operand: usize) {
        let sums = numbered(self.scores, self.out);
        for sixteen in 0..s.keys / 16 {
            let b = format!("wv{sixteen}");
            self.address(&b, operand, sixteen * ROW);
            let weights = numbered(self.others + 4 * sixteen as usize, 4);
            let _ = write!(
                self.products,
                "wgmma.mma_async.sync.aligned.m64n{}k16.f32.{h}.{h} {{{sums}}}, {{{weights}}}, {b}, wtrue, 1, 1, 1; ",
                s.dim,
                h = s.half
            );
        }
        self.products += "wgmma.commit_group.sync.aligned; ";
    }

    fn finish(self) -> String {
        format!(
            "{{ .reg .b32 wzero; .reg .pred wtrue, wfalse; mov.b32 wzero, 0; \
             setp.eq.s32 wtrue, wzero, 0; setp.ne.s32 wfalse, wzero, 0; {} \
             wgmma.fence.sync.aligned; {} }}",
            self.addresses, self.products
        )
    }
}

/// `$from, …`.
fn numbered(from: usize, count: usize) -> String {
    (from..from + count).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ")
}
