//! The few operators of `ai.onnx.ml` that are tensor algebra.

use super::super::cx::Cx;
use super::super::error::{R, malformed};
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op};

pub const OPS: Table =
    &[("ArrayFeatureExtractor", One(array_feature_extractor)), ("Binarizer", One(binarizer))];

/// Columns of the last axis.
fn array_feature_extractor(cx: &mut Cx<'_>) -> R<ValueId> {
    let (mut x, index) = (cx.input(0)?, cx.input(1)?);
    if cx.rank(x) == 1 {
        x = cx.unsqueeze(x, &[0])?;
    }
    let Some(axis) = cx.rank(x).checked_sub(1) else {
        return malformed!("the operand has rank 0");
    };
    let index = cx.flatten(index)?;
    cx.emit(Op::Gather { axis }, &[x, index])
}

/// 1 above the threshold, else 0.
fn binarizer(cx: &mut Cx<'_>) -> R<ValueId> {
    let threshold = cx.float("threshold", 0.0)?;
    let x = cx.input(0)?;
    let above = cx.with_number(BinaryOp::Gt, x, threshold.into())?;
    let dtype = cx.dtype(x);
    cx.cast(above, dtype)
}
