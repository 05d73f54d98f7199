//! Constant folding: nodes whose operands are all known become constants.
//!
//! **Why.** Exported models compute weights (reordered gates, scaled filters) and
//! shapes; none of that should run.
//! **Precondition.** Types are recorded.
//! **Postcondition.** Every pure single-result node on constants and formulas (`Fill`,
//! `Iota`) is a constant, unless its bytes exceed its operands' by more than the
//! [`Budget`]: big fills, expansions and dequantised weights stay formulas.
//! **Cost.** One evaluation per folded node, by the reference interpreter.

use bytes::Bytes;
use cascata_ir::graph::{Const, Def, Graph, NodeId, ValueId};
use cascata_ir::interp::{self, Tensor, eval_op};
use cascata_ir::op::{Effect, Op};
use cascata_types::{Encoding, Scalar, TensorType};
use serde::Serialize;

/// How much larger than its operands a folded constant may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Bytes beyond those of the operands that are stored.
    pub extra_bytes: i64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { extra_bytes: 64 << 10 }
    }
}

impl Budget {
    /// Whether results of these types may be stored, given the stored operands.
    pub fn allows(&self, stored: &[&TensorType], results: &[&TensorType]) -> bool {
        let sum = |types: &[&TensorType]| types.iter().map(|t| bytes(t)).sum::<Option<i64>>();
        match (sum(stored), sum(results)) {
            (Some(before), Some(after)) => after <= before.saturating_add(self.extra_bytes),
            _ => false,
        }
    }
}

/// The size of a dense tensor whose dims are numbers.
pub fn bytes(ty: &TensorType) -> Option<i64> {
    let mut n = ty.dtype.size_bytes()? as i64;
    for dim in &ty.shape {
        n = n.checked_mul(dim.as_const()?)?;
    }
    Some(n)
}

/// Folds in every region; returns how many nodes became constants.
pub fn fold(graph: &mut Graph, budget: Budget) -> usize {
    let order: Vec<NodeId> =
        crate::walk::regions(graph).iter().flat_map(|r| graph.regions[*r].nodes.clone()).collect();
    order.into_iter().filter(|&n| fold_node(graph, n, budget)).count()
}

fn fold_node(graph: &mut Graph, id: NodeId, budget: Budget) -> bool {
    let node = &graph.nodes[id];
    let formula =
        matches!(node.op, Op::Const(_) | Op::Fill { .. } | Op::Iota { .. } | Op::Pack { .. });
    if formula || node.op.effect() != Effect::Pure || node.outputs.len() != 1 {
        return false;
    }
    let Some(result) = graph.ty(node.outputs[0]).as_tensor().cloned() else { return false };
    let Some(stored) = stored_operands(graph, &node.inputs) else { return false };
    if !budget.allows(&stored, &[&result]) {
        return false;
    }
    let Some(tensor) = evaluate(graph, id) else { return false };
    become_constant(graph, id, result, &tensor)
}

/// Types of the operands that are stored; `None` if one is not known.
fn stored_operands<'a>(graph: &'a Graph, inputs: &[ValueId]) -> Option<Vec<&'a TensorType>> {
    let mut stored = vec![];
    for &v in inputs {
        match graph.def_node(v)?.op {
            Op::Const(_) => stored.push(graph.tensor(v)),
            Op::Fill { .. } | Op::Iota { .. } => {}
            _ => return None,
        }
    }
    Some(stored)
}

fn evaluate(graph: &Graph, id: NodeId) -> Option<Tensor> {
    let node = &graph.nodes[id];
    let operands: Vec<Tensor> =
        node.inputs.iter().map(|&v| known_tensor(graph, v)).collect::<Option<_>>()?;
    let refs: Vec<&Tensor> = operands.iter().collect();
    eval_op(&node.op, &refs, &|_| None).ok()?.pop()
}

/// The contents of a constant, a `Fill` or an `Iota`.
pub fn known_tensor(graph: &Graph, value: ValueId) -> Option<Tensor> {
    let Def::Node(id, _) = graph.values[value].def else { return None };
    match &graph.nodes[id].op {
        Op::Const(c) => constant_tensor(&graph.consts[*c]),
        op @ (Op::Fill { .. } | Op::Iota { .. }) => eval_op(op, &[], &|_| None).ok()?.pop(),
        _ => None,
    }
}

fn constant_tensor(constant: &Const) -> Option<Tensor> {
    let dense = constant.ty.encoding == Encoding::Dense;
    if dense { interp::constant(constant).ok() } else { None }
}

fn become_constant(graph: &mut Graph, id: NodeId, ty: TensorType, tensor: &Tensor) -> bool {
    let data = tensor.to_le_bytes();
    let value = graph.nodes[id].outputs[0];
    let op = match uniform(&ty, &data) {
        Some(value) => Op::Fill { value, shape: ty.shape },
        None => {
            let name = graph.values[value].name.clone();
            Op::Const(graph.consts.push(Const { name, ty, data: Bytes::from(data) }))
        }
    };
    graph.nodes[id].op = op;
    graph.nodes[id].inputs.clear();
    true
}

/// The element, if all elements of a dense constant are the same.
pub fn uniform(ty: &TensorType, data: &[u8]) -> Option<Scalar> {
    let size = ty.dtype.size_bytes()?;
    let first = data.get(..size)?;
    if !data.chunks_exact(size).all(|e| e == first) {
        return None;
    }
    let mut word = [0u8; 8];
    word[..size].copy_from_slice(first);
    Some(Scalar { dtype: ty.dtype, bits: u64::from_le_bytes(word) })
}
