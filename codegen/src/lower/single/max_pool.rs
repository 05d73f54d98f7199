//! Max pooling with the place of each maximum: the first of equals, or the first NaN; a
//! window without elements gives the lowest number and −1.
//!
//! `x[N, s…, C] → y[N, o…, C], i64[N, o…, C]` (or channels first), any number dtype, exact.
//! Bound by one compare per window element: scalar code.

use super::*;
use crate::lower::columns::neutral;
use cascata_ir::op::{ChannelLayout, PoolAttrs, PoolKind, ReduceOp, UnaryOp};

/// Whether a candidate replaces the best so far: NaN wins over every number.
fn wins(candidate: Expr, best: Expr, dtype: DType) -> Expr {
    let larger = candidate.clone().gt(best.clone());
    if !dtype.is_float() {
        return larger;
    }
    let number = best.unary(UnaryOp::IsNan).unary(UnaryOp::Not);
    larger.or(and(candidate.unary(UnaryOp::IsNan), number))
}

pub(super) fn lower(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    attrs: &PoolAttrs,
) -> Result<(), LowerError> {
    let name = crate::lower::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let x = node.inputs[0];
    let (x_shape, y_shape) = (body.shape(x), body.shape(node.outputs[0]));
    let dtype = body.graph.tensor(x).dtype;
    let channel = match attrs.layout {
        ChannelLayout::First => 1,
        ChannelLayout::Last => x_shape.len() - 1,
    };
    let spatial: Vec<usize> = (1..x_shape.len()).filter(|d| *d != channel).collect();
    let axes = body.axes(&y_shape);
    let taps: Vec<Dim> = attrs.kernel.iter().map(|k| Dim::from(*k)).collect();
    let taps = body.axes(&taps);
    let mut idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    let out = idx.clone();
    let mut inside = Expr::bool(true);
    for (k, &d) in spatial.iter().enumerate() {
        idx[d] = out[d].clone() * attrs.strides[k] - attrs.pads[k].0
            + Dim::sym(taps[k].var) * attrs.dilations[k];
        let low = compare(BinaryOp::Ge, idx[d].clone(), 0.into());
        inside = and(inside, and(low, compare(BinaryOp::Lt, idx[d].clone(), x_shape[d].clone())));
    }
    let flat = flat_index(attrs, &idx, &x_shape, channel, &spatial);
    let value = body.value_at(x, &idx)?;
    let (best, at) = (body.local("best", dtype), body.local("at", DType::I64));
    let candidate = body.local("x", dtype);
    let wins = wins(Expr::Local(candidate), Expr::Local(best), dtype);
    let first = Expr::Local(at).lt(Expr::i64(0));
    let take = vec![Stmt::assign(best, candidate.into()), Stmt::assign(at, Expr::index(flat))];
    let step = vec![Stmt::declare(candidate, value), Stmt::when(first.or(wins), take)];
    let mut walk = vec![Stmt::when(inside, step)];
    for tap in taps.into_iter().rev() {
        walk = vec![Stmt::serial(tap.var, tap.extent, walk)];
    }
    let strides = crate::lower::body::strides(&y_shape);
    let mut stmts = vec![
        Stmt::declare(best, Expr::Const(neutral(ReduceOp::Max, dtype))),
        Stmt::declare(at, Expr::i64(-1)),
    ];
    stmts.extend(walk);
    for (result, local) in group.outputs.iter().zip([best, at]) {
        let buffer = body.output(Operand::Value(*result));
        stmts.push(Stmt::store(buffer, dot(&out, &strides), local.into()));
    }
    let window: i64 = attrs.kernel.iter().product();
    body.flops = y_shape.iter().fold(Dim::from(window), |n, d| n * d.clone());
    let (grid, mut head) = body.grid(&axes, window);
    head.extend(stmts);
    body.finish(&name, grid, head);
    Ok(())
}

/// The element's place in an operand with channels first.
fn flat_index(
    attrs: &PoolAttrs,
    idx: &[Dim],
    shape: &[Dim],
    channel: usize,
    spatial: &[usize],
) -> Dim {
    let columns_first = matches!(attrs.kind, PoolKind::Max { column_major: true, .. });
    let mut flat = idx[0].clone() * shape[channel].clone() + idx[channel].clone();
    let area = spatial.iter().fold(Dim::from(1), |n, d| n * shape[*d].clone());
    flat = flat * area;
    let mut order = spatial.to_vec();
    if columns_first {
        order.reverse();
    }
    let sizes: Vec<Dim> = order.iter().map(|d| shape[*d].clone()).collect();
    let at: Vec<Dim> = order.iter().map(|d| idx[*d].clone()).collect();
    flat + dot(&at, &crate::lower::body::strides(&sizes))
}
