//! Activations, from their formulas in the ONNX reference.

use super::super::cx::Cx;
use super::super::error::{R, malformed};
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_ir::types::DType;

pub const OPS: Table = &[
    ("Celu", One(celu)),
    ("Elu", One(elu)),
    ("Gelu", One(gelu)),
    ("HardSigmoid", One(hard_sigmoid)),
    ("HardSwish", One(|cx| unary(cx, UnaryOp::HardSwish))),
    ("LeakyRelu", One(leaky_relu)),
    ("Mish", One(|cx| unary(cx, UnaryOp::Mish))),
    ("PRelu", One(prelu)),
    ("Relu", One(|cx| unary(cx, UnaryOp::Relu))),
    ("Selu", One(selu)),
    ("Shrink", One(shrink)),
    ("Sigmoid", One(|cx| unary(cx, UnaryOp::Sigmoid))),
    ("Softplus", One(|cx| unary(cx, UnaryOp::Softplus))),
    ("Softsign", One(softsign)),
    ("SwiGLU", One(swi_glu)),
    ("Swish", One(swish)),
    ("Tanh", One(|cx| unary(cx, UnaryOp::Tanh))),
    ("ThresholdedRelu", One(thresholded_relu)),
];

fn unary(cx: &mut Cx<'_>, op: UnaryOp) -> R<ValueId> {
    let x = cx.input(0)?;
    cx.unary(op, x)
}

/// A formula of several ops: half floats go through `f32` and are rounded once.
pub fn formula(cx: &mut Cx<'_>, f: impl Fn(&mut Cx<'_>, ValueId) -> R<ValueId>) -> R<ValueId> {
    let x = cx.input(0)?;
    let dtype = cx.dtype(x);
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return f(cx, x);
    }
    let wide = cx.cast(x, DType::F32)?;
    let y = f(cx, wide)?;
    cx.cast(y, dtype)
}

/// `x < 0 ? negative : x`.
fn below_zero(cx: &mut Cx<'_>, x: ValueId, negative: ValueId) -> R<ValueId> {
    let cond = cx.with_number(BinaryOp::Lt, x, 0.0)?;
    cx.select(cond, negative, x)
}

/// `alpha·(e^(x/over) − 1)`.
fn scaled_expm1(cx: &mut Cx<'_>, x: ValueId, over: f64, alpha: f64) -> R<ValueId> {
    let x = if over == 1.0 { x } else { cx.with_number(BinaryOp::Div, x, over)? };
    let e = cx.unary(UnaryOp::Exp, x)?;
    let e = cx.with_number(BinaryOp::Sub, e, 1.0)?;
    cx.with_number(BinaryOp::Mul, e, alpha)
}

fn elu(cx: &mut Cx<'_>) -> R<ValueId> {
    let alpha = cx.float("alpha", 1.0)?;
    formula(cx, |cx, x| {
        let negative = scaled_expm1(cx, x, 1.0, alpha.into())?;
        below_zero(cx, x, negative)
    })
}

fn selu(cx: &mut Cx<'_>) -> R<ValueId> {
    let alpha = cx.float("alpha", 1.673_263_2)?;
    let gamma = cx.float("gamma", 1.050_701)?;
    formula(cx, |cx, x| {
        let negative = scaled_expm1(cx, x, 1.0, alpha.into())?;
        let y = below_zero(cx, x, negative)?;
        cx.with_number(BinaryOp::Mul, y, gamma.into())
    })
}

/// `max(0, x) + min(0, alpha·(e^(x/alpha) − 1))`.
fn celu(cx: &mut Cx<'_>) -> R<ValueId> {
    let alpha = cx.float("alpha", 1.0)?;
    formula(cx, |cx, x| {
        let negative = scaled_expm1(cx, x, alpha.into(), alpha.into())?;
        let negative = cx.with_number(BinaryOp::Min, negative, 0.0)?;
        let positive = cx.with_number(BinaryOp::Max, x, 0.0)?;
        cx.binary(BinaryOp::Add, positive, negative)
    })
}

