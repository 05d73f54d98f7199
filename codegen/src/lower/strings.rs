//! Strings in kernels: 8-byte ids, which are moved and compared like any integers.

use super::{LowerError, Lowering};
use cascata_ir::graph::{Graph, NodeId, ValueId};
use cascata_ir::op::{BinaryOp, Op};
use cascata_types::DType;

/// What a kernel sees of elements of a dtype.
pub(super) fn stored(dtype: DType) -> DType {
    if dtype == DType::Str { DType::I64 } else { dtype }
}

/// Whether an op does nothing with elements but move them and compare them for equality.
fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Const(_)
            | Op::Binary(BinaryOp::Eq | BinaryOp::Ne)
            | Op::Select
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Broadcast { .. }
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Gather { .. }
            | Op::GatherElements { .. }
            | Op::GatherNd { .. }
            | Op::ScatterElements { .. }
            | Op::ScatterNd { .. }
    )
}

fn is_text(graph: &Graph, v: ValueId) -> bool {
    graph.ty(v).as_tensor().is_some_and(|t| t.dtype == DType::Str)
}

impl Lowering<'_> {
    /// Refuses a node, or a node of a group, that does more with strings than move them.
    pub(super) fn strings_are_moved(&self, node: NodeId) -> Result<(), LowerError> {
        let data = &self.graph.nodes[node];
        let members = data.op.regions().into_iter().flat_map(|r| &self.graph.regions[r].nodes);
        let alone = data.op.regions().is_empty().then_some(&node);
        for id in members.chain(alone) {
            let member = &self.graph.nodes[*id];
            let text = member.inputs.iter().chain(&member.outputs).any(|v| is_text(self.graph, *v));
            if text && !moves(&member.op) {
                let reason = "strings are moved and compared, not computed with";
                return Err(self.unsupported(*id, reason));
            }
        }
        Ok(())
    }
}
