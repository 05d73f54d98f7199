//! Reading at computed indices.

use super::compute::Operands;
use super::error::OpError;
use super::index::{around, no_axis, strides, unravel, wrap_index};
use super::tensor::{Tensor, checked_elements};

pub(super) fn gather(args: &Operands, axis: usize) -> Result<Tensor, OpError> {
    let (x, index) = (args.at(0)?, args.at(1)?);
    let (outer, len, inner) = around(x.dims(), axis)?;
    let positions = args.ints(1)?.into_iter().map(|i| wrap_index(i, axis, len));
    let positions = positions.collect::<Result<Vec<usize>, _>>()?;
    let dims = [&x.dims()[..axis], index.dims(), &x.dims()[axis + 1..]].concat();
    let mut offsets = Vec::with_capacity(checked_elements(&dims)?);
    for o in 0..outer {
        for p in &positions {
            let start = (o * len + p) * inner;
            offsets.extend(start..start + inner);
        }
    }
    Tensor::from_data(&dims, x.data().take(&offsets))
}

pub(super) fn gather_elements(args: &Operands, axis: usize) -> Result<Tensor, OpError> {
    let (x, index) = (args.at(0)?, args.at(1)?);
    let offsets = element_offsets(x, index.dims(), &args.ints(1)?, axis)?;
    Tensor::from_data(index.dims(), x.data().take(&offsets))
}

/// For each index element: the offset in `x` at its own coordinates, with the index
/// itself in place of the coordinate along `axis`.
pub(super) fn element_offsets(
    x: &Tensor,
    index_dims: &[usize],
    index: &[i64],
    axis: usize,
) -> Result<Vec<usize>, OpError> {
    if axis >= x.rank() {
        return Err(no_axis(axis, x.dims()));
    }
    let larger = |a: usize| a != axis && index_dims[a] > x.dims()[a];
    if index_dims.len() != x.rank() || (0..x.rank()).any(larger) {
        let text = format!("index dims {index_dims:?} do not lie within {:?}", x.dims());
        return Err(OpError::Shape(text));
    }
    let steps = strides(x.dims());
    let mut at = vec![0; x.rank()];
    let offset = |(flat, &i): (usize, &i64)| {
        unravel(flat, index_dims, &mut at);
        at[axis] = wrap_index(i, axis, x.dims()[axis])?;
        Ok(at.iter().zip(&steps).map(|(i, s)| i * s).sum())
    };
    index.iter().enumerate().map(offset).collect()
}

pub(super) fn gather_nd(args: &Operands, batch: usize) -> Result<Tensor, OpError> {
    let (x, index) = (args.at(0)?, args.at(1)?);
    let starts = nd_offsets(x, index.dims(), &args.ints(1)?, batch)?;
    let depth = batch + index.dims()[index.rank() - 1];
    let dims = [&index.dims()[..index.rank() - 1], &x.dims()[depth..]].concat();
    let inner: usize = x.dims()[depth..].iter().product();
    checked_elements(&dims)?;
    let offsets: Vec<usize> = starts.into_iter().flat_map(|s| s..s + inner).collect();
    Tensor::from_data(&dims, x.data().take(&offsets))
}

/// The offset in `x` that each index tuple (the last index axis) addresses after
/// `batch` shared leading axes.
pub(super) fn nd_offsets(
    x: &Tensor,
    index_dims: &[usize],
    index: &[i64],
    batch: usize,
) -> Result<Vec<usize>, OpError> {
    let misfit = || {
        let text = format!("index dims {index_dims:?} do not address {:?}", x.dims());
        OpError::Shape(format!("{text} after {batch} batch axes"))
    };
    let (&k, lead) = index_dims.split_last().ok_or_else(misfit)?;
    let depth = batch.checked_add(k).filter(|&d| d <= x.rank()).ok_or_else(misfit)?;
    if batch > lead.len() || lead[..batch] != x.dims()[..batch] {
        return Err(misfit());
    }
    let tuples: usize = lead.iter().product();
    let per_batch: usize = lead[batch..].iter().product();
    let steps = strides(x.dims());
    let mut at = vec![0; batch];
    let offset = |tuple: usize| {
        unravel(tuple / per_batch, &lead[..batch], &mut at);
        let mut sum: usize = at.iter().zip(&steps).map(|(i, s)| i * s).sum();
        for (axis, &i) in (batch..depth).zip(&index[tuple * k..(tuple + 1) * k]) {
            sum += wrap_index(i, axis, x.dims()[axis])? * steps[axis];
        }
        Ok(sum)
    };
    (0..tuples).map(offset).collect()
}
