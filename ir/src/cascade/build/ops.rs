//! The Einsums of each op.

use super::*;

/// Keys of one tile in the 1-pass form of attention.
const KEY_TILE: i64 = 128;

/// The labels of the trailing axes `0..rank` of a result, for an operand of `rank` axes.
fn trailing(operand: &TensorType, result: usize) -> Vec<Label> {
    let lead = result - operand.rank().min(result);
    (0..operand.rank()).map(|i| Some(i + lead)).collect()
}

impl<'g> Builder<'g> {
    fn ty(&self, v: ValueId) -> Option<&'g TensorType> {
        self.graph.values.get(v)?.ty.as_tensor()
    }

    /// Long because it is one match over the ops with an algebra.
    pub(super) fn op(&mut self, node: &Node) {
        match &node.op {
            Op::Const(_) => {
                if let Some((v, ty)) = self.result(node, 0) {
                    self.leaf(v, ty, Role::Input);
                }
            }
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast { .. } | Op::BitCast { .. } => {
                self.pointwise(node, 1)
            }
            Op::Broadcast { .. } | Op::Pack { .. } => self.pointwise(node, 0),
            Op::Transpose { perm } => {
                let out: Vec<usize> = (0..perm.len()).collect();
                let mut labels = vec![None; perm.len()];
                for (i, p) in perm.iter().enumerate() {
                    if let Some(l) = labels.get_mut(*p) {
                        *l = Some(i);
                    }
                }
                self.movement(node, &out, vec![labels]);
            }
            Op::Reshape { .. } => self.reshape(node),
            Op::Slice { ranges } => self.along(node, |a| ranges.iter().any(|r| r.axis == a)),
            Op::Pad { pads, .. } => {
                self.along(node, |a| pads.get(a).is_none_or(|(b, e)| !(b.is(0) && e.is(0))))
            }
            Op::Concat { axis } => self.along(node, |a| a == *axis),
            Op::CumSum { axis, .. } => self.cum_sum(node, *axis),
            Op::Gather { axis } => self.gather(node, *axis),
            Op::Reduce { op, axes, keep_dims } => {
                let name = format!("{op:?}").to_lowercase();
                self.reduce(node, axes, *keep_dims, &name);
            }
            Op::ArgReduce { max, axis, keep_dims, .. } => {
                self.reduce(node, &[*axis], *keep_dims, if *max { "argmax" } else { "argmin" });
            }
            Op::MatMul => self.matmul(node),
            Op::Conv(attrs) => self.conv(node, attrs.layout),
            Op::Softmax { axis } => self.softmax(node, *axis),
            Op::LayerNorm { axis, .. } => self.norm(node, *axis, true),
            Op::RmsNorm { axis, .. } => self.norm(node, *axis, false),
            Op::Attention(_) => self.attention(node),
            Op::Group { body, .. } => self.group(node, *body),
            _ => self.opaque(node),
        }
    }

    fn movement(&mut self, node: &Node, out: &[usize], ins: Vec<Vec<Label>>) {
        let Some((_, ty)) = self.result(node, 0) else { return };
        let sizes = ty.shape.clone();
        self.einsum(node, out, &ins, &sizes, (node.op.name(), 0), None);
    }

    fn pointwise(&mut self, node: &Node, ops: i64) {
        let Some((_, ty)) = self.result(node, 0) else { return };
        let out: Vec<usize> = (0..ty.rank()).collect();
        let ins: Vec<_> =
            node.inputs.iter().filter_map(|v| Some(trailing(self.ty(*v)?, ty.rank()))).collect();
        self.einsum(node, &out, &ins, &ty.shape, (node.op.name(), ops), None);
    }

    /// Axis by axis, but for the axes that data moves along.
    fn along(&mut self, node: &Node, moves: impl Fn(usize) -> bool) {
        let Some((_, ty)) = self.result(node, 0) else { return };
        let out: Vec<usize> = (0..ty.rank()).collect();
        let labels: Vec<Label> = out.iter().map(|a| (!moves(*a)).then_some(*a)).collect();
        self.movement(node, &out, vec![labels; node.inputs.len()]);
    }

    /// Leading and trailing axes that stay the same keep their ranks.
    fn reshape(&mut self, node: &Node) {
        let (Some((_, ty)), Some(x)) = (self.result(node, 0), self.ty(node.inputs[0])) else {
            return;
        };
        let common = x.rank().min(ty.rank());
        let same = |a: &&Dim, b: &&Dim| a == b;
        let front = x.shape.iter().zip(&ty.shape).take_while(|(a, b)| same(a, b)).count();
        let pairs = x.shape.iter().rev().zip(ty.shape.iter().rev());
        let back = pairs.take(common - front).take_while(|(a, b)| same(a, b)).count();
        let label = |a: usize| match a {
            a if a < front => Some(a),
            a if a >= x.rank() - back => Some(a + ty.rank() - x.rank()),
            _ => None,
        };
        let out: Vec<usize> = (0..ty.rank()).collect();
        self.movement(node, &out, vec![(0..x.rank()).map(label).collect()]);
    }

    fn gather(&mut self, node: &Node, axis: usize) {
        let [x, index] = [0, 1].map(|i| node.inputs.get(i).and_then(|v| self.ty(*v)));
        let (Some((_, ty)), Some(x), Some(index)) = (self.result(node, 0), x, index) else {
            return;
        };
        let out: Vec<usize> = (0..ty.rank()).collect();
        let of_x = (0..x.rank()).map(|a| match a {
            a if a < axis => Some(a),
            a if a == axis => None,
            a => Some(a - 1 + index.rank()),
        });
        let of_index = (0..index.rank()).map(|a| Some(a + axis));
        self.movement(node, &out, vec![of_x.collect(), of_index.collect()]);
    }

    fn reduce(&mut self, node: &Node, axes: &[usize], keep_dims: bool, op: &str) {
        let Some(x) = node.inputs.first().and_then(|v| self.ty(*v)) else { return };
        let mut sizes = x.shape.clone();
        let labels: Vec<Label> = (0..x.rank()).map(Some).collect();
        let mut out = Vec::new();
        for a in 0..x.rank() {
            if !axes.contains(&a) {
                out.push(a);
            } else if keep_dims {
                // A label of size 1 that no operand walks.
                out.push(sizes.len());
                sizes.push(1.into());
            }
        }
        self.einsum(node, &out, &[labels], &sizes, ("id", 0), Some(op));
    }

    fn matmul(&mut self, node: &Node) {
        let [a, b] = [0, 1].map(|i| node.inputs.get(i).and_then(|v| self.ty(*v)));
        let (Some((_, ty)), Some(a), Some(b)) = (self.result(node, 0), a, b) else { return };
        let (rank, k) = (ty.rank(), ty.rank());
        let mut sizes = ty.shape.clone();
        sizes.push(a.shape[a.rank() - 1].clone());
        let mut of_a = trailing(a, rank);
        of_a[a.rank() - 1] = Some(k);
        let mut of_b = trailing(b, rank);
        of_b[b.rank() - 2] = Some(k);
        let out: Vec<usize> = (0..rank).collect();
        self.einsum(node, &out, &[of_a, of_b], &sizes, ("mul", 1), Some("sum"));
    }

    /// Windows read the operand's spatial axes (and its channels when there are groups)
    /// at any coordinate.
    fn conv(&mut self, node: &Node, layout: ChannelLayout) {
        let [x, w] = [0, 1].map(|i| node.inputs.get(i).and_then(|v| self.ty(*v)));
        let (Some((_, ty)), Some(x), Some(w)) = (self.result(node, 0), x, w) else { return };
        let rank = ty.rank();
        let (channel, w_out, w_in) = match layout {
            ChannelLayout::First => (1, 0, 1),
            ChannelLayout::Last => (rank - 1, rank - 1, rank - 2),
        };
        // Labels: the result's axes, then the weights' input channels and window.
        let mut sizes = ty.shape.clone();
        let mut of_w = vec![Some(channel); w.rank()];
        for a in (0..w.rank()).filter(|a| *a != w_out) {
            of_w[a] = Some(sizes.len());
            sizes.push(w.shape[a].clone());
        }
        let mut of_x = vec![None; x.rank()];
        (of_x[0], of_x[channel]) = (Some(0), of_w[w_in]);
        let out: Vec<usize> = (0..rank).collect();
        let ins = [of_x, of_w, vec![Some(channel)]];
        self.einsum(node, &out, &ins, &sizes, ("mul", 1), Some("sum"));
    }

    /// `y[i] = y[i−1] + x[i]`: an iterative rank.
    fn cum_sum(&mut self, node: &Node, axis: usize) {
        let Some((x, axes)) = node.inputs.first().and_then(|v| self.operand(*v)) else { return };
        let Some((v, ty)) = self.result(node, 0) else { return };
        let y = self.define(v, ty, axes.clone(), Role::Inner);
        let at = |axes: &Axes| axes.iter().flatten().map(|r| Index::At(*r)).collect::<Vec<_>>();
        let before = axes.iter().enumerate().filter_map(|(a, r)| {
            r.map(|r| if a == axis { Index::Previous(r) } else { Index::At(r) })
        });
        let inputs =
            vec![Access { tensor: y, at: before.collect() }, Access { tensor: x, at: at(&axes) }];
        let (output, map, node) = (y, "add".into(), self.node);
        self.cascade.einsums.push(Einsum { output, inputs, map, map_ops: 1, reduce: None, node });
    }

    fn softmax(&mut self, node: &Node, axis: usize) {
        let Some((x, axes)) = node.inputs.first().and_then(|v| self.operand(*v)) else { return };
        let Some(rank) = axes.get(axis).copied().flatten() else { return self.pointwise(node, 1) };
        let rank = self.find(rank);
        self.root_ranks(x);
        let bytes = self.cascade.tensors[x].element_bytes;
        let y = textbook::softmax(&mut self.writer(bytes), x, rank);
        self.adopt(node, y, axes);
    }

    /// Rewrites the ranks of a tensor to their roots, for a [`Writer`] that compares them.
    fn root_ranks(&mut self, t: TensorId) {
        let ranks = self.cascade.tensors[t].ranks.iter().map(|r| self.find(*r)).collect();
        self.cascade.tensors[t].ranks = ranks;
    }

    fn norm(&mut self, node: &Node, axis: usize, mean: bool) {
        let Some((x, axes)) = node.inputs.first().and_then(|v| self.operand(*v)) else { return };
        let wanted = axes.get(axis..).unwrap_or_default().to_vec();
        let mut operands = vec![x];
        for v in node.inputs.iter().skip(1) {
            let Some(operand) = self.operand(*v) else { continue };
            operands.push(self.aligned(&operand, &wanted));
        }
        operands.iter().for_each(|t| self.root_ranks(*t));
        let over: Vec<RankId> = wanted.iter().flatten().map(|r| self.find(*r)).collect();
        let bytes = self.cascade.tensors[x].element_bytes;
        let y = textbook::norm(&mut self.writer(bytes), &operands, &over, mean);
        self.adopt(node, y, axes);
    }

    fn attention(&mut self, node: &Node) {
        let operands: Vec<_> = node.inputs.iter().filter_map(|v| self.operand(*v)).collect();
        let [q, k, v, mask @ ..] = operands.as_slice() else { return self.opaque(node) };
        let (Some(keys), Some(depth), Some(width)) = (k.1[2], q.1[3], v.1[3]) else {
            return self.opaque(node);
        };
        let rows = &q.1[..3];
        // Self-attention: queries and keys come from one axis but are two ranks here.
        let is_row = |b: &Self, r: RankId| q.1.iter().flatten().any(|q| b.find(*q) == b.find(r));
        let size = self.cascade.ranks[keys].size.clone();
        let keys = if is_row(self, keys) { self.fresh(&size) } else { keys };
        let size = self.cascade.ranks[width].size.clone();
        let width = if is_row(self, width) || self.find(width) == self.find(keys) {
            self.fresh(&size)
        } else {
            width
        };
        self.rank_apart(&[rows[0], rows[1], rows[2], Some(keys), Some(depth), Some(width)]);
        let (b, h) = (rows[0], rows[1]);
        let mut inputs = vec![q.0];
        inputs.push(self.aligned(k, &[b, h, Some(keys), Some(depth)]));
        inputs.push(self.aligned(v, &[b, h, Some(keys), Some(width)]));
        if let Some(mask) = mask.first() {
            inputs.push(self.aligned(mask, &[b, h, rows[2], Some(keys)]));
        }
        let keys = match self.form {
            AttentionForm::OnePass => self.tiled(&mut inputs[1..], keys),
            _ => vec![self.find(keys)],
        };
        inputs.iter().for_each(|t| self.root_ranks(*t));
        let at = AttentionRanks {
            rows: rows.iter().flatten().map(|r| self.find(*r)).collect(),
            keys,
            depth: self.find(depth),
            width: self.find(width),
        };
        let (form, bytes) = (self.form, self.cascade.tensors[q.0].element_bytes);
        let axes = rows.iter().copied().chain([Some(width)]).collect();
        let y = textbook::attention(&mut self.writer(bytes), &inputs, &at, form);
        self.adopt(node, y, axes);
    }

    /// Replaces tensors that have the rank of keys by copies in tiles.
    fn tiled(&mut self, tensors: &mut [TensorId], keys: RankId) -> Vec<RankId> {
        let keys = self.find(keys);
        let size = self.cascade.ranks[keys].size.clone();
        let tiles = [self.fresh(&size.ceil_div(&KEY_TILE.into())), self.fresh(&KEY_TILE.into())];
        for t in tensors {
            self.root_ranks(*t);
            let source = self.cascade.tensors[*t].clone();
            if !source.ranks.contains(&keys) {
                continue;
            }
            let index = |r: &RankId| if *r == keys { Index::Any(*r) } else { Index::At(*r) };
            let access = Access { tensor: *t, at: source.ranks.iter().map(index).collect() };
            let split = |r: &RankId| if *r == keys { tiles.to_vec() } else { vec![*r] };
            let ranks = source.ranks.iter().flat_map(split).collect();
            *t = self.read(access, ranks);
        }
        tiles.to_vec()
    }

    fn rank_apart(&mut self, ranks: &[Option<RankId>]) {
        let roots: BTreeSet<RankId> = ranks.iter().flatten().map(|r| self.find(*r)).collect();
        for a in &roots {
            for b in roots.range((std::ops::Bound::Excluded(a), std::ops::Bound::Unbounded)) {
                self.keep_apart(*a, *b);
            }
        }
    }

    fn group(&mut self, node: &Node, body: RegionId) {
        let graph = self.graph;
        let Some(region) = graph.regions.get(body) else { return };
        for (p, v) in region.params.iter().zip(&node.inputs) {
            if let Some(operand) = self.operand(*v) {
                self.values.insert(*p, operand);
            }
        }
        self.region(body);
        for (v, r) in node.outputs.iter().zip(&region.results) {
            if let Some(result) = self.operand(*r) {
                self.values.insert(*v, result);
            }
        }
    }
}
