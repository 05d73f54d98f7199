//! Proposals: views, joins, padding, resampling.

use super::build::Builder;
use super::fresh::Domain;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{
    NearestMode, Op, PadMode, ResizeAttrs, ResizeCoordinates, ResizeMode, SliceRange,
};
use cascata_types::{DType, Dim, Scalar, Shape};

type Made = Option<ValueId>;

impl Builder {
    pub fn reshape(&mut self) -> Made {
        let v = self.any();
        let mut shape = self.shape(v);
        for _ in 0..self.rng.range(1, 3) {
            self.reshape_step(&mut shape);
        }
        if shape.len() > 6 {
            return None;
        }
        self.add(Op::Reshape { shape }, &[v])
    }

    /// Merges two axes, splits one, or adds or drops a 1.
    fn reshape_step(&mut self, shape: &mut Shape) {
        let at = self.rng.below(shape.len().max(1));
        match self.rng.below(4) {
            0 | 1 if shape.len() > 1 && at + 1 < shape.len() => {
                let next = shape.remove(at + 1);
                shape[at] = shape[at].clone() * next;
            }
            2 if at < shape.len() => {
                let factor = self.rng.pick(&[2, 3, 4, 5]);
                if let Some(outer) = shape[at].exact_div(&factor.into()) {
                    let parts = if self.rng.one_in(2) {
                        [outer, factor.into()]
                    } else {
                        [factor.into(), outer]
                    };
                    shape.splice(at..at + 1, parts);
                }
            }
            3 if shape.iter().any(|d| d.is(1)) && self.rng.one_in(2) => {
                let one = shape.iter().position(|d| d.is(1));
                shape.remove(one.expect("a 1 was found"));
            }
            _ => {
                let at = self.rng.below(shape.len() + 1);
                shape.insert(at, 1.into());
            }
        }
    }

    pub fn transpose(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 1)?;
        let mut perm: Vec<usize> = (0..self.rank(v)).collect();
        self.rng.shuffle(&mut perm);
        self.add(Op::Transpose { perm }, &[v])
    }

    pub fn broadcast(&mut self) -> Made {
        let v = self.any();
        let mut shape = self.shape(v);
        for dim in &mut shape {
            if dim.is(1) && self.rng.below(3) > 0 {
                *dim = self.any_shape(1).remove(0);
            }
        }
        if shape.len() < 5 && self.rng.one_in(2) {
            shape.insert(0, self.any_shape(1).remove(0));
        }
        self.add(Op::Broadcast { shape }, &[v])
    }

    pub fn concat(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0)?;
        let (dtype, shape) = (self.dtype(v), self.shape(v));
        let axis = self.rng.below(shape.len());
        let fits = |b: &Self, o: ValueId| {
            let other = b.shape(o);
            let same = |i: usize| i == axis || shape[i] == other[i];
            b.dtype(o) == dtype && other.len() == shape.len() && (0..shape.len()).all(same)
        };
        let mut parts = vec![v];
        for _ in 0..self.rng.range(0, 2) {
            let part = match self.find(fits) {
                Some(part) if self.rng.below(3) > 0 => part,
                _ => {
                    let mut other = shape.clone();
                    other[axis] = self.any_shape(1).remove(0);
                    self.fresh(dtype, other, Domain::Any)
                }
            };
            parts.push(part);
        }
        self.rng.shuffle(&mut parts);
        self.add(Op::Concat { axis }, &parts)
    }

    pub fn slice(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0)?;
        let mut ranges = vec![];
        for (axis, dim) in self.shape(v).iter().enumerate() {
            if self.rng.below(3) > 0 || (ranges.is_empty() && axis + 1 == self.rank(v)) {
                ranges.push(self.slice_range(axis, dim));
            }
        }
        self.add(Op::Slice { ranges }, &[v])
    }

    fn slice_range(&mut self, axis: usize, dim: &Dim) -> SliceRange {
        let step: i64 = self.rng.pick(&[1, 1, 1, 1, 2, 3, -1, -1, -2, -3]);
        let spare = (self.least(dim) - 1).max(0);
        // Some elements are left out at both ends, then every |step|-th is taken.
        let (before, after) = (self.rng.range(0, spare.min(2)), self.rng.range(0, spare.min(3)));
        let after = after.min(spare - before);
        let span = dim.clone() - before - after;
        let len = span.ceil_div(&Dim::from(step.abs()));
        let start = if step > 0 { before.into() } else { dim.clone() - 1 - after };
        SliceRange { axis, start, len, step }
    }

    pub fn pad(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0)?;
        let mode = self.rng.pick(&[
            PadMode::Constant,
            PadMode::Constant,
            PadMode::Reflect,
            PadMode::Edge,
            PadMode::Wrap,
        ]);
        let mut pads = vec![];
        for dim in self.shape(v) {
            let mut one = || match self.rng.below(8) {
                0..4 => Dim::from(0),
                4 => dim.clone(),
                _ => Dim::from(self.rng.range(1, 4)),
            };
            pads.push((one(), one()));
        }
        let mut inputs = vec![v];
        if mode == PadMode::Constant {
            inputs.push(self.partner_scalar(v));
        }
        self.add(Op::Pad { pads, mode }, &inputs)
    }

    fn partner_scalar(&mut self, v: ValueId) -> ValueId {
        let dtype = self.dtype(v);
        let found = self.find(|b, s| b.dtype(s) == dtype && b.rank(s) == 0);
        found.unwrap_or_else(|| self.fresh(dtype, vec![], Domain::Any))
    }

    pub fn resize(&mut self) -> Made {
        let v = self.find(|b, v| b.rank(v) > 0 && b.dtype(v) != DType::Bool)?;
        let (shape, dtype) = (self.shape(v), self.dtype(v));
        let mode = match self.rng.below(5) {
            _ if !dtype.is_float() => ResizeMode::Nearest,
            0..2 => ResizeMode::Nearest,
            2 => ResizeMode::Cubic,
            _ => ResizeMode::Linear,
        };
        use ResizeCoordinates::*;
        let coordinates = self.rng.pick(&[
            HalfPixel,
            HalfPixelSymmetric,
            PytorchHalfPixel,
            AlignCorners,
            Asymmetric,
        ]);
        use NearestMode::*;
        let nearest = self.rng.pick(&[RoundPreferFloor, RoundPreferCeil, Floor, Ceil]);
        let mut scales: Vec<Scalar> = vec![];
        let mut result: Shape = vec![];
        // The first axes are batch and channels more often than not.
        for (axis, dim) in shape.iter().enumerate() {
            let scale = match self.rng.below(4) {
                0 => 2.0,
                1 => 0.5,
                2 => 3.0,
                _ => 1.0,
            };
            let scale = if axis + 2 < shape.len() { 1.0 } else { scale };
            scales.push(Scalar::f32(scale));
            result.push(if scale < 1.0 {
                dim.floor_div(&2.into())
            } else {
                dim.clone() * scale as i64
            });
            if let Some(n) = dim.as_const()
                && axis + 2 >= shape.len()
                && self.rng.one_in(3)
            {
                let to = self.rng.range(1, n + 3);
                result[axis] = to.into();
                scales[axis] = Scalar::f32(to as f32 / n as f32);
            }
        }
        let scales = self.rng.one_in(2).then_some(scales);
        let attrs = ResizeAttrs {
            mode,
            coordinates,
            nearest,
            shape: result,
            scales,
            roi: vec![],
            cubic_coeff: Scalar::f32(-0.75),
            exclude_outside: false,
            extrapolation: Scalar::f32(0.0),
            antialias: false,
        };
        self.add(Op::Resize(attrs), &[v])
    }
}
