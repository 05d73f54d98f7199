//! Layout: contractions and pools over channels become channels-last.
//!
//! *Why*: a pixel's channels then lie together, which is what the GEMM micro-kernel and
//! the vector loops read; convolution needs no im2col.
//!
//! *Precondition*: any valid graph. *Postcondition*: every `Conv`, `ConvTranspose` and `Pool`
//! of every region has [`ChannelLayout::Last`], every `Softmax` normalises its last
//! axis, values and results are unchanged; nodes that nobody reads any more are left to
//! `canonicalise`. *Cost*: linear in nodes, plus constants that
//! are transposed once.
//!
//! A value has up to two forms, channels first (as the source model has it) and channels
//! last, each made when first asked for. Ops that treat all axes alike follow their
//! operands, so transposes appear only where a channels-last region begins and ends, and
//! meet the source's own transposes there and cancel.

use bytes::Bytes;
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{BinaryOp, ChannelLayout, ConvTransposeAttrs, Op, ResizeAttrs, SliceRange};
use cascata_types::{Dim, TensorType};
use std::collections::{HashMap, HashSet};

/// Makes every region channels-last; what crosses a region's border is channels-first.
///
/// # Errors
/// A converted op that breaks its typing rule: a defect of this pass.
pub fn channels_last(graph: &mut Graph) -> Result<(), InferError> {
    crate::walk::regions(graph).into_iter().try_for_each(|region| convert(graph, region))
}

fn convert(graph: &mut Graph, region: RegionId) -> Result<(), InferError> {
    let order = std::mem::take(&mut graph.regions[region].nodes);
    let (first, last, native) = (HashMap::new(), HashMap::new(), HashSet::new());
    let mut pass = Layout { graph, region, first, last, native };
    for id in order {
        pass.node(id)?;
    }
    let results = pass.graph.regions[region].results.clone();
    let results: Result<Vec<_>, _> = results.into_iter().map(|v| pass.first(v)).collect();
    graph.regions[region].results = results?;
    Ok(())
}

struct Layout<'g> {
    graph: &'g mut Graph,
    /// The region that is being converted.
    region: RegionId,
    /// Source value → its channels-first form, when that is not the value itself.
    first: HashMap<ValueId, ValueId>,
    /// Source value → its channels-last form.
    last: HashMap<ValueId, ValueId>,
    /// Source values that are computed channels-last.
    native: HashSet<ValueId>,
}

/// Axis `i` of a channels-first tensor in its channels-last form.
fn moved(i: usize, rank: usize) -> usize {
    match i {
        0 => 0,
        1 => rank - 1,
        i => i - 1,
    }
}

/// The permutation that makes a tensor channels-last.
fn to_last(rank: usize) -> Vec<usize> {
    let spatial = 2..rank;
    std::iter::once(0).chain(spatial).chain([1]).collect()
}

/// The permutation that undoes [`to_last`].
fn to_first(rank: usize) -> Vec<usize> {
    [0, rank - 1].into_iter().chain(1..rank - 1).collect()
}

/// Elements given per channels-first axis, in channels-last order.
fn permute<T: Clone>(items: &[T]) -> Vec<T> {
    to_last(items.len()).into_iter().map(|i| items[i].clone()).collect()
}

