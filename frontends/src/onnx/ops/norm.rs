//! Normalisations.

use super::super::cx::{Cx, axes};
use super::super::emit::{many, one};
use super::super::error::{R, malformed, unsupported};
use super::super::facts::divide_products;
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, LrnAttrs, Op, ReduceOp, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar};

pub const OPS: Table = &[
    ("BatchNormalization", Many(batch_norm)),
    ("GroupNormalization", One(group_norm)),
    ("InstanceNormalization", One(instance_norm)),
    ("LRN", One(lrn)),
    ("LayerNormalization", Many(layer_norm)),
    ("LpNormalization", One(lp_norm)),
    ("MeanVarianceNormalization", One(mean_variance)),
    ("RMSNormalization", One(rms_norm)),
];

/// Mean and `1/√(var + eps)` over axes, which stay as 1.
pub fn moments(cx: &mut Cx<'_>, x: ValueId, axes: &[usize], epsilon: f64) -> R<(ValueId, ValueId)> {
    let mean = cx.reduce(ReduceOp::Mean, x, axes, true)?;
    let centred = cx.binary(BinaryOp::Sub, x, mean)?;
    let square = cx.binary(BinaryOp::Mul, centred, centred)?;
    let variance = cx.reduce(ReduceOp::Mean, square, axes, true)?;
    let variance = cx.with_number(BinaryOp::Add, variance, epsilon)?;
    Ok((mean, cx.unary(UnaryOp::Rsqrt, variance)?))
}

/// `(x − mean)·inverse`.
fn standardise(cx: &mut Cx<'_>, x: ValueId, (mean, inverse): (ValueId, ValueId)) -> R<ValueId> {
    let centred = cx.binary(BinaryOp::Sub, x, mean)?;
    cx.binary(BinaryOp::Mul, centred, inverse)
}

/// A per-channel vector so that it broadcasts along axis 1 of a tensor of `rank`.
fn per_channel(cx: &mut Cx<'_>, v: ValueId, rank: usize) -> R<ValueId> {
    let mut shape = cx.shape(v);
    if shape.len() != 1 {
        return malformed!("per-channel parameters must be vectors");
    }
    shape.extend(std::iter::repeat_n(Dim::from(1), rank.saturating_sub(2)));
    if rank == 1 { Ok(v) } else { cx.reshape(v, shape) }
}

/// `y·scale + bias` per channel.
fn affine(cx: &mut Cx<'_>, y: ValueId, scale: ValueId, bias: ValueId) -> R<ValueId> {
    let rank = cx.rank(y);
    let scale = per_channel(cx, scale, rank)?;
    let bias = per_channel(cx, bias, rank)?;
    let y = cx.binary(BinaryOp::Mul, y, scale)?;
    cx.binary(BinaryOp::Add, y, bias)
}

/// `x·a + b` with `a = scale/√(var + eps)` and `b = bias − mean·a`, so that constant
/// parameters fold into one scale and one shift per channel.
fn batch_norm(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    if cx.flag("training_mode", false)? {
        return batch_norm_training(cx);
    }
    cx.require(cx.version >= 9 || cx.flag("spatial", true)?, "spatial = 0")?;
    cx.require(!(1..5).any(|i| cx.wants(i)), "the training outputs")?;
    let epsilon = cx.float("epsilon", 1e-5)?;
    let x = cx.input(0)?;
    let dtype = cx.dtype(x);
    let mut p = Vec::new();
    for i in 1..5 {
        p.push(cx.input(i)?);
    }
    let (scale, bias, mean, variance) = (p[0], p[1], p[2], p[3]);
    let variance = cx.with_number(BinaryOp::Add, variance, epsilon.into())?;
    let inverse = cx.unary(UnaryOp::Rsqrt, variance)?;
    let inverse = cx.cast(inverse, dtype)?;
    let (scale, bias, mean) =
        (cx.cast(scale, dtype)?, cx.cast(bias, dtype)?, cx.cast(mean, dtype)?);
    let a = cx.binary(BinaryOp::Mul, scale, inverse)?;
    let shift = cx.binary(BinaryOp::Mul, mean, a)?;
    let b = cx.binary(BinaryOp::Sub, bias, shift)?;
    one(affine(cx, x, a, b)?)
}

