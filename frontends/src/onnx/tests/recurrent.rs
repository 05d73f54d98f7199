//! LSTM, GRU and RNN of doubles, which are scans, against those of floats, which are ops.

use super::*;

const DOUBLE: i32 = 11;
const INT32: i32 = 6;
const STEPS: usize = 4;
const BATCH: usize = 2;
const INPUT: usize = 3;
const HIDDEN: usize = 2;

/// Numbers from −1 to 1 that do not repeat soon.
fn numbers(dims: &[usize], from: usize) -> Vec<f64> {
    (0..dims.iter().product())
        .map(|i: usize| ((i * 37 + from * 11) % 41) as f64 / 20.5 - 1.0)
        .collect()
}

/// Dims of `X, W, R, B, lens, h0, c0, P`.
fn dims(gates: usize, directions: usize) -> Vec<Vec<usize>> {
    let (rows, state) = (gates * HIDDEN, vec![directions, BATCH, HIDDEN]);
    let mut all = vec![vec![STEPS, BATCH, INPUT], vec![directions, rows, INPUT]];
    all.extend([
        vec![directions, rows, HIDDEN],
        vec![directions, 2 * rows],
        vec![BATCH],
        state.clone(),
    ]);
    all.extend(if gates == 4 { vec![state, vec![directions, 3 * HIDDEN]] } else { vec![] });
    all
}

fn outputs(
    op: &str,
    gates: usize,
    directions: usize,
    more: &[AttributeProto],
    ty: i32,
) -> Vec<Tensor> {
    let names = ["x", "w", "r", "b", "lens", "h0", "c0", "p"];
    let mut model = Build::default();
    let mut inputs = Vec::new();
    for (i, dims) in dims(gates, directions).iter().enumerate() {
        let text: Vec<String> = dims.iter().map(usize::to_string).collect();
        let text: Vec<&str> = text.iter().map(String::as_str).collect();
        model = model.input(names[i], if i == 4 { INT32 } else { ty }, &text);
        let values = numbers(dims, i);
        inputs.push(match (i, ty) {
            (4, _) => Tensor::vector(vec![4i32, 2]),
            (_, DOUBLE) => Tensor::new(dims, values).unwrap(),
            _ => Tensor::new(dims, values.iter().map(|x| *x as f32).collect::<Vec<_>>()).unwrap(),
        });
    }
    let results = if gates == 4 { "y,h,c" } else { "y,h" };
    let attributes = [more, &[int("hidden_size", HIDDEN as i64)]].concat();
    model = model.node_with(op, &names[..inputs.len()].join(","), results, attributes);
    results.split(',').fold(model, Build::output).run(14, &inputs)
}

#[track_caller]
fn agree(op: &str, gates: usize, directions: usize, more: &[AttributeProto]) {
    let wide = outputs(op, gates, directions, more, DOUBLE);
    let narrow = outputs(op, gates, directions, more, FLOAT);
    for (a, b) in wide.iter().zip(&narrow) {
        assert_eq!((a.dims(), a.dtype()), (b.dims(), cascata_ir::types::DType::F64));
        let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-5, "{op}: {worst}: {a:?} {b:?}");
    }
    assert_eq!(wide.len(), narrow.len());
}

fn strings(name: &str, list: &[&str]) -> AttributeProto {
    let strings = list.iter().map(|s| s.as_bytes().to_vec()).collect();
    AttributeProto { strings, ..attribute(name, AttributeType::Strings) }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f: Some(f), ..attribute(name, AttributeType::Float) }
}

#[test]
fn doubles_give_what_floats_give() {
    let both = || string("direction", "bidirectional");
    for (op, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        agree(op, gates, 1, &[]);
        agree(op, gates, 1, &[string("direction", "reverse"), float("clip", 0.3)]);
        agree(op, gates, 2, &[both()]);
    }
    agree("LSTM", 4, 2, &[both(), int("input_forget", 1)]);
    agree("GRU", 3, 2, &[both(), int("linear_before_reset", 1)]);
}

#[test]
fn every_activation_of_doubles() {
    let all = ["Relu", "Tanh", "Sigmoid", "Softsign", "Softplus", "Affine", "LeakyRelu"];
    let more = ["ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu"];
    for name in all.iter().chain(&more) {
        agree("RNN", 1, 1, &[strings("activations", &[name])]);
    }
}

#[test]
fn a_wrong_number_of_activations_is_refused() {
    let model = Build::default()
        .input("x", DOUBLE, &["4", "2", "3"])
        .input("w", DOUBLE, &["1", "2", "3"])
        .input("r", DOUBLE, &["1", "2", "2"])
        .node_with("RNN", "x,w,r", "y", vec![strings("activations", &["Relu", "Tanh"])])
        .output("y");
    assert!(model.refused(14).contains("2 activations"));
}
