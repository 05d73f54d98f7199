//! Ops that bind symbols while they run, and random numbers.

use super::*;
use cascata_ir::op::{BinaryOp, BindMode, Distribution, RandomAttrs};
use cascata_types::{DType, Scalar};

fn non_zero(g: &mut Graph, x: ValueId) -> ValueId {
    let count = bound(&mut g.symbols, "count", 1000);
    g.add1(Graph::ROOT, Op::NonZero { count }, vec![x], "nonzero").unwrap()
}

#[test]
fn non_zero_of_several_dtypes() {
    let floats: Vec<f32> = (0..30).map(|i| [0.0, -0.0, 1.5, f32::NAN][i * 7 % 4]).collect();
    let bools: Vec<bool> = (0..15).map(|i| i % 4 == 1).collect();
    let ints: Vec<i32> = (0..7).map(|i| i % 3).collect();
    for x in [t(&[3, 5, 2], floats), t(&[5, 3], bools), t(&[7], ints), t(&[4], [0i64; 4])] {
        check_graph(vec![Arg::Input(x)], 0.0, |g, v| vec![non_zero(g, v[0])]);
    }
}

/// Compress: what a mask picks is computed with further.
#[test]
fn compress() {
    let mask: Vec<bool> = (0..9).map(|i| i % 3 != 1).collect();
    let args = vec![Arg::Named(t(&[9], mask), &["N"]), Arg::Named(pattern(&[9, 4], 1), &["N", ""])];
    check_graph(args, 1e-6, |g, v| {
        let at = non_zero(g, v[0]);
        let n = g.tensor(at).shape[1].clone();
        let flat = Op::Reshape { shape: [n].into_iter().collect() };
        let at = g.add1(Graph::ROOT, flat, vec![at], "flat").unwrap();
        let rows = g.add1(Graph::ROOT, Op::Gather { axis: 0 }, vec![v[1], at], "rows").unwrap();
        let twice = Op::Binary(BinaryOp::Add);
        vec![g.add1(Graph::ROOT, twice, vec![rows, rows], "twice").unwrap()]
    });
}

fn reshape(allow_zero: bool, rank: usize) -> impl Fn(&mut Graph, Vec<ValueId>) -> Vec<ValueId> {
    move |g, v| {
        let symbols: Vec<_> = (0..rank).map(|_| bound(&mut g.symbols, "d", 100)).collect();
        let mode = BindMode::Reshape { operand: g.tensor(v[0]).shape.clone(), allow_zero };
        let shape = symbols.iter().map(|s| Dim::sym(*s)).collect();
        g.add(Graph::ROOT, Op::BindDims { symbols, mode }, vec![v[1]], "bind").unwrap();
        g.add(Graph::ROOT, Op::Reshape { shape }, vec![v[0]], "reshape").unwrap()
    }
}

#[test]
fn reshape_to_a_computed_shape() {
    for target in [vec![3i64, 8], vec![-1, 4], vec![0, -1], vec![4, 2, -1], vec![0, 0, 2, 2]] {
        let x = Arg::Named(pattern(&[2, 3, 4], 1), &["A", "", "C"]);
        let args = vec![x, Arg::Input(t(&[target.len()], target.clone()))];
        check_graph(args, 0.0, reshape(false, target.len()));
    }
    let args = vec![Arg::Input(pattern(&[2, 0, 4], 1)), Arg::Input(t(&[2], [0i64, 5]))];
    check_graph(args, 0.0, reshape(true, 2));
}

#[test]
fn raw_dims_of_an_input_and_of_a_constant() {
    for constant in [false, true] {
        let target = t(&[2], [8i64, 3]);
        let target = if constant { Arg::Const(target) } else { Arg::Input(target) };
        check_graph(vec![Arg::Input(pattern(&[4, 6], 1)), target], 0.0, |g, v| {
            let symbols: Vec<_> = (0..2).map(|_| bound(&mut g.symbols, "d", 100)).collect();
            let shape = symbols.iter().map(|s| Dim::sym(*s)).collect();
            let op = Op::BindDims { symbols, mode: BindMode::Raw };
            g.add(Graph::ROOT, op, vec![v[1]], "bind").unwrap();
            g.add(Graph::ROOT, Op::Reshape { shape }, vec![v[0]], "reshape").unwrap()
        });
    }
}

#[test]
fn wrong_reshape_targets_are_refused() {
    for (target, text) in [
        ([-1i64, -1], "two dims of -1"),
        ([-2, 12], "below -1"),
        ([5, 5], "number of elements"),
        ([1 << 32, 1 << 32], "too large"),
        ([0, -1], "number of elements"),
    ] {
        let args = vec![Arg::Input(pattern(&[2, 3, 4], 1)), Arg::Input(t(&[2], target))];
        let e = refused(args, reshape(target[0] == 0, 2));
        assert!(e.contains(text), "{e}");
    }
}

#[test]
fn random_numbers() {
    let (low, high) = (Scalar::f32(-2.0), Scalar::f32(5.0));
    for distribution in
        [Distribution::Uniform { low, high }, Distribution::Normal { mean: low, scale: high }]
    {
        for dtype in [DType::F32, DType::F64] {
            let shape = [7, 1, 13].map(Dim::from).into_iter().collect();
            let attrs = RandomAttrs { distribution, dtype, shape, seed: u64::MAX - 5 };
            check(Op::Random(attrs), vec![], 1e-6);
        }
    }
}

fn nms(args: Vec<Arg>, center_point_box: bool) {
    check_graph(args, 0.0, |g, v| {
        let count = bound(&mut g.symbols, "count", 10000);
        let op = Op::NonMaxSuppression { center_point_box, count };
        g.add(Graph::ROOT, op, v, "nms").unwrap()
    });
}

#[test]
fn non_max_suppression() {
    let boxes: Vec<f32> =
        (0..2 * 23 * 4).map(|i| ((i * 37 + i / 4 * 11) % 50) as f32 / 10.0).collect();
    let scores: Vec<f32> = (0..2 * 3 * 23).map(|i| ((i * 29) % 40) as f32 / 40.0).collect();
    for center in [false, true] {
        for (most, iou, score) in
            [(100i64, 0.3f32, 0.2f32), (2, 0.0, 0.5), (0, 0.5, 0.0), (5, 0.6, 2.0)]
        {
            let args = vec![
                Arg::Named(t(&[2, 23, 4], boxes.clone()), &["B", "N", ""]),
                Arg::Named(t(&[2, 3, 23], scores.clone()), &["B", "", "N"]),
                Arg::Input(t(&[], [most])),
                Arg::Const(t(&[], [iou])),
                Arg::Input(t(&[], [score])),
            ];
            nms(args, center);
        }
    }
}
