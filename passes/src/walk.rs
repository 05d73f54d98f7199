//! Walking a graph's regions and uses.

use cascata_ir::graph::{DimCheck, Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::Op;
use std::collections::HashMap;

/// Regions that passes rewrite, owners before what they own: all but the bodies of fused
/// groups and what these own.
pub fn regions(graph: &Graph) -> Vec<RegionId> {
    reachable(graph, |op| !matches!(op, Op::Group { .. }))
}

/// The same regions with the checks that hold in each: its own and those of the regions
/// around it.
pub fn checked_regions(graph: &Graph) -> Vec<(RegionId, Vec<DimCheck>)> {
    let mut out = vec![(Graph::ROOT, graph.root().checks.clone())];
    let mut next = 0;
    while next < out.len() {
        let (region, outer) = out[next].clone();
        let nodes = graph.regions[region].nodes.iter().map(|n| &graph.nodes[*n].op);
        for inner in nodes.filter(|op| !matches!(op, Op::Group { .. })).flat_map(Op::regions) {
            let own = &graph.regions[inner].checks;
            out.push((inner, outer.iter().chain(own).cloned().collect()));
        }
        next += 1;
    }
    out
}

fn reachable(graph: &Graph, enter: impl Fn(&Op) -> bool) -> Vec<RegionId> {
    let mut out = vec![Graph::ROOT];
    let mut next = 0;
    while next < out.len() {
        for &n in &graph.regions[out[next]].nodes {
            if enter(&graph.nodes[n].op) {
                out.extend(graph.nodes[n].op.regions());
            }
        }
        next += 1;
    }
    out
}

/// Readers of each value: nodes, or `None` for a region that hands it out.
pub type Users = HashMap<ValueId, Vec<Option<NodeId>>>;

/// Readers of every value, in the bodies of fused groups as well.
pub fn users(graph: &Graph) -> Users {
    let mut out: Users = HashMap::with_capacity(graph.values.len());
    for region in reachable(graph, |_| true) {
        for &n in &graph.regions[region].nodes {
            for &v in &graph.nodes[n].inputs {
                out.entry(v).or_default().push(Some(n));
            }
        }
        for &v in &graph.regions[region].results {
            out.entry(v).or_default().push(None);
        }
    }
    out
}

/// Points every use of a value to `map(value)`, in live and dead nodes alike.
pub fn substitute(graph: &mut Graph, map: &dyn Fn(ValueId) -> ValueId) {
    for node in graph.nodes.values_mut() {
        node.inputs.iter_mut().for_each(|v| *v = map(*v));
    }
    for region in graph.regions.values_mut() {
        region.results.iter_mut().for_each(|v| *v = map(*v));
    }
}

/// Rewrites every region node by node: `f` appends to the region whatever takes a node's
/// place and records what its results are now; it returns whether it replaced the node.
/// Returns the number of nodes replaced.
///
/// # Errors
/// The first error of `f`.
pub fn rewrite(
    graph: &mut Graph,
    mut f: impl FnMut(&mut Graph, RegionId, NodeId, &mut Renamed) -> Result<bool, InferError>,
) -> Result<usize, InferError> {
    let mut renamed = Renamed::default();
    let mut count = 0;
    for region in regions(graph) {
        for id in std::mem::take(&mut graph.regions[region].nodes) {
            if f(graph, region, id, &mut renamed)? {
                count += 1;
            } else {
                graph.regions[region].nodes.push(id);
            }
        }
    }
    if count > 0 {
        substitute(graph, &|v| renamed.resolve(v));
    }
    Ok(count)
}

/// Values that others have taken the place of.
#[derive(Default)]
pub struct Renamed(HashMap<ValueId, ValueId>);

impl Renamed {
    /// `new` stands for `old` from now on, under its name unless it has one.
    pub fn replace(&mut self, graph: &mut Graph, old: ValueId, new: ValueId) {
        if graph.values[new].name.is_empty() {
            graph.values[new].name = graph.values[old].name.clone();
        }
        self.0.insert(old, new);
    }

    fn resolve(&self, mut v: ValueId) -> ValueId {
        while let Some(next) = self.0.get(&v) {
            v = *next;
        }
        v
    }
}
