//! Contractions: matmul, convolution, pooling, attention.

use super::reshape::quotient;
use super::state::{Entries, Known, Problem, join, mixes};
use super::transfer::Operands;
use cascata_ir::op::{ChannelLayout, ConvAttrs, ConvTransposeAttrs, PoolAttrs};
use cascata_types::Dim;

impl Operands<'_> {
    /// `a[..,M,K], b[..,K,N] → y[..,M,N]`.
    pub(super) fn matmul(&self) -> Known {
        let rank = self.result_shape().len();
        let (a, b) = (self.rank(0), self.rank(1));
        let contracted = |e: &Entries| e.axis;
        if let Some(axis) = self.place(0).map(contracted).filter(|axis| axis + 1 == a) {
            return mixes(format!("it sums over the batch, axis {axis} of operand 0"));
        }
        if let Some(axis) = self.place(1).map(contracted).filter(|axis| axis + 2 == b) {
            return mixes(format!("it sums over the batch, axis {axis} of operand 1"));
        }
        // Leading axes are aligned at their end, and so are M and N.
        join([
            self.place(0).map(|e| e.at(e.axis + rank - a)),
            self.place(1).map(|e| e.at(e.axis + rank - b)),
        ])
    }

    pub(super) fn conv(&self, attrs: &ConvAttrs) -> Known {
        let (x, w) = (self.rank(0), self.rank(1));
        // Weights are `[O, C/g, spatial…]` or `[spatial…, C/g, O]`.
        let (out, spatial) = match attrs.layout {
            ChannelLayout::First => (0, 2),
            ChannelLayout::Last => (w - 1, 0),
        };
        let pointwise = |i: usize| {
            let kernel = self.shape(1).get(spatial + i).is_some_and(|k| k.is(1));
            kernel && attrs.strides[i] == 1 && attrs.pads[i] == (0, 0)
        };
        let activation = self.windows(attrs.layout, attrs.groups, &pointwise)?;
        let channels = channel_axis(attrs.layout, x);
        let weights = self.weights(1, out, channels)?;
        join([activation, weights, self.weights(2, 0, channels)?])
    }

    pub(super) fn conv_transpose(&self, attrs: &ConvTransposeAttrs) -> Known {
        let (x, w) = (self.rank(0), self.rank(1));
        // Weights are `[C, O/g, spatial…]` or `[spatial…, C, O/g]`.
        let (out, spatial) = match attrs.layout {
            ChannelLayout::First => (1, 2),
            ChannelLayout::Last => (w - 1, 0),
        };
        let pointwise = |i: usize| {
            let kernel = self.shape(1).get(spatial + i).is_some_and(|k| k.is(1));
            let cut = attrs.pads[i] == (0, 0) && attrs.output_padding[i] == 0;
            kernel && attrs.strides[i] == 1 && cut
        };
        let activation = self.windows(attrs.layout, attrs.groups, &pointwise)?;
        let channels = channel_axis(attrs.layout, x);
        if attrs.groups != 1 && self.place(1).is_some() {
            return mixes("the entries are in the weights of several groups");
        }
        let weights = self.weights(1, out, channels)?;
        join([activation, weights, self.weights(2, 0, channels)?])
    }

    /// The entries of a convolved operand 0: along the batch axis, whole groups of channels, or
    /// a spatial axis on which windows do not reach beyond their element.
    fn windows(
        &self,
        layout: ChannelLayout,
        groups: i64,
        pointwise: &dyn Fn(usize) -> bool,
    ) -> Known {
        let rank = self.rank(0);
        let Some(e) = self.place(0) else { return Ok(None) };
        let channels = channel_axis(layout, rank);
        if e.axis == 0 {
            return Ok(Some(e.clone()));
        }
        if e.axis == channels {
            return self.grouped(e, channels, groups);
        }
        if pointwise(spatial_index(layout, e.axis)) {
            return Ok(Some(e.clone()));
        }
        mixes(format!("windows reach along the batch's axis {}", e.axis))
    }

    /// Channels of one entry are whole groups, and so are its results.
    fn grouped(&self, e: &Entries, channels: usize, groups: i64) -> Known {
        let groups = [Dim::from(groups)];
        let per_group = |size: &Dim| quotient(std::slice::from_ref(size), &groups);
        let taken = per_group(&self.shape(0)[channels]);
        let given = self.result_shape().get(channels).and_then(per_group);
        let inner = taken.zip(given).and_then(|(taken, given)| {
            Some(quotient(std::slice::from_ref(&e.inner), &[taken])? * given)
        });
        match inner {
            Some(inner) => Ok(Some(Entries { inner, ..e.clone() })),
            None => mixes(format!("it sums over the batch's axis {channels}, the channels")),
        }
    }

    /// Entries in weights or bias, whose axis `out` makes the result's channels.
    fn weights(
        &self,
        operand: usize,
        out: usize,
        channels: usize,
    ) -> Result<Option<Entries>, Problem> {
        match self.place(operand) {
            None => Ok(None),
            Some(e) if e.axis == out => Ok(Some(e.at(channels))),
            Some(e) => mixes(format!("it sums over axis {} of operand {operand}", e.axis)),
        }
    }

    pub(super) fn pool(&self, attrs: &PoolAttrs) -> Known {
        let Some(e) = self.place(0) else { return Ok(None) };
        if e.axis == 0 || e.axis == channel_axis(attrs.layout, self.rank(0)) {
            return Ok(Some(e.clone()));
        }
        let i = spatial_index(attrs.layout, e.axis);
        if attrs.kernel[i] == 1 && attrs.strides[i] == 1 && attrs.pads[i] == (0, 0) {
            return Ok(Some(e.clone()));
        }
        mixes(format!("windows reach along the batch's axis {}", e.axis))
    }

    /// `q[B,H,S,D], k[B,G,T,D], v[B,G,T,E] (, mask → [B,H,S,T]) → y[B,H,S,E]`.
    pub(super) fn attention(&self) -> Known {
        let shared_heads = |e: &Entries| {
            let (heads, groups) = (self.shape(0)[1].clone(), self.shape(1)[1].clone());
            let each = quotient(&[heads], &[groups])?;
            Some(Entries { inner: e.inner.clone() * each, ..e.clone() })
        };
        let mut places = Vec::new();
        for (i, place) in self.places.iter().enumerate() {
            let Some(e) = place else { continue };
            let e = if i == 3 { e.at(e.axis + 4 - self.rank(3)) } else { e.clone() };
            places.push(match (i, e.axis) {
                (_, 0) | (0 | 3, 1 | 2) | (2, 3) => Some(e),
                (1 | 2, 1) => match shared_heads(&e) {
                    Some(e) => Some(e),
                    None => return mixes("heads of several entries are shared"),
                },
                (_, axis) => {
                    return mixes(format!("it sums over the batch, axis {axis} of operand {i}"));
                }
            });
        }
        join(places)
    }
}

fn channel_axis(layout: ChannelLayout, rank: usize) -> usize {
    match layout {
        ChannelLayout::First => 1,
        ChannelLayout::Last => rank - 1,
    }
}

/// Which spatial axis an axis is that is neither batch nor channels.
fn spatial_index(layout: ChannelLayout, axis: usize) -> usize {
    match layout {
        ChannelLayout::First => axis - 2,
        ChannelLayout::Last => axis - 1,
    }
}
