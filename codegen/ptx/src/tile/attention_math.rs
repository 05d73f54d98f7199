//! Scores, weights and their product with values, in a warp's registers.

use super::Effect;
use super::attention::{State, Tile};
use crate::text::{Text, Ty, V};
use cascata_ir::kernel::Sees;

/// Weights of a step, and what they change.
pub(super) struct Weighed {
    /// In the places of the scores.
    pub weights: Vec<V>,
    /// With the new maximum and sum, and the output as it was.
    pub state: State,
    /// What the output is to be multiplied with, by row tile and half.
    pub factors: Vec<V>,
    /// Whether a row of this lane has a new maximum.
    pub changed: V,
}

/// Lanes that have a part of the same row, by the distance of their exchanges.
const QUAD: [i64; 2] = [1, 2];

impl Tile<'_, '_> {
    fn load_matrices(&mut self, lane: V, behind: u32, transposed: bool) -> Vec<V> {
        let trans = if transposed { ".trans" } else { "" };
        let code = format!(
            "ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{$0, $1, $2, $3}}, [$4+{behind}];"
        );
        self.t().asm(&code, &[Ty::I32; 4], &[lane], Effect::Memory)
    }

    /// `sums += a · b`, 16×8 += 16×16 · 16×8.
    fn multiply(&mut self, sums: &mut [V], a: &[V], b: &[V]) {
        let half = self.s.half;
        let code = format!(
            "mma.sync.aligned.m16n8k16.row.col.f32.{half}.{half}.f32 {{$0, $1, $2, $3}}, \
             {{$4, $5, $6, $7}}, {{$8, $9}}, {{$10, $11, $12, $13}};"
        );
        let operands = [a, b, &*sums].concat();
        let results = self.t().asm(&code, &[Ty::F32; 4], &operands, Effect::None);
        sums.copy_from_slice(&results);
    }

    /// A lane's addresses in the first four pairs of 16-byte columns; the next four lie 128
    /// bytes behind them. Rows are whole multiples of 128 bytes, so that the number of the
    /// pair changes two bits.
    ///
    /// They are computed where they are used: as constants of a loop they would take registers
    /// that it needs.
    fn pairs(&mut self, lane: V) -> Vec<V> {
        let t = self.t();
        let lane = t.asm("mov.b32 $0, $1;", &[Ty::I32], &[lane], Effect::Memory)[0];
        (0..4).map(|pair| t.with("arith.xori", lane, 32 * pair)).collect()
    }

    /// As `pairs`, of a step in a ring.
    fn step_pairs(&mut self, lane: V, step: V) -> Vec<V> {
        let slot = self.slot_bytes(step);
        let lane = self.t().op("arith.addi", &[lane, slot]);
        self.pairs(lane)
    }

    /// The products of the warp's queries with the keys of a step, by row tile, eight keys,
    /// element.
    pub fn scores(&mut self, step: V) -> Vec<V> {
        let s = self.s;
        let keys = self.step_pairs(self.k_lane, step);
        let own = self.pairs(self.q_lane);
        let zero = self.t().float(Ty::F32, 0.0);
        let columns = (s.keys / 8) as usize;
        let mut scores = vec![zero; 4 * columns * s.row_tiles as usize];
        for pair in 0..s.dim / 16 {
            let (variant, far) = (pair as usize % 4, pair / 4 * 128);
            let lane = own[variant];
            let queries: Vec<Vec<V>> = (0..s.row_tiles)
                .map(|r| self.load_matrices(lane, far + r * 16 * s.pitch(), false))
                .collect();
            for sixteen in 0..s.keys / 16 {
                let b = self.load_matrices(keys[variant], far + sixteen * 16 * s.pitch(), false);
                for (r, a) in queries.iter().enumerate() {
                    for eight in 0..2 {
                        let at = 4 * (r * columns + 2 * sixteen as usize + eight);
                        self.multiply(&mut scores[at..at + 4], a, &b[2 * eight..2 * eight + 2]);
                    }
                }
            }
        }
        scores
    }

