//! Norms with a residual sum before them, and the embedding in front of an encoder.

use super::super::super::cx::Cx;
use super::super::super::emit::many;
use super::super::super::error::{R, malformed, unsupported};
use super::super::super::registry::{Importer::*, Table};
use super::super::super::scope::Slot;
use super::super::norm::moments;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar};

pub const OPS: Table = &[
    ("EmbedLayerNormalization", Many(embed)),
    ("SimplifiedLayerNormalization", Many(simplified)),
    ("SkipLayerNormalization", Many(|cx| skip(cx, false))),
    ("SkipSimplifiedLayerNormalization", Many(|cx| skip(cx, true))),
];

/// In the default domain too: exporters of ONNX Runtime wrote it there.
pub const DEFAULT_DOMAIN: Table = &[("SimplifiedLayerNormalization", Many(simplified))];

fn epsilon(cx: &Cx<'_>, default: f32) -> R<Scalar> {
    cx.float("epsilon", default).map(Scalar::f32)
}

/// `1/√(mean(x²) + ε)` over the axes from `axis` on.
fn inverse_rms(cx: &mut Cx<'_>, x: ValueId, axis: usize, epsilon: f64) -> R<ValueId> {
    let x = cx.cast(x, DType::F32)?;
    let square = cx.binary(BinaryOp::Mul, x, x)?;
    let axes: Vec<usize> = (axis..cx.rank(x)).collect();
    let mean = cx.reduce(ReduceOp::Mean, square, &axes, true)?;
    let shifted = cx.with_number(BinaryOp::Add, mean, epsilon)?;
    cx.unary(UnaryOp::Rsqrt, shifted)
}

fn simplified(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let epsilon = epsilon(cx, 1e-5)?;
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let axis = cx.axis("axis", -1, cx.rank(x))?;
    let tail = cx.shape(x)[axis..].to_vec();
    let scale = cx.broadcast(scale, tail)?;
    let mut results = vec![cx.emit(Op::RmsNorm { axis, epsilon }, &[x, scale])?];
    if cx.wants(1) {
        results.push(inverse_rms(cx, x, axis, epsilon.to_f64())?);
    }
    many(results)
}

/// The norm of `input + skip (+ bias)` over the last axis, and that sum.
fn skip(cx: &mut Cx<'_>, simplified: bool) -> R<Vec<Slot>> {
    let epsilon = epsilon(cx, 1e-12)?;
    let (x, skip, gamma) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (beta, bias) = match simplified {
        true => (None, cx.optional(3)?),
        false => (cx.optional(3)?, cx.optional(4)?),
    };
    let mut sum = cx.binary(BinaryOp::Add, x, skip)?;
    if let Some(bias) = bias {
        sum = cx.binary(BinaryOp::Add, sum, bias)?;
    }
    let Some(axis) = cx.rank(x).checked_sub(1) else { return malformed!("an operand of rank 0") };
    let y = match simplified {
        true => cx.emit(Op::RmsNorm { axis, epsilon }, &[sum, gamma])?,
        false => {
            let operands: Vec<ValueId> = [sum, gamma].into_iter().chain(beta).collect();
            cx.emit(Op::LayerNorm { axis, epsilon }, &operands)?
        }
    };
    let mut results = vec![y];
    if cx.wants(1) || cx.wants(2) || cx.wants(3) {
        let (mean, inverse) = match simplified {
            true => {
                if cx.wants(1) {
                    return unsupported!("output mean");
                }
                let inverse = inverse_rms(cx, sum, axis, epsilon.to_f64())?;
                (inverse, inverse)
            }
            false => {
                let wide = cx.cast(sum, DType::F32)?;
                moments(cx, wide, &[axis], epsilon.to_f64())?
            }
        };
        results.extend([mean, inverse, sum]);
    }
    many(results)
}

/// The sum of word, position and segment embeddings, its norm, and how many tokens count.
fn embed(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let epsilon = epsilon(cx, 1e-12)?;
    let mask_type = cx.int("mask_index_type", 0)?;
    let (ids, words, positions) = (cx.input(0)?, cx.input(2)?, cx.input(3)?);
    let shape = cx.shape(ids);
    let [batch, steps] = shape.as_slice() else {
        return malformed!("input_ids of rank {}, must be 2", shape.len());
    };
    let index = match cx.optional(8)? {
        Some(given) => given,
        None => cx.iota(DType::I64, vec![1.into(), steps.clone()], 1)?,
    };
    let word = cx.emit(Op::Gather { axis: 0 }, &[words, ids])?;
    let position = cx.emit(Op::Gather { axis: 0 }, &[positions, index])?;
    let mut sum = cx.binary(BinaryOp::Add, word, position)?;
    match (cx.optional(1)?, cx.optional(4)?) {
        (Some(segments), Some(table)) => {
            let segment = cx.emit(Op::Gather { axis: 0 }, &[table, segments])?;
            sum = cx.binary(BinaryOp::Add, sum, segment)?;
        }
        (None, None) => {}
        _ => return malformed!("segment_ids and segment_embedding must be given together"),
    }
    let (gamma, beta) = (cx.input(5)?, cx.input(6)?);
    let y = cx.emit(Op::LayerNorm { axis: 2, epsilon }, &[sum, gamma, beta])?;
    let counted = match cx.optional(7)? {
        Some(mask) if mask_type == 1 || mask_type == 0 => {
            let mask = cx.cast(mask, DType::I32)?;
            cx.reduce(ReduceOp::Sum, mask, &[1], false)?
        }
        Some(_) => return unsupported!("mask_index_type {mask_type}"),
        None => cx.fill(Scalar::from_i64(DType::I32, 0), vec![Dim::clone(batch)])?,
    };
    many([y, counted, sum])
}
