//! Canonical form: no-ops removed, movement composed, equal values merged.
//!
//! **Why.** Exporters wrap every op in casts, reshapes and expansions that change
//! nothing; patterns and kernels want one spelling.
//! **Precondition.** Types are recorded.
//! **Postcondition.** Bitwise the same function. No cast, reshape, transpose, broadcast,
//! slice or pad that changes nothing; no two pure nodes with the same op and operands in
//! one scope; uniform constants are `Fill`, of rank 0 where an element-wise op
//! broadcasts them; no dead nodes.
//! **Cost.** Linear per round; rounds until nothing changes (two or three).

use crate::walk;
use cascata_ir::graph::{Graph, Node, NodeId, RegionId, ValueId};
use cascata_ir::infer;
use cascata_ir::op::{Effect, Op};
use cascata_types::{TensorType, ValueType};
use std::collections::HashMap;

mod algebra;
mod constants;
mod dead;
mod movement;

pub use dead::compact;
pub(crate) use dead::remove as remove_dead;

/// What a simplification does with a node that has one result.
enum Change {
    /// The result is another value.
    Value(ValueId),
    /// The result comes from another op of the same result type.
    Node(Op, Vec<ValueId>),
}

/// A simplification; may emit operands through the context.
type Simplify = fn(&mut Rewriter, &Op, &[ValueId], &TensorType) -> Option<Change>;

/// All simplifications, tried in order until none applies.
const SIMPLIFY: &[Simplify] = &[
    algebra::cast,
    algebra::identity,
    algebra::power,
    algebra::involution,
    algebra::divide_by_power_of_two,
    algebra::select,
    movement::reshape,
    movement::transpose,
    movement::broadcast,
    movement::broadcast_operand,
    movement::slice,
    movement::pad,
    movement::concat,
    movement::gather_one,
    movement::reduce,
    movement::reshape_of_reduce,
    constants::trim_rank,
    constants::move_fill,
    constants::dim_values,
];

/// Rewrites every region until nothing changes; returns the number of changes.
pub fn canonicalise(graph: &mut Graph) -> usize {
    let mut total = constants::normalise(graph);
    // A bound rather than a loop: each round strictly simplifies, but a bug must not hang.
    for _ in 0..16 {
        let changes = round(graph);
        dead::remove(graph);
        total += changes;
        if changes == 0 {
            break;
        }
    }
    total
}

fn round(graph: &mut Graph) -> usize {
    let mut rewriter = Rewriter {
        graph,
        replaced: HashMap::new(),
        scopes: vec![],
        region: Graph::ROOT,
        changes: 0,
    };
    rewriter.run_region(Graph::ROOT);
    let Rewriter { replaced, changes, .. } = rewriter;
    walk::substitute(graph, &|v| replaced.get(&v).copied().unwrap_or(v));
    changes
}

/// Results by op and operands.
type Scope = HashMap<(Op, Vec<ValueId>), Vec<ValueId>>;

/// One round over the graph, region by region.
struct Rewriter<'a> {
    graph: &'a mut Graph,
    replaced: HashMap<ValueId, ValueId>,
    /// Values by op and operands, innermost region last.
    scopes: Vec<Scope>,
    region: RegionId,
    changes: usize,
}

