//! Floats that are not f32. Half floats: what sums and calls functions inside is computed in f32 and rounded once.

use super::*;
use cascata_ir::op::{AttentionAttrs, ChannelLayout, ConvAttrs};
use cascata_types::{DType, Scalar};

/// One rounding of the result, and a part of one for f32 inside.
const F16: f64 = 1.1 / 2048.0;
const BF16: f64 = 1.1 / 256.0;

fn both(op: Op, args: &[(&[usize], usize)]) {
    for (dtype, tolerance) in [(DType::F16, F16), (DType::BF16, BF16)] {
        let make = |(dims, seed): &(&[usize], usize)| {
            Arg::Input(pattern(dims, *seed).cast(dtype).expect("floats"))
        };
        check(op.clone(), args.iter().map(make).collect(), tolerance);
    }
}

#[test]
fn rows_of_hundreds_of_elements() {
    let epsilon = Scalar::f32(1e-5);
    both(Op::Softmax { axis: 1 }, &[(&[3, 500], 1)]);
    both(Op::LayerNorm { axis: 1, epsilon }, &[(&[3, 500], 1), (&[500], 2), (&[500], 3)]);
    both(Op::RmsNorm { axis: 1, epsilon }, &[(&[3, 500], 1), (&[500], 2)]);
    both(Op::CumSum { axis: 1, exclusive: false, reverse: false }, &[(&[2, 300], 1)]);
}

#[test]
fn contractions() {
    both(Op::MatMul, &[(&[5, 300], 1), (&[300, 7], 2)]);
    let conv = ConvAttrs {
        strides: vec![1, 2],
        pads: vec![(1, 0), (0, 1)],
        dilations: vec![1, 1],
        groups: 1,
        layout: ChannelLayout::First,
    };
    both(Op::Conv(conv), &[(&[1, 9, 6, 5], 1), (&[4, 9, 3, 3], 2), (&[4], 3)]);
    let attrs = AttentionAttrs { scale: Scalar::f32(0.4), causal: true, zero_masked_rows: false };
    both(
        Op::Attention(attrs),
        &[(&[2, 4, 5, 6], 1), (&[2, 2, 5, 6], 2), (&[2, 2, 5, 3], 3), (&[1, 1, 5, 5], 4)],
    );
}

/// It has no kernel of its own.
#[test]
fn attention_of_f64() {
    for (causal, zero_masked_rows) in [(true, false), (false, true)] {
        let attrs = AttentionAttrs { scale: Scalar::f32(0.4), causal, zero_masked_rows };
        let double = |dims: &[usize], seed| pattern(dims, seed).cast(DType::F64).unwrap();
        let mut args: Vec<Arg> = [[2, 3, 5, 6], [2, 3, 7, 6], [2, 3, 7, 4]]
            .iter()
            .zip(1..)
            .map(|(dims, seed)| Arg::Input(double(dims, seed)))
            .collect();
        // One row sees nothing.
        let seen: Vec<bool> = (0..35).map(|i| causal || i / 7 != 2 && i % 3 != 0).collect();
        args.push(Arg::Input(t(&[5, 7], seen)));
        check(Op::Attention(attrs), args, 1e-12);
    }
}
