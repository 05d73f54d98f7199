//! An `if` whose condition is a constant is replaced by the branch that it takes.

use crate::fold::known_tensor;
use crate::walk::{Renamed, rewrite};
use cascata_ir::graph::{Graph, Node, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{BindMode, Op};
use cascata_types::SymbolId;

/// Inlines branches that are always taken; returns how many.
///
/// # Errors
/// A new op that breaks its typing rule: a defect of this pass.
pub fn inline(graph: &mut Graph) -> Result<usize, InferError> {
    let mut count = 0;
    // What was inside of a branch is looked at in the next round.
    loop {
        match once(graph)? {
            0 => return Ok(count),
            n => count += n,
        }
    }
}

fn once(graph: &mut Graph) -> Result<usize, InferError> {
    rewrite(graph, |graph, region, id, renamed| {
        let node = graph.nodes[id].clone();
        let Op::If { then_region, else_region, dims } = &node.op else { return Ok(false) };
        let known = known_tensor(graph, node.inputs[0]);
        let Some(&[taken]) = known.as_ref().and_then(|t| t.as_slice::<bool>()) else {
            return Ok(false);
        };
        let branch = if taken { *then_region } else { *else_region };
        splice(graph, region, branch, &node, dims, renamed).map(|()| true)
    })
}

fn splice(
    graph: &mut Graph,
    region: RegionId,
    branch: RegionId,
    node: &Node,
    dims: &[((usize, usize), SymbolId)],
    renamed: &mut Renamed,
) -> Result<(), InferError> {
    let branch = std::mem::take(&mut graph.regions[branch]);
    for check in branch.checks {
        graph.add_check(region, check);
    }
    graph.regions[region].nodes.extend(branch.nodes);
    for (i, (&old, &new)) in node.outputs.iter().zip(&branch.results).enumerate() {
        let own: Vec<_> = dims.iter().filter(|((r, _), _)| *r == i).collect();
        let sizes = own.iter().map(|((_, axis), _)| graph.tensor(new).shape[*axis].clone());
        let sizes = Op::DimValues { dims: sizes.collect(), scalar: false };
        let symbols: Vec<SymbolId> = own.iter().map(|(_, s)| *s).collect();
        let new = match symbols.is_empty() {
            true => new,
            false => bound(graph, region, (old, new), sizes, symbols, &node.source)?,
        };
        renamed.replace(graph, old, new);
    }
    Ok(())
}

/// `new` under the type of `old`, whose symbols are bound to the sizes that `new` has.
fn bound(
    graph: &mut Graph,
    region: RegionId,
    (old, new): (ValueId, ValueId),
    sizes: Op,
    symbols: Vec<SymbolId>,
    source: &str,
) -> Result<ValueId, InferError> {
    let sizes = graph.add1(region, sizes, vec![], source)?;
    let bind = Op::BindDims { symbols, mode: BindMode::Raw };
    graph.add(region, bind, vec![sizes], source)?;
    let shape = graph.tensor(old).shape.clone();
    graph.add1(region, Op::Reshape { shape }, vec![new], source)
}
