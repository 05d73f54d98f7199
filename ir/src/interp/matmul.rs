//! Matrix products, and the row kernel that convolution shares.

use super::compute::numbers;
use super::error::OpError;
use super::index::{broadcast_dims, strided, strides};
use super::tensor::{Tensor, checked_elements};

/// Numbers that products are summed in: `f64` for floats, wrapping `i64` for integers
/// (which wraps at every narrower width too).
pub(super) trait Ring: Copy + Default {
    /// `self + a·b`.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// `self + a`.
    fn add(self, a: Self) -> Self;
    /// The elements of operand `i`.
    fn load(x: &Tensor, i: usize) -> Result<Vec<Self>, OpError>;
    /// Results rounded or wrapped to the dtype of `like`.
    fn store(like: &Tensor, dims: &[usize], values: Vec<Self>) -> Result<Tensor, OpError>;
}

impl Ring for f64 {
    fn mul_add(self, a: Self, b: Self) -> Self {
        self + a * b
    }
    fn add(self, a: Self) -> Self {
        self + a
    }
    fn load(x: &Tensor, i: usize) -> Result<Vec<Self>, OpError> {
        numbers(x, i)
    }
    fn store(like: &Tensor, dims: &[usize], values: Vec<Self>) -> Result<Tensor, OpError> {
        Tensor::from_f64(like.dtype(), dims, values)
    }
}

impl Ring for i64 {
    fn mul_add(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }
    fn add(self, a: Self) -> Self {
        self.wrapping_add(a)
    }
    fn load(x: &Tensor, i: usize) -> Result<Vec<Self>, OpError> {
        let values = x.to_i128().ok_or_else(|| OpError::dtype(i, "an integer", x.dtype()))?;
        Ok(values.into_iter().map(|v| v as i64).collect())
    }
    fn store(like: &Tensor, dims: &[usize], values: Vec<Self>) -> Result<Tensor, OpError> {
        let wide: Vec<i128> = values.into_iter().map(i128::from).collect();
        Tensor::from_i128(like.dtype(), dims, &wide)
    }
}

/// Evaluates `$body` with `$R` naming the ring of a dtype: floats or integers.
macro_rules! with_ring {
    ($x:expr, $R:ident => $body:expr) => {
        match $x.dtype() {
            d if d.is_float() => {
                type $R = f64;
                $body
            }
            d if d.is_int() => {
                type $R = i64;
                $body
            }
            d => Err($crate::interp::OpError::dtype(0, "a float or an integer", d)),
        }
    };
}
pub(super) use with_ring;

/// `acc[n] += Σ_k row[k]·matrix[k][n]`, one row of the matrix at a time.
pub(super) fn row_times_matrix<T: Ring>(row: &[T], matrix: &[T], acc: &mut [T]) {
    if acc.is_empty() {
        return;
    }
    for (&r, line) in row.iter().zip(matrix.chunks_exact(acc.len())) {
        for (sum, &m) in acc.iter_mut().zip(line) {
            *sum = sum.mul_add(r, m);
        }
    }
}

pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    if a.dtype() != b.dtype() {
        return Err(OpError::dtype(1, &a.dtype().to_string(), b.dtype()));
    }
    with_ring!(a, R => product::<R>(a, b))
}

fn product<T: Ring>(a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    let misfit = || {
        let (a, b) = (a.dims(), b.dims());
        OpError::Shape(format!("dims {a:?} and {b:?} do not multiply as [..,M,K] and [..,K,N]"))
    };
    let (lead_a, &[m, k]) = a.dims().split_last_chunk::<2>().ok_or_else(misfit)?;
    let (lead_b, &[k2, n]) = b.dims().split_last_chunk::<2>().ok_or_else(misfit)?;
    if k != k2 {
        return Err(misfit());
    }
    let lead = broadcast_dims(&[lead_a, lead_b])?;
    let dims = [lead.as_slice(), &[m, n]].concat();
    let mut y = vec![T::default(); checked_elements(&dims)?];
    let (left, right) = (T::load(a, 0)?, T::load(b, 1)?);
    let matrices = batch_offsets(lead_a, &lead).into_iter().zip(batch_offsets(lead_b, &lead));
    for (i, (in_a, in_b)) in matrices.enumerate() {
        let matrix = &right[in_b * k * n..][..k * n];
        for row in 0..m {
            let from = &left[(in_a * m + row) * k..][..k];
            row_times_matrix(from, matrix, &mut y[(i * m + row) * n..][..n]);
        }
    }
    T::store(a, &dims, y)
}

/// For each matrix of the broadcast batch, which one of the operand's it reads.
fn batch_offsets(from: &[usize], to: &[usize]) -> Vec<usize> {
    let mut steps = vec![0; to.len()];
    let lead = to.len() - from.len();
    for (axis, stride) in strides(from).into_iter().enumerate() {
        steps[lead + axis] = if from[axis] == to[lead + axis] { stride } else { 0 };
    }
    strided(to, &steps)
}
