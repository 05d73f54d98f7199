//! Half floats through `f32` where an op sums or calls functions inside, and attention of
//! `f64` in parts.
//!
//! **Why.** A half float has 8 or 11 bits: sums of products, softmax and norms must be
//! computed wider and rounded once, and the micro-kernels are `f32`.
//! **Precondition.** Types are recorded.
//! **Postcondition.** No op that computes with more than one rounding inside has half
//! operands: casts stand around it, which fuse into its kernel.
//! **Cost.** Linear; a weight that is cast is folded or packed as `f32`.

use crate::walk::rewrite;
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{Op, PoolKind};
use cascata_types::{DType, ValueType};

mod attention;

/// Widens in every region; returns the number of ops that were widened.
///
/// # Errors
/// When a shape no longer infers after an op was replaced, which would be a defect here.
pub fn widen(graph: &mut Graph) -> Result<usize, InferError> {
    rewrite(graph, |graph, region, node, renamed| {
        let new = match &graph.nodes[node].op {
            Op::Attention(attrs) if is_double(graph, node) => {
                let (attrs, old) = (attrs.clone(), graph.nodes[node].clone());
                attention::written_out(graph, region, &attrs, &old.inputs, &old.source)
                    .map(|y| vec![y])
            }
            op if computes_inside(op) && has_half(graph, node) => wide(graph, region, node),
            _ => None,
        };
        let Some(new) = new else { return Ok(false) };
        for (old, new) in graph.nodes[node].outputs.clone().into_iter().zip(new) {
            renamed.replace(graph, old, new);
        }
        Ok(true)
    })
}

/// Whether an op has intermediate results of its own.
fn computes_inside(op: &Op) -> bool {
    match op {
        Op::Pool(attrs) => !matches!(attrs.kind, PoolKind::Max { .. }),
        Op::MatMul
        | Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Softmax { .. }
        | Op::LayerNorm { .. }
        | Op::RmsNorm { .. }
        | Op::Attention(_)
        | Op::Lrn(_)
        | Op::Lstm(_)
        | Op::Gru(_)
        | Op::Rnn(_)
        | Op::CumSum { .. } => true,
        _ => false,
    }
}

fn is_half(graph: &Graph, value: ValueId) -> bool {
    let ty = graph.ty(value).as_tensor();
    ty.is_some_and(|t| matches!(t.dtype, DType::F16 | DType::BF16))
}

fn is_double(graph: &Graph, node: NodeId) -> bool {
    let ty = graph.ty(graph.nodes[node].outputs[0]).as_tensor();
    ty.is_some_and(|t| t.dtype == DType::F64)
}

fn has_half(graph: &Graph, node: NodeId) -> bool {
    graph.nodes[node].inputs.iter().any(|v| is_half(graph, *v))
}

/// The op in `f32` between casts, appended to the region; its results in the old dtypes.
/// `None` (and only unused casts) where the op is not defined that way.
fn wide(graph: &mut Graph, region: RegionId, node: NodeId) -> Option<Vec<ValueId>> {
    let old = graph.nodes[node].clone();
    let source = old.source.as_str();
    let mut inputs = Vec::with_capacity(old.inputs.len());
    for v in old.inputs {
        inputs.push(match is_half(graph, v) {
            true => graph.add1(region, Op::Cast { to: DType::F32 }, vec![v], source).ok()?,
            false => v,
        });
    }
    let results = graph.add(region, old.op, inputs, source).ok()?;
    let mut out = Vec::with_capacity(results.len());
    for (v, before) in results.iter().zip(&old.outputs) {
        let to = match graph.ty(*before) {
            ValueType::Tensor(t) => t.dtype,
            _ => return None,
        };
        let result = match graph.tensor(*v).dtype == to {
            true => *v,
            false => graph.add1(region, Op::Cast { to }, vec![*v], source).ok()?,
        };
        out.push(result);
    }
    Some(out)
}
