//! Element-wise ops with NumPy broadcasting.

use super::error::OpError;
use super::index::{broadcast_dims, broadcast_to};
use super::tensor::{Data, Element, Tensor};
use crate::op::{BinaryOp, UnaryOp};
use crate::scalar::{Num, binary_values, compare, test_values, unary_values};
use crate::types::DType;
use crate::with_num;

pub(super) fn unary(op: UnaryOp, x: &Tensor) -> Result<Tensor, OpError> {
    fn apply<T: Num + Element>(op: UnaryOp, data: &Data) -> Result<Data, OpError> {
        let values = T::values(data).unwrap_or_default();
        Ok(match op {
            UnaryOp::IsNan | UnaryOp::IsInf => Data::Bool(test_values(op, values)?),
            _ => T::wrap_data(unary_values(op, values)?),
        })
    }
    let data = with_num!(x.dtype(), T => apply::<T>(op, x.data())?, str => {
        return Err(OpError::dtype(0, "a number", DType::Str));
    });
    Tensor::from_data(x.dims(), data)
}

pub(super) fn binary(op: BinaryOp, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    if a.dtype() != b.dtype() {
        return Err(OpError::dtype(1, &format!("{} as operand 0", a.dtype()), b.dtype()));
    }
    let dims = broadcast_dims(&[a.dims(), b.dims()])?;
    let (a, b) = (broadcast_to(a, &dims)?, broadcast_to(b, &dims)?);
    let data = with_num!(a.dtype(), T => apply_binary::<T>(op, a.data(), b.data())?, str => {
        compare_strings(op, a.data(), b.data())?
    });
    Tensor::from_data(&dims, data)
}

fn apply_binary<T: Num + Element>(op: BinaryOp, a: &Data, b: &Data) -> Result<Data, OpError> {
    let (a, b) = (T::values(a).unwrap_or_default(), T::values(b).unwrap_or_default());
    if op.is_comparison() {
        let pairs = a.iter().zip(b);
        return Ok(Data::Bool(pairs.map(|(a, b)| compare(op, a.partial_cmp(b))).collect()));
    }
    Ok(T::wrap_data(binary_values(op, a, b)?))
}

/// Strings are equal or not; they have no order here.
fn compare_strings(op: BinaryOp, a: &Data, b: &Data) -> Result<Data, OpError> {
    match (op, a, b) {
        (BinaryOp::Eq | BinaryOp::Ne, Data::Str(a), Data::Str(b)) => {
            let pairs = a.iter().zip(b);
            Ok(Data::Bool(pairs.map(|(a, b)| (a == b) == (op == BinaryOp::Eq)).collect()))
        }
        _ => Err(OpError::dtype(0, "a number", DType::Str)),
    }
}

/// Element by element `cond ? a : b`.
pub(super) fn select(cond: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    if a.dtype() != b.dtype() {
        return Err(OpError::dtype(2, &format!("{} as operand 1", a.dtype()), b.dtype()));
    }
    let dims = broadcast_dims(&[cond.dims(), a.dims(), b.dims()])?;
    let cond = broadcast_to(cond, &dims)?;
    let flags = cond.as_slice::<bool>().ok_or_else(|| OpError::dtype(0, "bool", cond.dtype()))?;
    let (a, b) = (broadcast_to(a, &dims)?, broadcast_to(b, &dims)?);
    let n = flags.len();
    let mut both = a.data().clone();
    both.append(b.data());
    let chosen: Vec<usize> =
        flags.iter().enumerate().map(|(i, &c)| if c { i } else { n + i }).collect();
    Tensor::from_data(&dims, both.take(&chosen))
}

pub(super) fn cast(x: &Tensor, to: DType) -> Result<Tensor, OpError> {
    x.cast(to).ok_or_else(|| OpError::Unsupported(format!("a cast from {} to {to}", x.dtype())))
}

pub(super) fn bit_cast(x: &Tensor, to: DType) -> Result<Tensor, OpError> {
    if x.dtype().size_bytes().is_none() || x.dtype().size_bytes() != to.size_bytes() {
        return Err(OpError::Unsupported(format!("bits of {} as {to}", x.dtype())));
    }
    Tensor::from_le_bytes(to, x.dims(), &x.to_le_bytes())
}
