//! Control flow in the forms that code generation knows: `if` and `loop` over tensors.
//!
//! **Why.** A scan is a loop that picks slices; a growing state is a tensor whose dim
//! changes; a branch that is never taken needs no code. Fewer forms, fewer defects.
//! **Precondition.** Types are recorded. **Postcondition.** The same function, bitwise; no
//! `scan`; no resources, unless the model's inputs hold some. **Cost.** Linear in nodes.

mod branch;
mod scan;
mod state;

use cascata_ir::graph::Graph;
use cascata_ir::infer::InferError;

pub use branch::inline;

/// Scans become loops and states tensors; returns how many nodes were replaced.
///
/// # Errors
/// A new op that breaks its typing rule: a defect of this pass.
pub fn lower(graph: &mut Graph) -> Result<usize, InferError> {
    Ok(scan::to_loops(graph)? + state::to_tensors(graph)?)
}
