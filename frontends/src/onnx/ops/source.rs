//! Tensors from attributes, shapes and numbers.

use super::super::cx::Cx;
use super::super::error::{R, Refusal, malformed, unsupported};
use super::super::facts::{Elem, maximum};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::super::tensor::{self, Tensor};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar, SymbolTable};

pub const OPS: Table = &[
    ("BlackmanWindow", One(|cx| window(cx, [0.42, -0.5, 0.08]))),
    ("Constant", Many(constant)),
    ("ConstantOfShape", One(constant_of_shape)),
    ("EyeLike", One(eye_like)),
    ("HammingWindow", One(|cx| window(cx, [25.0 / 46.0, -21.0 / 46.0, 0.0]))),
    ("HannWindow", One(|cx| window(cx, [0.5, -0.5, 0.0]))),
    ("Range", One(range)),
    ("Shape", One(shape)),
    ("Size", One(size)),
];

fn constant(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let tensor = if let Some(t) = cx.tensor_attribute("value")? {
        t
    } else if let Some(x) = cx.opt_float("value_float")? {
        Tensor::from_f32s(vec![], &[x])
    } else if let Some(xs) = cx.floats("value_floats")? {
        Tensor::from_f32s(vec![xs.len() as i64], &xs)
    } else if let Some(x) = cx.opt_int("value_int")? {
        Tensor::from_i64s(vec![], &[x])
    } else if let Some(xs) = cx.ints("value_ints")? {
        Tensor::from_i64s(vec![xs.len() as i64], &xs)
    } else if cx.has_attribute("sparse_value") {
        return unsupported!("a sparse constant");
    } else if cx.has_attribute("value_string") {
        strings(vec![], &[cx.string("value_string", "")?])?
    } else if let Some(texts) = cx.strings("value_strings")? {
        strings(vec![texts.len() as i64], &texts)?
    } else {
        return malformed!("it has no value");
    };
    Ok(vec![cx.imp.weight(tensor, "")])
}

fn strings(dims: Vec<i64>, texts: &[String]) -> R<Tensor> {
    Tensor::from_strings(dims, texts).map_err(Refusal::Malformed)
}

fn constant_of_shape(cx: &mut Cx<'_>) -> R<ValueId> {
    let value = match cx.tensor_attribute("value")? {
        None => Scalar::f32(0.0),
        Some(t) => match t.dtype.size_bytes() {
            Some(width) if t.data.len() == width => {
                let mut bits = [0u8; 8];
                bits[..width].copy_from_slice(&t.data);
                Scalar { dtype: t.dtype, bits: u64::from_le_bytes(bits) }
            }
            None => return unsupported!("a tensor of one string"),
            _ => return malformed!("value must have one element"),
        },
    };
    let shape = cx.raw_dims(0)?;
    if let Some(d) = shape.iter().find(|d| d.bounds(cx.symbols()).1 < 0) {
        return malformed!("a dim of {}", cx.show(d));
    }
    cx.fill(value, shape)
}

/// Ones where `column − row == k`.
fn eye_like(cx: &mut Cx<'_>) -> R<ValueId> {
    let ty = cx.input_type(0)?;
    let [rows, columns] = ty.shape.as_slice() else {
        return malformed!("the operand has rank {}, must be 2", ty.rank());
    };
    let dtype = match cx.opt_int("dtype")? {
        Some(code) => named_dtype(code)?,
        None => ty.dtype,
    };
    let k = cx.int("k", 0)?;
    let row = cx.iota(DType::I64, vec![rows.clone(), 1.into()], 0)?;
    let column = cx.iota(DType::I64, vec![1.into(), columns.clone()], 1)?;
    let distance = cx.binary(BinaryOp::Sub, column, row)?;
    let k = cx.fill(Scalar::i64(k), vec![])?;
    let hit = cx.binary(BinaryOp::Eq, distance, k)?;
    cx.cast(hit, dtype)
}

/// The dtype of a data type attribute.
pub fn named_dtype(code: i64) -> R<DType> {
    let code = i32::try_from(code).map_err(|_| "no such data type".to_string());
    match code.and_then(tensor::dtype) {
        Ok(dtype) => Ok(dtype),
        Err(reason) => unsupported!("dtype: {reason}"),
    }
}

fn shape(cx: &mut Cx<'_>) -> R<ValueId> {
    let shape = cx.input_type(0)?.shape;
    let rank = shape.len() as i64;
    let clamp =
        |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (clamp(cx.int("start", 0)?), clamp(cx.int("end", rank)?));
    cx.dim_vector(shape[start..end.max(start)].to_vec())
}

fn size(cx: &mut Cx<'_>) -> R<ValueId> {
    let elements = cx.input_type(0)?.elements();
    cx.dim_scalar(elements, DType::I64)
}

