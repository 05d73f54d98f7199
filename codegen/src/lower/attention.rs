//! Attention groups: `softmax(scale·q·kᵀ + mask)·v`, f32; see [`super::tile_attention`] for
//! those of 16-bit operands on a GPU.
//!
//! The 2-pass cascade of FuseMax (arXiv 2406.10491 §IV): per block of query rows the
//! scores of all keys stay in L2, the maximum is one pass over them, numerators and
//! denominator the second; the division is deferred to after ·v. kᵀ and v are packed
//! once per (batch, key head) by launches of their own and shared by all query rows and
//! heads. Bound by flops: 4·S·T·D per head. Error: that of f32 scores (D·2⁻²⁴ relative)
//! through exp.

use super::access::{binary, broadcast_index};
use super::body::{Body, dot};
use super::epilogue::replace;
use super::matmul::{View, pack_batches, view};
use super::nest::{Axis, estimate, nest};
use super::rows::inner_loop;
use super::{Group, LowerError, Lowering, Operand};
use cascata_ir::graph::{Node, ValueId};
use cascata_ir::kernel::{BufferId, Expr, Gemm, LoopKind, Place, RowReduce, Rows, Stmt};
use cascata_ir::op::{AttentionAttrs, BinaryOp, Op};
use cascata_types::{DType, Dim, PANEL_WIDTH, Scalar, SymbolId};

/// Query rows of a block: their scores of a few hundred keys stay in L2.
const BLOCK_ROWS: i64 = 64;
/// Below this many operations a tile is not worth another thread.
const PARALLEL_FLOPS: i64 = 100_000;

/// Queries in memory, packed kᵀ and v.
struct Operands {
    q: View,
    kt: Operand,
    vp: Operand,
}

/// Sizes of one attention.
pub(super) struct Sizes {
    pub batch: Dim,
    pub heads: Dim,
    pub key_heads: Dim,
    pub queries: Dim,
    pub keys: Dim,
    pub depth: Dim,
    pub value_depth: Dim,
}

impl Sizes {
    /// Operations of one query row.
    fn row_work(&self) -> Dim {
        self.keys.clone() * (self.depth.clone() + self.value_depth.clone()) * 2
    }

    /// All operations, as if every query saw every key.
    pub fn flops(&self) -> Dim {
        self.row_work() * self.batch.clone() * self.heads.clone() * self.queries.clone()
    }
}

pub(super) fn lower(lowering: &mut Lowering, group: &Group) -> Result<(), LowerError> {
    let node = lowering.graph.nodes[lowering.root(group)].clone();
    let Op::Attention(attrs) = &node.op else {
        return Err(lowering.error(lowering.root(group), "it is not an attention"));
    };
    let shape = |v: ValueId| lowering.graph.tensor(v).shape.clone();
    let (q, k, v) = (shape(node.inputs[0]), shape(node.inputs[1]), shape(node.inputs[2]));
    if lowering.graph.tensor(node.outputs[0]).dtype != DType::F32 {
        return Err(lowering.error(lowering.root(group), "only f32 attention is compiled"));
    }
    let sizes = Sizes {
        batch: q[0].clone(),
        heads: q[1].clone(),
        key_heads: k[1].clone(),
        queries: q[2].clone(),
        keys: k[2].clone(),
        depth: q[3].clone(),
        value_depth: v[3].clone(),
    };
    if super::tile_attention::lower(lowering, group, &node, attrs, &sizes)? {
        return Ok(());
    }
    let q_view = unit_columns(lowering, group, node.inputs[0], &q[..2])?;
    let k_view = stored(lowering, group, node.inputs[1], &k[..2])?;
    let v_view = stored(lowering, group, node.inputs[2], &k[..2])?;
    let transposed = View { rows: k_view.cols.clone(), cols: k_view.rows.clone(), ..k_view };
    let kt = pack_batches(lowering, group, &transposed, &k[..2], &sizes.depth, &sizes.keys)?;
    let vp = pack_batches(lowering, group, &v_view, &k[..2], &sizes.keys, &sizes.value_depth)?;
    attend(lowering, group, &node, attrs, &sizes, Operands { q: q_view, kt, vp })
}

/// The queries with contiguous rows, copied if they have none.
fn unit_columns(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
    batch: &[Dim],
) -> Result<View, LowerError> {
    let seen = view(lowering, group, v, batch)?;
    if seen.cols.is(1) && !seen.converted {
        Ok(seen)
    } else {
        super::matmul::materialise(lowering, group, v, batch)
    }
}

/// Matrices as they lie in memory, f32.
fn stored(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
    batch: &[Dim],
) -> Result<View, LowerError> {
    let seen = view(lowering, group, v, batch)?;
    if seen.converted { super::matmul::materialise(lowering, group, v, batch) } else { Ok(seen) }
}

