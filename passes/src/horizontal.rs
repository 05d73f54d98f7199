//! Horizontal merging: contractions of one operand with several weights become one.
//!
//! **Why.** Queries, keys and values read the same activations: one wide product reads
//! them once and keeps the micro-kernel on wide panels. The choice needs all consumers
//! at once, which extraction, class by class, does not see.
//! **Precondition.** Canonical form.
//! **Postcondition.** Bitwise the same function: every output column has the same sum.
//! **Cost.** Linear; weights of merged products are copied once.

use crate::fold::known_tensor;
use crate::walk::{self, Users};
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::interp::{Tensor, eval_op};
use cascata_ir::op::{BinaryOp, Op, SliceRange};
use cascata_types::{DType, TensorType};
use std::collections::HashMap;

/// Merges in every region; returns the number of products that were merged away.
pub fn merge(graph: &mut Graph) -> usize {
    let mut merged = 0;
    for region in walk::regions(graph) {
        let users = walk::users(graph);
        for group in groups(graph, region) {
            if let Some(n) = merge_group(graph, region, &users, &group) {
                merged += n;
            }
        }
    }
    merged
}

/// Products of one left operand with weights of rank 2, in order of the first one.
fn groups(graph: &Graph, region: RegionId) -> Vec<Vec<NodeId>> {
    let mut order = vec![];
    let mut by_operand: HashMap<(ValueId, WeightKind), Vec<NodeId>> = HashMap::new();
    for &n in &graph.regions[region].nodes {
        let node = &graph.nodes[n];
        if node.op != Op::MatMul {
            continue;
        }
        let Some((_, kind)) = weight(graph, node.inputs[1]) else { continue };
        let key = (node.inputs[0], kind);
        let group = by_operand.entry(key).or_insert_with(|| {
            order.push(key);
            vec![]
        });
        group.push(n);
    }
    order.iter().map(|k| by_operand[k].clone()).filter(|g| g.len() > 1).collect()
}

/// How weights are stored and what they are cast to.
type WeightKind = (DType, Option<DType>);

/// The constant behind weights `[K,N]`, itself or cast.
fn weight(graph: &Graph, value: ValueId) -> Option<(ValueId, WeightKind)> {
    let node = graph.def_node(value)?;
    let (stored, cast) = match node.op {
        Op::Const(_) => (value, None),
        Op::Cast { to } => (node.inputs[0], Some(to)),
        _ => return None,
    };
    let constant = graph.as_const(stored)?;
    (constant.ty.rank() == 2).then_some((stored, (constant.ty.dtype, cast)))
}

fn merge_group(
    graph: &mut Graph,
    region: RegionId,
    users: &Users,
    group: &[NodeId],
) -> Option<usize> {
    let first = graph.nodes[group[0]].clone();
    let (_, (_, cast)) = weight(graph, first.inputs[1])?;
    let weights = group.iter().map(|n| weight(graph, graph.nodes[*n].inputs[1]).map(|w| w.0));
    let weights: Vec<ValueId> = weights.collect::<Option<_>>()?;
    let joined = concatenated(graph, &weights, 1)?;
    let epilogues = epilogues(graph, users, group);
    let mut consts = vec![];
    for step in &epilogues {
        consts.push(concatenated(graph, &step.constants, 0)?);
    }
    let last: Vec<ValueId> = match epilogues.last() {
        Some(step) => step.results.clone(),
        None => group.iter().map(|n| graph.nodes[*n].outputs[0]).collect(),
    };
    // New nodes go to the end first and are then moved to the first product's place.
    let old = std::mem::take(&mut graph.regions[region].nodes);
    let mut w = constant(graph, region, joined);
    if let Some(to) = cast {
        w = graph.add1(region, Op::Cast { to }, vec![w], first.source.clone()).ok()?;
    }
    let mut wide =
        graph.add1(region, Op::MatMul, vec![first.inputs[0], w], first.source.clone()).ok()?;
    for (step, tensor) in epilogues.iter().zip(consts) {
        let c = constant(graph, region, tensor);
        wide = graph.add1(region, Op::Binary(step.op), vec![wide, c], first.source.clone()).ok()?;
    }
    let parts = split(graph, region, wide, &last)?;
    let new = std::mem::replace(&mut graph.regions[region].nodes, old);
    let at = graph.regions[region].nodes.iter().position(|n| *n == group[0])?;
    graph.regions[region].nodes.splice(at..at, new);
    let map: HashMap<ValueId, ValueId> = last.into_iter().zip(parts).collect();
    walk::substitute(graph, &|v| map.get(&v).copied().unwrap_or(v));
    Some(group.len() - 1)
}

