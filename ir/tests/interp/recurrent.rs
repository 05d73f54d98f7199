//! LSTM, GRU and RNN against ONNX Runtime (1.32) on `pattern` operands, lengths 3 and 2.

use super::*;
use ActivationKind::*;
use cascata_ir::op::{Activation, ActivationKind, Direction, RecurrentAttrs};

const S: usize = 3;
const B: usize = 2;
const I: usize = 3;
const H: usize = 2;

fn act(kind: ActivationKind, alpha: f32, beta: f32) -> Activation {
    Activation { kind, alpha: f32s(alpha), beta: f32s(beta) }
}

fn attrs(direction: Direction, activations: &[ActivationKind]) -> RecurrentAttrs {
    RecurrentAttrs {
        direction,
        activations: activations.iter().map(|&k| act(k, 0.0, 0.0)).collect(),
        clip: None,
        linear_before_reset: false,
        input_forget: false,
    }
}

/// x, w, r, b, lens, h0 (and c0, p) for `gates` gates and `d` directions.
fn operands(gates: usize, d: usize, cell: bool) -> Vec<Tensor> {
    let mut out = vec![
        pattern(&[S, B, I], 1),
        pattern(&[d, gates * H, I], 2),
        pattern(&[d, gates * H, H], 3),
        pattern(&[d, 2 * gates * H], 4),
        t(&[B], [3i32, 2]),
        pattern(&[d, B, H], 5),
    ];
    if cell {
        out.extend([pattern(&[d, B, H], 6), pattern(&[d, 3 * H], 7)]);
    }
    out
}

#[test]
fn lstm_bidirectional_with_peepholes() {
    let a = attrs(Direction::Bidirectional, &[Sigmoid, Tanh, Tanh, Sigmoid, Tanh, Tanh]);
    let y = apply(Op::Lstm(a), &operands(4, 2, true));
    let all = [
        0.142381f32,
        0.01886588,
        0.2112026,
        0.09236368,
        -0.3766666,
        0.2095121,
        -0.222131,
        0.1494253,
        0.1308834,
        0.05221962,
        0.1989028,
        0.07525676,
        -0.3333922,
        0.1984934,
        -0.1429953,
        0.07266403,
        0.05179102,
        0.1368283,
        0.,
        0.,
        -0.3229573,
        0.2636583,
        0.,
        0.,
    ];
    close(&y[0], &t(&[S, 2, B, H], all), 1e-6);
    let h = [
        0.05179102f32,
        0.1368283,
        0.1989028,
        0.07525676,
        -0.3766666,
        0.2095121,
        -0.222131,
        0.1494253,
    ];
    close(&y[1], &t(&[2, B, H], h), 1e-6);
    let c = [
        0.1358988f32,
        0.541405,
        0.6268291,
        0.2306165,
        -0.6850125,
        0.8139543,
        -0.3968361,
        0.5253549,
    ];
    close(&y[2], &t(&[2, B, H], c), 1e-6);
}

#[test]
fn lstm_reverse_with_clip_and_other_activations() {
    let mut a = attrs(Direction::Reverse, &[]);
    a.activations = vec![act(HardSigmoid, 0.3, 0.4), act(Tanh, 0., 0.), act(Softsign, 0., 0.)];
    a.clip = Some(f32s(0.4));
    let y = apply(Op::Lstm(a), &operands(4, 1, true));
    let all = [
        0.03950593f32,
        0.04347643,
        0.06723271,
        0.04252106,
        0.04206336,
        0.03378784,
        0.09321014,
        0.03892997,
        0.04699718,
        0.03167915,
        0.,
        0.,
    ];
    close(&y[0], &t(&[S, 1, B, H], all), 1e-6);
    close(&y[1], &t(&[1, B, H], all[..4].to_vec()), 1e-6);
    close(&y[2], &t(&[1, B, H], [0.1642699f32, 0.1838144, 0.3159917, 0.1790519]), 1e-6);
}

#[test]
fn lstm_couples_input_to_forget() {
    // One step, no weights, no bias: every gate is sigmoid(0) = 1/2, g = tanh(bias).
    let mut a = attrs(Direction::Forward, &[Sigmoid, Tanh, Tanh]);
    a.input_forget = true;
    let forget_bias = 2.0f32;
    let args = [
        t(&[1, 1, 1], [0.0f32]),
        t(&[1, 4, 1], [0.0f32; 4]),
        t(&[1, 4, 1], [0.0f32; 4]),
        t(&[1, 8], [9.0f32, 0., forget_bias, 1., 0., 0., 0., 0.]),
        t(&[1], [1i32]),
        t(&[1, 1, 1], [0.0f32]),
        t(&[1, 1, 1], [0.5f32]),
        t(&[1, 3], [0.0f32; 3]),
    ];
    let f = 1.0 / (1.0 + (-forget_bias).exp());
    let c = f * 0.5 + (1.0 - f) * 1.0f32.tanh();
    close(&apply(Op::Lstm(a), &args)[2], &t(&[1, 1, 1], [c]), 1e-6);
}

