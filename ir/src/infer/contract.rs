//! Contractions: matmul, convolution, pooling.

use super::{Ctx, InferError, Types, one};
use crate::op::{ChannelLayout, ConvAttrs, ConvTransposeAttrs, PoolAttrs, PoolKind};
use cascata_types::{DType, Dim, Encoding, Shape, TensorType};

impl Ctx<'_> {
    pub(super) fn matmul(&mut self) -> Types {
        self.arity(2, 2)?;
        let (a, b) = (self.tensor(0)?, self.encoded(1)?);
        self.contraction_dtypes()?;
        let ranks = a.rank() >= 2 && b.rank() >= 2;
        self.require(ranks, "operands need rank 2 or more", "reshape vectors to matrices")?;
        let (a_lead, a_tail) = a.shape.split_at(a.rank() - 2);
        let (b_lead, b_tail) = b.shape.split_at(b.rank() - 2);
        self.equal(
            &a_tail[1],
            &b_tail[0],
            "K, the last dim of operand 0 and the last but one of operand 1",
        )?;
        if let Encoding::Panels(p) = &b.encoding {
            let fits = b_tail[0].is(p.k as i64) && b_tail[1].is(p.n as i64);
            self.require(fits, "the panels of operand 1 are not of its K and N", "pack it again")?;
        }
        let mut shape = self.broadcast(a_lead, b_lead)?;
        shape.extend([a_tail[0].clone(), b_tail[1].clone()]);
        one(TensorType::dense(a.dtype, shape))
    }

    /// One dtype, a float or i32.
    fn contraction_dtypes(&self) -> Result<(), InferError> {
        self.same_dtype(0, 1)?;
        let dtype = self.encoded(0)?.dtype;
        let ok = dtype.is_float() || dtype == DType::I32;
        self.require(ok, "operands must be floats or i32", "cast them")
    }

    pub(super) fn conv(&mut self, attrs: &ConvAttrs) -> Types {
        self.arity(2, 3)?;
        let (x, w) = (self.tensor(0)?, self.encoded(1)?);
        self.contraction_dtypes()?;
        let windows =
            Windows { strides: &attrs.strides, pads: &attrs.pads, dilations: &attrs.dilations };
        self.conv_attributes(x, w, &windows, attrs.groups)?;
        let groups = Dim::from(attrs.groups);
        let xv = View::activation(x, attrs.layout);
        // Weights are `[O, C/g, spatial…]` or `[spatial…, C/g, O]`.
        let wv = match attrs.layout {
            ChannelLayout::First => {
                View { n: w.shape[0].clone(), c: w.shape[1].clone(), spatial: &w.shape[2..] }
            }
            ChannelLayout::Last => View::reversed(w),
        };
        self.equal(&xv.c, &(wv.c * groups.clone()), "channels of operand 0 and of the weights")?;
        self.equal(&wv.n.modulo(&groups), &0.into(), "output channels modulo groups")?;
        self.bias(&wv.n)?;
        let spatial = (0..attrs.strides.len())
            .map(|i| windows.output(i, &xv.spatial[i], &wv.spatial[i], false))
            .collect();
        one(TensorType::dense(x.dtype, join(attrs.layout, xv.n, wv.n, spatial)))
    }

    pub(super) fn conv_transpose(&mut self, attrs: &ConvTransposeAttrs) -> Types {
        self.arity(2, 3)?;
        let (x, w) = (self.tensor(0)?, self.encoded(1)?);
        self.contraction_dtypes()?;
        let windows =
            Windows { strides: &attrs.strides, pads: &attrs.pads, dilations: &attrs.dilations };
        self.conv_attributes(x, w, &windows, attrs.groups)?;
        let padding = attrs.output_padding.len() == attrs.strides.len()
            && attrs.output_padding.iter().all(|p| *p >= 0);
        self.require(padding, "output_padding needs one number ≥ 0 per spatial axis", "fix it")?;
        let xv = View::activation(x, attrs.layout);
        // Weights are `[C, O/g, spatial…]` or `[spatial…, C, O/g]`.
        let wv = match attrs.layout {
            ChannelLayout::First => {
                View { n: w.shape[0].clone(), c: w.shape[1].clone(), spatial: &w.shape[2..] }
            }
            ChannelLayout::Last => {
                let View { n, c, spatial } = View::reversed(w);
                View { n: c, c: n, spatial }
            }
        };
        self.equal(&xv.c, &wv.n, "channels of operand 0 and of the weights")?;
        self.equal(&wv.n.modulo(&attrs.groups.into()), &0.into(), "channels modulo groups")?;
        let out = wv.c * Dim::from(attrs.groups);
        self.bias(&out)?;
        let spatial = (0..attrs.strides.len())
            .map(|i| {
                let full = (xv.spatial[i].clone() - 1) * attrs.strides[i]
                    + windows.extent(i, &wv.spatial[i])
                    + attrs.output_padding[i];
                full - attrs.pads[i].0 - attrs.pads[i].1
            })
            .collect();
        one(TensorType::dense(x.dtype, join(attrs.layout, xv.n, out, spatial)))
    }

    fn conv_attributes(
        &self,
        x: &TensorType,
        w: &TensorType,
        windows: &Windows<'_>,
        groups: i64,
    ) -> Result<(), InferError> {
        self.require(x.rank() >= 3, "operand 0 needs a spatial axis", "reshape it")?;
        self.rank(1, x.rank())?;
        self.require(groups >= 1, "groups must be 1 or more", "fix it")?;
        self.window_attributes(windows, x.rank() - 2)?;
        for d in &w.shape {
            self.not_negative(d, "a weight dim")?;
        }
        Ok(())
    }

    fn window_attributes(&self, w: &Windows<'_>, spatial: usize) -> Result<(), InferError> {
        let lens = [w.strides.len(), w.pads.len(), w.dilations.len()];
        let rule = format!("strides, pads and dilations need {spatial} entries each, got {lens:?}");
        self.require(lens == [spatial; 3], &rule, "give one per spatial axis")?;
        let positive = w.strides.iter().chain(w.dilations).all(|s| *s >= 1);
        self.require(positive, "strides and dilations must be 1 or more", "fix them")?;
        let pads = w.pads.iter().all(|(a, b)| *a >= 0 && *b >= 0);
        self.require(pads, "pads must not be negative", "slice the operand instead")
    }

    fn bias(&mut self, channels: &Dim) -> Result<(), InferError> {
        if self.inputs.len() < 3 {
            return Ok(());
        }
        self.same_dtype(0, 2)?;
        self.rank(2, 1)?;
        let bias = self.tensor(2)?;
        self.equal(&bias.shape[0], channels, "bias and output channels")?;
        Ok(())
    }

    pub(super) fn pool(&mut self, attrs: &PoolAttrs) -> Types {
        self.arity(1, 1)?;
        let x = self.tensor(0)?;
        let max = matches!(attrs.kind, PoolKind::Max { .. });
        let dtype = if max { x.dtype.is_int() } else { false } || x.dtype.is_float();
        self.require(
            dtype,
            "the operand must be a float (max pooling takes integers too)",
            "cast it",
        )?;
        if let PoolKind::Lp { p } = attrs.kind {
            self.require(p >= 1, "p must be 1 or more", "fix it")?;
        }
        self.require(x.rank() >= 3, "the operand needs a spatial axis", "reshape it")?;
        let windows =
            Windows { strides: &attrs.strides, pads: &attrs.pads, dilations: &attrs.dilations };
        self.window_attributes(&windows, x.rank() - 2)?;
        let kernel = attrs.kernel.len() == x.rank() - 2 && attrs.kernel.iter().all(|k| *k >= 1);
        self.require(kernel, "kernel needs one number ≥ 1 per spatial axis", "fix it")?;
        let v = View::activation(x, attrs.layout);
        let spatial = (0..attrs.kernel.len())
            .map(|i| windows.output(i, &v.spatial[i], &attrs.kernel[i].into(), attrs.ceil_mode))
            .collect();
        let shape = join(attrs.layout, v.n, v.c, spatial);
        let mut types = vec![TensorType::dense(x.dtype, shape.clone()).into()];
        if let PoolKind::Max { indices: true, .. } = attrs.kind {
            types.push(TensorType::dense(DType::I64, shape).into());
        }
        Ok(types)
    }
}

