//! Quantised operators, decomposed exactly: integers are subtracted, multiplied and summed
//! in `i32`, scales are applied in `f32`.

use super::super::cx::{Cx, axis};
use super::super::emit::many;
use super::super::error::{R, malformed, unsupported};
use super::super::narrow::Narrow;
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::contraction::matmul;
use super::conv::conv_i32;
use super::convert::{Element, Rounding, Toward, element, encode, input_element, numbers};
use super::source::named_dtype;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, ReduceOp, UnaryOp};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[
    ("ConvInteger", One(conv_integer)),
    ("DequantizeLinear", One(dequantize_linear)),
    ("DynamicQuantizeLinear", Many(dynamic_quantize_linear)),
    ("MatMulInteger", One(matmul_integer)),
    ("QLinearConv", One(qlinear_conv)),
    ("QLinearMatMul", One(qlinear_matmul)),
    ("QuantizeLinear", One(quantize_linear)),
];

/// Smallest and largest number of an integer dtype.
fn range(dtype: DType) -> R<(f64, f64)> {
    Ok(match dtype {
        DType::I8 => (-128.0, 127.0),
        DType::U8 => (0.0, 255.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::U16 => (0.0, 65535.0),
        other => return unsupported!("quantisation to {other}"),
    })
}

/// `saturate(round(x) + zero_point)`, `x` being divided by the scale already.
pub fn saturate(cx: &mut Cx<'_>, x: ValueId, zero: Option<ValueId>, to: DType) -> R<ValueId> {
    let range = range(to)?;
    saturate_to(cx, x, zero, range, to)
}

/// As [`saturate`], to the numbers of a range.
fn saturate_to(
    cx: &mut Cx<'_>,
    x: ValueId,
    zero: Option<ValueId>,
    (low, high): (f64, f64),
    to: DType,
) -> R<ValueId> {
    let mut y = cx.unary(UnaryOp::Round, x)?;
    if let Some(zero) = zero {
        let dtype = cx.dtype(y);
        let zero = cx.cast(zero, dtype)?;
        y = cx.binary(BinaryOp::Add, y, zero)?;
    }
    let y = cx.clamp(y, low, high)?;
    cx.cast(y, to)
}

/// A scale or zero point so that it broadcasts against `x`: one number, a vector along
/// the axis, or one number per block of the axis.
fn along_axis(cx: &mut Cx<'_>, p: ValueId, x: ValueId) -> R<ValueId> {
    let (shape, own) = (cx.shape(x), cx.shape(p));
    if own.iter().all(|d| d.is(1)) && own.len() <= 1 {
        return cx.reshape(p, vec![]);
    }
    let at = axis(cx.int("axis", 1)?, shape.len())?;
    if own.len() == 1 {
        let mut column = vec![Dim::from(1); shape.len()];
        column[at] = own[0].clone();
        return cx.reshape(p, column);
    }
    let block = cx.int("block_size", 0)?;
    if own.len() != shape.len() || !(1..=1 << 31).contains(&block) {
        return malformed!("scale of rank {} for an operand of rank {}", own.len(), shape.len());
    }
    // Each block's number is repeated over its elements; the last block may be shorter.
    let column = cx.unsqueeze(p, &[at + 1])?;
    let mut wide = cx.shape(column);
    wide[at + 1] = block.into();
    let column = cx.broadcast(column, wide)?;
    let mut whole = own.clone();
    whole[at] = own[at].clone() * block;
    let column = cx.reshape(column, whole)?;
    cx.slice_axis(column, at, 0.into(), shape[at].clone())
}

fn quantize_linear(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let to = match (cx.has(2), cx.int("output_dtype", 0)?) {
        (true, _) => input_element(cx, 2)?,
        (false, 0) => Element::Plain(DType::U8),
        (false, code) => element(code)?,
    };
    let scale = along_axis(cx, scale, x)?;
    let zero = match cx.optional(2)? {
        Some(zero) => Some(along_axis(cx, zero, x)?),
        None => None,
    };
    let dtype = cx.dtype(scale);
    let dtype = if dtype.is_float() { dtype } else { DType::F32 };
    let (x, scale) = (cx.cast(x, dtype)?, cx.cast(scale, dtype)?);
    let scaled = cx.binary(BinaryOp::Div, x, scale)?;
    match to {
        Element::Plain(to) => saturate(cx, scaled, zero, to),
        // The zero point of a float is 0.
        Element::Narrow(to @ Narrow::Float(_)) => {
            let saturate = cx.flag("saturate", true)?;
            // Adding the zero point takes the sign of −0.
            let (zero, none) =
                (cx.number_like(scaled, 0.0)?, cx.with_number(BinaryOp::Eq, scaled, 0.0)?);
            let scaled = cx.select(none, zero, scaled)?;
            encode(cx, scaled, to, Rounding { saturate, toward: Toward::Nearest })
        }
        Element::Narrow(to) => {
            let bits = to.bits();
            let (low, high) = match to {
                Narrow::Int(_) => {
                    (-f64::powi(2.0, bits as i32 - 1), f64::powi(2.0, bits as i32 - 1) - 1.0)
                }
                _ => (0.0, f64::powi(2.0, bits as i32) - 1.0),
            };
            let y = saturate_to(cx, scaled, zero, (low, high), to.storage())?;
            cx.imp.mark_narrow(y, to);
            Ok(y)
        }
    }
}

fn dequantize_linear(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, scale) = (numbers(cx, 0)?, cx.input(1)?);
    let scale = along_axis(cx, scale, x)?;
    let float = matches!(cx.narrow(0), Some(Narrow::Float(_)));
    let dtype = match cx.int("output_dtype", 0)? {
        0 => cx.dtype(scale),
        code => named_dtype(code)?,
    };
    let mut y = if float { x } else { cx.cast(x, DType::I32)? };
    // The zero point of a float is 0.
    if let Some(zero) = cx.optional(2)?.filter(|_| !float) {
        let zero = along_axis(cx, zero, x)?;
        let zero = cx.cast(zero, DType::I32)?;
        y = cx.binary(BinaryOp::Sub, y, zero)?;
    }
    let (y, scale) = (cx.cast(y, dtype)?, cx.cast(scale, dtype)?);
    cx.binary(BinaryOp::Mul, y, scale)
}

