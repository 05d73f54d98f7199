//! The example's answers are those of the `magika` package.

#[path = "../../examples/magika/magika.rs"]
mod magika;

use magika::Magika;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// ONNX Runtime's own error: the network spells variances as E[x²] − E[x]², which cancels in
/// f32. For `shopping.md` it says 0.52371, the same model in f64 0.52210 and Cascata 0.52211.
const TOLERANCE: f32 = 2e-3;

#[derive(serde::Deserialize)]
struct Expected {
    model_label: Option<String>,
    model_score: Option<f32>,
    answer: String,
}

#[test]
fn samples_are_recognised() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/magika");
    let samples = folder.join("samples");
    let expected: BTreeMap<String, Expected> =
        serde_json::from_slice(&std::fs::read(samples.join("expected.json"))?)?;
    let artifact = tempfile::tempdir()?;
    let magika = Magika::open(&folder, &artifact.path().join("magika.casc"))?;

    let files: Vec<PathBuf> = expected.keys().map(|name| samples.join(name)).collect();
    let answers = magika.identify(&files)?;
    assert_eq!(answers.len(), expected.len());
    for ((name, expected), answer) in expected.iter().zip(&answers) {
        assert_eq!(answer.label, expected.answer, "{name}");
        assert_eq!(answer.model_label, expected.model_label, "{name}");
        let score = expected.model_score.unwrap_or(1.0);
        assert!(
            (answer.score - score).abs() < TOLERANCE,
            "{name}: {} instead of {score}",
            answer.score
        );
        let about = magika.content_type(&answer.label).expect(name);
        assert!(about.mime_type.is_some() && about.description.is_some(), "{name}");
    }

    let empty = artifact.path().join("empty");
    std::fs::write(&empty, b"")?;
    assert_eq!(magika.identify(&[&empty])?[0].label, "empty");
    Ok(())
}