/// Statistics of this batch, and running ones updated with them.
fn batch_norm_training(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let epsilon = cx.float("epsilon", 1e-5)?;
    let momentum = f64::from(cx.float("momentum", 0.9)?);
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let rank = cx.rank(x);
    if rank < 2 {
        return malformed!("the operand needs a channel axis 1");
    }
    let axes: Vec<usize> = (0..rank).filter(|a| *a != 1).collect();
    let stats = moments(cx, x, &axes, epsilon.into())?;
    let y = standardise(cx, x, stats)?;
    let mut results = vec![affine(cx, y, scale, bias)?];
    let mean = cx.reduce(ReduceOp::Mean, x, &axes, false)?;
    let centred = cx.binary(BinaryOp::Sub, x, stats.0)?;
    let square = cx.binary(BinaryOp::Mul, centred, centred)?;
    let variance = cx.reduce(ReduceOp::Mean, square, &axes, false)?;
    for (i, now) in [(3, mean), (4, variance)] {
        let before = cx.input(i)?;
        let before = cx.with_number(BinaryOp::Mul, before, momentum)?;
        let now = cx.with_number(BinaryOp::Mul, now, 1.0 - momentum)?;
        results.push(cx.binary(BinaryOp::Add, before, now)?);
    }
    many(results)
}

fn instance_norm(cx: &mut Cx<'_>) -> R<ValueId> {
    let epsilon = cx.float("epsilon", 1e-5)?;
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let axes: Vec<usize> = (2..cx.rank(x)).collect();
    if axes.is_empty() {
        return malformed!("the operand needs a spatial axis");
    }
    let stats = moments(cx, x, &axes, epsilon.into())?;
    let y = standardise(cx, x, stats)?;
    affine(cx, y, scale, bias)
}

fn group_norm(cx: &mut Cx<'_>) -> R<ValueId> {
    let epsilon = cx.float("epsilon", 1e-5)?;
    let groups = cx.int("num_groups", 0)?;
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (dtype, shape) = (cx.dtype(x), cx.shape(x));
    if shape.len() < 2 || groups < 1 {
        return malformed!("it needs a channel axis 1 and num_groups ≥ 1");
    }
    let Some(per_group) = divide_products(&shape[1..], &[groups.into()]) else {
        return malformed!("the channels are not a multiple of num_groups {groups}");
    };
    let stash = stash_dtype(cx, dtype)?;
    let wide = cx.cast(x, stash)?;
    let grouped = cx.reshape(wide, vec![shape[0].clone(), groups.into(), per_group])?;
    let stats = moments(cx, grouped, &[2], epsilon.into())?;
    let y = standardise(cx, grouped, stats)?;
    let y = cx.reshape(y, shape.clone())?;
    let y = cx.cast(y, dtype)?;
    if cx.version >= 21 {
        return affine(cx, y, scale, bias);
    }
    // Before opset 21 scale and bias were per group.
    let channels = shape[1].clone();
    let scale = repeat_groups(cx, scale, &channels, groups)?;
    let bias = repeat_groups(cx, bias, &channels, groups)?;
    affine(cx, y, scale, bias)
}

fn repeat_groups(cx: &mut Cx<'_>, v: ValueId, channels: &Dim, groups: i64) -> R<ValueId> {
    let Some(each) = channels.exact_div(&groups.into()) else {
        return malformed!("the channels are not a multiple of num_groups {groups}");
    };
    let column = cx.reshape(v, vec![groups.into(), 1.into()])?;
    let wide = cx.broadcast(column, vec![groups.into(), each])?;
    cx.reshape(wide, vec![channels.clone()])
}

/// The dtype that statistics are computed in.
fn stash_dtype(cx: &Cx<'_>, dtype: DType) -> R<DType> {
    match cx.int("stash_type", 1)? {
        1 if dtype == DType::F64 => Ok(DType::F64),
        1 => Ok(DType::F32),
        11 => Ok(DType::F64),
        10 | 16 => Ok(dtype),
        other => unsupported!("stash_type {other}"),
    }
}

