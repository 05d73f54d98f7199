//! Reference inputs and outputs on disk (`.npz`, made by `tests/models/reference.py`).

use crate::bundle::Tolerance;
use anyhow::{Context, Result, bail};
use cascata_ir::interp::Tensor;
use cascata_types::DType;
use npyz::npz::NpzArchive;
use npyz::{DType as NpyDType, NpyFile};
use std::path::{Path, PathBuf};

/// Of an output's largest magnitude: sums of f32 products are taken in another order than
/// ONNX Runtime's.
const TOLERANCE: f64 = 1e-4;

/// Quantised models: one rounding of a float moves an integer by a step, so that outputs have a
/// direction in common with ONNX Runtime's rather than digits. `quantised.rs` counts the steps.
const QUANTISED: &[&str] = &["minilm_l3_dynamic", "ocr_cls_qdq"];

/// Cosine 0.999.
const ANGLE: f64 = 1e-3;

/// Models that need more, with the reason.
const TOLERANCES: &[(&str, f64)] = &[
    // ONNX Runtime differs from itself by 1.1e-4 with its optimisations off (meta.json).
    ("piper", 5e-4),
];

/// One model × shape binding.
#[derive(Clone, Debug)]
pub struct Case {
    /// Model id, e.g. `magika`.
    pub model: String,
    /// Case name, e.g. `n3`.
    pub name: String,
    /// The model file.
    pub path: PathBuf,
    folder: PathBuf,
}

/// Where models and references are kept: `CASCATA_CACHE`, else `.cache` in the repository.
pub fn cache() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("CASCATA_CACHE").map_or_else(|| here.join("../.cache"), PathBuf::from)
}

/// All cases on disk, sorted.
///
/// # Errors
/// The cache has no references: `tests/setup_env.sh` makes them.
pub fn cases() -> Result<Vec<Case>> {
    let refs = cache().join("refs");
    let missing = || format!("no references in {}: run tests/setup_env.sh", refs.display());
    let mut out = Vec::new();
    for model in std::fs::read_dir(&refs).with_context(missing)? {
        let model = model?;
        let id = model.file_name().to_string_lossy().into_owned();
        for case in std::fs::read_dir(model.path())? {
            let case = case?;
            if !case.path().join("outputs.npz").is_file() {
                continue;
            }
            out.push(Case {
                name: case.file_name().to_string_lossy().into_owned(),
                path: cache().join("models").join(&id).join("model.onnx"),
                folder: case.path(),
                model: id.clone(),
            });
        }
    }
    out.sort_by(|a, b| (&a.model, &a.name).cmp(&(&b.model, &b.name)));
    Ok(out)
}

/// The cases for a test; none where `CASCATA_SKIP_MODELS=1` asks for that.
///
/// # Panics
/// The cache is missing: the message has the command that makes it.
pub fn cases_or_skip(model: &str) -> Vec<Case> {
    if std::env::var_os("CASCATA_SKIP_MODELS").is_some_and(|v| v == "1") {
        println!("skipped: CASCATA_SKIP_MODELS=1");
        return Vec::new();
    }
    let mut cases = cases().unwrap_or_else(|e| panic!("{e:#}"));
    cases.retain(|c| c.model == model);
    let refs = cache().join("refs").join(model);
    assert!(!cases.is_empty(), "no references in {}: run tests/setup_env.sh", refs.display());
    cases
}

impl Case {
    /// Named inputs.
    ///
    /// # Errors
    /// The file is unreadable.
    pub fn inputs(&self) -> Result<Vec<(String, Tensor)>> {
        let mut inputs = read_npz(&self.folder.join("inputs.npz"))?;
        for (name, tensor) in &mut inputs {
            // ONNX Runtime takes one element for a number.
            if name == "sr" {
                *tensor = tensor.with_dims(&[])?;
            }
        }
        Ok(inputs)
    }

    /// How far compiled code may be from ONNX Runtime.
    pub fn tolerance(&self) -> Tolerance {
        if QUANTISED.contains(&self.model.as_str()) {
            return Tolerance::Angle(ANGLE);
        }
        let own = TOLERANCES.iter().find(|(model, _)| *model == self.model);
        Tolerance::Relative(own.map_or(TOLERANCE, |(_, tolerance)| *tolerance))
    }

    /// Named outputs of ONNX Runtime.
    ///
    /// # Errors
    /// The file is unreadable.
    pub fn outputs(&self) -> Result<Vec<(String, Tensor)>> {
        read_npz(&self.folder.join("outputs.npz"))
    }

    /// Of a quantised model: the integers on the way, by value name (`models/integers.py`).
    ///
    /// # Errors
    /// The file is unreadable.
    pub fn integers(&self) -> Result<Vec<(String, Tensor)>> {
        read_npz(&self.folder.join("integers.npz"))
    }

    /// Of a quantised model: its integer parts alone, as a case of their own.
    pub fn integer_parts(&self) -> Case {
        let folder = self.folder.join("part");
        Case { path: folder.join("model.onnx"), folder, ..self.clone() }
    }
}

/// Every array of an `.npz` file.
///
/// # Errors
/// The file is unreadable or holds an element type that is not supported.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let mut archive = NpzArchive::open(path).with_context(|| path.display().to_string())?;
    let names: Vec<String> = archive.array_names().map(str::to_string).collect();
    let mut out = Vec::new();
    for name in names {
        let Some(array) = archive.by_name(&name)? else { continue };
        out.push((name, tensor(array)?));
    }
    Ok(out)
}

fn tensor<R: std::io::Read>(array: NpyFile<R>) -> Result<Tensor> {
    let dims: Vec<usize> = array.shape().iter().map(|d| *d as usize).collect();
    if array.order() != npyz::Order::C && dims.len() > 1 {
        bail!("an array in Fortran order");
    }
    let NpyDType::Plain(kind) = array.dtype() else { bail!("a structured array") };
    let text = kind.to_string();
    let bytes: (DType, Vec<u8>) = match text.trim_start_matches(['<', '|', '=']) {
        "f4" => (DType::F32, le(array.into_vec::<f32>()?, f32::to_le_bytes)),
        "f8" => (DType::F64, le(array.into_vec::<f64>()?, f64::to_le_bytes)),
        "i8" => (DType::I64, le(array.into_vec::<i64>()?, i64::to_le_bytes)),
        "i4" => (DType::I32, le(array.into_vec::<i32>()?, i32::to_le_bytes)),
        "i1" => (DType::I8, le(array.into_vec::<i8>()?, i8::to_le_bytes)),
        "u1" => (DType::U8, array.into_vec::<u8>()?),
        "b1" => (DType::Bool, array.into_vec::<bool>()?.into_iter().map(u8::from).collect()),
        other => bail!("arrays of type {other} are not supported"),
    };
    Ok(Tensor::from_le_bytes(bytes.0, &dims, &bytes.1)?)
}

fn le<T, const N: usize>(values: Vec<T>, f: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.into_iter().flat_map(f).collect()
}