fn dynamic_quantize_linear(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let x = cx.input(0)?;
    many(quantized(cx, x)?)
}

/// `u8` over the range of the data, widened to hold 0, with its scale and zero point.
pub fn quantized(cx: &mut Cx<'_>, x: ValueId) -> R<[ValueId; 3]> {
    let axes: Vec<usize> = (0..cx.rank(x)).collect();
    let high = cx.reduce(ReduceOp::Max, x, &axes, false)?;
    let high = cx.with_number(BinaryOp::Max, high, 0.0)?;
    let low = cx.reduce(ReduceOp::Min, x, &axes, false)?;
    let low = cx.with_number(BinaryOp::Min, low, 0.0)?;
    let width = cx.binary(BinaryOp::Sub, high, low)?;
    let scale = cx.with_number(BinaryOp::Div, width, 255.0)?;
    let from_low = cx.binary(BinaryOp::Div, low, scale)?;
    let zero = cx.unary(UnaryOp::Neg, from_low)?;
    let zero = cx.clamp(zero, 0.0, 255.0)?;
    let zero = cx.unary(UnaryOp::Round, zero)?;
    let zero = cx.cast(zero, DType::U8)?;
    let scaled = cx.binary(BinaryOp::Div, x, scale)?;
    let y = saturate(cx, scaled, Some(zero), DType::U8)?;
    Ok([y, scale, zero])
}

/// `x − zero_point` in `i32`.
pub fn centred(cx: &mut Cx<'_>, x: ValueId, zero: Option<ValueId>) -> R<ValueId> {
    let x = cx.cast(x, DType::I32)?;
    let Some(zero) = zero else { return Ok(x) };
    let zero = cx.cast(zero, DType::I32)?;
    cx.binary(BinaryOp::Sub, x, zero)
}

