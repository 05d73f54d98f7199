//! Batch isolation: every planted leak is found at its op and does leak; every graph that is
//! proven isolated does not, bit by bit.
//!
//! The dynamic half runs the interpreter on a batch of three, then changes one entry (other
//! numbers, NaN, infinity) and looks at what the others get.

mod graphs;

use cascata_ir::graph::Graph;
use cascata_ir::interp::{Tensor, run};
use cascata_ir::parse::parse;
use cascata_ir::verify::verify;
use cascata_passes::isolation::{Batch, Place, Report, Select, Verdict, check};
use cascata_types::{DType, Dim};

const ENTRIES: usize = 3;
/// The entry that is changed.
const CHANGED: usize = 0;

fn graph(text: &str) -> Graph {
    let graph = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    if let Err(errors) = verify(&graph) {
        panic!("{errors:?}\n{text}");
    }
    graph
}

fn analyse(graph: &Graph) -> Report {
    check(graph, &Batch::find(graph, &Select::Leading).unwrap())
}

/// The size of a dim with three entries and 4 for every other symbol.
fn size(graph: &Graph, dim: &Dim) -> usize {
    let batch = graph.symbols.lookup("B").unwrap();
    dim.eval(&|s| Some(if s == batch { ENTRIES as i64 } else { 4 })).unwrap() as usize
}

fn inputs(graph: &Graph) -> Vec<Tensor> {
    let one = |(i, v): (usize, &cascata_ir::graph::ValueId)| {
        let ty = graph.tensor(*v);
        let dims: Vec<usize> = ty.shape.iter().map(|d| size(graph, d)).collect();
        let n: usize = dims.iter().product();
        // Small and asymmetric; integers are 0..4, the bool is true.
        let value = |j: usize| match ty.dtype {
            DType::F32 => ((j * 37 + i * 11 + 5) % 23) as f64 / 7.0 - 1.0,
            DType::Bool => 1.0,
            _ => ((j * 5 + i) % 4) as f64,
        };
        Tensor::from_f64(ty.dtype, &dims, (0..n).map(value).collect()).unwrap()
    };
    graph.inputs().iter().enumerate().map(one).collect()
}

/// Which entry the elements of a tensor belong to.
fn owners(dims: &[usize], axis: usize, inner: usize) -> Vec<usize> {
    let after: usize = dims[axis + 1..].iter().product();
    let all: usize = dims.iter().product();
    (0..all).map(|flat| flat / after % dims[axis] / inner % ENTRIES).collect()
}

/// The inputs with one entry changed.
fn changed(report: &Report, inputs: &[Tensor], change: f64) -> Vec<Tensor> {
    let one = |(t, (_, axis)): (&Tensor, &(String, Option<usize>))| {
        let Some(axis) = *axis else { return t.clone() };
        let owner = owners(t.dims(), axis, 1);
        let float = t.dtype() == DType::F32;
        let value = |(x, owner): (f64, usize)| match owner {
            CHANGED if float => x + change,
            CHANGED => (x + 1.0) % 4.0,
            _ => x,
        };
        let values = t.to_f64().unwrap().into_iter().zip(owner).map(value).collect();
        Tensor::from_f64(t.dtype(), t.dims(), values).unwrap()
    };
    inputs.iter().zip(&report.inputs).map(one).collect()
}

/// Elements of the other entries that differ.
fn differences(a: &Tensor, b: &Tensor, owner: &[usize]) -> usize {
    let size = a.dtype().size_bytes().unwrap();
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    let pairs = a.chunks(size).zip(b.chunks(size)).zip(owner);
    pairs.filter(|((a, b), owner)| **owner != CHANGED && a != b).count()
}

#[test]
fn planted_leaks_are_found_and_leak() {
    for leak in graphs::LEAKS {
        let graph = graph(&leak.text());
        let report = analyse(&graph);
        let Verdict::Leak(found) = &report.outputs[0].verdict else {
            panic!("{}: {:?}", leak.name, report.outputs[0]);
        };
        assert_eq!(found.op, leak.op, "{}: {found}", leak.name);
        assert_eq!(found.path.first().map(String::as_str), Some("x"), "{}: {found:?}", leak.name);
        assert!(found.path.contains(&found.value), "{}: {found:?}", leak.name);
        assert_eq!(
            found.path.last(),
            Some(&graph.outputs()[0].to_string()),
            "{}: {found:?}",
            leak.name
        );
        let before = inputs(&graph);
        let after = changed(&report, &before, 2.5);
        let outputs = run(&graph, &before).unwrap_or_else(|e| panic!("{}: {e}", leak.name));
        let others = run(&graph, &after).unwrap_or_else(|e| panic!("{}: {e}", leak.name));
        let same_shape = outputs[0].dims() == others[0].dims();
        let owner = || owners(outputs[0].dims(), 0, outputs[0].dims()[0] / ENTRIES);
        let leaks = !same_shape || differences(&outputs[0], &others[0], &owner()) > 0;
        assert!(leaks, "{}: changing an entry changes no other", leak.name);
    }
}

