//! The e-graph stage: equality saturation, one slice of a region at a time.
//!
//! **Why.** Rules interact: a transpose can only cancel after it was moved, a scale only
//! fold after the chain around it was recognised. Saturation tries all orders and the
//! cost model picks.
//! **Precondition.** A verified graph; best after `canonicalise`.
//! **Postcondition.** The same function up to the exactness class of the rules that
//! were allowed; graph outputs and the names of values that survive are kept; no node
//! that binds symbols, has effects or owns regions was touched.
//! **Cost.** Linear in the number of *different* slices; equal ones are stamped out.

use crate::error::PassError;
use crate::fold::Budget;
use crate::rules::{CompiledRule, Exactness, Rule};
use crate::walk::{self, Users};
use cascata_ir::graph::{Def, Graph, NodeId, RegionId, ValueId};
use cascata_ir::op::Op;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

mod constants;
pub mod cost;
pub mod extract;
pub mod facts;
pub mod language;
pub mod optimise;
pub mod partition;
pub mod pattern;
pub mod runner;
pub mod site;
pub mod slice;
pub mod witness;

use cost::{CostModel, Machine, ProfilePoint};
use optimise::{Optimised, Setting};
use runner::{Limits, RuleCount, Stop};
use slice::{FactCache, Place, Ref, Slice};
use witness::{Checks, Witness};

/// Options of the e-graph stage.
#[derive(Clone, Debug)]
pub struct EGraphOptions {
    /// Only rules of this class or better take part.
    pub exactness: Exactness,
    /// Limits per slice.
    pub limits: Limits,
    /// Slice sizes.
    pub sizes: partition::Sizes,
    /// Values of symbols for the cost model.
    pub profile: Vec<ProfilePoint>,
    /// What the cost model takes the machine for.
    pub machine: Machine,
    /// What the fold pass may materialise.
    pub budget: Budget,
    /// Rules to leave out, for ablation.
    pub without: Vec<String>,
}

impl Default for EGraphOptions {
    fn default() -> Self {
        Self {
            exactness: Exactness::Approx(1e-3),
            limits: Limits::default(),
            sizes: partition::Sizes::default(),
            profile: vec![],
            machine: Machine::default(),
            budget: Budget::default(),
            without: vec![],
        }
    }
}

/// What the e-graph stage did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EGraphReport {
    /// Slices cut.
    pub slices: usize,
    /// Slices that went through an e-graph; the others were equal to one of these.
    pub distinct: usize,
    /// Slices kept as they were because extraction found nothing better.
    pub kept: usize,
    /// e-nodes over all distinct slices.
    pub enodes: usize,
    /// How many distinct slices ended for which reason.
    pub stops: BTreeMap<Stop, usize>,
    /// Counts by rule, `used` over all slices.
    pub rules: BTreeMap<&'static str, RuleCount>,
    /// Estimated nanoseconds at the profile points.
    pub cost_before: f64,
    /// The same afterwards.
    pub cost_after: f64,
    /// What was compared in the interpreter.
    pub checks: Checks,
    /// Rules that led to a value, by its name.
    pub provenance: BTreeMap<String, Vec<&'static str>>,
}

/// Rewrites every region of the graph. `round` moves the slices' borders, so that a
/// second round sees what the first one cut apart. `verify` compares every distinct slice
/// with what it becomes ([`witness`]).
///
/// # Errors
/// A rule united values that differ, or a comparison failed (a bug in the rule set).
pub fn run(
    graph: &mut Graph,
    rules: &'static [&'static [Rule]],
    options: &EGraphOptions,
    round: u64,
    verify: bool,
) -> Result<EGraphReport, PassError> {
    let chosen =
        rules.iter().copied().flatten().filter(|r| {
            r.class <= options.exactness && !options.without.iter().any(|w| w == r.name)
        });
    let rules = chosen.map(CompiledRule::new).collect::<Result<Vec<_>, _>>()?;
    let symbols = graph.symbols.clone();
    let setting = Setting {
        rules: &rules,
        limits: options.limits,
        model: CostModel::new(&symbols, &options.profile, options.machine, options.budget),
        symbols: &symbols,
        checks: graph.root().checks.clone().into(),
    };
    let mut stage = Stage {
        setting,
        memo: HashMap::new(),
        facts: FactCache::default(),
        report: EGraphReport::default(),
        replaced: HashMap::new(),
        sizes: options.sizes,
        round,
        rules_of: HashMap::new(),
        witness: verify.then(Witness::default),
    };
    for (region, checks) in walk::checked_regions(graph) {
        // What a slice became may rest on the checks that held where it was met.
        if *stage.setting.checks != checks {
            stage.memo.clear();
            stage.setting.checks = checks.into();
        }
        stage.region(graph, region)?;
    }
    walk::substitute(graph, &|v| stage.resolve(v));
    stage.report.checks = stage.witness.map(|w| w.checks).unwrap_or_default();
    Ok(stage.report)
}

