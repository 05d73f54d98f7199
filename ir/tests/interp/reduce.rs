//! Reductions and searches.

use super::*;
use cascata_ir::op::ReduceOp;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

fn reduce(op: ReduceOp, axes: &[usize], x: &Tensor) -> Tensor {
    apply1(Op::Reduce { op, axes: axes.to_vec(), keep_dims: false }, std::slice::from_ref(x))
}

#[test]
fn reduces_any_axes() {
    let x = count(&[2, 3, 2]);
    assert_eq!(reduce(ReduceOp::Sum, &[1], &x), t(&[2, 2], [6.0f32, 9., 24., 27.]));
    assert_eq!(reduce(ReduceOp::Mean, &[0, 2], &x), t(&[3], [3.5f32, 5.5, 7.5]));
    assert_eq!(reduce(ReduceOp::Max, &[0, 1, 2], &x), t(&[], [11.0f32]));
    let kept = Op::Reduce { op: ReduceOp::Min, axes: vec![0, 2], keep_dims: true };
    assert_eq!(apply1(kept, std::slice::from_ref(&x)), t(&[1, 3, 1], [0.0f32, 2., 4.]));
    assert_eq!(reduce(ReduceOp::Prod, &[0], &t(&[3], [2.0f32, -3., 4.])), t(&[], [-24.0f32]));
    // Sums in f64: 2^24 + 1 + 1 is lost in f32 steps.
    assert_eq!(
        reduce(ReduceOp::Sum, &[0], &t(&[3], [16777216.0f32, 1., 1.])),
        t(&[], [16777218.0f32])
    );
    assert_eq!(reduce(ReduceOp::Sum, &[0], &t(&[2], [127i8, 2])), t(&[], [-127i8]));
    assert_eq!(reduce(ReduceOp::Mean, &[0], &t(&[2], [-4i32, 1])), t(&[], [-1i32]));
    assert_eq!(reduce(ReduceOp::Max, &[0], &t(&[2], [u64::MAX, 1])), t(&[], [u64::MAX]));
    assert_eq!(reduce(ReduceOp::Min, &[0], &t(&[2], [true, false])), t(&[], [false]));
}

#[test]
fn empty_and_nan_reductions() {
    let empty = t::<f32>(&[2, 0], []);
    assert_eq!(reduce(ReduceOp::Sum, &[1], &empty), t(&[2], [0.0f32; 2]));
    assert_eq!(reduce(ReduceOp::Prod, &[1], &empty), t(&[2], [1.0f32; 2]));
    assert_eq!(reduce(ReduceOp::Max, &[1], &empty), t(&[2], [-INF; 2]));
    assert_eq!(reduce(ReduceOp::Min, &[1], &empty), t(&[2], [INF; 2]));
    assert!(reduce(ReduceOp::Mean, &[1], &empty).to_f64().unwrap()[0].is_nan());
    assert_eq!(reduce(ReduceOp::Max, &[0], &t::<i8>(&[0], [])), t(&[], [-128i8]));
    assert_eq!(reduce(ReduceOp::Min, &[0], &t::<u16>(&[0], [])), t(&[], [u16::MAX]));
    assert_eq!(reduce(ReduceOp::Sum, &[0], &empty).dims(), [0]);
    let nan = t(&[2, 2], [1.0, NAN, 3.0, 4.0f32]);
    close(&reduce(ReduceOp::Max, &[1], &nan), &t(&[2], [NAN, 4.0]), 0.0);
    close(&reduce(ReduceOp::Min, &[0], &nan), &t(&[2], [1.0, NAN]), 0.0);
}

#[test]
fn arg_reduce() {
    let arg = |max, select_last, x: Tensor| {
        apply1(Op::ArgReduce { max, axis: 1, keep_dims: false, select_last }, &[x])
    };
    let x = || t(&[2, 4], [3.0f32, 1., 3., 1., -5., -2., -2., -5.]);
    assert_eq!(arg(true, false, x()), t(&[2], [0i64, 1]));
    assert_eq!(arg(true, true, x()), t(&[2], [2i64, 2]));
    assert_eq!(arg(false, false, x()), t(&[2], [1i64, 0]));
    assert_eq!(arg(false, true, x()), t(&[2], [3i64, 3]));
    let nan = || t(&[1, 4], [1.0, NAN, 9.0, NAN]);
    assert_eq!(arg(true, false, nan()), t(&[1], [1i64]));
    assert_eq!(arg(false, true, nan()), t(&[1], [3i64]));
    let kept = Op::ArgReduce { max: true, axis: 0, keep_dims: true, select_last: false };
    assert_eq!(apply1(kept, &[t(&[2, 2], [1u8, 9, 200, 3])]), t(&[1, 2], [1i64, 0]));
    let empty = Op::ArgReduce { max: true, axis: 0, keep_dims: true, select_last: false };
    assert!(fails(empty.clone(), &[t::<f32>(&[0, 2], [])]).contains("no extreme"));
    assert_eq!(apply1(empty, &[t::<f32>(&[0, 0], [])]).dims(), [1, 0]);
}

#[test]
fn cum_sum() {
    let sum = |exclusive, reverse| {
        let x = t(&[2, 3], [1.0f32, 2., 3., 4., 5., 6.]);
        let y = apply1(Op::CumSum { axis: 1, exclusive, reverse }, &[x]);
        y.as_slice::<f32>().unwrap().to_vec()
    };
    assert_eq!(sum(false, false), [1., 3., 6., 4., 9., 15.]);
    assert_eq!(sum(true, false), [0., 1., 3., 0., 4., 9.]);
    assert_eq!(sum(false, true), [6., 5., 3., 15., 11., 6.]);
    assert_eq!(sum(true, true), [5., 3., 0., 11., 6., 0.]);
    let x = t(&[3, 1], [100i8, 100, 1]);
    let y = apply1(Op::CumSum { axis: 0, exclusive: false, reverse: false }, &[x]);
    assert_eq!(y, t(&[3, 1], [100i8, -56, -55]));
}

