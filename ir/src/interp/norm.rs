//! Softmax and normalisations, in `f64`.

use super::compute::Operands;
use super::error::OpError;
use super::index::around;
use super::tensor::Tensor;
use crate::op::LrnAttrs;

pub(super) fn softmax(args: &Operands, axis: usize) -> Result<Tensor, OpError> {
    let (x, values) = (args.at(0)?, args.floats(0)?);
    let (outer, len, inner) = around(x.dims(), axis)?;
    let mut y = vec![0.0; values.len()];
    for line in (0..outer).flat_map(|o| (0..inner).map(move |i| o * len * inner + i)) {
        let at = |j: usize| line + j * inner;
        let max = (0..len).map(|j| values[at(j)]).fold(f64::NEG_INFINITY, f64::max);
        (0..len).for_each(|j| y[at(j)] = libm::exp(values[at(j)] - max));
        let sum: f64 = (0..len).map(|j| y[at(j)]).sum();
        (0..len).for_each(|j| y[at(j)] /= sum);
    }
    Tensor::from_f64(x.dtype(), x.dims(), y)
}

pub(super) fn layer_norm(args: &Operands, axis: usize, epsilon: f64) -> Result<Tensor, OpError> {
    let scale = affine(args, 1, axis)?;
    let bias = match args.get(2) {
        Some(_) => affine(args, 2, axis)?,
        None => vec![0.0; scale.len()],
    };
    rows(args, scale.len(), |row| {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        let root = (variance + epsilon).sqrt();
        for (x, (s, b)) in row.iter_mut().zip(scale.iter().zip(&bias)) {
            *x = (*x - mean) / root * s + b;
        }
    })
}

pub(super) fn rms_norm(args: &Operands, axis: usize, epsilon: f64) -> Result<Tensor, OpError> {
    let scale = affine(args, 1, axis)?;
    rows(args, scale.len(), |row| {
        let mean_square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        let root = (mean_square + epsilon).sqrt();
        row.iter_mut().zip(&scale).for_each(|(x, s)| *x = *x / root * s);
    })
}

/// A scale or bias operand; it has the dims from `axis` on.
fn affine(args: &Operands, i: usize, axis: usize) -> Result<Vec<f64>, OpError> {
    let (x, y) = (args.at(0)?.dims(), args.at(i)?);
    if x.get(axis..) != Some(y.dims()) {
        let text = format!("operand {i} has dims {:?}, expected those of {x:?}", y.dims());
        return Err(OpError::Shape(format!("{text} from axis {axis} on")));
    }
    args.floats(i)
}

/// `f` on every row of `len` elements of operand 0.
fn rows(args: &Operands, len: usize, f: impl Fn(&mut [f64])) -> Result<Tensor, OpError> {
    let (x, mut values) = (args.at(0)?, args.floats(0)?);
    values.chunks_exact_mut(len.max(1)).for_each(f);
    Tensor::from_f64(x.dtype(), x.dims(), values)
}

/// `x / (bias + alpha/size · Σ x²)^beta`, the sum over `size` neighbouring channels.
pub(super) fn lrn(args: &Operands, attrs: &LrnAttrs) -> Result<Tensor, OpError> {
    let (x, values) = (args.at(0)?, args.floats(0)?);
    if attrs.size < 1 {
        return Err(OpError::TooSmall { what: "the LRN size", value: attrs.size, min: 1 });
    }
    let (outer, channels, inner) = around(x.dims(), 1)?;
    let (alpha, beta, bias) = (attrs.alpha.to_f64(), attrs.beta.to_f64(), attrs.bias.to_f64());
    let size = attrs.size as u64 as usize;
    let (below, above) = ((size - 1) / 2, size / 2);
    let mut y = vec![0.0; values.len()];
    for o in 0..outer {
        for c in 0..channels {
            let near =
                c.saturating_sub(below)..c.saturating_add(above).saturating_add(1).min(channels);
            for i in 0..inner {
                let at = |c: usize| (o * channels + c) * inner + i;
                let sum: f64 = near.clone().map(|c| values[at(c)] * values[at(c)]).sum();
                let base = bias + alpha / size as f64 * sum;
                y[at(c)] = values[at(c)] / libm::pow(base, beta);
            }
        }
    }
    Tensor::from_f64(x.dtype(), x.dims(), y)
}
