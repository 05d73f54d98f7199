//! Memory for what crosses a region's border.
//!
//! *Why*: a result of the model is the caller's tensor; what a branch or a loop's body hands
//! out is moved, not copied, when the region ends; what an op with regions reads, the host
//! reads. *Postcondition*: no result of the body is in the memory of an input, a constant, an
//! op with regions or another result; results of branches and carried results of loops are in
//! memory of their own that their region has computed, but for a carried value that stays
//! what it was; operands of ops with regions, conditions and scanned rows are in memory.

use super::{enclose, is_leaf, memory_owner};
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::op::{Effect, GroupKind, Op};
use cascata_types::Encoding;
use std::collections::{HashMap, HashSet};

/// Which node owns each region but the body.
pub(super) fn owners(graph: &Graph, regions: &[RegionId]) -> HashMap<RegionId, NodeId> {
    let nodes = regions.iter().flat_map(|r| &graph.regions[*r].nodes);
    nodes.flat_map(|id| graph.nodes[*id].op.regions().into_iter().map(|r| (r, *id))).collect()
}

/// Has operands of ops with regions computed into memory where they are formulas.
pub(super) fn operands(graph: &mut Graph, region: RegionId) {
    let order = std::mem::take(&mut graph.regions[region].nodes);
    for id in order {
        if matches!(graph.nodes[id].op.effect(), Effect::Control | Effect::Host) {
            for i in 0..graph.nodes[id].inputs.len() {
                let v = graph.nodes[id].inputs[i];
                if graph.def_node(v).is_some_and(|n| is_leaf(&n.op)) {
                    graph.nodes[id].inputs[i] = copied(graph, region, v);
                }
            }
        }
        graph.regions[region].nodes.push(id);
    }
}

/// A copy of a dense tensor at the end of a region.
fn copied(graph: &mut Graph, region: RegionId, v: ValueId) -> ValueId {
    let ty = graph.tensor(v).clone();
    let copy = Op::Reshape { shape: ty.shape.clone() };
    let made = graph.add_node_typed(region, copy, vec![v], vec![ty.into()], "copy")[0];
    graph.values[made].name = format!("{}.copy", graph.values[v].name);
    made
}

/// What a result must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// In memory that nothing else is in.
    Own,
    /// In memory.
    Memory,
    /// Nothing: it is what the body was given.
    Nothing,
}

/// Copies results that are not what they must be.
pub(super) fn results(graph: &mut Graph, region: RegionId, owner: Option<NodeId>) {
    let here: HashSet<NodeId> = graph.regions[region].nodes.iter().copied().collect();
    let mut owned: Vec<ValueId> = Vec::new();
    for i in 0..graph.regions[region].results.len() {
        let v = graph.regions[region].results[i];
        let memory = memory_owner(graph, v);
        let fine = match need(graph, region, owner, i) {
            Need::Nothing => true,
            Need::Memory => !graph.def_node(memory).is_some_and(|n| is_leaf(&n.op)),
            Need::Own => is_own(graph, memory, &here, owner) && !owned.contains(&memory),
        };
        if fine {
            owned.push(memory);
            continue;
        }
        // Only dense tensors can be copied; code generation refuses the rest by name.
        if !graph.ty(v).as_tensor().is_some_and(|t| t.encoding == Encoding::Dense) {
            continue;
        }
        let made = copied(graph, region, v);
        let id = graph.regions[region].nodes.pop().expect("the copy was just added");
        let group = enclose(graph, GroupKind::Map, &[id]);
        graph.regions[region].nodes.push(group);
        graph.regions[region].results[i] = made;
        owned.push(made);
    }
}

fn need(graph: &Graph, region: RegionId, owner: Option<NodeId>, i: usize) -> Need {
    let Some(Op::Loop { carried, .. }) = owner.map(|id| &graph.nodes[id].op) else {
        return Need::Own;
    };
    if i == 0 || i > *carried {
        return Need::Memory;
    }
    let region = &graph.regions[region];
    let stays = region.params.get(i + 1) == Some(&memory_owner(graph, region.results[i]));
    if stays { Need::Nothing } else { Need::Own }
}

/// Whether a region has computed a value into memory that may be handed out. The results
/// of an op with regions may be handed on by a region that has an owner.
fn is_own(graph: &Graph, v: ValueId, here: &HashSet<NodeId>, owner: Option<NodeId>) -> bool {
    let cascata_ir::graph::Def::Node(id, _) = graph.values[v].def else { return false };
    let op = &graph.nodes[id].op;
    let control = matches!(op, Op::If { .. } | Op::Loop { .. });
    here.contains(&id)
        && !matches!(op, Op::Const(_))
        && !is_leaf(op)
        && (!control || owner.is_some())
}
