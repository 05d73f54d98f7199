//! A slice: a run of nodes cut out of a region, in a form free of the graph's ids.
//!
//! Equal slices (same ops, wiring, leaf types and constant facts) are equal as values,
//! so one is optimised and the result is stamped out for all. Weights are leaves.

use super::facts::{ConstFacts, Leaf};
use cascata_ir::graph::{ConstId, Def, Graph, NodeId, ValueId};
use cascata_ir::op::{Effect, Op};
use cascata_types::{DType, Dim, Encoding, ValueType};
use std::collections::HashMap;

/// A value inside of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ref {
    /// A value from outside.
    Leaf(u32),
    /// A result of one of the slice's nodes.
    Node(u32, u32),
}

/// One node of a slice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SliceNode {
    /// The op.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<Ref>,
    /// Result types in the graph.
    pub types: Vec<ValueType>,
}

/// A run of nodes, free of graph ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// Values from outside.
    pub leaves: Vec<Leaf>,
    /// Nodes in execution order.
    pub nodes: Vec<SliceNode>,
    /// Results that something outside uses.
    pub outputs: Vec<Ref>,
}

/// Where a slice lies in a graph.
#[derive(Clone, Debug)]
pub struct Place {
    /// The graph's values behind the leaves.
    pub leaves: Vec<ValueId>,
    /// The graph's nodes.
    pub nodes: Vec<NodeId>,
    /// The graph's values behind the outputs.
    pub outputs: Vec<ValueId>,
}

/// Facts of constants, each looked at once.
#[derive(Default)]
pub struct FactCache(HashMap<ConstId, ConstFacts>);

impl FactCache {
    fn of(&mut self, graph: &Graph, id: ConstId) -> ConstFacts {
        self.0.entry(id).or_insert_with(|| ConstFacts::of(&graph.consts[id])).clone()
    }
}

/// Whether a node may enter an e-graph: pure, and on dense tensors only.
pub fn rewritable(graph: &Graph, id: NodeId) -> bool {
    let node = &graph.nodes[id];
    let plain = |v: &ValueId| {
        graph
            .ty(*v)
            .as_tensor()
            .is_some_and(|t| t.encoding == Encoding::Dense && t.dtype != DType::Str)
    };
    node.op.effect() == Effect::Pure
        && !matches!(node.op, Op::Const(_) | Op::Pack { .. })
        && node.inputs.iter().chain(&node.outputs).all(plain)
        && graph.infer_node(id).is_ok_and(|i| types_agree(graph, node.outputs.as_slice(), &i.types))
}

/// Whether an attribute or a result's dims mention a symbol that is bound while the graph runs.
pub fn binds_late(graph: &Graph, id: NodeId) -> bool {
    let late = |d: &Dim| {
        let unbound = |s| graph.symbols.get(s).is_none_or(|s| s.data_dependent);
        d.symbols().into_iter().any(unbound)
    };
    let mut attributes_late = false;
    graph.nodes[id].op.for_each_dim(&mut |d| attributes_late |= late(d));
    let types = graph.nodes[id].outputs.iter().filter_map(|v| graph.ty(*v).as_tensor());
    attributes_late || types.flat_map(|t| &t.shape).any(late)
}

fn types_agree(graph: &Graph, outputs: &[ValueId], types: &[ValueType]) -> bool {
    outputs.len() == types.len() && outputs.iter().zip(types).all(|(v, t)| graph.ty(*v) == t)
}

/// Cuts `nodes` out of the graph; `is_used_outside` says which results something else reads.
pub fn cut(
    graph: &Graph,
    nodes: &[NodeId],
    is_used_outside: &dyn Fn(ValueId) -> bool,
    facts: &mut FactCache,
) -> (Slice, Place) {
    let position: HashMap<NodeId, u32> =
        nodes.iter().enumerate().map(|(i, n)| (*n, i as u32)).collect();
    let mut leaf_numbers: HashMap<ValueId, u32> = HashMap::new();
    let mut slice = Slice { leaves: vec![], nodes: vec![], outputs: vec![] };
    let mut place = Place { leaves: vec![], nodes: nodes.to_vec(), outputs: vec![] };
    for &id in nodes {
        let node = &graph.nodes[id];
        let mut inputs = vec![];
        for &v in &node.inputs {
            inputs.push(match graph.values[v].def {
                Def::Node(n, i) if position.contains_key(&n) => Ref::Node(position[&n], i),
                def => Ref::Leaf(*leaf_numbers.entry(v).or_insert_with(|| {
                    slice.leaves.push(leaf(graph, v, def, facts));
                    place.leaves.push(v);
                    place.leaves.len() as u32 - 1
                })),
            });
        }
        for (i, &v) in node.outputs.iter().enumerate() {
            if is_used_outside(v) {
                slice.outputs.push(Ref::Node(position[&id], i as u32));
                place.outputs.push(v);
            }
        }
        let types = node.outputs.iter().map(|&v| graph.ty(v).clone()).collect();
        slice.nodes.push(SliceNode { op: node.op.clone(), inputs, types });
    }
    (slice, place)
}

fn leaf(graph: &Graph, value: ValueId, def: Def, facts: &mut FactCache) -> Leaf {
    let constant = match def {
        Def::Node(n, _) => match graph.nodes[n].op {
            Op::Const(c) => Some(facts.of(graph, c)),
            _ => None,
        },
        Def::Param(..) => None,
    };
    Leaf { ty: graph.ty(value).clone(), constant }
}
