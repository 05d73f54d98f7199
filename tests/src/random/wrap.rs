//! Control flow around a part of a random graph, which changes no result: a branch that is
//! taken, a loop that carries or stacks what the part computes.

use super::generate::Case;
use super::rng::Rng;
use cascata_ir::graph::{DimCheck, Graph, NodeId, RegionId, ValueId};
use cascata_ir::interp::Tensor;
use cascata_ir::op::Op;
use cascata_types::{DType, Scalar, SymbolId, TensorType, ValueType};
use std::collections::HashSet;

/// The case with three more inputs, and its graph with a part wrapped in `depth` levels of
/// control flow that reads them; `None` where no part can be wrapped.
pub fn wrap(case: &Case, rng: &mut Rng, depth: usize) -> Option<(Case, Graph)> {
    let mut case = case.clone();
    let go = case.graph.add_param(Graph::ROOT, "go", TensorType::fixed(DType::Bool, &[]));
    let [once, trips] = ["once", "trips"]
        .map(|name| case.graph.add_param(Graph::ROOT, name, TensorType::fixed(DType::I64, &[])));
    let times = rng.range(1, 3);
    for binding in &mut case.bindings {
        let inputs = [Tensor::scalar(true), Tensor::scalar(1i64), Tensor::scalar(times)];
        binding.inputs.extend(inputs);
    }
    let mut graph = case.graph.clone();
    for _ in 0..depth {
        (0..20).find_map(|_| wrap_part(&mut graph, rng, go, [once, trips]))?;
    }
    Some((case, graph))
}

fn wrap_part(
    graph: &mut Graph,
    rng: &mut Rng,
    go: ValueId,
    [once, trips]: [ValueId; 2],
) -> Option<()> {
    let order = graph.root().nodes.clone();
    let (from, to) = (rng.below(order.len()), rng.below(order.len()));
    let part: Vec<NodeId> = order[from.min(to)..=from.max(to)].to_vec();
    let (constants, part): (Vec<NodeId>, Vec<NodeId>) =
        part.into_iter().partition(|n| matches!(graph.nodes[*n].op, Op::Const(_)));
    let rest = &order[from.max(to) + 1..];
    let results = used_after(graph, &part, rest);
    let inside: Vec<SymbolId> = part.iter().flat_map(|n| graph.nodes[*n].op.binds()).collect();
    let escapes = |v: &ValueId| {
        graph.tensor(*v).shape.iter().flat_map(|d| d.symbols()).any(|s| inside.contains(&s))
    };
    if results.is_empty() || results.iter().any(escapes) {
        return None;
    }
    graph.regions[Graph::ROOT].nodes = order[..from.min(to)].to_vec();
    graph.regions[Graph::ROOT].nodes.extend(constants);
    let made = match rng.below(3) {
        0 => branch(graph, part.clone(), &results, go),
        1 => carrying(graph, part.clone(), &results, (go, trips)),
        _ => stacking(graph, part.clone(), &results, (go, once)),
    };
    // Checks over what is bound inside belong there.
    let checks = std::mem::take(&mut graph.regions[Graph::ROOT].checks);
    let late = |c: &DimCheck| {
        c.lhs.symbols().into_iter().chain(c.rhs.symbols()).any(|s| inside.contains(&s))
    };
    let (moved, stay): (Vec<_>, Vec<_>) = checks.into_iter().partition(late);
    graph.regions[Graph::ROOT].checks = stay;
    let region = graph.regions.ids().find(|r| graph.regions[*r].nodes == part);
    graph.regions[region.expect("the part has a region")].checks.extend(moved);
    graph.regions[Graph::ROOT].nodes.extend(rest);
    let instead = |v: ValueId| results.iter().position(|r| *r == v).map_or(v, |i| made[i]);
    for id in rest {
        replace(graph, *id, &instead);
    }
    let outputs = &mut graph.regions[Graph::ROOT].results;
    outputs.iter_mut().for_each(|v| *v = instead(*v));
    Some(())
}

