//! Factors of f32 contractions as bf16, where less precision is asked for.
//!
//! **Why.** Products of bf16 take half the memory traffic and, where CPUs have instructions for
//! them, a half to a sixteenth of the time. Sums stay f32.
//! **Precondition.** Types are recorded; convolutions are channels last.
//! **Postcondition.** A `MatMul`, or a `Conv` that is not depthwise, of f32 reads each factor
//! through a cast to bf16 and one of its own back; a factor that is known becomes a bf16
//! constant. Each factor is rounded once: the result's error is at most `2^-8·Σ|a·b|` beside
//! that of f32. Everything else is as it was.
//! **Cost.** Linear in nodes and constants.

use crate::canonicalise::remove_dead;
use crate::narrow::Narrow;
use crate::walk;
use cascata_ir::graph::{Graph, NodeId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::Op;
use cascata_types::DType;

/// Narrows in every region; returns the number of contractions changed.
///
/// # Errors
/// An op that breaks its typing rule: a defect of this pass.
pub fn narrow_floats(graph: &mut Graph) -> Result<usize, InferError> {
    let mut changed = 0;
    for region in walk::regions(graph) {
        let nodes = std::mem::take(&mut graph.regions[region].nodes);
        let mut narrow = Narrow::new(graph, region);
        for id in nodes {
            if multiplies_floats(narrow.graph, id) {
                for slot in 0..2 {
                    let factor = narrow.graph.nodes[id].inputs[slot];
                    let halves = narrow.through(factor, DType::BF16, id)?;
                    narrow.graph.nodes[id].inputs[slot] = halves;
                }
                changed += 1;
            }
            narrow.graph.regions[region].nodes.push(id);
        }
    }
    if changed > 0 {
        remove_dead(graph);
    }
    Ok(changed)
}

/// Whether a node is a contraction of f32 that a micro-kernel of bf16 computes.
fn multiplies_floats(graph: &Graph, id: NodeId) -> bool {
    let node = &graph.nodes[id];
    let floats = |v: &ValueId| graph.ty(*v).as_tensor().is_some_and(|t| t.dtype == DType::F32);
    let suits = match &node.op {
        Op::MatMul => true,
        // Weights of groups are packed when the model is compiled, or not at all.
        Op::Conv(a) => {
            let w = &graph.tensor(node.inputs[1]).shape;
            let depthwise = a.groups > 1 && w[w.len() - 2].is(1);
            a.groups == 1 || !depthwise && graph.as_const(node.inputs[1]).is_some()
        }
        _ => false,
    };
    suits && node.inputs[..2].iter().all(floats)
}
