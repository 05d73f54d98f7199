//! FlexAttention of the preview domain: attention whose scores and probabilities are
//! changed by graphs of its own.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::attention::{Operands, scores, share_heads};
use super::contraction::matmul;
use super::source::named_dtype;
use cascata_ir::graph::ValueId;
use cascata_ir::op::Op;
use cascata_ir::types::DType;

pub const OPS: Table = &[("FlexAttention", One(flex_attention))];

fn flex_attention(cx: &mut Cx<'_>) -> R<ValueId> {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    if [q, k, v].iter().any(|x| cx.rank(*x) != 4) {
        return malformed!("operands must have rank 4");
    }
    let scale = match (cx.opt_float("scale")?, cx.shape(q)[3].as_const()) {
        (Some(scale), _) => f64::from(scale),
        (None, Some(d)) if d > 0 => 1.0 / (d as f64).sqrt(),
        _ => return unsupported!("no scale is given and the head size is not known"),
    };
    let (dtype, heads) = (cx.dtype(q), cx.shape(q)[1].clone());
    let precision = match cx.opt_int("softmax_precision")? {
        Some(code) => named_dtype(code)?,
        None if dtype == DType::F64 => DType::F64,
        None => DType::F32,
    };
    let (k, v) = (share_heads(cx, k, &heads)?, share_heads(cx, v, &heads)?);
    let raw = scores(cx, &Operands { q, k, v, scale }, k)?;
    let raw = cx.cast(raw, precision)?;
    let changed = changed(cx, "score_mod", raw)?;
    let changed = cx.cast(changed, precision)?;
    let p = cx.emit(Op::Softmax { axis: 3 }, &[changed])?;
    let p = self::changed(cx, "prob_mod", p)?;
    let (p, v) = (cx.cast(p, precision)?, cx.cast(v, precision)?);
    let y = matmul(cx, p, v)?;
    cx.cast(y, dtype)
}

/// `x` through the graph of an attribute, if there is one.
fn changed(cx: &mut Cx<'_>, name: &str, x: ValueId) -> R<ValueId> {
    if !cx.has_attribute(name) {
        return Ok(x);
    }
    let graph = cx.body(name)?;
    let [parameter] = graph.input.as_slice() else {
        return malformed!("{name} has {} inputs, must have one", graph.input.len());
    };
    let frame = cx.frame.nested(cx.frame.region, cx.frame.opsets.clone())?;
    cx.imp.scopes.push(false);
    cx.imp.define(parameter.name(), Slot::Value(x));
    let results = cx.imp.body(&graph, &frame);
    cx.imp.scopes.pop();
    match results?.as_slice() {
        [one] => cx.imp.value(*one),
        other => malformed!("{name} has {} outputs, must have one", other.len()),
    }
}
