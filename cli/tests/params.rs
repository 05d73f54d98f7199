//! Weights that callers replace.

mod common;

use cascata::{CompileOptions, RunError, Runtime, Session, TensorView, compile};
use common::Scene;

const X: [f32; 6] = [1.0, -1.0, 2.0, 0.5, 4.0, -3.0];

fn session(s: &Scene, params: &[&str]) -> Session {
    let mut options = CompileOptions::default();
    options.import.params = params.iter().map(ToString::to_string).collect();
    let compiled = compile(s.weighted(), &options, &mut ()).unwrap();
    compiled.session(&Runtime::builder().threads(1).build().unwrap()).unwrap()
}

fn run(session: &Session, w: Option<&[f32]>) -> Result<Vec<f32>, RunError> {
    let mut inputs = vec![("x", TensorView::of(&[2, 3], &X).unwrap())];
    let dims = [w.map_or(0, <[f32]>::len) as i64];
    inputs.extend(w.map(|w| ("w", TensorView::of(&dims, w).unwrap())));
    Ok(session.run(&inputs)?[0].as_slice::<f32>().unwrap().to_vec())
}

#[test]
fn a_param_is_the_models_own_until_a_caller_brings_another() {
    let s = Scene::new();
    let session = session(&s, &["w"]);
    let own = run(&session, None).unwrap();
    assert_eq!(own, [2.0, 0.0, 8.0, 1.0, 12.0, 0.0]);
    let other = run(&session, Some(&[-1.0, 10.0, 100.0])).unwrap();
    assert_eq!(other, [0.0, 0.0, 200.0, 0.0, 40.0, 0.0]);
    assert_eq!(run(&session, None).unwrap(), own, "it was for one run");
    let wrong = run(&session, Some(&[1.0])).unwrap_err().to_string();
    assert!(wrong.contains("'w'") && wrong.contains('3'), "{wrong}");
    let weight = &session.artifact().manifest().weights;
    assert!(weight.iter().any(|w| w.name == "w" && w.param), "{weight:?}");
}

#[test]
fn other_weights_are_not_inputs() {
    let s = Scene::new();
    let session = session(&s, &[]);
    assert_eq!(run(&session, None).unwrap(), [2.0, 0.0, 8.0, 1.0, 12.0, 0.0]);
    let unknown = run(&session, Some(&[1.0, 1.0, 1.0])).unwrap_err().to_string();
    assert!(unknown.contains("no input 'w'"), "{unknown}");
}

#[test]
fn params_on_the_command_line() {
    let s = Scene::new();
    s.weighted();
    s.ok(&["compile", "weighted.onnx", "-o", "w.casc", "--param", "w", "--target", "x86-64-v3"]);
    let text = s.ok(&["inspect", "w.casc"]);
    assert!(text.contains("w: f32[3], the model's own if not given"), "{text}");
    s.ok(&["run", "w.casc", "--random", "1"]);
    let message = s.fails(2, &["compile", "weighted.onnx", "-o", "v.casc", "--param", "v"]);
    assert!(message.contains("'v'") || message.contains("v:"), "{message}");
}
