//! Removes nodes that nothing needs.
//!
//! Why: decompositions and evaluated shape arithmetic leave unused pure nodes behind.
//! Postcondition: every node that is left computes something that is used, or does
//! something besides (binds symbols, owns state).

use cascata_ir::graph::{Graph, NodeId, RegionId};
use cascata_ir::op::{Effect, Op};
use std::collections::HashSet;

/// Removes unused nodes from all regions, and regions of removed nodes' with them.
pub fn prune(graph: &mut Graph) {
    let mut live = HashSet::new();
    mark(graph, Graph::ROOT, &mut live);
    for region in graph.regions.values_mut() {
        region.nodes.retain(|n| live.contains(n));
    }
}

/// Marks what a region needs; captured values are marked through their own regions,
/// which enclose this one and are walked after it.
fn mark(graph: &Graph, region: RegionId, live: &mut HashSet<NodeId>) {
    let mut used = HashSet::new();
    mark_region(graph, region, &mut used, live);
}

fn mark_region(
    graph: &Graph,
    region: RegionId,
    used: &mut HashSet<cascata_ir::graph::ValueId>,
    live: &mut HashSet<NodeId>,
) {
    used.extend(&graph.regions[region].results);
    // Users come after definitions, so one walk backwards sees every user first.
    for &id in graph.regions[region].nodes.iter().rev() {
        let node = &graph.nodes[id];
        let needed = node.outputs.iter().any(|v| used.contains(v));
        if !needed && !keeps_itself(graph, &node.op) {
            continue;
        }
        live.insert(id);
        used.extend(&node.inputs);
        for body in node.op.regions() {
            mark_region(graph, body, used, live);
        }
    }
}

/// Whether a node stays though its results are unused: it binds a symbol that dims may
/// mention, or changes state.
fn keeps_itself(graph: &Graph, op: &Op) -> bool {
    match op {
        Op::Random(_) => false,
        Op::Loop { .. } => true,
        Op::If { dims, .. } if !dims.is_empty() => true,
        _ if op.effect() == Effect::Unique => true,
        _ => op.regions().iter().any(|r| {
            graph.regions[*r].nodes.iter().any(|n| keeps_itself(graph, &graph.nodes[*n].op))
        }),
    }
}
