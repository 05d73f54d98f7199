//! Element-wise rules.

use super::super::complexity::is_simple;
use super::super::cx::Cx;
use super::super::facts::{Elem, Facts, at_least, maximum, minimum, truncating_div};
use super::super::tensor;
use super::movement::broadcast_dims;
use cascata_ir::types::{DType, Dim, SymbolTable};

pub fn unary(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let x = cx.facts(0)?;
    let float = x.dtype.is_float();
    let op = cx.node.op_type();
    let elems = x.elems.iter().map(|e| unary_elem(op, e, float, cx.symbols())).collect();
    Some(vec![Facts { elems, ..x.as_ref().clone() }])
}

fn unary_elem(op: &str, x: &Elem, float: bool, symbols: &SymbolTable) -> Elem {
    let Elem::Exact { num, den } = x else { return x.clone() };
    let zero = Dim::from(0);
    let positive = at_least(num, &zero, symbols);
    let exact = |num: Dim| Elem::Exact { num, den: *den };
    match op {
        // −0 is not representable here.
        "Neg" if float && positive.is_none_or(|p| p && !num.at_least(1, symbols)) => {
            Elem::depends(&[x])
        }
        "Neg" => exact(-num.clone()),
        "Abs" => match positive {
            Some(true) => x.clone(),
            Some(false) => exact(-num.clone()),
            None => exact(num.maximum(&-num.clone())),
        },
        "Relu" => exact(maximum(num, &zero, symbols)),
        "Floor" => Elem::int(num.floor_div(&(*den).into())),
        // The ceiling of a number in (−1, 0) is −0.
        "Ceil" if positive == Some(true) => Elem::int(num.ceil_div(&(*den).into())),
        "Not" => match num.as_const() {
            Some(b) => Elem::bool(b == 0),
            None => Elem::depends(&[x]),
        },
        _ => Elem::depends(&[x]),
    }
}

pub fn binary(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let (a, b) = (cx.facts(0)?, cx.facts(1)?);
    let fmod = cx.flag("fmod", false).ok()?;
    combine(cx, &a, &b, cx.node.op_type(), fmod).map(|f| vec![f])
}

pub fn variadic(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let mut total = cx.facts(0)?.as_ref().clone();
    let op = match cx.node.op_type() {
        "Sum" => "Add",
        other => other,
    };
    for i in 1..cx.inputs.len() {
        total = combine(cx, &total, cx.facts(i)?.as_ref(), op, false)?;
    }
    Some(vec![total])
}

fn combine(cx: &Cx<'_>, a: &Facts, b: &Facts, op: &str, fmod: bool) -> Option<Facts> {
    let dims = broadcast_dims(&a.dims, &b.dims)?;
    let (a, b) = (a.expand(&dims)?, b.expand(&dims)?);
    let bools = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"];
    let dtype = if bools.contains(&op) { DType::Bool } else { a.dtype };
    let symbols = cx.symbols();
    let pairs = a.elems.iter().zip(&b.elems);
    let elems = pairs.map(|(x, y)| binary_elem(op, x, y, a.dtype, fmod, symbols)).collect();
    Some(Facts { dtype, dims, elems })
}

fn binary_elem(op: &str, x: &Elem, y: &Elem, dtype: DType, fmod: bool, s: &SymbolTable) -> Elem {
    let (Elem::Exact { num: xn, den: xd }, Elem::Exact { num: yn, den: yd }) = (x, y) else {
        return absorbing(op, x, y);
    };
    // Over a common power of two.
    let den = *xd.max(yd);
    let (a, b) = (xn.clone() * (den / xd), yn.clone() * (den / yd));
    let known = match op {
        "Add" => sum(&a, &b, 1, den),
        "Sub" => sum(&a, &b, -1, den),
        "Mul" => product(xn, yn, xd * yd),
        "Div" if dtype.is_float() => quotient(&a, &b),
        "Div" => truncating_div(&a, &b, s).map(Elem::int),
        "Mod" => modulo(&a, &b, dtype, fmod, s).map(|r| Elem::ratio(r, den)),
        "Max" => Some(Elem::ratio(maximum(&a, &b, s), den)),
        "Min" => Some(Elem::ratio(minimum(&a, &b, s), den)),
        "Pow" => power(x, y),
        "And" => Some(Elem::int(xn.clone() * yn.clone())),
        "Or" => Some(Elem::int(maximum(xn, yn, s))),
        "Xor" => equal(&a, &b, s).map(|e| Elem::bool(!e)),
        "Equal" => equal(&a, &b, s).map(Elem::bool),
        "GreaterOrEqual" => at_least(&a, &b, s).map(Elem::bool),
        "Less" => at_least(&a, &b, s).map(|r| Elem::bool(!r)),
        "LessOrEqual" => at_least(&b, &a, s).map(Elem::bool),
        "Greater" => at_least(&b, &a, s).map(|r| Elem::bool(!r)),
        _ => None,
    };
    known.unwrap_or_else(|| Elem::depends(&[x, y]))
}

