//! A name and a source node for every value that is computed.
//!
//! **Why.** Profiles, errors and `explain` speak of values by name; rewriting and layout
//! make values that the source model did not have.
//! **Precondition.** What stands for a value of the source model has its name already.
//! **Postcondition.** Every result of a node has a name and every node a source. A made-up
//! name is that of the next named value which needs it, with the op: `logits#matmul`; moved
//! data is named after what was moved. No name that was there is changed.
//! **Cost.** Linear.

use crate::walk;
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::op::Op;
use std::collections::{HashMap, HashSet};

/// Between the name of a value and the op that helps to compute it.
const MADE: char = '#';

/// Names what has no name; returns how many values that were.
pub fn complete(graph: &mut Graph) -> usize {
    let mut taken: HashSet<String> = graph.values.values().map(|v| v.name.clone()).collect();
    let mut named = 0;
    for region in walk::regions(graph) {
        let readers = readers(graph, region);
        for id in graph.regions[region].nodes.clone().into_iter().rev() {
            complete_source(graph, id, &readers);
            for v in graph.nodes[id].outputs.clone() {
                if graph.values[v].name.is_empty() {
                    graph.values[v].name = fresh(graph, id, v, &readers, &mut taken);
                    named += 1;
                }
            }
        }
    }
    named
}

/// The first node of the region that reads each value.
fn readers(graph: &Graph, region: RegionId) -> HashMap<ValueId, NodeId> {
    let mut out = HashMap::new();
    for &n in &graph.regions[region].nodes {
        for &v in &graph.nodes[n].inputs {
            out.entry(v).or_insert(n);
        }
    }
    out
}

fn complete_source(graph: &mut Graph, id: NodeId, readers: &HashMap<ValueId, NodeId>) {
    if !graph.nodes[id].source.is_empty() {
        return;
    }
    let node = &graph.nodes[id];
    let reader = node.outputs.iter().find_map(|v| readers.get(v));
    let near = reader.map(|r| graph.nodes[*r].source.clone()).filter(|s| !s.is_empty());
    let source = near.unwrap_or_else(|| node.op.name().to_string());
    graph.nodes[id].source = source;
}

/// A new name after the reader's, which has one already, or after an operand's; the other
/// way round for moved data.
fn fresh(
    graph: &Graph,
    id: NodeId,
    value: ValueId,
    readers: &HashMap<ValueId, NodeId>,
    taken: &mut HashSet<String>,
) -> String {
    let node = &graph.nodes[id];
    let reader = readers.get(&value).and_then(|r| graph.nodes[*r].outputs.first());
    let mut near: Vec<ValueId> = reader.into_iter().chain(&node.inputs).copied().collect();
    if moves(&node.op) {
        near.reverse();
    }
    let near = near.iter().map(|v| graph.values[*v].name.as_str());
    let base = near.map(|n| n.split(MADE).next().unwrap_or(n)).find(|n| !n.is_empty());
    let stem = format!("{}{MADE}{}", base.unwrap_or(&node.source), node.op.name());
    let numbered = (2..).map(|i| format!("{stem}.{i}"));
    let free = std::iter::once(stem.clone()).chain(numbered).find(|n| !taken.contains(n));
    let name = free.unwrap_or(stem);
    taken.insert(name.clone());
    name
}

fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Broadcast { .. } | Op::Slice { .. }
    )
}
