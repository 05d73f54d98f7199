//! Pseudo-random operators: their distributions, seeds and refusals.

use super::*;

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f: Some(f), ..attribute(name, AttributeType::Float) }
}

fn numbers(op: &str, attributes: Vec<AttributeProto>) -> Vec<f64> {
    let mut all = vec![ints("shape", &[97, 103])];
    all.extend(attributes);
    let model = Build::default().node_with(op, "", "y", all).output("y");
    model.run(22, &[])[0].to_f64().unwrap()
}

fn moments(x: &[f64]) -> (f64, f64) {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
    (mean, variance.sqrt())
}

#[test]
fn numbers_have_their_distributions() {
    let uniform = numbers("RandomUniform", vec![float("low", -1.0), float("high", 3.0)]);
    assert!(uniform.iter().all(|x| (-1.0..3.0).contains(x)));
    let (mean, deviation) = moments(&uniform);
    assert!((mean - 1.0).abs() < 0.05, "{mean}");
    assert!((deviation - 4.0 / 12f64.sqrt()).abs() < 0.05, "{deviation}");
    let (mean, deviation) =
        moments(&numbers("RandomNormal", vec![float("mean", 2.0), float("scale", 0.5)]));
    assert!((mean - 2.0).abs() < 0.03, "{mean}");
    assert!((deviation - 0.5).abs() < 0.02, "{deviation}");
}

#[test]
fn a_seed_decides() {
    let of = |seed| numbers("RandomNormal", vec![float("seed", seed)]);
    assert_eq!(of(3.0), of(3.0));
    assert_ne!(of(3.0), of(4.0));
}

/// Rows of three classes, and four.
fn classes(attributes: Vec<AttributeProto>) -> Build {
    Build::default()
        .input("x", FLOAT, &["2", "4"])
        .node_with("Multinomial", "x", "y", attributes)
        .output("y")
}

#[test]
fn classes_are_drawn_by_their_probabilities() {
    let ln = f32::ln;
    let row =
        [ln(1.0), ln(2.0), ln(5.0), f32::NEG_INFINITY, ln(40.0), ln(30.0), ln(20.0), ln(10.0)];
    let x = Tensor::new(&[2, 4], row.to_vec()).unwrap();
    let outputs = classes(vec![int("sample_size", 9001)]).run(22, &[x]);
    let drawn = outputs[0].as_slice::<i32>().unwrap();
    assert_eq!(outputs[0].dims(), [2, 9001]);
    let share = |row: usize, class: i32| {
        let row = &drawn[row * 9001..(row + 1) * 9001];
        row.iter().filter(|c| **c == class).count() as f64 / 9001.0
    };
    let want = [[0.125, 0.25, 0.625, 0.0], [0.4, 0.3, 0.2, 0.1]];
    for (row, want) in want.iter().enumerate() {
        for (class, want) in want.iter().enumerate() {
            let share = share(row, class as i32);
            // Five standard deviations.
            let allowed = 5.0 * (want * (1.0 - want) / 9001.0f64).sqrt();
            assert!((share - want).abs() <= allowed, "row {row} class {class}: {share}");
        }
    }
}

#[test]
fn what_is_no_draw_is_refused() {
    let says = |build: Build, words: &str| {
        let text = build.refused(22);
        assert!(text.contains(words), "{text}");
    };
    says(classes(vec![int("sample_size", -1)]), "sample_size -1 is negative");
    says(classes(vec![int("dtype", 1)]), "dtype f32 is neither i32 nor i64");
    let flat = Build::default().input("x", FLOAT, &["4"]).node("Multinomial", "x", "y").output("y");
    says(flat, "1 axes, not 2");
}