impl Layout<'_> {
    fn rank(&self, v: ValueId) -> usize {
        self.graph.ty(v).as_tensor().map_or(0, TensorType::rank)
    }

    fn is_last(&self, v: &ValueId) -> bool {
        self.native.contains(v)
    }

    fn node(&mut self, id: NodeId) -> Result<(), InferError> {
        let node = self.graph.nodes[id].clone();
        let follows = node.inputs.iter().any(|v| self.is_last(v));
        match &node.op {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Pool(_) => self.spatial(id),
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast { .. } if follows => {
                self.elementwise(id)
            }
            Op::Transpose { perm } if follows => {
                let rank = perm.len();
                let perm: Vec<usize> = perm.iter().map(|p| moved(*p, rank)).collect();
                let x = self.last[&node.inputs[0]];
                let y = self.transpose(x, &perm, &node.source)?;
                self.first.insert(node.outputs[0], y);
                Ok(())
            }
            Op::Reshape { .. } if follows && self.has_unit_pixels(node.inputs[0]) => {
                let x = self.last[&node.inputs[0]];
                let y = self.graph.add1(self.region, node.op.clone(), vec![x], &node.source)?;
                self.first.insert(node.outputs[0], y);
                Ok(())
            }
            Op::Reduce { axes, .. } if follows && self.keeps_order(axes, node.inputs[0]) => {
                self.reduce(id)
            }
            Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Resize(_)
            | Op::Softmax { .. }
                if follows =>
            {
                self.axiswise(id)
            }
            Op::Softmax { axis } => {
                let x = self.first(node.inputs[0])?;
                let y = self.softmax(x, *axis, &node.source)?;
                self.first.insert(node.outputs[0], y);
                Ok(())
            }
            _ => self.keep(id),
        }
    }

    /// Leaves a node as it is, reading channels-first values.
    fn keep(&mut self, id: NodeId) -> Result<(), InferError> {
        let inputs = self.graph.nodes[id].inputs.clone();
        let inputs: Result<Vec<_>, _> = inputs.into_iter().map(|v| self.first(v)).collect();
        self.graph.nodes[id].inputs = inputs?;
        for region in self.graph.nodes[id].op.regions() {
            self.captures(region)?;
        }
        self.graph.regions[self.region].nodes.push(id);
        Ok(())
    }

    /// Lets a region read the channels-first forms of what it captures.
    fn captures(&mut self, region: RegionId) -> Result<(), InferError> {
        for id in self.graph.regions[region].nodes.clone() {
            let inputs = self.graph.nodes[id].inputs.clone();
            let inputs: Result<Vec<_>, _> = inputs.into_iter().map(|v| self.first(v)).collect();
            self.graph.nodes[id].inputs = inputs?;
            for inner in self.graph.nodes[id].op.regions() {
                self.captures(inner)?;
            }
        }
        let results = self.graph.regions[region].results.clone();
        let results: Result<Vec<_>, _> = results.into_iter().map(|v| self.first(v)).collect();
        self.graph.regions[region].results = results?;
        Ok(())
    }

    /// Records the channels-last form of a node's only result.
    fn define(&mut self, source: ValueId, value: ValueId) {
        self.graph.values[value].name = self.graph.values[source].name.clone();
        self.last.insert(source, value);
        self.native.insert(source);
    }

    fn has_unit_pixels(&self, v: ValueId) -> bool {
        self.graph.tensor(v).shape[2..].iter().all(|d| d.is(1))
    }

    /// Whether the axes that stay are in the same order in both layouts.
    fn keeps_order(&self, axes: &[usize], v: ValueId) -> bool {
        let rank = self.rank(v);
        let kept = (0..rank).filter(|i| !axes.contains(i)).map(|i| moved(i, rank));
        kept.clone().zip(kept.skip(1)).all(|(a, b)| a < b)
    }

    fn spatial(&mut self, id: NodeId) -> Result<(), InferError> {
        let node = self.graph.nodes[id].clone();
        let (mut op, mut inputs) = (node.op, node.inputs);
        let layout = match &mut op {
            Op::Conv(a) => &mut a.layout,
            Op::ConvTranspose(a) => &mut a.layout,
            Op::Pool(a) => &mut a.layout,
            _ => return self.keep(id),
        };
        if *layout == ChannelLayout::Last || node.outputs.len() != 1 {
            return self.keep(id);
        }
        *layout = ChannelLayout::Last;
        let rank = self.rank(inputs[0]);
        let weights: Vec<usize> = match &op {
            Op::Conv(_) => (2..rank).chain([1, 0]).collect(),
            _ => (2..rank).chain([0, 1]).collect(),
        };
        inputs[0] = self.last(inputs[0])?;
        for (i, v) in inputs.iter_mut().enumerate().skip(1) {
            *v = self.first(*v)?;
            if i == 1 {
                *v = self.transpose(*v, &weights, &node.source)?;
            }
        }
        let y = match &op {
            Op::ConvTranspose(a) if is_tiling(a, self.graph.tensor(inputs[1])) => {
                self.tiled(&inputs, &node.source)?
            }
            _ => self.graph.add1(self.region, op, inputs, &node.source)?,
        };
        self.define(node.outputs[0], y);
        Ok(())
    }

    /// A transposed convolution whose windows tile the result: one product per operand
    /// pixel gives its window, which is then put in place.
    /// `x[N,s…,C], w[k…,C,O] (, bias[O]) → y[N,s·k…,O]`.
    fn tiled(&mut self, inputs: &[ValueId], source: &str) -> Result<ValueId, InferError> {
        let (x, w) = (self.graph.tensor(inputs[0]).clone(), self.graph.tensor(inputs[1]).clone());
        let spatial = x.rank() - 2;
        let (kernel, channels) = w.shape.split_at(spatial);
        let (c, o) = (channels[0].clone(), channels[1].clone());
        let window = kernel.iter().fold(o.clone(), |n, k| n * k.clone());
        let channel_first: Vec<usize> =
            std::iter::once(spatial).chain(0..spatial).chain([spatial + 1]).collect();
        let w = self.transpose(inputs[1], &channel_first, source)?;
        let w = self.reshape(w, vec![c, window.clone()], source)?;
        let y = self.graph.add1(self.region, Op::MatMul, vec![inputs[0], w], source)?;
        let mut split = x.shape[..=spatial].to_vec();
        split.extend_from_slice(kernel);
        split.push(o.clone());
        let y = self.reshape(y, split, source)?;
        let pairs = (0..spatial).flat_map(|d| [1 + d, 1 + spatial + d]);
        let perm: Vec<usize> = std::iter::once(0).chain(pairs).chain([1 + 2 * spatial]).collect();
        let y = self.transpose(y, &perm, source)?;
        let mut whole = vec![x.shape[0].clone()];
        whole.extend((0..spatial).map(|d| x.shape[1 + d].clone() * kernel[d].clone()));
        whole.push(o);
        let y = self.reshape(y, whole, source)?;
        match inputs.get(2) {
            Some(bias) => {
                let add = Op::Binary(BinaryOp::Add);
                self.graph.add1(self.region, add, vec![y, *bias], source)
            }
            None => Ok(y),
        }
    }

    fn reshape(
        &mut self,
        v: ValueId,
        shape: Vec<Dim>,
        source: &str,
    ) -> Result<ValueId, InferError> {
        self.graph.add1(self.region, Op::Reshape { shape }, vec![v], source)
    }

    fn elementwise(&mut self, id: NodeId) -> Result<(), InferError> {
        let node = self.graph.nodes[id].clone();
        let rank = self.rank(node.outputs[0]);
        let fits = |v: &ValueId| !self.is_last(v) || self.rank(*v) == rank;
        if rank < 3 || !node.inputs.iter().all(fits) {
            return self.keep(id);
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for v in &node.inputs {
            inputs.push(self.aligned(*v, rank)?);
        }
        let y = self.graph.add1(self.region, node.op, inputs, &node.source)?;
        self.define(node.outputs[0], y);
        Ok(())
    }

    /// An operand of an element-wise op of the given rank in channels-last form.
    fn aligned(&mut self, v: ValueId, rank: usize) -> Result<ValueId, InferError> {
        let shape = self.graph.tensor(v).shape.clone();
        if shape.len() == rank {
            return self.last(v);
        }
        let v = self.first(v)?;
        if shape.iter().all(|d| d.is(1)) {
            return Ok(v);
        }
        let mut full = vec![Dim::from(1); rank - shape.len()];
        full.extend(shape);
        let v = self.graph.add1(self.region, Op::Reshape { shape: full }, vec![v], "")?;
        self.transpose(v, &to_last(rank), "")
    }

    fn reduce(&mut self, id: NodeId) -> Result<(), InferError> {
        let node = self.graph.nodes[id].clone();
        let Op::Reduce { op, axes, keep_dims } = node.op else { return self.keep(id) };
        let rank = self.rank(node.inputs[0]);
        let mut axes: Vec<usize> = axes.iter().map(|a| moved(*a, rank)).collect();
        axes.sort_unstable();
        let x = self.last[&node.inputs[0]];
        let op = Op::Reduce { op, axes, keep_dims };
        let y = self.graph.add1(self.region, op, vec![x], &node.source)?;
        match keep_dims {
            true => self.define(node.outputs[0], y),
            false => drop(self.first.insert(node.outputs[0], y)),
        }
        Ok(())
    }

    /// Ops with axes in their attributes and operands of one rank.
    fn axiswise(&mut self, id: NodeId) -> Result<(), InferError> {
        let node = self.graph.nodes[id].clone();
        let rank = self.rank(node.inputs[0]);
        let mut inputs = node.inputs.clone();
        let operands = match node.op {
            Op::Concat { .. } => inputs.len(),
            _ => 1,
        };
        for (i, v) in inputs.iter_mut().enumerate() {
            *v = if i < operands { self.last(*v)? } else { self.first(*v)? };
        }
        let op = match node.op {
            Op::Concat { axis } => Op::Concat { axis: moved(axis, rank) },
            Op::Slice { ranges } => Op::Slice { ranges: moved_ranges(ranges, rank) },
            Op::Pad { pads, mode } => Op::Pad { pads: permute(&pads), mode },
            Op::Resize(attrs) => Op::Resize(moved_resize(attrs)),
            Op::Softmax { axis } => {
                let y = self.softmax(inputs[0], moved(axis, rank), &node.source)?;
                self.define(node.outputs[0], y);
                return Ok(());
            }
            _ => return self.keep(id),
        };
        let y = self.graph.add1(self.region, op, inputs, &node.source)?;
        self.define(node.outputs[0], y);
        Ok(())
    }

    /// Softmax over any axis as one over the last.
    fn softmax(&mut self, x: ValueId, axis: usize, source: &str) -> Result<ValueId, InferError> {
        let last = self.rank(x) - 1;
        let mut perm: Vec<usize> = (0..=last).collect();
        perm.swap(axis, last);
        let x = self.transpose(x, &perm, source)?;
        let y = self.graph.add1(self.region, Op::Softmax { axis: last }, vec![x], source)?;
        self.transpose(y, &perm, source)
    }

    fn first(&mut self, v: ValueId) -> Result<ValueId, InferError> {
        if let Some(known) = self.first.get(&v) {
            return Ok(*known);
        }
        let Some(last) = self.last.get(&v).copied() else { return Ok(v) };
        let rank = self.rank(last);
        let made = self.transpose(last, &to_first(rank), "")?;
        if self.graph.values[made].name.is_empty() {
            self.graph.values[made].name = format!("{}.first", self.graph.values[v].name);
        }
        self.first.insert(v, made);
        Ok(made)
    }

    fn last(&mut self, v: ValueId) -> Result<ValueId, InferError> {
        if let Some(known) = self.last.get(&v) {
            return Ok(*known);
        }
        let first = self.first(v)?;
        let made = self.transpose(first, &to_last(self.rank(first)), "")?;
        // The channels-first form exists: remember it, so that it is not made again.
        self.first.insert(v, first);
        self.last.insert(v, made);
        Ok(made)
    }

    /// A transposed value: nothing for the identity, a reshape where only unit axes move,
    /// new data for a constant, one permutation for two.
    fn transpose(
        &mut self,
        v: ValueId,
        perm: &[usize],
        source: &str,
    ) -> Result<ValueId, InferError> {
        if perm.iter().enumerate().all(|(i, p)| i == *p) {
            return Ok(v);
        }
        let shape = self.graph.tensor(v).shape.clone();
        let moved: Vec<usize> = perm.iter().copied().filter(|p| !shape[*p].is(1)).collect();
        if moved.is_sorted() {
            let shape = perm.iter().map(|p| shape[*p].clone()).collect();
            return self.graph.add1(self.region, Op::Reshape { shape }, vec![v], source);
        }
        if let Some(constant) = self.graph.as_const(v).cloned()
            && let Some((ty, data)) = transposed(&constant.ty, &constant.data, perm)
        {
            return Ok(self.graph.add_const(self.region, constant.name, ty, data));
        }
        if let Some(node) = self.graph.def_node(v)
            && let Op::Transpose { perm: before } = &node.op
        {
            let both: Vec<usize> = perm.iter().map(|p| before[*p]).collect();
            let x = node.inputs[0];
            return self.transpose(x, &both, source);
        }
        let op = Op::Transpose { perm: perm.to_vec() };
        self.graph.add1(self.region, op, vec![v], source)
    }
}

