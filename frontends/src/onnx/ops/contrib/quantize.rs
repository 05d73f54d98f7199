//! Quantised element-wise ops, pools and products: decode to `f32`, compute, encode.

use super::super::super::cx::Cx;
use super::super::super::emit::many;
use super::super::super::error::{R, malformed, unsupported};
use super::super::super::registry::{Importer::*, Table};
use super::super::super::scope::Slot;
use super::super::contraction::matmul;
use super::super::pool::average_of;
use super::super::quantize::{centred, quantized, saturate};
use super::super::recurrent::{Weights, lstm_of};
use super::only;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[
    ("DynamicQuantizeLSTM", Many(dynamic_lstm)),
    ("DynamicQuantizeMatMul", One(dynamic_matmul)),
    ("MatMulIntegerToFloat", One(matmul_integer_to_float)),
    ("QGemm", One(q_gemm)),
    ("QLinearAdd", One(|cx| two(cx, BinaryOp::Add))),
    ("QLinearAveragePool", One(average_pool)),
    ("QLinearConcat", One(concat)),
    ("QLinearGlobalAveragePool", One(global_average_pool)),
    ("QLinearLeakyRelu", One(leaky_relu)),
    ("QLinearMul", One(|cx| two(cx, BinaryOp::Mul))),
    ("QLinearSigmoid", One(|cx| one(cx, |cx, x| cx.unary(UnaryOp::Sigmoid, x)))),
    ("QLinearSoftmax", One(softmax)),
];

/// Input `i` with its scale and zero point behind it, in `f32`.
fn decoded(cx: &mut Cx<'_>, i: usize) -> R<ValueId> {
    let (x, scale) = (cx.input(i)?, cx.input(i + 1)?);
    let zero = cx.optional(i + 2)?;
    let x = centred(cx, x, zero)?;
    let x = cx.cast(x, DType::F32)?;
    let scale = cx.reshape(scale, vec![])?;
    cx.binary(BinaryOp::Mul, x, scale)
}

/// `y` with the scale of input `i` and the zero point behind it.
fn encoded(cx: &mut Cx<'_>, y: ValueId, i: usize, to: DType) -> R<ValueId> {
    let scale = cx.input(i)?;
    let scale = cx.reshape(scale, vec![])?;
    let zero = match cx.optional(i + 1)? {
        Some(zero) => Some(cx.reshape(zero, vec![])?),
        None => None,
    };
    let scaled = cx.binary(BinaryOp::Div, y, scale)?;
    saturate(cx, scaled, zero, to)
}

fn two(cx: &mut Cx<'_>, op: BinaryOp) -> R<ValueId> {
    let to = cx.input_type(0)?.dtype;
    let (a, b) = (decoded(cx, 0)?, decoded(cx, 3)?);
    let y = cx.binary(op, a, b)?;
    encoded(cx, y, 6, to)
}

fn one(cx: &mut Cx<'_>, f: impl Fn(&mut Cx<'_>, ValueId) -> R<ValueId>) -> R<ValueId> {
    let to = cx.input_type(0)?.dtype;
    let x = decoded(cx, 0)?;
    let y = f(cx, x)?;
    encoded(cx, y, 3, to)
}

fn leaky_relu(cx: &mut Cx<'_>) -> R<ValueId> {
    let alpha = cx.float("alpha", 0.01)?;
    one(cx, |cx, x| {
        let negative = cx.with_number(BinaryOp::Mul, x, alpha.into())?;
        let below = cx.with_number(BinaryOp::Lt, x, 0.0)?;
        cx.select(below, negative, x)
    })
}

fn softmax(cx: &mut Cx<'_>) -> R<ValueId> {
    let opset = cx.int("opset", 13)?;
    let rank = cx.input_type(0)?.rank();
    let axis = cx.axis("axis", -1, rank)?;
    if opset < 13 && axis + 1 != rank {
        return unsupported!("axis {axis} of opset {opset}, which joins the axes behind it");
    }
    one(cx, |cx, x| cx.emit(Op::Softmax { axis }, &[x]))
}

fn global_average_pool(cx: &mut Cx<'_>) -> R<ValueId> {
    let last = cx.flag("channels_last", false)?;
    one(cx, |cx, x| {
        let rank = cx.rank(x);
        let axes: Vec<usize> =
            if last { (1..rank.max(1) - 1).collect() } else { (2..rank).collect() };
        cx.reduce(ReduceOp::Mean, x, &axes, true)
    })
}

fn average_pool(cx: &mut Cx<'_>) -> R<ValueId> {
    only(cx, &[("channels_last", 0)])?;
    one(cx, average_of)
}

fn concat(cx: &mut Cx<'_>) -> R<ValueId> {
    if cx.inputs.len() < 5 || !(cx.inputs.len() - 2).is_multiple_of(3) {
        return malformed!("{} inputs", cx.inputs.len());
    }
    let ty = cx.input_type(2)?;
    let axis = cx.axis("axis", 0, ty.rank())?;
    let mut parts = Vec::new();
    for i in (2..cx.inputs.len()).step_by(3) {
        parts.push(decoded(cx, i)?);
    }
    let y = cx.concat(&parts, axis)?;
    encoded(cx, y, 0, ty.dtype)
}