#[test]
fn top_k_orders_ties_and_nan() {
    let top = |k: i64, axis, largest, x: Tensor| {
        apply(Op::TopK { k: k.into(), axis, largest, sorted: true }, &[x])
    };
    let x = || t(&[1, 5], [2.0, 7.0, NAN, 7.0, -INF]);
    let y = top(4, 1, true, x());
    close(&y[0], &t(&[1, 4], [NAN, 7.0, 7.0, 2.0]), 0.0);
    assert_eq!(y[1], t(&[1, 4], [2i64, 1, 3, 0]));
    let y = top(5, 1, false, x());
    close(&y[0], &t(&[1, 5], [-INF, 2.0, 7.0, 7.0, NAN]), 0.0);
    assert_eq!(y[1], t(&[1, 5], [4i64, 0, 1, 3, 2]));
    let y = top(1, 0, true, t(&[3, 2], [1i32, 6, 5, 2, 5, 6]));
    assert_eq!(y, [t(&[1, 2], [5i32, 6]), t(&[1, 2], [1i64, 0])]);
    assert_eq!(top(0, 0, true, count(&[3]))[0].dims(), [0]);
    let op = Op::TopK { k: 4.into(), axis: 0, largest: true, sorted: true };
    assert_eq!(fails(op, &[count(&[3])]), "k = 4 is more than the 3 elements along axis 0");
}

#[test]
fn non_zero_in_row_major_order() {
    let mut graph = Graph::new("nz");
    let count = graph.symbols.fresh("n", 0, 100);
    let x = graph.add_param(Graph::ROOT, "x", TensorType::fixed(DType::F32, &[2, 3]));
    let y = graph.add1(Graph::ROOT, Op::NonZero { count }, vec![x], "").unwrap();
    graph.add_output("y", y);
    let out = run(&graph, &[t(&[2, 3], [0.0, 1.0, -0.0, NAN, 0.0, 2.0f32])]).unwrap();
    assert_eq!(out, [t(&[2, 3], [0i64, 1, 1, 1, 0, 2])]);
    let scalar = eval_op(&Op::NonZero { count }, &[&t(&[], [5i8])], &|_| None).unwrap();
    assert_eq!(scalar[0].dims(), [0, 1]);
    let none = eval_op(&Op::NonZero { count }, &[&t(&[2], [false, false])], &|_| None).unwrap();
    assert_eq!(none[0].dims(), [1, 0]);
}

fn nms(
    boxes: &[[f32; 4]],
    scores: &[f32],
    most: i64,
    iou: f32,
    score: f32,
    center: bool,
) -> Vec<i64> {
    let mut graph = Graph::new("nms");
    let count = graph.symbols.fresh("n", 0, 100);
    let inputs = [
        t(&[1, boxes.len(), 4], boxes.concat()),
        t(&[1, 1, scores.len()], scores.to_vec()),
        Tensor::scalar(most),
        Tensor::scalar(iou),
        Tensor::scalar(score),
    ];
    let values = inputs.iter().map(|x| {
        let dims: Vec<i64> = x.dims().iter().map(|&d| d as i64).collect();
        graph.add_param(Graph::ROOT, "x", TensorType::fixed(x.dtype(), &dims))
    });
    let values = values.collect();
    let op = Op::NonMaxSuppression { center_point_box: center, count };
    let y = graph.add1(Graph::ROOT, op, values, "").unwrap();
    graph.add_output("y", y);
    let out = run(&graph, &inputs).unwrap();
    out[0].as_slice::<i64>().unwrap().chunks(3).map(|c| c[2]).collect()
}

#[test]
fn non_max_suppression() {
    let boxes = [
        [0.0, 0.0, 1.0, 1.0],
        [0.0, 0.1, 1.0, 1.1],
        // Flipped corners of box 0 moved by −0.1.
        [1.0, 0.9, 0.0, -0.1],
        [0.0, 10.0, 1.0, 11.0],
        [0.0, 10.1, 1.0, 11.1],
        [0.0, 100.0, 1.0, 101.0],
    ];
    let scores = [0.9, 0.75, 0.6, 0.95, 0.5, 0.3];
    assert_eq!(nms(&boxes, &scores, 3, 0.5, 0.0, false), [3, 0, 5]);
    assert_eq!(nms(&boxes, &scores, 2, 0.5, 0.0, false), [3, 0]);
    assert_eq!(nms(&boxes, &scores, 9, 0.5, 0.4, false), [3, 0]);
    assert_eq!(nms(&boxes, &scores, 0, 0.5, 0.0, false), [0i64; 0]);
    assert_eq!(nms(&boxes, &scores, 9, 1.0, -INF, false), [3, 0, 1, 2, 4, 5]);
    let centers = [[0.5, 0.5, 1.0, 1.0], [0.6, 0.5, 1.0, 1.0], [5.0, 5.0, 2.0, 1.0]];
    assert_eq!(nms(&centers, &[0.5, 0.5, 0.5], 9, 0.5, 0.0, true), [0, 2]);
    assert_eq!(nms(&centers, &[NAN, 0.5, 0.5], 9, 0.5, 0.0, true), [1, 2]);
}
