//! Values that only constants go into, however they are spelt.

use crate::fold::known_tensor;
use crate::fuse::{is_map_op, unpacks_constant};
use bytes::Bytes;
use cascata_ir::graph::{Def, Graph, RegionId, ValueId};
use cascata_ir::interp::{Tensor, constant as constant_elements, eval_op};
use cascata_ir::op::Op;
use cascata_types::{DType, TensorType};

/// The longest chain of ops on constants that is computed.
pub(crate) const MAX_DEPTH: usize = 16;

/// The elements of a value that only constants go into, in a narrower type.
pub(crate) fn constant(graph: &Graph, v: ValueId, dtype: DType) -> Option<Tensor> {
    let wide = computed(graph, v, MAX_DEPTH)?;
    eval_op(&Op::Cast { to: dtype }, &[&wide], &|_| None).ok()?.pop()
}

/// Constants through element-wise ops and movement, which the folding budget kept formulas.
fn computed(graph: &Graph, v: ValueId, depth: usize) -> Option<Tensor> {
    if let Some(known) = known_tensor(graph, v) {
        return Some(known);
    }
    let Def::Node(id, _) = graph.values[v].def else { return None };
    let node = &graph.nodes[id];
    if unpacks_constant(graph, id) {
        return constant_elements(graph.as_const(node.inputs[0])?).ok();
    }
    if !is_map_op(&node.op) || node.inputs.is_empty() {
        return None;
    }
    let next = depth.checked_sub(1)?;
    let operands: Vec<Tensor> =
        node.inputs.iter().map(|v| computed(graph, *v, next)).collect::<Option<_>>()?;
    eval_op(&node.op, &operands.iter().collect::<Vec<_>>(), &|_| None).ok()?.pop()
}

/// A constant of the shape of another value.
pub(crate) fn stored(
    graph: &mut Graph,
    region: RegionId,
    like: ValueId,
    values: &Tensor,
) -> ValueId {
    let ty = TensorType { dtype: values.dtype(), ..graph.tensor(like).clone() };
    let name = format!("{}.{}", graph.values[like].name, ty.dtype);
    graph.add_const(region, name, ty, Bytes::from(values.to_le_bytes()))
}

/// Whether a value is computed from constants alone, by at most `depth` ops.
pub(crate) fn is_known(graph: &Graph, v: ValueId, depth: usize) -> bool {
    let Some(node) = graph.def_node(v) else { return false };
    match &node.op {
        Op::Const(_) | Op::Fill { .. } | Op::Iota { .. } => true,
        op if is_map_op(op) && !node.inputs.is_empty() && depth > 0 => {
            node.inputs.iter().all(|v| is_known(graph, *v, depth - 1))
        }
        _ => false,
    }
}