#[test]
fn gru_with_both_reset_placements() {
    let mut a = attrs(Direction::Bidirectional, &[Sigmoid, Tanh, Sigmoid, Tanh]);
    let y = apply(Op::Gru(a.clone()), &operands(3, 2, false));
    let all = [
        0.2204951f32,
        -0.5753957,
        0.4180651,
        -0.3475248,
        -0.4458806,
        0.6045927,
        -0.6276984,
        0.5473788,
        0.3945858,
        -0.5372033,
        0.504474,
        -0.3960128,
        -0.2472034,
        0.5564222,
        -0.5267891,
        0.5305443,
        0.2774494,
        -0.6861799,
        0.,
        0.,
        0.02324748,
        0.4014924,
        0.,
        0.,
    ];
    close(&y[0], &t(&[S, 2, B, H], all), 1e-6);
    let h = [
        0.2774494f32,
        -0.6861799,
        0.504474,
        -0.3960128,
        -0.4458806,
        0.6045927,
        -0.6276984,
        0.5473788,
    ];
    close(&y[1], &t(&[2, B, H], h), 1e-6);
    a.linear_before_reset = true;
    let y = apply(Op::Gru(a), &operands(3, 2, false));
    let h = [
        0.2881825f32,
        -0.5655017,
        0.5090292,
        -0.2704911,
        -0.3251867,
        0.5200052,
        -0.5650446,
        0.4377322,
    ];
    close(&y[1], &t(&[2, B, H], h), 1e-6);
}

#[test]
fn rnn_directions_and_activations() {
    let y = apply(Op::Rnn(attrs(Direction::Reverse, &[Tanh])), &operands(1, 1, false));
    let all = [
        -0.8483026f32,
        -0.2158593,
        -0.8307395,
        -0.373511,
        -0.8438854,
        -0.3350044,
        -0.662286,
        -0.5963736,
        -0.6877902,
        -0.5545997,
        0.,
        0.,
    ];
    close(&y[0], &t(&[S, 1, B, H], all), 1e-6);
    let mut a = attrs(Direction::Forward, &[]);
    a.activations = vec![act(Affine, 0.5, 0.25)];
    let y = apply(Op::Rnn(a), &operands(1, 1, false));
    close(&y[1], &t(&[1, B, H], [-0.2016602f32, 0.09179688, -0.2402344, 0.02441406]), 1e-6);
}

#[test]
fn an_empty_sequence_keeps_the_initial_state() {
    let mut args = operands(1, 1, false);
    args[4] = t(&[B], [0i32, 1]);
    let y = apply(Op::Rnn(attrs(Direction::Forward, &[Tanh])), &args);
    let (h0, h) = (args[5].as_slice::<f32>().unwrap(), y[1].as_slice::<f32>().unwrap());
    assert_eq!(h[..H], h0[..H]);
    assert_eq!(y[0].as_slice::<f32>().unwrap()[..H], [0.0; H]);
    args[4] = t(&[B], [4i32, 1]);
    let error = fails(Op::Rnn(attrs(Direction::Forward, &[Tanh])), &args);
    assert!(error.contains("index 4"), "{error}");
}

#[test]
fn every_activation() {
    // One unit, w = 1: h = f(x).
    let table: [(Activation, f32, f32); 11] = [
        (act(Relu, 0., 0.), -2.0, 0.0),
        (act(Tanh, 0., 0.), 0.5, 0.46211717),
        (act(Sigmoid, 0., 0.), 0.5, 0.62245935),
        (act(Affine, 2., 1.), 0.5, 2.0),
        (act(LeakyRelu, 0.1, 0.), -2.0, -0.2),
        (act(ThresholdedRelu, 1., 0.), 1.0, 1.0),
        (act(ScaledTanh, 2., 0.5), 1.0, 0.92423433),
        (act(HardSigmoid, 0.2, 0.5), 4.0, 1.0),
        (act(Elu, 2., 0.), -1.0, -1.2642411),
        (act(Softsign, 0., 0.), -3.0, -0.75),
        (act(Softplus, 0., 0.), 1.0, 1.3132617),
    ];
    for (f, x, y) in table {
        let mut a = attrs(Direction::Forward, &[]);
        a.activations = vec![f];
        let one = |v: f32| t(&[1, 1, 1], [v]);
        let args = [one(x), one(1.0), one(0.0), t(&[1, 2], [0.0f32; 2]), t(&[1], [1i32]), one(0.0)];
        close(&apply(Op::Rnn(a), &args)[1], &one(y), 1e-6);
    }
}
