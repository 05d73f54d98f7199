//! Attention by tiles of rows: prompts, and rows that share prefixes.
//!
//! * [`Prompt`]: `q[B,Tq,H,D]`, `k, v [B,Tk,G,D]` → `out[B,Tq,H,D]`; the queries are the last
//!   `Tq` of `Tk` positions. A block has a tile of one head's rows; the tiles with the most
//!   keys come first. Bound by flops: `4·D` for each pair of a row and a key that it sees.
//! * [`Forest::partial`] and [`Forest::merge`]: the work list of a step (`runtime/kv`) over a
//!   paged cache `[blocks,G,tokens,D]`. Each item is attention of some rows over some keys,
//!   which no other item reads (Hydragen, arXiv 2402.05099, §3): its states `(m, l, o)` in
//!   f32 are merged from left to right by position. Items of many rows are bound by flops,
//!   items of one row by bytes: `4·D` for each of their keys and key heads (16-bit numbers).
//!
//! Errors against f64: weights are rounded to the values' dtype, results once more; the sums
//! are in f32.

use cascata_ir::kernel::{
    BlockTable, BufferId, Expr, Kernel, KernelBuilder, Place, Sees, Stmt, TileAttention, TileKeys,
    TileResult, TileRows, TileSchedule,
};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar, SymbolId, SymbolTable};

/// Sizes that all kernels of an attention share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Query heads, a multiple of the key heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Numbers of a head.
    pub head_dim: u32,
    /// Of queries, keys, values and the result.
    pub dtype: DType,
    /// Factor of all scores.
    pub scale: f32,
}

/// Attention over the keys of the same prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prompt {
    /// Sizes.
    pub heads: Heads,
    /// A row sees the keys up to its own position.
    pub causal: bool,
    /// How a block computes a tile.
    pub schedule: TileSchedule,
}

/// Attention of a step's rows over a paged cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forest {
    /// Sizes.
    pub heads: Heads,
    /// Keys of a block of the cache, a power of two.
    pub block_tokens: u32,
}

/// Numbers of an item of work, as they lie in the items' buffer.
///
/// 0: position of the first key; 1: keys; 2: its first entry in the blocks' buffer; 3: its
/// first entry in the rows' buffer; 4: rows, at most the tile's rows by the heads that share
/// a key head; 5: its first state; 6: keys that every row sees.
pub const ITEM_FIELDS: i64 = 7;

/// A tile of few rows: one warp, so that the GPU has many of them to read memory for.
pub const NARROW: TileSchedule =
    TileSchedule { rows: 16, keys: 64, warps: 1, stages: 2, ahead: false, wgmma: false };

/// A tile of many rows: of those of 64 rows without spilled registers the one that was fastest
/// on an H200 (causal prompts of 4,096 to 16,384 tokens, `tests/reports/`).
///
/// As many rows with `wgmma` as without: a kernel is cut for all targets alike, see
/// [`by_wgmma`]. Larger tiles without spilled registers were at most 4 % faster.
pub fn wide(head_dim: u32, wgmma: bool) -> TileSchedule {
    let base = TileSchedule { rows: 64, keys: 64, warps: 4, stages: 2, ahead: true, wgmma };
    match (wgmma, head_dim) {
        (true, ..=64) => TileSchedule { keys: 128, ..base },
        (true, _) => TileSchedule { stages: 3, ..base },
        (false, ..=64) => TileSchedule { ahead: false, ..base },
        (false, _) => base,
    }
}

/// The same kernel by `wgmma`; `None` where nothing in it is [`wide`] attention.
pub fn by_wgmma(kernel: &Kernel) -> Option<Kernel> {
    let (mut new, mut changed) = (kernel.clone(), false);
    for stmt in &mut new.body {
        if let Stmt::TileAttention(a) = stmt
            && a.schedule == wide(a.head_dim, false)
        {
            a.schedule = wide(a.head_dim, true);
            changed = true;
        }
    }
    changed.then_some(new)
}

/// More than any cache holds.
const MANY: i64 = 1 << 30;

