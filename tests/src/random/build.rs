//! A graph under construction: nodes are added only if their witnesses are good.

use super::rng::Rng;
use super::witness::{Witness, adds, nearby};
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::infer::infer;
use cascata_ir::interp::{Tensor, eval_op};
use cascata_ir::op::Op;
use cascata_types::{DType, Dim, Shape, SymbolId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The graph, what its values hold, and what may be used next.
pub(super) struct Builder {
    pub rng: Rng,
    pub graph: Graph,
    pub symbols: Vec<SymbolId>,
    /// Values of the symbols, by id, for each binding.
    pub bindings: Vec<Vec<i64>>,
    pub witnesses: HashMap<ValueId, Vec<Witness>>,
    /// Every value, in order.
    pub pool: Vec<ValueId>,
    used: HashSet<ValueId>,
    /// Nodes that compute something.
    pub steps: usize,
    /// Tensors may have this many elements.
    pub largest: usize,
}

impl Builder {
    pub fn new(rng: Rng, graph: Graph, symbols: Vec<SymbolId>, bindings: Vec<Vec<i64>>) -> Self {
        let (witnesses, used) = (HashMap::new(), HashSet::new());
        let (pool, steps, largest) = (vec![], 0, 2000);
        Self { rng, graph, symbols, bindings, witnesses, pool, used, steps, largest }
    }

    pub fn dtype(&self, v: ValueId) -> DType {
        self.graph.tensor(v).dtype
    }

    pub fn shape(&self, v: ValueId) -> Shape {
        self.graph.tensor(v).shape.clone()
    }

    pub fn rank(&self, v: ValueId) -> usize {
        self.graph.tensor(v).rank()
    }

    /// The smallest value of a dim over all bindings.
    pub fn least(&self, dim: &Dim) -> i64 {
        (0..self.bindings.len()).filter_map(|i| self.eval(dim, i)).min().unwrap_or(0)
    }

    pub fn eval(&self, dim: &Dim, binding: usize) -> Option<i64> {
        dim.eval(&|s: SymbolId| self.bindings[binding].get(s.0 as usize).copied()).ok()
    }

    /// A value of the pool: those that nobody uses yet more often than the others.
    pub fn any(&mut self) -> ValueId {
        let idle: Vec<ValueId> =
            self.pool.iter().copied().filter(|v| !self.used.contains(v)).collect();
        if !idle.is_empty() && self.rng.below(3) > 0 {
            return self.rng.pick(&idle);
        }
        let pool = self.pool.clone();
        self.rng.pick(&pool)
    }

    /// A value of the pool with a property, found by a few tries.
    pub fn find(&mut self, fits: impl Fn(&Self, ValueId) -> bool) -> Option<ValueId> {
        for _ in 0..12 {
            let v = self.any();
            if fits(self, v) {
                return Some(v);
            }
        }
        None
    }

    /// Values that no node uses.
    pub fn unused(&self) -> Vec<ValueId> {
        self.pool.iter().copied().filter(|v| !self.used.contains(v)).collect()
    }

    /// Adds a node and gives its first result, if the node is valid and tame.
    pub fn add(&mut self, op: Op, inputs: &[ValueId]) -> Option<ValueId> {
        let results = self.results(&op, inputs)?;
        let source = format!("n{}", self.graph.nodes.len());
        let values = self.graph.add(Graph::ROOT, op, inputs.to_vec(), source).ok()?;
        self.steps += 1;
        self.used.extend(inputs);
        for (v, witnesses) in values.iter().zip(results) {
            self.graph.values[*v].name = format!("v{}", v.0);
            self.witnesses.insert(*v, witnesses);
            self.pool.push(*v);
        }
        values.first().copied()
    }

    /// The witnesses of each result of a node that is not there yet.
    fn results(&mut self, op: &Op, inputs: &[ValueId]) -> Option<Vec<Vec<Witness>>> {
        let types: Vec<_> = inputs.iter().map(|v| self.graph.ty(*v)).collect();
        let inferred = infer(op, &types, &self.graph.symbols, &self.graph).ok()?;
        let mut results = vec![vec![]; inferred.types.len()];
        for binding in 0..self.bindings.len() {
            let equal = |lhs, rhs| {
                self.eval(lhs, binding).is_some_and(|l| Some(l) == self.eval(rhs, binding))
            };
            if !inferred.checks.iter().all(|c| equal(&c.lhs, &c.rhs)) {
                return None;
            }
            // The interpreter would compute a huge tensor first and be refused afterwards.
            let small = |t: &Dim| {
                self.eval(t, binding).is_some_and(|n| (0..=self.largest as i64).contains(&n))
            };
            if !inferred.types.iter().all(|t| t.as_tensor().is_some_and(|t| small(&t.elements()))) {
                return None;
            }
            let base = self.compute(op, inputs, binding, None)?;
            let up = self.compute(op, inputs, binding, Some(0))?;
            let down = self.compute(op, inputs, binding, Some(1))?;
            let witness = |v: &ValueId| &*self.witnesses[v][binding].base;
            let operands: Vec<&Tensor> = inputs.iter().map(witness).collect();
            for (i, ((base, up), down)) in base.into_iter().zip(up).zip(down).enumerate() {
                let witness = Witness::computed(op, &operands, base, [up, down], &mut self.rng)?;
                results[i].push(witness);
            }
        }
        Some(results)
    }

    /// The results of an op on the operands' witnesses or on one of their shadows.
    fn compute(
        &mut self,
        op: &Op,
        inputs: &[ValueId],
        binding: usize,
        shadow: Option<usize>,
    ) -> Option<Vec<Tensor>> {
        let mut operands: Vec<Arc<Tensor>> = vec![];
        for v in inputs {
            let witness = &self.witnesses[v][binding];
            let operand = shadow.map_or(&witness.base, |i| &witness.shadows[i]).clone();
            let sign = if shadow == Some(0) { 1.0 } else { -1.0 };
            let moved = match shadow {
                Some(_) if adds(op) => nearby(op, &operand, sign, &mut self.rng).map(Arc::new),
                _ => None,
            };
            operands.push(moved.unwrap_or(operand));
        }
        let operands: Vec<&Tensor> = operands.iter().map(|t| &**t).collect();
        let values = &self.bindings[binding];
        eval_op(op, &operands, &|s: SymbolId| values.get(s.0 as usize).copied()).ok()
    }
}