fn layer_norm(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let epsilon = cx.float("epsilon", 1e-5)?;
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let bias = cx.optional(2)?;
    let axis = cx.axis("axis", -1, cx.rank(x))?;
    let tail = cx.shape(x)[axis..].to_vec();
    let mut operands = vec![x, cx.broadcast(scale, tail.clone())?];
    if let Some(bias) = bias {
        operands.push(cx.broadcast(bias, tail)?);
    }
    let epsilon = Scalar::f32(epsilon);
    let mut results = vec![cx.emit(Op::LayerNorm { axis, epsilon }, &operands)?];
    if cx.wants(1) || cx.wants(2) {
        let stash = stash_dtype(cx, cx.dtype(x))?;
        let wide = cx.cast(x, stash)?;
        let axes: Vec<usize> = (axis..cx.rank(x)).collect();
        let (mean, inverse) = moments(cx, wide, &axes, epsilon.to_f64())?;
        results.extend([mean, inverse]);
    }
    many(results)
}

fn rms_norm(cx: &mut Cx<'_>) -> R<ValueId> {
    let epsilon = cx.float("epsilon", 1e-5)?;
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let axis = cx.axis("axis", -1, cx.rank(x))?;
    let tail = cx.shape(x)[axis..].to_vec();
    let scale = cx.broadcast(scale, tail)?;
    cx.emit(Op::RmsNorm { axis, epsilon: Scalar::f32(epsilon) }, &[x, scale])
}

fn lrn(cx: &mut Cx<'_>) -> R<ValueId> {
    let attrs = LrnAttrs {
        size: cx.int("size", 0)?,
        alpha: Scalar::f32(cx.float("alpha", 1e-4)?),
        beta: Scalar::f32(cx.float("beta", 0.75)?),
        bias: Scalar::f32(cx.float("bias", 1.0)?),
    };
    let x = cx.input(0)?;
    cx.emit(Op::Lrn(attrs), &[x])
}

fn lp_norm(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let axis = cx.axis("axis", -1, cx.rank(x))?;
    let size = cx.unary(UnaryOp::Abs, x)?;
    let norm = match cx.int("p", 2)? {
        1 => cx.reduce(ReduceOp::Sum, size, &[axis], true)?,
        2 => {
            let square = cx.binary(BinaryOp::Mul, x, x)?;
            let total = cx.reduce(ReduceOp::Sum, square, &[axis], true)?;
            cx.unary(UnaryOp::Sqrt, total)?
        }
        p => return malformed!("p is {p}, must be 1 or 2"),
    };
    // A zero vector stays zero.
    let zero = cx.with_number(BinaryOp::Eq, norm, 0.0)?;
    let quotient = cx.binary(BinaryOp::Div, x, norm)?;
    let nothing = cx.number_like(x, 0.0)?;
    cx.select(zero, nothing, quotient)
}

/// As the ONNX function has it: variance as `E[x²] − E[x]²`, and `1e-9` added to its root.
fn mean_variance(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let list = cx.ints("axes")?.unwrap_or(vec![0, 2, 3]);
    let axes = axes(&list, cx.rank(x))?;
    let mean = cx.reduce(ReduceOp::Mean, x, &axes, true)?;
    let mean_square = cx.binary(BinaryOp::Mul, mean, mean)?;
    let square = cx.binary(BinaryOp::Mul, x, x)?;
    let square = cx.reduce(ReduceOp::Mean, square, &axes, true)?;
    let variance = cx.binary(BinaryOp::Sub, square, mean_square)?;
    let deviation = cx.unary(UnaryOp::Sqrt, variance)?;
    let deviation = cx.with_number(BinaryOp::Add, deviation, 1e-9)?;
    let centred = cx.binary(BinaryOp::Sub, x, mean)?;
    cx.binary(BinaryOp::Div, centred, deviation)
}
