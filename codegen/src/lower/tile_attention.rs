//! Attention groups of 16-bit queries, keys and values on a GPU's tensor cores.
//!
//! `widen` makes `f32` attention between casts of them; a group in which those casts have
//! stayed becomes one [`TileAttention`] per tile of a head's queries, over operands where
//! they lie: FuseMax's 1-pass cascade. What a tile cannot say falls back to
//! [`super::attention`]: a mask, heads other than 64 or 128 numbers wide, anything but a cast
//! and movement behind it, causal rows that may see no key and must then give NaN.
//!
//! Bound by flops: `4·D` for each pair of a query and a key that it sees. Error: that of
//! weights rounded to the operands' dtype, beside the rounding of the result that the group
//! has anyway. A row whose scores are all −∞ (operands with infinities) gives 0, not NaN.

use super::attention::Sizes;
use super::body::{Body, dot};
use super::matmul::{View, materialise, try_view};
use super::nest::Axis;
use super::{Group, LowerError, Lowering, Machine, Operand};
use crate::gpu::tile_attention::{NARROW, wide};
use cascata_ir::graph::{Def, Node, ValueId};
use cascata_ir::kernel::{
    Expr, Place, Sees, Stmt, TileAttention, TileKeys, TileResult, TileRows, TileSchedule,
};
use cascata_ir::op::{AttentionAttrs, Op};
use cascata_types::{DType, Dim};

/// Elements of 16 bits in what a thread copies at once.
const COPIED: i64 = 8;
/// Elements of 16 bits in what a thread stores at once.
const STORED: i64 = 2;

/// What a group says that tiles can compute.
struct Tiled {
    /// Queries, keys and values before they are widened.
    halves: [ValueId; 3],
    /// Elements between batches, heads and queries of the result.
    out: [Dim; 3],
    head_dim: u32,
    schedule: TileSchedule,
}

/// Lowers a group to tiles; false, and nothing is lowered, where they cannot say it.
pub(super) fn lower(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    attrs: &AttentionAttrs,
    sizes: &Sizes,
) -> Result<bool, LowerError> {
    let Some(tiled) = tiled(lowering, group, node, attrs, sizes)? else { return Ok(false) };
    let [q, k, v] = tiled.halves;
    let key_batch = [sizes.batch.clone(), sizes.key_heads.clone()];
    let q = copied(lowering, group, q, &[sizes.batch.clone(), sizes.heads.clone()])?;
    let [mut keys, mut values] =
        [copied(lowering, group, k, &key_batch)?, copied(lowering, group, v, &key_batch)?];
    if keys.rows != values.rows {
        keys = materialise(lowering, group, k, &key_batch)?;
        values = materialise(lowering, group, v, &key_batch)?;
    }
    tile(lowering, group, attrs, sizes, &tiled, [q, keys, values]);
    Ok(true)
}

fn tiled(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    attrs: &AttentionAttrs,
    sizes: &Sizes,
) -> Result<Option<Tiled>, LowerError> {
    let symbols = &lowering.graph.symbols;
    let scale = attrs.scale.to_f64();
    let some_key = (sizes.keys.clone() - sizes.queries.clone()).at_least(0, symbols);
    let says = lowering.machine == Machine::Gpu
        && node.inputs.len() == 3
        && sizes.depth == sizes.value_depth
        && scale > 0.0
        && scale.is_finite()
        && (!attrs.causal || attrs.zero_masked_rows || some_key);
    let Some(head_dim @ (64 | 128)) = sizes.depth.as_const().filter(|_| says) else {
        return Ok(None);
    };
    let (mut halves, mut dtypes) = (Vec::new(), Vec::new());
    for v in &node.inputs {
        let Some(half) = widened(lowering, group, *v) else { return Ok(None) };
        dtypes.push(lowering.graph.tensor(half).dtype);
        halves.push(half);
    }
    let dtype = dtypes[0];
    let (Ok(halves), true) = (halves.try_into(), dtypes.iter().all(|d| *d == dtype)) else {
        return Ok(None);
    };
    let head_dim = head_dim as u32;
    let few = sizes.queries.as_const().is_some_and(|n| n <= i64::from(NARROW.rows));
    let schedule = if few { NARROW } else { wide(head_dim, false) };
    let out = stored(lowering, group, node, dtype)?;
    Ok(out.map(|out| Tiled { halves, out, head_dim, schedule }))
}