    /// `−∞` where a row does not see a key.
    pub fn masked(&mut self, step: V, scores: Vec<V>) -> Vec<V> {
        let (columns, keys) = ((self.s.keys / 8) as usize, i64::from(self.s.keys));
        let lane_col = self.lane_col;
        let first = self.t().with("arith.muli", step, keys);
        let first = self.t().op("arith.addi", &[first, lane_col]);
        let hidden = self.t().float(Ty::F32, f64::NEG_INFINITY);
        let mut all = scores;
        for row_half in 0..2 * self.s.row_tiles as usize {
            let seen = self.seen(row_half);
            let rest = self.t().op("arith.subi", &[seen, first]);
            for eight in 0..columns {
                for e in 0..2 {
                    let at = 4 * (row_half / 2 * columns + eight) + 2 * (row_half % 2) + e;
                    let t = self.t();
                    let key = t.i32((8 * eight + e) as i64);
                    let sees = t.cmpi("slt", key, rest);
                    all[at] = t.select(sees, all[at], hidden);
                }
            }
        }
        all
    }

    /// How many keys a row of this thread sees.
    fn seen(&mut self, row_half: usize) -> V {
        let keys = self.key_count;
        let group = i64::from(self.a.rows.group);
        let row = self.thread_row(row_half);
        match &self.a.sees {
            Sees::All => keys,
            Sees::UpTo { first } => {
                let first = self.e.dim(first);
                let t = self.t();
                let first = t.resize(first, Ty::I32, true);
                let token = if group > 1 { t.with("arith.divui", row, group) } else { row };
                let last = t.op("arith.addi", &[first, token]);
                let end = t.with("arith.addi", last, 1);
                t.op("arith.minsi", &[end, keys])
            }
            Sees::Positions { positions, first, .. } => {
                let (token, _, _) = self.row(row);
                let base = super::attention_copy::address(self.e, positions);
                let first = self.e.dim(first);
                let t = self.t();
                let first = t.resize(first, Ty::I32, true);
                let bytes = t.with("arith.muli", token, 4);
                let at = t.offset(base, bytes);
                let position = t.load(at, Ty::I32, true);
                let last = t.op("arith.subi", &[position, first]);
                let end = t.with("arith.addi", last, 1);
                t.op("arith.minsi", &[end, keys])
            }
        }
    }

    /// The tile's row that a thread has in a half of a row tile.
    pub fn thread_row(&mut self, row_half: usize) -> V {
        let (warp_row, lane_row) = (self.warp_row, self.lane_row);
        let row = self.t().op("arith.addi", &[warp_row, lane_row]);
        self.t().with("arith.addi", row, 8 * row_half as i64)
    }

    /// Scores become weights; maximum and sum take them in.
    pub fn weigh(&mut self, scores: Vec<V>, state: State) -> Weighed {
        let (columns, factor) = ((self.s.keys / 8) as usize, self.factor);
        let mut weights = scores;
        let (mut state, mut factors) = (state, vec![]);
        let mut changed = self.t().int(Ty::I1, 0);
        for row_half in 0..2 * self.s.row_tiles as usize {
            let places: Vec<usize> = (0..2 * columns)
                .map(|i| 4 * (row_half / 2 * columns + i / 2) + 2 * (row_half % 2) + i % 2)
                .collect();
            let before = state.max[row_half];
            let t = self.t();
            let largest = tree(t, "arith.maxnumf", places.iter().map(|p| weights[*p]).collect());
            let largest = quad(t, "arith.maxnumf", largest);
            let max = t.op("arith.maxnumf", &[before, largest]);
            // Nothing was seen yet: e^(−∞ − 0) = 0.
            let least = t.float(Ty::F32, f64::NEG_INFINITY);
            let none = t.cmpf("oeq", max, least);
            let zero = t.float(Ty::F32, 0.0);
            let base = t.select(none, zero, max);
            let scaled = t.op("arith.mulf", &[base, factor]);
            let minus = t.define(Ty::F32, format_args!("arith.negf {scaled} : f32"));
            for p in &places {
                weights[*p] = weight(t, weights[*p], factor, minus);
            }
            let sum = tree(t, "arith.addf", places.iter().map(|p| weights[*p]).collect());
            let factor_of_before = weight(t, before, factor, minus);
            state.sum[row_half] = t.intrinsic("fma", &[state.sum[row_half], factor_of_before, sum]);
            let differs = t.cmpf("une", max, before);
            changed = t.op("arith.ori", &[changed, differs]);
            state.max[row_half] = max;
            factors.push(factor_of_before);
        }
        Weighed { weights, state, factors, changed }
    }

