//! Random graphs: they verify, their text reads back to them, and hostile ops and
//! text never panic.

mod common;

use cascata_ir::compare::difference;
use cascata_ir::graph::Graph;
use cascata_ir::infer::infer;
use cascata_ir::op::op_table;
use cascata_ir::parse::{parse, parse_with};
use cascata_ir::print::{ConstText, PrintOptions, print};
use cascata_ir::types::*;
use cascata_ir::verify::verify;
use common::{Rng, hostile_op, random_graph};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn full(graph: &Graph) -> String {
    print(graph, PrintOptions { consts: ConstText::Full })
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

fn random_type(r: &mut Rng) -> ValueType {
    let dtype = r.pick(&[DType::F32, DType::F32, DType::I64, DType::Bool, DType::I32, DType::Str]);
    let dims = (0..r.below(6)).map(|_| match r.below(3) {
        0 => Dim::sym(SymbolId(r.below(3) as u32)),
        _ => Dim::from(r.pick(&[0, 1, 2, 3, 4, 12, i64::MAX])),
    });
    let tensor = TensorType::dense(dtype, dims.collect::<Shape>());
    match r.below(12) {
        0 => ValueType::Sequence(dtype),
        1 => ValueType::Resource("state".into()),
        2 => ValueType::Optional(Box::new(tensor.into())),
        3 => TensorType { encoding: Encoding::Quant(QuantFormat::Q8_0), ..tensor }.into(),
        _ => tensor.into(),
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn random_graphs_verify_and_round_trip(seed: u64) {
        let graph = random_graph(seed, 40);
        if let Err(errors) = verify(&graph) {
            prop_assert!(false, "{:#?}\n{}", errors, full(&graph));
        }
        let text = full(&graph);
        let again = match parse(&text) {
            Ok(g) => g,
            Err(e) => return Err(TestCaseError::fail(format!("{e}\n{text}"))),
        };
        prop_assert_eq!(difference(&graph, &again), None, "{}", text);
        prop_assert_eq!(verify(&again), Ok(()));
        // Printing what was read is a fixed point.
        prop_assert_eq!(full(&again), full(&parse(&full(&again)).expect("it parses")));
    }

    #[test]
    fn hashed_constants_resolve(seed: u64) {
        let graph = random_graph(seed, 20);
        let text = print(&graph, PrintOptions { consts: ConstText::Hashed });
        let by_hash: BTreeMap<String, _> = graph
            .consts
            .values()
            .map(|c| (blake3::hash(&c.data).to_hex().to_string(), c.data.clone()))
            .collect();
        let again = parse_with(&text, &|hash| by_hash.get(hash).cloned()).expect("it parses");
        prop_assert_eq!(difference(&graph, &again), None);
    }

    /// A damaged text gives an error or a graph that the verifier can look at.
    #[test]
    fn damaged_text_never_panics(seed: u64, cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..9, "[-%(){}\\[\\]<>,:=\"0-9a-z]{0,4}"), 1..4)) {
        let mut text: Vec<char> = full(&random_graph(seed, 15)).chars().collect();
        for (at, len, insert) in cuts {
            let at = at.index(text.len());
            let end = (at + len).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Ok(graph) = parse(&text) {
            let _ = verify(&graph);
            let printed = full(&graph);
            let again = parse(&printed);
            prop_assert!(again.is_ok(), "{:?}\n{}", again, printed);
        }
    }
}

/// Inference of any op on anything returns; where it succeeds no dim is negative.
#[test]
fn hostile_ops_never_panic() {
    let mut symbols = SymbolTable::default();
    let ids: Vec<SymbolId> = ["A", "B"].iter().map(|n| symbols.intern(n)).collect();
    symbols.fresh("c", 0, 9);
    let mut graph = Graph::new("hostile");
    graph.add_region();
    let mut accepted = BTreeSet::new();
    let mut tried = BTreeSet::new();
    for seed in 0..200_000 {
        let mut r = Rng(seed);
        let op = hostile_op(&mut r, &ids);
        let types: Vec<ValueType> = (0..r.below(5)).map(|_| random_type(&mut r)).collect();
        let refs: Vec<&ValueType> = types.iter().collect();
        tried.insert(op.name());
        match infer(&op, &refs, &symbols, &graph) {
            Ok(inferred) => {
                accepted.insert(op.name());
                for t in inferred.types.iter().filter_map(ValueType::as_tensor) {
                    assert!(
                        t.shape.iter().all(|d| d.bounds(&symbols).1 >= 0),
                        "seed {seed}: {op:?}"
                    );
                }
            }
            Err(e) => assert!(!e.rule.is_empty() && !e.fix.is_empty(), "seed {seed}"),
        }
    }
    let all: BTreeSet<_> = op_table().iter().map(|r| r.name).collect();
    let missing: Vec<_> = all.difference(&tried).collect();
    assert!(missing.is_empty(), "ops never tried: {missing:?}");
    assert!(accepted.len() > 70, "too few ops ever fit: {}", accepted.len());
}

/// The generator reaches a good part of the table and makes graphs of a decent size.
#[test]
fn random_graphs_are_not_trivial() {
    let mut names = BTreeSet::new();
    let mut nodes = 0;
    for seed in 0..200 {
        let graph = random_graph(seed, 40);
        nodes += graph.nodes.len();
        names.extend(graph.nodes.values().map(|n| n.op.name()));
    }
    assert!(nodes / 200 >= 10, "{} nodes on average", nodes / 200);
    for name in
        ["if", "loop", "group", "const", "non_zero", "concat", "reduce", "gather", "softmax"]
    {
        assert!(names.contains(name), "no {name} in 200 graphs");
    }
}
