//! Slice: static, symbolic and data-dependent ranges.

use super::super::cx::{Cx, axis};
use super::super::error::{R, malformed, unsupported};
use super::super::facts::{Elem, at_least, maximum, minimum};
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, SliceRange};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[("Slice", One(slice))];

/// Ends from here on mean "to the end": exporters write `INT64_MAX`, `INT32_MAX` or 10^9.
const TO_THE_END: i64 = 1_000_000_000;

/// Where the ranges of a node come from: attributes at first, inputs since opset 10.
struct Operands {
    starts: Vec<Elem>,
    ends: Vec<Elem>,
    axes: Vec<i64>,
    steps: Vec<i64>,
}

fn slice(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let operands = operands(cx)?;
    let mut ranges: Vec<SliceRange> = Vec::new();
    for i in 0..operands.starts.len() {
        let axis = axis(operands.axes[i], rank)?;
        let dim = cx.shape(x)[axis].clone();
        let step = operands.steps[i];
        if step == 0 {
            return malformed!("step {i} is 0");
        }
        let (start, len) = match range(cx, &dim, &operands.starts[i], &operands.ends[i], step) {
            Some(range) => range,
            None => runtime_range(cx, i, &dim, step)?,
        };
        if !(start.is(0) && len == dim && step == 1) {
            ranges.push(SliceRange { axis, start, len, step });
        }
    }
    ranges.sort_by_key(|r| r.axis);
    if ranges.windows(2).any(|w| w[0].axis == w[1].axis) {
        return malformed!("axes {:?} repeat an axis", operands.axes);
    }
    if ranges.is_empty() { Ok(x) } else { cx.emit(Op::Slice { ranges }, &[x]) }
}

fn operands(cx: &Cx<'_>) -> R<Operands> {
    let list = |i: usize, name: &str| -> R<Vec<Elem>> {
        if cx.has(i) {
            return match cx.range_ends(i) {
                Some(elems) => Ok(elems),
                None => match cx.input_type(i)?.elements().as_const() {
                    Some(n) if (0..=64).contains(&n) => Ok(vec![Elem::unknown(); n as usize]),
                    _ => unsupported!("input {i} has a number of elements that is not known"),
                },
            };
        }
        match cx.ints(name)? {
            Some(ints) => Ok(ints.into_iter().map(Elem::int).collect()),
            None => malformed!("{name} is missing"),
        }
    };
    let (starts, ends) = (list(1, "starts")?, list(2, "ends")?);
    let axes = match (cx.has(3), cx.ints("axes")?) {
        (true, _) => cx.known_ints(3)?,
        (false, Some(axes)) => axes,
        (false, None) => (0..starts.len() as i64).collect(),
    };
    let steps = if cx.has(4) { cx.known_ints(4)? } else { vec![1; starts.len()] };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return malformed!("starts, ends, axes and steps differ in length");
    }
    Ok(Operands { starts, ends, axes, steps })
}

/// Start and length as expressions; `None` where the sign of an end is not decided.
fn range(cx: &mut Cx<'_>, dim: &Dim, start: &Elem, end: &Elem, step: i64) -> Option<(Dim, Dim)> {
    let (start, end) = (start.as_dim()?, end.as_dim()?);
    let zero = Dim::from(0);
    if step > 0 {
        let (from, to) = (forward(cx, start, dim)?, forward(cx, end, dim)?);
        let len = (to - from.clone()).ceil_div(&step.into());
        return Some((from, maximum(&len, &zero, cx.symbols())));
    }
    let (from, to) = (backward(cx, start, dim)?, backward(cx, end, dim)?);
    let len = (from.clone() - to).ceil_div(&step.checked_neg()?.into());
    let len = maximum(&len, &zero, cx.symbols());
    // An empty slice may start before the first element.
    let from = if len.is(0) { zero } else { from };
    Some((from, len))
}

/// An end of a forward slice, clamped to `0..=dim`.
fn forward(cx: &mut Cx<'_>, at: &Dim, dim: &Dim) -> Option<Dim> {
    let zero = Dim::from(0);
    if at_least(at, &zero, cx.symbols())? {
        return Some(at_most_size(cx, at, dim));
    }
    if at.as_const().is_some_and(|a| a <= -TO_THE_END) {
        return Some(zero);
    }
    Some(maximum(&zero, &(dim.clone() + at.clone()), cx.symbols()))
}