struct Stage<'a> {
    setting: Setting<'a>,
    memo: HashMap<Slice, Rc<Optimised>>,
    facts: FactCache,
    report: EGraphReport,
    replaced: HashMap<ValueId, ValueId>,
    sizes: partition::Sizes,
    round: u64,
    rules_of: HashMap<ValueId, Vec<&'static str>>,
    witness: Option<Witness>,
}

/// A region in pieces.
enum Piece {
    Boundary(NodeId),
    Slice(Slice, Place),
}

/// What cutting a region needs to know.
struct Cut<'a> {
    graph: &'a Graph,
    users: &'a Users,
    /// Nodes that depend on constants only.
    constant: &'a HashSet<NodeId>,
}

impl Cut<'_> {
    /// The nodes and before them the constant nodes (other than `Const`) that they read.
    fn with_constants(&self, nodes: &[NodeId]) -> Vec<NodeId> {
        let mut out = vec![];
        let mut seen = HashSet::new();
        for &n in nodes {
            self.add_constants(n, &mut seen, &mut out);
            out.push(n);
        }
        out
    }

    fn add_constants(&self, node: NodeId, seen: &mut HashSet<NodeId>, out: &mut Vec<NodeId>) {
        for &v in &self.graph.nodes[node].inputs {
            let Def::Node(d, _) = self.graph.values[v].def else { continue };
            let is_const = matches!(self.graph.nodes[d].op, Op::Const(_));
            if self.constant.contains(&d) && !is_const && seen.insert(d) {
                self.add_constants(d, seen, out);
                out.push(d);
            }
        }
    }
}