impl Prompt {
    /// The kernel; its parameters are `B`, `Tq`, `Tk`.
    pub fn kernel(&self, name: &str) -> Kernel {
        let Heads { heads, kv_heads, head_dim, dtype, scale } = self.heads;
        let (h, g, d) = (i64::from(heads), i64::from(kv_heads), i64::from(head_dim));
        let mut symbols = SymbolTable::default();
        let [b, tq, tk] = ["B", "Tq", "Tk"].map(|s| Dim::sym(symbols.intern(s)));
        let mut k = KernelBuilder::new(name, symbols);
        let queries = b.clone() * tq.clone() * (h * d);
        let keys = b.clone() * tk.clone() * (g * d);
        let q = k.input("q", dtype, queries.clone());
        let [key, value] = ["k", "v"].map(|n| k.input(n, dtype, keys.clone()));
        let out = k.output("out", dtype, queries);
        let tile = k.tile("tile");
        let rows = i64::from(self.schedule.rows);
        let row_tiles = tq.ceil_div(&rows.into());
        // Late rows see the most keys: they start first.
        let pairs = b.clone() * h;
        let row_tile = row_tiles.clone() - 1 - Dim::sym(tile).floor_div(&pairs);
        let pair = Dim::sym(tile).modulo(&pairs);
        let (batch, head) = (pair.floor_div(&h.into()), pair.modulo(&h.into()));
        let first_row = row_tile * rows;
        let at = (batch.clone() * tq.clone() + first_row.clone()) * (h * d) + head.clone() * d;
        let key_at = batch * tk.clone() * (g * d) + head.floor_div(&(h / g).into()) * d;
        let sees = match self.causal {
            true => Sees::UpTo { first: tk.clone() - tq.clone() + first_row.clone() },
            false => Sees::All,
        };
        let attention = TileAttention {
            q: Place::new(q, at.clone()),
            k: Place::new(key, key_at.clone()),
            v: Place::new(value, key_at),
            rows: TileRows {
                count: (tq - first_row).minimum(&rows.into()),
                group: 1,
                index: None,
                token_stride: (h * d).into(),
                head_stride: 0.into(),
            },
            keys: TileKeys { count: tk, stride: (g * d).into(), table: None },
            sees,
            scale: Scalar::f32(scale),
            head_dim,
            result: TileResult::Output {
                out: Place::new(out, at),
                token_stride: (h * d).into(),
                head_stride: 0.into(),
            },
            schedule: self.schedule,
        };
        k.finish(pairs * row_tiles, tile, vec![Stmt::TileAttention(Box::new(attention))])
    }
}

impl Forest {
    /// States of the items: parameters are items, rows, entries in the blocks' and in the
    /// rows' buffers, the cache's blocks, and tokens of states.
    pub fn partial(&self, name: &str, schedule: TileSchedule) -> Kernel {
        let Heads { heads, kv_heads, head_dim, dtype, scale } = self.heads;
        let (h, g, d) = (i64::from(heads), i64::from(kv_heads), i64::from(head_dim));
        let group = h / g;
        let tokens = i64::from(self.block_tokens);
        let mut symbols = SymbolTable::default();
        let params = ["items", "rows", "entries", "row_entries", "cache", "states"];
        let [items, rows, entries, row_entries, cache, states] =
            params.map(|s| Dim::sym(symbols.intern(s)));
        let mut k = KernelBuilder::new(name, symbols);
        let q = k.input("q", dtype, rows.clone() * (h * d));
        let [key, value] = ["k", "v"].map(|n| k.input(n, dtype, cache.clone() * (g * tokens * d)));
        let work = k.input("work", DType::I32, items.clone() * ITEM_FIELDS);
        let blocks = k.input("blocks", DType::I32, entries);
        let row_list = k.input("row_list", DType::I32, row_entries);
        let positions = k.input("positions", DType::I32, rows);
        let [max, sum] = ["max", "sum"].map(|n| k.output(n, DType::F32, states.clone() * h));
        let out = k.output("out", DType::F32, states * (h * d));
        let tile = k.tile("tile");
        let (item, head) = (Dim::sym(tile).floor_div(&g.into()), Dim::sym(tile).modulo(&g.into()));
        let (mut body, fields) = item_fields(&mut k, work, item);
        let [first, count, block, row, row_count, state, least] = fields.map(Dim::sym);
        let key_at = head.clone() * (tokens * d);
        let first_state = state * h + head.clone() * group;
        body.push(Stmt::TileAttention(Box::new(TileAttention {
            q: Place::new(q, head * (group * d)),
            k: Place::new(key, key_at.clone()),
            v: Place::new(value, key_at),
            rows: TileRows {
                count: row_count * group,
                group: group as u32,
                index: Some(Place::new(row_list, row)),
                token_stride: (h * d).into(),
                head_stride: d.into(),
            },
            keys: TileKeys {
                count,
                stride: d.into(),
                table: Some(BlockTable {
                    blocks: Place::new(blocks, block),
                    tokens: self.block_tokens,
                    block_stride: (g * tokens * d).into(),
                }),
            },
            sees: Sees::Positions { positions: Place::new(positions, 0), first, least },
            scale: Scalar::f32(scale),
            head_dim,
            result: TileResult::State {
                max: Place::new(max, first_state.clone()),
                sum: Place::new(sum, first_state.clone()),
                out: Place::new(out, first_state * d),
                token_states: h.into(),
            },
            schedule,
        })));
        k.finish(items * g, tile, body)
    }