/// Whether the windows of a transposed convolution (channels last) neither overlap nor
/// leave gaps.
fn is_tiling(a: &ConvTransposeAttrs, w: &TensorType) -> bool {
    let spatial = a.strides.len();
    a.groups == 1
        && a.strides.iter().zip(&w.shape[..spatial]).all(|(s, k)| k.is(*s))
        && a.pads.iter().all(|p| *p == (0, 0))
        && a.dilations.iter().all(|d| *d == 1)
        && a.output_padding.iter().all(|p| *p == 0)
}

fn moved_ranges(mut ranges: Vec<SliceRange>, rank: usize) -> Vec<SliceRange> {
    ranges.iter_mut().for_each(|r| r.axis = moved(r.axis, rank));
    ranges.sort_by_key(|r| r.axis);
    ranges
}

fn moved_resize(mut attrs: ResizeAttrs) -> ResizeAttrs {
    attrs.shape = permute(&attrs.shape);
    attrs.scales = attrs.scales.as_deref().map(permute);
    if !attrs.roi.is_empty() {
        let (start, end) = attrs.roi.split_at(attrs.roi.len() / 2);
        attrs.roi = permute(start).into_iter().chain(permute(end)).collect();
    }
    attrs
}

/// A dense constant with its axes permuted.
fn transposed(ty: &TensorType, data: &Bytes, perm: &[usize]) -> Option<(TensorType, Bytes)> {
    let size = ty.dtype.size_bytes()?;
    let dims: Vec<usize> = ty.static_shape()?.into_iter().map(|d| d as usize).collect();
    let mut strides = vec![1usize; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i];
    }
    let shape: Vec<usize> = perm.iter().map(|p| dims[*p]).collect();
    let steps: Vec<usize> = perm.iter().map(|p| strides[*p]).collect();
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0usize; shape.len()];
    for _ in 0..shape.iter().product::<usize>() {
        let from: usize = index.iter().zip(&steps).map(|(i, s)| i * s).sum();
        out.extend_from_slice(&data[from * size..][..size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    let dims: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
    Some((TensorType::fixed(ty.dtype, &dims), out.into()))
}
