//! Every rule's test: random instances of its examples, both sides through the
//! interpreter, compared in the rule's class; and for every soundness guard an instance
//! on which the rule would be wrong without it.

mod expression;
mod instance;

use super::{ALL, CompiledRule, Exactness, Rule};
use crate::canonicalise::canonicalise;
use crate::egraph::cost::{CostModel, Machine};
use crate::egraph::extract::extract;
use crate::egraph::optimise::{build, emit};
use crate::egraph::runner::{self, Limits, right_side};
use crate::egraph::slice::{self, FactCache, Ref, Slice};
use crate::fold::Budget;
use cascata_ir::graph::{Graph, NodeId};
use cascata_ir::interp::{self, Tensor};
use cascata_ir::op::Op;
use egg::Id;
use expression::{Draw, Instance};
use std::collections::HashSet;

const DRAWS: u64 = 6;

fn all_rules() -> Vec<CompiledRule> {
    let rules = ALL.iter().copied().flatten();
    rules.map(|r| CompiledRule::new(r).expect("patterns parse")).collect()
}

/// How one application of a rule compares.
#[derive(Debug, PartialEq)]
enum Verdict {
    Equal,
    Differs(String),
}

/// Applies `rule` wherever it matches after the other rules have run; compares both
/// sides of each application on the instance's data.
fn verdicts(rule: &CompiledRule, instance: &Instance, without: Option<&str>) -> Vec<Verdict> {
    // Canonical form is what rules usually see, but it also takes some of them away.
    let mut canonical = instance.graph.clone();
    canonicalise(&mut canonical);
    let mut out = verdicts_on(rule, &instance.graph, instance, without);
    out.extend(verdicts_on(rule, &canonical, instance, without));
    out
}

fn verdicts_on(
    rule: &CompiledRule,
    graph: &Graph,
    instance: &Instance,
    without: Option<&str>,
) -> Vec<Verdict> {
    let is_op = |n: &NodeId| !matches!(graph.nodes[*n].op, Op::Const(_));
    let nodes: Vec<NodeId> = graph.root().nodes.iter().copied().filter(is_op).collect();
    let results: HashSet<_> = graph.outputs().iter().copied().collect();
    let (slice, place) =
        slice::cut(graph, &nodes, &|v| results.contains(&v), &mut FactCache::default());
    let (mut egraph, ids) = build(&slice, &graph.symbols, graph.root().checks.clone().into());
    let others: Vec<CompiledRule> =
        all_rules().into_iter().filter(|r| r.rule.name != rule.rule.name).collect();
    let limits = Limits { iterations: 4, ..Limits::default() };
    let log = runner::run(&mut egraph, &others, &limits).log;
    assert_eq!(runner::conflicts(&egraph), None, "{}: other rules disagree", rule.rule.name);
    let mut out = vec![];
    for pattern in &rule.lhs {
        for hit in pattern.search(&egraph) {
            if egraph[hit.root].data.constant {
                continue;
            }
            let Some(built) = right_side(&mut egraph, rule, pattern, &hit, 0, without) else {
                continue;
            };
            egraph.rebuild();
            let model = CostModel::new(&graph.symbols, &[], Machine::default(), Budget::default());
            let roots = [hit.root, built];
            let extraction = extract(&egraph, &model, &roots);
            let Some((nodes, roots)) = emit(&slice, &ids, &extraction, &log, &roots) else {
                continue;
            };
            let both = sides(&slice, &place.leaves, graph, &nodes, &roots);
            out.push(compare(rule.rule, &run(&both, instance)));
        }
    }
    out
}

/// A graph that computes both sides.
fn sides(
    slice: &Slice,
    leaves: &[cascata_ir::graph::ValueId],
    source: &Graph,
    nodes: &[crate::egraph::optimise::NewNode],
    roots: &[Ref],
) -> Graph {
    let mut graph = Graph::new("sides");
    graph.symbols = source.symbols.clone();
    for &p in source.inputs() {
        graph.add_param(Graph::ROOT, source.values[p].name.clone(), source.ty(p).clone());
    }
    let mut leaf_values = vec![];
    for (leaf, &value) in slice.leaves.iter().zip(leaves) {
        leaf_values.push(match source.as_const(value) {
            Some(c) => graph.add_const(Graph::ROOT, "", c.ty.clone(), c.data.clone()),
            None => {
                let at = source.inputs().iter().position(|p| *p == value);
                graph.inputs()[at.expect("leaves are inputs or constants")]
            }
        });
        assert_eq!(graph.ty(*leaf_values.last().expect("just pushed")), &leaf.ty);
    }
    let mut results: Vec<Vec<_>> = vec![];
    let value = |results: &Vec<Vec<_>>, r: Ref| match r {
        Ref::Leaf(i) => leaf_values[i as usize],
        Ref::Node(n, i) => results[n as usize][i as usize],
    };
    for n in nodes {
        let inputs = n.node.inputs.iter().map(|r| value(&results, *r)).collect();
        let types = n.node.types.clone();
        let out = graph.add_node_typed(Graph::ROOT, n.node.op.clone(), inputs, types, "");
        results.push(out);
    }
    for (i, r) in roots.iter().enumerate() {
        graph.add_output(["left", "right"][i], value(&results, *r));
    }
    graph
}

fn run(graph: &Graph, instance: &Instance) -> Vec<Tensor> {
    interp::run(graph, &instance.inputs).unwrap_or_else(|e| panic!("{}: {e}", instance.text))
}

