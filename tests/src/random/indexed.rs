//! Proposals: gathers and scatters.

use super::build::Builder;
use super::fresh::Domain;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, ScatterReduce, UnaryOp};
use cascata_types::{DType, Dim, Scalar, Shape};

type Made = Option<ValueId>;

impl Builder {
    /// Indices into an axis of `n` elements: given, or computed from what there is.
    fn indices(&mut self, n: i64, shape: Shape) -> Made {
        if n <= 0 {
            return None;
        }
        let dtype = self.rng.pick(&[DType::I64, DType::I64, DType::I32]);
        if self.rng.one_in(3)
            && let Some(v) = self.computed_indices(n, dtype, &shape)
        {
            return Some(v);
        }
        Some(self.fresh(dtype, shape, Domain::Index(-n, n - 1)))
    }

    /// `|x| mod n`, broadcast.
    fn computed_indices(&mut self, n: i64, dtype: DType, shape: &Shape) -> Made {
        let fits = |b: &Self, v: ValueId| {
            let other = b.shape(v);
            let dims = shape.iter().rev().zip(other.iter().rev());
            b.dtype(v) == dtype
                && other.len() <= shape.len()
                && dims.into_iter().all(|(a, b)| a == b || b.is(1))
        };
        let mut v = self.find(fits)?;
        if self.rng.one_in(2) {
            v = self.add(Op::Unary(UnaryOp::Neg), &[v])?;
        }
        let n = self.add(Op::Fill { value: Scalar::from_i64(dtype, n), shape: vec![] }, &[])?;
        let v = self.add(Op::Binary(BinaryOp::Mod), &[v, n])?;
        match self.shape(v) == *shape {
            true => Some(v),
            false => self.add(Op::Broadcast { shape: shape.clone() }, &[v]),
        }
    }

    fn some_axis(&mut self, v: ValueId) -> (usize, i64) {
        let axis = self.rng.below(self.rank(v));
        (axis, self.least(&self.shape(v)[axis]))
    }

    pub fn gather(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0)?;
        let (axis, n) = self.some_axis(v);
        let rank = self.rng.below(3);
        let shape = self.any_shape(rank);
        let index = self.indices(n, shape)?;
        self.add(Op::Gather { axis }, &[v, index])
    }

    /// A shape within `shape` except along `axis`.
    fn inside(&mut self, shape: &Shape, axis: usize) -> Shape {
        let cut = |(i, dim): (usize, &Dim)| match dim.as_const() {
            _ if i == axis => self.any_shape(1).remove(0),
            Some(n) if self.rng.one_in(4) => self.rng.range(n.min(1), n).into(),
            _ => dim.clone(),
        };
        shape.iter().enumerate().map(cut).collect()
    }

    pub fn gather_elements(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0)?;
        let (axis, n) = self.some_axis(v);
        let shape = self.inside(&self.shape(v), axis);
        let index = self.indices(n, shape)?;
        self.add(Op::GatherElements { axis }, &[v, index])
    }

    pub fn gather_nd(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0)?;
        let x = self.shape(v);
        let batch_dims = self.rng.below(x.len());
        let depth = self.rng.range(1, (x.len() - batch_dims) as i64) as usize;
        let n = x[batch_dims..batch_dims + depth].iter().map(|d| self.least(d)).min()?;
        let rank = self.rng.below(2);
        let mut shape = x[..batch_dims].to_vec();
        shape.extend(self.any_shape(rank));
        shape.push(Dim::from(depth as i64));
        let index = self.indices(n, shape)?;
        self.add(Op::GatherNd { batch_dims }, &[v, index])
    }

    fn scatter_reduce(&mut self, dtype: DType) -> ScatterReduce {
        use ScatterReduce::*;
        match dtype {
            DType::Bool => None,
            _ => self.rng.pick(&[None, None, Add, Mul, Max, Min]),
        }
    }

    /// New or found updates of exactly this type.
    fn updates(&mut self, dtype: DType, shape: Shape) -> ValueId {
        let found = self.find(|b, v| b.dtype(v) == dtype && b.shape(v) == shape);
        found.unwrap_or_else(|| self.fresh(dtype, shape, Domain::Any))
    }

    pub fn scatter_elements(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0)?;
        let (axis, n) = self.some_axis(v);
        let dtype = self.dtype(v);
        let shape = self.inside(&self.shape(v), axis);
        let index = self.indices(n, shape.clone())?;
        let updates = self.updates(dtype, shape);
        let reduce = self.scatter_reduce(dtype);
        self.add(Op::ScatterElements { axis, reduce }, &[v, index, updates])
    }

    pub fn scatter_nd(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0)?;
        let (x, dtype) = (self.shape(v), self.dtype(v));
        let depth = self.rng.range(1, x.len() as i64) as usize;
        let n = x[..depth].iter().map(|d| self.least(d)).min()?;
        let rank = self.rng.below(3);
        let mut shape = self.any_shape(rank);
        let mut updates = shape.clone();
        updates.extend_from_slice(&x[depth..]);
        shape.push(Dim::from(depth as i64));
        let index = self.indices(n, shape)?;
        let updates = self.updates(dtype, updates);
        let reduce = self.scatter_reduce(dtype);
        self.add(Op::ScatterNd { reduce }, &[v, index, updates])
    }
}
