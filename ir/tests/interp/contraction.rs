//! MatMul, convolution, pooling. Values over `pattern` are ONNX Runtime's (1.32).

use super::*;
use cascata_ir::op::{ChannelLayout, ConvAttrs, ConvTransposeAttrs, PoolAttrs, PoolKind};

#[test]
fn matmul_batches_and_dtypes() {
    let a = t(&[2, 3], [1.0f32, 2., 3., 4., 5., 6.]);
    let b = t(&[3, 1], [1.0f32, 0., -1.]);
    assert_eq!(apply1(Op::MatMul, &[a.clone(), b]), t(&[2, 1], [-2.0f32, -2.]));
    let batched = apply1(Op::MatMul, &[count(&[2, 1, 1, 2]), count(&[3, 2, 1])]);
    assert_eq!(batched, t(&[2, 3, 1, 1], [1.0f32, 3., 5., 3., 13., 23.]));
    // The product of rounded halves is summed in f64: 4096·1 + 0.5 + 0.5.
    let row = t(&[1, 3], [1.0f32, 1., 1.]);
    let column = t(&[3, 1], [16777216.0f32, 0.5, 0.5]);
    assert_eq!(apply1(Op::MatMul, &[row, column]), t(&[1, 1], [16777216.0f32]));
    let big = i32::MAX;
    let wrapped = apply1(Op::MatMul, &[t(&[1, 2], [big, big]), t(&[2, 1], [big, 1])]);
    assert_eq!(wrapped, t(&[1, 1], [big.wrapping_mul(big).wrapping_add(big)]));
    let empty_k = apply1(Op::MatMul, &[t::<f32>(&[2, 0], []), t::<f32>(&[0, 3], [])]);
    assert_eq!(empty_k, t(&[2, 3], [0.0f32; 6]));
    let empty_n = apply1(Op::MatMul, &[a.clone(), t::<f32>(&[3, 0], [])]);
    assert_eq!(empty_n.dims(), [2, 0]);
    assert!(fails(Op::MatMul, &[a.clone(), count(&[2, 3])]).contains("do not multiply"));
    assert!(fails(Op::MatMul, &[a, count(&[3])]).contains("do not multiply"));
    assert!(fails(Op::MatMul, &[t(&[1, 1], [true]), t(&[1, 1], [true])]).contains("bool"));
}

fn conv_attrs(strides: &[i64], pads: &[(i64, i64)], dilations: &[i64], groups: i64) -> ConvAttrs {
    ConvAttrs {
        strides: strides.to_vec(),
        pads: pads.to_vec(),
        dilations: dilations.to_vec(),
        groups,
        layout: ChannelLayout::First,
    }
}

fn permuted(x: &Tensor, perm: &[usize]) -> Tensor {
    apply1(Op::Transpose { perm: perm.to_vec() }, std::slice::from_ref(x))
}

#[test]
fn conv_in_one_dimension() {
    let args = [pattern(&[1, 2, 7], 1), pattern(&[3, 2, 3], 2)];
    let y = apply1(Op::Conv(conv_attrs(&[2], &[(1, 1)], &[1], 1)), &args);
    let expected = [
        0.171875f32,
        0.25,
        0.125,
        0.125,
        0.53125,
        -0.578125,
        -0.40625,
        0.234375,
        0.03125,
        -0.375,
        0.09375,
        -0.515625,
    ];
    assert_eq!(y, t(&[1, 3, 4], expected));
}

#[test]
fn conv_grouped_dilated_in_both_layouts() {
    let mut attrs = conv_attrs(&[2, 1], &[(1, 2), (0, 1)], &[1, 2], 2);
    let (x, w, b) = (pattern(&[2, 4, 5, 4], 1), pattern(&[6, 2, 3, 2], 2), pattern(&[6], 3));
    let y = apply1(Op::Conv(attrs.clone()), &[x.clone(), w.clone(), b.clone()]);
    assert_eq!(y.dims(), [2, 6, 3, 3]);
    let first =
        [-0.015625f32, 0.625, 1.0625, 0.046875, 0.328125, 1.046875, 0.203125, 0.28125, 0.5625];
    let last = [-0.703125f32, -0.578125, -0.9375, 0.0, -1.09375, -0.640625, -0.046875];
    let found = y.as_slice::<f32>().unwrap();
    assert_eq!((&found[..9], &found[101..]), (&first[..], &last[..]));
    attrs.layout = ChannelLayout::Last;
    let args = [permuted(&x, &[0, 2, 3, 1]), permuted(&w, &[2, 3, 1, 0]), b];
    assert_eq!(apply1(Op::Conv(attrs), &args), permuted(&y, &[0, 2, 3, 1]));
}

