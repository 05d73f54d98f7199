//! Softmax, normalisations, attention.

use super::*;
use cascata_ir::op::{AttentionAttrs, LrnAttrs};

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

#[test]
fn softmax_along_any_axis() {
    let x = t(&[2, 3], [0.0f32, 1.0, 2.0, 1000.0, 1001.0, 1002.0]);
    let row = [0.09003057f32, 0.24472848, 0.66524094];
    let y = apply1(Op::Softmax { axis: 1 }, &[x]);
    close(&y, &t(&[2, 3], [row, row].concat()), 1e-7);
    let y = apply1(Op::Softmax { axis: 0 }, &[t(&[2, 2], [0.0f32, -INF, 0.0, 3.0])]);
    close(&y, &t(&[2, 2], [0.5f32, 0.0, 0.5, 1.0]), 0.0);
    let y = apply1(Op::Softmax { axis: 1 }, &[t(&[2, 2], [-INF, -INF, NAN, 1.0])]);
    close(&y, &t(&[2, 2], [NAN; 4]), 0.0);
    assert_eq!(apply1(Op::Softmax { axis: 1 }, &[t::<f32>(&[2, 0], [])]).dims(), [2, 0]);
    assert!(fails(Op::Softmax { axis: 0 }, &[t(&[1], [1i32])]).contains("expected a float"));
}

#[test]
fn layer_and_rms_norm() {
    let x = t(&[2, 3], [1.0f32, 2., 6., -1., -1., -1.]);
    let (scale, bias) = (t(&[3], [1.0f32, 2., -1.]), t(&[3], [0.0f32, 0.5, 1.]));
    let layer = Op::LayerNorm { axis: 1, epsilon: f32s(0.0) };
    // mean 3, variance 14/3.
    let d = (14.0f32 / 3.0).sqrt();
    let y = apply1(layer.clone(), &[t(&[1, 3], [1.0f32, 2., 6.]), scale.clone(), bias.clone()]);
    close(&y, &t(&[1, 3], [-2.0 / d, -2.0 / d + 0.5, -3.0 / d + 1.0]), 1e-6);
    let layer = Op::LayerNorm { axis: 1, epsilon: f32s(1e-5) };
    let y = apply1(layer, &[x.clone(), scale.clone(), bias]);
    close(&y, &t(&[2, 3], [-0.92582, -0.42582, -0.38873, 0.0, 0.5, 1.0f32]), 1e-4);
    let rms = Op::RmsNorm { axis: 1, epsilon: f32s(0.0) };
    let d = (41.0f32 / 3.0).sqrt();
    let y = apply1(rms, &[x.clone(), scale]);
    close(&y, &t(&[2, 3], [1.0 / d, 4.0 / d, -6.0 / d, -1.0, -2.0, 1.0]), 1e-6);
    let whole = Op::RmsNorm { axis: 0, epsilon: f32s(0.0) };
    let y = apply1(whole.clone(), &[t(&[1, 2], [3.0f32, 4.0]), t(&[1, 2], [1.0f32, 1.0])]);
    let d = 12.5f32.sqrt();
    close(&y, &t(&[1, 2], [3.0 / d, 4.0 / d]), 1e-6);
    assert!(fails(whole, &[x, count(&[3])]).contains("operand 1 has dims [3]"));
}

#[test]
fn local_response_normalisation() {
    let lrn =
        |size| Op::Lrn(LrnAttrs { size, alpha: f32s(0.5), beta: f32s(0.75), bias: f32s(1.5) });
    let y = apply1(lrn(3), &[pattern(&[1, 5, 1, 2], 1)]);
    let expected = [
        -0.1832552f32,
        0.4417037,
        0.08977961,
        -0.2650222,
        0.3537981,
        0.,
        -0.3537981,
        0.2650222,
        -0.09023342,
        -0.4417037,
    ];
    close(&y, &t(&[1, 5, 1, 2], expected), 1e-6);
    // An even size reaches one channel further up than down.
    let y = apply1(lrn(2), &[t(&[1, 3], [1.0f32, 2., 3.])]);
    let at = |x: f32, sum: f32| x / (1.5 + 0.25 * sum).powf(0.75);
    close(&y, &t(&[1, 3], [at(1.0, 5.0), at(2.0, 13.0), at(3.0, 9.0)]), 1e-6);
}

