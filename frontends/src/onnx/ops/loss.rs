//! Classification losses, from their formulas in the ONNX reference.

use super::super::cx::Cx;
use super::super::emit::many;
use super::super::error::{R, malformed};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::reduce::log_softmax;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_ir::types::DType;

pub const OPS: Table = &[
    ("NegativeLogLikelihoodLoss", One(negative_log_likelihood)),
    ("SoftmaxCrossEntropyLoss", Many(softmax_cross_entropy)),
];

fn negative_log_likelihood(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    loss(cx, x)
}

fn softmax_cross_entropy(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let scores = cx.input(0)?;
    if cx.rank(scores) < 2 {
        return malformed!("scores of rank {}, must be 2 or more", cx.rank(scores));
    }
    let log_prob = log_softmax(cx, scores, 1)?;
    many([loss(cx, log_prob)?, log_prob])
}

/// The operands of a loss where each label is looked up.
struct Labels {
    /// `i64`, in range also where ignored.
    index: ValueId,
    /// bool; where the label counts.
    counted: Option<ValueId>,
}

/// `−x[n, label, …]·weight[label]`, reduced; ignored labels weigh nothing.
fn loss(cx: &mut Cx<'_>, x: ValueId) -> R<ValueId> {
    let labels = labels(cx)?;
    let at = cx.unsqueeze(labels.index, &[1])?;
    let picked = cx.emit(Op::GatherElements { axis: 1 }, &[x, at])?;
    let picked = cx.squeeze(picked, &[1])?;
    let mut terms = cx.unary(UnaryOp::Neg, picked)?;
    let weights = weights(cx, &labels, terms)?;
    if let Some(weights) = weights {
        terms = cx.binary(BinaryOp::Mul, terms, weights)?;
    }
    if let Some(counted) = labels.counted {
        // A product with 0 would keep infinities.
        let zero = cx.number_like(terms, 0.0)?;
        terms = cx.select(counted, terms, zero)?;
    }
    let axes: Vec<usize> = (0..cx.rank(terms)).collect();
    match (cx.string("reduction", "mean")?.as_str(), weights) {
        ("none", _) => Ok(terms),
        ("sum", _) => cx.reduce(ReduceOp::Sum, terms, &axes, false),
        ("mean", None) => cx.reduce(ReduceOp::Mean, terms, &axes, false),
        ("mean", Some(weights)) => {
            let total = cx.reduce(ReduceOp::Sum, terms, &axes, false)?;
            let weight = cx.reduce(ReduceOp::Sum, weights, &axes, false)?;
            cx.binary(BinaryOp::Div, total, weight)
        }
        (other, _) => malformed!("reduction '{other}' does not exist"),
    }
}

fn labels(cx: &mut Cx<'_>) -> R<Labels> {
    let given = cx.input(1)?;
    let index = cx.cast(given, DType::I64)?;
    let Some(ignored) = cx.opt_int("ignore_index")? else {
        return Ok(Labels { index, counted: None });
    };
    let ignored = cx.number(DType::I64, ignored as f64)?;
    let counted = cx.binary(BinaryOp::Ne, index, ignored)?;
    let zero = cx.number(DType::I64, 0.0)?;
    Ok(Labels { index: cx.select(counted, index, zero)?, counted: Some(counted) })
}

/// What each label weighs; `None` where all weigh 1.
fn weights(cx: &mut Cx<'_>, labels: &Labels, like: ValueId) -> R<Option<ValueId>> {
    let given = match cx.optional(2)? {
        Some(weights) => Some(cx.emit(Op::Gather { axis: 0 }, &[weights, labels.index])?),
        None => None,
    };
    let Some(counted) = labels.counted else { return Ok(given) };
    let dtype = cx.dtype(like);
    Ok(Some(match given {
        Some(weights) => {
            let zero = cx.number_like(weights, 0.0)?;
            cx.select(counted, weights, zero)?
        }
        None => cx.cast(counted, dtype)?,
    }))
}
