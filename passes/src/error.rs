//! Why a pass fails. Every case is a bug in Cascata, not in the model: passes accept
//! every verified graph.

use crate::egraph::optimise::Conflict;
use crate::egraph::pattern::PatternError;

/// A pass failed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The rule table holds a text that is no pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A rewrite rule is unsound.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// `--verify` found that rewriting changed what a slice computes.
    #[error(
        "rewriting changed what is computed for {values}: {what}; rules that fired: {rules}; find the wrong one with `--without RULE`"
    )]
    Extraction {
        /// Names of the slice's results.
        values: String,
        /// Rules that fired in it.
        rules: String,
        /// How the results differ.
        what: String,
    },
    /// A pass built an op that breaks its typing rule.
    #[error(transparent)]
    Infer(#[from] cascata_ir::infer::InferError),
    /// The graph does not verify after a pass.
    #[error("the graph does not verify after pass '{pass}': {errors}; bisect with `--dump-after`")]
    Verify {
        /// The pass.
        pass: &'static str,
        /// All errors, one a line.
        errors: String,
    },
}
