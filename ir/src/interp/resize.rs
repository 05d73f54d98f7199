//! Resampling (ONNX Resize), one axis after the other: every mode is separable.
//!
//! Along an axis, a result element is a weighted sum of operand elements (its *taps*);
//! taps outside of the operand read its edge. Integer results are rounded to nearest
//! even and saturated, as in the ONNX reference (ONNX Runtime truncates).

use super::compute::numbers;
use super::error::OpError;
use super::index::{around, combine_some, strides};
use super::tensor::{Tensor, checked_elements};
use crate::op::{NearestMode, ResizeAttrs, ResizeCoordinates, ResizeMode};

/// The taps of one result position, or `None` for the extrapolation value.
type Taps = Option<Vec<(usize, f64)>>;

/// One resized axis.
struct Axis {
    len: usize,
    result: usize,
    scale: f64,
    /// Length after scaling: fractional where scales are given.
    width: f64,
    /// Start and end of the region of interest, as fractions.
    roi: (f64, f64),
}

pub(super) fn resize(x: &Tensor, attrs: &ResizeAttrs, dims: &[usize]) -> Result<Tensor, OpError> {
    checked_elements(dims)?;
    let axes = axes(x, attrs, dims)?;
    if attrs.mode == ResizeMode::Nearest {
        return nearest(x, attrs, &axes, dims);
    }
    let (mut values, mut sizes) = (numbers(x, 0)?, x.dims().to_vec());
    let mut outside = vec![vec![]; axes.len()];
    for (i, axis) in axes.iter().enumerate() {
        if axis.is_identity(attrs) {
            continue;
        }
        let taps = axis.taps(attrs)?;
        values = weigh(&values, &mut sizes, i, &taps)?;
        outside[i] = taps.iter().map(Option::is_none).collect();
    }
    extrapolate(&mut values, dims, &outside, attrs.extrapolation.to_f64());
    if !x.dtype().is_float() {
        values.iter_mut().for_each(|v| *v = v.round_ties_even());
    }
    Tensor::from_f64(x.dtype(), dims, values)
}

fn axes(x: &Tensor, attrs: &ResizeAttrs, dims: &[usize]) -> Result<Vec<Axis>, OpError> {
    let rank = x.rank();
    let needs_roi = attrs.coordinates == ResizeCoordinates::TfCropAndResize;
    let scales = attrs.scales.as_ref().map_or(rank, Vec::len);
    if dims.len() != rank || scales != rank || (needs_roi && attrs.roi.len() != 2 * rank) {
        let text = format!("result dims, scales and roi must fit the {rank} axes of the operand");
        return Err(OpError::Shape(text));
    }
    let axis = |i: usize| {
        let (len, result) = (x.dims()[i], dims[i]);
        let scale = match &attrs.scales {
            Some(scales) => scales[i].to_f64(),
            None => result as f64 / len as f64,
        };
        let usable = scale > 0.0 && scale.is_finite() && len > 0;
        if result > 0 && !usable {
            let text =
                format!("axis {i} of {len} elements cannot be resized by {scale} to {result}");
            return Err(OpError::Shape(text));
        }
        let roi = if needs_roi {
            (attrs.roi[i].to_f64(), attrs.roi[rank + i].to_f64())
        } else {
            (0.0, 1.0)
        };
        // A length that is given is exact: `result / len · len` need not be.
        let width = if attrs.scales.is_some() { scale * len as f64 } else { result as f64 };
        Ok(Axis { len, result, scale, width, roi })
    };
    (0..rank).map(axis).collect()
}

/// Nearest mode moves elements, of any dtype.
fn nearest(
    x: &Tensor,
    attrs: &ResizeAttrs,
    axes: &[Axis],
    dims: &[usize],
) -> Result<Tensor, OpError> {
    let table = |(axis, stride): (&Axis, usize)| {
        let at = |i: usize| {
            axis.coordinate(attrs.coordinates, i).map(|c| axis.round(attrs.nearest, c) * stride)
        };
        (0..axis.result).map(at).collect::<Vec<_>>()
    };
    let tables: Vec<_> = axes.iter().zip(strides(x.dims())).map(table).collect();
    let fill = Tensor::scalar(attrs.extrapolation.to_f64()).cast(x.dtype());
    let fill = fill.map_or_else(|| Tensor::zeros(x.dtype(), &[]), Ok)?;
    let data = x.data().take_or(&combine_some(&tables), fill.data());
    Tensor::from_data(dims, data.ok_or_else(|| OpError::dtype(0, "a number", x.dtype()))?)
}

impl Axis {
    /// Whether every coordinate maps to itself.
    fn is_identity(&self, attrs: &ResizeAttrs) -> bool {
        let crops = attrs.coordinates == ResizeCoordinates::TfCropAndResize;
        self.len == self.result && self.scale == 1.0 && !crops
    }

