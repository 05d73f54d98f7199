//! A case rebuilt with other outputs and some values replaced.

use super::generate::{Binding, Case};
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::{Recorded, Tensor, run_recorded};
use cascata_ir::op::Op;
use std::collections::{HashMap, HashSet};

/// What stands in for a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instead {
    /// A graph input with the value's contents.
    Input,
    /// Another value of its type.
    Value(ValueId),
}

/// The part of a case that its outputs need.
pub(super) fn rebuild(
    case: &Case,
    recorded: &[Recorded],
    outputs: &[ValueId],
    instead: &HashMap<ValueId, Instead>,
) -> Option<Case> {
    let old = &case.graph;
    let live = live(old, outputs, instead);
    let mut new = Graph::new(old.name.clone());
    new.symbols = old.symbols.clone();
    let mut map: HashMap<ValueId, ValueId> = HashMap::new();
    let mut tensors: Vec<Vec<Tensor>> = vec![vec![]; recorded.len()];
    let mut param = |new: &mut Graph, v: ValueId| {
        let made = new.add_param(Graph::ROOT, old.values[v].name.clone(), old.ty(v).clone());
        for (all, run) in tensors.iter_mut().zip(recorded) {
            all.push(run.values[v].as_ref()?.tensor().clone());
        }
        Some(made)
    };
    for v in old.inputs() {
        // Inputs also bind symbols.
        let symbolic = old.tensor(*v).shape.iter().any(|d| d.as_sym().is_some());
        if live.contains(v) || symbolic {
            map.insert(*v, param(&mut new, *v)?);
        }
    }
    for id in &old.root().nodes {
        let node = &old.nodes[*id];
        if let [v] = node.outputs[..]
            && live.contains(&v)
        {
            let made = match instead.get(&v) {
                Some(Instead::Input) => param(&mut new, v)?,
                Some(Instead::Value(other)) => *map.get(other)?,
                None => copy(old, &mut new, *id, &map)?,
            };
            map.insert(v, made);
        }
    }
    for (i, v) in outputs.iter().enumerate() {
        new.add_output(format!("y{i}"), *map.get(v)?);
    }
    let spread = |b: &Binding| {
        map.iter().map(|(o, n)| (*n, b.spread.get(o).copied().unwrap_or(0.0))).collect()
    };
    let bindings = case.bindings.iter().zip(tensors);
    let bindings = bindings.map(|(b, inputs)| Binding { inputs, spread: spread(b) }).collect();
    Some(Case { seed: case.seed, graph: new, bindings })
}

/// The node of one value alone, its computed operands given as inputs.
pub fn one_node(case: &Case, v: ValueId) -> Option<Case> {
    let runs = case.bindings.iter().map(|b| run_recorded(&case.graph, &b.inputs).ok());
    let recorded: Option<Vec<_>> = runs.collect();
    let node = case.graph.def_node(v)?;
    let computed =
        |o: &&ValueId| case.graph.def_node(**o).is_some_and(|n| !matches!(n.op, Op::Const(_)));
    let given = node.inputs.iter().filter(computed).map(|o| (*o, Instead::Input)).collect();
    rebuild(case, &recorded?, &[v], &given)
}

fn copy(
    old: &Graph,
    new: &mut Graph,
    id: cascata_ir::graph::NodeId,
    map: &HashMap<ValueId, ValueId>,
) -> Option<ValueId> {
    let node = &old.nodes[id];
    if let Op::Const(c) = node.op {
        let c = &old.consts[c];
        return Some(new.add_const(Graph::ROOT, c.name.clone(), c.ty.clone(), c.data.clone()));
    }
    let inputs: Option<Vec<ValueId>> = node.inputs.iter().map(|v| map.get(v).copied()).collect();
    let made = new.add1(Graph::ROOT, node.op.clone(), inputs?, node.source.clone()).ok()?;
    new.values[made].name = old.values[node.outputs[0]].name.clone();
    Some(made)
}

fn live(
    graph: &Graph,
    outputs: &[ValueId],
    instead: &HashMap<ValueId, Instead>,
) -> HashSet<ValueId> {
    let mut live = HashSet::new();
    let mut open = outputs.to_vec();
    while let Some(v) = open.pop() {
        if !live.insert(v) {
            continue;
        }
        match (instead.get(&v), graph.def_node(v)) {
            (Some(Instead::Value(other)), _) => open.push(*other),
            (None, Some(node)) => open.extend(&node.inputs),
            _ => {}
        }
    }
    live
}
