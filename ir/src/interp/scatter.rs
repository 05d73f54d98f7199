//! Writing at computed indices.

use super::compute::{Operands, numbers};
use super::error::OpError;
use super::gather::{element_offsets, nd_offsets};
use super::tensor::Tensor;
use crate::op::ScatterReduce;
use crate::scalar::{max_f64, min_f64};

pub(super) fn scatter_elements(
    args: &Operands,
    axis: usize,
    reduce: ScatterReduce,
) -> Result<Tensor, OpError> {
    let (x, index, updates) = (args.at(0)?, args.at(1)?, args.at(2)?);
    if index.dims() != updates.dims() {
        let (a, b) = (index.dims(), updates.dims());
        return Err(OpError::Shape(format!("index dims {a:?} and update dims {b:?} differ")));
    }
    let offsets = element_offsets(x, index.dims(), &args.ints(1)?, axis)?;
    scatter(x, updates, &offsets, reduce)
}

pub(super) fn scatter_nd(args: &Operands, reduce: ScatterReduce) -> Result<Tensor, OpError> {
    let (x, index, updates) = (args.at(0)?, args.at(1)?, args.at(2)?);
    let starts = nd_offsets(x, index.dims(), &args.ints(1)?, 0)?;
    let (k, lead) = (index.dims()[index.rank() - 1], &index.dims()[..index.rank() - 1]);
    let expected = [lead, &x.dims()[k..]].concat();
    if updates.dims() != expected {
        let found = updates.dims();
        return Err(OpError::Shape(format!("update dims are {found:?}, expected {expected:?}")));
    }
    let inner: usize = x.dims()[k..].iter().product();
    let offsets: Vec<usize> = starts.into_iter().flat_map(|s| s..s + inner).collect();
    scatter(x, updates, &offsets, reduce)
}

/// Joins update `i` into `x[offsets[i]]`, in order; without a reduction the last wins.
/// Floats are joined in `f64` and rounded once.
fn scatter(
    x: &Tensor,
    updates: &Tensor,
    offsets: &[usize],
    reduce: ScatterReduce,
) -> Result<Tensor, OpError> {
    if x.dtype() != updates.dtype() {
        return Err(OpError::dtype(2, &x.dtype().to_string(), updates.dtype()));
    }
    if reduce == ScatterReduce::None {
        let mut both = x.data().clone();
        both.append(updates.data());
        let mut sources: Vec<usize> = (0..x.len()).collect();
        for (i, &offset) in offsets.iter().enumerate() {
            sources[offset] = x.len() + i;
        }
        return Tensor::from_data(x.dims(), both.take(&sources));
    }
    if x.dtype().is_float() {
        let (mut sums, updates) = (numbers(x, 0)?, numbers(updates, 2)?);
        join(&mut sums, &updates, offsets, float_join(reduce));
        return Tensor::from_f64(x.dtype(), x.dims(), sums);
    }
    let (Some(mut sums), Some(updates)) = (x.to_i128(), updates.to_i128()) else {
        return Err(OpError::dtype(0, "a number", x.dtype()));
    };
    join(&mut sums, &updates, offsets, int_join(reduce));
    Tensor::from_i128(x.dtype(), x.dims(), &sums)
}

fn join<T: Copy>(sums: &mut [T], updates: &[T], offsets: &[usize], f: fn(T, T) -> T) {
    for (&offset, &update) in offsets.iter().zip(updates) {
        sums[offset] = f(sums[offset], update);
    }
}

fn float_join(reduce: ScatterReduce) -> fn(f64, f64) -> f64 {
    match reduce {
        ScatterReduce::None => |_, b| b,
        ScatterReduce::Add => |a, b| a + b,
        ScatterReduce::Mul => |a, b| a * b,
        ScatterReduce::Max => max_f64,
        ScatterReduce::Min => min_f64,
    }
}

/// Wrapping at 128 bits wraps at every narrower width.
fn int_join(reduce: ScatterReduce) -> fn(i128, i128) -> i128 {
    match reduce {
        ScatterReduce::None => |_, b| b,
        ScatterReduce::Add => i128::wrapping_add,
        ScatterReduce::Mul => i128::wrapping_mul,
        ScatterReduce::Max => i128::max,
        ScatterReduce::Min => i128::min,
    }
}
