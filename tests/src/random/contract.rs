//! Proposals: contractions, pools, attention.

use super::build::Builder;
use super::fresh::Domain;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{
    AttentionAttrs, ChannelLayout, ConvAttrs, ConvTransposeAttrs, Op, PoolAttrs, PoolKind,
};
use cascata_types::{DType, Dim, Scalar, Shape};

type Made = Option<ValueId>;

/// Window attributes per spatial axis.
struct Windows {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    pads: Vec<(i64, i64)>,
    dilations: Vec<i64>,
}

impl Builder {
    pub fn matmul(&mut self) -> Made {
        let contracts = |d: DType| d.is_float() || d == DType::I32;
        let v = self.find(|b, v| b.rank(v) > 0 && contracts(b.dtype(v)))?;
        let v = self.at_least_rank(v, 2)?;
        let (shape, dtype) = (self.shape(v), self.dtype(v));
        let rank = shape.len();
        let right = self.rng.one_in(3);
        // `v` is the left operand `[.., M, K]` or the right one `[.., K, N]`.
        let k = shape[if right { rank - 2 } else { rank - 1 }].clone();
        let new = self.any_shape(1).remove(0);
        let tail = if right { [new, k] } else { [k, new] };
        let mut other: Shape = shape[..rank - 2].to_vec();
        if self.rng.one_in(2) {
            other.clear();
        }
        for dim in &mut other {
            if self.rng.one_in(3) {
                *dim = 1.into();
            } else if dim.is(1) && self.rng.one_in(2) {
                *dim = self.rng.pick(&[2, 3, 5]).into();
            }
        }
        other.extend(tail);
        let mut w = self.fresh(dtype, other.clone(), Domain::Any);
        if self.rng.one_in(4) {
            // Weights as exporters write them: stored the other way round.
            let n = other.len();
            let mut perm: Vec<usize> = (0..n).collect();
            perm.swap(n - 1, n - 2);
            let turned = perm.iter().map(|p| other[*p].clone()).collect();
            let stored = self.fresh(dtype, turned, Domain::Any);
            w = self.add(Op::Transpose { perm }, &[stored])?;
        }
        self.add(Op::MatMul, &if right { [w, v] } else { [v, w] })
    }

    fn windows(&mut self, spatial: &[Dim]) -> Windows {
        let mut w = Windows { kernel: vec![], strides: vec![], pads: vec![], dilations: vec![] };
        for dim in spatial {
            let n = self.least(dim).max(1);
            w.kernel.push(self.rng.range(1, 4).min(n + 1));
            w.strides.push(self.rng.pick(&[1, 1, 2, 3]));
            w.pads.push((self.rng.pick(&[0, 0, 1, 2]), self.rng.pick(&[0, 0, 1, 2])));
            w.dilations.push(self.rng.pick(&[1, 1, 1, 2]));
        }
        w
    }

    fn layout(&mut self) -> ChannelLayout {
        if self.rng.one_in(5) { ChannelLayout::Last } else { ChannelLayout::First }
    }

    /// An activation, its channels and its spatial dims.
    fn activation(&mut self, layout: ChannelLayout) -> Option<(ValueId, i64, Shape)> {
        let dtype =
            if self.rng.one_in(10) { self.rng.pick(&[DType::F64, DType::I32]) } else { DType::F32 };
        let rank = self.rng.pick(&[3, 3, 4, 4, 4, 5]);
        let v = self.float_of_rank(rank, dtype);
        let shape = self.shape(v);
        let (c, spatial) = match layout {
            ChannelLayout::First => (1, shape[2..].to_vec()),
            ChannelLayout::Last => (rank - 1, shape[1..rank - 1].to_vec()),
        };
        Some((v, shape[c].as_const().filter(|c| *c > 0)?, spatial))
    }

    fn groups(&mut self, channels: i64) -> i64 {
        let divisors: Vec<i64> = (1..=channels).filter(|g| channels % g == 0).collect();
        if self.rng.one_in(2) { 1 } else { self.rng.pick(&divisors) }
    }

    /// Weights: constant mostly; or given, or computed.
    fn weights(&mut self, dtype: DType, shape: Shape) -> ValueId {
        match self.rng.below(4) {
            0 => self.fresh(dtype, shape, Domain::Any),
            _ => self.constant(dtype, &shape, Domain::Any),
        }
    }

    fn with_bias(&mut self, mut inputs: Vec<ValueId>, channels: i64) -> Vec<ValueId> {
        if self.rng.one_in(2) {
            let dtype = self.dtype(inputs[0]);
            inputs.push(self.weights(dtype, vec![channels.into()]));
        }
        inputs
    }

