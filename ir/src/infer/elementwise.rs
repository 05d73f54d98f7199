//! Leaves and element-wise ops.

use super::{Ctx, InferError, Types, one, reshaped};
use crate::graph::ConstId;
use crate::op::{BinaryOp, RandomAttrs, UnaryOp};
use cascata_types::{DType, Dim, TensorType};

impl Ctx<'_> {
    pub(super) fn constant(&self, id: ConstId) -> Types {
        self.arity(0, 0)?;
        match self.graph.consts.get(id) {
            Some(c) => one(c.ty.clone()),
            None => Err(self.error(format!("constant {id} does not exist"), "add it first")),
        }
    }

    pub(super) fn fill(&self, dtype: DType, shape: &[Dim]) -> Types {
        self.arity(0, 0)?;
        self.require(dtype != DType::Str, "the number cannot be a string", "use a const")?;
        one(TensorType::dense(dtype, shape))
    }

    pub(super) fn dim_values(&self, dims: &[Dim], scalar: bool) -> Types {
        self.arity(0, 0)?;
        let ok = !scalar || dims.len() == 1;
        self.require(ok, "a scalar result needs exactly one dim", "give one dim")?;
        let shape = if scalar { vec![] } else { vec![Dim::from(dims.len() as i64)] };
        one(TensorType::dense(DType::I64, shape))
    }

    pub(super) fn iota(&self, dtype: DType, shape: &[Dim], axis: usize) -> Types {
        self.arity(0, 0)?;
        let numeric = dtype.is_int() || dtype.is_float();
        self.require(numeric, "the dtype must be numeric", "use i64 and cast")?;
        self.axis(axis, shape.len())?;
        one(TensorType::dense(dtype, shape))
    }

    pub(super) fn random(&self, attrs: &RandomAttrs) -> Types {
        self.arity(0, 0)?;
        self.require(attrs.dtype.is_float(), "the dtype must be a float", "use f32 and cast")?;
        one(TensorType::dense(attrs.dtype, attrs.shape.clone()))
    }

    pub(super) fn unary(&self, op: UnaryOp) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        self.unary_operand(op, x.dtype)?;
        one(TensorType::dense(op.result(x.dtype), x.shape.clone()))
    }

    fn unary_operand(&self, op: UnaryOp, dtype: DType) -> Result<(), InferError> {
        use UnaryOp::*;
        match op {
            Not => self.require(dtype == DType::Bool, "the operand must be bool", "cast it"),
            BitNot => self.require(dtype.is_int(), "the operand must be an integer", "cast it"),
            Neg | Abs | Sign | Relu => self.numeric(0, dtype),
            _ => self.require(dtype.is_float(), "the operand must be a float", "cast it"),
        }
    }

    pub(super) fn binary(&mut self, op: BinaryOp) -> Types {
        self.arity(2, 2)?;
        let (a, b) = (self.tensor(0)?, self.tensor(1)?);
        self.same_dtype(0, 1)?;
        self.binary_operand(op, a.dtype)?;
        let shape = self.broadcast(&a.shape, &b.shape)?;
        one(TensorType::dense(op.result(a.dtype), shape))
    }

    fn binary_operand(&self, op: BinaryOp, dtype: DType) -> Result<(), InferError> {
        use BinaryOp::*;
        match op {
            And | Or | Xor => {
                self.require(dtype == DType::Bool, "operands must be bool", "cast them")
            }
            BitAnd | BitOr | BitXor | Shl | Shr => {
                self.require(dtype.is_int(), "operands must be integers", "cast them")
            }
            Atan2 => self.require(dtype.is_float(), "operands must be floats", "cast them"),
            Eq | Ne => Ok(()),
            _ => self.numeric(0, dtype),
        }
    }

    pub(super) fn select(&mut self) -> Types {
        self.arity(3, 3)?;
        let (cond, a, b) = (self.tensor(0)?, self.tensor(1)?, self.tensor(2)?);
        self.require(cond.dtype == DType::Bool, "operand 0 must be bool", "compare it with zero")?;
        self.same_dtype(1, 2)?;
        let values = self.broadcast(&a.shape, &b.shape)?;
        let shape = self.broadcast(&cond.shape, &values)?;
        one(reshaped(a, shape))
    }

    pub(super) fn cast(&self, to: DType) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        let strings = x.dtype == DType::Str || to == DType::Str;
        self.require(!strings, "strings are not cast", "convert them outside of the model")?;
        one(TensorType::dense(to, x.shape.clone()))
    }

    pub(super) fn bit_cast(&self, to: DType) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        let whole = |d: DType| d.is_int() || matches!(d, DType::F32 | DType::F64);
        let fits = whole(x.dtype) && whole(to) && x.dtype.size_bytes() == to.size_bytes();
        self.require(fits, "both dtypes must have as many bits, all of them read", "cast it")?;
        one(TensorType::dense(to, x.shape.clone()))
    }
}
