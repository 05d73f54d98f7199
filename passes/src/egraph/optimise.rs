//! One slice through the e-graph: build, saturate, extract.

use super::cost::CostModel;
use super::extract::{Extraction, extract};
use super::facts::{EGraph, SliceAnalysis};
use super::language::{ENode, Kind, Origin, SOURCE, op_name};
use super::runner::{self, Application, Limits, RuleCount, Stop};
use super::slice::{Ref, Slice, SliceNode};
use crate::rules::CompiledRule;
use cascata_ir::graph::DimCheck;
use cascata_types::SymbolTable;
use egg::Id;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// What all slices of a graph share.
pub struct Setting<'a> {
    /// The rules.
    pub rules: &'a [CompiledRule],
    /// Limits.
    pub limits: Limits,
    /// Costs.
    pub model: CostModel,
    /// The graph's symbols.
    pub symbols: &'a SymbolTable,
    /// The graph's checks.
    pub checks: Rc<[DimCheck]>,
}

/// One node of an optimised slice.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// The op with operands and types; refs count the new nodes.
    pub node: SliceNode,
    /// Rules that led to it.
    pub rules: Vec<&'static str>,
    /// Per result, the source slice's value of the same meaning, if there is one.
    pub stands_for: Vec<Option<Ref>>,
    /// The source node from which it descends.
    pub source: u32,
}

/// An optimised slice.
#[derive(Clone, Debug)]
pub struct Optimised {
    /// New nodes in execution order.
    pub nodes: Vec<NewNode>,
    /// For each output of the source slice, its new home.
    pub outputs: Vec<Ref>,
    /// Why saturation ended.
    pub stop: Stop,
    /// Counts by rule.
    pub counts: BTreeMap<&'static str, RuleCount>,
    /// e-nodes at the end.
    pub enodes: usize,
    /// Estimated nanoseconds before.
    pub cost_before: f64,
    /// Estimated nanoseconds after.
    pub cost_after: f64,
    /// The greedy choices closed a cycle and the source slice was kept.
    pub kept_source: bool,
}

/// A rule made two classes equal that provably differ in type or constant value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the e-graph united values that differ ({0}): a rewrite rule is unsound; rules fired: {1}")]
pub struct Conflict(pub String, pub String);

/// Optimises one slice.
///
/// # Errors
/// A conflict between facts, which means that a rule is unsound.
pub fn optimise(slice: &Slice, setting: &Setting) -> Result<Optimised, Conflict> {
    let (mut egraph, ids) = build(slice, setting.symbols, setting.checks.clone());
    let roots: Vec<Id> = slice.outputs.iter().map(|r| ids.of(*r)).collect();
    egraph.rebuild();
    let model = &setting.model;
    let cost_before = extract(&egraph, model, &roots).cost(model, &roots);
    let outcome = runner::run(&mut egraph, setting.rules, &setting.limits);
    if let Some(what) = runner::conflicts(&egraph) {
        let rules: BTreeSet<&str> = outcome.log.iter().map(|a| a.rule).collect();
        return Err(Conflict(what, rules.into_iter().collect::<Vec<_>>().join(", ")));
    }
    let extraction = extract(&egraph, model, &roots);
    let cost_after = extraction.cost(model, &roots);
    let emitted = emit(slice, &ids, &extraction, &outcome.log, &roots);
    let mut counts = outcome.counts;
    let (nodes, outputs, kept_source) = match emitted {
        Some((nodes, outputs)) if cost_after <= cost_before => (nodes, outputs, false),
        _ => (source_nodes(slice), slice.outputs.clone(), true),
    };
    for rule in nodes.iter().flat_map(|n| &n.rules) {
        counts.entry(rule).or_default().used += 1;
    }
    let (stop, enodes) = (outcome.stop, egraph.total_number_of_nodes());
    let cost_after = if kept_source { cost_before } else { cost_after };
    Ok(Optimised { nodes, outputs, stop, counts, enodes, cost_before, cost_after, kept_source })
}

/// The chosen nodes under `roots`, operands first, and where each root is; `None` when
/// the choices close a cycle.
pub(crate) fn emit(
    slice: &Slice,
    ids: &SourceIds,
    extraction: &Extraction,
    log: &[Application],
    roots: &[Id],
) -> Option<(Vec<NewNode>, Vec<Ref>)> {
    let mut emit = Emit::new(slice, ids, extraction, log);
    let outputs = roots.iter().map(|r| emit.value(*r, 0)).collect::<Option<_>>()?;
    Some((emit.nodes, outputs))
}

/// Classes of the source slice's values.
pub(crate) struct SourceIds {
    leaves: Vec<Id>,
    /// Per node, per result.
    results: Vec<Vec<Id>>,
}

impl SourceIds {
    pub(crate) fn of(&self, r: Ref) -> Id {
        match r {
            Ref::Leaf(i) => self.leaves[i as usize],
            Ref::Node(n, i) => self.results[n as usize][i as usize],
        }
    }
}