/// An end of a backward slice, clamped to `-1..=dim-1`.
fn backward(cx: &mut Cx<'_>, at: &Dim, dim: &Dim) -> Option<Dim> {
    if at_least(at, &0.into(), cx.symbols())? {
        let last = dim.clone() - 1;
        return Some(match at.as_const() {
            Some(a) if a >= TO_THE_END => last,
            _ => minimum(at, &last, cx.symbols()),
        });
    }
    if at.as_const().is_some_and(|a| a <= -TO_THE_END) {
        return Some((-1).into());
    }
    Some(maximum(&(-1).into(), &(dim.clone() + at.clone()), cx.symbols()))
}

/// `min(at, dim)`; "to the end" is the dim, and a symbol that could be larger than that
/// is narrowed, so that a binding that would make it wrong is refused.
fn at_most_size(cx: &mut Cx<'_>, at: &Dim, dim: &Dim) -> Dim {
    match (at.as_const(), dim.as_sym()) {
        (Some(end), Some(id)) if end >= TO_THE_END => {
            let symbol = cx.imp.graph.symbols.get_mut(id);
            symbol.max = symbol.max.min(end);
            dim.clone()
        }
        _ => minimum(at, dim, cx.symbols()),
    }
}

/// Computes start and length in the graph and binds them.
fn runtime_range(cx: &mut Cx<'_>, i: usize, dim: &Dim, step: i64) -> R<(Dim, Dim)> {
    let (start, end) = (element(cx, 1, "starts", i)?, element(cx, 2, "ends", i)?);
    let size = cx.dim_scalar(dim.clone(), DType::I64)?;
    let (low, high) = if step > 0 {
        (cx.number(DType::I64, 0.0)?, size)
    } else {
        (cx.number(DType::I64, -1.0)?, cx.with_number(BinaryOp::Sub, size, 1.0)?)
    };
    let mut clamped = |at: ValueId| -> R<ValueId> {
        let negative = cx.with_number(BinaryOp::Lt, at, 0.0)?;
        let shifted = cx.binary(BinaryOp::Add, at, size)?;
        let at = cx.select(negative, shifted, at)?;
        let at = cx.binary(BinaryOp::Max, at, low)?;
        cx.binary(BinaryOp::Min, at, high)
    };
    let (start, end) = (clamped(start)?, clamped(end)?);
    let distance = match step > 0 {
        true => cx.binary(BinaryOp::Sub, end, start)?,
        false => cx.binary(BinaryOp::Sub, start, end)?,
    };
    // ceil(distance / |step|) for what is left of a non-negative distance.
    let distance = cx.with_number(BinaryOp::Max, distance, 0.0)?;
    let stride = step.unsigned_abs() as f64;
    let len = cx.with_number(BinaryOp::Add, distance, stride - 1.0)?;
    let len = cx.with_number(BinaryOp::Div, len, stride)?;
    let start = cx.with_number(BinaryOp::Max, start, 0.0)?;
    let parts = [cx.reshape(start, vec![1.into()])?, cx.reshape(len, vec![1.into()])?];
    let both = cx.concat(&parts, 0)?;
    match cx.bind_vector(both, 2)?.as_slice() {
        [start, len] => Ok((start.clone(), len.clone())),
        _ => unsupported!("a range of unknown form"),
    }
}

/// Element `i` of starts or ends as a rank-0 `i64`.
fn element(cx: &mut Cx<'_>, input: usize, name: &str, i: usize) -> R<ValueId> {
    if !cx.has(input) {
        let ints = cx.ints(name)?.unwrap_or_default();
        return cx.dim_scalar(ints.get(i).copied().unwrap_or(0).into(), DType::I64);
    }
    let list = cx.input(input)?;
    let list = cx.cast(list, DType::I64)?;
    let list = cx.flatten(list)?;
    let one = cx.slice_axis(list, 0, (i as i64).into(), 1.into())?;
    cx.reshape(one, vec![])
}
