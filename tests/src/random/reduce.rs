//! Proposals: reductions, scans, normalisations.

use super::build::Builder;
use super::fresh::Domain;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{Op, ReduceOp};
use cascata_types::{DType, Scalar};

type Made = Option<ValueId>;

impl Builder {
    fn reducible(&mut self) -> Made {
        self.find(|b, v| b.rank(v) > 0 && b.dtype(v) != DType::Bool)
    }

    pub fn reduce(&mut self) -> Made {
        use ReduceOp::*;
        let v = self.reducible()?;
        let rank = self.rank(v);
        let mut axes: Vec<usize> = (0..rank).filter(|_| self.rng.one_in(2)).collect();
        if axes.is_empty() {
            axes.push(self.rng.below(rank));
        }
        let mut op = self.rng.pick(&[Sum, Sum, Mean, Max, Min, Prod]);
        // The interpreter's mean sums in 128 bits; compiled code sums 64-bit integers in 64.
        if op == Mean && matches!(self.dtype(v), DType::I64 | DType::U64) && !self.small(v) {
            op = Sum;
        }
        let keep_dims = self.rng.one_in(2);
        self.add(Op::Reduce { op, axes, keep_dims }, &[v])
    }

    /// Whether sums of the elements fit 64 bits.
    fn small(&self, v: ValueId) -> bool {
        let fits = |x: &f64| (0.0..1e12).contains(&x.abs());
        let values = self.witnesses[&v].iter().filter_map(|w| w.base.to_f64());
        values.flatten().all(|x| fits(&x))
    }

    pub fn arg_reduce(&mut self) -> Made {
        let v = self.reducible()?;
        let axis = self.rng.below(self.rank(v));
        let [max, keep_dims, select_last] = [0; 3].map(|_| self.rng.one_in(2));
        self.add(Op::ArgReduce { max, axis, keep_dims, select_last }, &[v])
    }

    pub fn cum_sum(&mut self) -> Made {
        let v = self.reducible()?;
        let axis = self.rng.below(self.rank(v));
        let [exclusive, reverse] = [0; 2].map(|_| self.rng.one_in(2));
        self.add(Op::CumSum { axis, exclusive, reverse }, &[v])
    }

    pub fn softmax(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0 && b.dtype(v).is_float())?;
        let axis = self.rng.below(self.rank(v));
        self.add(Op::Softmax { axis }, &[v])
    }

    pub fn norm(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0 && b.dtype(v).is_float())?;
        let (shape, dtype) = (self.shape(v), self.dtype(v));
        // The last axis mostly.
        let axis = if self.rng.one_in(3) { self.rng.below(shape.len()) } else { shape.len() - 1 };
        let epsilon = Scalar::f32(self.rng.pick(&[1e-5, 1e-3]));
        let scale = self.fresh(dtype, shape[axis..].to_vec(), Domain::Positive);
        if self.rng.one_in(2) {
            return self.add(Op::RmsNorm { axis, epsilon }, &[v, scale]);
        }
        let mut inputs = vec![v, scale];
        if self.rng.below(3) > 0 {
            inputs.push(self.fresh(dtype, shape[axis..].to_vec(), Domain::Any));
        }
        self.add(Op::LayerNorm { axis, epsilon }, &inputs)
    }
}
