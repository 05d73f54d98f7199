//! What inference refuses, what it records, and how it says so.

use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::infer::{InferError, infer};
use cascata_ir::op::*;
use cascata_ir::types::*;

/// A graph with inputs of the given types (as `f32[B,3]`).
fn graph(types: &[&str]) -> (Graph, Vec<ValueId>) {
    let mut text =
        String::from("graph \"g\" { symbol B in 1..=64 symbol N in 2..=9 symbol Z in 0..=5 body(");
    for (i, t) in types.iter().enumerate() {
        text += &format!("{}%{i} : {t}", if i > 0 { ", " } else { "" });
    }
    let g = cascata_ir::parse::parse(&(text + ") { return } }")).expect("a graph");
    let inputs = g.inputs().to_vec();
    (g, inputs)
}

/// The result types and checks as text.
fn ok(op: Op, types: &[&str]) -> (String, Vec<String>) {
    let (mut g, inputs) = graph(types);
    let results = g.add(Graph::ROOT, op, inputs, "node").expect("it types");
    let shown: Vec<String> = results.iter().map(|v| g.ty(*v).display(&g.symbols)).collect();
    let check = |c: &cascata_ir::graph::DimCheck| {
        format!("{} == {}", c.lhs.display(&g.symbols), c.rhs.display(&g.symbols))
    };
    (shown.join(", "), g.root().checks.iter().map(check).collect())
}

fn bad(op: Op, types: &[&str]) -> InferError {
    let (mut g, inputs) = graph(types);
    let before = (g.nodes.len(), g.root().checks.len());
    let error = g.add(Graph::ROOT, op, inputs, "node").expect_err("it must not type");
    assert_eq!(
        (g.nodes.len(), g.root().checks.len()),
        before,
        "a failed add leaves the graph alone"
    );
    error
}

fn add() -> Op {
    Op::Binary(BinaryOp::Add)
}

