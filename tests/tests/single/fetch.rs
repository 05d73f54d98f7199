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
