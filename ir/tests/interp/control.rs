//! If, Loop, Scan, Group, state, data-dependent dims.

use super::*;
use cascata_ir::graph::{RegionId, ValueId};
use cascata_ir::interp::{RunError, Value, run_recorded, run_values};
use cascata_ir::op::{BinaryOp, BindMode, GroupKind, ScanAttrs, UnaryOp};
use cascata_ir::types::{Dim, SymbolId};

const ROOT: RegionId = Graph::ROOT;

fn ty(dtype: DType, dims: &[i64]) -> TensorType {
    TensorType::fixed(dtype, dims)
}

fn konst(graph: &mut Graph, region: RegionId, x: &Tensor) -> ValueId {
    let dims: Vec<i64> = x.dims().iter().map(|&d| d as i64).collect();
    graph.add_const(region, "", ty(x.dtype(), &dims), x.to_le_bytes().into())
}

#[test]
fn if_captures_outer_values() {
    let mut g = Graph::new("if");
    let cond = g.add_param(ROOT, "cond", ty(DType::Bool, &[]));
    let x = g.add_param(ROOT, "x", ty(DType::F32, &[2]));
    let (yes, no) = (g.add_region(), g.add_region());
    let a = g.add1(yes, Op::Unary(UnaryOp::Neg), vec![x], "").unwrap();
    g.regions[yes].results = vec![a];
    g.regions[no].results = vec![x];
    let op = Op::If { then_region: yes, else_region: no, dims: vec![] };
    let y = g.add1(ROOT, op, vec![cond], "").unwrap();
    g.add_output("y", y);
    let x = t(&[2], [1.0f32, -2.0]);
    let neg = t(&[2], [-1.0f32, 2.0]);
    assert_eq!(run(&g, &[Tensor::scalar(true), x.clone()]).unwrap(), [neg]);
    assert_eq!(run(&g, &[Tensor::scalar(false), x.clone()]).unwrap(), [x]);
}

/// `carried += iteration`, stacked after each step, while `carried < 4`.
fn loop_graph() -> (Graph, SymbolId) {
    let mut g = Graph::new("loop");
    let trip = g.add_param(ROOT, "trip", ty(DType::I64, &[]));
    let cond = g.add_param(ROOT, "cond", ty(DType::Bool, &[]));
    let start = g.add_param(ROOT, "start", ty(DType::I64, &[1]));
    let count = g.symbols.fresh("n", 0, 6);
    let body = g.add_region();
    let i = g.add_param(body, "i", ty(DType::I64, &[]));
    g.add_param(body, "cond", ty(DType::Bool, &[]));
    let sum = g.add_param(body, "sum", ty(DType::I64, &[1]));
    let next = g.add1(body, Op::Binary(BinaryOp::Add), vec![sum, i], "add").unwrap();
    let limit = konst(&mut g, body, &t(&[], [4i64]));
    let below = g.add1(body, Op::Binary(BinaryOp::Lt), vec![next, limit], "").unwrap();
    let go = g.add1(body, Op::Reshape { shape: vec![] }, vec![below], "").unwrap();
    g.regions[body].results = vec![go, next, next];
    let op = Op::Loop { body, carried: 1, count, dims: vec![] };
    let out = g.add(ROOT, op, vec![trip, cond, start], "loop").unwrap();
    g.add_output("sum", out[0]);
    g.add_output("all", out[1]);
    (g, count)
}

#[test]
fn loop_ends_by_trip_condition_or_at_once() {
    let (g, _) = loop_graph();
    let go = |trip: i64, cond: bool, start: i64| {
        run(&g, &[Tensor::scalar(trip), Tensor::scalar(cond), t(&[1], [start])])
    };
    assert_eq!(go(3, true, 0).unwrap(), [t(&[1], [3i64]), t(&[3, 1], [0i64, 1, 3])]);
    assert_eq!(go(i64::MAX, true, 0).unwrap(), [t(&[1], [6i64]), t(&[4, 1], [0i64, 1, 3, 6])]);
    assert_eq!(go(3, false, 5).unwrap(), [t(&[1], [5i64]), t::<i64>(&[0, 1], [])]);
    assert_eq!(go(-1, true, 5).unwrap(), [t(&[1], [5i64]), t::<i64>(&[0, 1], [])]);
    // The count may not leave the range 0..=6 of its symbol, however long the loop.
    let error = go(i64::MAX, true, -100).unwrap_err().to_string();
    assert!(error.contains("symbol n is bound to 7"), "{error}");
}

