//! The cascade of a region.
//!
//! Axes of different values are one rank where an op walks them together. Two axes
//! of one tensor are always two ranks: in `x·xᵀ` the second use of the axis gets a
//! rank of its own and reads `x` at any coordinate of the first. Ops that move data
//! along an axis (slice, gather, reshape, windows) start new ranks in the same way.
//! Ops without an algebra here count no scalar operations.

use super::textbook::{self, AttentionForm, AttentionRanks, Writer};
use super::{Access, Cascade, Einsum, Index, Rank, RankId, Role, Tensor, TensorId};
use crate::graph::{Graph, Node, NodeId, RegionId, ValueId};
use crate::op::{ChannelLayout, Op};
use cascata_types::{Dim, Encoding, Entity, TensorType};
use std::collections::{BTreeSet, HashMap};

mod ops;

/// The cascade of a region and of the groups in it; attention is written in `form`.
pub fn cascade_of(graph: &Graph, region: RegionId, form: AttentionForm) -> Cascade {
    let mut b = Builder {
        graph,
        form,
        cascade: Cascade::default(),
        values: HashMap::new(),
        parent: Vec::new(),
        apart: Vec::new(),
        node: None,
    };
    b.region(region);
    for v in graph.regions.get(region).map_or(&[][..], |r| &r.results) {
        if let Some((t, _)) = b.values.get(v)
            && b.cascade.tensors[*t].role == Role::Inner
        {
            b.cascade.tensors[*t].role = Role::Output;
        }
    }
    b.finish()
}

/// Ranks of the axes of a value; `None` for an axis of size 1.
type Axes = Vec<Option<RankId>>;

/// One axis of an operand or result of an Einsum: which of its ranks it walks, or
/// `None` for an axis that is read at any coordinate.
type Label = Option<usize>;

struct Builder<'g> {
    graph: &'g Graph,
    form: AttentionForm,
    cascade: Cascade,
    values: HashMap<ValueId, (TensorId, Axes)>,
    /// Union-find over ranks.
    parent: Vec<RankId>,
    /// Roots that share a tensor with this root and stay different from it.
    apart: Vec<BTreeSet<RankId>>,
    node: Option<NodeId>,
}

impl<'g> Builder<'g> {
    fn region(&mut self, id: RegionId) {
        let graph = self.graph;
        let Some(region) = graph.regions.get(id) else { return };
        for &id in &region.nodes {
            let Some(node) = graph.nodes.get(id) else { continue };
            self.node = Some(id);
            self.op(node);
        }
    }

    // ---- ranks ----------------------------------------------------------------

    fn find(&self, mut r: RankId) -> RankId {
        while self.parent[r.index()] != r {
            r = self.parent[r.index()];
        }
        r
    }

    fn fresh(&mut self, size: &Dim) -> RankId {
        let id = self.cascade.ranks.push(Rank { name: String::new(), size: size.clone() });
        self.parent.push(id);
        self.apart.push(BTreeSet::new());
        id
    }

    /// Makes two ranks one; false when some tensor has both.
    fn unify(&mut self, a: RankId, b: RankId) -> bool {
        let (a, b) = (self.find(a), self.find(b));
        if a == b {
            return true;
        }
        if self.apart[a.index()].contains(&b) {
            return false;
        }
        self.parent[b.index()] = a;
        for other in std::mem::take(&mut self.apart[b.index()]) {
            self.apart[other.index()].remove(&b);
            self.keep_apart(a, other);
        }
        true
    }

    fn keep_apart(&mut self, a: RankId, b: RankId) {
        self.apart[a.index()].insert(b);
        self.apart[b.index()].insert(a);
    }

    // ---- tensors --------------------------------------------------------------

    fn new_tensor(&mut self, name: &str, ty: &TensorType, axes: &Axes, role: Role) -> TensorId {
        let ranks: Vec<RankId> = axes.iter().flatten().map(|r| self.find(*r)).collect();
        for (i, a) in ranks.iter().enumerate() {
            for b in &ranks[i + 1..] {
                self.keep_apart(*a, *b);
            }
        }
        let packed = ty.encoding != Encoding::Dense;
        let stored = ty.stored_bytes().filter(|_| packed);
        self.cascade.tensors.push(Tensor {
            name: name.into(),
            ranks,
            element_bytes: ty.dtype.size_bytes().unwrap_or(0) as i64,
            stored_bytes: stored.map(|n| i64::try_from(n).unwrap_or(i64::MAX).into()),
            role,
            value: None,
        })
    }

