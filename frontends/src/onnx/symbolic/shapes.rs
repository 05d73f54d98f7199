//! Rules that start from shapes, and reductions.

use super::super::complexity::{is_simple, is_simple_shape};
use super::super::cx::{Cx, axes};
use super::super::facts::{Elem, Facts, MAX_ELEMENTS, maximum, minimum};
use cascata_ir::types::{DType, Dim};

pub fn shape(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let shape = cx.input_type(0).ok()?.shape;
    let rank = shape.len() as i64;
    let clamp =
        |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (clamp(cx.int("start", 0).ok()?), clamp(cx.int("end", rank).ok()?));
    let dims = shape.get(start..end.max(start))?.to_vec();
    Some(vec![Facts::vector(dims)])
}

pub fn size(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let ty = cx.input_type(0).ok()?;
    let elements = is_simple_shape(&ty.shape).then(|| ty.elements())?;
    Some(vec![Facts::scalar(DType::I64, Elem::int(elements))])
}

pub fn constant_of_shape(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let dims = cx.facts(0)?.as_ints()?;
    let product = |n: usize, d: &i64| n.checked_mul(usize::try_from(*d).ok()?);
    let n = dims.iter().try_fold(1, product).filter(|n| *n <= MAX_ELEMENTS)?;
    let value = cx.node.attribute.iter().find(|a| a.name() == "value");
    let (dtype, elem) = match value {
        None => (DType::F32, Elem::int(0)),
        Some(a) => {
            let mut none = super::super::external::ExternalFiles::new(None, 0);
            let tensor = super::super::tensor::read(a.t.as_ref()?, "value", &mut none).ok()?;
            let facts = Facts::of_tensor(&tensor)?;
            (facts.dtype, facts.elems.first()?.clone())
        }
    };
    Some(vec![Facts { dtype, dims, elems: vec![elem; n] }])
}

pub fn range(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let part = |i: usize| cx.facts(i)?.elems.first()?.as_f64();
    let (start, limit, delta) = (part(0)?, part(1)?, part(2)?);
    let count = ((limit - start) / delta).ceil().max(0.0);
    if !count.is_finite() || count > MAX_ELEMENTS as f64 {
        return None;
    }
    let dtype = cx.input_type(0).ok()?.dtype;
    let elems = (0..count as i64).map(|i| Elem::float(start + i as f64 * delta)).collect();
    Some(vec![Facts { dtype, dims: vec![count as i64], elems }])
}

pub fn non_zero(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let x = cx.facts(0)?;
    let mut found: Vec<Vec<i64>> = vec![Vec::new(); x.dims.len()];
    for (flat, elem) in x.elems.iter().enumerate() {
        // Only numbers decide; symbolic elements may be zero.
        if elem.as_f64()? == 0.0 {
            continue;
        }
        let mut rest = flat as i64;
        for a in (0..x.dims.len()).rev() {
            found[a].push(rest % x.dims[a]);
            rest /= x.dims[a];
        }
    }
    let n = found.first().map_or(0, Vec::len) as i64;
    let dims = vec![x.dims.len() as i64, n];
    let elems = found.into_iter().flatten().map(Elem::int).collect();
    Some(vec![Facts { dtype: DType::I64, dims, elems }])
}

/// Integer reductions of known elements.
pub fn reduce(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let x = cx.facts(0)?;
    if !x.dtype.is_int() {
        return None;
    }
    let rank = x.dims.len();
    let list = match cx.facts(1) {
        Some(f) => Some(f.as_ints()?),
        None if cx.has(1) => return None,
        None => cx.ints("axes").ok()?,
    };
    let list = list.filter(|l| !l.is_empty());
    if list.is_none() && cx.flag("noop_with_empty_axes", false).ok()? {
        return Some(vec![x.as_ref().clone()]);
    }
    // Only whole reductions occur in shape arithmetic.
    let reduced = match list {
        Some(l) => axes(&l, rank).ok()?,
        None => (0..rank).collect(),
    };
    if reduced.len() != rank || x.elems.is_empty() {
        return None;
    }
    let parts = x.as_dims()?;
    let symbols = cx.symbols();
    let join = |a: Dim, b: &Dim| {
        let total = match cx.node.op_type() {
            "ReduceMax" => maximum(&a, b, symbols),
            "ReduceMin" => minimum(&a, b, symbols),
            "ReduceProd" => a * b.clone(),
            _ => a + b.clone(),
        };
        // Numbers saturate here but wrap in tensors.
        let overflow = total.as_const().is_some_and(|n| n.unsigned_abs() > 1 << 62);
        (is_simple(&total) && !overflow).then_some(total)
    };
    let total = parts[1..].iter().try_fold(parts[0].clone(), join)?;
    let dims = if cx.flag("keepdims", true).ok()? { vec![1; rank] } else { vec![] };
    Some(vec![Facts { dtype: x.dtype, dims, elems: vec![Elem::int(total)] }])
}
