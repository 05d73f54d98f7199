//! Attention over the caller's KV cache: a step of the host, which has the cache.

use super::{Builder, Step, sources};
use crate::lower::{LowerError, Lowering, Machine, Operand};
use cascata_artifact::CacheAttentionStep;
use cascata_ir::graph::{Graph, NodeId};
use cascata_ir::op::Op;

/// The step of a node; the positions of its rows are the cache's to know.
pub(super) fn lower(
    lowering: &mut Lowering,
    graph: &Graph,
    node: NodeId,
) -> Result<Step, LowerError> {
    if lowering.machine == Machine::Gpu {
        let reason = "it has no kernel for GPUs yet: compile without --gpu";
        return Err(lowering.unsupported(node, reason.to_string()));
    }
    let operands = &graph.nodes[node].inputs[..3];
    Ok(Step::CacheAttention(node, operands.iter().map(|v| lowering.operand(*v)).collect()))
}

impl Builder<'_> {
    /// The manifest's step; `None` if the node is no such attention.
    pub(super) fn cache_attention(
        &mut self,
        id: NodeId,
        operands: &[Operand],
    ) -> Option<CacheAttentionStep> {
        let node = &self.graph.nodes[id];
        let (Op::CacheAttention(attrs), [q, k, v]) = (&node.op, operands) else { return None };
        // The op's rule has checked that these are counts.
        let count = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
        let size = |operand: usize, axis: usize| {
            count(self.graph.tensor(node.inputs[operand]).shape[axis].as_const().unwrap_or(0))
        };
        Some(CacheAttentionStep {
            layer: count(attrs.layer),
            heads: size(0, 1),
            kv_heads: size(1, 1),
            head_dim: size(0, 2),
            max_positions: count(attrs.max_positions),
            scale: attrs.scale.to_f64() as f32,
            window: attrs.window.map(count),
            soft_cap: attrs.soft_cap.map(|c| c.to_f64() as f32),
            operands: [q, k, v].map(|o| self.buffers.id(*o)),
            result: self.buffers.id(Operand::Value(node.outputs[0])),
            value: self.graph.values[node.outputs[0]].name.clone(),
            source: sources(self.graph, id),
        })
    }
}