/// The 16-bit value that a member of the group widens to `f32`.
fn widened(lowering: &Lowering, group: &Group, v: ValueId) -> Option<ValueId> {
    let Def::Node(id, _) = lowering.graph.values[v].def else { return None };
    let node = &lowering.graph.nodes[id];
    let inside = lowering.members(group).contains(&id);
    let half = *node.inputs.first()?;
    let is_half = matches!(lowering.graph.tensor(half).dtype, DType::F16 | DType::BF16);
    (inside && node.op == (Op::Cast { to: DType::F32 }) && is_half).then_some(half)
}

/// Strides of the group's result, where it is the attention's in a dtype.
fn stored(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    dtype: DType,
) -> Result<Option<[Dim; 3]>, LowerError> {
    let mut body = Body::new(lowering, group);
    let axes = body.axes(&body.shape(node.outputs[0]));
    let vars: Vec<_> = axes.iter().map(|a| a.var).collect();
    let idx: Vec<Dim> = vars.iter().map(|v| Dim::sym(*v)).collect();
    let result = Expr::Local(body.local("result", DType::F32));
    body.know(node.outputs[0], &vars, result.clone());
    let (last, strides) = body.store_strides(body.results()[0]);
    let ([out @ .., columns], true) = (&strides[..], body.graph.tensor(last).rank() == 4) else {
        return Ok(None);
    };
    let plain = body.value_at(last, &idx)? == result.cast(dtype) && columns.is(1);
    let out: [Dim; 3] = out.to_vec().try_into().expect("a stride per axis");
    Ok(Some(out).filter(|out| plain && out.iter().all(|d| multiple(d, STORED))))
}

/// Whether a dim is a multiple of a number whatever its symbols are.
fn multiple(d: &Dim, of: i64) -> bool {
    d.terms().iter().all(|(_, factor)| factor % of == 0)
}

/// A matrix whose rows are contiguous and begin where they can be copied from.
fn copied(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
    batch: &[Dim],
) -> Result<View, LowerError> {
    let aligned = |view: &View| {
        let mut steps = view.batch.iter().chain([&view.base, &view.rows]);
        view.cols.is(1) && steps.all(|d| multiple(d, COPIED))
    };
    match try_view(lowering, group, v, batch)?.filter(aligned) {
        Some(view) => Ok(view),
        None => materialise(lowering, group, v, batch),
    }
}

fn tile(
    lowering: &mut Lowering,
    group: &Group,
    attrs: &AttentionAttrs,
    sizes: &Sizes,
    tiled: &Tiled,
    [q, k, v]: [View; 3],
) {
    let mut body = Body::new(lowering, group);
    let rows = i64::from(tiled.schedule.rows);
    let blocks = sizes.queries.ceil_div(&rows.into());
    let mut outer = Vec::new();
    for (hint, extent) in [("qb", &blocks), ("b", &sizes.batch), ("h", &sizes.heads)] {
        outer.push(Axis { var: body.index(hint, extent), extent: extent.clone() });
    }
    let [qb, b, h] = [0, 1, 2].map(|i| Dim::sym(outer[i].var));
    // Late rows see the most keys: they start first.
    let row = (blocks - 1 - qb) * rows;
    let key_head = h.floor_div(&sizes.heads.floor_div(&sizes.key_heads));
    let from = |body: &mut Body, view: &View, head: &Dim| {
        let at = view.base.clone() + dot(&[b.clone(), head.clone()], &view.batch);
        Place::new(body.input(view.operand), at)
    };
    let mut queries = from(&mut body, &q, &h);
    queries.at = queries.at + row.clone() * q.rows.clone();
    let [keys, values] = [&k, &v].map(|view| from(&mut body, view, &key_head));
    let out = body.output(Operand::Value(group.outputs[0]));
    let out = Place::new(out, dot(&[b, h, row.clone()], &tiled.out));
    let behind = sizes.keys.clone() - sizes.queries.clone();
    let attention = TileAttention {
        q: queries,
        k: keys,
        v: values,
        rows: TileRows {
            count: (sizes.queries.clone() - row.clone()).minimum(&rows.into()),
            group: 1,
            index: None,
            token_stride: q.rows,
            head_stride: 0.into(),
        },
        keys: TileKeys { count: sizes.keys.clone(), stride: k.rows, table: None },
        sees: if attrs.causal { Sees::UpTo { first: behind + row } } else { Sees::All },
        scale: attrs.scale,
        head_dim: tiled.head_dim,
        result: TileResult::Output {
            out,
            token_stride: tiled.out[2].clone(),
            head_stride: 0.into(),
        },
        schedule: tiled.schedule,
    };
    body.flops = sizes.flops();
    let (grid, mut stmts) = body.grid(&outer, 1);
    stmts.push(Stmt::TileAttention(Box::new(attention)));
    body.finish("tile_attention", grid, stmts);
}
