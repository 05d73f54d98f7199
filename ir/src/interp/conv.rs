//! Convolution and its transpose, any number of spatial axes, groups, both layouts.
//!
//! Padding is zeros that take part in the products: `conv(x, pads)` is
//! `conv(pad(x, 0))` exactly, also with infinite weights.

use super::compute::Operands;
use super::error::OpError;
use super::index::{combine_some, strides, unravel};
use super::matmul::{Ring, row_times_matrix, with_ring};
use super::movement::transpose;
use super::tensor::{Tensor, checked_elements};
use crate::op::{ChannelLayout, ConvAttrs, ConvTransposeAttrs};

/// Where windows lie along the spatial axes.
pub(super) struct Windows {
    /// Operand sizes.
    pub(super) operand: Vec<usize>,
    /// Number of windows.
    pub(super) result: Vec<usize>,
    /// Per axis and window: the (scaled) operand position under each window element.
    tables: Vec<Vec<Vec<Option<usize>>>>,
}

/// One axis of a window.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub(super) kernel: i64,
    pub(super) stride: i64,
    pub(super) pads: (i64, i64),
    pub(super) dilation: i64,
}

impl Axis {
    /// Pairs up per-axis attributes of equal length, all in their allowed ranges.
    pub(super) fn all(
        kernel: &[i64],
        strides: &[i64],
        pads: &[(i64, i64)],
        dilations: &[i64],
    ) -> Result<Vec<Axis>, OpError> {
        let n = kernel.len();
        if [strides.len(), pads.len(), dilations.len()] != [n; 3] {
            return Err(OpError::Shape(format!("window attributes must have {n} entries each")));
        }
        let axis = |i: usize| {
            let axis = Axis {
                kernel: kernel[i],
                stride: strides[i],
                pads: pads[i],
                dilation: dilations[i],
            };
            at_least("a window size", axis.kernel, 1)?;
            at_least("a stride", axis.stride, 1)?;
            at_least("a dilation", axis.dilation, 1)?;
            at_least("a pad", axis.pads.0, 0)?;
            at_least("a pad", axis.pads.1, 0)?;
            Ok(axis)
        };
        (0..n).map(axis).collect()
    }

    /// From the first to one after the last element of a window.
    pub(super) fn extent(&self) -> i64 {
        self.dilation.saturating_mul(self.kernel - 1).saturating_add(1)
    }

    /// Size of the operand with its padding.
    pub(super) fn padded(&self, len: usize) -> i64 {
        (len as i64).saturating_add(self.pads.0).saturating_add(self.pads.1)
    }

    /// Number of windows that fit.
    fn count(&self, len: usize) -> i64 {
        (self.padded(len).saturating_sub(self.extent())).div_euclid(self.stride) + 1
    }
}

/// An attribute's lower limit; sizes are limited above as well.
fn at_least(what: &'static str, value: i64, min: i64) -> Result<(), OpError> {
    if value < min {
        return Err(OpError::TooSmall { what, value, min });
    }
    checked_elements(&[value as usize]).map(|_| ())
}

impl Windows {
    /// Windows that fit into the padded operand.
    fn new(operand: &[usize], axes: &[Axis]) -> Result<Self, OpError> {
        let count = |(&len, axis): (&usize, &Axis)| {
            let value = axis.count(len);
            let negative = OpError::TooSmall { what: "the number of windows", value, min: 0 };
            usize::try_from(value).map_err(|_| negative)
        };
        let result = operand.iter().zip(axes).map(count).collect::<Result<Vec<_>, _>>()?;
        Self::with_result(operand, axes, &result)
    }

    /// A given number of windows; elements past the operand's end are like padding.
    pub(super) fn with_result(
        operand: &[usize],
        axes: &[Axis],
        result: &[usize],
    ) -> Result<Self, OpError> {
        let kernel: Vec<usize> = axes.iter().map(|a| a.kernel as usize).collect();
        checked_elements(&kernel)?;
        checked_elements(result)?;
        let table = |((axis, &len), (&windows, step)): ((&Axis, &usize), (&usize, usize))| {
            let position = |w: usize, k: i64| {
                let p = w as i64 * axis.stride + k * axis.dilation - axis.pads.0;
                usize::try_from(p).ok().filter(|&p| p < len).map(|p| p * step)
            };
            let window = |w: usize| (0..axis.kernel).map(|k| position(w, k)).collect();
            checked_elements(&[windows, axis.kernel as usize])?;
            Ok((0..windows).map(window).collect())
        };
        let tables = axes.iter().zip(operand).zip(result.iter().zip(strides(operand))).map(table);
        let tables = tables.collect::<Result<_, OpError>>()?;
        Ok(Self { operand: operand.to_vec(), result: result.to_vec(), tables })
    }