    /// The operand coordinate of a result position; `None` outside of the operand in
    /// crop-and-resize.
    fn coordinate(&self, mode: ResizeCoordinates, i: usize) -> Option<f64> {
        let (x, len) = (i as f64, self.len as f64);
        let width = self.width;
        let half_pixel = (x + 0.5) / self.scale - 0.5;
        Some(match mode {
            ResizeCoordinates::HalfPixel => half_pixel,
            ResizeCoordinates::HalfPixelSymmetric => {
                let adjustment = self.result as f64 / width;
                len / 2.0 * (1.0 - adjustment) + half_pixel
            }
            ResizeCoordinates::PytorchHalfPixel => {
                if width > 1.0 {
                    half_pixel
                } else {
                    0.0
                }
            }
            ResizeCoordinates::AlignCorners if width == 1.0 => 0.0,
            ResizeCoordinates::AlignCorners => x * (len - 1.0) / (width - 1.0),
            ResizeCoordinates::Asymmetric => x / self.scale,
            ResizeCoordinates::TfCropAndResize => {
                let (start, end) = self.roi;
                let step = if width == 1.0 { 0.5 } else { x / (width - 1.0) };
                let c = start * (len - 1.0) + step * (end - start) * (len - 1.0);
                return (0.0..=len - 1.0).contains(&c).then_some(c);
            }
        })
    }

    fn round(&self, mode: NearestMode, c: f64) -> usize {
        let nearest = match mode {
            NearestMode::Floor => c.floor(),
            NearestMode::Ceil => c.ceil(),
            NearestMode::RoundPreferFloor => (c - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (c + 0.5).floor(),
        };
        self.clamp(nearest)
    }

    /// The element at a whole coordinate, or the edge nearest to it.
    fn clamp(&self, c: f64) -> usize {
        // `as` saturates, so a far coordinate is an edge too.
        (c.max(0.0) as usize).min(self.len - 1)
    }

    fn taps(&self, attrs: &ResizeAttrs) -> Result<Vec<Taps>, OpError> {
        let shrink = if attrs.antialias { self.scale.min(1.0) } else { 1.0 };
        let radius = if attrs.mode == ResizeMode::Cubic { 2.0 } else { 1.0 };
        let first = (-radius / shrink).floor() + 1.0;
        let footprint = (2.0 - 2.0 * first) as usize;
        checked_elements(&[self.result, footprint])?;
        let weight = |distance: f64| match attrs.mode {
            ResizeMode::Cubic => cubic(attrs.cubic_coeff.to_f64(), distance * shrink),
            ResizeMode::Linear | ResizeMode::Nearest => (1.0 - (distance * shrink).abs()).max(0.0),
        };
        let taps = |c: f64| {
            let base = c.floor();
            let tap = |k: usize| {
                let at = base + first + k as f64;
                let inside = at >= 0.0 && at < self.len as f64;
                let w = if attrs.exclude_outside && !inside { 0.0 } else { weight(at - c) };
                (self.clamp(at), w)
            };
            let mut taps: Vec<(usize, f64)> = (0..footprint).map(tap).collect();
            if attrs.exclude_outside || attrs.antialias {
                let sum: f64 = taps.iter().map(|t| t.1).sum();
                taps.iter_mut().for_each(|t| t.1 /= sum);
            }
            taps
        };
        Ok((0..self.result).map(|i| self.coordinate(attrs.coordinates, i).map(taps)).collect())
    }
}

/// Keys' cubic convolution kernel with coefficient `a`.
fn cubic(a: f64, distance: f64) -> f64 {
    let x = distance.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// Applies the taps along one axis; updates `sizes`.
fn weigh(
    values: &[f64],
    sizes: &mut [usize],
    axis: usize,
    taps: &[Taps],
) -> Result<Vec<f64>, OpError> {
    let (outer, len, inner) = around(sizes, axis)?;
    sizes[axis] = taps.len();
    let mut out = vec![0.0; checked_elements(sizes)?];
    for o in 0..outer {
        for (i, taps) in taps.iter().enumerate() {
            let line = &mut out[(o * sizes[axis] + i) * inner..][..inner];
            for &(at, weight) in taps.iter().flatten() {
                let from = &values[(o * len + at) * inner..][..inner];
                line.iter_mut().zip(from).for_each(|(y, x)| *y += weight * x);
            }
        }
    }
    Ok(out)
}

/// Overwrites elements that lie outside along any axis.
fn extrapolate(values: &mut [f64], dims: &[usize], outside: &[Vec<bool>], fill: f64) {
    for (axis, flags) in outside.iter().enumerate().filter(|(_, f)| f.contains(&true)) {
        let inner: usize = dims[axis + 1..].iter().product();
        for (flat, value) in values.iter_mut().enumerate() {
            if flags[flat / inner % dims[axis]] {
                *value = fill;
            }
        }
    }
}
