//! Contractions of factors that are bf16 in memory: exact where all sums are.

use super::*;

/// A value by way of bf16, which holds all of [`pattern`].
fn halved(g: &mut Graph, v: ValueId) -> ValueId {
    let v = then(g, Op::Cast { to: DType::BF16 }, &[v]);
    then(g, Op::Cast { to: DType::F32 }, &[v])
}

fn contraction(op: &Op, g: &mut Graph, v: &[ValueId]) -> Vec<ValueId> {
    let mut operands: Vec<ValueId> = v[..2].iter().map(|v| halved(g, *v)).collect();
    operands.extend(&v[2..]);
    vec![then(g, op.clone(), &operands)]
}

#[test]
fn products() {
    for (a, b) in PRODUCTS {
        for constant in [true, false] {
            let b = if constant { Arg::Const(pattern(b, 2)) } else { Arg::Input(pattern(b, 2)) };
            let args = vec![Arg::Input(pattern(a, 1)), b];
            check_graph(args, 0.0, |g, v| contraction(&Op::MatMul, g, &v));
        }
    }
}

#[test]
fn convolutions() {
    for (channels, outputs, groups, pads) in CONVOLUTIONS {
        let args = vec![
            Arg::Input(pattern(&[2, channels, 7, 6], 1)),
            Arg::Const(pattern(&[outputs, channels / groups as usize, 3, 2], 2)),
            Arg::Const(pattern(&[outputs], 3)),
        ];
        let op = strided_conv(groups, pads);
        check_graph(args, 0.0, |g, v| contraction(&op, g, &v));
    }
}

#[test]
fn the_micro_kernel_multiplies_halves_where_both_factors_are() {
    let of = |build: fn(&mut Graph, Vec<ValueId>) -> Vec<ValueId>| {
        // Known ones would be folded to f32.
        let args = vec![Arg::Input(pattern(&[5, 6], 1)), Arg::Input(pattern(&[6, 7], 2))];
        multiplied(&artifact(graph_of(args, build).0, OptLevel::O2))
    };
    assert_eq!(of(|g, v| contraction(&Op::MatMul, g, &v)), Some(DType::BF16));
    let one = of(|g, v| {
        let b = halved(g, v[1]);
        vec![then(g, Op::MatMul, &[v[0], b])]
    });
    assert_eq!(one, Some(DType::F32));
}

/// Of narrow weights of a product of f32, halves stay what they are (but for the few that are
/// folded); others are converted when they are packed, and lie as f32 do.
#[test]
fn one_narrow_factor_is_multiplied_as_floats() {
    for dtype in [DType::BF16, DType::I8, DType::I16] {
        for b in [[3, 17], [33, 50], [211, 333]] {
            let weights = pattern(&b, 2).cast(dtype).unwrap();
            let args = || vec![Arg::Input(pattern(&[5, b[0]], 1)), Arg::Const(weights.clone())];
            let build = |g: &mut Graph, v: Vec<ValueId>| {
                let b = then(g, Op::Cast { to: DType::F32 }, &[v[1]]);
                vec![then(g, Op::MatMul, &[v[0], b])]
            };
            check_graph(args(), 1e-6, build);
            let stays = dtype == DType::BF16 && b[0] > 200;
            let stored = if stays { dtype } else { DType::F32 };
            let bytes = artifact(graph_of(args(), build).0, OptLevel::O0);
            assert_eq!(multiplied(&bytes), Some(stored));
        }
    }
}
