//! Extraction: for every class the node whose DAG is cheapest, greedily.
//!
//! A class's cost is the sum over the *set* of classes that its choice needs, so that
//! shared work counts once (after extraction-gym's greedy DAG extractor). Choices that
//! need their own class are skipped; should later choices close a cycle after all, the
//! caller keeps the source slice. What greed cannot see, sharing between consumers that
//! were costed one by one, is repaired by a local search (`refine`).

mod refine;

use super::cost::{CostModel, TIE};
use super::facts::EGraph;
use super::language::{ENode, Kind};
use cascata_ir::op::{Effect, Op};
use cascata_types::TensorType;
use egg::{Id, Language};
use std::collections::{HashMap, HashSet};

/// What a class's value is made of when its choice is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Computed when running.
    No,
    /// A formula without data (`Fill`, `Iota`).
    Virtual,
    /// Bytes that exist when running starts.
    Data,
}

#[derive(Clone, Debug)]
struct Choice {
    node: usize,
    total: f64,
    /// `(class, own cost)` of everything needed, sorted.
    needs: Vec<(usize, f64)>,
    known: Known,
}

/// The chosen node of every class that has one.
pub struct Extraction<'a> {
    /// The e-graph.
    pub egraph: &'a EGraph,
    choices: HashMap<Id, Choice>,
    /// Nodes that are not to be chosen.
    subsumed: HashSet<ENode>,
}

/// Chooses a node for every class, such that the DAG under `roots` is cheap.
pub fn extract<'a>(egraph: &'a EGraph, model: &CostModel, roots: &[Id]) -> Extraction<'a> {
    let mut ids: Vec<Id> = egraph.classes().map(|c| c.id).collect();
    ids.sort_unstable();
    let canonical = |n: &ENode| n.clone().map_children(|c| egraph.find(c));
    let subsumed = egraph.analysis.subsumed.iter().map(canonical).collect();
    let mut work = Extraction { egraph, choices: HashMap::with_capacity(ids.len()), subsumed };
    // Each round settles at least one more level; the bound is never met in practice.
    for _ in 0..ids.len() + 1 {
        let mut changed = false;
        for &id in &ids {
            changed |= work.improve(model, id);
        }
        if !changed {
            break;
        }
    }
    refine::refine(&mut work, model, roots);
    work
}

impl Extraction<'_> {
    /// The chosen node of a class.
    pub fn node(&self, id: Id) -> Option<&ENode> {
        let id = self.egraph.find(id);
        self.choices.get(&id).map(|c| &self.egraph[id].nodes[c.node])
    }

    /// The cost of the DAG under these roots; infinite when the choices close a cycle.
    pub fn cost(&self, model: &CostModel, roots: &[Id]) -> f64 {
        refine::Dag::new(self, model).cost(roots).unwrap_or(f64::INFINITY)
    }

    fn improve(&mut self, model: &CostModel, id: Id) -> bool {
        let mut changed = false;
        for index in 0..self.egraph[id].nodes.len() {
            if let Some(new) = self.candidate(model, id, index) {
                let old = self.choices.get(&id).map_or(f64::INFINITY, |c| c.total);
                if new.total < old - 1e-9 {
                    self.choices.insert(id, new);
                    changed = true;
                }
            }
        }
        changed
    }

    fn candidate(&self, model: &CostModel, id: Id, index: usize) -> Option<Choice> {
        let node = &self.egraph[id].nodes[index];
        if !self.subsumed.is_empty() && self.subsumed.contains(node) {
            return None;
        }
        let children: Vec<&Choice> = node
            .children
            .iter()
            .map(|&c| self.choices.get(&self.egraph.find(c)))
            .collect::<Option<_>>()?;
        let mut needs: Vec<(usize, f64)> = vec![];
        for child in &children {
            needs = union(&needs, &child.needs);
        }
        let me = usize::from(id);
        let Err(at) = needs.binary_search_by_key(&me, |n| n.0) else { return None };
        let known: Vec<Known> = children.iter().map(|c| c.known).collect();
        let (own, known) = self.own_cost(model, id, node, &known);
        needs.insert(at, (me, own));
        let total = needs.iter().map(|n| n.1).sum();
        Some(Choice { node: index, total, needs, known })
    }

    fn own_cost(&self, model: &CostModel, id: Id, node: &ENode, known: &[Known]) -> (f64, Known) {
        match self.folded(model, id, node, known) {
            Some(free) => free,
            None => (self.run_time(model, id, node), Known::No),
        }
    }

    /// Cost and contents of a node that does not run: a leaf, a formula or a folded
    /// constant. `None` for nodes that run.
    fn folded(
        &self,
        model: &CostModel,
        id: Id,
        node: &ENode,
        known: &[Known],
    ) -> Option<(f64, Known)> {
        let op = match node.kind {
            Kind::Leaf if self.egraph[id].data.constant => return Some((TIE, Known::Data)),
            Kind::Leaf => return Some((TIE, Known::No)),
            Kind::Project => return Some((TIE, known[0])),
            Kind::Op(_) => self.egraph.analysis.ops.get(node.payload),
        };
        if matches!(op, Op::Fill { .. } | Op::Iota { .. }) {
            return Some((TIE, Known::Virtual));
        }
        if op.effect() != Effect::Pure || known.contains(&Known::No) {
            return None;
        }
        let (operands, results) = self.types(id, node);
        let held = operands.iter().zip(known).filter(|(_, k)| **k == Known::Data);
        let held: Vec<&TensorType> = held.map(|(t, _)| *t).collect();
        model.budget.allows(&held, &results).then_some((TIE, Known::Data))
    }

    fn run_time(&self, model: &CostModel, id: Id, node: &ENode) -> f64 {
        let (operands, results) = self.types(id, node);
        let op = self.egraph.analysis.ops.get(node.payload);
        match self.egraph[id].data.constant {
            true => model.unfolded_time(op, &operands, &results),
            false => model.run_time(op, &operands, &results),
        }
    }

    fn types(&self, id: Id, node: &ENode) -> (Vec<&TensorType>, Vec<&TensorType>) {
        let types = |id: Id| self.egraph[id].data.types.iter().filter_map(|t| t.as_tensor());
        (node.children.iter().filter_map(|&c| types(c).next()).collect(), types(id).collect())
    }
}

/// The union of two sorted lists; an entry in both keeps the first's cost.
fn union(a: &[(usize, f64)], b: &[(usize, f64)]) -> Vec<(usize, f64)> {
    if a.is_empty() {
        return b.to_vec();
    }
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        match a[i].0.cmp(&b[j].0) {
            std::cmp::Ordering::Less => {
                out.push(a[i]);
                i += 1;
            }
            std::cmp::Ordering::Greater => {
                out.push(b[j]);
                j += 1;
            }
            std::cmp::Ordering::Equal => {
                out.push(a[i]);
                i += 1;
                j += 1;
            }
        }
    }
    out.extend_from_slice(&a[i..]);
    out.extend_from_slice(&b[j..]);
    out
}
