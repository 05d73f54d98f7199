//! Detection: non-maximum suppression.

use super::super::cx::Cx;
use super::super::error::R;
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::Op;
use cascata_ir::types::{DType, Scalar};

pub const OPS: Table = &[("NonMaxSuppression", One(non_max_suppression))];

/// Absent limits are 0 boxes per class, 0 overlap and no score threshold.
fn non_max_suppression(cx: &mut Cx<'_>) -> R<ValueId> {
    let (boxes, scores) = (cx.input(0)?, cx.input(1)?);
    let most = limit(cx, 2, Scalar::i64(0))?;
    let overlap = limit(cx, 3, Scalar::f32(0.0))?;
    let score = limit(cx, 4, Scalar::f32(f32::NEG_INFINITY))?;
    let center_point_box = cx.flag("center_point_box", false)?;
    let count = cx.fresh("count");
    let op = Op::NonMaxSuppression { center_point_box, count };
    cx.emit(op, &[boxes, scores, most, overlap, score])
}

/// A limit as a rank-0 tensor.
fn limit(cx: &mut Cx<'_>, i: usize, default: Scalar) -> R<ValueId> {
    let Some(value) = cx.optional(i)? else { return cx.fill(default, vec![]) };
    let value = cx.reshape(value, vec![])?;
    cx.cast(value, if i == 2 { DType::I64 } else { DType::F32 })
}
