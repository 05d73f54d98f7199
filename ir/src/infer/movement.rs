//! Data movement: reshape, transpose, slice, gather, scatter, resize, pack.

use super::{Ctx, InferError, Types, one, reshaped};
use crate::op::{PadMode, ResizeAttrs, SliceRange};
use cascata_types::{Dim, Encoding, TensorType};

impl Ctx<'_> {
    pub(super) fn reshape(&mut self, shape: &[Dim]) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        let result = reshaped(x, shape.to_vec());
        self.equal(&x.elements(), &result.elements(), "element counts of operand and result")?;
        one(result)
    }

    pub(super) fn transpose(&self, perm: &[usize]) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        let mut seen = vec![false; x.rank()];
        for &p in perm {
            if let Some(s) = seen.get_mut(p) {
                *s = true;
            }
        }
        let ok = perm.len() == x.rank() && seen.iter().all(|s| *s);
        let rule = format!("{perm:?} is not a permutation of the operand's axes");
        self.require(ok, &rule, "list every axis once")?;
        one(reshaped(x, perm.iter().map(|&p| x.shape[p].clone()).collect()))
    }

    pub(super) fn broadcast_to(&mut self, shape: &[Dim]) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        self.broadcasts_to(&x.shape, shape)?;
        one(reshaped(x, shape.to_vec()))
    }

    pub(super) fn concat(&mut self, axis: usize) -> Types {
        self.arity(1, usize::MAX)?;
        let first = self.tensor(0)?;
        self.axis(axis, first.rank())?;
        let mut shape = first.shape.clone();
        for i in 1..self.inputs.len() {
            let t = self.tensor(i)?;
            self.same_dtype(0, i)?;
            self.rank(i, first.rank())?;
            for (a, dim) in t.shape.iter().enumerate() {
                let joined = if a == axis {
                    shape[a].clone() + dim.clone()
                } else {
                    self.equal(&shape[a], dim, &format!("dim {a} of operands 0 and {i}"))?
                };
                shape[a] = joined;
            }
        }
        one(reshaped(first, shape))
    }

    pub(super) fn slice(&self, ranges: &[SliceRange]) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        let increasing = ranges.windows(2).all(|w| w[0].axis < w[1].axis);
        self.require(increasing, "axes must be increasing", "sort the ranges, one per axis")?;
        let mut shape = x.shape.clone();
        for r in ranges {
            self.axis(r.axis, x.rank())?;
            self.require(r.step != 0, "the step must not be zero", "use 1")?;
            self.not_negative(&r.start, "a slice start")?;
            self.not_negative(&r.len, "a slice length")?;
            self.slice_in_range(r, &x.shape[r.axis])?;
            shape[r.axis] = r.len.clone();
        }
        one(reshaped(x, shape))
    }

    /// Refuses a slice that is out of range whenever it is not empty.
    fn slice_in_range(&self, r: &SliceRange, dim: &Dim) -> Result<(), InferError> {
        if !r.len.at_least(1, self.symbols) {
            return Ok(());
        }
        let last = r.start.clone() + (r.len.clone() - 1) * r.step;
        let what = format!("the slice of axis {}", r.axis);
        let end = dim.clone() - 1;
        self.at_most(&r.start, &end, &what)?;
        self.at_most(&last, &end, &what)?;
        self.not_negative(&last, "the last element of a slice")
    }

    pub(super) fn pad(&self, pads: &[(Dim, Dim)], mode: PadMode) -> Types {
        self.arity(if mode == PadMode::Constant { 2 } else { 1 }, 2)?;
        let x = self.tensor(0)?;
        if self.inputs.len() == 2 {
            self.same_dtype(0, 1)?;
            self.rank(1, 0)?;
        }
        self.require(pads.len() == x.rank(), "pads need one pair per axis", "list every axis")?;
        let mut shape = Vec::with_capacity(x.rank());
        for (dim, (before, after)) in x.shape.iter().zip(pads) {
            self.not_negative(before, "a pad")?;
            self.not_negative(after, "a pad")?;
            shape.push(dim.clone() + before.clone() + after.clone());
        }
        one(reshaped(x, shape))
    }

    pub(super) fn gather(&self, axis: usize) -> Types {
        self.arity(2, 2)?;
        // Rows of a quantised embedding table are decoded as they are gathered.
        let (x, index) = (self.encoded(0)?, self.index(1)?);
        self.axis(axis, x.rank())?;
        let mut shape = x.shape[..axis].to_vec();
        shape.extend_from_slice(&index.shape);
        shape.extend_from_slice(&x.shape[axis + 1..]);
        one(reshaped(x, shape))
    }

    pub(super) fn gather_elements(&self, axis: usize) -> Types {
        self.arity(2, 2)?;
        let x = self.tensor(0)?;
        let index = self.index(1)?;
        self.indexes_elements(x, index, axis)?;
        one(reshaped(x, index.shape.clone()))
    }

    /// The index has the rank of `x` and does not reach beyond it on other axes.
    fn indexes_elements(
        &self,
        x: &TensorType,
        index: &TensorType,
        axis: usize,
    ) -> Result<(), InferError> {
        self.axis(axis, x.rank())?;
        self.rank(1, x.rank())?;
        for (a, (i, d)) in index.shape.iter().zip(&x.shape).enumerate() {
            if a != axis {
                self.at_most(i, d, &format!("dim {a} of the index"))?;
            }
        }
        Ok(())
    }

    pub(super) fn gather_nd(&mut self, batch_dims: usize) -> Types {
        self.arity(2, 2)?;
        let (x, index) = (self.tensor(0)?, self.index(1)?);
        let depth = self.index_depth(index)?;
        let lead = index.rank() - 1;
        let ok = batch_dims <= lead && batch_dims.saturating_add(depth) <= x.rank();
        let rule =
            format!("{batch_dims} batch dims and {depth} indexed axes do not fit the operands");
        self.require(ok, &rule, "use a smaller batch_dims or a narrower index")?;
        self.equal_shapes(&x.shape[..batch_dims], &index.shape[..batch_dims], "batch dims")?;
        let mut shape = index.shape[..lead].to_vec();
        shape.extend_from_slice(&x.shape[batch_dims + depth..]);
        one(reshaped(x, shape))
    }

    /// The last dim of an index, which must be known.
    fn index_depth(&self, index: &TensorType) -> Result<usize, InferError> {
        let depth =
            index.shape.last().and_then(Dim::as_const).and_then(|k| usize::try_from(k).ok());
        depth.ok_or_else(|| {
            self.error("the last dim of the index must be a known number", "reshape the index")
        })
    }

    pub(super) fn scatter_elements(&mut self, axis: usize) -> Types {
        self.arity(3, 3)?;
        let (x, index, updates) = (self.tensor(0)?, self.index(1)?, self.tensor(2)?);
        self.same_dtype(0, 2)?;
        self.indexes_elements(x, index, axis)?;
        self.equal_shapes(&index.shape, &updates.shape, "index and updates")?;
        one(x.clone())
    }

    pub(super) fn scatter_nd(&mut self) -> Types {
        self.arity(3, 3)?;
        let (x, index, updates) = (self.tensor(0)?, self.index(1)?, self.tensor(2)?);
        self.same_dtype(0, 2)?;
        let depth = self.index_depth(index)?;
        self.require(depth <= x.rank(), "the index addresses more axes than x has", "narrow it")?;
        let mut wanted = index.shape[..index.rank() - 1].to_vec();
        wanted.extend_from_slice(&x.shape[depth..]);
        self.equal_shapes(&wanted, &updates.shape, "shape of the updates")?;
        one(x.clone())
    }

    pub(super) fn resize(&self, attrs: &ResizeAttrs) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        self.numeric(0, x.dtype)?;
        let rank = x.rank();
        self.require(
            attrs.shape.len() == rank,
            "the result must keep the rank",
            "list every axis",
        )?;
        let scales = attrs.scales.as_ref().is_none_or(|s| s.len() == rank);
        self.require(scales, "scales need one number per axis", "list every axis")?;
        let roi = attrs.roi.is_empty() || attrs.roi.len() == 2 * rank;
        self.require(roi, "roi needs a start and an end per axis", "list every axis")?;
        one(reshaped(x, attrs.shape.clone()))
    }

    pub(super) fn pack(&self, encoding: &Encoding) -> Types {
        self.arity(1, 1)?;
        let x = self.encoded(0)?;
        let packed = TensorType { encoding: encoding.clone(), ..x.clone() };
        self.encoding_fits(&packed)?;
        one(packed)
    }

    /// Whether the encoding can hold a tensor of this dtype and shape.
    fn encoding_fits(&self, t: &TensorType) -> Result<(), InferError> {
        match t.encoding_problem() {
            None => Ok(()),
            Some(problem) => Err(self.error(problem, "choose another encoding or reshape first")),
        }
    }
}