fn gelu(cx: &mut Cx<'_>) -> R<ValueId> {
    match cx.string("approximate", "none")?.as_str() {
        "none" => unary(cx, UnaryOp::GeluErf),
        "tanh" => unary(cx, UnaryOp::GeluTanh),
        other => malformed!("approximate '{other}' must be none or tanh"),
    }
}

fn hard_sigmoid(cx: &mut Cx<'_>) -> R<ValueId> {
    let (alpha, beta) = (cx.float("alpha", 0.2)?, cx.float("beta", 0.5)?);
    formula(cx, |cx, x| {
        let y = cx.with_number(BinaryOp::Mul, x, alpha.into())?;
        let y = cx.with_number(BinaryOp::Add, y, beta.into())?;
        cx.clamp(y, 0.0, 1.0)
    })
}

fn leaky_relu(cx: &mut Cx<'_>) -> R<ValueId> {
    let alpha = cx.float("alpha", 0.01)?;
    let x = cx.input(0)?;
    let negative = cx.with_number(BinaryOp::Mul, x, alpha.into())?;
    below_zero(cx, x, negative)
}

fn prelu(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, mut slope) = (cx.input(0)?, cx.input(1)?);
    let (shape, own) = (cx.shape(x), cx.shape(slope));
    // Before opset 7 a vector was one slope per channel; converters leave it as it was.
    if let ([size], [_, channels, .., last]) = (own.as_slice(), shape.as_slice())
        && size == channels
        && last.broadcast(size).is_none()
    {
        slope = cx.unsqueeze(slope, &(1..shape.len() - 1).collect::<Vec<_>>())?;
    }
    let negative = cx.binary(BinaryOp::Mul, x, slope)?;
    below_zero(cx, x, negative)
}

fn thresholded_relu(cx: &mut Cx<'_>) -> R<ValueId> {
    let alpha = cx.float("alpha", 1.0)?;
    let x = cx.input(0)?;
    let cond = cx.with_number(BinaryOp::Gt, x, alpha.into())?;
    let zero = cx.number_like(x, 0.0)?;
    cx.select(cond, x, zero)
}

fn shrink(cx: &mut Cx<'_>) -> R<ValueId> {
    let (bias, lambda) = (cx.float("bias", 0.0)?, cx.float("lambd", 0.5)?);
    let x = cx.input(0)?;
    let low = cx.with_number(BinaryOp::Lt, x, -f64::from(lambda))?;
    let high = cx.with_number(BinaryOp::Gt, x, lambda.into())?;
    let up = cx.with_number(BinaryOp::Add, x, bias.into())?;
    let down = cx.with_number(BinaryOp::Sub, x, bias.into())?;
    let zero = cx.number_like(x, 0.0)?;
    let rest = cx.select(high, down, zero)?;
    cx.select(low, up, rest)
}

fn softsign(cx: &mut Cx<'_>) -> R<ValueId> {
    formula(cx, |cx, x| {
        let size = cx.unary(UnaryOp::Abs, x)?;
        let below = cx.with_number(BinaryOp::Add, size, 1.0)?;
        cx.binary(BinaryOp::Div, x, below)
    })
}

fn swish(cx: &mut Cx<'_>) -> R<ValueId> {
    let alpha = cx.float("alpha", 1.0)?;
    if alpha == 1.0 {
        return unary(cx, UnaryOp::Silu);
    }
    formula(cx, |cx, x| {
        let gate = cx.with_number(BinaryOp::Mul, x, alpha.into())?;
        let gate = cx.unary(UnaryOp::Sigmoid, gate)?;
        cx.binary(BinaryOp::Mul, x, gate)
    })
}

/// `a·sigmoid(alpha·a)·b`.
fn swi_glu(cx: &mut Cx<'_>) -> R<ValueId> {
    let alpha = cx.float("alpha", 1.0)?;
    let gate = cx.input(1)?;
    formula(cx, |cx, a| {
        let scaled = cx.with_number(BinaryOp::Mul, a, alpha.into())?;
        let scaled = cx.unary(UnaryOp::Sigmoid, scaled)?;
        let swish = cx.binary(BinaryOp::Mul, a, scaled)?;
        let wide = cx.cast(gate, cx.dtype(swish))?;
        cx.binary(BinaryOp::Mul, swish, wide)
    })
}