impl Stage<'_> {
    fn region(&mut self, graph: &mut Graph, region: RegionId) -> Result<(), PassError> {
        let pieces = self.pieces(graph, region);
        graph.regions[region].nodes.clear();
        for piece in pieces {
            match piece {
                Piece::Boundary(node) => graph.regions[region].nodes.push(node),
                Piece::Slice(slice, place) => {
                    let new = self.optimised(graph, slice, &place)?;
                    self.stamp(graph, region, &new, &place);
                }
            }
        }
        Ok(())
    }

    /// Constants and what is computed from them alone come first, as everyone's leaves;
    /// then boundaries and slices in order. Each slice gets copies of the constant nodes
    /// that it reads, so that its rules see them; what is not needed is dead afterwards.
    fn pieces(&mut self, graph: &Graph, region: RegionId) -> Vec<Piece> {
        let users = walk::users(graph);
        let mut constant: HashSet<NodeId> = HashSet::new();
        let mut out = vec![];
        let mut rest = vec![];
        for &n in &graph.regions[region].nodes {
            let known = |v: &ValueId| match graph.values[*v].def {
                Def::Node(d, _) => constant.contains(&d),
                Def::Param(..) => false,
            };
            let node = &graph.nodes[n];
            let is_const = matches!(node.op, Op::Const(_));
            // A dim that an op binds is not known before that op.
            let free = is_const || slice::rewritable(graph, n) && !slice::binds_late(graph, n);
            if free && node.inputs.iter().all(known) {
                constant.insert(n);
                out.push(Piece::Boundary(n));
            } else {
                rest.push(n);
            }
        }
        let region = Cut { graph, users: &users, constant: &constant };
        let mut run = vec![];
        for n in rest {
            if slice::rewritable(graph, n) {
                run.push(n);
            } else {
                self.cut_run(&region, &std::mem::take(&mut run), &mut out);
                out.push(Piece::Boundary(n));
            }
        }
        self.cut_run(&region, &run, &mut out);
        out
    }

    fn cut_run(&mut self, region: &Cut, run: &[NodeId], out: &mut Vec<Piece>) {
        if run.is_empty() {
            return;
        }
        let position: HashMap<NodeId, usize> =
            run.iter().enumerate().map(|(i, n)| (*n, i)).collect();
        let last_use = |v: ValueId| {
            let reader = |user: &Option<NodeId>| {
                user.and_then(|n| position.get(&n).copied()).unwrap_or(run.len())
            };
            region.users.get(&v)?.iter().map(reader).max()
        };
        for nodes in partition::partition(region.graph, run, &last_use, self.sizes, self.round) {
            let inside: HashSet<NodeId> = nodes.iter().copied().collect();
            let outside = |v: ValueId| {
                let leaves = |user: &Option<NodeId>| user.is_none_or(|n| !inside.contains(&n));
                let mine =
                    matches!(region.graph.values[v].def, Def::Node(n, _) if inside.contains(&n));
                mine && region.users.get(&v).is_some_and(|u| u.iter().any(leaves))
            };
            let nodes = region.with_constants(&nodes);
            let (slice, place) = slice::cut(region.graph, &nodes, &outside, &mut self.facts);
            out.push(Piece::Slice(slice, place));
        }
    }

    fn optimised(
        &mut self,
        graph: &Graph,
        slice: Slice,
        place: &Place,
    ) -> Result<Rc<Optimised>, PassError> {
        let report = &mut self.report;
        report.slices += 1;
        let known = self.memo.get(&slice).cloned();
        let new = match known {
            Some(new) => new,
            None => {
                let new = Rc::new(optimise::optimise(&slice, &self.setting)?);
                if let Some(witness) = &mut self.witness {
                    witness.compare(graph, (&slice, place), &new, &self.setting)?;
                }
                report.distinct += 1;
                report.enodes += new.enodes;
                report.kept += new.kept_source as usize;
                *report.stops.entry(new.stop).or_default() += 1;
                for (rule, count) in &new.counts {
                    let sum = report.rules.entry(rule).or_default();
                    sum.matched += count.matched;
                    sum.fired += count.fired;
                    sum.seconds += count.seconds;
                }
                self.memo.insert(slice, new.clone());
                new
            }
        };
        for (rule, count) in &new.counts {
            report.rules.entry(rule).or_default().used += count.used;
        }
        report.cost_before += new.cost_before;
        report.cost_after += new.cost_after;
        Ok(new)
    }

    /// Appends an optimised slice to the region in the place of the source slice.
    fn stamp(&mut self, graph: &mut Graph, region: RegionId, new: &Optimised, place: &Place) {
        let mut results: Vec<Vec<ValueId>> = Vec::with_capacity(new.nodes.len());
        let value = |results: &[Vec<ValueId>], r: Ref, me: &Self| match r {
            Ref::Leaf(i) => me.resolve(place.leaves[i as usize]),
            Ref::Node(n, i) => results[n as usize][i as usize],
        };
        for n in &new.nodes {
            let inputs: Vec<ValueId> =
                n.node.inputs.iter().map(|r| value(&results, *r, self)).collect();
            let source = graph.nodes[place.nodes[n.source as usize]].source.clone();
            let types = n.node.types.clone();
            let out = graph.add_node_typed(region, n.node.op.clone(), inputs, types, source);
            for (v, stands_for) in out.iter().zip(&n.stands_for) {
                if let Some(Ref::Node(old, i)) = stands_for {
                    let old = graph.nodes[place.nodes[*old as usize]].outputs[*i as usize];
                    graph.values[*v].name = graph.values[old].name.clone();
                }
                self.note_rules(graph, *v, &n.rules);
            }
            results.push(out);
        }
        for (old, r) in place.outputs.iter().zip(&new.outputs) {
            let new = value(&results, *r, self);
            self.replaced.insert(*old, new);
        }
    }

    /// Records the rules behind a value; those of nameless operands count as its own.
    fn note_rules(&mut self, graph: &Graph, value: ValueId, rules: &[&'static str]) {
        let mut all = vec![];
        let operands = graph.def_node(value).map(|n| n.inputs.clone()).unwrap_or_default();
        let nameless = operands.iter().filter(|v| graph.values[**v].name.is_empty());
        let inherited = nameless.filter_map(|v| self.rules_of.get(v)).flatten();
        for rule in inherited.chain(rules) {
            if !all.contains(rule) {
                all.push(*rule);
            }
        }
        if all.is_empty() {
            return;
        }
        let name = &graph.values[value].name;
        if !name.is_empty() {
            self.report.provenance.insert(name.clone(), all.clone());
        }
        self.rules_of.insert(value, all);
    }

    fn resolve(&self, value: ValueId) -> ValueId {
        self.replaced.get(&value).copied().unwrap_or(value)
    }
}