/// Points the operands of a node, and of what it owns, to other values.
fn replace(graph: &mut Graph, id: NodeId, instead: &dyn Fn(ValueId) -> ValueId) {
    graph.nodes[id].inputs.iter_mut().for_each(|v| *v = instead(*v));
    for region in graph.nodes[id].op.regions() {
        graph.regions[region].results.iter_mut().for_each(|v| *v = instead(*v));
        for inner in graph.regions[region].nodes.clone() {
            replace(graph, inner, instead);
        }
    }
}

/// What a part computes for others.
fn used_after(graph: &Graph, part: &[NodeId], rest: &[NodeId]) -> Vec<ValueId> {
    let mut read: HashSet<ValueId> = graph.outputs().iter().copied().collect();
    let mut nodes = rest.to_vec();
    while let Some(id) = nodes.pop() {
        let node = &graph.nodes[id];
        read.extend(&node.inputs);
        for region in node.op.regions() {
            read.extend(&graph.regions[region].results);
            nodes.extend(&graph.regions[region].nodes);
        }
    }
    let computed = part.iter().flat_map(|n| graph.nodes[*n].outputs.clone());
    computed.filter(|v| read.contains(v)).collect()
}

fn zeros(graph: &mut Graph, region: RegionId, like: ValueId) -> ValueId {
    let ty = graph.tensor(like).clone();
    let op = Op::Fill { value: Scalar::from_i64(ty.dtype, 0), shape: ty.shape };
    graph.add1(region, op, vec![], "zeros").expect("a fill")
}

fn types(graph: &Graph, values: &[ValueId]) -> Vec<ValueType> {
    values.iter().map(|v| graph.ty(*v).clone()).collect()
}

fn branch(graph: &mut Graph, part: Vec<NodeId>, results: &[ValueId], go: ValueId) -> Vec<ValueId> {
    let (then_region, else_region) = (graph.add_region(), graph.add_region());
    graph.regions[then_region].nodes = part;
    graph.regions[then_region].results = results.to_vec();
    let other = results.iter().map(|v| zeros(graph, else_region, *v)).collect();
    graph.regions[else_region].results = other;
    let (op, types) = (Op::If { then_region, else_region, dims: vec![] }, types(graph, results));
    graph.add_node_typed(Graph::ROOT, op, vec![go], types, "wrapped")
}

/// A body with the part, and its parameters.
fn body(graph: &mut Graph, part: Vec<NodeId>) -> (RegionId, ValueId) {
    let body = graph.add_region();
    graph.add_param(body, "i", TensorType::fixed(DType::I64, &[]));
    let go = graph.add_param(body, "go", TensorType::fixed(DType::Bool, &[]));
    graph.regions[body].nodes = part;
    (body, go)
}

fn carrying(
    graph: &mut Graph,
    part: Vec<NodeId>,
    results: &[ValueId],
    (go, trips): (ValueId, ValueId),
) -> Vec<ValueId> {
    let (body, going) = body(graph, part);
    let mut inputs = vec![trips, go];
    for &v in results {
        inputs.push(zeros(graph, Graph::ROOT, v));
        let ty = graph.ty(v).clone();
        graph.add_param(body, "before", ty);
    }
    graph.regions[body].results = std::iter::once(going).chain(results.iter().copied()).collect();
    let count = graph.symbols.fresh("count", 0, 9);
    let op = Op::Loop { body, carried: results.len(), count, dims: vec![] };
    let types = types(graph, results);
    graph.add_node_typed(Graph::ROOT, op, inputs, types, "wrapped")
}

fn stacking(
    graph: &mut Graph,
    part: Vec<NodeId>,
    results: &[ValueId],
    (go, trips): (ValueId, ValueId),
) -> Vec<ValueId> {
    let (body, going) = body(graph, part);
    graph.regions[body].results = std::iter::once(going).chain(results.iter().copied()).collect();
    let count = graph.symbols.fresh("count", 0, 9);
    let op = Op::Loop { body, carried: 0, count, dims: vec![] };
    let rows = graph.add(Graph::ROOT, op, vec![trips, go], "wrapped").expect("a loop");
    let shapes: Vec<_> = results.iter().map(|v| graph.tensor(*v).shape.clone()).collect();
    let one = |(row, shape): (&ValueId, cascata_types::Shape)| {
        graph.add1(Graph::ROOT, Op::Reshape { shape }, vec![*row], "row").expect("one row")
    };
    rows.iter().zip(shapes).map(one).collect()
}
