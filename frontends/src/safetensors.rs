//! Tensors of a safetensors file, or of a folder of shards, as views into the mappings.
//!
//! The header's checks (sizes that fit dtype and shape, no holes, no overlaps, nothing outside
//! of the file) are those of the format's own crate.

use crate::error::ImportError;
use crate::mapped::map_file;
use crate::stored::Stored;
use bytes::Bytes;
use cascata_ir::types::{DType, TensorType};
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// What names the shards of a folder.
const INDEX: &str = "model.safetensors.index.json";
/// The weights of a folder without an index.
const SINGLE: &str = "model.safetensors";
/// Most dims of a tensor.
const MAX_RANK: usize = 8;

/// The tensors of one file, by name.
///
/// # Errors
/// The bytes are not a safetensors file, or hold tensors of types without a counterpart here,
/// which are all named.
pub fn read(bytes: &Bytes, file: &str) -> Result<Vec<Stored>, ImportError> {
    let parsed = SafeTensors::read_metadata(bytes);
    let (header, metadata) = parsed
        .map_err(|e| ImportError::file(file, format!("it is not a safetensors file: {e}")))?;
    // Eight bytes say how long the header is.
    let start = header.saturating_add(8);
    let mut tensors = Vec::new();
    let mut problems = Vec::new();
    let infos: BTreeMap<String, &TensorInfo> = metadata.tensors().into_iter().collect();
    for (name, info) in infos {
        match stored(bytes, start, info) {
            Ok((ty, data)) => tensors.push(Stored { name, ty, data, file: file.into() }),
            Err(reason) => problems.push(format!("tensor '{name}': {reason}")),
        }
    }
    match problems.is_empty() {
        true => Ok(tensors),
        false => Err(ImportError::File { file: file.into(), problems }),
    }
}

fn stored(bytes: &Bytes, start: usize, info: &TensorInfo) -> Result<(TensorType, Bytes), String> {
    let dtype = dtype(info.dtype)
        .ok_or_else(|| format!("element type {:?} is not supported", info.dtype))?;
    if info.shape.len() > MAX_RANK {
        return Err(format!("{} dims, at most {MAX_RANK} are supported", info.shape.len()));
    }
    let dim = |n: &usize| i64::try_from(*n).map_err(|_| format!("dim {n} is too large"));
    let dims: Vec<i64> = info.shape.iter().map(dim).collect::<Result<_, _>>()?;
    let ty = TensorType::fixed(dtype, &dims);
    let (from, to) = info.data_offsets;
    let range = start.checked_add(from).zip(start.checked_add(to));
    let range = range.filter(|(from, to)| from <= to && *to <= bytes.len());
    let data = range.map(|(from, to)| bytes.slice(from..to));
    let data = data.ok_or("its bytes lie outside of the file")?;
    match ty.stored_bytes() == Some(data.len() as u64) {
        true => Ok((ty, data)),
        false => Err(format!("{} bytes do not fit its shape", data.len())),
    }
}

fn dtype(stored: Dtype) -> Option<DType> {
    Some(match stored {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::I16 => DType::I16,
        Dtype::U16 => DType::U16,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I32 => DType::I32,
        Dtype::U32 => DType::U32,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::I64 => DType::I64,
        Dtype::U64 => DType::U64,
        _ => return None,
    })
}

/// Where each tensor of a sharded model lies.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of a folder: of `model.safetensors`, or of the shards that
/// `model.safetensors.index.json` names.
///
/// # Errors
/// As [`read`], for every shard at once; also an index that does not agree with the shards,
/// or files of more than `max_bytes` together.
pub fn read_folder(folder: &Path, max_bytes: u64) -> Result<Vec<Stored>, ImportError> {
    let index = folder.join(INDEX);
    if !index.is_file() {
        return read(&map(folder, SINGLE, &mut 0, max_bytes)?, SINGLE);
    }
    let io = |source| ImportError::Io { path: index.clone(), source };
    let text = std::fs::read_to_string(&index).map_err(io)?;
    let parsed: Index =
        serde_json::from_str(&text).map_err(|e| ImportError::file(INDEX, e.to_string()))?;
    let files: BTreeSet<&String> = parsed.weight_map.values().collect();
    let (mut tensors, mut problems, mut total) = (Vec::new(), Vec::new(), 0);
    for file in files {
        if !is_plain(file) {
            problems.push(format!("'{file}' is not a file of this folder"));
            continue;
        }
        match map(folder, file, &mut total, max_bytes).and_then(|bytes| read(&bytes, file)) {
            Ok(found) => tensors.extend(found),
            Err(e) => problems.push(e.to_string()),
        }
    }
    if problems.is_empty() {
        problems = disagreements(&parsed.weight_map, &tensors);
    }
    match problems.is_empty() {
        true => Ok(tensors),
        false => Err(ImportError::File { file: INDEX.into(), problems }),
    }
}

/// A name without a way out of its folder.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

fn map(folder: &Path, file: &str, total: &mut u64, limit: u64) -> Result<Bytes, ImportError> {
    let path = folder.join(file);
    let bytes = map_file(&path).map_err(|source| ImportError::Io { path, source })?;
    *total = total.saturating_add(bytes.len() as u64);
    match *total <= limit {
        true => Ok(bytes),
        false => Err(ImportError::TooLarge { what: "the weights".into(), bytes: *total, limit }),
    }
}

/// Tensors that the index places elsewhere, or that it does not know.
fn disagreements(index: &BTreeMap<String, String>, tensors: &[Stored]) -> Vec<String> {
    let found: BTreeSet<(&str, &str)> =
        tensors.iter().map(|t| (t.name.as_str(), t.file.as_str())).collect();
    let named: BTreeSet<(&str, &str)> =
        index.iter().map(|(name, file)| (name.as_str(), file.as_str())).collect();
    let missing = named.difference(&found).map(|(name, file)| format!("{file} has no '{name}'"));
    let unknown = found
        .difference(&named)
        .map(|(name, file)| format!("'{name}' of {file} is not in the index"));
    missing.chain(unknown).collect()
}

#[cfg(test)]
#[path = "safetensors/tests.rs"]
mod tests;
