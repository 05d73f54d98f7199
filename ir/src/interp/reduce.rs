//! Reductions and running sums.

use super::compute::numbers;
use super::error::OpError;
use super::index::{around, no_axis, strided, strides};
use super::tensor::Tensor;
use crate::op::ReduceOp;
use crate::scalar::{max_f64, min_f64};
use crate::types::DType;

pub(super) fn reduce(
    x: &Tensor,
    op: ReduceOp,
    axes: &[usize],
    keep_dims: bool,
) -> Result<Tensor, OpError> {
    if let Some(&axis) = axes.iter().find(|&&a| a >= x.rank()) {
        return Err(no_axis(axis, x.dims()));
    }
    let kept: Vec<usize> =
        (0..x.rank()).map(|a| if axes.contains(&a) { 1 } else { x.dims()[a] }).collect();
    let mut steps = strides(&kept);
    axes.iter().for_each(|&a| steps[a] = 0);
    // For each operand element, the result element that it belongs to.
    let targets = strided(x.dims(), &steps);
    let n: usize = kept.iter().product();
    let count: usize = axes.iter().map(|&a| x.dims()[a]).product();
    let dims = without(&kept, axes, keep_dims);
    if x.dtype().is_float() {
        let (start, f) = float_fold(op);
        let mut sums = fold(&numbers(x, 0)?, &targets, vec![start; n], f);
        if op == ReduceOp::Mean {
            sums.iter_mut().for_each(|s| *s /= count as f64);
        }
        return Tensor::from_f64(x.dtype(), &dims, sums);
    }
    let values = x.to_i128().ok_or_else(|| OpError::dtype(0, "a number", x.dtype()))?;
    let (start, f) = int_fold(op, x.dtype());
    let mut sums = fold(&values, &targets, vec![start; n], f);
    if op == ReduceOp::Mean {
        // The sum wraps at 64 bits; the division truncates; the mean of nothing is 0.
        let wrapped = |s: i128| match x.dtype() {
            DType::U64 => i128::from(s as u64),
            _ => i128::from(s as i64),
        };
        sums.iter_mut().for_each(|s| *s = wrapped(*s).checked_div(count as i128).unwrap_or(0));
    }
    Tensor::from_i128(x.dtype(), &dims, &sums)
}

/// Dims with the reduced axes kept as 1 or dropped.
pub(super) fn without(kept: &[usize], axes: &[usize], keep_dims: bool) -> Vec<usize> {
    let stays = |a: &usize| keep_dims || !axes.contains(a);
    (0..kept.len()).filter(stays).map(|a| kept[a]).collect()
}

fn fold<T: Copy>(xs: &[T], targets: &[usize], mut sums: Vec<T>, f: fn(T, T) -> T) -> Vec<T> {
    for (&x, &target) in xs.iter().zip(targets) {
        sums[target] = f(sums[target], x);
    }
    sums
}

fn float_fold(op: ReduceOp) -> (f64, fn(f64, f64) -> f64) {
    match op {
        ReduceOp::Sum | ReduceOp::Mean => (0.0, |a, b| a + b),
        ReduceOp::Max => (f64::NEG_INFINITY, max_f64),
        ReduceOp::Min => (f64::INFINITY, min_f64),
        ReduceOp::Prod => (1.0, |a, b| a * b),
    }
}

fn int_fold(op: ReduceOp, dtype: DType) -> (i128, fn(i128, i128) -> i128) {
    let (lowest, highest) = int_range(dtype);
    match op {
        ReduceOp::Sum | ReduceOp::Mean => (0, i128::wrapping_add),
        ReduceOp::Max => (lowest, i128::max),
        ReduceOp::Min => (highest, i128::min),
        ReduceOp::Prod => (1, i128::wrapping_mul),
    }
}

/// The smallest and largest element of an integer dtype (or bool).
fn int_range(dtype: DType) -> (i128, i128) {
    let bits = match dtype {
        DType::Bool => 1,
        d => 8 * d.size_bytes().unwrap_or(8) as u32,
    };
    if dtype.is_signed_int() {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    } else {
        (0, (1i128 << bits) - 1)
    }
}

pub(super) fn cum_sum(
    x: &Tensor,
    axis: usize,
    exclusive: bool,
    reverse: bool,
) -> Result<Tensor, OpError> {
    let shape = around(x.dims(), axis)?;
    if x.dtype().is_float() {
        let sums = running(&numbers(x, 0)?, shape, exclusive, reverse, 0.0, |a, b| a + b);
        return Tensor::from_f64(x.dtype(), x.dims(), sums);
    }
    let values = x.to_i128().ok_or_else(|| OpError::dtype(0, "a number", x.dtype()))?;
    let sums = running(&values, shape, exclusive, reverse, 0, i128::wrapping_add);
    Tensor::from_i128(x.dtype(), x.dims(), &sums)
}

fn running<T: Copy>(
    xs: &[T],
    (outer, len, inner): (usize, usize, usize),
    exclusive: bool,
    reverse: bool,
    zero: T,
    add: fn(T, T) -> T,
) -> Vec<T> {
    let mut out = vec![zero; xs.len()];
    for o in 0..outer {
        for i in 0..inner {
            let mut sum = zero;
            for step in 0..len {
                let j = if reverse { len - 1 - step } else { step };
                let at = (o * len + j) * inner + i;
                let next = add(sum, xs[at]);
                out[at] = if exclusive { sum } else { next };
                sum = next;
            }
        }
    }
    out
}
