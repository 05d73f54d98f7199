//! Queries, keys and values on their way into shared memory, 16 bytes a thread and copy.
//!
//! The columns of a row, 16 bytes each, are swapped by the lowest three bits of the row's
//! number: see [`super::attention`]'s reads. Rows that do not exist become zeros.

use super::attention::{Shape, Tile};
use super::{Effect, ROW};
use crate::emit::Emit;
use crate::text::{Text, Ty, V};
use cascata_ir::kernel::{BlockTable, Place, TileAttention};
use cascata_types::Dim;

/// What a thread copies.
pub(super) struct Copy {
    /// Its row in a pass, and its column's first byte in global memory.
    row: V,
    column_bytes: V,
    /// Its place among queries and in a step for a pass that starts at a row of these lowest
    /// three bits.
    to: Vec<(u32, [V; 2])>,
    /// Key 0 and value 0 in global memory, at the thread's column; without a block table at
    /// its row.
    k_from: V,
    v_from: V,
    /// Bytes between keys.
    stride: Stride,
    /// Bytes between blocks, and the first block's number.
    blocks: Option<(V, V)>,
}

#[derive(Clone, Copy)]
enum Stride {
    Number(i64),
    Value(V),
}

impl Stride {
    fn new(e: &mut Emit<'_>, elements: &Dim) -> Self {
        match elements.as_const() {
            Some(n) => Stride::Number(2 * n),
            None => Stride::Value(e.dim(&(elements.clone() * 2))),
        }
    }

    /// `n` strides, i64.
    fn times(self, t: &mut Text, n: V) -> V {
        let n = t.resize(n, Ty::I64, true);
        match self {
            Stride::Number(bytes) => t.with("arith.muli", n, bytes),
            Stride::Value(bytes) => t.op("arith.muli", &[n, bytes]),
        }
    }
}

/// The address of a place of half floats or i32.
pub(super) fn address(e: &mut Emit<'_>, place: &Place) -> V {
    let size = e.kernel.buffers[place.buffer].dtype.stored_bytes() as i64;
    let bytes = e.dim(&(place.at.clone() * size));
    let Some(base) = e.bases.get(&place.buffer).copied() else {
        e.problem(format!("'{}' has no memory", e.kernel.buffers[place.buffer].name));
        return e.text.fresh(Ty::Global);
    };
    if base.ty != Ty::Global {
        e.problem(format!("'{}' is not in global memory", e.kernel.buffers[place.buffer].name));
    }
    e.text.offset(base, bytes)
}

impl Copy {
    pub fn new(e: &mut Emit<'_>, a: &TileAttention, s: Shape, shared: V) -> Self {
        let columns = i64::from(s.dim / 8);
        let tid = e.tid;
        let t = &mut e.text;
        let row = t.with("arith.divui", tid, columns);
        let column = t.with("arith.andi", tid, columns - 1);
        let column_bytes = t.with("arith.shli", column, 4);
        let to = (0..8)
            .step_by(s.pass_rows().min(8) as usize)
            .map(|first| {
                let to = [s.rows, s.keys];
                (first, to.map(|n| shared_place(t, s, shared, (row, column), (n, first))))
            })
            .collect();
        let stride = Stride::new(e, &a.keys.stride);
        let blocks = a
            .keys
            .table
            .as_ref()
            .map(|table| (e.dim(&(table.block_stride.clone() * 2)), address(e, &table.blocks)));
        let [k_from, v_from] = [&a.k, &a.v].map(|place| {
            let base = address(e, place);
            let at_column = e.text.offset(base, column_bytes);
            if blocks.is_some() {
                return at_column;
            }
            let rows = stride.times(&mut e.text, row);
            e.text.offset(at_column, rows)
        });
        Copy { row, column_bytes, to, k_from, v_from, stride, blocks }
    }

    /// Where a pass that starts at `first` of the queries (0) or of a step (1) goes: address and
    /// bytes behind it.
    fn place(&self, s: Shape, of: usize, first: u32) -> (V, u32) {
        let bits = first % 8;
        let to = self.to.iter().find(|(b, _)| *b == bits).map_or(self.to[0].1, |(_, v)| *v);
        (to[of], first * if s.wgmma { ROW } else { s.pitch() })
    }
}