/// A parameter per row of a left operand: `[M]` as `[M, 1]`.
fn per_row(cx: &mut Cx<'_>, p: ValueId, x: ValueId) -> R<ValueId> {
    match cx.shape(p).as_slice() {
        [d] if d.is(1) => cx.reshape(p, vec![]),
        [_] if cx.rank(x) > 1 => cx.unsqueeze(p, &[1]),
        _ => Ok(p),
    }
}

fn matmul_integer(cx: &mut Cx<'_>) -> R<ValueId> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let a_zero = match cx.optional(2)? {
        Some(z) => Some(per_row(cx, z, a)?),
        None => None,
    };
    let b_zero = cx.optional(3)?;
    let (a, b) = (centred(cx, a, a_zero)?, centred(cx, b, b_zero)?);
    matmul(cx, a, b)
}

/// A zero point per output channel of convolution weights.
fn per_output(cx: &mut Cx<'_>, p: ValueId, rank: usize) -> R<ValueId> {
    let mut shape = cx.shape(p);
    if shape.iter().all(|d| d.is(1)) {
        return cx.reshape(p, vec![]);
    }
    shape.extend(std::iter::repeat_n(Dim::from(1), rank.saturating_sub(shape.len())));
    cx.reshape(p, shape)
}

fn conv_integer(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let x_zero = match cx.optional(2)? {
        Some(z) => Some(cx.reshape(z, vec![])?),
        None => None,
    };
    let w_zero = match cx.optional(3)? {
        Some(z) => Some(per_output(cx, z, cx.rank(w))?),
        None => None,
    };
    let (x, w) = (centred(cx, x, x_zero)?, centred(cx, w, w_zero)?);
    conv_i32(cx, x, w, None)
}

/// `i32` sums to the result's dtype: times `a_scale·b_scale/y_scale`, rounded, saturated.
fn requantize(
    cx: &mut Cx<'_>,
    total: ValueId,
    [a_scale, b_scale, y_scale]: [ValueId; 3],
    y_zero: ValueId,
) -> R<ValueId> {
    let to = cx.dtype(y_zero);
    let mut scales = [a_scale, b_scale, y_scale];
    for s in &mut scales {
        *s = cx.cast(*s, DType::F32)?;
    }
    let factor = cx.binary(BinaryOp::Mul, scales[0], scales[1])?;
    let factor = cx.binary(BinaryOp::Div, factor, scales[2])?;
    let total = cx.cast(total, DType::F32)?;
    let scaled = cx.binary(BinaryOp::Mul, total, factor)?;
    saturate(cx, scaled, Some(y_zero), to)
}

fn qlinear_matmul(cx: &mut Cx<'_>) -> R<ValueId> {
    let mut p = Vec::new();
    for i in 0..8 {
        p.push(cx.input(i)?);
    }
    let (a, b) = (p[0], p[3]);
    let a_zero = per_row(cx, p[2], a)?;
    let (left, right) = (centred(cx, a, Some(a_zero))?, centred(cx, b, Some(p[5]))?);
    let total = matmul(cx, left, right)?;
    let a_scale = per_row(cx, p[1], a)?;
    let (y_scale, y_zero) = (per_row(cx, p[6], total)?, per_row(cx, p[7], total)?);
    requantize(cx, total, [a_scale, p[4], y_scale], y_zero)
}

fn qlinear_conv(cx: &mut Cx<'_>) -> R<ValueId> {
    let mut p = Vec::new();
    for i in 0..8 {
        p.push(cx.input(i)?);
    }
    let bias = cx.optional(8)?;
    let (x, w) = (p[0], p[3]);
    let x_zero = cx.reshape(p[2], vec![])?;
    let w_zero = per_output(cx, p[5], cx.rank(w))?;
    let (x, w) = (centred(cx, x, Some(x_zero))?, centred(cx, w, Some(w_zero))?);
    let total = conv_i32(cx, x, w, bias)?;
    let x_scale = cx.reshape(p[1], vec![])?;
    // Output channels are axis 1 of the result.
    let w_scale = per_output(cx, p[4], cx.rank(total) - 1)?;
    let (y_scale, y_zero) = (cx.reshape(p[6], vec![])?, cx.reshape(p[7], vec![])?);
    requantize(cx, total, [x_scale, w_scale, y_scale], y_zero)
}
