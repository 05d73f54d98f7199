//! Pseudo-random tensors. A seed attribute is kept; without one each node gets its own.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::source::named_dtype;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Distribution, Op, RandomAttrs, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar, Shape};

/// ONNX's code of `int32`.
const INT32: i64 = 6;

pub const OPS: Table = &[
    ("Bernoulli", One(bernoulli)),
    ("Multinomial", One(multinomial)),
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
    let u = uniform(cx, own, shape)?;
    let hit = cx.binary(BinaryOp::Lt, u, p)?;
    cx.cast(hit, dtype)
}

/// Numbers in `0..1`.
fn uniform(cx: &mut Cx<'_>, dtype: DType, shape: Shape) -> R<ValueId> {
    let distribution = Distribution::Uniform { low: Scalar::f32(0.0), high: Scalar::f32(1.0) };
    let seed = seed(cx)?;
    cx.emit(Op::Random(RandomAttrs { distribution, dtype, shape, seed }), &[])
}

/// `sample_size` classes a row, each with a probability proportional to `exp` of its operand:
/// the first of the largest `x + g`, where `g = -ln(-ln u)` is Gumbel noise (Maddison et al.
/// 2014, arXiv 1411.0030, section 2). Needs no sums, so that a class of `-inf` is never drawn.
fn multinomial(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let (dtype, shape) = (cx.dtype(x), cx.shape(x));
    let [rows, classes] = &shape[..] else {
        return malformed!("its operand has {} axes, not 2: rows and classes", shape.len());
    };
    let samples = cx.int("sample_size", 1)?;
    if samples < 0 {
        return malformed!("sample_size {samples} is negative");
    }
    let result = named_dtype(cx.int("dtype", INT32)?)?;
    if !matches!(result, DType::I32 | DType::I64) {
        return malformed!("dtype {result} is neither i32 nor i64");
    }
    let u = uniform(cx, dtype, [rows.clone(), samples.into(), classes.clone()].into())?;
    let mut noise = u;
    for _ in 0..2 {
        noise = cx.unary(UnaryOp::Log, noise)?;
        noise = cx.unary(UnaryOp::Neg, noise)?;
    }
    let x = cx.unsqueeze(x, &[1])?;
    let sum = cx.binary(BinaryOp::Add, x, noise)?;
    let largest = Op::ArgReduce { max: true, axis: 2, keep_dims: false, select_last: false };
    let class = cx.emit(largest, &[sum])?;
    cx.cast(class, result)
}
