//! Reductions and searches.

use super::{Ctx, Types, one, reshaped};
use crate::op::ReduceOp;
use cascata_types::{DType, Dim, Shape, SymbolId, TensorType};

impl Ctx<'_> {
    pub(super) fn reduce(&self, op: ReduceOp, axes: &[usize], keep_dims: bool) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        if !(matches!(op, ReduceOp::Max | ReduceOp::Min) && x.dtype == DType::Bool) {
            self.numeric(0, x.dtype)?;
        }
        let increasing = axes.windows(2).all(|w| w[0] < w[1]);
        self.require(
            increasing && !axes.is_empty(),
            "axes must be increasing and not empty",
            "sort them",
        )?;
        for &a in axes {
            self.axis(a, x.rank())?;
        }
        one(reshaped(x, without_axes(&x.shape, axes, keep_dims)))
    }

    pub(super) fn arg_reduce(&self, axis: usize, keep_dims: bool) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        self.numeric(0, x.dtype)?;
        self.axis(axis, x.rank())?;
        one(TensorType::dense(DType::I64, without_axes(&x.shape, &[axis], keep_dims)))
    }

    pub(super) fn cum_sum(&self, axis: usize) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        self.numeric(0, x.dtype)?;
        self.axis(axis, x.rank())?;
        one(x.clone())
    }

    pub(super) fn top_k(&self, k: &Dim, axis: usize) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        self.numeric(0, x.dtype)?;
        self.axis(axis, x.rank())?;
        self.not_negative(k, "k")?;
        self.at_most(k, &x.shape[axis], "k")?;
        let mut shape = x.shape.clone();
        shape[axis] = k.clone();
        let indices = TensorType::dense(DType::I64, shape.clone());
        Ok(vec![reshaped(x, shape).into(), indices.into()])
    }

    pub(super) fn non_zero(&self, count: SymbolId) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        self.require(
            x.dtype != DType::Str,
            "the operand must be numeric or bool",
            "compare first",
        )?;
        let shape = vec![Dim::from(x.rank() as i64), self.bound(count)?];
        one(TensorType::dense(DType::I64, shape))
    }

    pub(super) fn non_max_suppression(&mut self, count: SymbolId) -> Types {
        self.arity(5, 5)?;
        let boxes = self.exactly(0, DType::F32, 3)?;
        let scores = self.exactly(1, DType::F32, 3)?;
        self.exactly(2, DType::I64, 0)?;
        self.exactly(3, DType::F32, 0)?;
        self.exactly(4, DType::F32, 0)?;
        self.equal(&boxes.shape[0], &scores.shape[0], "batch of boxes and scores")?;
        self.equal(&boxes.shape[1], &scores.shape[2], "number of boxes and scores")?;
        self.equal(&boxes.shape[2], &4.into(), "coordinates of a box")?;
        one(TensorType::dense(DType::I64, vec![self.bound(count)?, 3.into()]))
    }
}

/// `shape` with `axes` removed, or set to 1 when kept.
fn without_axes(shape: &[Dim], axes: &[usize], keep_dims: bool) -> Shape {
    let mut out = Vec::with_capacity(shape.len());
    for (a, dim) in shape.iter().enumerate() {
        match (axes.contains(&a), keep_dims) {
            (false, _) => out.push(dim.clone()),
            (true, true) => out.push(1.into()),
            (true, false) => {}
        }
    }
    out
}