fn compare(rule: &Rule, sides: &[Tensor]) -> Verdict {
    let [left, right] = sides else { panic!("two sides") };
    assert_eq!((left.dims(), left.dtype()), (right.dims(), right.dtype()), "{}", rule.name);
    let (a, b) = (left.to_f64().expect("numbers"), right.to_f64().expect("numbers"));
    let scale = a.iter().filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
    let relative = match rule.class {
        Exactness::Bitwise => 0.0,
        // Tens of f32 roundings, on numbers near the tensor's largest.
        Exactness::Reassociates => 1e-5,
        Exactness::Approx(bound) => bound + 1e-5,
    };
    for (i, (x, y)) in a.iter().zip(&b).enumerate() {
        let same = x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= relative * scale;
        if !same {
            return Verdict::Differs(format!("element {i}: {x} and {y}"));
        }
    }
    Verdict::Equal
}

#[test]
fn every_rule_holds_on_its_examples() {
    for rule in all_rules() {
        let name = rule.rule.name;
        assert!(!rule.rule.examples.is_empty(), "{name} has no example");
        for example in rule.rule.examples {
            let mut fired = 0;
            for seed in 0..DRAWS {
                let Some(instance) = Instance::new(example, &mut Draw::new(seed)) else { continue };
                for verdict in verdicts(&rule, &instance, None) {
                    assert_eq!(verdict, Verdict::Equal, "{name} on {}", instance.text);
                    fired += 1;
                }
            }
            assert!(fired > 0, "{name} never fired on {example}");
        }
    }
}

#[test]
fn every_soundness_guard_is_needed() {
    for rule in all_rules() {
        let name = rule.rule.name;
        for guard in rule.rule.sound_when {
            let refuted = rule.rule.refutes.iter().any(|(g, _)| *g == guard.name);
            assert!(refuted, "{name}: no instance shows that '{}' is needed", guard.name);
        }
        for (guard, text) in rule.rule.refutes {
            let mut wrong = false;
            for seed in 0..DRAWS {
                let Some(instance) = Instance::new(text, &mut Draw::new(seed)) else { continue };
                let fired = verdicts(&rule, &instance, None);
                assert!(fired.is_empty(), "{name} fires on {text} in spite of '{guard}'");
                let loose = verdicts(&rule, &instance, Some(guard));
                wrong |= loose.iter().any(|v| matches!(v, Verdict::Differs(_)));
            }
            assert!(wrong, "{name} without '{guard}' is not wrong on {text}");
        }
    }
}

#[test]
fn names_are_unique_and_rows_complete() {
    let mut names = HashSet::new();
    for rule in ALL.iter().copied().flatten() {
        assert!(names.insert(rule.name), "{} twice", rule.name);
        assert!(!rule.source.is_empty(), "{} has no source", rule.name);
    }
}

/// Pairs that look alike and must stay different.
#[test]
fn must_not_prove() {
    let pairs = [
        ("(mul x:f32[3,5] (sigmoid y:f32[3,5]))", "(silu x:f32[3,5])"),
        ("(mul (mul x:f32[3,5] (add (erf (mul x:f32[3,5] 0.8)) 1)) 0.5)", "(gelu_erf x:f32[3,5])"),
        (
            "(sub x:f32[3,3] (transpose{1,0} x:f32[3,3]))",
            "(sub (transpose{1,0} x:f32[3,3]) x:f32[3,3])",
        ),
        ("(div x:i32[3,5] 2)", "(mul x:i32[3,5] 0)"),
        ("e=(exp x:f32[3,5]); (div e (reduce_sum{0;keep} e))", "(softmax{1} x:f32[3,5])"),
        ("(reshape{5,3} x:f32[3,5])", "(transpose{1,0} x:f32[3,5])"),
    ];
    for (left, right) in pairs {
        let instance = Instance::pair(left, right, &mut Draw::new(1)).expect("well-typed");
        let ids = saturated_roots(&instance);
        assert_ne!(ids[0], ids[1], "{left} and {right} were proved equal");
    }
}

/// The same, for pairs that must be proved equal.
#[test]
fn must_prove() {
    let pairs = [
        ("(transpose{1,0} (relu (transpose{1,0} x:f32[3,5])))", "(relu x:f32[3,5])"),
        ("(div (mul x:f32[3,5] (min (max (add x:f32[3,5] 3) 0) 6)) 6)", "(hard_swish x:f32[3,5])"),
    ];
    for (left, right) in pairs {
        let instance = Instance::pair(left, right, &mut Draw::new(1)).expect("well-typed");
        let ids = saturated_roots(&instance);
        assert_eq!(ids[0], ids[1], "{left} and {right} were not proved equal");
    }
}

fn saturated_roots(instance: &Instance) -> Vec<Id> {
    let graph = &instance.graph;
    let is_op = |n: &NodeId| !matches!(graph.nodes[*n].op, Op::Const(_));
    let nodes: Vec<NodeId> = graph.root().nodes.iter().copied().filter(is_op).collect();
    let (slice, place) =
        slice::cut(graph, &nodes, &|v| graph.outputs().contains(&v), &mut FactCache::default());
    let (mut egraph, ids) = build(&slice, &graph.symbols, graph.root().checks.clone().into());
    runner::run(&mut egraph, &all_rules(), &Limits::default());
    assert_eq!(runner::conflicts(&egraph), None);
    let class = |v| place.outputs.iter().position(|o| o == v).map(|i| slice.outputs[i]);
    graph.outputs().iter().map(|v| egraph.find(ids.of(class(v).expect("an output")))).collect()
}
