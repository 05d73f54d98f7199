//! Contractions of dtypes without a micro-kernel: plain loops.

use super::*;
use cascata_ir::op::{ChannelLayout, ConvAttrs};

/// `y[.., m, n] = Σ_k a[.., m, k]·b[.., k, n]`.
pub(in super::super) fn naive_matmul(
    lowering: &mut Lowering,
    group: &Group,
) -> Result<(), LowerError> {
    let node = lowering.graph.nodes[lowering.root(group)].clone();
    let name = super::super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let y = node.outputs[0];
    let (shape, dtype) = (body.shape(y), body.graph.tensor(y).dtype);
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let (a_shape, b_shape) = (body.shape(a), body.shape(b));
    let axes = body.axes(&shape);
    let idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    let rank = shape.len();
    let depth = a_shape[a_shape.len() - 1].clone();
    let k = body.index("k", &depth);
    let from = |operand: &[Dim], row: Dim, col: Dim| {
        let lead = &operand[..operand.len() - 2];
        let mut at =
            super::super::access::broadcast_index(lead, &shape[..rank - 2], &idx[..rank - 2]);
        at.extend([row, col]);
        at
    };
    let a_at = from(&a_shape, idx[rank - 2].clone(), Dim::sym(k));
    let b_at = from(&b_shape, Dim::sym(k), idx[rank - 1].clone());
    let product = binary(BinaryOp::Mul, body.value_at(a, &a_at)?, body.value_at(b, &b_at)?);
    let sum = body.local("sum", dtype);
    let add = Stmt::assign(sum, binary(BinaryOp::Add, Expr::Local(sum), product));
    let head = vec![
        Stmt::declare(sum, Expr::Const(Scalar::from_i64(dtype, 0))),
        Stmt::serial(k, depth.clone(), vec![add]),
    ];
    body.flops = shape.iter().fold(depth * 2, |n, d| n * d.clone());
    store(body, &name, group, y, axes, head, sum)
}

/// Channels-last convolution with plain loops over taps and channels.
pub(in super::super) fn naive_conv(
    lowering: &mut Lowering,
    group: &Group,
) -> Result<(), LowerError> {
    let node = lowering.graph.nodes[lowering.root(group)].clone();
    let Op::Conv(attrs) = &node.op else {
        let reason = "only f32 transposed convolutions are compiled";
        return Err(lowering.error(lowering.root(group), reason));
    };
    debug_assert_eq!(attrs.layout, ChannelLayout::Last);
    let name = super::super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let y = node.outputs[0];
    let (shape, dtype) = (body.shape(y), body.graph.tensor(y).dtype);
    let (x_shape, w_shape) = (body.shape(node.inputs[0]), body.shape(node.inputs[1]));
    let axes = body.axes(&shape);
    let taps = body.axes(&w_shape[..w_shape.len() - 1]);
    let (x_at, w_at, inside) = taps_at(attrs, &axes, &taps, &x_shape, &w_shape);
    let product = binary(
        BinaryOp::Mul,
        body.value_at(node.inputs[0], &x_at)?,
        body.value_at(node.inputs[1], &w_at)?,
    );
    let sum = body.local("sum", dtype);
    let add = Stmt::assign(sum, binary(BinaryOp::Add, Expr::Local(sum), product));
    let mut walk = vec![Stmt::when(inside, vec![add])];
    for tap in taps.into_iter().rev() {
        walk = vec![Stmt::serial(tap.var, tap.extent, walk)];
    }
    let start = match node.inputs.get(2) {
        Some(bias) => body.value_at(*bias, &[Dim::sym(axes[axes.len() - 1].var)])?,
        None => Expr::Const(Scalar::from_i64(dtype, 0)),
    };
    let mut head = vec![Stmt::declare(sum, start)];
    head.extend(walk);
    let work = w_shape[..w_shape.len() - 1].iter().fold(Dim::from(2), |n, d| n * d.clone());
    body.flops = shape.iter().fold(work, |n, d| n * d.clone());
    store(body, &name, group, y, axes, head, sum)
}

/// Where a tap reads the operand and the weights, and whether it is inside.
fn taps_at(
    attrs: &ConvAttrs,
    axes: &[Axis],
    taps: &[Axis],
    x: &[Dim],
    w: &[Dim],
) -> (Vec<Dim>, Vec<Dim>, Expr) {
    let spatial = taps.len() - 1;
    let out = Dim::sym(axes[axes.len() - 1].var);
    let channel = Dim::sym(taps[spatial].var);
    let per_group = w[spatial + 1].floor_div(&attrs.groups.into());
    let group = out.floor_div(&per_group);
    let mut x_at = vec![Dim::sym(axes[0].var)];
    let mut inside = Expr::bool(true);
    for d in 0..spatial {
        let at = Dim::sym(axes[d + 1].var) * attrs.strides[d] - attrs.pads[d].0
            + Dim::sym(taps[d].var) * attrs.dilations[d];
        let low = compare(BinaryOp::Ge, at.clone(), 0.into());
        let high = compare(BinaryOp::Lt, at.clone(), x[d + 1].clone());
        inside = and(inside, and(low, high));
        x_at.push(at);
    }
    x_at.push(group * w[spatial].clone() + channel);
    let w_at = taps.iter().map(|t| Dim::sym(t.var)).chain([out]).collect();
    (x_at, w_at, inside)
}

pub(super) fn store(
    mut body: Body,
    name: &str,
    group: &Group,
    computed: cascata_ir::graph::ValueId,
    axes: Vec<Axis>,
    head: Vec<Stmt>,
    sum: cascata_ir::kernel::LocalId,
) -> Result<(), LowerError> {
    if !body.prelude.is_empty() {
        return Err(body.error("an operand read through an index"));
    }
    let vars: Vec<_> = axes.iter().map(|a| a.var).collect();
    body.know(computed, &vars, Expr::Local(sum));
    let (last, strides) = body.store_strides(body.results()[0]);
    let idx: Vec<Dim> = vars.iter().map(|v| Dim::sym(*v)).collect();
    let value = body.value_at(last, &idx)?;
    let buffer = body.output(Operand::Value(group.outputs[0]));
    let mut stmts = head;
    stmts.append(&mut body.prelude);
    stmts.push(Stmt::store(buffer, dot(&idx, &strides), value));
    let (grid, mut binds) = body.grid(&axes, 16);
    binds.extend(stmts);
    body.finish(name, grid, binds);
    Ok(())
}