impl Rewriter<'_> {
    fn run_region(&mut self, region: RegionId) {
        let nodes = std::mem::take(&mut self.graph.regions[region].nodes);
        let outer = std::mem::replace(&mut self.region, region);
        self.scopes.push(HashMap::new());
        for id in nodes {
            self.run_node(id);
        }
        self.scopes.pop();
        self.region = outer;
    }

    fn run_node(&mut self, id: NodeId) {
        let resolved = self.graph.nodes[id].inputs.iter().map(|v| self.resolve(*v)).collect();
        self.graph.nodes[id].inputs = resolved;
        if self.graph.nodes[id].op.effect() != Effect::Pure {
            if !matches!(self.graph.nodes[id].op, Op::Group { .. }) {
                for region in self.graph.nodes[id].op.regions() {
                    self.run_region(region);
                }
            }
            self.graph.regions[self.region].nodes.push(id);
            return;
        }
        if self.simplify(id) || self.merge_with_equal(id) {
            return;
        }
        let Node { op, inputs, outputs, .. } = self.graph.nodes[id].clone();
        self.scopes.last_mut().expect("a region is open").insert((op, inputs), outputs);
        self.graph.regions[self.region].nodes.push(id);
    }

    /// Simplifies a node in place; true when its result is now another value.
    fn simplify(&mut self, id: NodeId) -> bool {
        // Each change lowers the node; the bound only guards against a bug.
        for _ in 0..64 {
            let Node { op, inputs, outputs, .. } = self.graph.nodes[id].clone();
            let [output] = outputs[..] else { return false };
            let ValueType::Tensor(ty) = self.graph.ty(output).clone() else { return false };
            let change = SIMPLIFY.iter().find_map(|f| f(self, &op, &inputs, &ty));
            match change {
                None => return false,
                Some(Change::Value(value)) => {
                    debug_assert_eq!(self.graph.ty(value), &ValueType::Tensor(ty));
                    self.replace(output, value);
                    return true;
                }
                Some(Change::Node(op, inputs)) => {
                    self.changes += 1;
                    self.graph.nodes[id].op = op;
                    self.graph.nodes[id].inputs = inputs;
                }
            }
        }
        false
    }

    fn merge_with_equal(&mut self, id: NodeId) -> bool {
        let Node { op, inputs, outputs, .. } = self.graph.nodes[id].clone();
        let key = (op, inputs);
        let Some(equal) = self.scopes.iter().rev().find_map(|s| s.get(&key)).cloned() else {
            return false;
        };
        let mut pairs = outputs.iter().zip(&equal);
        if equal.len() != outputs.len()
            || pairs.any(|(a, b)| self.graph.ty(*a) != self.graph.ty(*b))
        {
            return false;
        }
        for (old, new) in outputs.into_iter().zip(equal) {
            self.replace(old, new);
        }
        true
    }

    fn replace(&mut self, old: ValueId, new: ValueId) {
        self.changes += 1;
        if self.graph.values[new].name.is_empty() {
            self.graph.values[new].name = self.graph.values[old].name.clone();
        }
        self.replaced.insert(old, new);
    }

    fn resolve(&self, value: ValueId) -> ValueId {
        // Never a chain: successors are emitted, hence resolved, before they replace.
        self.replaced.get(&value).copied().unwrap_or(value)
    }

    // ---- for the simplifications ---------------------------------------------

    fn ty(&self, value: ValueId) -> &TensorType {
        self.graph.tensor(value)
    }

    /// The node behind a value.
    fn def(&self, value: ValueId) -> Option<&Node> {
        self.graph.def_node(value)
    }

    /// The element of a uniform constant.
    fn uniform(&self, value: ValueId) -> Option<f64> {
        match self.def(value)?.op {
            Op::Fill { value, .. } => Some(value.to_f64()),
            _ => None,
        }
    }

    /// The type of `op` on these operands when it needs no dim check that the graph lacks.
    fn infer(&self, op: &Op, inputs: &[ValueId]) -> Option<ValueType> {
        let types: Vec<&ValueType> = inputs.iter().map(|&v| self.graph.ty(v)).collect();
        let inferred = infer::infer(op, &types, &self.graph.symbols, self.graph).ok()?;
        let known = |c: &cascata_ir::graph::DimCheck| {
            let checks = self.graph.root().checks.iter();
            checks
                .chain(&self.graph.regions[self.region].checks)
                .any(|k| (k.lhs == c.lhs && k.rhs == c.rhs) || (k.lhs == c.rhs && k.rhs == c.lhs))
        };
        if !inferred.checks.iter().all(known) {
            return None;
        }
        inferred.types.into_iter().next()
    }

    /// `op` on these operands as the new definition, when it has exactly the type `ty`.
    fn node(&self, op: Op, inputs: Vec<ValueId>, ty: &TensorType) -> Option<Change> {
        let same = self.infer(&op, &inputs)? == ValueType::Tensor(ty.clone());
        same.then_some(Change::Node(op, inputs))
    }

    /// `value` as the result, when it has exactly the type `ty`.
    fn value(&self, value: ValueId, ty: &TensorType) -> Option<Change> {
        (self.graph.ty(value) == &ValueType::Tensor(ty.clone())).then_some(Change::Value(value))
    }

    /// Emits an operand; equal ones are merged in the next round.
    fn emit(&mut self, op: Op, inputs: Vec<ValueId>, source: &str) -> Option<ValueId> {
        let ty = self.infer(&op, &inputs)?;
        let out = self.graph.add_node_typed(self.region, op, inputs, vec![ty], source);
        out.first().copied()
    }
}
