//! What a wrong input, graph or type is reported as.

use super::*;
use cascata_ir::graph::{DimCheck, NodeId, Region, RegionId, ValueId};
use cascata_ir::interp::RunError;
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_ir::types::Dim;

const ROOT: RegionId = Graph::ROOT;

/// `x: f32[B, 2·B], w: f32[N]`, with B in 1..=4.
fn inputs() -> (Graph, ValueId, ValueId) {
    let mut g = Graph::new("inputs");
    let b = Dim::sym(g.symbols.intern("B"));
    let id = g.symbols.lookup("B").unwrap();
    (g.symbols.get_mut(id).min, g.symbols.get_mut(id).max) = (1, 4);
    let n = Dim::sym(g.symbols.intern("N"));
    let x = g.add_param(ROOT, "x", TensorType::dense(DType::F32, vec![b.clone(), b * 2]));
    let w = g.add_param(ROOT, "w", TensorType::dense(DType::F32, vec![n]));
    (g, x, w)
}

fn error(g: &Graph, inputs: &[Tensor]) -> String {
    run(g, inputs).unwrap_err().to_string()
}

#[test]
fn inputs_that_do_not_fit() {
    let (g, ..) = inputs();
    assert!(run(&g, &[count(&[3, 6]), count(&[0])]).is_ok());
    assert_eq!(error(&g, &[]), "the graph takes 2 inputs, 0 were given");
    let text = error(&g, &[t(&[1, 2], [1i64, 2]), count(&[1])]);
    assert_eq!(text, "input 'x' must be f32[B,2*B], found i64[1,2]");
    assert!(error(&g, &[count(&[2]), count(&[1])]).contains("found f32[2]"));
    assert_eq!(
        error(&g, &[count(&[3, 5]), count(&[1])]),
        "input 'x' axis 1 is 5, expected 2*B = 6"
    );
    assert_eq!(
        error(&g, &[count(&[5, 10]), count(&[1])]),
        "input 'x' axis 0 is 5, expected B in 1..=4"
    );
}

#[test]
fn checks_and_unbound_symbols() {
    let (mut g, x, w) = inputs();
    let sum = g.add1(ROOT, Op::Binary(BinaryOp::Add), vec![x, w], "sum").unwrap();
    g.add_output("y", sum);
    assert!(run(&g, &[count(&[2, 4]), count(&[1])]).is_ok());
    let text = error(&g, &[count(&[2, 4]), count(&[3])]);
    assert!(
        text.contains("dims [[2, 4], [3]] do not broadcast") && text.contains("'sum'"),
        "{text}"
    );
    let (b, n) = (g.symbols.lookup("B").unwrap(), g.symbols.lookup("N").unwrap());
    let check = DimCheck { lhs: Dim::sym(b), rhs: Dim::sym(n), what: "node 'join'".into() };
    g.add_check(ROOT, check);
    let text = error(&g, &[count(&[2, 4]), count(&[4])]);
    assert_eq!(text, "node 'join': B = 2 must equal N = 4");
    let free = Dim::sym(g.symbols.intern("free"));
    let fill = Op::Fill { value: f32s(0.0), shape: vec![free] };
    g.regions[ROOT].checks.clear();
    g.add1(ROOT, fill, vec![], "fill").unwrap();
    let text = error(&g, &[count(&[2, 4]), count(&[4])]);
    assert!(text.contains("'fill'") && text.contains("not bound"), "{text}");
}

#[test]
fn op_errors_name_node_and_value() {
    let mut g = Graph::new("gather");
    let x = g.add_param(ROOT, "x", TensorType::fixed(DType::F32, &[3]));
    let i = g.add_param(ROOT, "i", TensorType::fixed(DType::I64, &[1]));
    let y = g.add1(ROOT, Op::Gather { axis: 0 }, vec![x, i], "embed/Gather").unwrap();
    g.values[y].name = "row".into();
    g.add_output("y", y);
    let text = error(&g, &[count(&[3]), t(&[1], [7i64])]);
    let expected =
        "node n0 'embed/Gather' computing %2 'row': index 7 is outside of axis 0 of 3 elements";
    assert_eq!(text, expected);
}

#[test]
fn wrong_types_are_found() {
    let mut g = Graph::new("wrong");
    let x = g.add_param(ROOT, "x", TensorType::fixed(DType::F32, &[3]));
    let wrong = TensorType::fixed(DType::F32, &[4]);
    let y = g.add_node_typed(ROOT, Op::Unary(UnaryOp::Neg), vec![x], vec![wrong.into()], "neg")[0];
    g.add_output("y", y);
    let text = error(&g, &[count(&[3])]);
    assert_eq!(text, "%1 of node n0 'neg' is declared f32[4] but was computed as f32[3]");
    let b = Dim::sym(g.symbols.intern("B"));
    g.values[x].ty = TensorType::dense(DType::F32, vec![b.clone()]).into();
    g.values[y].ty = TensorType::dense(DType::F32, vec![b + 1]).into();
    let text = error(&g, &[count(&[3])]);
    assert!(text.contains("declared f32[B+1] = f32[4]"), "{text}");
    g.values[y].ty = TensorType::fixed(DType::F64, &[3]).into();
    assert!(error(&g, &[count(&[3])]).contains("declared f64[3]"));
}

#[test]
fn malformed_graphs_do_not_panic() {
    let malformed = |g: &Graph, inputs: &[Tensor]| {
        let e = run(g, inputs).unwrap_err();
        assert!(matches!(e, RunError::Malformed(_)), "{e}");
    };
    malformed(&Graph::default(), &[]);
    let mut g = Graph::new("ids");
    g.add_output("y", ValueId(7));
    malformed(&g, &[]);
    let mut g = Graph::new("nodes");
    g.regions[ROOT].nodes.push(NodeId(3));
    malformed(&g, &[]);
    let mut g = Graph::new("early");
    let x = g.add_param(ROOT, "x", TensorType::fixed(DType::F32, &[1]));
    let y = g.add1(ROOT, Op::Unary(UnaryOp::Neg), vec![x], "").unwrap();
    g.regions[ROOT].nodes.clear();
    g.add_output("y", y);
    malformed(&g, &[count(&[1])]);
    // A region that owns itself.
    let mut g = Graph::new("self");
    let cond = g.add_param(ROOT, "c", TensorType::fixed(DType::Bool, &[]));
    let body = g.regions.push(Region::default());
    let op = Op::If { then_region: body, else_region: body, dims: vec![] };
    g.add_node_typed(ROOT, op.clone(), vec![cond], vec![], "");
    g.add_node_typed(body, op, vec![cond], vec![], "");
    let text = error(&g, &[Tensor::scalar(true)]);
    assert!(text.contains("nest deeper"), "{text}");
}