/// A parameter per column or one for all, of an operand `[…, K, N]`.
pub(super) fn per_column(cx: &mut Cx<'_>, p: ValueId) -> R<ValueId> {
    let shape = cx.shape(p);
    match shape.as_slice() {
        [d] if d.is(1) => cx.reshape(p, vec![]),
        [.., n] if shape.len() > 1 => {
            let mut row = shape[..shape.len() - 1].to_vec();
            row.extend([Dim::from(1), n.clone()]);
            cx.reshape(p, row)
        }
        _ => Ok(p),
    }
}

/// `a·b·a_scale·b_scale (+ bias)` of centred integers.
pub(super) fn scaled_product(
    cx: &mut Cx<'_>,
    [a, b]: [ValueId; 2],
    [a_scale, b_scale]: [ValueId; 2],
    bias: Option<ValueId>,
) -> R<ValueId> {
    let total = matmul(cx, a, b)?;
    let total = cx.cast(total, DType::F32)?;
    let scale = cx.binary(BinaryOp::Mul, a_scale, b_scale)?;
    let y = cx.binary(BinaryOp::Mul, total, scale)?;
    match bias {
        Some(bias) => cx.binary(BinaryOp::Add, y, bias),
        None => Ok(y),
    }
}

fn dynamic_matmul(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, b, b_scale) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let [a, a_scale, a_zero] = quantized(cx, x)?;
    let b_zero = match cx.optional(3)? {
        Some(zero) => Some(per_column(cx, zero)?),
        None => None,
    };
    let (a, b) = (centred(cx, a, Some(a_zero))?, centred(cx, b, b_zero)?);
    let b_scale = per_column(cx, b_scale)?;
    let bias = cx.optional(4)?;
    scaled_product(cx, [a, b], [a_scale, b_scale], bias)
}

fn matmul_integer_to_float(cx: &mut Cx<'_>) -> R<ValueId> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let (a_scale, b_scale) = (cx.input(2)?, cx.input(3)?);
    let a_scale = cx.reshape(a_scale, vec![])?;
    let a_zero = match cx.optional(4)? {
        Some(zero) => Some(cx.reshape(zero, vec![])?),
        None => None,
    };
    let b_zero = match cx.optional(5)? {
        Some(zero) => Some(per_column(cx, zero)?),
        None => None,
    };
    let (a, b) = (centred(cx, a, a_zero)?, centred(cx, b, b_zero)?);
    let b_scale = per_column(cx, b_scale)?;
    let bias = cx.optional(6)?;
    scaled_product(cx, [a, b], [a_scale, b_scale], bias)
}

/// `alpha·A·B + C` of centred integers; C is in units of `alpha·a_scale·b_scale`.
fn q_gemm(cx: &mut Cx<'_>) -> R<ValueId> {
    let mut side = |i: usize, flipped: &str| -> R<(ValueId, ValueId)> {
        let (x, scale, zero) = (cx.input(i)?, cx.input(i + 1)?, cx.input(i + 2)?);
        if cx.rank(x) != 2 {
            return malformed!("operand {i} has rank {}, must be 2", cx.rank(x));
        }
        let flipped = cx.flag(flipped, false)?;
        // Parameters are per output column, which is a row of what is transposed later.
        let (scale, zero) = (per_column(cx, scale)?, per_column(cx, zero)?);
        let x = if flipped { cx.transpose(x, vec![1, 0])? } else { x };
        Ok((centred(cx, x, Some(zero))?, scale))
    };
    let ((a, a_scale), (b, b_scale)) = (side(0, "transA")?, side(3, "transB")?);
    let mut total = matmul(cx, a, b)?;
    if let Some(c) = cx.optional(6)? {
        total = cx.binary(BinaryOp::Add, total, c)?;
    }
    let total = cx.cast(total, DType::F32)?;
    let scale = cx.binary(BinaryOp::Mul, a_scale, b_scale)?;
    let scale = cx.with_number(BinaryOp::Mul, scale, cx.float("alpha", 1.0)?.into())?;
    let y = cx.binary(BinaryOp::Mul, total, scale)?;
    match cx.has(7) {
        true => {
            let to = if cx.has(8) { cx.input_type(8)?.dtype } else { cx.input_type(0)?.dtype };
            encoded(cx, y, 7, to)
        }
        false => Ok(y),
    }
}

/// Weights are decoded; unlike ONNX Runtime, which quantises each step's operand, the
/// recurrence itself is computed in `f32`.
fn dynamic_lstm(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let mut decode = |w: usize, scale: usize| -> R<ValueId> {
        let (w, scale, zero) = (cx.input(w)?, cx.input(scale)?, cx.input(scale + 1)?);
        let (zero, scale) = (per_gate(cx, zero)?, per_gate(cx, scale)?);
        let w = centred(cx, w, Some(zero))?;
        let w = cx.cast(w, DType::F32)?;
        let w = cx.binary(BinaryOp::Mul, w, scale)?;
        // Stored as [directions, K, 4·hidden].
        cx.transpose(w, vec![0, 2, 1])
    };
    let (w, r) = (decode(1, 8)?, decode(2, 10)?);
    many(lstm_of(cx, Weights { w, r })?)
}

/// One number per direction, or per direction and column, of `[directions, K, N]`.
fn per_gate(cx: &mut Cx<'_>, p: ValueId) -> R<ValueId> {
    let shape = cx.shape(p);
    match shape.as_slice() {
        [d] => cx.reshape(p, vec![d.clone(), 1.into(), 1.into()]),
        [d, n] => cx.reshape(p, vec![d.clone(), 1.into(), n.clone()]),
        _ => malformed!("a parameter of rank {}", shape.len()),
    }
}
