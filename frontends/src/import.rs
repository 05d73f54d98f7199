//! Any model: the format is told by the content, not by the name.

use crate::error::ImportError;
use crate::onnx::{self, Import, ImportOptions};
use crate::transformer::TextOptions;
use crate::{gguf, hf};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Imports an ONNX or GGUF file, or a Hugging Face directory.
///
/// # Errors
/// The model cannot be read, or has parts that cannot be imported: all of them are named. Of
/// text models, `options` may give ranges of dims only.
pub fn import(
    path: &Path,
    options: &ImportOptions,
    text: TextOptions,
) -> Result<Import, ImportError> {
    if path.is_dir() {
        only_dims(options)?;
        return hf::import(path, options, text);
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|f| f.take(4).read_to_end(&mut start));
    read.map_err(|source| ImportError::Io { path: path.into(), source })?;
    if start == gguf::MAGIC {
        only_dims(options)?;
        return gguf::import(path, options, text);
    }
    if text != TextOptions::default() {
        let reason = "it is for GGUF files and Hugging Face directories".into();
        return Err(ImportError::Option { option: "last-logits, kv-cache".into(), reason });
    }
    Ok(onnx::import(path, options)?)
}

/// Options that name inputs or initializers of an ONNX graph do not fit others.
fn only_dims(options: &ImportOptions) -> Result<(), ImportError> {
    let values = options.values.iter().map(|v| v.input.clone());
    let counts = options.lengths.iter().chain(&options.ranks).map(ToString::to_string);
    let names = options.params.iter().chain(&options.absent).cloned();
    match values.chain(counts).chain(names).next() {
        None => Ok(()),
        Some(option) => {
            let reason = "inputs are described and weights replaced in ONNX models only".into();
            Err(ImportError::Option { option, reason })
        }
    }
}

/// The files that make up a model: itself, or those of its directory that are read.
///
/// # Errors
/// The directory cannot be listed.
pub fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if path.is_dir() { hf::files(path) } else { Ok(vec![path.into()]) }
}
