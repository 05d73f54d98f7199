//! Local response normalisation: `x[N,C,..] → x / (bias + alpha/size · Σ x²)^beta`, the sum
//! over `size` neighbouring channels.
//!
//! Floats. Bound by the power, once per element. Error: sums of `size` terms, then that of
//! the power.

use super::*;
use cascata_ir::op::LrnAttrs;

pub(super) fn lower(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    attrs: &LrnAttrs,
) -> Result<(), LowerError> {
    let name = crate::lower::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let x = node.inputs[0];
    let (shape, dtype) = (body.shape(x), body.graph.tensor(x).dtype);
    let axes = body.axes(&shape);
    let mut idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    let centre = body.value_at(x, &idx)?;
    let (c, channels) = (idx[1].clone(), shape[1].clone());
    let first = (c.clone() - (attrs.size - 1) / 2).maximum(&0.into());
    let count = (c + (attrs.size / 2 + 1)).minimum(&channels) - first.clone();
    let k = body.index("k", &attrs.size.into());
    idx[1] = first + Dim::sym(k);
    let near = body.value_at(x, &idx)?;
    let number = |v: f64| Expr::number(dtype, v);
    let (sum, other) = (body.local("sum", dtype), body.local("near", dtype));
    let square = Expr::Local(other) * Expr::Local(other);
    let walk = vec![Stmt::declare(other, near), Stmt::assign(sum, Expr::Local(sum) + square)];
    let alpha = number(attrs.alpha.to_f64() / attrs.size as f64);
    let base = number(attrs.bias.to_f64()) + alpha * Expr::Local(sum);
    let result = body.local("y", dtype);
    let power = base.binary(BinaryOp::Pow, number(attrs.beta.to_f64()));
    let head = vec![
        Stmt::declare(sum, number(0.0)),
        Stmt::serial(k, count, walk),
        Stmt::declare(result, centre / power),
    ];
    body.flops = shape.iter().fold(Dim::from(2 * attrs.size + 20), |n, d| n * d.clone());
    contraction::store(body, &name, group, node.outputs[0], axes, head, result)
}
