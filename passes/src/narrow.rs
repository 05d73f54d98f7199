//! Factors of contractions by way of narrower types.
//!
//! Each narrowed factor exists once a region, as a constant if it is known; each contraction
//! that reads it has a cast of its own back, which joins its group.

use crate::known::{constant, stored};
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::Op;
use cascata_types::DType;
use std::collections::HashMap;

/// One region.
pub(crate) struct Narrow<'g> {
    pub(crate) graph: &'g mut Graph,
    pub(crate) region: RegionId,
    /// Factors in narrower types.
    small: HashMap<(ValueId, DType), ValueId>,
}

impl<'g> Narrow<'g> {
    pub(crate) fn new(graph: &'g mut Graph, region: RegionId) -> Self {
        Self { graph, region, small: HashMap::new() }
    }

    /// A factor of contraction `id` by way of a narrower type, and back.
    pub(crate) fn through(
        &mut self,
        factor: ValueId,
        dtype: DType,
        id: NodeId,
    ) -> Result<ValueId, InferError> {
        let small = match self.small.get(&(factor, dtype)) {
            Some(small) => *small,
            None => match constant(self.graph, factor, dtype) {
                Some(values) => stored(self.graph, self.region, factor, &values),
                None => self.add(Op::Cast { to: dtype }, &[factor], id)?,
            },
        };
        self.small.insert((factor, dtype), small);
        let wide = self.graph.tensor(factor).dtype;
        self.add(Op::Cast { to: wide }, &[small], id)
    }

    /// Adds a node that is there because of contraction `id`.
    pub(crate) fn add(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        id: NodeId,
    ) -> Result<ValueId, InferError> {
        let source = self.graph.nodes[id].source.clone();
        self.graph.add1(self.region, op, inputs.to_vec(), source.as_str())
    }
}
