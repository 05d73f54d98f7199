//! Ops that look for elements: extremes, the k largest, the non-zero.
//!
//! NaN is above every number; for `ArgReduce` it is the extreme in both directions
//! (as in NumPy), for `TopK` the smallest elements are numbers while there are any.

use super::compute::numbers;
use super::error::OpError;
use super::index::{around, unravel};
use super::reduce::without;
use super::tensor::{Data, Tensor};
use std::cmp::Ordering;

pub(super) fn arg_reduce(
    x: &Tensor,
    max: bool,
    axis: usize,
    keep_dims: bool,
    select_last: bool,
) -> Result<Tensor, OpError> {
    let shape = around(x.dims(), axis)?;
    let mut dims = x.dims().to_vec();
    dims[axis] = 1;
    if shape.1 == 0 && dims.iter().all(|&d| d > 0) {
        return Err(OpError::Shape("an empty axis has no extreme element".into()));
    }
    let best = |order: Ordering| match order {
        Ordering::Equal => select_last,
        order => order == Ordering::Greater,
    };
    let found = if x.dtype().is_float() {
        let order = if max { nan_above } else { |a: f64, b: f64| nan_above(-a, -b) };
        extremes(&numbers(x, 0)?, shape, |a, b| best(order(a, b)))
    } else {
        let values = x.to_i128().ok_or_else(|| OpError::dtype(0, "a number", x.dtype()))?;
        extremes(&values, shape, |a, b| best(if max { a.cmp(&b) } else { b.cmp(&a) }))
    };
    Tensor::new(&without(&dims, &[axis], keep_dims), found)
}

/// Position along the axis of the element that beats those before it.
fn extremes<T: Copy>(
    xs: &[T],
    (outer, len, inner): (usize, usize, usize),
    beats: impl Fn(T, T) -> bool,
) -> Vec<i64> {
    let mut out = Vec::with_capacity(outer * inner);
    for o in 0..outer {
        for i in 0..inner {
            let at = |j: usize| xs[(o * len + j) * inner + i];
            let best = (1..len).fold(0, |best, j| if beats(at(j), at(best)) { j } else { best });
            out.push(best as i64);
        }
    }
    out
}

/// Ascending, NaN last; −0 equals +0.
fn nan_above(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Values and indices in order, equal elements by lowest index; an unsorted result is
/// in the same order.
pub(super) fn top_k(
    x: &Tensor,
    k: usize,
    axis: usize,
    largest: bool,
) -> Result<Vec<Tensor>, OpError> {
    let shape = around(x.dims(), axis)?;
    if k > shape.1 {
        let text = format!("k = {k} is more than the {} elements along axis {axis}", shape.1);
        return Err(OpError::Shape(text));
    }
    let ranked = if x.dtype().is_float() {
        let order = if largest { |a, b| nan_above(b, a) } else { nan_above };
        rank(&numbers(x, 0)?, shape, order)
    } else {
        let values = x.to_i128().ok_or_else(|| OpError::dtype(0, "a number", x.dtype()))?;
        rank(&values, shape, |a, b| if largest { b.cmp(&a) } else { a.cmp(&b) })
    };
    let (outer, len, inner) = shape;
    let mut dims = x.dims().to_vec();
    dims[axis] = k;
    let (mut offsets, mut indices) = (Vec::new(), Vec::new());
    for o in 0..outer {
        for j in 0..k {
            for i in 0..inner {
                let position = ranked[(o * inner + i) * len + j];
                offsets.push((o * len + position) * inner + i);
                indices.push(position as i64);
            }
        }
    }
    let values = Tensor::from_data(&dims, x.data().take(&offsets))?;
    Ok(vec![values, Tensor::new(&dims, indices)?])
}

/// For each line along the axis its positions in order; the sort is stable.
fn rank<T: Copy>(
    xs: &[T],
    (outer, len, inner): (usize, usize, usize),
    order: impl Fn(T, T) -> Ordering,
) -> Vec<usize> {
    let mut out = Vec::with_capacity(xs.len());
    for o in 0..outer {
        for i in 0..inner {
            let at = |j: usize| xs[(o * len + j) * inner + i];
            let start = out.len();
            out.extend(0..len);
            out[start..].sort_by(|&a, &b| order(at(a), at(b)));
        }
    }
    out
}

/// Indices of the non-zero elements (NaN is one), a column each, in row-major order.
pub(super) fn non_zero(x: &Tensor) -> Result<Tensor, OpError> {
    let flags: Vec<bool> = match x.data() {
        Data::Str(values) => values.iter().map(|s| !s.is_empty()).collect(),
        _ => numbers(x, 0)?.into_iter().map(|v| v != 0.0).collect(),
    };
    let hits: Vec<usize> = (0..flags.len()).filter(|&i| flags[i]).collect();
    let mut out = vec![0i64; x.rank() * hits.len()];
    let mut at = vec![0; x.rank()];
    for (column, &flat) in hits.iter().enumerate() {
        unravel(flat, x.dims(), &mut at);
        for (axis, &i) in at.iter().enumerate() {
            out[axis * hits.len() + column] = i as i64;
        }
    }
    Tensor::new(&[x.rank(), hits.len()], out)
}
