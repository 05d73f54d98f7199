//! Contractions of integers: exact, whatever the micro-kernel makes of odd sizes.

use super::*;
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_types::Scalar;

/// Bytes in no simple order.
fn bytes(dtype: DType, dims: &[usize], seed: i128) -> Tensor {
    let n: usize = dims.iter().product();
    let low = if dtype == DType::U8 { 0 } else { -128 };
    let at = |i: i128| (i * 97 + i / 7 * 13 + seed * 41) % 256 + low;
    Tensor::from_i128(dtype, dims, &(0..n as i128).map(at).collect::<Vec<_>>()).unwrap()
}

/// `x − zero` in i32.
fn centred(g: &mut Graph, x: ValueId, zero: ValueId) -> ValueId {
    let [x, zero] = [x, zero].map(|v| then(g, Op::Cast { to: DType::I32 }, &[v]));
    then(g, Op::Binary(BinaryOp::Sub), &[x, zero])
}

/// Where B comes from.
#[derive(Clone, Copy, PartialEq)]
enum Right {
    Const,
    Input,
    /// Known, without a zero point: weights that stay i8.
    Bytes,
}

/// `(a − zero)·(b − zero)` with a zero point per tensor on the left, per column on the right.
fn product(a: &[usize], b: &[usize], right: Right) {
    let columns = b[b.len() - 1];
    let zeros = bytes(DType::U8, &[columns], 5);
    let (b, zeros) = match right {
        Right::Const | Right::Bytes => (Arg::Const(bytes(DType::U8, b, 2)), Arg::Const(zeros)),
        Right::Input => (Arg::Input(bytes(DType::U8, b, 2)), Arg::Input(zeros)),
    };
    let zero = Arg::Input(t(&[], [77i8]));
    let args = vec![Arg::Input(bytes(DType::I8, a, 1)), zero, b, zeros];
    check_graph(args, 0.0, |g, v| {
        let (a, b) = (centred(g, v[0], v[1]), centred(g, v[2], v[3]));
        vec![then(g, Op::MatMul, &[a, b])]
    });
}

#[test]
fn products() {
    for right in [Right::Const, Right::Input] {
        for (a, b) in PRODUCTS {
            product(a, b, right);
        }
    }
}

/// `(a − zero)·b` of u8 with a zero point and known i8: the micro-kernel of bytes, its panels
/// and their sums. Or of i8, which become u8.
fn product_of_bytes(left: DType, a: &[usize], b: &[usize], zero: Arg) {
    let args = vec![Arg::Input(bytes(left, a, 1)), Arg::Const(bytes(DType::I8, b, 2)), zero];
    check_graph(args, 0.0, |g, v| {
        let (a, b) = (centred(g, v[0], v[2]), then(g, Op::Cast { to: DType::I32 }, &[v[1]]));
        vec![then(g, Op::MatMul, &[a, b])]
    });
}

#[test]
fn products_of_bytes() {
    for (a, b) in PRODUCTS {
        product_of_bytes(DType::U8, a, b, Arg::Input(t(&[], [255u8])));
        product_of_bytes(DType::U8, a, b, Arg::Const(t(&[], [128u8])));
        product_of_bytes(DType::I8, a, b, Arg::Const(t(&[1], [-3i8])));
    }
}

/// A transposed right operand, and a left one whose rows are not contiguous.
#[test]
fn transposed_products() {
    let args = vec![
        Arg::Input(bytes(DType::I8, &[5, 6], 1)),
        Arg::Input(bytes(DType::I8, &[7, 5], 2)),
        Arg::Input(t(&[], [3i8])),
    ];
    check_graph(args, 0.0, |g, v| {
        let [a, b] = [v[0], v[1]].map(|x| {
            let x = centred(g, x, v[2]);
            then(g, Op::Transpose { perm: vec![1, 0] }, &[x])
        });
        vec![then(g, Op::MatMul, &[a, b])]
    });
}

