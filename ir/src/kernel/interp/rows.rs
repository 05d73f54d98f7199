//! The row primitives by their formulas: `f64` accumulation, rounded once at the end.

use super::error::{Fault, Step};
use super::index::Index;
use super::machine::Machine;
use super::value::{Access, Value, rounded};
use crate::kernel::{Place, RowReduce};
use crate::op::UnaryOp;
use crate::scalar::{float_unary, max_f64};
use cascata_types::{DType, Dim};

/// A row primitive.
pub(super) struct RowPlan {
    src: Access,
    n: Index,
    kind: Kind,
}

enum Kind {
    Map { f: fn(f64) -> f64, dst: Access },
    Reduce { register: usize, op: RowReduce },
    ExpSum { register: usize, dst: Access, bias: Value },
}

impl RowPlan {
    fn new(src: &Place, n: &Dim, kind: Kind) -> Self {
        Self { src: Access::new(src), n: Index::new(n), kind }
    }

    pub(super) fn map(op: UnaryOp, dst: &Place, src: &Place, n: &Dim) -> Self {
        let f = float_unary(op).expect("row primitives are float functions");
        Self::new(src, n, Kind::Map { f, dst: Access::new(dst) })
    }

    pub(super) fn reduce(register: usize, op: RowReduce, src: &Place, n: &Dim) -> Self {
        Self::new(src, n, Kind::Reduce { register, op })
    }

    pub(super) fn exp_sum(register: usize, dst: &Place, src: &Place, n: &Dim, bias: Value) -> Self {
        Self::new(src, n, Kind::ExpSum { register, dst: Access::new(dst), bias })
    }

    pub(super) fn run(&self, m: &mut Machine) -> Step<()> {
        let n = m.index(&self.n)?;
        match &self.kind {
            Kind::Map { f, dst } => self.map_row(m, dst, n, f).map(drop),
            Kind::Reduce { register, op } => {
                let x = self.reduce_row(m, *op, n)?;
                m.set_register(*register, rounded(DType::F32, x) as i64);
                Ok(())
            }
            Kind::ExpSum { register, dst, bias } => {
                let bias = f64::from_bits(bias.eval(m)?);
                let sum = self.map_row(m, dst, n, &|x| libm::exp(x - bias))?;
                m.set_register(*register, rounded(DType::F32, sum) as i64);
                Ok(())
            }
        }
    }

    /// Returns the sum of the rounded results.
    fn map_row(&self, m: &mut Machine, dst: &Access, n: i64, f: &dyn Fn(f64) -> f64) -> Step<f64> {
        let (src, dst) = (self.src.base(m)?, dst.base(m)?);
        if src.overlaps(dst, n) && !src.is(dst) {
            return Err(Fault::RowOverlap.into());
        }
        let mut sum = 0.0;
        for i in 0..n {
            let y = f64::from_bits(rounded(DType::F32, f(src.load(m, i)?)));
            dst.store_f32(m, i, y)?;
            sum += y;
        }
        Ok(sum)
    }

    fn reduce_row(&self, m: &mut Machine, op: RowReduce, n: i64) -> Step<f64> {
        let src = self.src.base(m)?;
        let (mut acc, join): (f64, fn(f64, f64) -> f64) = match op {
            RowReduce::Sum => (0.0, |acc, x| acc + x),
            RowReduce::SumSq => (0.0, |acc, x| acc + x * x),
            RowReduce::Max => (f64::NEG_INFINITY, max_f64),
        };
        for i in 0..n {
            acc = join(acc, src.load(m, i)?);
        }
        Ok(acc)
    }
}
