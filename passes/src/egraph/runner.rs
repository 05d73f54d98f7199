//! Saturation of one slice: search all rules, apply, rebuild, until nothing changes or
//! a limit is met.
//!
//! The order (rules as listed, classes by id) is fixed and limits count iterations and
//! nodes, so that two compiles of one model agree. A match is applied once.

use super::facts::{EGraph, same_but_ones};
use super::language::Origin;
use super::pattern::{Match, Pattern};
use super::site::Site;
use crate::rules::{CompiledRule, Rhs};
use egg::Id;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

/// When to stop.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// Rounds of search and apply.
    pub iterations: usize,
    /// e-nodes per node of the slice.
    pub growth: usize,
    /// Fail-safe only: results may then depend on the machine, and the report says so.
    pub seconds: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { iterations: 12, growth: 40, seconds: 10.0 }
    }
}

/// Why a slice's saturation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// No rule changes anything any more.
    Saturated,
    /// The iteration limit.
    Iterations,
    /// The e-node limit.
    Nodes,
    /// The wall clock, a fail-safe.
    Time,
}

/// Counts of one rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RuleCount {
    /// Matches that were new.
    pub matched: usize,
    /// Matches that changed the e-graph.
    pub fired: usize,
    /// Values of the result that the rule led to.
    pub used: usize,
    /// Time spent searching and applying.
    pub seconds: f64,
}

/// One application of a rule that changed the e-graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// The rule.
    pub rule: &'static str,
    /// Applications that made the nodes which it matched.
    pub premises: Vec<Origin>,
    /// The matched class.
    pub root: Id,
    /// The right side was there already: only classes were united.
    pub adopts: bool,
}

/// What happened to one slice.
#[derive(Debug)]
pub struct Outcome {
    /// Why it ended.
    pub stop: Stop,
    /// Counts by rule name.
    pub counts: BTreeMap<&'static str, RuleCount>,
    /// Applications; origin `n` is entry `n − 1`.
    pub log: Vec<Application>,
}

/// Runs the rules to saturation or a limit.
pub fn run(egraph: &mut EGraph, rules: &[CompiledRule], limits: &Limits) -> Outcome {
    let start = Instant::now();
    let max_nodes = limits.growth * egraph.total_number_of_nodes() + 200;
    let mut outcome = Outcome { stop: Stop::Iterations, counts: BTreeMap::new(), log: vec![] };
    let mut seen = HashSet::new();
    egraph.rebuild();
    for _ in 0..limits.iterations {
        let hits = search(egraph, rules, &mut seen, &mut outcome);
        let mut changed = false;
        for (rule, spelling, hit) in hits {
            if egraph.total_size() > max_nodes {
                outcome.stop = Stop::Nodes;
                break;
            }
            changed |= apply_counted(egraph, &rules[rule], spelling, &hit, &mut outcome);
        }
        egraph.rebuild();
        match () {
            _ if outcome.stop == Stop::Nodes => break,
            _ if !changed => outcome.stop = Stop::Saturated,
            _ if start.elapsed().as_secs_f64() > limits.seconds => outcome.stop = Stop::Time,
            _ => continue,
        }
        break;
    }
    outcome
}

type Hit = (usize, usize, Match);

fn search(
    egraph: &EGraph,
    rules: &[CompiledRule],
    seen: &mut HashSet<Hit>,
    outcome: &mut Outcome,
) -> Vec<Hit> {
    let mut hits = vec![];
    for (r, rule) in rules.iter().enumerate() {
        let start = Instant::now();
        let count = outcome.counts.entry(rule.rule.name).or_default();
        for (s, pattern) in rule.lhs.iter().enumerate() {
            for hit in pattern.search(egraph) {
                // Constants are folded by evaluation, where every order of rounding is the model's own.
                if egraph[hit.root].data.constant {
                    continue;
                }
                let key = (r, s, Match { premises: vec![], ..hit.clone() });
                if seen.insert(key) {
                    count.matched += 1;
                    hits.push((r, s, hit));
                }
            }
        }
        count.seconds += start.elapsed().as_secs_f64();
    }
    hits
}

fn apply_counted(
    egraph: &mut EGraph,
    rule: &CompiledRule,
    spelling: usize,
    hit: &Match,
    outcome: &mut Outcome,
) -> bool {
    let start = Instant::now();
    let origin = outcome.log.len() as Origin + 1;
    let nodes = egraph.nodes().len();
    let united = apply(egraph, rule, &rule.lhs[spelling], hit, origin).unwrap_or(false);
    let added = egraph.nodes().len() > nodes;
    let count = outcome.counts.entry(rule.rule.name).or_default();
    count.seconds += start.elapsed().as_secs_f64();
    count.fired += united as usize;
    // Nodes of a right side that was given up half-way carry this origin as well.
    if united || added {
        let (rule, premises, root) = (rule.rule.name, hit.premises.clone(), hit.root);
        outcome.log.push(Application { rule, premises, root, adopts: united && !added });
    }
    united
}

/// Applies a rule at a match: `Some(whether classes were united)` when the right side
/// was built, `None` when a guard or the types forbid it.
fn apply(
    egraph: &mut EGraph,
    rule: &CompiledRule,
    pattern: &Pattern,
    hit: &Match,
    origin: Origin,
) -> Option<bool> {
    let built = right_side(egraph, rule, pattern, hit, origin, None)?;
    if rule.rule.subsumes {
        egraph.analysis.subsumed.extend(hit.node.clone());
    }
    Some(egraph.union(hit.root, built))
}

/// Builds a rule's right side at a match, with the type of the left; `None` when a guard
/// (other than `without`) or the types forbid it.
pub fn right_side(
    egraph: &mut EGraph,
    rule: &CompiledRule,
    pattern: &Pattern,
    hit: &Match,
    origin: Origin,
    without: Option<&str>,
) -> Option<Id> {
    let mut site = Site::new(egraph, hit, pattern, origin);
    let guards = rule.rule.sound_when.iter().chain(rule.rule.worth_when);
    if !guards.into_iter().all(|g| without == Some(g.name) || (g.holds)(&site)) {
        return None;
    }
    let root = site.root();
    let built = match (&rule.rhs, rule.rule.rhs) {
        (Some(pattern), _) => pattern.build(&mut site)?,
        (None, Rhs::Build(f)) => f(&mut site)?,
        (None, Rhs::Text(_)) => return None,
    };
    with_type_of(&mut site, built, root)
}

/// `built` with the type of `root`: where the two differ in dims of 1 only (a rank-raising
/// constant was dropped) by a reshape; `None` where the types differ otherwise.
fn with_type_of(site: &mut Site, built: Id, root: Id) -> Option<Id> {
    let (have, want) = (site.ty(built).clone(), site.ty(root).clone());
    if have == want {
        return Some(built);
    }
    if have.dtype != want.dtype || !same_but_ones(&have.shape, &want.shape) {
        return None;
    }
    site.reshape(built, want.shape)
}

/// Asserts that no two classes disagree, for the pass and its tests.
pub fn conflicts(egraph: &EGraph) -> Option<String> {
    let ill_typed = egraph.classes().find(|c| c.data.types.is_empty());
    ill_typed
        .map(|c| format!("class {} has no type", c.id))
        .or_else(|| egraph.analysis.conflicts.first().cloned())
}