    /// Flat operand offsets under the elements of one window; `None` is padding.
    pub(super) fn offsets(&self, window: usize) -> Vec<Option<usize>> {
        let mut at = vec![0; self.result.len()];
        unravel(window, &self.result, &mut at);
        let parts: Vec<&[Option<usize>]> =
            self.tables.iter().zip(&at).map(|(table, &w)| table[w].as_slice()).collect();
        combine_some(&parts)
    }
}

pub(super) fn conv(args: &Operands, attrs: &ConvAttrs) -> Result<Tensor, OpError> {
    let (x, w) = (args.at(0)?, args.at(1)?);
    same_dtype(args)?;
    if attrs.layout == ChannelLayout::First {
        return with_ring!(x, R => conv_first::<R>(x, w, args.get(2), attrs));
    }
    let (x, w) = (channels_first(x)?, filters_first(w)?);
    let y = with_ring!(x, R => conv_first::<R>(&x, &w, args.get(2), attrs))?;
    channels_last(&y)
}

fn conv_first<T: Ring>(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    attrs: &ConvAttrs,
) -> Result<Tensor, OpError> {
    let groups = group_count(attrs.groups)?;
    let (&[n, c, ref spatial @ ..], &[o, per_group, ref kernel @ ..]) = (x.dims(), w.dims()) else {
        return Err(misfit(x, w, groups));
    };
    if spatial.len() != kernel.len() || c != per_group * groups || o % groups != 0 {
        return Err(misfit(x, w, groups));
    }
    let axes = Axis::all(&as_i64(kernel), &attrs.strides, &attrs.pads, &attrs.dilations)?;
    let windows = Windows::new(spatial, &axes)?;
    let dims = [&[n, o], windows.result.as_slice()].concat();
    let mut y = vec![T::default(); checked_elements(&dims)?];
    let (data, bias) = (T::load(x, 0)?, load_bias::<T>(bias, o)?);
    let (area, out_area): (usize, usize) =
        (spatial.iter().product(), windows.result.iter().product());
    let filters = o / groups;
    let depth = per_group * kernel.iter().product::<usize>();
    let matrices = transposed_groups(&T::load(w, 1)?, groups, filters, depth);
    let (mut patch, mut sums) = (Vec::with_capacity(depth), vec![T::default(); filters]);
    for window in 0..out_area {
        let offsets = windows.offsets(window);
        for (image, g) in (0..n).flat_map(|i| (0..groups).map(move |g| (i, g))) {
            patch.clear();
            for channel in 0..per_group {
                let plane = &data[(image * c + g * per_group + channel) * area..][..area];
                patch.extend(offsets.iter().map(|at| at.map_or(T::default(), |i| plane[i])));
            }
            sums.copy_from_slice(&bias[g * filters..][..filters]);
            row_times_matrix(
                &patch,
                &matrices[g * depth * filters..][..depth * filters],
                &mut sums,
            );
            for (f, &sum) in sums.iter().enumerate() {
                y[(image * o + g * filters + f) * out_area + window] = sum;
            }
        }
    }
    T::store(x, &dims, y)
}

/// `w[g][filter][depth]` as `[g][depth][filter]`.
fn transposed_groups<T: Ring>(w: &[T], groups: usize, filters: usize, depth: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(w.len());
    for g in 0..groups {
        for d in 0..depth {
            out.extend((0..filters).map(|f| w[(g * filters + f) * depth + d]));
        }
    }
    out
}

pub(super) fn conv_transpose(
    args: &Operands,
    attrs: &ConvTransposeAttrs,
) -> Result<Tensor, OpError> {
    let (x, w) = (args.at(0)?, args.at(1)?);
    same_dtype(args)?;
    if attrs.layout == ChannelLayout::First {
        return with_ring!(x, R => transpose_first::<R>(x, w, args.get(2), attrs));
    }
    // Weights are [spatial…, C, O/g] here and [C, O/g, spatial…] there.
    let rank = w.rank();
    let perm: Vec<usize> =
        (rank.saturating_sub(2)..rank).chain(0..rank.saturating_sub(2)).collect();
    let (x, w) = (channels_first(x)?, transpose(w, &perm)?);
    let y = with_ring!(x, R => transpose_first::<R>(&x, &w, args.get(2), attrs))?;
    channels_last(&y)
}

