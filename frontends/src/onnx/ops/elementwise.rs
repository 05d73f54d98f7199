//! Element-wise arithmetic, comparisons, logic, bits, casts.

use super::super::cx::Cx;
use super::super::emit::one;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::source::named_dtype;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_ir::types::{DType, Scalar};

pub const OPS: Table = &[
    ("Abs", One(|cx| unary(cx, UnaryOp::Abs))),
    ("Acos", One(|cx| unary(cx, UnaryOp::Acos))),
    ("Acosh", One(|cx| unary(cx, UnaryOp::Acosh))),
    ("Add", One(|cx| binary(cx, BinaryOp::Add))),
    ("And", One(|cx| binary(cx, BinaryOp::And))),
    ("Asin", One(|cx| unary(cx, UnaryOp::Asin))),
    ("Asinh", One(|cx| unary(cx, UnaryOp::Asinh))),
    ("Atan", One(|cx| unary(cx, UnaryOp::Atan))),
    ("Atanh", One(|cx| unary(cx, UnaryOp::Atanh))),
    ("BitCast", One(bit_cast)),
    ("BitShift", One(bit_shift)),
    ("BitwiseAnd", One(|cx| binary(cx, BinaryOp::BitAnd))),
    ("BitwiseNot", One(|cx| unary(cx, UnaryOp::BitNot))),
    ("BitwiseOr", One(|cx| binary(cx, BinaryOp::BitOr))),
    ("BitwiseXor", One(|cx| binary(cx, BinaryOp::BitXor))),
    ("Ceil", One(|cx| unary(cx, UnaryOp::Ceil))),
    ("Clip", One(clip)),
    ("Cos", One(|cx| unary(cx, UnaryOp::Cos))),
    ("Cosh", One(|cx| unary(cx, UnaryOp::Cosh))),
    ("Div", One(|cx| binary(cx, BinaryOp::Div))),
    ("Dropout", Many(dropout)),
    ("Equal", One(|cx| binary(cx, BinaryOp::Eq))),
    ("Erf", One(|cx| unary(cx, UnaryOp::Erf))),
    ("Exp", One(|cx| unary(cx, UnaryOp::Exp))),
    ("Floor", One(|cx| unary(cx, UnaryOp::Floor))),
    ("Greater", One(|cx| binary(cx, BinaryOp::Gt))),
    ("GreaterOrEqual", One(|cx| binary(cx, BinaryOp::Ge))),
    ("Identity", Many(identity)),
    ("IsInf", One(is_inf)),
    ("IsNaN", One(|cx| unary(cx, UnaryOp::IsNan))),
    ("Less", One(|cx| binary(cx, BinaryOp::Lt))),
    ("LessOrEqual", One(|cx| binary(cx, BinaryOp::Le))),
    ("Log", One(|cx| unary(cx, UnaryOp::Log))),
    ("Max", One(|cx| variadic(cx, BinaryOp::Max))),
    ("Mean", One(mean)),
    ("Min", One(|cx| variadic(cx, BinaryOp::Min))),
    ("Mod", One(modulo)),
    ("Mul", One(|cx| binary(cx, BinaryOp::Mul))),
    ("Neg", One(|cx| unary(cx, UnaryOp::Neg))),
    ("Not", One(|cx| unary(cx, UnaryOp::Not))),
    ("Or", One(|cx| binary(cx, BinaryOp::Or))),
    ("Pow", One(pow)),
    ("Reciprocal", One(|cx| unary(cx, UnaryOp::Recip))),
    ("Round", One(|cx| unary(cx, UnaryOp::Round))),
    ("Sign", One(|cx| unary(cx, UnaryOp::Sign))),
    ("Sin", One(|cx| unary(cx, UnaryOp::Sin))),
    ("Sinh", One(|cx| unary(cx, UnaryOp::Sinh))),
    ("Sqrt", One(|cx| unary(cx, UnaryOp::Sqrt))),
    ("Sub", One(|cx| binary(cx, BinaryOp::Sub))),
    ("Sum", One(|cx| variadic(cx, BinaryOp::Add))),
    ("Tan", One(|cx| unary(cx, UnaryOp::Tan))),
    ("Where", One(choose)),
    ("Xor", One(|cx| binary(cx, BinaryOp::Xor))),
];

fn unary(cx: &mut Cx<'_>, op: UnaryOp) -> R<ValueId> {
    let x = cx.input(0)?;
    cx.unary(op, x)
}

fn binary(cx: &mut Cx<'_>, op: BinaryOp) -> R<ValueId> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    cx.binary(op, a, b)
}

fn variadic(cx: &mut Cx<'_>, op: BinaryOp) -> R<ValueId> {
    let inputs = cx.all_inputs()?;
    let Some((&first, rest)) = inputs.split_first() else {
        return malformed!("it has no input");
    };
    rest.iter().try_fold(first, |total, &x| cx.binary(op, total, x))
}