/// The thread's place in rows `first ..` of a matrix of `rows` at `shared`, without the bytes
/// of the rows before.
fn shared_place(
    t: &mut Text,
    s: Shape,
    shared: V,
    (row, column): (V, V),
    (rows, first): (u32, u32),
) -> V {
    let mut at = shared;
    let (mut pitch, mut column) = (s.pitch(), column);
    if s.wgmma {
        // Halves of columns lie one behind the other.
        let half = t.with("arith.shrui", column, 3);
        let half = t.with("arith.muli", half, i64::from(rows * ROW));
        at = t.op("arith.addi", &[at, half]);
        (pitch, column) = (ROW, t.with("arith.andi", column, 7));
    }
    let bits = t.with("arith.addi", row, i64::from(first));
    let bits = t.with("arith.andi", bits, 7);
    let swapped = t.op("arith.xori", &[column, bits]);
    let bytes = t.with("arith.shli", swapped, 4);
    let row_bytes = t.with("arith.muli", row, i64::from(pitch));
    let inside = t.op("arith.addi", &[row_bytes, bytes]);
    t.op("arith.addi", &[at, inside])
}

/// Where a thread's part of the next pass comes from.
struct Sources {
    /// Bytes behind the key's or value's base, i64.
    bytes: Vec<V>,
    /// 16, or 0 for a key that does not exist.
    sizes: Vec<V>,
}

impl Tile<'_, '_> {
    fn start_copy(&mut self, to: V, behind: u32, from: V, size: V) {
        let code = format!("cp.async.cg.shared.global.L2::128B [$0+{behind}], [$1], 16, $2;");
        self.t().asm(&code, &[], &[to, from, size], Effect::Memory);
    }

    /// Starts the copies of all queries of the tile.
    pub fn copy_queries(&mut self) {
        let (s, a) = (self.s, self.a);
        let base = address(self.e, &a.q);
        let (column, row) = (self.copy.column_bytes, self.copy.row);
        let base = self.t().offset(base, column);
        let tokens = Stride::new(self.e, &a.rows.token_stride);
        let heads = Stride::new(self.e, &a.rows.head_stride);
        for first in (0..s.rows).step_by(s.pass_rows() as usize) {
            let r = self.t().with("arith.addi", row, i64::from(first));
            let (token, head, exists) = self.row(r);
            let token_bytes = tokens.times(self.t(), token);
            let head_bytes = heads.times(self.t(), head);
            let t = self.t();
            let bytes = t.op("arith.addi", &[token_bytes, head_bytes]);
            let from = t.offset(base, bytes);
            let (sixteen, zero) = (t.i32(16), t.i32(0));
            let size = t.select(exists, sixteen, zero);
            let (to, behind) = self.copy.place(s, 0, first);
            self.start_copy(to, behind, from, size);
        }
    }

    /// A row's token as numbered by the index, its head, and whether it exists. Those of a
    /// row that does not exist are the last row's.
    pub fn row(&mut self, row: V) -> (V, V, V) {
        let group = i64::from(self.a.rows.group);
        let (count, index) = (self.row_count, self.a.rows.index.as_ref());
        let t = self.t();
        let exists = t.cmpi("slt", row, count);
        let last = t.with("arith.addi", count, -1);
        let row = t.op("arith.minsi", &[row, last]);
        // Of a tile without rows.
        let zero = t.i32(0);
        let row = t.op("arith.maxsi", &[row, zero]);
        let (mut token, mut head) = (row, zero);
        if group > 1 {
            (token, head) = (t.with("arith.divui", row, group), t.with("arith.remui", row, group));
        }
        if let Some(index) = index {
            let base = address(self.e, index);
            let t = self.t();
            let bytes = t.with("arith.muli", token, 4);
            let at = t.offset(base, bytes);
            // The first row of no rows may have no index.
            let any = t.cmpi("sgt", count, zero);
            token = t.changed_if(any, &[zero], |t| vec![t.load(at, Ty::I32, true)])[0];
        }
        (token, head, exists)
    }

    /// Starts the copies of a step of keys and of a step of values as one group; of steps
    /// that do not exist there is nothing to copy, and the group is empty.
    pub fn copy_step(&mut self, keys: Option<V>, values: Option<V>) {
        let (from, to) = (self.copy.k_from, self.s.keys_at());
        if let Some(step) = keys {
            self.copy_matrix(step, from, to);
        }
        let (from, to) = (self.copy.v_from, self.s.values_at());
        if let Some(step) = values {
            self.copy_matrix(step, from, to);
        }
        self.t().asm("cp.async.commit_group;", &[], &[], Effect::Memory);
    }