/// The e-graph of a slice as it is.
pub(crate) fn build(
    slice: &Slice,
    symbols: &SymbolTable,
    checks: Rc<[DimCheck]>,
) -> (EGraph, SourceIds) {
    let analysis = SliceAnalysis::new(slice.leaves.clone(), symbols.clone(), checks);
    let mut egraph = EGraph::new(analysis);
    let node = |kind, payload, children| ENode { kind, payload, children, origin: SOURCE };
    let leaves =
        (0..slice.leaves.len()).map(|i| egraph.add(node(Kind::Leaf, i as u32, vec![]))).collect();
    let mut ids = SourceIds { leaves, results: vec![] };
    for n in &slice.nodes {
        let children = n.inputs.iter().map(|r| ids.of(*r)).collect();
        let payload = egraph.analysis.ops.intern(&n.op);
        let whole = egraph.add(node(Kind::Op(op_name(&n.op)), payload, children));
        let results = match n.types.len() {
            1 => vec![whole],
            count => {
                (0..count as u32).map(|i| egraph.add(node(Kind::Project, i, vec![whole]))).collect()
            }
        };
        ids.results.push(results);
    }
    (egraph, ids)
}

fn source_nodes(slice: &Slice) -> Vec<NewNode> {
    let all = slice.nodes.iter().enumerate();
    all.map(|(i, node)| NewNode {
        node: node.clone(),
        rules: vec![],
        stands_for: (0..node.types.len()).map(|r| Some(Ref::Node(i as u32, r as u32))).collect(),
        source: i as u32,
    })
    .collect()
}

/// Turns the chosen e-nodes into nodes, operands first.
struct Emit<'a> {
    egraph: &'a EGraph,
    extraction: &'a Extraction<'a>,
    log: &'a [Application],
    /// Applications that gave a class a meaning which the source had elsewhere.
    adopted: HashMap<Id, Vec<Origin>>,
    /// Source values by class; the first one names the class.
    named: HashMap<Id, Ref>,
    /// Class → new value of result 0, or of the multi-result node itself.
    done: HashMap<Id, Ref>,
    open: BTreeSet<Id>,
    nodes: Vec<NewNode>,
}

impl<'a> Emit<'a> {
    fn new(
        slice: &Slice,
        ids: &SourceIds,
        extraction: &'a Extraction<'a>,
        log: &'a [Application],
    ) -> Self {
        let egraph = extraction.egraph;
        let mut named = HashMap::new();
        for (n, node) in slice.nodes.iter().enumerate() {
            for i in 0..node.types.len() {
                let r = Ref::Node(n as u32, i as u32);
                named.entry(egraph.find(ids.of(r))).or_insert(r);
            }
        }
        let mut adopted: HashMap<Id, Vec<Origin>> = HashMap::new();
        for (i, a) in log.iter().enumerate().filter(|(_, a)| a.adopts) {
            adopted.entry(egraph.find(a.root)).or_default().push(i as Origin + 1);
        }
        let (done, open, nodes) = (HashMap::new(), BTreeSet::new(), vec![]);
        Self { egraph, extraction, log, adopted, named, done, open, nodes }
    }

    /// The new value of a class; `None` when the choices close a cycle.
    fn value(&mut self, id: Id, consumer: u32) -> Option<Ref> {
        let id = self.egraph.find(id);
        if let Some(r) = self.done.get(&id) {
            return Some(*r);
        }
        if !self.open.insert(id) {
            return None;
        }
        let node = self.extraction.node(id)?.clone();
        let source = match self.named.get(&id) {
            Some(Ref::Node(n, _)) => *n,
            _ => consumer,
        };
        let inputs: Vec<Ref> =
            node.children.iter().map(|&c| self.value(c, source)).collect::<Option<_>>()?;
        let r = match node.kind {
            Kind::Leaf => Ref::Leaf(node.payload),
            Kind::Project => match inputs[0] {
                Ref::Node(n, _) => {
                    let name = self.named.get(&id).copied();
                    self.nodes[n as usize].stands_for[node.payload as usize] = name;
                    Ref::Node(n, node.payload)
                }
                leaf => leaf,
            },
            Kind::Op(_) => self.op_node(id, &node, inputs, source),
        };
        self.open.remove(&id);
        self.done.insert(id, r);
        Some(r)
    }

    fn op_node(&mut self, id: Id, node: &ENode, inputs: Vec<Ref>, source: u32) -> Ref {
        let types = self.egraph[id].data.types.to_vec();
        let mut stands_for = vec![None; types.len()];
        if types.len() == 1 {
            stands_for[0] = self.named.get(&id).copied();
        }
        let op = self.egraph.analysis.ops.get(node.payload).clone();
        let rules = self.rules(id, node);
        self.nodes.push(NewNode {
            node: SliceNode { op, inputs, types },
            rules,
            stands_for,
            source,
        });
        Ref::Node(self.nodes.len() as u32 - 1, 0)
    }

    /// Names of the rules whose applications led to a node, in order of application.
    fn rules(&self, id: Id, node: &ENode) -> Vec<&'static str> {
        let mut origins = BTreeSet::new();
        let mut todo = match node.origin {
            SOURCE => self.adopted.get(&id).cloned().unwrap_or_default(),
            origin => vec![origin],
        };
        while let Some(origin) = todo.pop() {
            if origins.insert(origin) {
                todo.extend(&self.log[origin as usize - 1].premises);
            }
        }
        let mut names = vec![];
        for origin in origins {
            let rule = self.log[origin as usize - 1].rule;
            if !names.contains(&rule) {
                names.push(rule);
            }
        }
        names
    }
}
