//! The whole pipeline on encoder stacks: right, deterministic, linear in layers.

mod encoder;

use cascata_ir::graph::Graph;
use cascata_ir::interp;
use cascata_ir::print::{ConstText, PrintOptions, print};
use cascata_passes::pipeline::{OptLevel, Options, optimise};
use cascata_passes::report::Report;
use cascata_passes::rules::Exactness;
use encoder::{Encoder, count};

fn run(graph: &mut Graph, options: &Options) -> Report {
    let options = Options { verify: true, ..options.clone() };
    optimise(graph, &options, &mut |_, _| {}).expect("the pipeline runs")
}

fn text(graph: &Graph) -> String {
    print(graph, PrintOptions { consts: ConstText::Full })
}

/// Names of the ops, those inside fused groups too, sorted.
fn ops(graph: &Graph) -> Vec<&'static str> {
    let nodes = graph.regions.values().flat_map(|r| &r.nodes);
    let mut names: Vec<_> = nodes.map(|n| graph.nodes[*n].op.name()).collect();
    names.sort_unstable();
    names
}

fn largest_difference(a: &Graph, b: &Graph, encoder: &Encoder) -> f64 {
    let inputs = encoder.inputs(3, 5);
    let (x, y) = (interp::run(a, &inputs).expect("runs"), interp::run(b, &inputs).expect("runs"));
    assert_eq!(x.len(), y.len());
    let pairs = x.iter().zip(&y).flat_map(|(x, y)| {
        assert_eq!((x.dims(), x.dtype()), (y.dims(), y.dtype()));
        x.to_f64().expect("numbers").into_iter().zip(y.to_f64().expect("numbers"))
    });
    pairs.fold(0.0, |m, (p, q)| m.max((p - q).abs()))
}

#[test]
fn every_layer_is_recognised_and_equal() {
    let encoder = Encoder { layers: 3, ..Encoder::default() };
    let source = encoder.graph();
    let mut graph = source.clone();
    let report = run(&mut graph, &Options::default());
    assert_eq!(count(&graph, "attention"), 3);
    assert_eq!(count(&graph, "layer_norm"), 6);
    assert_eq!(count(&graph, "gelu_erf"), 3);
    assert_eq!(count(&graph, "softmax") + count(&graph, "erf") + count(&graph, "reduce"), 0);
    assert!(largest_difference(&source, &graph, &encoder) < 1e-5);
    assert!(report.rewriting.cost_after < report.rewriting.cost_before);
    assert_eq!(graph.output_names, source.output_names);
}

#[test]
fn every_level_computes_the_same() {
    let encoder = Encoder { layers: 2, ..Encoder::default() };
    let source = encoder.graph();
    for level in [OptLevel::O0, OptLevel::O1, OptLevel::O2] {
        let mut graph = source.clone();
        run(&mut graph, &Options { level, ..Options::default() });
        let bound = if level == OptLevel::O2 { 1e-5 } else { 0.0 };
        assert!(largest_difference(&source, &graph, &encoder) <= bound, "{level:?}");
    }
}

#[test]
fn bitwise_rules_change_no_bit() {
    let encoder = Encoder { layers: 2, ..Encoder::default() };
    let source = encoder.graph();
    let mut graph = source.clone();
    let mut options = Options::default();
    options.egraph.exactness = Exactness::Bitwise;
    let report = run(&mut graph, &options);
    assert!(!report.rewriting.rules.contains_key("gelu-erf"), "it reassociates");
    assert_eq!(largest_difference(&source, &graph, &encoder), 0.0);
}

#[test]
fn two_runs_give_the_same_bytes() {
    let encoder = Encoder { layers: 3, ..Encoder::default() };
    let once = || {
        let mut graph = encoder.graph();
        run(&mut graph, &Options::default());
        text(&graph)
    };
    assert!(once() == once(), "two compiles differ");
}

#[test]
fn a_second_run_finds_nothing_more() {
    let encoder = Encoder { layers: 2, ..Encoder::default() };
    let mut graph = encoder.graph();
    run(&mut graph, &Options::default());
    let first = ops(&graph);
    let report = run(&mut graph, &Options::default());
    assert_eq!(first, ops(&graph));
    assert!(report.rewriting.cost_after > 0.999 * report.rewriting.cost_before);
}

#[test]
fn provenance_names_the_rules() {
    let mut graph = Encoder { layers: 1, ..Encoder::default() }.graph();
    let report = run(&mut graph, &Options::default());
    let rules = |value: &str| report.provenance.get(value).cloned().unwrap_or_default();
    assert!(rules("layer.0/attention").contains(&"attention"), "{:?}", report.provenance);
    assert!(rules("layer.0/gelu").contains(&"gelu-erf"));
    assert!(rules("layer.0/gelu").contains(&"div-by-constant"), "premises count too");
    assert!(rules("layer.0/norm1").contains(&"layer-norm"));
}

#[test]
fn a_rule_can_be_left_out() {
    let mut graph = Encoder { layers: 1, ..Encoder::default() }.graph();
    let mut options = Options::default();
    options.egraph.without = vec!["attention".into()];
    run(&mut graph, &options);
    assert_eq!((count(&graph, "attention"), count(&graph, "softmax")), (0, 1));
}

/// Slices that went through an e-graph, and all e-nodes, for a stack of layers.
fn work(layers: usize) -> (usize, usize, f64) {
    let mut graph = Encoder { layers, ..Encoder::default() }.graph();
    let report = run(&mut graph, &Options::default());
    assert_eq!(count(&graph, "attention"), layers, "{layers} layers");
    let seconds =
        report.phases.iter().filter(|p| p.name.starts_with("egraph")).map(|p| p.seconds).sum();
    (report.rewriting.distinct, report.rewriting.enodes, seconds)
}

/// The stage's time is checked through what it is made of: counts do not depend on the
/// machine's load.
#[test]
fn work_does_not_grow_with_repeated_layers() {
    let sizes = [1, 2, 4, 8, 16, 32];
    let all: Vec<_> = sizes.iter().map(|&n| work(n)).collect();
    for (n, (distinct, enodes, seconds)) in sizes.iter().zip(&all) {
        println!("{n:2} layers: {distinct} slices, {enodes} e-nodes, {seconds:.3} s");
    }
    let (four, last) = (all[2], all[5]);
    assert!(last.0 <= four.0 + 4, "equal layers were not found: {all:?}");
    assert!(last.1 <= 2 * four.1, "e-nodes grow with layers: {all:?}");
    // Cutting, hashing and stamping are linear; allow for noise.
    assert!(last.2 <= 8.0 * four.2 * 2.0 + 0.5, "time grows faster than layers: {all:?}");
}
