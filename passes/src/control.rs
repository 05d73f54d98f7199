//! Control flow in the forms that code generation knows: `if` and `loop` over tensors.
//!
//! **Why.** A scan is a loop that picks slices; a growing state is a tensor whose dim
//! changes; a branch that is never taken needs no code. Fewer forms, fewer defects.
//! **Precondition.** Types are recorded. **Postcondition.** The same function, bitwise; no
//! `scan`; no resources, unless the model's inputs hold some. **Cost.** Linear in nodes.

mod branch;
mod scan;
mod state;

use crate::walk;
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use std::collections::HashMap;

pub use branch::inline;

/// Scans become loops and states tensors; returns how many nodes were replaced.
///
/// # Errors
/// A new op that breaks its typing rule: a defect of this pass.
pub fn lower(graph: &mut Graph) -> Result<usize, InferError> {
    Ok(scan::to_loops(graph)? + state::to_tensors(graph)?)
}

/// Rewrites every region node by node: `f` appends to the region whatever takes a node's
/// place and records what its results are now; it returns whether it replaced the node.
fn rewrite(
    graph: &mut Graph,
    mut f: impl FnMut(&mut Graph, RegionId, NodeId, &mut Renamed) -> Result<bool, InferError>,
) -> Result<usize, InferError> {
    let mut renamed = Renamed::default();
    let mut count = 0;
    for region in walk::regions(graph) {
        for id in std::mem::take(&mut graph.regions[region].nodes) {
            if f(graph, region, id, &mut renamed)? {
                count += 1;
            } else {
                graph.regions[region].nodes.push(id);
            }
        }
    }
    if count > 0 {
        walk::substitute(graph, &|v| renamed.resolve(v));
    }
    Ok(count)
}

/// Values that others have taken the place of.
#[derive(Default)]
struct Renamed(HashMap<ValueId, ValueId>);

impl Renamed {
    fn replace(&mut self, graph: &mut Graph, old: ValueId, new: ValueId) {
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
