//! What is appended to and read from a state fits the `state_empty` that made it.

use super::Verifier;
use crate::graph::{Def, Node, ValueId};
use crate::op::Op;
use cascata_types::{Dim, TensorType};

/// Versions of a state that are followed back to its origin.
const MAX_STEPS: usize = 1 << 16;

impl<'g> Verifier<'g> {
    pub(super) fn check_state(&mut self, node: &Node) {
        let graph = self.graph;
        let operand = |i: usize| node.inputs.get(i).copied();
        let Some((ty, axis)) = operand(0).and_then(|v| self.origin(v)) else { return };
        let other = match &node.op {
            Op::StateAppend => {
                operand(1).and_then(|v| graph.values.get(v)).and_then(|v| v.ty.as_tensor())
            }
            Op::StateRead { ty, .. } => Some(ty),
            _ => None,
        };
        let Some(other) = other else { return };
        if !fits(ty, other, axis) {
            let (state, got) = (ty.display(&graph.symbols), other.display(&graph.symbols));
            self.report(format!(
                "{got} does not fit the state {state} that grows along axis {axis}"
            ));
        }
        if let Op::StateRead { ty, length } = &node.op
            && ty.shape.get(axis).is_some_and(|d| *d != Dim::sym(*length))
        {
            self.report(format!("the dim at axis {axis} of the result must be the length"));
        }
    }

    /// Type and axis of the `state_empty` behind a resource; `None` for a graph input.
    fn origin(&self, mut v: ValueId) -> Option<(&'g TensorType, usize)> {
        let graph = self.graph;
        for _ in 0..MAX_STEPS {
            v = match graph.values.get(v)?.def {
                Def::Param(region, i) => {
                    let owner = graph.nodes.get(*self.owners.get(&region)?)?;
                    // A loop body's parameters are iteration, cond, carried… for trip, cond, carried….
                    *owner.inputs.get(i as usize)?
                }
                Def::Node(id, i) => {
                    let node = graph.nodes.get(id)?;
                    match &node.op {
                        Op::StateEmpty { ty, axis } => return Some((ty, *axis)),
                        Op::StateAppend => *node.inputs.first()?,
                        Op::Loop { .. } => *node.inputs.get(i as usize + 2)?,
                        Op::Scan(_) => *node.inputs.get(i as usize)?,
                        op => {
                            let region = graph.regions.get(*op.regions().first()?)?;
                            *region.results.get(i as usize)?
                        }
                    }
                }
            };
        }
        None
    }
}

/// Same dtype and rank, dense, and equal dims but for the growing axis.
fn fits(state: &TensorType, other: &TensorType, axis: usize) -> bool {
    let dims = state.shape.iter().zip(&other.shape).enumerate();
    state.dtype == other.dtype
        && state.encoding == other.encoding
        && state.rank() == other.rank()
        && dims.into_iter().all(|(i, (a, b))| i == axis || a == b)
}