    /// Merges states into the result: row `r` has states `parts[starts[r] .. starts[r + 1]]`,
    /// from left to right. Parameters are rows, parts, and tokens of states.
    pub fn merge(&self, name: &str) -> Kernel {
        let Heads { heads, head_dim, dtype, .. } = self.heads;
        let (h, d) = (i64::from(heads), i64::from(head_dim));
        let mut symbols = SymbolTable::default();
        let [rows, entries, states] =
            ["rows", "entries", "states"].map(|s| Dim::sym(symbols.intern(s)));
        let mut k = KernelBuilder::new(name, symbols);
        let [max, sum] = ["max", "sum"].map(|n| k.input(n, DType::F32, states.clone() * h));
        let out = k.input("out", DType::F32, states * (h * d));
        let starts = k.input("starts", DType::I32, rows.clone() + 1);
        let parts = k.input("parts", DType::I32, entries);
        let result = k.output("result", dtype, rows.clone() * (h * d));
        let tile = k.tile("tile");
        let (row, head) = (Dim::sym(tile).floor_div(&h.into()), Dim::sym(tile).modulo(&h.into()));
        let [first, end, part] = ["first", "end", "part"].map(|n| k.var(n, 0, MANY));
        let (i, lane) = (k.var("i", 0, MANY), k.var("lane", 0, d - 1));
        let [m, l, o, to, a, b] = ["m", "l", "o", "to", "a", "b"].map(|n| k.local(n, DType::F32));
        let bind = |symbol: SymbolId, buffer, at: Dim| {
            Stmt::bind(symbol, Expr::load(buffer, at).cast(DType::I64))
        };
        let at = Dim::sym(part) * h + head.clone();
        let (part_max, part_sum) = (Expr::load(max, at.clone()), Expr::load(sum, at.clone()));
        let part_out = Expr::load(out, at * d + Dim::sym(lane));
        // −∞ − −∞ has no number: a state over no keys has the factor 0.
        let factor = |of: Expr| {
            let none = of.clone().equals(Expr::f32(f32::NEG_INFINITY));
            none.select(Expr::f32(0.0), (of - to.into()).unary(UnaryOp::Exp))
        };
        let merge = vec![
            bind(part, parts, Dim::sym(first) + Dim::sym(i)),
            Stmt::declare(to, part_max.clone().max(m.into())),
            Stmt::declare(a, factor(m.into())),
            Stmt::declare(b, factor(part_max)),
            Stmt::assign(l, Expr::from(l) * a.into() + part_sum * b.into()),
            Stmt::assign(o, Expr::from(o) * a.into() + part_out * b.into()),
            Stmt::assign(m, to.into()),
        ];
        let none = Expr::from(l).equals(Expr::f32(0.0));
        let quotient = none.select(Expr::f32(0.0), Expr::from(o).binary(BinaryOp::Div, l.into()));
        let thread = vec![
            Stmt::declare(m, Expr::f32(f32::NEG_INFINITY)),
            Stmt::declare(l, Expr::f32(0.0)),
            Stmt::declare(o, Expr::f32(0.0)),
            Stmt::serial(i, Dim::sym(end) - Dim::sym(first), merge),
            Stmt::store(
                result,
                Dim::sym(tile) * d + Dim::sym(lane),
                if dtype == DType::F32 { quotient } else { quotient.cast(dtype) },
            ),
        ];
        let body = vec![
            bind(first, starts, row.clone()),
            bind(end, starts, row + 1),
            Stmt::threads(lane, d, thread),
        ];
        k.finish(rows * h, tile, body)
    }
}

/// Statements that read an item's numbers, and the symbols that they give values to.
fn item_fields(
    k: &mut KernelBuilder,
    work: BufferId,
    item: Dim,
) -> (Vec<Stmt>, [SymbolId; ITEM_FIELDS as usize]) {
    let names = ["first", "keys", "block", "row", "count", "state", "least"];
    let fields = names.map(|n| k.var(n, 0, MANY));
    let bind = |(i, field)| {
        let at = item.clone() * ITEM_FIELDS + i;
        Stmt::bind(field, Expr::load(work, at).cast(DType::I64))
    };
    ((0i64..).zip(fields).map(bind).collect(), fields)
}