fn attend(causal: bool, zero: bool, inputs: &[Tensor]) -> Tensor {
    let attrs = AttentionAttrs { scale: f32s(0.5), causal, zero_masked_rows: zero };
    apply1(Op::Attention(attrs), inputs)
}

/// Softmax of the scores times the values, for one query and value width 1.
fn mix(scores: &[f32], values: &[f32]) -> f32 {
    let weights: Vec<f64> = scores.iter().map(|&s| f64::from(s).exp()).collect();
    let sum: f64 = weights.iter().sum();
    (weights.iter().zip(values).map(|(w, &v)| w * f64::from(v)).sum::<f64>() / sum) as f32
}

#[test]
fn attention_with_grouped_heads() {
    // H = 4 query heads over G = 2 key heads: heads 0 and 1 read keys of group 0.
    let q = t(&[1, 4, 1, 1], [1.0f32, 2., 1., 2.]);
    let k = t(&[1, 2, 3, 1], [0.0f32, 1., 2., 3., -1., 1.]);
    let v = t(&[1, 2, 3, 1], [1.0f32, 5., -2., 10., 20., 40.]);
    let y = attend(false, false, &[q, k, v]);
    let expected = [
        mix(&[0.0, 0.5, 1.0], &[1., 5., -2.]),
        mix(&[0.0, 1.0, 2.0], &[1., 5., -2.]),
        mix(&[1.5, -0.5, 0.5], &[10., 20., 40.]),
        mix(&[3.0, -1.0, 1.0], &[10., 20., 40.]),
    ];
    close(&y, &t(&[1, 4, 1, 1], expected), 1e-5);
}

#[test]
fn attention_masks() {
    // Two queries over three keys: the last query sees all of them.
    let q = t(&[1, 1, 2, 1], [1.0f32, 2.]);
    let k = t(&[1, 1, 3, 1], [0.0f32, 1., 2.]);
    let v = t(&[1, 1, 3, 2], [1.0f32, 10., 2., 20., 4., NAN]);
    let y = attend(true, false, &[q.clone(), k.clone(), v]);
    let found = y.as_slice::<f32>().unwrap();
    let first = [mix(&[0.0, 0.5], &[1., 2.]), mix(&[0.0, 0.5], &[10., 20.])];
    close(&t(&[2], found[..2].to_vec()), &t(&[2], first), 1e-5);
    assert!((found[2] - mix(&[0.0, 1.0, 2.0], &[1., 2., 4.])).abs() < 1e-5 && found[3].is_nan());
    let v = t(&[1, 1, 3, 1], [1.0f32, 2., 4.]);
    let keep = t(&[2, 3], [true, false, true, false, false, false]);
    let y = attend(false, true, &[q.clone(), k.clone(), v.clone(), keep.clone()]);
    close(&y, &t(&[1, 1, 2, 1], [mix(&[0.0, 1.0], &[1., 4.]), 0.0]), 1e-5);
    let y = attend(false, false, &[q.clone(), k.clone(), v.clone(), keep]);
    close(&y, &t(&[1, 1, 2, 1], [mix(&[0.0, 1.0], &[1., 4.]), NAN]), 1e-5);
    let added = t(&[1, 1, 1, 3], [0.25f32, -INF, -1.0]);
    let y = attend(false, false, &[q.clone(), k.clone(), v.clone(), added]);
    let expected = [mix(&[0.25, 0.0], &[1., 4.]), mix(&[0.25, 1.0], &[1., 4.])];
    close(&y, &t(&[1, 1, 2, 1], expected), 1e-5);
    let hidden = t(&[1], [-INF]);
    close(
        &attend(false, true, &[q.clone(), k.clone(), v.clone(), hidden.clone()]),
        &t(&[1, 1, 2, 1], [0.0f32; 2]),
        0.0,
    );
    close(&attend(false, false, &[q.clone(), k, v, hidden]), &t(&[1, 1, 2, 1], [NAN; 2]), 0.0);
    // No keys at all, and more queries than keys under causality.
    let none = [q.clone(), t::<f32>(&[1, 1, 0, 1], []), t::<f32>(&[1, 1, 0, 1], [])];
    close(&attend(false, true, &none), &t(&[1, 1, 2, 1], [0.0f32; 2]), 0.0);
    let one = [q, t(&[1, 1, 1, 1], [1.0f32]), t(&[1, 1, 1, 1], [3.0f32])];
    close(&attend(true, true, &one), &t(&[1, 1, 2, 1], [0.0, 3.0f32]), 0.0);
}
