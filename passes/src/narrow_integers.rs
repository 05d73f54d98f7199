//! Factors of integer contractions as bytes or i16.
//!
//! **Why.** Quantised operators are imported as products of `cast_i32(x) − zero_point`. One
//! micro-kernel multiplies quads of u8 (less a zero point) and known i8; what 8 bits minus 8
//! bits leave always fits 16 bits, and another multiplies pairs of i16. Both sum in i32
//! exactly: zero points of any kind need no correction of the result.
//! **Precondition.** Types are recorded.
//! **Postcondition.** The same function bitwise. A `MatMul` or `Conv` of i32 whose right factor
//! is known and lies in i8, and whose left one is bytes less a zero point, reads them so (see
//! `narrow_integers/centred.rs`). Another one whose factors both provably lie in i16 reads each
//! through a cast to i16 and one of its own back to i32. A factor that is known becomes a
//! constant, and what computed it is gone.
//! **Cost.** Linear in nodes and constants.

mod centred;
pub(crate) mod range;

use crate::canonicalise::remove_dead;
use crate::known::{MAX_DEPTH, is_known};
use crate::narrow::Narrow;
use crate::walk;
use cascata_ir::graph::{Graph, NodeId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::Op;
use cascata_types::{DType, Dim};
use centred::Centred;
use range::Ranges;
use std::collections::HashMap;

/// Narrows in every region; returns the number of contractions changed.
///
/// # Errors
/// An op that breaks its typing rule: a defect of this pass.
pub fn narrow_integers(graph: &mut Graph) -> Result<usize, InferError> {
    let mut changed = 0;
    for region in walk::regions(graph) {
        let nodes = std::mem::take(&mut graph.regions[region].nodes);
        let mut narrow = Narrow::new(graph, region);
        let mut centred = HashMap::new();
        for id in nodes {
            changed += usize::from(contraction(&mut narrow, &mut centred, id)?);
            narrow.graph.regions[region].nodes.push(id);
        }
    }
    if changed > 0 {
        remove_dead(graph);
    }
    Ok(changed)
}

/// Narrows the factors of a contraction of i32, if they are narrow; `centred` holds the left
/// ones that became bytes.
fn contraction(
    narrow: &mut Narrow<'_>,
    centred: &mut HashMap<ValueId, Centred>,
    id: NodeId,
) -> Result<bool, InferError> {
    let graph = &*narrow.graph;
    let node = &graph.nodes[id];
    let i32s = |v: &ValueId| graph.ty(*v).as_tensor().is_some_and(|t| t.dtype == DType::I32);
    if !matches!(node.op, Op::MatMul | Op::Conv(_)) || !node.inputs[..2].iter().all(i32s) {
        return Ok(false);
    }
    let [left, right] = [node.inputs[0], node.inputs[1]];
    let mut ranges = Ranges::new(graph);
    let words = [left, right].into_iter().all(|v| ranges.fits(v, DType::I16));
    if packs_bytes(graph, &mut ranges, left, right)
        && let Some(centred) = Centred::of(narrow, centred, left, id)?
    {
        let factors = [centred.subtracted(narrow, id)?, narrow.through(right, DType::I8, id)?];
        narrow.graph.nodes[id].inputs[..2].copy_from_slice(&factors);
        return Ok(true);
    }
    if words {
        for (slot, factor) in [left, right].into_iter().enumerate() {
            narrow.graph.nodes[id].inputs[slot] = narrow.through(factor, DType::I16, id)?;
        }
    }
    Ok(words)
}

/// Whether a right factor can be packed as bytes when the model is compiled: of unknown depth
/// there are no panels, and one element or none lies nowhere.
fn packs_bytes(graph: &Graph, ranges: &mut Ranges, left: ValueId, right: ValueId) -> bool {
    let depth = graph.tensor(left).shape.last().and_then(Dim::as_const);
    let elements = graph.tensor(right).elements().as_const();
    depth.is_some()
        && elements.is_some_and(|n| n > 1)
        && ranges.fits(right, DType::I8)
        && is_known(graph, right, MAX_DEPTH)
}
