//! Local search over the greedy choices.
//!
//! Greed costs every consumer on its own: two consumers may pick two versions of one
//! convolution, each best alone, where sharing one is cheaper. Each chosen class in turn
//! tries its other nodes; a change stays when the whole DAG gets cheaper.

use super::{Extraction, Known};
use crate::egraph::cost::CostModel;
use crate::egraph::language::ENode;
use egg::Id;
use std::collections::HashMap;

/// Sweeps over the chosen classes; the second and third rarely change anything.
const ROUNDS: usize = 3;
/// Evaluations of the whole DAG, so that a slice with many alternatives stays cheap.
const EVALUATIONS: usize = 4000;

/// Improves the choices under `roots`.
pub(super) fn refine(work: &mut Extraction, model: &CostModel, roots: &[Id]) {
    let mut costs = HashMap::new();
    let Some(mut best) = Dag::with(work, model, &mut costs).cost(roots) else { return };
    let mut evaluations = 0;
    for _ in 0..ROUNDS {
        let before = best;
        for id in chosen(work, roots) {
            let count = work.egraph[id].nodes.len();
            for index in 0..count {
                if index == work.choices[&id].node || !work.eligible(id, index) {
                    continue;
                }
                evaluations += 1;
                if evaluations > EVALUATIONS {
                    return;
                }
                let old = work.choose(id, index);
                match Dag::with(work, model, &mut costs).cost(roots) {
                    Some(cost) if cost < best - 1e-6 => best = cost,
                    _ => {
                        work.choose(id, old);
                    }
                }
            }
        }
        if best >= before {
            return;
        }
    }
}

/// The classes in the DAG under `roots`, sorted.
fn chosen(work: &Extraction, roots: &[Id]) -> Vec<Id> {
    let mut out = vec![];
    let mut todo: Vec<Id> = roots.iter().map(|r| work.egraph.find(*r)).collect();
    let mut seen = std::collections::HashSet::new();
    while let Some(id) = todo.pop() {
        if seen.insert(id) {
            out.push(id);
            let children = work.node(id).map(|n| n.children.clone()).unwrap_or_default();
            todo.extend(children.iter().map(|c| work.egraph.find(*c)));
        }
    }
    out.sort_unstable();
    out
}

impl Extraction<'_> {
    fn eligible(&self, id: Id, index: usize) -> bool {
        let node: &ENode = &self.egraph[id].nodes[index];
        !self.subsumed.contains(node)
            && node.children.iter().all(|c| self.choices.contains_key(&self.egraph.find(*c)))
    }

    /// Changes a choice; returns the one before.
    fn choose(&mut self, id: Id, index: usize) -> usize {
        let choice = self.choices.get_mut(&id).expect("a class with a choice");
        std::mem::replace(&mut choice.node, index)
    }
}

/// The time of a node that runs, by class and node; independent of the other choices.
type RunTimes = HashMap<(Id, usize), f64>;

/// The DAG that the choices make, being costed.
pub(super) struct Dag<'a> {
    work: &'a Extraction<'a>,
    model: &'a CostModel,
    costs: Option<&'a mut RunTimes>,
    known: HashMap<Id, Option<Known>>,
    total: f64,
}

impl<'a> Dag<'a> {
    /// For one evaluation.
    pub(super) fn new(work: &'a Extraction<'a>, model: &'a CostModel) -> Self {
        Self { work, model, costs: None, known: HashMap::new(), total: 0.0 }
    }

    fn with(work: &'a Extraction<'a>, model: &'a CostModel, costs: &'a mut RunTimes) -> Self {
        Self { work, model, costs: Some(costs), known: HashMap::new(), total: 0.0 }
    }

    /// The cost under the roots; `None` when there is a cycle.
    pub(super) fn cost(mut self, roots: &[Id]) -> Option<f64> {
        for root in roots {
            self.visit(self.work.egraph.find(*root))?;
        }
        Some(self.total)
    }

    fn visit(&mut self, id: Id) -> Option<Known> {
        if let Some(state) = self.known.get(&id) {
            // An open entry means that the class is being visited: a cycle.
            return *state;
        }
        self.known.insert(id, None);
        let work = self.work;
        let index = work.choices.get(&id)?.node;
        let node = &work.egraph[id].nodes[index];
        let mut known = Vec::with_capacity(node.children.len());
        for &c in &node.children {
            known.push(self.visit(work.egraph.find(c))?);
        }
        let (own, mine) = match work.folded(self.model, id, node, &known) {
            Some(free) => free,
            None => (self.run_time(id, index, node), Known::No),
        };
        self.total += own;
        self.known.insert(id, Some(mine));
        Some(mine)
    }

    fn run_time(&mut self, id: Id, index: usize, node: &ENode) -> f64 {
        let (work, model) = (self.work, self.model);
        match &mut self.costs {
            Some(costs) => {
                *costs.entry((id, index)).or_insert_with(|| work.run_time(model, id, node))
            }
            None => work.run_time(model, id, node),
        }
    }
}
