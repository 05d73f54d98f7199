//! Values copied out of a run on the way.

use super::*;
use cascata_ir::op::{ReduceOp, UnaryOp};
use cascata_runtime::{Artifact, RunError, TensorView};

/// `y = x·w, z = Σ softmax(y)`: what the kernels write is what the interpreter computes.
#[test]
fn values_between_kernels() {
    let args = vec![Arg::Named(pattern(&[3, 5], 1), &["M", ""]), Arg::Const(pattern(&[5, 7], 2))];
    let (mut graph, _) = graph_of(args, |g, v| {
        let product = g.add1(Graph::ROOT, Op::MatMul, v, "product").unwrap();
        g.values[product].name = "product".into();
        let soft = g.add1(Graph::ROOT, Op::Softmax { axis: 1 }, vec![product], "soft").unwrap();
        let sum = Op::Reduce { op: ReduceOp::Sum, axes: vec![0], keep_dims: false };
        let sum = g.add1(Graph::ROOT, sum, vec![soft], "sum").unwrap();
        vec![g.add1(Graph::ROOT, Op::Unary(UnaryOp::Neg), vec![sum], "neg").unwrap()]
    });
    let artifact = Artifact::from_bytes(&artifact(graph.clone(), OptLevel::O2)).unwrap();
    let session = artifact.session(&Runtime::builder().threads(2).build().unwrap()).unwrap();
    let x = pattern(&[4, 5], 3);
    let (bytes, dims) = (x.to_le_bytes(), [4, 5]);
    let inputs = [("x0", TensorView::new(x.dtype(), &dims, &bytes).unwrap())];
    let (_, fetched) = session.run_fetching(&inputs, &["product"]).unwrap();
    let product = graph.values.iter().find(|(_, v)| v.name == "product").unwrap().0;
    graph.add_output("product", product);
    let expected = &run(&graph, &[x]).unwrap()[1];
    let found = Tensor::from_le_bytes(fetched[0].dtype(), &[4, 7], fetched[0].bytes()).unwrap();
    close(0, &found, expected, 1e-5);
    match session.run_fetching(&inputs, &["prod"]) {
        Err(RunError::NoSuchPort { names, .. }) => assert_eq!(names, ["product"]),
        other => panic!("{other:?}"),
    }
}

/// A value of the branch that did not run is an error, one of the branch that ran is not.
#[test]
fn values_of_branches() {
    let mut g = Graph::new("branches");
    let x = g.add_param(Graph::ROOT, "x", TensorType::fixed(cascata_types::DType::F32, &[3]));
    let cond = g.add_param(Graph::ROOT, "c", TensorType::fixed(cascata_types::DType::Bool, &[]));
    let (then_region, else_region) = (g.add_region(), g.add_region());
    for (region, op, name) in
        [(then_region, UnaryOp::Neg, "negated"), (else_region, UnaryOp::Abs, "absolute")]
    {
        let v = g.add1(region, Op::Unary(op), vec![x], name).unwrap();
        g.values[v].name = name.into();
        g.regions[region].results = vec![v];
    }
    let op = Op::If { then_region, else_region, dims: vec![] };
    let y = g.add1(Graph::ROOT, op, vec![cond], "if").unwrap();
    g.add_output("y", y);
    let artifact = Artifact::from_bytes(&artifact(g, OptLevel::O2)).unwrap();
    let session = artifact.session(&Runtime::builder().threads(1).build().unwrap()).unwrap();
    let inputs = [
        ("x", TensorView::of(&[3], &[1f32, -2.0, 3.0]).unwrap()),
        ("c", TensorView::new(cascata_types::DType::Bool, &[], &[1]).unwrap()),
    ];
    let (_, fetched) = session.run_fetching(&inputs, &["negated"]).unwrap();
    assert_eq!(fetched[0].as_slice::<f32>().unwrap(), [-1.0, 2.0, -3.0]);
    match session.run_fetching(&inputs, &["absolute"]) {
        Err(RunError::NotComputed { value }) => assert_eq!(value, "absolute"),
        other => panic!("{other:?}"),
    }
}