/// Sums of i32 wrap; so does what is added to them. Clamps stay integers.
#[test]
fn epilogues_of_integers() {
    let args = vec![
        Arg::Input(bytes(DType::U8, &[9, 40], 1)),
        Arg::Const(bytes(DType::U8, &[40, 21], 2)),
        Arg::Const(t(&[21], (0..21).map(|i| i32::MAX - i * 99_991_000).collect::<Vec<i32>>())),
        Arg::Const(t(&[], [-1_000_000i32])),
    ];
    check_graph(args, 0.0, |g, v| {
        let [a, b] = [v[0], v[1]].map(|v| then(g, Op::Cast { to: DType::I32 }, &[v]));
        let y = then(g, Op::MatMul, &[a, b]);
        let y = then(g, Op::Binary(BinaryOp::Add), &[y, v[2]]);
        let floor = then(g, Op::Binary(BinaryOp::Max), &[y, v[3]]);
        vec![floor]
    });
}

/// Scaled, rounded, saturated, back in 8 bits: a quantised layer in one group.
#[test]
fn requantised_products() {
    let scales: Vec<f32> = (0..21).map(|i| 1.0 / (1 << (i % 5 + 9)) as f32).collect();
    let args = vec![
        Arg::Input(bytes(DType::U8, &[67, 40], 1)),
        Arg::Input(t(&[], [128u8])),
        Arg::Const(bytes(DType::I8, &[40, 21], 2)),
        Arg::Const(t(&[21], scales)),
    ];
    check_graph(args, 0.0, |g, v| {
        let (a, b) = (centred(g, v[0], v[1]), then(g, Op::Cast { to: DType::I32 }, &[v[2]]));
        let y = then(g, Op::MatMul, &[a, b]);
        let y = then(g, Op::Cast { to: DType::F32 }, &[y]);
        let y = then(g, Op::Binary(BinaryOp::Mul), &[y, v[3]]);
        let mut y = then(g, Op::Unary(UnaryOp::Round), &[y]);
        for (op, bound) in [(BinaryOp::Max, 0.0), (BinaryOp::Min, 255.0)] {
            let bound = Op::Fill { value: Scalar::f32(bound), shape: vec![] };
            let bound = then(g, bound, &[]);
            y = then(g, Op::Binary(op), &[y, bound]);
        }
        vec![then(g, Op::Cast { to: DType::U8 }, &[y])]
    });
}

/// A convolution of `x[2, channels, 7, 6]` with a kernel 3x2, zero points and a bias.
fn convolution(channels: usize, outputs: usize, groups: i64, pads: [(i64, i64); 2], right: Right) {
    let w = bytes(DType::I8, &[outputs, channels / groups as usize, 3, 2], 2);
    let args = vec![
        Arg::Input(bytes(DType::U8, &[2, channels, 7, 6], 1)),
        Arg::Input(t(&[], [131u8])),
        if right == Right::Input { Arg::Input(w) } else { Arg::Const(w) },
        if right == Right::Bytes { Arg::Const(t(&[], [0i8])) } else { Arg::Input(t(&[], [-9i8])) },
        Arg::Const(t(&[outputs], (0..outputs as i32).map(|i| i * 1000 - 7).collect::<Vec<_>>())),
    ];
    check_graph(args, 0.0, |g, v| {
        let (x, w) = (centred(g, v[0], v[1]), centred(g, v[2], v[3]));
        vec![then(g, strided_conv(groups, pads), &[x, w, v[4]])]
    });
}

#[test]
fn convolutions() {
    for right in [Right::Const, Right::Input, Right::Bytes] {
        for (channels, outputs, groups, pads) in CONVOLUTIONS {
            convolution(channels, outputs, groups, pads, right);
        }
    }
}

