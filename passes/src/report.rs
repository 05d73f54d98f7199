//! What the pipeline did, as data for `cascata compile --report` and `explain`.

use crate::egraph::runner::{RuleCount, Stop};
use crate::egraph::witness::Checks;
use serde::Serialize;
use std::collections::BTreeMap;

/// One pass of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// The pass.
    pub name: &'static str,
    /// Seconds in the pass itself.
    pub seconds: f64,
    /// Seconds verifying afterwards; 0 when not asked for.
    pub verify_seconds: f64,
    /// Nodes in live regions afterwards.
    pub nodes: usize,
    /// What the pass changed, in its own unit (nodes folded, simplifications, rules used).
    pub changes: usize,
}

/// What the e-graph stages did, added up over rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rewriting {
    /// Slices cut.
    pub slices: usize,
    /// Slices that went through an e-graph; the others were equal to one of these.
    pub distinct: usize,
    /// Distinct slices kept as they were.
    pub kept: usize,
    /// e-nodes over all distinct slices.
    pub enodes: usize,
    /// How many distinct slices ended for which reason.
    pub stops: BTreeMap<Stop, usize>,
    /// What `--verify` compared.
    pub checks: Checks,
    /// Counts by rule.
    pub rules: BTreeMap<&'static str, RuleCount>,
    /// Estimated nanoseconds at the profile points before the first round.
    pub cost_before: f64,
    /// The same after the last round.
    pub cost_after: f64,
}

/// The report of one run of the pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Passes in order.
    pub phases: Vec<Phase>,
    /// The e-graph stages.
    pub rewriting: Rewriting,
    /// Rules that led to a value, by the value's name.
    pub provenance: BTreeMap<String, Vec<&'static str>>,
}
