//! Proof that the entries of a batch do not see each other.
//!
//! Why: a model that mixes entries of one batch (by intent or by accident: a reduction over
//! axis 0, one quantisation scale for the whole tensor) hands one client's data to another
//! (Architectural Backdoors for Within-Batch Data Stealing, arXiv 2505.18323). The analysis
//! is an abstract interpretation of the graph: every value is *shared* (no entry's data is in
//! it), has its *entries* along one axis ([`Entries`]: element `(o·B + b)·inner + i` of the axis
//! holds data of entry `b` only), or is *mixed*. A graph is isolated when no output is mixed.
//!
//! Sound first: an op, pattern or size that is not understood mixes, and the report says so
//! ([`LeakKind::Unproven`]). The statement is about values, for every binding of the symbols;
//! it does not speak of time, of a run that fails because of one entry, or of the number of
//! entries, which every entry may know.
//!
//! Cost: one walk over the graph, a few more over the bodies of loops.

mod batch;
mod contract;
mod control;
mod index;
mod movement;
mod number;
mod report;
mod reshape;
mod rows;
mod state;
mod transfer;
mod walk;

pub use batch::{Batch, BatchError, Select};
pub use report::{Leak, LeakKind, OutputReport, Place, Report, Verdict};
pub use state::Entries;

use cascata_ir::graph::Graph;

/// Proves what can be proven about every output of a verified graph.
pub fn check(graph: &Graph, batch: &Batch) -> Report {
    let mut walk = walk::Walk::new(graph, batch);
    walk.inputs();
    walk.region(Graph::ROOT);
    report::report(&walk)
}