    pub fn conv(&mut self) -> Made {
        let layout = self.layout();
        let (x, channels, spatial) = self.activation(layout)?;
        let groups = self.groups(channels);
        let out = groups * self.rng.pick(&[1, 1, 2, 3, 7]);
        let w = self.windows(&spatial);
        let kernel = w.kernel.iter().map(|k| Dim::from(*k));
        let (o, c) = (Dim::from(out), Dim::from(channels / groups));
        let shape: Shape = match layout {
            ChannelLayout::First => [o, c].into_iter().chain(kernel).collect(),
            ChannelLayout::Last => kernel.chain([c, o]).collect(),
        };
        let weights = self.weights(self.dtype(x), shape);
        let inputs = self.with_bias(vec![x, weights], out);
        let Windows { strides, pads, dilations, .. } = w;
        self.add(Op::Conv(ConvAttrs { strides, pads, dilations, groups, layout }), &inputs)
    }

    pub fn conv_transpose(&mut self) -> Made {
        let layout = self.layout();
        let (x, channels, spatial) = self.activation(layout)?;
        if self.dtype(x) != DType::F32 {
            return None;
        }
        let groups = self.groups(channels);
        let per_group = self.rng.range(1, 4);
        let w = self.windows(&spatial);
        let kernel = w.kernel.iter().map(|k| Dim::from(*k));
        let (c, o) = (Dim::from(channels), Dim::from(per_group));
        let shape: Shape = match layout {
            ChannelLayout::First => [c, o].into_iter().chain(kernel).collect(),
            ChannelLayout::Last => kernel.chain([c, o]).collect(),
        };
        let weights = self.weights(DType::F32, shape);
        let inputs = self.with_bias(vec![x, weights], per_group * groups);
        let output_padding = w.strides.iter().map(|s| self.rng.range(0, s - 1)).collect();
        let Windows { strides, pads, dilations, .. } = w;
        let attrs = ConvTransposeAttrs { strides, pads, dilations, output_padding, groups, layout };
        self.add(Op::ConvTranspose(attrs), &inputs)
    }

    pub fn pool(&mut self) -> Made {
        let layout = self.layout();
        let (x, _, spatial) = self.activation(layout)?;
        let kind = match self.rng.below(5) {
            _ if !self.dtype(x).is_float() => PoolKind::Max { indices: false, column_major: false },
            0..2 => PoolKind::Max { indices: false, column_major: false },
            2 => PoolKind::Lp { p: self.rng.range(1, 3) },
            _ => PoolKind::Average { count_pad: self.rng.one_in(2) },
        };
        let ceil_mode = self.rng.one_in(3);
        let Windows { kernel, strides, pads, dilations } = self.windows(&spatial);
        let attrs = PoolAttrs { kind, kernel, strides, pads, dilations, ceil_mode, layout };
        self.add(Op::Pool(attrs), &[x])
    }

    pub fn attention(&mut self) -> Made {
        let q = self.float_of_rank(4, DType::F32);
        let shape = self.shape(q);
        let heads = shape[1].as_const().filter(|h| *h > 0)?;
        let divisors: Vec<i64> = (1..=heads).filter(|g| heads % g == 0).collect();
        let groups = Dim::from(self.rng.pick(&divisors));
        let causal = self.rng.one_in(3);
        let mut keys =
            if self.rng.one_in(3) { shape[2].clone() } else { self.any_shape(1).remove(0) };
        if causal && self.rng.one_in(2) {
            keys = shape[2].clone() + self.rng.range(0, 5);
        }
        let k = vec![shape[0].clone(), groups.clone(), keys.clone(), shape[3].clone()];
        let e = if self.rng.one_in(2) { shape[3].clone() } else { self.any_shape(1).remove(0) };
        let v = vec![shape[0].clone(), groups, keys.clone(), e];
        let k = self.float_like(k);
        let v = self.float_like(v);
        let mut inputs = vec![q, k, v];
        let mut mask: Shape = vec![shape[0].clone(), shape[1].clone(), shape[2].clone(), keys];
        for dim in &mut mask {
            if self.rng.one_in(2) {
                *dim = 1.into();
            }
        }
        mask.drain(..self.rng.below(3));
        if self.rng.one_in(2) {
            let dtype = self.rng.pick(&[DType::F32, DType::Bool]);
            inputs.push(self.fresh(dtype, mask, Domain::Any));
        }
        let scale = Scalar::f32(self.rng.pick(&[1.0, 0.5, 0.125]));
        let zero_masked_rows = self.rng.below(3) > 0;
        self.add(Op::Attention(AttentionAttrs { scale, causal, zero_masked_rows }), &inputs)
    }

    fn float_like(&mut self, shape: Shape) -> ValueId {
        let found = self.find(|b, v| b.dtype(v) == DType::F32 && b.shape(v) == shape);
        found.unwrap_or_else(|| self.fresh(DType::F32, shape, Domain::Any))
    }
}
