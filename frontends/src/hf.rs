//! Hugging Face directories: `config.json`, `*.safetensors`, tokenizer and what goes with it.

use crate::Import;
use crate::error::ImportError;
use crate::onnx::ImportOptions;
use crate::safetensors;
use crate::stored::Stored;
use crate::transformer::{self, Description, Layout, TextOptions};
use bytes::Bytes;
use cascata_ir::graph::Graph;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What makes a folder one of these.
pub(crate) const CONFIG: &str = "config.json";
/// Files kept as the artifact's metadata, as they are.
const KEPT: &[&str] = &[CONFIG, "tokenizer.json", "generation_config.json"];
/// Largest file kept.
const MAX_KEPT_BYTES: u64 = 64 << 20;

/// The files of a folder that an import may read, sorted.
///
/// # Errors
/// The folder cannot be listed.
pub fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let read = |e: &std::ffi::OsStr| e == "json" || e == "safetensors" || e == "jinja";
        if path.is_file() && path.extension().is_some_and(read) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Imports a directory.
///
/// # Errors
/// A file is missing or damaged, the architecture is not known, or tensors do not fit it; all
/// that is wrong is listed.
pub fn import(
    folder: &Path,
    options: &ImportOptions,
    text: TextOptions,
) -> Result<Import, ImportError> {
    let mut metadata = Vec::new();
    for name in KEPT {
        if let Some(content) = read(folder, name)? {
            metadata.push((name.to_string(), content));
        }
    }
    if let Some(template) = chat_template(folder)? {
        metadata.push(("chat_template".into(), template));
    }
    let config = metadata.iter().find(|(name, _)| name == CONFIG);
    let (_, config) =
        config.ok_or_else(|| ImportError::file(CONFIG, "the folder has no such file"))?;
    let tensors = safetensors::read_folder(folder, options.max_bytes)?;
    let graph = graph(config, tensors, options, text)?;
    Ok(Import { metadata, ..Import::of(graph, "safetensors") })
}

/// Imports a configuration and the bytes of one safetensors file.
///
/// # Errors
/// As [`import`].
pub fn import_bytes(
    config: &str,
    weights: &Bytes,
    options: &ImportOptions,
    text: TextOptions,
) -> Result<Import, ImportError> {
    let tensors = safetensors::read(weights, "model.safetensors")?;
    Ok(Import::of(graph(config, tensors, options, text)?, "safetensors"))
}

fn graph(
    config: &str,
    tensors: Vec<Stored>,
    options: &ImportOptions,
    text: TextOptions,
) -> Result<Graph, ImportError> {
    let config: Map<String, Value> =
        serde_json::from_str(config).map_err(|e| ImportError::file(CONFIG, e.to_string()))?;
    let model = Description {
        file: CONFIG.into(),
        config,
        tensors: tensors.into_iter().map(|t| (t.name.clone(), t)).collect(),
        layout: Layout::HuggingFace,
    };
    transformer::build(model, text, &options.dims)
}

/// A text file of the folder, if it is there.
fn read(folder: &Path, name: &str) -> Result<Option<String>, ImportError> {
    let path = folder.join(name);
    let io = |source| ImportError::Io { path: path.clone(), source };
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::metadata(&path).map_err(io)?.len();
    if bytes > MAX_KEPT_BYTES {
        return Err(ImportError::TooLarge { what: name.into(), bytes, limit: MAX_KEPT_BYTES });
    }
    std::fs::read_to_string(&path).map(Some).map_err(io)
}

/// The chat template: a file of its own, or a value of `tokenizer_config.json`.
fn chat_template(folder: &Path) -> Result<Option<String>, ImportError> {
    if let Some(template) = read(folder, "chat_template.jinja")? {
        return Ok(Some(template));
    }
    const FILE: &str = "tokenizer_config.json";
    let Some(text) = read(folder, FILE)? else { return Ok(None) };
    let config: Value =
        serde_json::from_str(&text).map_err(|e| ImportError::file(FILE, e.to_string()))?;
    Ok(config.get("chat_template").and_then(Value::as_str).map(str::to_string))
}