    fn copy_matrix(&mut self, step: V, from: V, region: u32) {
        let steps = self.steps;
        let exists = self.t().cmpi("slt", step, steps);
        self.t().line(format_args!("scf.if {exists} {{"));
        let slot = self.slot_bytes(step);
        let sources = self.sources(step);
        for (i, first) in (0..self.s.keys).step_by(self.s.pass_rows() as usize).enumerate() {
            let (to, behind) = self.copy.place(self.s, 1, first);
            let t = self.t();
            let to = t.op("arith.addi", &[to, slot]);
            let from = t.offset(from, sources.bytes[i]);
            self.start_copy(to, region + behind, from, sources.sizes[i]);
        }
        self.t().line("}");
    }

    /// Bytes of the ring before a step.
    pub fn slot_bytes(&mut self, step: V) -> V {
        let (stages, bytes) = (i64::from(self.s.stages), i64::from(self.s.step_bytes()));
        let slot = self.t().with("arith.remui", step, stages);
        self.t().with("arith.muli", slot, bytes)
    }

    fn sources(&mut self, step: V) -> Sources {
        let (s, row, count) = (self.s, self.copy.row, self.key_count);
        let t = self.t();
        let first_key = t.with("arith.muli", step, i64::from(s.keys));
        let own_key = t.op("arith.addi", &[first_key, row]);
        let rest = t.op("arith.subi", &[count, own_key]);
        let (sixteen, zero) = (t.i32(16), t.i32(0));
        let (mut keys, mut sizes) = (vec![], vec![]);
        for first in (0..s.keys).step_by(s.pass_rows() as usize) {
            let before = t.i32(i64::from(first));
            let exists = t.cmpi("sgt", rest, before);
            sizes.push(t.select(exists, sixteen, zero));
            keys.push((first, t.op("arith.addi", &[own_key, before])));
        }
        let bytes = match &self.a.keys.table {
            None => self.strided(first_key, &keys),
            Some(table) => self.paged(table, &keys),
        };
        Sources { bytes, sizes }
    }

    /// The thread's row is in the bases.
    fn strided(&mut self, first_key: V, keys: &[(u32, V)]) -> Vec<V> {
        let stride = self.copy.stride;
        let t = self.t();
        let mut at = stride.times(t, first_key);
        let mut bytes = vec![];
        let passes = t.i32(i64::from(keys.get(1).map_or(0, |k| k.0)));
        let pass = stride.times(t, passes);
        for _ in keys {
            bytes.push(at);
            at = t.op("arith.addi", &[at, pass]);
        }
        bytes
    }

    fn paged(&mut self, table: &BlockTable, keys: &[(u32, V)]) -> Vec<V> {
        let (s, stride, count) = (self.s, self.copy.stride, self.key_count);
        let Some((block_bytes, blocks)) = self.copy.blocks else { return vec![] };
        let (tokens, shift) = (table.tokens, i64::from(table.tokens.trailing_zeros()));
        // All threads of a pass read one block, and so may the next pass.
        let aligned = tokens.is_multiple_of(s.pass_rows())
            && (tokens.is_multiple_of(s.keys) || s.keys.is_multiple_of(tokens));
        let last = self.t().with("arith.addi", count, -1);
        let mut block: Option<(u32, V)> = None;
        let mut bytes = vec![];
        for &(first, key) in keys {
            let t = self.t();
            let base = match block {
                Some((number, base)) if aligned && number == first / tokens => base,
                _ => {
                    // The table ends where the keys do.
                    let inside = t.op("arith.minsi", &[key, last]);
                    let number = t.with("arith.shrui", inside, shift);
                    let at = t.with("arith.muli", number, 4);
                    let at = t.offset(blocks, at);
                    let number = t.load(at, Ty::I32, true);
                    let number = t.resize(number, Ty::I64, true);
                    t.op("arith.muli", &[number, block_bytes])
                }
            };
            block = Some((first / tokens, base));
            let t = self.t();
            let in_block = t.with("arith.andi", key, i64::from(tokens) - 1);
            let behind = stride.times(t, in_block);
            bytes.push(t.op("arith.addi", &[base, behind]));
        }
        bytes
    }
}