fn transpose_first<T: Ring>(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    attrs: &ConvTransposeAttrs,
) -> Result<Tensor, OpError> {
    let groups = group_count(attrs.groups)?;
    let (&[n, c, ref spatial @ ..], &[c2, filters, ref kernel @ ..]) = (x.dims(), w.dims()) else {
        return Err(misfit(x, w, groups));
    };
    if spatial.len() != kernel.len() || c != c2 || c % groups != 0 {
        return Err(misfit(x, w, groups));
    }
    let axes = Axis::all(&as_i64(kernel), &attrs.strides, &attrs.pads, &attrs.dilations)?;
    let result = transpose_sizes(spatial, &axes, &attrs.output_padding)?;
    // Every operand position is a window of the result.
    let windows = Windows::with_result(&result, &axes, spatial)?;
    let (o, per_group) = (filters * groups, c / groups);
    let dims = [&[n, o], result.as_slice()].concat();
    let mut y = vec![T::default(); checked_elements(&dims)?];
    let (data, weights, bias) = (T::load(x, 0)?, T::load(w, 1)?, load_bias::<T>(bias, o)?);
    let (area, out_area): (usize, usize) = (spatial.iter().product(), result.iter().product());
    let width = filters * kernel.iter().product::<usize>();
    for window in 0..area {
        let offsets = windows.offsets(window);
        for (image, g) in (0..n).flat_map(|i| (0..groups).map(move |g| (i, g))) {
            let row: Vec<T> = (0..per_group)
                .map(|channel| data[(image * c + g * per_group + channel) * area + window])
                .collect();
            let mut sums = vec![T::default(); width];
            row_times_matrix(
                &row,
                &weights[g * per_group * width..][..per_group * width],
                &mut sums,
            );
            for (f, part) in sums.chunks_exact(offsets.len()).enumerate() {
                let plane = &mut y[(image * o + g * filters + f) * out_area..][..out_area];
                for (&at, &sum) in offsets.iter().zip(part) {
                    if let Some(i) = at {
                        plane[i] = plane[i].add(sum);
                    }
                }
            }
        }
    }
    for (plane, channel) in y.chunks_exact_mut(out_area.max(1)).zip((0..o).cycle()) {
        plane.iter_mut().for_each(|v| *v = v.add(bias[channel]));
    }
    T::store(x, &dims, y)
}

/// `(in − 1)·stride + extent + output_padding − pads` per axis.
fn transpose_sizes(
    spatial: &[usize],
    axes: &[Axis],
    output_padding: &[i64],
) -> Result<Vec<usize>, OpError> {
    if output_padding.len() != axes.len() {
        return Err(OpError::Shape(format!("output_padding must have {} entries", axes.len())));
    }
    let size = |((&len, axis), &extra): ((&usize, &Axis), &i64)| {
        at_least("an output padding", extra, 0)?;
        let full = (len as i64 - 1) * axis.stride + axis.extent() + extra;
        let value = full - axis.pads.0 - axis.pads.1;
        let negative = OpError::TooSmall { what: "a result size", value, min: 0 };
        usize::try_from(value).map_err(|_| negative)
    };
    spatial.iter().zip(axes).zip(output_padding).map(size).collect()
}

fn same_dtype(args: &Operands) -> Result<(), OpError> {
    let dtype = args.at(0)?.dtype();
    match args.all().iter().position(|x| x.dtype() != dtype) {
        None => Ok(()),
        Some(i) => Err(OpError::dtype(i, &dtype.to_string(), args.at(i)?.dtype())),
    }
}

fn group_count(groups: i64) -> Result<usize, OpError> {
    at_least("groups", groups, 1)?;
    Ok(groups as usize)
}

fn load_bias<T: Ring>(bias: Option<&Tensor>, channels: usize) -> Result<Vec<T>, OpError> {
    match bias {
        None => Ok(vec![T::default(); channels]),
        Some(b) if b.dims() == [channels] => T::load(b, 2),
        Some(b) => {
            Err(OpError::Shape(format!("bias dims are {:?}, expected [{channels}]", b.dims())))
        }
    }
}

fn misfit(x: &Tensor, w: &Tensor, groups: usize) -> OpError {
    let (x, w) = (x.dims(), w.dims());
    OpError::Shape(format!("operand {x:?} and weights {w:?} do not convolve in {groups} groups"))
}

fn as_i64(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|&d| d as i64).collect()
}

/// `[N, spatial…, C]` as `[N, C, spatial…]`.
pub(super) fn channels_first(x: &Tensor) -> Result<Tensor, OpError> {
    let rank = x.rank();
    if rank < 2 {
        return Err(OpError::Shape(format!("operand dims {:?} have no channel axis", x.dims())));
    }
    let perm: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    transpose(x, &perm)
}

/// `[N, C, spatial…]` as `[N, spatial…, C]`.
pub(super) fn channels_last(y: &Tensor) -> Result<Tensor, OpError> {
    let perm: Vec<usize> = [0].into_iter().chain(2..y.rank()).chain([1]).collect();
    transpose(y, &perm)
}

/// `[spatial…, C/g, O]` as `[O, C/g, spatial…]`.
fn filters_first(w: &Tensor) -> Result<Tensor, OpError> {
    let rank = w.rank();
    if rank < 2 {
        return Err(OpError::Shape(format!("weight dims {:?} have no channel axes", w.dims())));
    }
    let perm: Vec<usize> = [rank - 1, rank - 2].into_iter().chain(0..rank - 2).collect();
    transpose(w, &perm)
}
