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
use crate::known::{MAX_DEPTH, computed, constant, stored};
use crate::walk;
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
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
        let mut narrow = Narrow { graph, region, small: HashMap::new(), centred: HashMap::new() };
        for id in std::mem::take(&mut narrow.graph.regions[region].nodes) {
            changed += usize::from(narrow.contraction(id)?);
            narrow.graph.regions[region].nodes.push(id);
        }
    }
    if changed > 0 {
        remove_dead(graph);
    }
    Ok(changed)
}

/// One region.
struct Narrow<'g> {
    graph: &'g mut Graph,
    region: RegionId,
    /// Factors in a narrower type.
    small: HashMap<(ValueId, DType), ValueId>,
    /// Left factors as bytes.
    centred: HashMap<ValueId, Centred>,
}

impl Narrow<'_> {
    /// Narrows the factors of a contraction of i32, if they are narrow.
    fn contraction(&mut self, id: NodeId) -> Result<bool, InferError> {
        let node = &self.graph.nodes[id];
        let graph = &*self.graph;
        let i32s = |v: &ValueId| graph.ty(*v).as_tensor().is_some_and(|t| t.dtype == DType::I32);
        if !matches!(node.op, Op::MatMul | Op::Conv(_)) || !node.inputs[..2].iter().all(i32s) {
            return Ok(false);
        }
        let [left, right] = [node.inputs[0], node.inputs[1]];
        let mut ranges = Ranges::new(graph);
        let known = |v: ValueId| computed(graph, v, MAX_DEPTH).is_some();
        // Of unknown depth, panels cannot be made now; one element or none lies nowhere.
        let depth = graph.tensor(left).shape.last().and_then(Dim::as_const).is_some();
        let some = graph.tensor(right).elements().as_const().is_some_and(|n| n > 1);
        if depth && some && ranges.fits(right, DType::I8) && known(right) {
            if let Some(centred) = self.centred(left, id)? {
                let left = self.subtracted(centred, id)?;
                let right = self.through(right, DType::I8, id)?;
                self.graph.nodes[id].inputs[..2].copy_from_slice(&[left, right]);
                return Ok(true);
            }
            ranges = Ranges::new(self.graph);
        }
        if ![left, right].into_iter().all(|v| ranges.fits(v, DType::I16)) {
            return Ok(false);
        }
        for (slot, factor) in [left, right].into_iter().enumerate() {
            self.graph.nodes[id].inputs[slot] = self.through(factor, DType::I16, id)?;
        }
        Ok(true)
    }

    /// A factor by way of a narrower type, with a cast of its own back to i32, which joins the
    /// contraction's group.
    fn through(
        &mut self,
        factor: ValueId,
        dtype: DType,
        id: NodeId,
    ) -> Result<ValueId, InferError> {
        let small = match self.small.get(&(factor, dtype)) {
            Some(small) => *small,
            None => {
                let small = match constant(self.graph, factor, dtype) {
                    Some(values) => stored(self.graph, self.region, factor, &values),
                    None => self.add(Op::Cast { to: dtype }, &[factor], id)?,
                };
                *self.small.entry((factor, dtype)).or_insert(small)
            }
        };
        self.add(Op::Cast { to: DType::I32 }, &[small], id)
    }

    /// Adds a node that is there because of contraction `id`.
    fn add(&mut self, op: Op, inputs: &[ValueId], id: NodeId) -> Result<ValueId, InferError> {
        let source = self.graph.nodes[id].source.clone();
        self.graph.add1(self.region, op, inputs.to_vec(), source.as_str())
    }
}