/// An element-wise step that every member of a group has next, with a vector of its own.
struct Step {
    op: BinaryOp,
    constants: Vec<ValueId>,
    results: Vec<ValueId>,
}

fn epilogues(graph: &Graph, users: &Users, group: &[NodeId]) -> Vec<Step> {
    let mut out: Vec<Step> = vec![];
    let mut values: Vec<ValueId> = group.iter().map(|n| graph.nodes[*n].outputs[0]).collect();
    while let Some(step) = common_step(graph, users, &values) {
        values = step.results.clone();
        out.push(step);
    }
    out
}

fn common_step(graph: &Graph, users: &Users, values: &[ValueId]) -> Option<Step> {
    let mut step: Option<Step> = None;
    for &v in values {
        let [Some(user)] = users.get(&v)?.as_slice() else { return None };
        let node = &graph.nodes[*user];
        let Op::Binary(op) = node.op else { return None };
        let other = match node.inputs[..] {
            [a, c] if a == v => c,
            [c, a] if a == v && op.is_commutative() => c,
            _ => return None,
        };
        let width = graph.tensor(v).shape.last()?;
        let vector = graph.as_const(other).is_some_and(|c| c.ty.shape == [width.clone()]);
        let same = step.as_ref().is_none_or(|s| s.op == op);
        if !vector || !same || graph.ty(v) != graph.ty(node.outputs[0]) {
            return None;
        }
        let step = step.get_or_insert_with(|| Step { op, constants: vec![], results: vec![] });
        step.constants.push(other);
        step.results.push(node.outputs[0]);
    }
    step
}

fn concatenated(graph: &Graph, constants: &[ValueId], axis: usize) -> Option<Tensor> {
    let parts: Vec<Tensor> =
        constants.iter().map(|&v| known_tensor(graph, v)).collect::<Option<_>>()?;
    let refs: Vec<&Tensor> = parts.iter().collect();
    eval_op(&Op::Concat { axis }, &refs, &|_| None).ok()?.pop()
}

fn constant(graph: &mut Graph, region: RegionId, tensor: Tensor) -> ValueId {
    let dims: Vec<i64> = tensor.dims().iter().map(|&d| d as i64).collect();
    let ty = TensorType::fixed(tensor.dtype(), &dims);
    graph.add_const(region, "", ty, tensor.to_le_bytes().into())
}

/// Slices of the last axis in place of `olds`, with their names.
fn split(
    graph: &mut Graph,
    region: RegionId,
    wide: ValueId,
    olds: &[ValueId],
) -> Option<Vec<ValueId>> {
    let axis = graph.tensor(wide).rank() - 1;
    let mut start = cascata_types::Dim::from(0);
    let mut parts = vec![];
    for &old in olds {
        let len = graph.tensor(old).shape[axis].clone();
        let source = graph.def_node(old)?.source.clone();
        let range = SliceRange { axis, start: start.clone(), len: len.clone(), step: 1 };
        let part =
            graph.add1(region, Op::Slice { ranges: vec![range] }, vec![wide], source).ok()?;
        graph.values[part].name = graph.values[old].name.clone();
        start = start + len;
        parts.push(part);
    }
    Some(parts)
}
