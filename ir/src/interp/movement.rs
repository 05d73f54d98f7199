//! Data movement: every result element is an operand element.

use super::bind::Dims;
use super::error::OpError;
use super::index::{around, broadcast_to, combine, no_axis, strided, strides};
use super::tensor::{Tensor, checked_elements};
use crate::op::SliceRange;
use crate::types::Encoding;

pub(super) fn transpose(x: &Tensor, perm: &[usize]) -> Result<Tensor, OpError> {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.rank()) {
        return Err(OpError::Shape(format!("{perm:?} does not permute {} axes", x.rank())));
    }
    let steps = strides(x.dims());
    let dims: Vec<usize> = perm.iter().map(|&p| x.dims()[p]).collect();
    let steps: Vec<usize> = perm.iter().map(|&p| steps[p]).collect();
    Tensor::from_data(&dims, x.data().take(&strided(&dims, &steps)))
}

pub(super) fn broadcast(x: &Tensor, dims: &[usize]) -> Result<Tensor, OpError> {
    Ok(broadcast_to(x, dims)?.into_owned())
}

pub(super) fn concat(parts: &[&Tensor], axis: usize) -> Result<Tensor, OpError> {
    let first = parts.first().ok_or(OpError::MissingOperand(0))?;
    let mut dims = first.dims().to_vec();
    if axis >= dims.len() {
        return Err(no_axis(axis, &dims));
    }
    for (i, part) in parts.iter().enumerate().skip(1) {
        if part.dtype() != first.dtype() {
            return Err(OpError::dtype(i, &first.dtype().to_string(), part.dtype()));
        }
        let others =
            |d: &[usize]| [&d[..axis.min(d.len())], &d[(axis + 1).min(d.len())..]].concat();
        if part.rank() != dims.len() || others(part.dims()) != others(&dims) {
            let (a, b) = (first.dims(), part.dims());
            return Err(OpError::Shape(format!("dims {a:?} and {b:?} do not join on axis {axis}")));
        }
        dims[axis] = dims[axis].saturating_add(part.dims()[axis]);
    }
    checked_elements(&dims)?;
    // Rows of the parts, interleaved: outer index, then part, then the part's own row.
    let (outer, _, _) = around(&dims, axis)?;
    let mut all = first.data().clone();
    let mut starts = vec![0];
    for part in &parts[1..] {
        starts.push(all.len());
        all.append(part.data());
    }
    let mut offsets = Vec::with_capacity(all.len());
    for o in 0..outer {
        for (part, start) in parts.iter().zip(&starts) {
            let row = part.dims()[axis..].iter().product::<usize>();
            offsets.extend((0..row).map(|i| start + o * row + i));
        }
    }
    Tensor::from_data(&dims, all.take(&offsets))
}

pub(super) fn slice(x: &Tensor, ranges: &[SliceRange], dims: &Dims) -> Result<Tensor, OpError> {
    let mut positions: Vec<Vec<usize>> = x.dims().iter().map(|&d| (0..d).collect()).collect();
    for range in ranges {
        let size = *x.dims().get(range.axis).ok_or_else(|| no_axis(range.axis, x.dims()))?;
        let (start, len) = (dims.value(&range.start)?, dims.size(&range.len)?);
        checked_elements(&[len])?;
        let at = |i: usize| {
            let position = (i as i64).checked_mul(range.step).and_then(|p| p.checked_add(start));
            let position = position.unwrap_or(i64::MAX);
            let outside = OpError::Index { index: position, axis: range.axis, len: size };
            usize::try_from(position).ok().filter(|&p| p < size).ok_or(outside)
        };
        positions[range.axis] = (0..len).map(at).collect::<Result<_, _>>()?;
    }
    view(x, &positions)
}

/// The elements at the product of per-axis positions, which are in range.
pub(super) fn view(x: &Tensor, positions: &[Vec<usize>]) -> Result<Tensor, OpError> {
    let dims: Vec<usize> = positions.iter().map(Vec::len).collect();
    checked_elements(&dims)?;
    let scaled: Vec<Vec<usize>> = positions
        .iter()
        .zip(strides(x.dims()))
        .map(|(table, stride)| table.iter().map(|p| p * stride).collect())
        .collect();
    Tensor::from_data(&dims, x.data().take(&combine(&scaled)))
}

/// Slice `index` of an axis, which is dropped.
pub(super) fn pick(x: &Tensor, axis: usize, index: usize) -> Result<Tensor, OpError> {
    let (outer, len, inner) = around(x.dims(), axis)?;
    let offsets: Vec<usize> =
        (0..outer).flat_map(|o| (0..inner).map(move |i| (o * len + index) * inner + i)).collect();
    let dims = [&x.dims()[..axis], &x.dims()[axis + 1..]].concat();
    Tensor::from_data(&dims, x.data().take(&offsets))
}

/// Joins tensors of one type along a new axis; there is at least one.
pub(super) fn stack(parts: &[&Tensor], axis: usize) -> Result<Tensor, OpError> {
    let widen = |x: &&Tensor| {
        let mut dims = x.dims().to_vec();
        if axis > dims.len() {
            return Err(no_axis(axis, &dims));
        }
        dims.insert(axis, 1);
        x.with_dims(&dims)
    };
    let wide = parts.iter().map(widen).collect::<Result<Vec<_>, _>>()?;
    concat(&wide.iter().collect::<Vec<_>>(), axis)
}

/// The identity on logical elements; lossy encodings are not packing.
pub(super) fn pack(x: &Tensor, encoding: &Encoding) -> Result<Tensor, OpError> {
    match encoding {
        Encoding::Dense | Encoding::Panels(_) | Encoding::BlockSparse { .. } => Ok(x.clone()),
        Encoding::Quant(_) => Err(OpError::Unsupported(format!("packing to {encoding}"))),
    }
}
