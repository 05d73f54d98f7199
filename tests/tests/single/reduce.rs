//! Reductions and padding where interpreter and compiled code could part.

use super::*;
use cascata_ir::op::{PadMode, ReduceOp};

fn reduce(op: ReduceOp, axis: usize) -> Op {
    Op::Reduce { op, axes: vec![axis], keep_dims: false }
}

/// The sum wraps at 64 bits.
#[test]
fn mean_of_64_bit_integers() {
    let signed: Vec<i64> = (0..15).map(|i| i64::MAX - i * i * 1_000_003).collect();
    let unsigned: Vec<u64> = (0..15).map(|i| u64::MAX - i * i * 1_000_003).collect();
    for axis in 0..2 {
        check(reduce(ReduceOp::Mean, axis), vec![Arg::Input(t(&[3, 5], signed.clone()))], 0.0);
        check(reduce(ReduceOp::Mean, axis), vec![Arg::Input(t(&[3, 5], unsigned.clone()))], 0.0);
    }
}

#[test]
fn any_and_all() {
    let bools: Vec<bool> = (0..21).map(|i| i * i % 7 < 3 || i < 3).collect();
    for (op, axis) in
        [(ReduceOp::Max, 0), (ReduceOp::Max, 1), (ReduceOp::Min, 0), (ReduceOp::Min, 1)]
    {
        check(reduce(op, axis), vec![Arg::Input(t(&[7, 3], bools.clone()))], 0.0);
    }
}

#[test]
fn an_empty_axis_cannot_be_padded_with_itself() {
    for mode in [PadMode::Edge, PadMode::Wrap, PadMode::Reflect] {
        let x = Arg::Named(t(&[2, 0], Vec::<f32>::new()), &["", "N"]);
        let pads = vec![(Dim::from(0), Dim::from(0)), (Dim::from(1), Dim::from(1))];
        let text = refused(vec![x], |g, v| {
            g.add(Graph::ROOT, Op::Pad { pads, mode }, vec![v[0]], "pad").unwrap()
        });
        assert!(text.contains("empty axis"), "{text}");
        // Nothing is added to nothing.
        let x = Arg::Named(t(&[0, 2], Vec::<f32>::new()), &["N", ""]);
        check_graph(vec![x], 0.0, |g, v| {
            let n = g.tensor(v[0]).shape[0].clone();
            let pads = vec![(n, Dim::from(0)), (Dim::from(1), Dim::from(1))];
            g.add(Graph::ROOT, Op::Pad { pads, mode }, vec![v[0]], "pad").unwrap()
        });
    }
}

/// A contraction or a scan of what is looked up.
#[test]
fn of_gathered_operands() {
    let index = || Arg::Input(t(&[4], [3i64, 0, 2, 2]));
    let gathered = |g: &mut Graph, v: &[ValueId]| {
        g.add1(Graph::ROOT, Op::Gather { axis: 0 }, vec![v[0], v[1]], "rows").unwrap()
    };
    let ops = [
        Op::ArgReduce { max: true, axis: 1, keep_dims: false, select_last: false },
        Op::CumSum { axis: 1, exclusive: false, reverse: true },
        reduce(ReduceOp::Prod, 0),
    ];
    for op in ops {
        let args = vec![Arg::Input(pattern(&[5, 6], 1)), index()];
        check_graph(args, 1e-6, |g, v| {
            let rows = gathered(g, &v);
            g.add(Graph::ROOT, op, vec![rows], "op").unwrap()
        });
    }
    for cast in [cascata_types::DType::F32, cascata_types::DType::I32, cascata_types::DType::F64] {
        let args = vec![Arg::Input(pattern(&[5, 6], 1)), index(), Arg::Input(pattern(&[6, 3], 2))];
        check_graph(args, 1e-5, |g, v| {
            let rows = gathered(g, &v);
            let to = |g: &mut Graph, x| {
                let same = cast == cascata_types::DType::F32;
                if same {
                    x
                } else {
                    g.add1(Graph::ROOT, Op::Cast { to: cast }, vec![x], "cast").unwrap()
                }
            };
            let (a, b) = (to(g, rows), to(g, v[2]));
            g.add(Graph::ROOT, Op::MatMul, vec![a, b], "op").unwrap()
        });
    }
}
