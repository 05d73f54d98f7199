//! LSTM, GRU and RNN. Tolerance: f32 states over a few steps, 1e-5.

use super::*;
use ActivationKind::*;
use cascata_ir::op::{Activation, ActivationKind, Direction, RecurrentAttrs};
use cascata_types::Scalar;

const TOLERANCE: f64 = 1e-5;

/// Sizes of a problem.
#[derive(Clone, Copy)]
struct Sizes {
    s: usize,
    b: usize,
    i: usize,
    h: usize,
}

fn act(kind: ActivationKind, alpha: f32, beta: f32) -> Activation {
    Activation { kind, alpha: Scalar::f32(alpha), beta: Scalar::f32(beta) }
}

fn attrs(direction: Direction, activations: &[ActivationKind]) -> RecurrentAttrs {
    RecurrentAttrs {
        direction,
        activations: activations.iter().map(|&k| act(k, 0.7, 0.3)).collect(),
        clip: None,
        linear_before_reset: false,
        input_forget: false,
    }
}

/// Lengths that differ between entries, 0 among them.
fn lens(z: Sizes) -> Vec<i32> {
    (0..z.b).map(|e| ((z.s + z.s - e % (z.s + 1)) % (z.s + 1)) as i32).collect()
}

fn operands(z: Sizes, gates: usize, d: usize, cell: bool) -> Vec<Tensor> {
    let mut out = vec![
        pattern(&[z.s, z.b, z.i], 1),
        pattern(&[d, gates * z.h, z.i], 2),
        pattern(&[d, gates * z.h, z.h], 3),
        pattern(&[d, 2 * gates * z.h], 4),
        t(&[z.b], lens(z)),
        pattern(&[d, z.b, z.h], 5),
    ];
    if cell {
        out.extend([pattern(&[d, z.b, z.h], 6), pattern(&[d, 3 * z.h], 7)]);
    }
    out
}

/// Weights constant, the rest inputs.
fn with_constants(operands: Vec<Tensor>) -> Vec<Arg> {
    let one = |(i, x)| if i == 1 || i == 2 { Arg::Const(x) } else { Arg::Input(x) };
    operands.into_iter().enumerate().map(one).collect()
}

fn as_inputs(operands: Vec<Tensor>) -> Vec<Arg> {
    operands.into_iter().map(Arg::Input).collect()
}

const SIZES: [Sizes; 4] = [
    Sizes { s: 5, b: 19, i: 7, h: 9 },
    Sizes { s: 4, b: 2, i: 3, h: 21 },
    Sizes { s: 1, b: 1, i: 1, h: 1 },
    Sizes { s: 3, b: 1, i: 6, h: 5 },
];

#[test]
fn lstm_bidirectional() {
    let a = attrs(Direction::Bidirectional, &[Sigmoid, Tanh, Tanh, Sigmoid, Tanh, Tanh]);
    for z in SIZES {
        check(Op::Lstm(a.clone()), with_constants(operands(z, 4, 2, true)), TOLERANCE);
    }
}

#[test]
fn lstm_reverse_clipped_and_coupled() {
    let mut a = attrs(Direction::Reverse, &[HardSigmoid, Softsign, Affine]);
    a.clip = Some(Scalar::f32(0.4));
    a.input_forget = true;
    for z in SIZES {
        check(Op::Lstm(a.clone()), as_inputs(operands(z, 4, 1, true)), TOLERANCE);
    }
}

#[test]
fn lstm_with_filled_operands_and_named_dims() {
    let a = attrs(Direction::Forward, &[Sigmoid, Tanh, Tanh]);
    let z = Sizes { s: 3, b: 18, i: 4, h: 6 };
    let mut x = operands(z, 4, 1, true);
    x.truncate(6);
    x.remove(5);
    let mut args: Vec<Arg> = Vec::new();
    for (i, x) in x.into_iter().enumerate() {
        args.push(match i {
            0 => Arg::Named(x, &["S", "B", ""]),
            3 => Arg::Fill(vec![1, 48], 0.0),
            4 => Arg::Named(x, &["B"]),
            _ => Arg::Const(x),
        });
    }
    args.push(Arg::Named(pattern(&[1, 18, 6], 5), &["", "B", ""]));
    args.push(Arg::Named(pattern(&[1, 18, 6], 6), &["", "B", ""]));
    args.push(Arg::Fill(vec![1, 18], 0.0));
    check(Op::Lstm(a), args, TOLERANCE);
}

#[test]
fn gru_both_resets_in_all_directions() {
    for linear_before_reset in [false, true] {
        for (direction, d) in
            [(Direction::Forward, 1), (Direction::Reverse, 1), (Direction::Bidirectional, 2)]
        {
            let kinds = [Sigmoid, Tanh, Relu, ScaledTanh];
            let mut a = attrs(direction, &kinds[..2 * d]);
            a.linear_before_reset = linear_before_reset;
            a.clip = Some(Scalar::f32(1.5));
            check(Op::Gru(a.clone()), with_constants(operands(SIZES[0], 3, d, false)), TOLERANCE);
            check(Op::Gru(a), as_inputs(operands(SIZES[1], 3, d, false)), TOLERANCE);
        }
    }
}

#[test]
fn rnn_with_every_activation() {
    let all = [
        Relu,
        Tanh,
        Sigmoid,
        Affine,
        LeakyRelu,
        ThresholdedRelu,
        ScaledTanh,
        HardSigmoid,
        Elu,
        Softsign,
        Softplus,
    ];
    for (i, kind) in all.into_iter().enumerate() {
        let mut a = attrs(Direction::Forward, &[kind]);
        a.clip = Some(Scalar::f32(1.25));
        check(Op::Rnn(a), with_constants(operands(SIZES[i % 4], 1, 1, false)), TOLERANCE);
    }
}

#[test]
fn sequence_lengths_are_checked() {
    for len in [-1, 6] {
        let mut x = operands(SIZES[0], 1, 1, false);
        let mut lens = lens(SIZES[0]);
        lens[17] = len;
        x[4] = t(&[19], lens);
        let op = Op::Rnn(attrs(Direction::Forward, &[Tanh]));
        let e = refused(as_inputs(x), |g, v| g.add(Graph::ROOT, op, v, "op").unwrap());
        assert!(e.contains("a sequence length is out of range"), "{e}");
    }
}
