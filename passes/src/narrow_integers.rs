//! Factors of integer contractions as i16.
//!
//! **Why.** Quantised operators are imported as products of `cast_i32(x) − zero_point`. What
//! 8 bits minus 8 bits leave fits 16 bits, and a micro-kernel multiplies pairs of i16 and
//! sums them in i32 exactly: zero points of any kind need no correction of the result.
//! **Precondition.** Types are recorded.
//! **Postcondition.** The same function bitwise. A `MatMul` or `Conv` of i32 whose factors
//! both provably lie in i16 reads each through a cast to i16 and one of its own back to i32;
//! a factor that is known becomes an i16 constant, and what computed it is gone.
//! **Cost.** Linear in nodes and constants.

pub(crate) mod range;

use crate::canonicalise::remove_dead;
use crate::fold::known_tensor;
use crate::fuse::is_map_op;
use crate::walk;
use bytes::Bytes;
use cascata_ir::graph::{Def, Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::interp::{Tensor, eval_op};
use cascata_ir::op::Op;
use cascata_types::{DType, TensorType};
use range::Ranges;
use std::collections::HashMap;

/// The longest chain of ops on constants that is computed.
const MAX_DEPTH: usize = 16;

/// Narrows in every region; returns the number of contractions changed.
///
/// # Errors
/// An op that breaks its typing rule: a defect of this pass.
pub fn narrow_integers(graph: &mut Graph) -> Result<usize, InferError> {
    let mut changed = 0;
    for region in walk::regions(graph) {
        let mut narrowed = HashMap::new();
        for id in std::mem::take(&mut graph.regions[region].nodes) {
            if multiplies_i16(graph, id) {
                for slot in 0..2 {
                    narrow(graph, region, (id, slot), &mut narrowed)?;
                }
                changed += 1;
            }
            graph.regions[region].nodes.push(id);
        }
    }
    if changed > 0 {
        remove_dead(graph);
    }
    Ok(changed)
}

/// Whether a node is a contraction of i32 with both factors in i16.
fn multiplies_i16(graph: &Graph, id: NodeId) -> bool {
    let node = &graph.nodes[id];
    let i32s = |v: &ValueId| graph.ty(*v).as_tensor().is_some_and(|t| t.dtype == DType::I32);
    let mut ranges = Ranges::new(graph);
    matches!(node.op, Op::MatMul | Op::Conv(_))
        && node.inputs[..2].iter().all(i32s)
        && node.inputs[..2].iter().all(|v| ranges.fits(*v, DType::I16))
}

/// Has a contraction read a factor through i16; `narrowed` holds the factors that are there.
fn narrow(
    graph: &mut Graph,
    region: RegionId,
    (id, slot): (NodeId, usize),
    narrowed: &mut HashMap<ValueId, ValueId>,
) -> Result<(), InferError> {
    let (factor, source) = (graph.nodes[id].inputs[slot], graph.nodes[id].source.clone());
    let small = match narrowed.get(&factor) {
        Some(small) => *small,
        None => {
            let small = match constant(graph, factor) {
                Some(values) => stored(graph, region, factor, &values),
                None => graph.add1(
                    region,
                    Op::Cast { to: DType::I16 },
                    vec![factor],
                    source.as_str(),
                )?,
            };
            *narrowed.entry(factor).or_insert(small)
        }
    };
    // A cast of its own, which joins the contraction's group.
    let wide = graph.add1(region, Op::Cast { to: DType::I32 }, vec![small], source.as_str())?;
    graph.nodes[id].inputs[slot] = wide;
    Ok(())
}

/// The i16 elements of a value that only constants go into.
fn constant(graph: &Graph, v: ValueId) -> Option<Tensor> {
    let wide = computed(graph, v, MAX_DEPTH)?;
    eval_op(&Op::Cast { to: DType::I16 }, &[&wide], &|_| None).ok()?.pop()
}

/// Constants through element-wise ops and movement, which the folding budget kept formulas.
fn computed(graph: &Graph, v: ValueId, depth: usize) -> Option<Tensor> {
    if let Some(known) = known_tensor(graph, v) {
        return Some(known);
    }
    let Def::Node(id, _) = graph.values[v].def else { return None };
    let node = &graph.nodes[id];
    if !is_map_op(&node.op) || node.inputs.is_empty() {
        return None;
    }
    let next = depth.checked_sub(1)?;
    let operands: Vec<Tensor> =
        node.inputs.iter().map(|v| computed(graph, *v, next)).collect::<Option<_>>()?;
    eval_op(&node.op, &operands.iter().collect::<Vec<_>>(), &|_| None).ok()?.pop()
}

fn stored(graph: &mut Graph, region: RegionId, like: ValueId, values: &Tensor) -> ValueId {
    let ty = TensorType { dtype: DType::I16, ..graph.tensor(like).clone() };
    let name = format!("{}.i16", graph.values[like].name);
    graph.add_const(region, name, ty, Bytes::from(values.to_le_bytes()))
}