#[test]
fn conv_integers_and_errors() {
    let args = [t(&[1, 1, 3], [1i32, i32::MAX, 2]), t(&[1, 1, 2], [2i32, 3])];
    let y = apply1(Op::Conv(conv_attrs(&[1], &[(0, 0)], &[1], 1)), &args);
    assert_eq!(
        y,
        t(&[1, 1, 2], [2i32.wrapping_add(i32::MAX.wrapping_mul(3)), i32::MAX.wrapping_mul(2) + 6])
    );
    let zero = conv_attrs(&[0], &[(0, 0)], &[1], 1);
    assert!(fails(Op::Conv(zero), &args).contains("a stride is 0"));
    let long = [t(&[1, 1, 3], [1.0f32; 3]), t(&[1, 1, 9], [1.0f32; 9])];
    assert!(fails(Op::Conv(conv_attrs(&[1], &[(0, 0)], &[1], 1)), &long).contains("windows"));
    let groups = conv_attrs(&[1], &[(0, 0)], &[1], 2);
    assert!(fails(Op::Conv(groups), &args).contains("in 2 groups"));
    let empty = [t::<f32>(&[0, 1, 3], []), t(&[1, 1, 2], [1.0f32; 2])];
    assert_eq!(apply1(Op::Conv(conv_attrs(&[1], &[(0, 0)], &[1], 1)), &empty).dims(), [0, 1, 2]);
}

#[test]
fn conv_transpose_in_both_layouts() {
    let mut attrs = ConvTransposeAttrs {
        strides: vec![2, 3],
        pads: vec![(1, 0), (0, 2)],
        dilations: vec![1, 2],
        output_padding: vec![1, 0],
        groups: 2,
        layout: ChannelLayout::First,
    };
    let (x, w, b) = (pattern(&[1, 4, 3, 2], 1), pattern(&[4, 3, 2, 3], 2), pattern(&[6], 3));
    let y = apply1(Op::ConvTranspose(attrs.clone()), &[x.clone(), w.clone(), b.clone()]);
    assert_eq!(y.dims(), [1, 6, 6, 6]);
    let first = [
        0.1875f32, 0.5, 0.5625, 0.734375, 0.59375, 0.234375, 0.59375, 0.5, 0.421875, 0.84375,
        0.59375, 0.484375,
    ];
    let last = [
        -0.625f32, -0.625, -0.5, -0.3125, -0.71875, -1.0625, -0.625, -0.625, -0.625, -0.625,
        -0.625, -0.625,
    ];
    let found = y.as_slice::<f32>().unwrap();
    assert_eq!((&found[..12], &found[204..]), (&first[..], &last[..]));
    attrs.layout = ChannelLayout::Last;
    let args = [permuted(&x, &[0, 2, 3, 1]), permuted(&w, &[2, 3, 0, 1]), b];
    assert_eq!(apply1(Op::ConvTranspose(attrs), &args), permuted(&y, &[0, 2, 3, 1]));
}

fn pool(
    kind: PoolKind,
    kernel: [i64; 2],
    strides: [i64; 2],
    pads: [(i64, i64); 2],
    dilations: [i64; 2],
    ceil_mode: bool,
) -> Op {
    Op::Pool(PoolAttrs {
        kind,
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        pads: pads.to_vec(),
        dilations: dilations.to_vec(),
        ceil_mode,
        layout: ChannelLayout::First,
    })
}