fn round_up(d: &Dim) -> Dim {
    let width = Dim::from(PANEL_WIDTH as i64);
    d.ceil_div(&width) * width
}

fn attend(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    attrs: &AttentionAttrs,
    sizes: &Sizes,
    Operands { q, kt, vp }: Operands,
) -> Result<(), LowerError> {
    let name = super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let rows = sizes.queries.as_const().map_or(BLOCK_ROWS, |s| s.clamp(1, BLOCK_ROWS));
    let blocks = sizes.queries.ceil_div(&rows.into());
    let mut outer = Vec::new();
    for (hint, extent) in [("b", &sizes.batch), ("h", &sizes.heads), ("qb", &blocks)] {
        outer.push(Axis { var: body.index(hint, extent), extent: extent.clone() });
    }
    let [b, h, qb] = [0, 1, 2].map(|i| Dim::sym(outer[i].var));
    let row0 = qb * rows;
    let count = (sizes.queries.clone() - row0.clone()).minimum(&rows.into());
    let per_head = sizes.heads.floor_div(&sizes.key_heads);
    let head = b.clone() * sizes.key_heads.clone() + h.floor_div(&per_head);
    let (t, e) = (round_up(&sizes.keys), round_up(&sizes.value_depth));
    let scores = body.scratch("scores", DType::F32, t.clone() * rows);
    let out = body.scratch("out", DType::F32, e.clone() * rows);
    let inverse = body.scratch("inverse", DType::F32, rows.into());

    let q_from = q.base + dot(&[b.clone(), h.clone()], &q.batch) + row0.clone() * q.rows.clone();
    let q_rows = Rows::Strided {
        base: Place::new(body.input(q.operand), q_from),
        row_stride: q.rows,
        batch_stride: Dim::from(0),
    };
    let (kt, vp) = (body.input(kt), body.input(vp));
    let kt_at = Place::new(kt, head.clone() * t.clone() * sizes.depth.clone());
    let vp_at = Place::new(vp, head * sizes.keys.clone() * e.clone());
    let mut stmts =
        vec![product(q_rows, kt_at, Place::new(scores, 0), &t, &count, &sizes.keys, &sizes.depth)];
    let block = Softmax { attrs, sizes, row0: &row0, b: &b, h: &h, scores, inverse, pitch: &t };
    stmts.extend(block.rows(&mut body, node, &count)?);
    let (p, o) = (dense_rows(scores, &t), Place::new(out, 0));
    stmts.push(product(p, vp_at, o, &e, &count, &sizes.value_depth, &sizes.keys));
    let place = [b, h, row0, count];
    stmts.extend(store(&mut body, group, node, sizes, &place, (out, inverse, &e))?);

    body.flops = sizes.flops();
    let per_tile = estimate(&(sizes.row_work() * rows), &body.symbols);
    let (mut grid, mut head) = body.grid(&outer, 1);
    grid.min_tiles = (PARALLEL_FLOPS / per_tile.max(1)).max(1);
    head.extend(stmts);
    body.finish(&name, grid, head);
    Ok(())
}

/// Rows of a dense matrix in scratch.
fn dense_rows(buffer: BufferId, pitch: &Dim) -> Rows {
    Rows::Strided {
        base: Place::new(buffer, 0),
        row_stride: pitch.clone(),
        batch_stride: Dim::from(0),
    }
}

fn product(a: Rows, b: Place, c: Place, pitch: &Dim, m: &Dim, n: &Dim, k: &Dim) -> Stmt {
    Stmt::Gemm(Box::new(Gemm {
        a,
        a_zero: None,
        scales: None,
        b,
        b_panel_stride: k.clone() * PANEL_WIDTH as i64,
        b_batch_stride: Dim::from(0),
        c,
        c_row_stride: pitch.clone(),
        bias: None,
        m: m.clone(),
        n: n.clone(),
        k: k.clone(),
        k_last: k.clone(),
        batch: Dim::from(1),
        accumulate: false,
        clamp: (Scalar::f32(f32::NEG_INFINITY), Scalar::f32(f32::INFINITY)),
    }))
}

/// The two passes over a block of scores.
struct Softmax<'a> {
    attrs: &'a AttentionAttrs,
    sizes: &'a Sizes,
    row0: &'a Dim,
    b: &'a Dim,
    h: &'a Dim,
    scores: BufferId,
    inverse: BufferId,
    pitch: &'a Dim,
}

