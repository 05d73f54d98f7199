//! GGUF files, versions 2 and 3: metadata, and tensors as views into the mapping.
//!
//! A file is magic, version, counts, key-value pairs, tensor entries, padding, data; all
//! little-endian. Block formats stay as they are: they are encodings of the tensor's type.

use crate::Import;
use crate::error::ImportError;
use crate::mapped::map_file;
use crate::onnx::ImportOptions;
use crate::stored::Stored;
use crate::transformer::{self, TextOptions};
use bytes::Bytes;
use cursor::Cursor;
use std::collections::BTreeMap;
use std::path::Path;

mod cursor;
mod model;
mod sentencepiece;
mod tensor;
mod value;
mod vocabulary;

pub use value::Value;

/// What a file starts with.
pub const MAGIC: &[u8; 4] = b"GGUF";
/// Where data starts unless the file says otherwise: a multiple of this.
const ALIGNMENT: u64 = 32;

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Gguf {
    /// Key-value pairs.
    pub metadata: BTreeMap<String, Value>,
    /// Tensors in the file's order.
    pub tensors: Vec<Stored>,
}

/// Reads a file.
///
/// # Errors
/// The bytes are not a GGUF file of a known version; or tensors that overlap, lie outside of
/// the file, or are of a type that is not supported, all of which are named.
pub fn read(bytes: &Bytes, file: &str) -> Result<Gguf, ImportError> {
    let fail = |reason: String| ImportError::file(file, reason);
    let mut cursor = Cursor::new(bytes);
    let (tensors, pairs) = header(&mut cursor).map_err(fail)?;
    let metadata = metadata(&mut cursor, pairs).map_err(fail)?;
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(value) => value
            .size()
            .filter(|n| n.is_power_of_two())
            .ok_or_else(|| fail("'general.alignment' must be a power of two".into()))?,
    };
    let entries = tensor::entries(&mut cursor, tensors).map_err(fail)?;
    let start = (cursor.position() as u64).checked_next_multiple_of(alignment);
    let start = start.ok_or_else(|| fail("the data lies outside of the file".into()))?;
    match tensor::place(bytes, file, &entries, start, alignment) {
        Ok(tensors) => Ok(Gguf { metadata, tensors }),
        Err(problems) => Err(ImportError::File { file: file.into(), problems }),
    }
}

/// Imports a model file. Its configuration, tokenizer, chat template and special tokens become
/// metadata in their Hugging Face form; where the vocabulary cannot be converted exactly,
/// `tokenizer.missing` says why.
///
/// # Errors
/// As [`read`]; an architecture that is not known, or tensors that do not fit it.
pub fn import(
    path: &Path,
    options: &ImportOptions,
    text: TextOptions,
) -> Result<Import, ImportError> {
    let bytes = map_file(path).map_err(|source| ImportError::Io { path: path.into(), source })?;
    import_bytes(&bytes, &path.file_name().unwrap_or_default().to_string_lossy(), options, text)
}

/// Imports a model from memory; `file` is its name in errors.
///
/// # Errors
/// As [`import`].
pub fn import_bytes(
    bytes: &Bytes,
    file: &str,
    options: &ImportOptions,
    text: TextOptions,
) -> Result<Import, ImportError> {
    let (size, limit) = (bytes.len() as u64, options.max_bytes);
    if size > limit {
        return Err(ImportError::TooLarge { what: file.into(), bytes: size, limit });
    }
    let gguf = read(bytes, file)?;
    let model = model::describe(&gguf, file)?;
    let config = serde_json::Value::Object(model.config.clone()).to_string();
    let tokenizer = match vocabulary::tokenizer_json(&gguf.metadata) {
        Ok(json) => ("tokenizer.json", json),
        Err(reason) => ("tokenizer.missing", reason),
    };
    let own = |key: &str| gguf.metadata.get(key).and_then(Value::text).map(str::to_string);
    let mut metadata = vec![
        ("config.json", config),
        tokenizer,
        ("generation_config.json", vocabulary::generation_config(&gguf.metadata)),
    ];
    let kept = [("tokenizer.chat_template", "chat_template"), ("general.license", "license")];
    metadata.extend(kept.iter().filter_map(|(key, name)| Some((*name, own(key)?))));
    let producer = own("general.name").unwrap_or_else(|| "GGUF".into());
    let graph = transformer::build(model, text, &options.dims)?;
    let metadata = metadata.into_iter().map(|(name, text)| (name.to_string(), text)).collect();
    Ok(Import { metadata, ..Import::of(graph, &producer) })
}

/// The numbers of tensors and of key-value pairs.
fn header(cursor: &mut Cursor) -> Result<(u64, u64), String> {
    if cursor.take(4).ok() != Some(MAGIC) {
        return Err("it is not a GGUF file".into());
    }
    match cursor.u32()? {
        2 | 3 => Ok((cursor.u64()?, cursor.u64()?)),
        1 => Err("GGUF version 1 is not read; convert the file with a newer llama.cpp".into()),
        v if v.swap_bytes() <= 3 => Err("the file is big-endian".into()),
        v => Err(format!("GGUF version {v} is not known, only 2 and 3 are")),
    }
}

fn metadata(cursor: &mut Cursor, pairs: u64) -> Result<BTreeMap<String, Value>, String> {
    // The shortest pair: an empty key and one byte.
    cursor.room_for(pairs, 8 + 4 + 1, "key-value pairs")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..pairs {
        let key = cursor.string()?;
        let value = Value::read(cursor).map_err(|e| format!("'{key}': {e}"))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("'{key}' is there twice"));
        }
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests;