/// Factors that do not fit 16 bits are multiplied in i32.
#[test]
fn wide_factors() {
    let wide = |dims: &[usize], seed: i128| {
        let n: usize = dims.iter().product();
        let at = |i: i128| (i * 1_000_003 + seed) * if i % 2 == 0 { 1 } else { -1 };
        let values: Vec<i128> = (0..n as i128).map(at).collect();
        Tensor::from_i128(DType::I32, dims, &values).unwrap()
    };
    let args = vec![Arg::Input(wide(&[3, 7], 1)), Arg::Const(wide(&[7, 18], 2))];
    check(Op::MatMul, args, 0.0);
}

/// Whether `op` of two factors, cast to i32, calls a micro-kernel.
fn calls_gemm(op: Op, factors: [Arg; 2]) -> bool {
    multiplied_by(op, factors).is_some()
}

/// The type of the right factors that a micro-kernel multiplies for `op` of two, cast to i32.
fn multiplied_by(op: Op, factors: [Arg; 2]) -> Option<DType> {
    let (graph, _) = graph_of(factors.into(), |g, v| {
        let factors = [v[0], v[1]].map(|v| then(g, Op::Cast { to: DType::I32 }, &[v]));
        vec![then(g, op, &factors)]
    });
    multiplied(&artifact(graph, OptLevel::O2))
}

#[test]
fn known_bytes_are_multiplied_as_such() {
    let fixed = |dims: &[usize]| Arg::Const(bytes(DType::I8, dims, 3));
    let given = |dtype, dims: &[usize]| Arg::Input(bytes(dtype, dims, 3));
    for dtype in [DType::U8, DType::I8] {
        let product = [given(dtype, &[5, 6]), fixed(&[6, 7])];
        assert_eq!(multiplied_by(Op::MatMul, product), Some(DType::I8));
        for groups in [1, 3] {
            let w = fixed(&[9, 6 / groups, 3, 2]);
            let op = strided_conv(groups as i64, [(0, 0), (1, 0)]);
            assert_eq!(multiplied_by(op, [given(dtype, &[1, 6, 5, 4]), w]), Some(DType::I8));
        }
    }
    let unknown = [given(DType::U8, &[5, 6]), given(DType::I8, &[6, 7])];
    assert_eq!(multiplied_by(Op::MatMul, unknown), Some(DType::I16));
    let unsigned = Arg::Const(bytes(DType::U8, &[6, 7], 3));
    assert_eq!(multiplied_by(Op::MatMul, [given(DType::U8, &[5, 6]), unsigned]), Some(DType::I16));
}

#[test]
fn the_micro_kernel_multiplies_what_fits() {
    let i8s = |dims: &[usize]| bytes(DType::I8, dims, 3);
    let fixed = |dims: &[usize]| Arg::Const(i8s(dims));
    let given = |dims: &[usize]| Arg::Input(i8s(dims));
    assert!(calls_gemm(Op::MatMul, [given(&[5, 6]), fixed(&[6, 7])]));
    assert!(calls_gemm(Op::MatMul, [given(&[5, 6]), given(&[6, 7])]));
    let wide = |dims: &[usize]| Arg::Input(i8s(dims).cast(DType::U16).unwrap());
    assert!(!calls_gemm(Op::MatMul, [wide(&[5, 6]), given(&[6, 7])]));
    assert!(!calls_gemm(Op::MatMul, [given(&[5, 6]), wide(&[6, 7])]));
    let plain = [(0, 0), (1, 0)];
    assert!(calls_gemm(strided_conv(1, plain), [given(&[1, 6, 5, 4]), given(&[9, 6, 3, 2])]));
    assert!(calls_gemm(strided_conv(3, plain), [given(&[1, 6, 5, 4]), fixed(&[9, 2, 3, 2])]));
    // Depthwise ones, and groups of weights that are not known, are plain loops.
    assert!(!calls_gemm(strided_conv(6, plain), [given(&[1, 6, 5, 4]), fixed(&[6, 1, 3, 2])]));
    assert!(!calls_gemm(strided_conv(3, plain), [given(&[1, 6, 5, 4]), given(&[9, 2, 3, 2])]));
}
