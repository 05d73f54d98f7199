//! Random valid graphs, interpreter against compiled code (after NNSmith, ASPLOS 2023, and
//! NeuRI, FSE 2023).
//!
//! A graph is grown node by node. Every value carries its *witnesses*: the interpreter's
//! tensor under each binding of the symbols, and two *shadows*, in which every float result
//! so far was moved by a few roundings, up in one and down in the other. A node that the
//! typing rules or the interpreter refuse is not added; nor is one whose result is not
//! finite, or differs too much between the shadows: a comparison, `floor` or argmax on the
//! edge, a cancellation. What is left has one right answer, known to a tolerance.

mod build;
mod contract;
mod diff;
mod edit;
mod elementwise;
mod fresh;
mod generate;
mod indexed;
mod movement;
mod plant;
mod reduce;
mod rng;
mod shrink;
mod soak;
mod witness;
mod wrap;

pub use diff::{Differ, Mismatch, Outcome, tolerance_of};
pub use edit::one_node;
pub use generate::{Binding, Case, generate};
pub use plant::{PLANTS, plant};
pub use rng::Rng;
pub use shrink::{shrink, text_of, write};
pub use soak::{Counts, soak};
pub use wrap::wrap;
