//! Casts, also from and to element types that are kept as bytes.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::narrow::{Format, Narrow};
use super::super::registry::{Importer::*, Table};
use super::super::tensor::{self, Tensor};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_ir::types::{DType, Scalar};

pub const OPS: Table = &[("Cast", One(cast)), ("CastLike", One(cast_like))];

/// An element type of ONNX.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    /// A dtype.
    Plain(DType),
    /// One kept as bytes.
    Narrow(Narrow),
}

/// What happens to numbers that a narrow float cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// The largest number rather than infinity or NaN.
    pub saturate: bool,
    /// Where between two neighbours; only a format without mantissa has a choice.
    pub toward: Toward,
}

/// Where a number between two neighbours goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    Nearest,
    Up,
    Down,
}

impl Rounding {
    /// As the attributes of a cast say.
    fn of(cx: &Cx<'_>) -> R<Rounding> {
        let toward = match cx.string("round_mode", "up")?.as_str() {
            "up" => Toward::Up,
            "down" => Toward::Down,
            "nearest" => Toward::Nearest,
            other => return malformed!("round_mode '{other}' does not exist"),
        };
        Ok(Rounding { saturate: cx.flag("saturate", true)?, toward })
    }
}

/// The element type of a data type code.
pub fn element(code: i64) -> R<Element> {
    let Ok(code) = i32::try_from(code) else { return malformed!("data type {code}") };
    match (Narrow::of_code(code), tensor::dtype(code)) {
        (Some(narrow), _) => Ok(Element::Narrow(narrow)),
        (None, Ok(dtype)) => Ok(Element::Plain(dtype)),
        (None, Err(reason)) => unsupported!("data type {code}: {reason}"),
    }
}

/// The element type of input `i`.
pub fn input_element(cx: &Cx<'_>, i: usize) -> R<Element> {
    match cx.narrow(i) {
        Some(narrow) => Ok(Element::Narrow(narrow)),
        None => Ok(Element::Plain(cx.input_type(i)?.dtype)),
    }
}

fn cast(cx: &mut Cx<'_>) -> R<ValueId> {
    let to = element(cx.int("to", 0)?)?;
    convert(cx, to)
}

fn cast_like(cx: &mut Cx<'_>) -> R<ValueId> {
    let to = input_element(cx, 1)?;
    convert(cx, to)
}

fn convert(cx: &mut Cx<'_>, to: Element) -> R<ValueId> {
    if input_element(cx, 0)? == to {
        return cx.input(0);
    }
    let rounding = Rounding::of(cx)?;
    let mut x = numbers(cx, 0)?;
    if cx.narrow(0).is_some() && to == Element::Plain(cx.dtype(x)) {
        // A value of its own: the operand stays marked as what it is.
        x = cx.emit(Op::Cast { to: cx.dtype(x) }, &[x])?;
    }
    match to {
        Element::Plain(DType::Str) => unsupported!("a cast to strings"),
        Element::Plain(_) if cx.dtype(x) == DType::Str => unsupported!("a cast from strings"),
        Element::Plain(dtype) => cx.cast(x, dtype),
        Element::Narrow(narrow) => encode(cx, x, narrow, rounding),
    }
}

/// Input `i` as a tensor of a dtype that holds its numbers: codes are looked up.
pub fn numbers(cx: &mut Cx<'_>, i: usize) -> R<ValueId> {
    let x = cx.input(i)?;
    let Some(Narrow::Float(format)) = cx.narrow(i) else { return Ok(x) };
    let numbers = format.numbers();
    let table = cx.imp.weight(Tensor::from_f32s(vec![numbers.len() as i64], &numbers), "");
    let table = cx.imp.value(table)?;
    let index = cx.cast(x, DType::I32)?;
    cx.emit(Op::Gather { axis: 0 }, &[table, index])
}

/// `x` as bytes of a narrow type.
pub fn encode(cx: &mut Cx<'_>, x: ValueId, to: Narrow, rounding: Rounding) -> R<ValueId> {
    let y = match to {
        Narrow::Float(format) => encode_float(cx, x, &format, rounding)?,
        Narrow::Int(bits) | Narrow::UInt(bits) => wrap(cx, x, bits, to.storage())?,
    };
    cx.imp.mark_narrow(y, to);
    Ok(y)
}

/// The low `bits` of an integer, with its sign where the storage has one.
fn wrap(cx: &mut Cx<'_>, x: ValueId, bits: u32, storage: DType) -> R<ValueId> {
    let whole = cx.cast(x, DType::I32)?;
    let mask = cx.fill(Scalar::from_i64(DType::I32, (1 << bits) - 1), vec![])?;
    let mut low = cx.binary(BinaryOp::BitAnd, whole, mask)?;
    if storage == DType::I8 {
        // Values from half of the range on are negative.
        let negative = cx.with_number(BinaryOp::Ge, low, f64::from(1u32 << (bits - 1)))?;
        let shifted = cx.with_number(BinaryOp::Sub, low, f64::from(1u32 << bits))?;
        low = cx.select(negative, shifted, low)?;
    }
    cx.cast(low, storage)
}