impl Softmax<'_> {
    fn rows(&self, body: &mut Body, node: &Node, count: &Dim) -> Result<Vec<Stmt>, LowerError> {
        let i = body.index("i", count);
        let start = Dim::sym(i) * self.pitch.clone();
        let mut stmts = self.scale_and_mask(body, node, i, &start)?;
        let n = self.sizes.keys.clone();
        let src = Place::new(self.scores, start);
        let max = body.local("max", DType::F32);
        stmts.push(Stmt::ReduceRow {
            local: max,
            op: RowReduce::Max,
            src: src.clone(),
            n: n.clone(),
        });
        let mut bias = Expr::Local(max);
        if self.attrs.zero_masked_rows {
            // A fully masked row: e^(−inf − 0) is 0 for every key.
            let none = binary(BinaryOp::Eq, bias.clone(), Expr::f32(f32::NEG_INFINITY));
            bias = none.select(Expr::f32(0.0), bias);
        }
        let sum = body.local("sum", DType::F32);
        stmts.push(Stmt::ExpSum { local: sum, dst: src.clone(), src, n, bias });
        let mut inverse = binary(BinaryOp::Div, Expr::f32(1.0), Expr::Local(sum));
        let no_keys = self.sizes.keys.bounds(&body.symbols).0 == 0;
        if self.attrs.zero_masked_rows || no_keys {
            let none = binary(BinaryOp::Eq, Expr::Local(sum), Expr::f32(0.0));
            inverse = none.select(Expr::f32(0.0), inverse);
        }
        stmts.push(Stmt::store(self.inverse, Dim::sym(i), inverse));
        Ok(vec![Stmt::serial(i, count.clone(), stmts)])
    }

    fn scale_and_mask(
        &self,
        body: &mut Body,
        node: &Node,
        i: SymbolId,
        start: &Dim,
    ) -> Result<Vec<Stmt>, LowerError> {
        let j = Axis { var: body.index("key", &self.sizes.keys), extent: self.sizes.keys.clone() };
        let at = start.clone() + Dim::sym(j.var);
        let query = self.row0.clone() + Dim::sym(i);
        let mut value = Expr::load(self.scores, at.clone());
        if self.attrs.scale != Scalar::f32(1.0) {
            value = binary(BinaryOp::Mul, value, Expr::Const(self.attrs.scale));
        }
        let masked = Expr::f32(f32::NEG_INFINITY);
        if let Some(mask) = node.inputs.get(3) {
            let full =
                [&self.sizes.batch, &self.sizes.heads, &self.sizes.queries, &self.sizes.keys];
            let full = full.map(Dim::clone);
            let idx = [self.b.clone(), self.h.clone(), query.clone(), Dim::sym(j.var)];
            let shape = body.shape(*mask);
            let lead = full.len() - shape.len();
            let from = broadcast_index(&shape, &full[lead..], &idx[lead..]);
            let x = body.value_at(*mask, &from)?;
            value = match body.graph.tensor(*mask).dtype {
                DType::Bool => x.select(value, masked.clone()),
                _ => binary(BinaryOp::Add, value, x),
            };
        }
        if self.attrs.causal {
            let last = query + self.sizes.keys.clone() - self.sizes.queries.clone();
            let seen = super::access::compare(BinaryOp::Le, Dim::sym(j.var), last);
            value = seen.select(value, masked);
        }
        let prelude = body.take_prelude();
        Ok(inner_loop(vec![j], prelude, vec![Stmt::store(self.scores, at, value)]))
    }
}

/// The way out: divides by the denominators, applies the rest of the group, stores.
fn store(
    body: &mut Body,
    group: &Group,
    node: &Node,
    sizes: &Sizes,
    [b, h, row0, count]: &[Dim; 4],
    (out, inverse, pitch): (BufferId, BufferId, &Dim),
) -> Result<Vec<Stmt>, LowerError> {
    let shape = [&sizes.batch, &sizes.heads, &sizes.queries, &sizes.value_depth].map(Dim::clone);
    let axes = body.axes(&shape);
    let idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    let row = idx[2].clone() - row0.clone();
    let numerator = Expr::load(out, row.clone() * pitch.clone() + idx[3].clone());
    let value = binary(BinaryOp::Mul, numerator, Expr::load(inverse, row));
    let vars: Vec<SymbolId> = axes.iter().map(|a| a.var).collect();
    body.know(node.outputs[0], &vars, value);
    let (last, store) = body.store_strides(body.results()[0]);
    if body.graph.tensor(last).rank() != 4 {
        return Err(body.error("the epilogue changes the shape before its last op"));
    }
    let value = body.value_at(last, &idx)?;
    let buffer = body.output(Operand::Value(group.outputs[0]));
    let mut prelude = body.take_prelude();
    let mut inner = vec![Stmt::store(buffer, dot(&idx, &store), value)];
    let i = body.index("i", count);
    let at = [b.clone(), h.clone(), row0.clone() + Dim::sym(i)];
    for (axis, with) in axes.iter().zip(&at) {
        replace(&mut prelude, &mut inner, axis.var, with);
    }
    let rows = Axis { var: i, extent: count.clone() };
    let loops = vec![(rows, LoopKind::Serial), (axes[3].clone(), LoopKind::Vector)];
    Ok(nest(loops, prelude, inner))
}