/// Batch, channels and spatial dims of a tensor of rank 2 or more.
struct View<'a> {
    n: Dim,
    c: Dim,
    spatial: &'a [Dim],
}

impl<'a> View<'a> {
    fn activation(t: &'a TensorType, layout: ChannelLayout) -> Self {
        let last = t.rank() - 1;
        let (c, spatial) = match layout {
            ChannelLayout::First => (1, &t.shape[2..]),
            ChannelLayout::Last => (last, &t.shape[1..last]),
        };
        View { n: t.shape[0].clone(), c: t.shape[c].clone(), spatial }
    }

    /// `[spatial…, c, n]`.
    fn reversed(t: &'a TensorType) -> Self {
        let k = t.rank() - 2;
        View { n: t.shape[k + 1].clone(), c: t.shape[k].clone(), spatial: &t.shape[..k] }
    }
}

fn join(layout: ChannelLayout, n: Dim, c: Dim, spatial: Shape) -> Shape {
    match layout {
        ChannelLayout::First => [n, c].into_iter().chain(spatial).collect(),
        ChannelLayout::Last => [n].into_iter().chain(spatial).chain([c]).collect(),
    }
}

/// Sliding windows over the spatial axes.
struct Windows<'a> {
    strides: &'a [i64],
    pads: &'a [(i64, i64)],
    dilations: &'a [i64],
}

impl Windows<'_> {
    /// Elements that a dilated window spans.
    fn extent(&self, i: usize, kernel: &Dim) -> Dim {
        (kernel.clone() - 1) * self.dilations[i] + 1
    }

    /// Number of windows along spatial axis `i`.
    fn output(&self, i: usize, dim: &Dim, kernel: &Dim, ceil_mode: bool) -> Dim {
        let (begin, end) = self.pads[i];
        let stride = Dim::from(self.strides[i]);
        let room = dim.clone() + begin + end - self.extent(i, kernel);
        if !ceil_mode {
            return room.floor_div(&stride) + 1;
        }
        // Windows that start beyond the operand and its begin padding are dropped.
        let starts = (dim.clone() + begin).ceil_div(&stride);
        (room.ceil_div(&stride) + 1).minimum(&starts)
    }
}
