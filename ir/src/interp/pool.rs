//! Pooling over windows.

use super::conv::{Axis, Windows, channels_first, channels_last};
use super::error::OpError;
use super::tensor::{Data, Element, Tensor, checked_elements};
use crate::op::{ChannelLayout, PoolAttrs, PoolKind};
use crate::scalar::Num;
use crate::types::Scalar;
use crate::with_num;
use std::cmp::Ordering;

pub(super) fn pool(x: &Tensor, attrs: &PoolAttrs) -> Result<Vec<Tensor>, OpError> {
    if attrs.layout == ChannelLayout::First {
        return pool_first(x, attrs);
    }
    pool_first(&channels_first(x)?, attrs)?.iter().map(channels_last).collect()
}

fn pool_first(x: &Tensor, attrs: &PoolAttrs) -> Result<Vec<Tensor>, OpError> {
    let &[n, c, ref spatial @ ..] = x.dims() else {
        return Err(OpError::Shape(format!("operand dims {:?} have no channel axis", x.dims())));
    };
    let axes = Axis::all(&attrs.kernel, &attrs.strides, &attrs.pads, &attrs.dilations)?;
    if axes.len() != spatial.len() {
        let text = format!("{} window axes for {} spatial axes", axes.len(), spatial.len());
        return Err(OpError::Shape(text));
    }
    let sizes = result_sizes(spatial, &axes, attrs.ceil_mode)?;
    let windows = Windows::with_result(spatial, &axes, &sizes)?;
    let dims = [&[n, c], sizes.as_slice()].concat();
    checked_elements(&dims)?;
    match attrs.kind {
        PoolKind::Max { indices, column_major } => max(x, &windows, &dims, indices, column_major),
        PoolKind::Average { count_pad } => {
            let counts = count_pad.then(|| padded_counts(spatial, &axes, &sizes));
            let mean = |window: usize, values: &[f64]| {
                let count = counts.as_ref().map_or(values.len(), |c| c[window]);
                values.iter().sum::<f64>() / count as f64
            };
            Ok(vec![each_window(x, &windows, &dims, mean)?])
        }
        PoolKind::Lp { p } => {
            let p = p as f64;
            let norm = |_: usize, values: &[f64]| {
                let sum: f64 = values.iter().map(|v| libm::pow(v.abs(), p)).sum();
                libm::pow(sum, 1.0 / p)
            };
            Ok(vec![each_window(x, &windows, &dims, norm)?])
        }
    }
}

/// Number of windows per axis; with `ceil` a last one may reach past the padding, but
/// must start before the end padding.
fn result_sizes(spatial: &[usize], axes: &[Axis], ceil: bool) -> Result<Vec<usize>, OpError> {
    let size = |(&len, axis): (&usize, &Axis)| {
        let room = axis.padded(len) - axis.extent();
        let up = |n: i64| (n + axis.stride - 1).div_euclid(axis.stride);
        let value = match ceil {
            false => room.div_euclid(axis.stride) + 1,
            true => (up(room) + 1).min(up(len as i64 + axis.pads.0)),
        };
        let negative = OpError::TooSmall { what: "the number of windows", value, min: 0 };
        usize::try_from(value).map_err(|_| negative)
    };
    spatial.iter().zip(axes).map(size).collect()
}

/// Elements of each window that lie in the operand or its declared padding: what
/// `ceil_mode` adds beyond is not counted (as in PyTorch and ONNX Runtime).
fn padded_counts(spatial: &[usize], axes: &[Axis], sizes: &[usize]) -> Vec<usize> {
    let mut counts = vec![1usize];
    for ((axis, &len), &size) in axes.iter().zip(spatial).zip(sizes) {
        let inside = |w: usize| {
            let at = |k: i64| w as i64 * axis.stride + k * axis.dilation;
            (0..axis.kernel).filter(|&k| at(k) < axis.padded(len)).count()
        };
        let line: Vec<usize> = (0..size).map(inside).collect();
        counts = counts.iter().flat_map(|c| line.iter().map(move |l| c * l)).collect();
    }
    counts
}

/// `f(window, operand elements in it)` for each window of each plane, in `f64`.
fn each_window(
    x: &Tensor,
    windows: &Windows,
    dims: &[usize],
    f: impl Fn(usize, &[f64]) -> f64,
) -> Result<Tensor, OpError> {
    if !x.dtype().is_float() {
        return Err(OpError::dtype(0, "a float", x.dtype()));
    }
    let data = x.to_f64().unwrap_or_default();
    let (area, out_area): (usize, usize) =
        (windows.operand.iter().product(), windows.result.iter().product());
    let mut y = vec![0.0; checked_elements(dims)?];
    let mut values = Vec::new();
    for window in 0..out_area {
        let offsets: Vec<usize> = windows.offsets(window).into_iter().flatten().collect();
        for plane in 0..dims[0] * dims[1] {
            values.clear();
            values.extend(offsets.iter().map(|&i| data[plane * area + i]));
            y[plane * out_area + window] = f(window, &values);
        }
    }
    Tensor::from_f64(x.dtype(), dims, y)
}

/// The largest element (the first of equals, or the first NaN) and where it lies; a
/// window without elements gives the lowest number and index −1.
fn max(
    x: &Tensor,
    windows: &Windows,
    dims: &[usize],
    indices: bool,
    column_major: bool,
) -> Result<Vec<Tensor>, OpError> {
    let found = with_num!(x.dtype(), T => largest::<T>(x.data(), windows, dims), str => {
        return Err(OpError::dtype(0, "a number", x.dtype()));
    });
    let lowest = Tensor::full(&[], Scalar::from_f64(x.dtype(), f64::NEG_INFINITY))?;
    let values = x.data().take_or(&found, lowest.data());
    let values = values.ok_or_else(|| OpError::dtype(0, "a number", x.dtype()))?;
    let mut out = vec![Tensor::from_data(dims, values)?];
    if indices {
        let order =
            |flat: usize| if column_major { to_column_major(flat, &windows.operand) } else { flat };
        let numbers = found.iter().map(|i| i.map_or(-1, |i| order(i) as i64)).collect();
        out.push(Tensor::new(dims, numbers)?);
    }
    Ok(out)
}

fn largest<T: Num + Element>(data: &Data, windows: &Windows, dims: &[usize]) -> Vec<Option<usize>> {
    let values = T::values(data).unwrap_or_default();
    let (area, out_area): (usize, usize) =
        (windows.operand.iter().product(), windows.result.iter().product());
    let beats = |a: T, b: T| match a.partial_cmp(&b) {
        Some(order) => order == Ordering::Greater,
        None => b.to_f64() == b.to_f64(),
    };
    let mut out = vec![None; dims.iter().product()];
    for window in 0..out_area {
        let offsets: Vec<usize> = windows.offsets(window).into_iter().flatten().collect();
        for plane in 0..dims[0] * dims[1] {
            let at = offsets.iter().map(|&i| plane * area + i);
            out[plane * out_area + window] =
                at.reduce(|best, i| if beats(values[i], values[best]) { i } else { best });
        }
    }
    out
}

/// A flat row-major index with its spatial part renumbered first axis fastest.
fn to_column_major(flat: usize, spatial: &[usize]) -> usize {
    let area: usize = spatial.iter().product();
    let (plane, mut rest) = (flat / area, flat % area);
    let (mut sum, mut weight) = (0, area);
    for &size in spatial.iter().rev() {
        weight /= size;
        sum += rest % size * weight;
        rest /= size;
    }
    plane * area + sum
}