fn mean(cx: &mut Cx<'_>) -> R<ValueId> {
    let total = variadic(cx, BinaryOp::Add)?;
    let n = cx.inputs.len();
    cx.with_number(BinaryOp::Div, total, n as f64)
}

fn modulo(cx: &mut Cx<'_>) -> R<ValueId> {
    let op = if cx.flag("fmod", false)? { BinaryOp::Rem } else { BinaryOp::Mod };
    binary(cx, op)
}

/// Between integers of one width the same bits are what a cast gives.
fn bit_cast(cx: &mut Cx<'_>) -> R<ValueId> {
    let to = named_dtype(cx.int("to", 0)?)?;
    let x = cx.input(0)?;
    let from = cx.dtype(x);
    if from.size_bytes() != to.size_bytes() {
        return malformed!("bits of {from} read as {to}");
    }
    let whole = |d: DType| d.is_int() || matches!(d, DType::F32 | DType::F64);
    match from == to || from == DType::Bool && to.is_int() {
        true => cx.cast(x, to),
        false if whole(from) && whole(to) => cx.emit(Op::BitCast { to }, &[x]),
        false => unsupported!("bits of {from} read as {to}"),
    }
}

/// Right shifts of signed integers keep the sign: `x < 0 ? ~(~x >> n) : x >> n`.
fn bit_shift(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, n) = (cx.input(0)?, cx.input(1)?);
    match cx.string("direction", "")?.as_str() {
        "LEFT" => return cx.binary(BinaryOp::Shl, x, n),
        "RIGHT" => {}
        other => return malformed!("direction '{other}' must be LEFT or RIGHT"),
    }
    let logical = cx.binary(BinaryOp::Shr, x, n)?;
    if !cx.dtype(x).is_signed_int() {
        return Ok(logical);
    }
    let inverse = cx.unary(UnaryOp::BitNot, x)?;
    let shifted = cx.binary(BinaryOp::Shr, inverse, n)?;
    let signed = cx.unary(UnaryOp::BitNot, shifted)?;
    let negative = cx.with_number(BinaryOp::Lt, x, 0.0)?;
    cx.select(negative, signed, logical)
}

/// The result has the base's dtype; a float exponent of an integer base is computed in `f64`.
fn pow(cx: &mut Cx<'_>) -> R<ValueId> {
    let (base, exponent) = (cx.input(0)?, cx.input(1)?);
    let dtype = cx.dtype(base);
    if !dtype.is_float() && cx.dtype(exponent).is_float() {
        let wide = cx.cast(base, DType::F64)?;
        let exponent = cx.cast(exponent, DType::F64)?;
        let power = cx.binary(BinaryOp::Pow, wide, exponent)?;
        return cx.cast(power, dtype);
    }
    let exponent = cx.cast(exponent, dtype)?;
    cx.binary(BinaryOp::Pow, base, exponent)
}

fn clip(cx: &mut Cx<'_>) -> R<ValueId> {
    let mut x = cx.input(0)?;
    for (i, name, op) in [(1, "min", BinaryOp::Max), (2, "max", BinaryOp::Min)] {
        let bound = match cx.optional(i)? {
            Some(bound) => Some(bound),
            None => match cx.opt_float(name)? {
                Some(v) => Some(cx.number_like(x, v.into())?),
                None => None,
            },
        };
        if let Some(bound) = bound {
            // Some exporters give a vector of one element for the scalar.
            let bound = cx.reshape(bound, vec![])?;
            x = cx.binary(op, x, bound)?;
        }
    }
    Ok(x)
}

fn choose(cx: &mut Cx<'_>) -> R<ValueId> {
    let (cond, a, b) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    cx.select(cond, a, b)
}

fn is_inf(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let (negative, positive) =
        (cx.flag("detect_negative", true)?, cx.flag("detect_positive", true)?);
    match (negative, positive) {
        (true, true) => cx.unary(UnaryOp::IsInf, x),
        (true, false) => cx.with_number(BinaryOp::Eq, x, f64::NEG_INFINITY),
        (false, true) => cx.with_number(BinaryOp::Eq, x, f64::INFINITY),
        (false, false) => {
            let shape = cx.shape(x);
            cx.fill(Scalar::bool(false), shape)
        }
    }
}

fn identity(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    Ok(vec![cx.slot(0)?])
}

/// Inference: the operand itself; the mask keeps everything.
fn dropout(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let training = match cx.has(2) {
        true => cx.known_int(2)? != 0,
        false => false,
    };
    let ratio = match cx.tensor(1).as_ref().and_then(super::super::cx::floats) {
        Some(r) => r.first().copied().unwrap_or(0.5),
        None => 0.5,
    };
    cx.require(!training || ratio == 0.0, "training mode")?;
    let mut results = vec![cx.slot(0)?];
    if cx.wants(1) {
        let ty = cx.input_type(0)?;
        // Before opset 10 the mask had the operand's dtype.
        let dtype = if cx.version >= 10 { DType::Bool } else { ty.dtype };
        results.extend(one(cx.fill(Scalar::from_i64(dtype, 1), ty.shape)?)?);
    }
    Ok(results)
}
