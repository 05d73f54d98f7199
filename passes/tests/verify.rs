//! `--verify` compares what rewriting does to each slice, and says what it could not compare.

mod encoder;

use cascata_ir::graph::Graph;
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_ir::types::{DType, Dim, TensorType};
use cascata_passes::egraph::{self, EGraphOptions};
use cascata_passes::error::PassError;
use cascata_passes::pipeline::{Options, optimise};
use cascata_passes::rules::{Exactness, ROW, Rhs, Rule};
use encoder::{Encoder, count};

/// Cheaper, and wrong.
const WRONG: &[&[Rule]] = &[&[Rule {
    name: "exp-is-relu",
    lhs: &["(exp ?x)"],
    rhs: Rhs::Text("(relu ?x)"),
    class: Exactness::Reassociates,
    source: "a wrong rule",
    ..ROW
}]];

/// `y = exp(x + x)` for this type of x.
fn exponent(ty: TensorType) -> Graph {
    let mut graph = Graph::new("exponent");
    exponent_of(&mut graph, ty);
    graph
}

fn exponent_of(graph: &mut Graph, ty: TensorType) {
    let x = graph.add_param(Graph::ROOT, "x", ty);
    let sum = graph.add1(Graph::ROOT, Op::Binary(BinaryOp::Add), vec![x, x], "sum").unwrap();
    let y = graph.add1(Graph::ROOT, Op::Unary(UnaryOp::Exp), vec![sum], "exp").unwrap();
    graph.values[y].name = "power".into();
    graph.add_output("y", y);
}

#[test]
fn a_wrong_rule_is_found_and_named() {
    let mut graph = exponent(TensorType::fixed(DType::F32, &[3, 5]));
    match egraph::run(&mut graph, WRONG, &EGraphOptions::default(), 0, true) {
        Err(PassError::Extraction { values, rules, .. }) => {
            assert_eq!((values.as_str(), rules.as_str()), ("power", "exp-is-relu"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_verification_it_is_not_found() {
    let mut graph = exponent(TensorType::fixed(DType::F32, &[3, 5]));
    let report = egraph::run(&mut graph, WRONG, &EGraphOptions::default(), 0, false).unwrap();
    assert_eq!((report.checks.compared, count(&graph, "relu")), (0, 1));
}

#[test]
fn symbols_are_small_whatever_they_may_be() {
    let mut graph = Graph::new("exponent");
    let n = Dim::sym(graph.symbols.fresh("N", 1, 1 << 30));
    exponent_of(&mut graph, TensorType::dense(DType::F32, vec![n.clone(), n * 1000]));
    let outcome = egraph::run(&mut graph, WRONG, &EGraphOptions::default(), 0, true);
    assert!(matches!(outcome, Err(PassError::Extraction { .. })), "{outcome:?}");
}

#[test]
fn what_is_too_large_is_listed() {
    let mut graph = exponent(TensorType::fixed(DType::F32, &[4000, 4001]));
    let report = egraph::run(&mut graph, WRONG, &EGraphOptions::default(), 0, true).unwrap();
    let [skipped] = &report.checks.skipped[..] else { panic!("{:?}", report.checks) };
    assert_eq!(skipped.values, ["power"]);
    assert!(skipped.reason.contains("1.6e7 elements"), "{}", skipped.reason);
}

#[test]
fn every_slice_of_an_encoder_is_compared() {
    let mut graph = Encoder { layers: 2, ..Encoder::default() }.graph();
    let options = Options { verify: true, ..Options::default() };
    let report = optimise(&mut graph, &options, &mut |_, _| {}).expect("it verifies");
    let checks = report.rewriting.checks;
    assert!(checks.compared > 0 && checks.skipped.is_empty(), "{checks:?}");
}
