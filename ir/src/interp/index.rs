//! Index arithmetic: strides, offsets of strided views, broadcasting.

use super::error::OpError;
use super::tensor::{Tensor, checked_elements};
use std::borrow::Cow;

/// Elements between neighbours along each axis of a row-major tensor.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut out = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        out[axis - 1] = out[axis] * dims[axis];
    }
    out
}

/// The sums of one entry of each table, the last table fastest: with `i·stride` in
/// table `a`, the flat offsets of a strided view in row-major order.
pub(super) fn combine(tables: &[Vec<usize>]) -> Vec<usize> {
    let mut offsets = vec![0usize];
    for table in tables {
        let mut next = Vec::with_capacity(offsets.len() * table.len());
        for &base in &offsets {
            next.extend(table.iter().map(|&step| base + step));
        }
        offsets = next;
    }
    offsets
}

/// As [`combine`]; no entry anywhere gives no sum.
pub(super) fn combine_some<T: AsRef<[Option<usize>]>>(tables: &[T]) -> Vec<Option<usize>> {
    let mut offsets = vec![Some(0usize)];
    for table in tables {
        let table = table.as_ref();
        let mut next = Vec::with_capacity(offsets.len() * table.len());
        for &base in &offsets {
            next.extend(table.iter().map(|&step| Some(base? + step?)));
        }
        offsets = next;
    }
    offsets
}

/// Offsets of a view of `dims` with these strides, in row-major order.
pub(super) fn strided(dims: &[usize], strides: &[usize]) -> Vec<usize> {
    let table = |(&d, &s): (&usize, &usize)| (0..d).map(|i| i * s).collect();
    combine(&dims.iter().zip(strides).map(table).collect::<Vec<_>>())
}

/// The coordinates of a flat row-major index.
pub(super) fn unravel(mut flat: usize, dims: &[usize], out: &mut [usize]) {
    for axis in (0..dims.len()).rev() {
        out[axis] = flat % dims[axis];
        flat /= dims[axis];
    }
}

/// NumPy's broadcast of several shapes.
pub(super) fn broadcast_dims(shapes: &[&[usize]]) -> Result<Vec<usize>, OpError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1usize; rank];
    for shape in shapes {
        for (o, &d) in out[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*o, d) {
                (a, b) if a == b => {}
                (1, b) => *o = b,
                (_, 1) => {}
                _ => return Err(OpError::Shape(format!("dims {shapes:?} do not broadcast"))),
            }
        }
    }
    Ok(out)
}

/// Flat operand offsets of a tensor of `from` broadcast to `to`.
fn broadcast_offsets(from: &[usize], to: &[usize]) -> Result<Vec<usize>, OpError> {
    let fail = || OpError::Shape(format!("dims {from:?} do not broadcast to {to:?}"));
    let lead = to.len().checked_sub(from.len()).ok_or_else(fail)?;
    let mut steps = vec![0; to.len()];
    for (i, stride) in strides(from).into_iter().enumerate() {
        match (from[i], to[lead + i]) {
            (a, b) if a == b => steps[lead + i] = stride,
            (1, _) => {}
            _ => return Err(fail()),
        }
    }
    checked_elements(to)?;
    Ok(strided(to, &steps))
}

/// `x` with dims `to`, by NumPy's `broadcast_to`; borrowed when nothing changes.
pub(super) fn broadcast_to<'a>(x: &'a Tensor, to: &[usize]) -> Result<Cow<'a, Tensor>, OpError> {
    if x.dims() == to {
        return Ok(Cow::Borrowed(x));
    }
    let offsets = broadcast_offsets(x.dims(), to)?;
    Ok(Cow::Owned(Tensor::from_data(to, x.data().take(&offsets))?))
}

/// Splits dims at an axis: `(outer, axis, inner)` element counts.
pub(super) fn around(dims: &[usize], axis: usize) -> Result<(usize, usize, usize), OpError> {
    let len = *dims.get(axis).ok_or_else(|| no_axis(axis, dims))?;
    Ok((dims[..axis].iter().product(), len, dims[axis + 1..].iter().product()))
}

/// The error for an axis that is not there.
pub(super) fn no_axis(axis: usize, dims: &[usize]) -> OpError {
    OpError::Shape(format!("axis {axis} is not an axis of dims {dims:?}"))
}

/// `index` counted from the end when negative; an error outside of `0..len`.
pub(super) fn wrap_index(index: i64, axis: usize, len: usize) -> Result<usize, OpError> {
    let wrapped = if index < 0 { index.checked_add(len as i64) } else { Some(index) };
    match wrapped {
        Some(i) if i >= 0 && (i as u64) < len as u64 => Ok(i as usize),
        _ => Err(OpError::Index { index, axis, len }),
    }
}
