//! What a tile's attention writes.

use super::attention::{State, Tile};
use super::attention_copy::address;
use super::attention_math::quad;
use crate::text::{Ty, V};
use cascata_ir::kernel::{Place, TileResult};
use cascata_types::Dim;

impl Tile<'_, '_> {
    /// Writes the rows that exist.
    pub fn write(&mut self, state: State) {
        for row_half in 0..2 * self.s.row_tiles as usize {
            let row = self.thread_row(row_half);
            let (token, head, exists) = self.row(row);
            let sum = quad(self.t(), "arith.addf", state.sum[row_half]);
            let columns = (self.s.dim / 8) as usize;
            let first = 4 * (row_half / 2 * columns) + 2 * (row_half % 2);
            let out: Vec<[V; 2]> = (0..columns)
                .map(|c| [state.out[first + 4 * c], state.out[first + 4 * c + 1]])
                .collect();
            let a = self.a;
            self.t().line(format_args!("scf.if {exists} {{"));
            match &a.result {
                TileResult::Output { out: place, token_stride, head_stride } => {
                    let token = self.strides(token, token_stride);
                    let head = self.strides(head, head_stride);
                    let at = self.t().op("arith.addi", &[token, head]);
                    self.write_output(place, at, sum, &out);
                }
                TileResult::State { max, sum: sums, out: place, token_states } => {
                    let number = self.state_number(row, token_states);
                    self.write_numbers((max, sums), number, state.max[row_half], sum);
                    let at = self.t().with("arith.muli", number, i64::from(a.head_dim));
                    self.write_row(place, at, &out);
                }
            }
            self.t().line("}");
        }
    }

    /// `n` strides, i64.
    fn strides(&mut self, n: V, stride: &Dim) -> V {
        let stride = self.e.dim(stride);
        let n = self.t().resize(n, Ty::I64, true);
        self.t().op("arith.muli", &[n, stride])
    }

    fn state_number(&mut self, row: V, token_states: &Dim) -> V {
        let group = i64::from(self.a.rows.group);
        let t = self.t();
        let (token, head) = (t.with("arith.divui", row, group), t.with("arith.remui", row, group));
        let token = self.strides(token, token_states);
        let head = self.t().resize(head, Ty::I64, false);
        self.t().op("arith.addi", &[token, head])
    }

    fn write_output(&mut self, place: &Place, at: V, sum: V, out: &[[V; 2]]) {
        let t = self.t();
        let (zero, one) = (t.float(Ty::F32, 0.0), t.float(Ty::F32, 1.0));
        let none = t.cmpf("oeq", sum, zero);
        let inverse = t.op("arith.divf", &[one, sum]);
        let inverse = t.select(none, zero, inverse);
        let out: Vec<[V; 2]> =
            out.iter().map(|p| p.map(|v| t.op("arith.mulf", &[v, inverse]))).collect();
        self.write_row(place, at, &out);
    }

    /// The thread's pairs of a row.
    fn write_row(&mut self, place: &Place, at: V, out: &[[V; 2]]) {
        let dtype = self.e.kernel.buffers[place.buffer].dtype;
        let size = dtype.stored_bytes() as i64;
        let base = address(self.e, place);
        let lane_col = self.lane_col;
        let t = self.t();
        let column = t.resize(lane_col, Ty::I64, false);
        let at = t.op("arith.addi", &[at, column]);
        let bytes = t.with("arith.muli", at, size);
        let at = t.offset(base, bytes);
        for (i, pair) in out.iter().enumerate() {
            t.store_pair(at, 8 * i * dtype.stored_bytes(), dtype, *pair);
        }
    }

    /// Maximum and sum of a state, by the first lane that has a part of the row.
    fn write_numbers(&mut self, places: (&Place, &Place), number: V, max: V, sum: V) {
        let scale = self.a.scale;
        let (max_at, sum_at) = (address(self.e, places.0), address(self.e, places.1));
        let lane_col = self.lane_col;
        let t = self.t();
        let scale = t.float(Ty::F32, scale.to_f64());
        let max = t.op("arith.mulf", &[max, scale]);
        let zero = t.i32(0);
        let first = t.cmpi("eq", lane_col, zero);
        let bytes = t.with("arith.muli", number, 4);
        t.line(format_args!("scf.if {first} {{"));
        for (base, value) in [(max_at, max), (sum_at, sum)] {
            let at = t.offset(base, bytes);
            t.store(value, at);
        }
        t.line("}");
    }
}
