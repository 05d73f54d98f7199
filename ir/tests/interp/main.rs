//! The reference interpreter against values computed by hand.
//!
//! Every op runs inside a graph built with `Graph::add`, so inference and interpreter
//! are compared on the way.

mod contraction;
mod control;
mod elementwise;
mod graph_errors;
mod movement;
mod norm;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod text;

use cascata_ir::graph::Graph;
use cascata_ir::interp::{Element, Tensor, eval_op, run};
use cascata_ir::op::Op;
use cascata_ir::types::{DType, Scalar, TensorType};

/// A tensor; `dims` must fit the number of values.
fn t<T: Element>(dims: &[usize], values: impl Into<Vec<T>>) -> Tensor {
    Tensor::new(dims, values.into()).unwrap()
}

/// `0, 1, 2, …` as f32.
fn count(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    t(dims, (0..n).map(|i| i as f32).collect::<Vec<_>>())
}

/// Multiples of 1/8 in −5/8..=5/8; the cases computed with ONNX Runtime use the same.
fn pattern(dims: &[usize], seed: usize) -> Tensor {
    let n: usize = dims.iter().product();
    let at = |i: usize| ((i * 7 + seed * 3) % 11) as f32 / 8.0 - 0.625;
    t(dims, (0..n).map(at).collect::<Vec<_>>())
}

/// All results of one op, run in a graph with inferred types.
fn apply(op: Op, inputs: &[Tensor]) -> Vec<Tensor> {
    let mut graph = Graph::new("one");
    let values = inputs
        .iter()
        .map(|x| {
            let dims: Vec<i64> = x.dims().iter().map(|&d| d as i64).collect();
            graph.add_param(Graph::ROOT, "x", TensorType::fixed(x.dtype(), &dims))
        })
        .collect();
    for v in graph.add(Graph::ROOT, op, values, "").unwrap() {
        graph.add_output("y", v);
    }
    run(&graph, inputs).unwrap_or_else(|e| panic!("{e}"))
}

/// The only result of one op.
fn apply1(op: Op, inputs: &[Tensor]) -> Tensor {
    let mut all = apply(op, inputs);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// The error text of one op.
fn fails(op: Op, inputs: &[Tensor]) -> String {
    let refs: Vec<&Tensor> = inputs.iter().collect();
    eval_op(&op, &refs, &|_| None).unwrap_err().to_string()
}

/// Asserts equality within `tolerance` (absolute), dims and dtype exact.
#[track_caller]
fn close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!((found.dtype(), found.dims()), (expected.dtype(), expected.dims()));
    let (a, b) = (found.to_f64().unwrap(), expected.to_f64().unwrap());
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        let same = (a - b).abs() <= tolerance || a == b || (a.is_nan() && b.is_nan());
        assert!(same, "element {i}: {a}, expected {b}");
    }
}

fn f32s(x: f32) -> Scalar {
    Scalar::f32(x)
}

/// Bits of the floats, to compare NaN and −0 too.
fn bits(x: &Tensor) -> Vec<u32> {
    assert_eq!(x.dtype(), DType::F32);
    x.as_slice::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
}