#[test]
fn isolated_graphs_are_proven_and_isolated() {
    for case in graphs::ISOLATED {
        let graph = graph(&case.text());
        let report = analyse(&graph);
        assert!(report.isolated(), "{}: {}", case.name, report.leaks().next().unwrap().1);
        let before = inputs(&graph);
        let outputs = run(&graph, &before).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for change in [2.5, f64::NAN, f64::INFINITY] {
            let after = run(&graph, &changed(&report, &before, change)).unwrap();
            for (verdict, (a, b)) in report.outputs.iter().zip(outputs.iter().zip(&after)) {
                let Verdict::Isolated(place) = &verdict.verdict else {
                    panic!("{}: {verdict:?}", case.name)
                };
                let owner = owners(a.dims(), place.axis, inner(&graph, place));
                assert_eq!(differences(a, b, &owner), 0, "{} by {change}", case.name);
                let other: Vec<usize> =
                    owner.iter().map(|o| (CHANGED + 1) * usize::from(*o == CHANGED)).collect();
                assert!(differences(a, b, &other) > 0, "{}: nothing depends on x", case.name);
            }
        }
    }
}

/// The number of elements inside of an entry.
fn inner(graph: &Graph, place: &Place) -> usize {
    let [_, _, inner] = &place.size;
    match inner.parse() {
        Ok(n) => n,
        Err(_) => size(graph, &graph.symbols.lookup(inner).unwrap().into()),
    }
}

#[test]
fn the_batch_is_named_in_several_ways() {
    let text = "graph \"g\" {\n  symbol B in 1..=8\n  symbol S in 1..=8\n  body(%0 \"x\" : f32[S,B], %1 \"w\" : f32[4,S]) {\n    %2 = softmax(%0) {axis = 1} : f32[S,B]\n    return %2 \"y\"\n  }\n}\n";
    let graph = graph(text);
    let with = |select: &Select| check(&graph, &Batch::find(&graph, select).unwrap()).isolated();
    assert!(with(&Select::Leading), "S leads");
    assert!(with(&Select::Symbol("S".into())));
    assert!(!with(&Select::Symbol("B".into())));
    assert!(!with(&Select::Axes(vec![("x".into(), 1)])));
    assert!(with(&Select::Axes(vec![("w".into(), 0)])), "w is not used");
    for (select, text) in [
        (Select::Symbol("Q".into()), "there is no symbol 'Q', only B, S"),
        (Select::Axes(vec![("q".into(), 0)]), "there is no input 'q', only x, w"),
        (Select::Axes(vec![("x".into(), 2)]), "input 'x' has no axis 2"),
        (
            Select::Axes(vec![("x".into(), 0), ("w".into(), 0)]),
            "x:0 and w:0 are of different sizes",
        ),
    ] {
        assert_eq!(Batch::find(&graph, &select).unwrap_err().to_string(), text);
    }
}

#[test]
fn an_input_whose_size_must_be_the_batch_is_not_taken_for_shared() {
    let text = "graph \"g\" {\n  symbol B in 1..=8\n  symbol N in 1..=8\n  symbol S in 1..=8\n  body(%0 \"x\" : f32[B,4], %1 \"m\" : f32[N,4], %2 \"t\" : f32[S,4]) {\n    check B == N : \"add\"\n    %3 = reduce(%1) {op = sum, axes = [0], keep_dims = true} : f32[1,4]\n    %4 = add(%0, %3) : f32[B,4]\n    %5 = reduce(%2) {op = sum, axes = [0], keep_dims = true} : f32[1,4]\n    %6 = add(%0, %5) : f32[B,4]\n    return %4 \"y\", %6 \"z\"\n  }\n}\n";
    let graph = graph(text);
    let report = analyse(&graph);
    let leaks: Vec<_> = report.leaks().map(|(o, l)| (o, l.value.as_str())).collect();
    assert_eq!(leaks, [("y", "m")], "S is no size of the batch");
}

#[test]
fn an_input_with_the_batch_twice_is_refused() {
    let text = "graph \"g\" {\n  symbol B in 1..=8\n  body(%0 \"x\" : f32[B,B]) {\n    %1 = relu(%0) : f32[B,B]\n    return %1 \"y\"\n  }\n}\n";
    let graph = graph(text);
    let report = analyse(&graph);
    let (_, leak) = report.leaks().next().unwrap();
    assert_eq!((leak.op.as_str(), leak.value.as_str()), ("input", "x"));
}
