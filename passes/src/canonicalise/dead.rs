//! Dead code, and the arenas behind it.

use cascata_ir::graph::{ConstId, Graph, NodeId, RegionId, ValueId};
use cascata_ir::op::{Effect, Op};
use cascata_types::SecondaryMap;
use std::collections::HashSet;

/// Unlists nodes whose results nobody reads. Nodes that bind symbols or hold state
/// stay: dims may mention what they bind.
pub(crate) fn remove(graph: &mut Graph) {
    let mut used: HashSet<ValueId> = HashSet::new();
    sweep(graph, Graph::ROOT, &mut used);
}

fn sweep(graph: &mut Graph, region: RegionId, used: &mut HashSet<ValueId>) {
    used.extend(graph.regions[region].results.iter().copied());
    let nodes = std::mem::take(&mut graph.regions[region].nodes);
    let mut kept: Vec<NodeId> = Vec::with_capacity(nodes.len());
    for id in nodes.into_iter().rev() {
        let node = &graph.nodes[id];
        let droppable = match &node.op {
            Op::Random(_) => true,
            Op::If { dims, .. } => dims.is_empty(),
            op => matches!(op.effect(), Effect::Pure | Effect::Host),
        };
        if droppable && !node.outputs.iter().any(|v| used.contains(v)) {
            continue;
        }
        used.extend(node.inputs.iter().copied());
        for inner in node.op.regions() {
            sweep(graph, inner, used);
        }
        kept.push(id);
    }
    kept.reverse();
    graph.regions[region].nodes = kept;
}

/// A copy without dead nodes, values, regions and constants; ids are renumbered in
/// execution order, so that equal graphs become equal data.
pub fn compact(graph: &Graph) -> Graph {
    let mut new = Graph::new(graph.name.clone());
    new.symbols = graph.symbols.clone();
    new.output_names = graph.output_names.clone();
    let mut copy =
        Copy { old: graph, new, values: SecondaryMap::new(), consts: SecondaryMap::new() };
    copy.region(Graph::ROOT, Graph::ROOT);
    copy.new
}

struct Copy<'a> {
    old: &'a Graph,
    new: Graph,
    /// Old value → new value.
    values: SecondaryMap<ValueId, Option<ValueId>>,
    consts: SecondaryMap<ConstId, Option<ConstId>>,
}

impl Copy<'_> {
    fn region(&mut self, from: RegionId, to: RegionId) {
        let old = self.old;
        let region = &old.regions[from];
        for &v in &region.params {
            let value = &old.values[v];
            self.values[v] = Some(self.new.add_param(to, value.name.clone(), value.ty.clone()));
        }
        for &id in &region.nodes {
            self.node(id, to);
        }
        self.new.regions[to].results = region.results.iter().map(|&v| self.value(v)).collect();
        self.new.regions[to].checks = region.checks.clone();
    }

    fn node(&mut self, id: NodeId, region: RegionId) {
        let old = self.old;
        let node = &old.nodes[id];
        let inputs = node.inputs.iter().map(|&v| self.value(v)).collect();
        let types = node.outputs.iter().map(|&v| old.ty(v).clone()).collect();
        let op = self.op(&node.op);
        let outputs = self.new.add_node_typed(region, op, inputs, types, node.source.clone());
        for (&from, to) in node.outputs.iter().zip(outputs) {
            self.new.values[to].name = old.values[from].name.clone();
            self.values[from] = Some(to);
        }
    }

    fn op(&mut self, op: &Op) -> Op {
        let mut op = op.clone();
        match &mut op {
            Op::Const(id) => {
                let old = self.old;
                let new = &mut self.new;
                let slot = &mut self.consts[*id];
                *id = *slot.get_or_insert_with(|| new.consts.push(old.consts[*id].clone()));
            }
            op => {
                for region in op.regions_mut() {
                    *region = self.inner(*region);
                }
            }
        }
        op
    }

    fn inner(&mut self, from: RegionId) -> RegionId {
        let to = self.new.add_region();
        self.region(from, to);
        to
    }

    fn value(&self, old: ValueId) -> ValueId {
        // A verified graph defines before it uses; an undefined value keeps the copy
        // malformed in the same way, for the verifier to report.
        self.values[old].unwrap_or(old)
    }
}