#[test]
fn max_pool_with_indices() {
    let x = pattern(&[1, 2, 5, 4], 1);
    let kind = PoolKind::Max { indices: true, column_major: false };
    let op = pool(kind, [2, 3], [2, 2], [(0, 1), (1, 0)], [1, 1], true);
    let y = apply(op.clone(), std::slice::from_ref(&x));
    assert_eq!(
        y[0],
        t(
            &[1, 2, 3, 2],
            [0.625f32, 0.625, 0.625, 0.5, 0., 0.375, 0.25, 0.625, 0.375, 0.625, 0.5, 0.5]
        )
    );
    assert_eq!(y[1], t(&[1, 2, 3, 2], [1i64, 1, 12, 15, 16, 18, 21, 23, 29, 34, 37, 37]));
    let Op::Pool(mut attrs) = op else { unreachable!() };
    attrs.layout = ChannelLayout::Last;
    let last = apply(Op::Pool(attrs), &[permuted(&x, &[0, 2, 3, 1])]);
    assert_eq!(last[0], permuted(&y[0], &[0, 2, 3, 1]));
    assert_eq!(last[1], permuted(&y[1], &[0, 2, 3, 1]));
    let kind = PoolKind::Max { indices: true, column_major: true };
    let y = apply(pool(kind, [2, 2], [1, 1], [(0, 0); 2], [2, 1], false), &[x]);
    assert_eq!(
        y[1],
        t(&[1, 2, 3, 3], [5i64, 5, 12, 3, 8, 18, 4, 14, 14, 27, 27, 35, 23, 33, 33, 29, 29, 34])
    );
}

#[test]
fn max_pool_of_integers_nan_and_nothing() {
    let kind = PoolKind::Max { indices: false, column_major: false };
    let op = |pads| pool(kind, [1, 2], [1, 2], [(0, 0), pads], [1, 1], false);
    let y = apply1(op((0, 0)), &[t(&[1, 1, 1, 4], [200u8, 3, 4, 5])]);
    assert_eq!(y, t(&[1, 1, 1, 2], [200u8, 5]));
    let y = apply1(op((0, 0)), &[t(&[1, 1, 1, 4], [1.0, f32::NAN, f32::NEG_INFINITY, -3.0])]);
    close(&y, &t(&[1, 1, 1, 2], [f32::NAN, -3.0]), 0.0);
    let y = apply1(op((2, 0)), &[t(&[1, 1, 1, 2], [-7i8, -9])]);
    assert_eq!(y, t(&[1, 1, 1, 2], [i8::MIN, -7]));
}

#[test]
fn average_and_lp_pool() {
    let x = [pattern(&[1, 2, 5, 4], 1)];
    let average = |count_pad| PoolKind::Average { count_pad };
    let pads = [(1, 1), (1, 0)];
    let y = apply1(pool(average(false), [3, 2], [2, 2], pads, [1, 1], true), &x);
    let expected = [
        0.125f32,
        0.0625,
        0.,
        0.3333333,
        -0.1875,
        0.2083333,
        0.3125,
        -0.09375,
        0.1875,
        -0.25,
        0.03125,
        0.3125,
        -0.04166667,
        0.125,
        -0.1666667,
        -0.0625,
        0.21875,
        -0.1875,
    ];
    close(&y, &t(&[1, 2, 3, 3], expected), 1e-6);
    let y = apply1(pool(average(true), [3, 2], [2, 3], pads, [1, 1], true), &x);
    let expected = [
        0.04166667f32,
        -0.0625,
        0.1666667,
        0.,
        0.1041667,
        0.0625,
        -0.08333334,
        0.1458333,
        -0.02083333,
        0.08333334,
        -0.02083333,
        0.04166667,
    ];
    close(&y, &t(&[1, 2, 3, 2], expected), 1e-6);
    // What ceil_mode adds beyond the declared padding is not counted.
    let line = [t(&[1, 1, 1, 5], [1.0f32, 2., 3., 4., 5.])];
    let y = apply1(pool(average(true), [1, 3], [1, 3], [(0, 0), (1, 0)], [1, 1], true), &line);
    close(&y, &t(&[1, 1, 1, 2], [1.0f32, 4.0]), 1e-6);
    let y = apply1(pool(average(true), [1, 2], [1, 2], [(0, 0), (0, 0)], [1, 1], true), &line);
    close(&y, &t(&[1, 1, 1, 3], [1.5f32, 3.5, 5.0]), 1e-6);
    let y =
        apply1(pool(PoolKind::Lp { p: 3 }, [2, 2], [2, 2], [(1, 0), (0, 0)], [1, 1], false), &x);
    let expected = [
        0.6380586f32,
        0.3795736,
        0.7186121,
        0.5934324,
        0.7186121,
        0.6148356,
        0.6380586,
        0.6380586,
        0.6148356,
        0.7186121,
        0.5934324,
        0.7186121,
    ];
    close(&y, &t(&[1, 2, 3, 2], expected), 1e-6);
}