/// `start + delta·i` for `i < max(0, ⌈(limit − start) / delta⌉)`.
fn range(cx: &mut Cx<'_>) -> R<ValueId> {
    let count = match static_count(cx)? {
        Some(count) => count,
        None => runtime_count(cx)?,
    };
    let dtype = cx.input_type(0)?.dtype;
    let index = cx.iota(dtype, vec![count], 0)?;
    let known = |cx: &Cx<'_>, i: usize| cx.facts(i).and_then(|f| f.elems.first()?.as_f64());
    let (start, delta) = (known(cx, 0), known(cx, 2));
    let mut y = index;
    if delta != Some(1.0) {
        let delta = cx.input(2)?;
        let delta = cx.reshape(delta, vec![])?;
        y = cx.binary(BinaryOp::Mul, y, delta)?;
    }
    if start != Some(0.0) {
        let start = cx.input(0)?;
        let start = cx.reshape(start, vec![])?;
        y = cx.binary(BinaryOp::Add, y, start)?;
    }
    Ok(y)
}

/// The number of elements as an expression, where the bounds are known.
fn static_count(cx: &Cx<'_>) -> R<Option<Dim>> {
    let part = |i: usize| cx.facts(i).and_then(|f| f.elems.first().cloned());
    let (Some(start), Some(limit), Some(delta)) = (part(0), part(1), part(2)) else {
        return Ok(None);
    };
    let exact = |e: &Elem| match e {
        Elem::Exact { num, den } => Some((num.clone(), *den)),
        Elem::Unknown(_) => None,
    };
    let (Some(s), Some(l), Some(d)) = (exact(&start), exact(&limit), exact(&delta)) else {
        return Ok(None);
    };
    // Over a common power of two.
    let den = s.1.max(l.1).max(d.1);
    let scaled = |(num, d): (Dim, i64)| num * (den / d);
    let (s, l, d) = (scaled(s), scaled(l), scaled(d));
    let Some(step) = d.as_const() else { return Ok(None) };
    let count = match step {
        0 => return malformed!("delta is 0"),
        _ if step > 0 => (l - s).ceil_div(&d),
        _ => (s - l).ceil_div(&-d),
    };
    let count = maximum(&count, &0.into(), cx.symbols());
    if count.bounds(cx.symbols()).0 > SymbolTable::DEFAULT_MAX {
        return malformed!("{} elements", cx.show(&count));
    }
    Ok(Some(count))
}

fn runtime_count(cx: &mut Cx<'_>) -> R<Dim> {
    let mut parts = Vec::new();
    for i in 0..3 {
        let x = cx.input(i)?;
        let x = cx.cast(x, DType::F64)?;
        parts.push(cx.reshape(x, vec![1.into()])?);
    }
    let distance = cx.binary(BinaryOp::Sub, parts[1], parts[0])?;
    let count = cx.binary(BinaryOp::Div, distance, parts[2])?;
    let count = cx.unary(UnaryOp::Ceil, count)?;
    let count = cx.with_number(BinaryOp::Max, count, 0.0)?;
    let count = cx.cast(count, DType::I64)?;
    Ok(cx.bind_vector(count, 1)?.swap_remove(0))
}

/// `a0 + a1·cos(2πi/n) + a2·cos(4πi/n)`; `n` is the size, one less when symmetric.
fn window(cx: &mut Cx<'_>, [a0, a1, a2]: [f64; 3]) -> R<ValueId> {
    let size = match cx.raw_dims(0)?.as_slice() {
        [size] => size.clone(),
        other => return malformed!("size has {} elements", other.len()),
    };
    let dtype = named_dtype(cx.int("output_datatype", 1)?)?;
    let periods = if cx.flag("periodic", true)? { size.clone() } else { size.clone() - 1 };
    let index = cx.iota(DType::F64, vec![size], 0)?;
    let n = cx.dim_scalar(periods, DType::F64)?;
    let turn = cx.with_number(BinaryOp::Mul, index, std::f64::consts::TAU)?;
    let angle = cx.binary(BinaryOp::Div, turn, n)?;
    let cosine = cx.unary(UnaryOp::Cos, angle)?;
    let y = cx.with_number(BinaryOp::Mul, cosine, a1)?;
    let mut y = cx.with_number(BinaryOp::Add, y, a0)?;
    if a2 != 0.0 {
        let double = cx.with_number(BinaryOp::Mul, angle, 2.0)?;
        let cosine = cx.unary(UnaryOp::Cos, double)?;
        let term = cx.with_number(BinaryOp::Mul, cosine, a2)?;
        y = cx.binary(BinaryOp::Add, y, term)?;
    }
    cx.cast(y, dtype)
}
