//! TopK, pooling with indices, LRN. Values move or are counted exactly; LRN has f32 powers.

use super::*;
use cascata_ir::op::{ChannelLayout, LrnAttrs, PoolAttrs, PoolKind};
use cascata_types::Scalar;

fn top_k(k: Dim, axis: usize, largest: bool) -> Op {
    Op::TopK { k, axis, largest, sorted: true }
}

#[test]
fn top_k_on_every_axis() {
    for largest in [false, true] {
        for (axis, ks) in [(0, [1, 3]), (1, [4, 7]), (2, [1, 5]), (1, [0, 2])] {
            for k in ks {
                let x = pattern(&[3, 7, 5], axis);
                check(top_k(k.into(), axis, largest), vec![Arg::Input(x)], 0.0);
            }
        }
    }
}

#[test]
fn top_k_with_nan_and_signed_zero() {
    let nan = f32::NAN;
    let x = t(&[2, 6], [1.0, nan, 3.0, nan, -0.0, 0.0, nan, nan, nan, -1.0, f32::INFINITY, nan]);
    for largest in [false, true] {
        for k in [1, 3, 6] {
            check(top_k(k.into(), 1, largest), vec![Arg::Input(x.clone())], 0.0);
        }
    }
}

#[test]
fn top_k_of_other_dtypes_and_named_dims() {
    let ints: Vec<i64> = (0..33).map(|i| (i * 7) % 11 - 5).collect();
    check(top_k(4.into(), 1, true), vec![Arg::Input(t(&[3, 11], ints))], 0.0);
    let bytes: Vec<u8> = (0..22).map(|i| (i * 91 % 256) as u8).collect();
    check(top_k(11.into(), 1, false), vec![Arg::Input(t(&[2, 11], bytes))], 0.0);
    let x = Arg::Named(pattern(&[5, 9], 2), &["B", "N"]);
    check_graph(vec![x], 0.0, |g, v| {
        let n = Dim::sym(g.symbols.intern("N"));
        g.add(Graph::ROOT, top_k(n.minimum(&6.into()), 1, true), v, "top").unwrap()
    });
}

fn pool(kernel: &[i64], strides: &[i64], pads: &[(i64, i64)], column_major: bool) -> Op {
    Op::Pool(PoolAttrs {
        kind: PoolKind::Max { indices: true, column_major },
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        pads: pads.to_vec(),
        dilations: vec![1; kernel.len()],
        ceil_mode: false,
        layout: ChannelLayout::First,
    })
}

#[test]
fn max_pool_with_indices() {
    for column_major in [false, true] {
        let x = pattern(&[2, 3, 7, 5], 3);
        let op = pool(&[3, 2], &[2, 1], &[(1, 1), (0, 1)], column_major);
        check(op, vec![Arg::Input(x)], 0.0);
    }
    let lowest =
        t(&[1, 2, 4], [f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0, 2.0, 2.0, 2.0, 1.0]);
    check(pool(&[2], &[1], &[(0, 0)], false), vec![Arg::Input(lowest)], 0.0);
    let x = Arg::Named(pattern(&[3, 1, 6], 3), &["B", "", "S"]);
    check(pool(&[2], &[2], &[(0, 0)], false), vec![x], 0.0);
}

#[test]
fn lrn() {
    let attrs = |size| LrnAttrs {
        size,
        alpha: Scalar::f32(0.3),
        beta: Scalar::f32(0.75),
        bias: Scalar::f32(1.5),
    };
    for size in [1, 2, 3, 9] {
        let x = Arg::Named(pattern(&[2, 5, 3, 7], 4), &["B", "", "H", ""]);
        check(Op::Lrn(attrs(size)), vec![x], 1e-5);
        check(Op::Lrn(attrs(size)), vec![Arg::Input(pattern(&[1, 1, 3], 5))], 1e-5);
    }
}