    fn label(&self, v: ValueId) -> String {
        let name = &self.graph.values[v].name;
        if name.is_empty() { v.to_string() } else { name.clone() }
    }

    fn define(&mut self, v: ValueId, ty: &TensorType, axes: Axes, role: Role) -> TensorId {
        let t = self.new_tensor(&self.label(v), ty, &axes, role);
        self.cascade.tensors[t].value = Some(v);
        self.values.insert(v, (t, axes));
        t
    }

    fn fresh_axes(&mut self, ty: &TensorType) -> Axes {
        ty.shape.iter().map(|d| (!d.is(1)).then(|| self.fresh(d))).collect()
    }

    fn leaf(&mut self, v: ValueId, ty: &TensorType, role: Role) -> TensorId {
        let axes = self.fresh_axes(ty);
        self.define(v, ty, axes, role)
    }

    /// The tensor behind an operand; what is defined outside is an input.
    fn operand(&mut self, v: ValueId) -> Option<(TensorId, Axes)> {
        if !self.values.contains_key(&v) {
            let ty = self.graph.values.get(v)?.ty.as_tensor()?;
            self.leaf(v, ty, Role::Input);
        }
        self.values.get(&v).cloned()
    }

    fn result<'n>(&self, node: &'n Node, i: usize) -> Option<(ValueId, &'g TensorType)>
    where
        'g: 'n,
    {
        let v = *node.outputs.get(i)?;
        Some((v, self.graph.values.get(v)?.ty.as_tensor()?))
    }

    // ---- Einsums --------------------------------------------------------------

    /// The Einsum `out = reduce(map(operands))` with one label per axis: equal labels are
    /// walked together. `sizes` gives the number of coordinates of each label.
    fn einsum(
        &mut self,
        node: &Node,
        out: &[usize],
        ins: &[Vec<Label>],
        sizes: &[Dim],
        map: (&str, i64),
        reduce: Option<&str>,
    ) {
        let Some((v, ty)) = self.result(node, 0) else { return };
        let operands: Vec<_> = node.inputs.iter().map(|v| self.operand(*v)).collect();
        let mut ranks: Vec<Option<RankId>> = vec![None; sizes.len()];
        let mut inputs = Vec::new();
        for (operand, labels) in operands.iter().zip(ins) {
            let Some((tensor, axes)) = operand else { continue };
            let mut at = Vec::new();
            for (axis, label) in axes.iter().zip(labels) {
                let Some(rank) = axis else { continue };
                let walks = label.is_some_and(|l| self.walk(&mut ranks, sizes, l, *rank));
                at.push(if walks { Index::At(*rank) } else { Index::Any(*rank) });
            }
            inputs.push(Access { tensor: *tensor, at });
        }
        for (rank, size) in ranks.iter_mut().zip(sizes) {
            if rank.is_none() && !size.is(1) {
                *rank = Some(self.fresh(size));
            }
        }
        let used: Vec<RankId> = ranks.iter().flatten().map(|r| self.find(*r)).collect();
        for (i, a) in used.iter().enumerate() {
            used[i + 1..].iter().for_each(|b| self.keep_apart(*a, *b));
        }
        let axes: Axes = out.iter().map(|l| ranks[*l]).collect();
        let output = self.define(v, ty, axes, Role::Inner);
        let reduced =
            (0..sizes.len()).filter(|l| !out.contains(l)).filter_map(|l| ranks[l]).collect();
        let reduce = reduce.map(|op| (op.to_string(), reduced));
        let (map, map_ops) = (map.0.to_string(), map.1);
        self.cascade.einsums.push(Einsum { output, inputs, map, map_ops, reduce, node: self.node });
    }

    /// Tries to walk `rank` as label `l`: other labels of the Einsum must be other ranks.
    fn walk(
        &mut self,
        ranks: &mut [Option<RankId>],
        sizes: &[Dim],
        l: usize,
        rank: RankId,
    ) -> bool {
        if self.cascade.ranks[rank].size != sizes[l] {
            return false;
        }
        let taken = |b: &Self, r: RankId| {
            let others = ranks.iter().enumerate().filter(|(i, _)| *i != l).filter_map(|(_, o)| *o);
            others.into_iter().any(|o| b.find(o) == b.find(r))
        };
        match ranks[l] {
            _ if taken(self, rank) => false,
            None => {
                ranks[l] = Some(rank);
                true
            }
            Some(r) => self.unify(r, rank),
        }
    }

    /// Results with ranks of their own that read every operand at any coordinate.
    fn opaque(&mut self, node: &Node) {
        let operands: Vec<_> = node.inputs.iter().filter_map(|v| self.operand(*v)).collect();
        for i in 0..node.outputs.len() {
            let Some((v, ty)) = self.result(node, i) else { continue };
            let output = self.leaf(v, ty, Role::Inner);
            let any = |axes: &Axes| axes.iter().flatten().map(|r| Index::Any(*r)).collect();
            let inputs = operands.iter().map(|(t, axes)| Access { tensor: *t, at: any(axes) });
            self.cascade.einsums.push(Einsum {
                output,
                inputs: inputs.collect(),
                map: node.op.name().into(),
                map_ops: 0,
                reduce: None,
                node: self.node,
            });
        }
    }

    /// `tensor` with exactly the wanted ranks: as it is when its axes can be those ranks,
    /// else through a copy that reads it at any coordinate.
    fn aligned(&mut self, operand: &(TensorId, Axes), wanted: &[Option<RankId>]) -> TensorId {
        let (tensor, axes) = operand;
        let lead = wanted.len() - axes.len().min(wanted.len());
        let mut at = Vec::new();
        for (axis, want) in axes.iter().zip(&wanted[lead..]) {
            let Some(rank) = *axis else { continue };
            let same = want.is_some_and(|w| {
                self.cascade.ranks[w].size == self.cascade.ranks[rank].size && self.unify(w, rank)
            });
            at.push(if same { Index::At(rank) } else { Index::Any(rank) });
        }
        if at.iter().all(|i| matches!(i, Index::At(_))) {
            return *tensor;
        }
        let ranks = wanted.iter().flatten().map(|r| self.find(*r)).collect();
        self.read(Access { tensor: *tensor, at }, ranks)
    }

    /// A copy of a tensor under other ranks.
    fn read(&mut self, access: Access, ranks: Vec<RankId>) -> TensorId {
        let source = self.cascade.tensors[access.tensor].clone();
        let copy = Tensor { ranks, stored_bytes: None, role: Role::Inner, value: None, ..source };
        let output = self.cascade.tensors.push(copy);
        let (map, node) = ("read".into(), self.node);
        let inputs = vec![access];
        self.cascade.einsums.push(Einsum { output, inputs, map, map_ops: 0, reduce: None, node });
        output
    }

    /// Makes a tensor that a [`Writer`] defined the value of the node's result.
    fn adopt(&mut self, node: &Node, tensor: TensorId, axes: Axes) {
        if let Some((v, _)) = self.result(node, 0) {
            let name = self.label(v);
            let t = &mut self.cascade.tensors[tensor];
            (t.name, t.value) = (name, Some(v));
            self.values.insert(v, (tensor, axes));
        }
    }

    fn writer(&mut self, element_bytes: i64) -> Writer<'_> {
        Writer { node: self.node, element_bytes, cascade: &mut self.cascade }
    }

    /// Replaces every rank by its root and names the roots that are used.
    fn finish(mut self) -> Cascade {
        let roots: Vec<RankId> = self.cascade.ranks.ids().map(|r| self.find(r)).collect();
        let root = |r: &mut RankId| *r = roots[r.index()];
        for t in self.cascade.tensors.values_mut() {
            t.ranks.iter_mut().for_each(root);
        }
        for e in &mut self.cascade.einsums {
            for at in e.inputs.iter_mut().flat_map(|a| &mut a.at) {
                match at {
                    Index::At(r) | Index::Previous(r) | Index::Last(r) | Index::Any(r) => root(r),
                }
            }
            e.reduce.iter_mut().flat_map(|(_, r)| r).for_each(root);
        }
        for (i, r) in self.cascade.used_ranks().into_iter().enumerate() {
            let letter = char::from(b'a' + (i % 26) as u8);
            let round = if i < 26 { String::new() } else { (i / 26).to_string() };
            self.cascade.ranks[r].name = format!("{letter}{round}");
        }
        self.cascade
    }
}