#[test]
fn errors_name_op_operands_rule_and_remedy() {
    let text = bad(Op::MatMul, &["f32[B,3]", "f32[4,5]"]).to_string();
    for part in ["node 'node'", "matmul(f32[B,3], f32[4,5])", "3 and 4 must be equal", "; "] {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    let text = bad(add(), &["f32[2]", "i32[2]"]).to_string();
    assert!(text.contains("f32 and i32") && text.contains("cast"), "{text}");
}

#[test]
fn dims_that_may_agree_are_checked_and_dims_that_cannot_are_refused() {
    assert_eq!(ok(Op::MatMul, &["f32[5,B]", "f32[B,7]"]), ("f32[5,7]".into(), vec![]));
    assert_eq!(ok(Op::MatMul, &["f32[5,B]", "f32[N,7]"]).1, ["B == N"]);
    assert_eq!(ok(Op::MatMul, &["f32[5,B]", "f32[12,7]"]).1, ["B == 12"]);
    // N is at most 9, B + 64 at least 65.
    bad(Op::MatMul, &["f32[5,N]", "f32[12,7]"]);
    bad(Op::MatMul, &["f32[5,N]", "f32[B+64,7]"]);
    let concat = Op::Concat { axis: 1 };
    assert_eq!(
        ok(concat.clone(), &["f32[B,3]", "f32[5,Z]"]),
        ("f32[5,Z+3]".into(), vec!["B == 5".into()])
    );
    bad(concat, &["f32[4,3]", "f32[5,3]"]);
}

#[test]
fn broadcasting() {
    assert_eq!(ok(add(), &["f32[B,1,7]", "f32[3,1]"]), ("f32[B,3,7]".into(), vec![]));
    assert_eq!(ok(add(), &["f32[B]", "f32[Z]"]), ("f32[bcast(B,Z)]".into(), vec![]));
    // B must turn out to be 1 or 5: (B − 1)·(B − 5) = 0.
    let either = vec!["B*B-6*B+5 == 0".to_string()];
    assert_eq!(ok(add(), &["f32[B]", "f32[5]"]), ("f32[5]".into(), either));
    assert_eq!(ok(add(), &["f32[]", "f32[0]"]), ("f32[0]".into(), vec![]));
    // N is never 1, so it must be the 5.
    assert_eq!(ok(add(), &["f32[N]", "f32[5]"]), ("f32[5]".into(), vec!["N == 5".into()]));
    bad(add(), &["f32[N]", "f32[12]"]);
    bad(add(), &["f32[3]", "f32[4]"]);
    let to = |shape: &[i64]| Op::Broadcast { shape: shape.iter().map(|d| Dim::from(*d)).collect() };
    assert_eq!(ok(to(&[4, 3]), &["f32[3]"]).0, "f32[4,3]");
    bad(to(&[3]), &["f32[4,3]"]);
    bad(to(&[1]), &["f32[3]"]);
    assert_eq!(ok(to(&[1]), &["f32[B]"]).1, ["B == 1"]);
}

#[test]
fn reshape_keeps_the_element_count() {
    let shape = |dims: &[Dim]| Op::Reshape { shape: dims.to_vec() };
    let b = Dim::sym(SymbolId(0));
    assert_eq!(ok(shape(&[b.clone() * 3, 4.into()]), &["f32[B,12]"]).1, Vec::<String>::new());
    assert_eq!(ok(shape(&[6.into(), 2.into()]), &["f32[B,3]"]).1, ["3*B == 12"]);
    bad(shape(&[5.into()]), &["f32[2,3]"]);
    bad(shape(&[1000.into()]), &["f32[B,3]"]);
    assert_eq!(ok(shape(&[]), &["f32[1,1]"]).0, "f32[]");
    assert_eq!(ok(shape(&[0.into(), 7.into()]), &["f32[3,0]"]).0, "f32[0,7]");
}

#[test]
fn windows() {
    let conv = |strides: &[i64], pads: &[(i64, i64)], dilations: &[i64], groups| {
        Op::Conv(ConvAttrs {
            strides: strides.into(),
            pads: pads.into(),
            dilations: dilations.into(),
            groups,
            layout: ChannelLayout::First,
        })
    };
    let plain = |groups| conv(&[2, 1], &[(1, 1), (0, 0)], &[1, 2], groups);
    assert_eq!(ok(plain(1), &["f32[B,3,9,11]", "f32[4,3,3,2]", "f32[4]"]).0, "f32[B,4,5,9]");
    bad(plain(2), &["f32[B,3,9,11]", "f32[4,3,3,2]"]);
    bad(plain(3), &["f32[B,3,9,11]", "f32[4,1,3,2]"]);
    bad(plain(0), &["f32[B,3,9,11]", "f32[4,3,3,2]"]);
    bad(plain(1), &["f32[B,3,9,11]", "f32[4,3,3,2]", "f32[5]"]);
    bad(plain(1), &["f32[B,3,9,11]", "f32[4,3,30,2]"]);
    bad(conv(&[0, 1], &[(0, 0); 2], &[1, 1], 1), &["f32[B,3,9,11]", "f32[4,3,3,2]"]);
    bad(conv(&[1], &[(0, 0); 2], &[1, 1], 1), &["f32[B,3,9,11]", "f32[4,3,3,2]"]);
    let pool = |kernel: i64, stride: i64, pad: (i64, i64), ceil_mode| {
        Op::Pool(PoolAttrs {
            kind: PoolKind::Average { count_pad: false },
            kernel: vec![kernel],
            strides: vec![stride],
            pads: vec![pad],
            dilations: vec![1],
            ceil_mode,
            layout: ChannelLayout::First,
        })
    };
    assert_eq!(ok(pool(3, 2, (0, 0), false), &["f32[1,2,6]"]).0, "f32[1,2,2]");
    assert_eq!(ok(pool(3, 2, (0, 0), true), &["f32[1,2,6]"]).0, "f32[1,2,3]");
    // A fourth window would start in the end padding only.
    assert_eq!(ok(pool(2, 2, (0, 1), true), &["f32[1,2,6]"]).0, "f32[1,2,3]");
    assert_eq!(ok(pool(2, 2, (0, 0), true), &["f32[1,2,B]"]).0, "f32[1,2,floordiv(B+1,2)]");
}

#[test]
fn axes_and_attributes_out_of_range() {
    let x = &["f32[B,3]"];
    bad(Op::Softmax { axis: 2 }, x);
    bad(Op::Transpose { perm: vec![0, 0] }, x);
    bad(Op::Transpose { perm: vec![0] }, x);
    bad(Op::Reduce { op: ReduceOp::Sum, axes: vec![1, 0], keep_dims: false }, x);
    bad(Op::Reduce { op: ReduceOp::Sum, axes: vec![], keep_dims: false }, x);
    let top = |k: i64| Op::TopK { k: k.into(), axis: 1, largest: true, sorted: true };
    bad(top(4), x);
    bad(top(-1), x);
    assert_eq!(ok(top(2), x).0, "f32[B,2], i64[B,2]");
    let slice = |start: i64, len: i64, step| Op::Slice {
        ranges: vec![SliceRange { axis: 1, start: start.into(), len: len.into(), step }],
    };
    assert_eq!(ok(slice(2, 3, -1), x).0, "f32[B,3]");
    assert_eq!(ok(slice(7, 0, 1), x).0, "f32[B,0]");
    for (start, len, step) in [(1, 3, 1), (1, 3, -1), (-1, 1, 1), (0, -1, 1), (0, 1, 0), (3, 1, 1)]
    {
        bad(slice(start, len, step), x);
    }
    bad(Op::Fill { value: Scalar::f32(0.0), shape: vec![(-3).into()] }, &[]);
    bad(add(), x);
    bad(Op::Unary(UnaryOp::Exp), &["i32[3]"]);
    bad(Op::Unary(UnaryOp::Exp), &["seq<f32>"]);
    bad(Op::Unary(UnaryOp::Exp), &["f32[32]:q8_0"]);
    bad(Op::Binary(BinaryOp::And), &["i32[3]", "i32[3]"]);
}

#[test]
fn packed_operands() {
    assert_eq!(ok(Op::MatMul, &["f32[B,96]", "f32[96,64]:panels(96x64/48/1)"]).0, "f32[B,64]");
    bad(Op::MatMul, &["f32[B,96]", "f32[96,64]:panels(64x96/48/1)"]);
    assert_eq!(ok(Op::Gather { axis: 0 }, &["f32[100,32]:q4_0", "i64[B]"]).0, "f32[B,32]");
    let pack = |encoding| Op::Pack { encoding };
    bad(pack(Encoding::Quant(QuantFormat::Q4_0)), &["f32[3,33]"]);
    assert_eq!(ok(pack(Encoding::Dense), &["f32[100,32]:q4_0"]).0, "f32[100,32]");
}

#[test]
fn grouped_heads_divide() {
    let attention = || {
        Op::Attention(AttentionAttrs {
            scale: Scalar::f32(1.0),
            causal: true,
            zero_masked_rows: false,
        })
    };
    let kv = ["f32[B,2,7,16]", "f32[B,2,7,24]"];
    assert_eq!(ok(attention(), &["f32[B,8,5,16]", kv[0], kv[1], "f32[5,7]"]).0, "f32[B,8,5,24]");
    bad(attention(), &["f32[B,7,5,16]", kv[0], kv[1]]);
    bad(attention(), &["f32[B,8,5,16]", kv[0], kv[1], "f32[5,8]"]);
    bad(attention(), &["f32[B,8,5,16]", "f32[B,0,7,16]", "f32[B,0,7,24]"]);
}

#[test]
fn branches_and_bodies_must_agree() {
    let (mut g, inputs) = graph(&["bool[]", "f32[B]", "f32[N]", "i64[]"]);
    let [then_region, else_region] = [g.add_region(), g.add_region()];
    g.regions[then_region].results = vec![inputs[1]];
    g.regions[else_region].results = vec![inputs[2]];
    let op = Op::If { then_region, else_region, dims: vec![] };
    let error = g.add(Graph::ROOT, op, vec![inputs[0]], "if").expect_err("branches differ");
    assert!(error.rule.contains("f32[B]") && error.rule.contains("f32[N]"), "{error}");
    let body = g.add_region();
    let count = g.symbols.fresh("count", 0, 10);
    let op = Op::Loop { body, carried: 1, count, dims: vec![] };
    let error = g.add(Graph::ROOT, op.clone(), vec![inputs[3], inputs[0], inputs[1]], "loop");
    assert!(error.expect_err("no parameters").rule.contains("parameters of the body"));
    for ty in [g.ty(inputs[3]).clone(), g.ty(inputs[0]).clone(), g.ty(inputs[1]).clone()] {
        g.add_param(body, "", ty);
    }
    let cond = g.regions[body].params[1];
    g.regions[body].results = vec![cond, inputs[2], inputs[1]];
    let error = g.add(Graph::ROOT, op.clone(), vec![inputs[3], inputs[0], inputs[1]], "loop");
    assert!(error.expect_err("the shape changes").fix.contains("`dims`"));
    g.regions[body].results[1] = inputs[1];
    let results =
        g.add(Graph::ROOT, op, vec![inputs[3], inputs[0], inputs[1]], "loop").expect("a loop");
    assert_eq!(g.ty(results[1]).display(&g.symbols), "f32[count,B]");
}

#[test]
fn a_bound_symbol_must_be_data_dependent() {
    let (g, inputs) = graph(&["f32[B]"]);
    for count in [SymbolId(0), SymbolId(99)] {
        let error = infer(&Op::NonZero { count }, &[g.ty(inputs[0])], &g.symbols, &g);
        assert!(error.expect_err("not data-dependent").fix.contains("fresh"));
    }
}

#[test]
fn checks_name_their_node_and_are_recorded_once() {
    let (mut g, inputs) = graph(&["f32[3,B]", "f32[N,4]"]);
    for source in ["first", "second"] {
        g.add1(Graph::ROOT, Op::MatMul, inputs.clone(), source).expect("it types");
    }
    assert_eq!(g.root().checks.len(), 1);
    let what = &g.root().checks[0].what;
    assert!(what.starts_with("first: matmul: K"), "{what}");
    let v = g.add1(Graph::ROOT, Op::Unary(UnaryOp::Exp), vec![inputs[0]], "").expect("it types");
    assert_eq!(g.def_node(v).map(|n| n.source.clone()), Some(format!("exp {v}")));
}
