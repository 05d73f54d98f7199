//! LabelEncoder: each element is looked up in a list of keys.

use super::super::cx::Cx;
use super::super::error::{R, Refusal, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::super::tensor::Tensor;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_ir::types::DType;

pub const OPS: Table = &[("LabelEncoder", One(label_encoder))];

/// Most keys that are compared with every element.
const MOST_KEYS: usize = 1 << 16;

fn label_encoder(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let (keys, values, default) = match cx.version {
        1 => classes(cx, x)?,
        _ => (side(cx, "keys")?, side(cx, "values")?, None),
    };
    let (keys, values) = (one_dim(keys)?, one_dim(values)?);
    let default = match default {
        Some(default) => default,
        None => self::default(cx, values.dtype)?,
    };
    if keys.dims != values.dims {
        return malformed!("{:?} keys and {:?} values", keys.dims, values.dims);
    }
    if keys.dtype != cx.dtype(x) {
        return malformed!("keys of type {} for elements of type {}", keys.dtype, cx.dtype(x));
    }
    if keys.dims[0] > MOST_KEYS as i64 {
        return unsupported!("{} keys, at most {MOST_KEYS}", keys.dims[0]);
    }
    look_up(cx, x, keys, values, default)
}

/// The value of the first key that an element equals, else the default.
fn look_up(
    cx: &mut Cx<'_>,
    x: ValueId,
    keys: Tensor,
    values: Tensor,
    default: Tensor,
) -> R<ValueId> {
    let (count, shape) = (keys.dims[0], cx.shape(x));
    let keys = value(cx, keys)?;
    let (values, default) = (value(cx, values)?, value(cx, default)?);
    let flat = cx.flatten(x)?;
    let column = cx.unsqueeze(flat, &[1])?;
    let mut same = cx.binary(BinaryOp::Eq, column, keys)?;
    if cx.dtype(x).is_float() {
        // A key that is no number stands for every element that is none.
        let (a, b) = (cx.unary(UnaryOp::IsNan, column)?, cx.unary(UnaryOp::IsNan, keys)?);
        let neither = cx.binary(BinaryOp::And, a, b)?;
        same = cx.binary(BinaryOp::Or, same, neither)?;
    }
    let places = cx.iota(DType::I64, vec![1.into(), count.into()], 1)?;
    let none = cx.number(DType::I64, count as f64)?;
    let hits = cx.select(same, places, none)?;
    let place = cx.reduce(ReduceOp::Min, hits, &[1], false)?;
    // No keys at all: the least of no numbers is the largest number.
    let place = cx.binary(BinaryOp::Min, place, none)?;
    let all = cx.concat(&[values, default], 0)?;
    let found = cx.emit(Op::Gather { axis: 0 }, &[all, place])?;
    cx.reshape(found, shape)
}

fn value(cx: &mut Cx<'_>, tensor: Tensor) -> R<ValueId> {
    let slot = cx.imp.weight(tensor, "");
    cx.imp.value(slot)
}

fn one_dim(mut tensor: Tensor) -> R<Tensor> {
    let dims = tensor.ty().elements().as_const().unwrap_or(0);
    tensor.dims = vec![dims];
    Ok(tensor)
}

fn texts(dims: Vec<i64>, texts: &[String]) -> R<Tensor> {
    Tensor::from_strings(dims, texts).map_err(Refusal::Malformed)
}

/// Opset 1: strings by number, and numbers of strings.
fn classes(cx: &mut Cx<'_>, x: ValueId) -> R<(Tensor, Tensor, Option<Tensor>)> {
    let Some(names) = cx.strings("classes_strings")? else {
        return malformed!("there are no classes_strings");
    };
    let n = names.len() as i64;
    let numbers = Tensor::from_i64s(vec![n], &(0..n).collect::<Vec<i64>>());
    let names = texts(vec![n], &names)?;
    if cx.dtype(x) == DType::Str {
        let default = Tensor::from_i64s(vec![1], &[cx.int("default_int64", -1)?]);
        return Ok((names, numbers, Some(default)));
    }
    let default = texts(vec![1], &[cx.string("default_string", "_Unused")?])?;
    Ok((numbers, names, Some(default)))
}

/// Keys or values, from the attribute that is given.
fn side(cx: &mut Cx<'_>, which: &str) -> R<Tensor> {
    if let Some(tensor) = cx.tensor_attribute(&format!("{which}_tensor"))? {
        return Ok(tensor);
    }
    if let Some(xs) = cx.ints(&format!("{which}_int64s"))? {
        return Ok(Tensor::from_i64s(vec![xs.len() as i64], &xs));
    }
    if let Some(xs) = cx.floats(&format!("{which}_floats"))? {
        return Ok(Tensor::from_f32s(vec![xs.len() as i64], &xs));
    }
    match cx.strings(&format!("{which}_strings"))? {
        Some(xs) => texts(vec![xs.len() as i64], &xs),
        None => malformed!("there are no {which}"),
    }
}

/// What stands for an element that is no key.
fn default(cx: &mut Cx<'_>, dtype: DType) -> R<Tensor> {
    if let Some(tensor) = cx.tensor_attribute("default_tensor")? {
        let tensor = one_dim(tensor)?;
        if tensor.dtype != dtype || tensor.dims != [1] {
            return malformed!("default_tensor is not one element of type {dtype}");
        }
        return Ok(tensor);
    }
    match dtype {
        DType::Str => texts(vec![1], &[cx.string("default_string", "_Unused")?]),
        DType::I64 => Ok(Tensor::from_i64s(vec![1], &[cx.int("default_int64", -1)?])),
        DType::F32 => Ok(Tensor::from_f32s(vec![1], &[cx.float("default_float", -0.0)?])),
        other => zero_or_minus_one(other),
    }
}

/// −1 for integers and 0 for floats, as ONNX defines the default of other types.
fn zero_or_minus_one(dtype: DType) -> R<Tensor> {
    let Some(width) = dtype.size_bytes() else { return malformed!("values of type {dtype}") };
    let number = if dtype.is_int() { -1.0 } else { 0.0 };
    let bits = cascata_ir::types::Scalar::from_f64(dtype, number).bits.to_le_bytes();
    Ok(Tensor { dtype, narrow: None, dims: vec![1], data: bits[..width].to_vec().into() })
}