#[test]
fn scan_in_both_directions() {
    let mut g = Graph::new("scan");
    let state = g.add_param(ROOT, "s", ty(DType::F32, &[]));
    let x = g.add_param(ROOT, "x", ty(DType::F32, &[2, 3]));
    let body = g.add_region();
    let s = g.add_param(body, "s", ty(DType::F32, &[]));
    let slice = g.add_param(body, "x", ty(DType::F32, &[2]));
    let reduce = Op::Reduce { op: cascata_ir::op::ReduceOp::Sum, axes: vec![0], keep_dims: false };
    let part = g.add1(body, reduce, vec![slice], "").unwrap();
    let next = g.add1(body, Op::Binary(BinaryOp::Add), vec![s, part], "").unwrap();
    let row = g.add1(body, Op::Binary(BinaryOp::Add), vec![slice, next], "").unwrap();
    g.regions[body].results = vec![next, row];
    let attrs = ScanAttrs { body, states: 1, inputs: vec![(1, true)], outputs: vec![(1, true)] };
    let out = g.add(ROOT, Op::Scan(attrs), vec![state, x], "").unwrap();
    g.add_output("s", out[0]);
    g.add_output("y", out[1]);
    // Columns from the right: (2,5) → 7, (1,4) → 12, (0,3) → 15; filled from the right too.
    let y = run(&g, &[Tensor::scalar(0.0f32), count(&[2, 3])]).unwrap();
    assert_eq!(y, [Tensor::scalar(15.0f32), t(&[2, 3], [15.0f32, 13., 9., 18., 16., 12.])]);
}

#[test]
fn group_computes_its_body() {
    let mut g = Graph::new("group");
    let x = g.add_param(ROOT, "x", ty(DType::F32, &[3]));
    let body = g.add_region();
    let p = g.add_param(body, "p", ty(DType::F32, &[3]));
    let y = g.add1(body, Op::Unary(UnaryOp::Neg), vec![p], "").unwrap();
    g.regions[body].results = vec![y];
    let y = g.add1(ROOT, Op::Group { kind: GroupKind::Map, body }, vec![x], "").unwrap();
    g.add_output("y", y);
    assert_eq!(run(&g, &[count(&[3])]).unwrap(), [t(&[3], [0.0f32, -1., -2.])]);
}

#[test]
fn state_grows_and_is_read() {
    let mut g = Graph::new("state");
    let b = g.symbols.intern("B");
    let len = g.symbols.fresh("len", 0, 9);
    let x = g.add_param(ROOT, "x", TensorType::dense(DType::F32, vec![Dim::sym(b), 2.into()]));
    let empty = Op::StateEmpty { ty: ty(DType::F32, &[0, 2]), axis: 0 };
    let s = g.add1(ROOT, empty, vec![], "").unwrap();
    let s = g.add1(ROOT, Op::StateAppend, vec![s, x], "").unwrap();
    let s = g.add1(ROOT, Op::StateAppend, vec![s, x], "").unwrap();
    let read = Op::StateRead {
        ty: TensorType::dense(DType::F32, vec![Dim::sym(len), 2.into()]),
        length: len,
    };
    let y = g.add1(ROOT, read.clone(), vec![s], "").unwrap();
    g.add_output("y", y);
    let out = run(&g, &[t(&[1, 2], [3.0f32, 4.0])]).unwrap();
    assert_eq!(out, [t(&[2, 2], [3.0f32, 4., 3., 4.])]);
    assert_eq!(run(&g, &[t::<f32>(&[0, 2], [])]).unwrap()[0].dims(), [0, 2]);
    // A resource that was appended to is used up.
    let first = g.root().nodes[1];
    let used = g.nodes[first].inputs[0];
    let node = g.root().nodes[2];
    g.nodes[node].inputs[0] = used;
    let error = run(&g, &[count(&[1, 2])]).unwrap_err().to_string();
    assert!(error.contains("before it is computed"), "{error}");
}

