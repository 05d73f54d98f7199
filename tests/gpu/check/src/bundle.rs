//! A folder with compiled models and what they must give: `bundle.json` says what lies where
//! in `bundle.bin`. `cascata_tests::bundle` writes it.

use anyhow::{Context, Result, ensure};
use cascata_types::DType;
use serde::Deserialize;
use std::path::Path;

/// Models and cases.
pub struct Bundle {
    pub cases: Vec<Case>,
    artifacts: Vec<Span>,
    data: Vec<u8>,
}

#[derive(Deserialize)]
struct Index {
    artifacts: Vec<Span>,
    cases: Vec<Case>,
}

/// Bytes of `bundle.bin`.
#[derive(Clone, Copy, Deserialize)]
pub struct Span {
    offset: usize,
    bytes: usize,
}

/// One run of a model.
#[derive(Deserialize)]
pub struct Case {
    /// What it belongs to: `onnx`, `random`, `model`, …
    pub group: String,
    pub name: String,
    /// Which artifact.
    pub artifact: usize,
    pub inputs: Vec<Array>,
    pub outputs: Vec<Output>,
}

/// A result.
#[derive(Deserialize)]
pub struct Output {
    /// What it must be.
    #[serde(flatten)]
    pub array: Array,
    /// How far it may be from that.
    pub tolerance: Tolerance,
}

/// A tensor.
#[derive(Deserialize)]
pub struct Array {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<i64>,
    #[serde(flatten)]
    span: Span,
}

/// A measure of distance, and the largest that is right.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerance {
    /// `|got − want| ≤ atol + rtol·|want|`; integers at most `steps` apart.
    Elements { rtol: f64, atol: f64, steps: i64 },
    /// The largest difference over the largest magnitude.
    Relative(f64),
    /// One minus the cosine.
    Angle(f64),
}

impl Bundle {
    /// Reads a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).with_context(|| path.display().to_string())
        };
        let index: Index = serde_json::from_slice(&read("bundle.json")?)?;
        let bundle =
            Self { cases: index.cases, artifacts: index.artifacts, data: read("bundle.bin")? };
        for case in &bundle.cases {
            ensure!(case.artifact < bundle.artifacts.len(), "{}: no such artifact", case.name);
            let outputs = case.outputs.iter().map(|o| &o.array);
            case.inputs.iter().chain(outputs).try_for_each(|a| bundle.bytes(a).map(|_| ()))?;
        }
        Ok(bundle)
    }

    /// The bytes of a tensor.
    pub fn bytes(&self, array: &Array) -> Result<&[u8]> {
        self.slice(array.span).with_context(|| format!("'{}' is cut off", array.name))
    }

    /// An artifact.
    pub fn artifact(&self, index: usize) -> Result<&[u8]> {
        let span = *self.artifacts.get(index).context("no such artifact")?;
        self.slice(span).with_context(|| format!("artifact {index} is cut off"))
    }

    fn slice(&self, span: Span) -> Option<&[u8]> {
        self.data.get(span.offset..span.offset.checked_add(span.bytes)?)
    }
}