/// One known operand may decide alone.
fn absorbing(op: &str, x: &Elem, y: &Elem) -> Elem {
    let either = |value| x.as_int() == Some(value) || y.as_int() == Some(value);
    match op {
        "And" if either(0) => Elem::bool(false),
        "Or" if either(1) => Elem::bool(true),
        _ => Elem::depends(&[x, y]),
    }
}

/// `a ± b`; numbers that overflow are not known, since dims saturate and tensors wrap.
fn sum(a: &Dim, b: &Dim, sign: i64, den: i64) -> Option<Elem> {
    if let (Some(a), Some(b)) = (a.as_const(), b.as_const()) {
        return Some(Elem::ratio(a.checked_add(b.checked_mul(sign)?)?.into(), den));
    }
    Some(Elem::ratio(a.clone() + b.clone() * sign, den))
}

fn product(a: &Dim, b: &Dim, den: i64) -> Option<Elem> {
    if let (Some(a), Some(b)) = (a.as_const(), b.as_const()) {
        return Some(Elem::ratio(a.checked_mul(b)?.into(), den));
    }
    if !is_simple(a) || !is_simple(b) {
        return None;
    }
    Some(Elem::ratio(a.clone() * b.clone(), den))
}

/// An exact float quotient: powers of two move below the line, the rest must divide.
fn quotient(a: &Dim, b: &Dim) -> Option<Elem> {
    let Some(number) = b.as_const() else { return a.exact_div(b).map(Elem::int) };
    if number == 0 || number == i64::MIN {
        return None;
    }
    let twos = number.trailing_zeros();
    let rest = Dim::from((number.abs() >> twos) * number.signum());
    Some(Elem::ratio(a.exact_div(&rest)?, 1i64.checked_shl(twos.min(62))?))
}

fn modulo(a: &Dim, b: &Dim, dtype: DType, fmod: bool, s: &SymbolTable) -> Option<Dim> {
    let truncating = fmod || dtype.is_float();
    if !b.at_least(1, s) || (truncating && at_least(a, &0.into(), s) != Some(true)) {
        return None;
    }
    Some(a.modulo(b))
}

fn power(x: &Elem, y: &Elem) -> Option<Elem> {
    let Elem::Exact { num, den } = x else { return None };
    let exponent = y.as_int().filter(|e| (0..=4).contains(e))?;
    (0..exponent).try_fold(Elem::int(1), |p, _| match p {
        Elem::Exact { num: n, den: d } => product(&n, num, d.checked_mul(*den)?),
        Elem::Unknown(_) => None,
    })
}

fn equal(a: &Dim, b: &Dim, s: &SymbolTable) -> Option<bool> {
    match (at_least(a, b, s), at_least(b, a, s)) {
        (Some(true), Some(true)) => Some(true),
        (Some(false), _) | (_, Some(false)) => Some(false),
        _ if a == b => Some(true),
        _ => None,
    }
}

pub fn choose(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let (c, a, b) = (cx.facts(0)?, cx.facts(1)?, cx.facts(2)?);
    let dims = broadcast_dims(&broadcast_dims(&c.dims, &a.dims)?, &b.dims)?;
    let (c, a, b) = (c.expand(&dims)?, a.expand(&dims)?, b.expand(&dims)?);
    let pick = |i: usize| {
        let (c, a, b) = (&c.elems[i], &a.elems[i], &b.elems[i]);
        match c.as_int() {
            Some(0) => b.clone(),
            Some(_) => a.clone(),
            None if a == b => a.clone(),
            None => Elem::depends(&[c, a, b]),
        }
    };
    let elems = (0..c.elems.len()).map(pick).collect();
    Some(vec![Facts { dtype: a.dtype, dims, elems }])
}

pub fn cast(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let x = cx.facts(0)?;
    let to = match cx.node.op_type() {
        "CastLike" => cx.input_type(1).ok()?.dtype,
        _ => tensor::dtype(i32::try_from(cx.int("to", 0).ok()?).ok()?).ok()?,
    };
    if to == DType::Str {
        return None;
    }
    let symbols = cx.symbols();
    let elems = x.elems.iter().map(|e| cast_elem(e, x.dtype, to, symbols)).collect();
    Some(vec![Facts { dtype: to, dims: x.dims.clone(), elems }])
}

fn cast_elem(x: &Elem, from: DType, to: DType, symbols: &SymbolTable) -> Elem {
    let Elem::Exact { num, den } = x else { return x.clone() };
    let known = match to {
        DType::Bool => equal(num, &0.into(), symbols).map(|zero| Elem::bool(!zero)),
        _ if to.is_float() || !from.is_float() => Some(x.clone()),
        _ => truncating_div(num, &(*den).into(), symbols).map(Elem::int),
    };
    known.unwrap_or_else(|| Elem::depends(&[x]))
}