    /// The output times its rows' factors, if some lane's maximum has changed.
    pub fn rescaled(&mut self, changed: V, factors: &[V], out: Vec<V>) -> Vec<V> {
        let columns = (self.s.dim / 8) as usize;
        let t = self.t();
        let all = t.i32(-1);
        let any = t.define(Ty::I1, format_args!("nvvm.vote.sync any {all}, {changed} -> i1"));
        t.changed_if(any, &out, |t| {
            let each = |(i, v): (usize, &V)| {
                let row_half = i / (4 * columns) * 2 + i % 4 / 2;
                t.op("arith.mulf", &[*v, factors[row_half]])
            };
            out.iter().enumerate().map(each).collect()
        })
    }

    /// Weights as a left operand: by row tile, 16 keys, register.
    pub fn packed(&mut self, weights: &[V]) -> Vec<V> {
        let code = format!("cvt.rn.{}x2.f32 $0, $1, $2;", self.s.half);
        let pairs = weights.chunks_exact(2);
        pairs.map(|p| self.e.text.asm(&code, &[Ty::I32], &[p[1], p[0]], Effect::None)[0]).collect()
    }

    /// Adds the weights' products with the values of a step.
    pub fn add_values(&mut self, step: V, weights: &[V], out: Vec<V>) -> Vec<V> {
        let s = self.s;
        let (lane, to_values) = (self.q_lane, self.to_values);
        let values = self.t().op("arith.addi", &[lane, to_values]);
        let values = self.step_pairs(values, step);
        let (sixteens, columns) = ((s.keys / 16) as usize, (s.dim / 8) as usize);
        let mut out = out;
        for sixteen in 0..sixteens {
            for pair in 0..s.dim / 16 {
                let behind = pair / 4 * 128 + sixteen as u32 * 16 * s.pitch();
                let b = self.load_matrices(values[pair as usize % 4], behind, true);
                for r in 0..s.row_tiles as usize {
                    let a = &weights[4 * (r * sixteens + sixteen)..][..4];
                    for eight in 0..2 {
                        let at = 4 * (r * columns + 2 * pair as usize + eight);
                        self.multiply(&mut out[at..at + 4], a, &b[2 * eight..2 * eight + 2]);
                    }
                }
            }
        }
        out
    }
}

/// `2^(x · factor + bias)`.
fn weight(t: &mut Text, x: V, factor: V, bias: V) -> V {
    let exponent = t.intrinsic("fma", &[x, factor, bias]);
    t.asm("ex2.approx.ftz.f32 $0, $1;", &[Ty::F32], &[exponent], Effect::None)[0]
}

/// Neighbours first: a short chain.
fn tree(t: &mut Text, op: &str, mut values: Vec<V>) -> V {
    while values.len() > 1 {
        values = values.chunks(2).map(|p| if p.len() == 2 { t.op(op, p) } else { p[0] }).collect();
    }
    values[0]
}

/// Over the four lanes that have parts of a row.
pub(super) fn quad(t: &mut Text, op: &str, value: V) -> V {
    let mut all = value;
    for distance in QUAD {
        let (mask, by, clamp) = (t.i32(-1), t.i32(distance), t.i32(31));
        let other = format!("nvvm.shfl.sync bfly {mask}, {all}, {by}, {clamp} : f32 -> f32");
        let other = t.define(Ty::F32, other);
        all = t.op(op, &[all, other]);
    }
    all
}
