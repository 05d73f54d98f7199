//! Pseudo-random tensors. A seed attribute is kept; without one each node gets its own.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::source::named_dtype;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Distribution, Op, RandomAttrs};
use cascata_ir::types::{DType, Dim, Scalar, Shape};

pub const OPS: Table = &[
    ("Bernoulli", One(bernoulli)),
    ("RandomNormal", One(|cx| random(cx, true, false))),
    ("RandomNormalLike", One(|cx| random(cx, true, true))),
    ("RandomUniform", One(|cx| random(cx, false, false))),
    ("RandomUniformLike", One(|cx| random(cx, false, true))),
];

fn seed(cx: &mut Cx<'_>) -> R<u64> {
    let own = cx.imp.seeds;
    cx.imp.seeds += 1;
    // Two nodes with the same attribute still draw different numbers.
    let given = cx.opt_float("seed")?.map_or(0, |s| u64::from(s.to_bits()));
    Ok((given << 32) | own)
}

fn random(cx: &mut Cx<'_>, normal: bool, like: bool) -> R<ValueId> {
    let (shape, default): (Shape, DType) = if like {
        let ty = cx.input_type(0)?;
        (ty.shape, ty.dtype)
    } else {
        let Some(shape) = cx.ints("shape")? else { return malformed!("shape is missing") };
        if shape.iter().any(|d| *d < 0) {
            return malformed!("shape {shape:?} has a negative dim");
        }
        (shape.into_iter().map(Dim::from).collect(), DType::F32)
    };
    let dtype = match cx.opt_int("dtype")? {
        Some(code) => named_dtype(code)?,
        None => default,
    };
    if !dtype.is_float() {
        return unsupported!("random numbers of type {dtype}");
    }
    let parameter = |name: &str, default: f32| cx.float(name, default).map(Scalar::f32);
    let distribution = if normal {
        Distribution::Normal { mean: parameter("mean", 0.0)?, scale: parameter("scale", 1.0)? }
    } else {
        Distribution::Uniform { low: parameter("low", 0.0)?, high: parameter("high", 1.0)? }
    };
    let seed = seed(cx)?;
    cx.emit(Op::Random(RandomAttrs { distribution, dtype, shape, seed }), &[])
}

/// 1 with the probability that the operand gives.
fn bernoulli(cx: &mut Cx<'_>) -> R<ValueId> {
    let p = cx.input(0)?;
    let (own, shape) = (cx.dtype(p), cx.shape(p));
    let dtype = match cx.opt_int("dtype")? {
        Some(code) => named_dtype(code)?,
        None => own,
    };
    let distribution = Distribution::Uniform { low: Scalar::f32(0.0), high: Scalar::f32(1.0) };
    let seed = seed(cx)?;
    let u = cx.emit(Op::Random(RandomAttrs { distribution, dtype: own, shape, seed }), &[])?;
    let hit = cx.binary(BinaryOp::Lt, u, p)?;
    cx.cast(hit, dtype)
}