#[test]
fn resources_cross_the_graph_border() {
    let mut g = Graph::new("step");
    let s = g.add_param(ROOT, "kv", cascata_ir::types::ValueType::Resource("state".into()));
    let x = g.add_param(ROOT, "x", ty(DType::F32, &[1, 2]));
    let s2 = g.add1(ROOT, Op::StateAppend, vec![s, x], "").unwrap();
    g.add_output("kv", s2);
    let held = Value::State { axis: 0, tensor: count(&[2, 2]).into() };
    let out = run_values(&g, &[held, count(&[1, 2]).into()], &mut |_, _| {}).unwrap();
    assert_eq!(out[0].tensor(), &t(&[3, 2], [0.0f32, 1., 2., 3., 0., 1.]));
    let error = run(&g, &[count(&[2, 2]), count(&[1, 2])]).unwrap_err();
    assert!(matches!(error, RunError::InputType { .. }), "{error}");
}

/// Reshapes `x: f32[2,3,4]` to dims read from an input.
fn dynamic_reshape(mode: impl Fn(Vec<Dim>) -> BindMode) -> Graph {
    let mut g = Graph::new("reshape");
    let x = g.add_param(ROOT, "x", ty(DType::F32, &[2, 3, 4]));
    let target = g.add_param(ROOT, "target", ty(DType::I64, &[2]));
    let symbols: Vec<SymbolId> = ["a", "b"].map(|n| g.symbols.fresh(n, 0, 100)).to_vec();
    let mode = mode(vec![2.into(), 3.into(), 4.into()]);
    g.add(ROOT, Op::BindDims { symbols: symbols.clone(), mode }, vec![target], "bind").unwrap();
    let shape = symbols.iter().map(|&s| Dim::sym(s)).collect();
    let y = g.add1(ROOT, Op::Reshape { shape }, vec![x], "reshape").unwrap();
    g.add_output("y", y);
    g
}

#[test]
fn bind_dims_in_both_modes() {
    let go = |g: &Graph, target: [i64; 2]| run(g, &[count(&[2, 3, 4]), t(&[2], target)]);
    let dims = |r: Result<Vec<Tensor>, RunError>| r.unwrap()[0].dims().to_vec();
    let error = |r: Result<Vec<Tensor>, RunError>| r.unwrap_err().to_string();
    let reshape = dynamic_reshape(|operand| BindMode::Reshape { operand, allow_zero: false });
    assert_eq!(dims(go(&reshape, [-1, 6])), [4, 6]);
    assert_eq!(dims(go(&reshape, [0, -1])), [2, 12]);
    assert!(error(go(&reshape, [-1, -1])).contains("-1 occurs twice"));
    assert!(error(go(&reshape, [-1, 7])).contains("no size for -1"));
    assert!(error(go(&reshape, [-2, 6])).contains("below -1"));
    assert!(error(go(&reshape, [5, 6])).contains("number of elements"));
    let zero = dynamic_reshape(|operand| BindMode::Reshape { operand, allow_zero: true });
    assert!(error(go(&zero, [0, 6])).contains("number of elements"));
    let raw = dynamic_reshape(|_| BindMode::Raw);
    assert_eq!(dims(go(&raw, [3, 8])), [3, 8]);
    assert!(error(go(&raw, [-1, 8])).contains("symbol a is bound to -1"));
    // The check between element counts is made as soon as the symbols are bound.
    let text = error(go(&raw, [3, 7]));
    assert!(text.contains("24") && text.contains("must equal"), "{text}");
}

#[test]
fn observers_see_every_value() {
    let (g, _) = loop_graph();
    let inputs = [Tensor::scalar(3i64), Tensor::scalar(true), t(&[1], [0i64])];
    let recorded = run_recorded(&g, &inputs).unwrap();
    assert!(g.values.ids().all(|v| recorded.values[v].is_some()));
    let body_sum = g.regions[RegionId(1)].params[2];
    assert_eq!(recorded.values[body_sum].as_ref().unwrap().tensor(), &t(&[1], [1i64]));
}