/// The magnitude's exponent `e` is found by halving the range, after which `y` is in
/// `[0, 2)` and the code is `e·2^m + round(y·2^m)`: a mantissa that is rounded up to 2
/// carries into the exponent by itself, and denormals have `e = 0`. All in `f64`, exact
/// but for the one rounding.
fn encode_float(cx: &mut Cx<'_>, x: ValueId, format: &Format, rounding: Rounding) -> R<ValueId> {
    let x = cx.cast(x, DType::F64)?;
    let size = cx.unary(UnaryOp::Abs, x)?;
    // The smallest normal number becomes 1; without denormals the smallest number does.
    let lift = format.bias - format.signed as i32;
    let mut y = cx.with_number(BinaryOp::Mul, size, f64::powi(2.0, lift))?;
    let mut exponent = cx.number(DType::F64, 0.0)?;
    let levels = 8 - format.mantissa - format.signed as u32;
    for step in (0..levels.min(format.bits)).rev().map(|k| 1 << k) {
        let large = cx.with_number(BinaryOp::Ge, y, f64::powi(2.0, step))?;
        let scaled = cx.with_number(BinaryOp::Mul, y, f64::powi(2.0, -step))?;
        y = cx.select(large, scaled, y)?;
        let more = cx.with_number(BinaryOp::Add, exponent, f64::from(step))?;
        exponent = cx.select(large, more, exponent)?;
    }
    let unit = f64::from(1u32 << format.mantissa);
    let mantissa = cx.with_number(BinaryOp::Mul, y, unit)?;
    let mantissa = match rounding.toward {
        _ if format.signed => cx.unary(UnaryOp::Round, mantissa)?,
        Toward::Nearest => cx.unary(UnaryOp::Round, mantissa)?,
        Toward::Up => cx.unary(UnaryOp::Ceil, mantissa)?,
        Toward::Down => cx.unary(UnaryOp::Floor, mantissa)?,
    };
    let high = cx.with_number(BinaryOp::Mul, exponent, unit)?;
    let mut code = cx.binary(BinaryOp::Add, high, mantissa)?;
    if !format.signed {
        // Code 0 is a number like the others: the leading 1 of the mantissa is not coded.
        code = cx.with_number(BinaryOp::Sub, code, 1.0)?;
        code = cx.with_number(BinaryOp::Max, code, 0.0)?;
    }
    finish(cx, [x, size, code], format, rounding)
}

/// Overflow, sign and NaN of a magnitude's code.
fn finish(
    cx: &mut Cx<'_>,
    [x, size, code]: [ValueId; 3],
    format: &Format,
    rounding: Rounding,
) -> R<ValueId> {
    let largest = f64::from(format.largest);
    let sign = f64::from(1u32 << (format.bits - 1));
    let over = match (rounding.saturate, format.infinity, format.nan) {
        (false, Some(infinity), _) => f64::from(infinity),
        (false, None, Some(nan)) => f64::from(nan),
        _ => largest,
    };
    let too_large = cx.with_number(BinaryOp::Gt, code, largest)?;
    let infinite = cx.unary(UnaryOp::IsInf, size)?;
    let too_large = cx.binary(BinaryOp::Or, too_large, infinite)?;
    let over_code = cx.number(DType::F64, over)?;
    let mut code = cx.select(too_large, over_code, code)?;
    if format.signed {
        let signed = cx.with_number(BinaryOp::Add, code, sign)?;
        let mut negative = is_negative(cx, x)?;
        if !format.negative_zero {
            // The code of a negative zero and of NaN have the sign already.
            let plain = cx.with_number(BinaryOp::Lt, code, sign)?;
            let nonzero = cx.with_number(BinaryOp::Ne, code, 0.0)?;
            let plain = cx.binary(BinaryOp::And, plain, nonzero)?;
            negative = cx.binary(BinaryOp::And, negative, plain)?;
        }
        code = cx.select(negative, signed, code)?;
    }
    // A format without NaN has a negative zero for it.
    let nan = cx.number(DType::F64, format.nan.map_or(sign, f64::from))?;
    let undefined = cx.unary(UnaryOp::IsNan, x)?;
    let code = cx.select(undefined, nan, code)?;
    cx.cast(code, DType::U8)
}

/// Whether the sign is set, of −0 too: `1/x < 0`, and −∞.
fn is_negative(cx: &mut Cx<'_>, x: ValueId) -> R<ValueId> {
    let inverse = cx.unary(UnaryOp::Recip, x)?;
    let below = cx.with_number(BinaryOp::Lt, inverse, 0.0)?;
    let negative = cx.with_number(BinaryOp::Lt, x, 0.0)?;
    cx.binary(BinaryOp::Or, below, negative)
}
