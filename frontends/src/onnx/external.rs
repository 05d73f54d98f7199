//! Weights in files beside the model.
//!
//! A location is a relative path that must stay inside the model's folder, also after
//! symbolic links are followed; offset and length are checked against the mapped file.

use super::error::ImportError;
use super::proto::TensorProto;
use crate::mapped::map_file;
use bytes::Bytes;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// The external files of one model, each mapped once.
pub struct ExternalFiles {
    folder: Option<PathBuf>,
    limit: u64,
    total: u64,
    files: HashMap<String, Bytes>,
}

impl ExternalFiles {
    /// Files under `folder`; `None` (a model from memory) has none.
    pub fn new(folder: Option<&Path>, limit: u64) -> Self {
        Self { folder: folder.map(Path::to_path_buf), limit, total: 0, files: HashMap::new() }
    }

    /// The bytes of a tensor that lies in another file.
    pub fn read(&mut self, tensor: &TensorProto, what: &str) -> Result<Bytes, ImportError> {
        let fail = |reason: String| ImportError::model(what, reason);
        let key = |name: &str| {
            let mut entries = tensor.external_data.iter();
            entries.find(|e| e.key() == name).map(|e| e.value().to_string())
        };
        let number = |name: &str| match key(name) {
            None => Ok(None),
            Some(text) => text
                .parse::<usize>()
                .map(Some)
                .map_err(|_| fail(format!("external data {name} '{text}' is not a size"))),
        };
        let location =
            key("location").ok_or_else(|| fail("external data without a location".into()))?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let file = self.file(&location, what)?;
        let end = match length {
            Some(n) => offset.checked_add(n),
            None => Some(file.len()),
        };
        match end {
            Some(end) if offset <= end && end <= file.len() => Ok(file.slice(offset..end)),
            _ => Err(fail(format!(
                "external data at offset {offset}, length {} lies outside '{location}' of {} bytes",
                length.map_or("to the end".into(), |n| n.to_string()),
                file.len()
            ))),
        }
    }

    fn file(&mut self, location: &str, what: &str) -> Result<Bytes, ImportError> {
        if let Some(bytes) = self.files.get(location) {
            return Ok(bytes.clone());
        }
        let path = self.resolve(location, what)?;
        let bytes =
            map_file(&path).map_err(|source| ImportError::Io { path: path.clone(), source })?;
        self.total = self.total.saturating_add(bytes.len() as u64);
        if self.total > self.limit {
            return Err(ImportError::TooLarge {
                what: "external weights".into(),
                bytes: self.total,
                limit: self.limit,
            });
        }
        self.files.insert(location.to_string(), bytes.clone());
        Ok(bytes)
    }

    fn resolve(&self, location: &str, what: &str) -> Result<PathBuf, ImportError> {
        let fail = |reason: String| ImportError::model(what, reason);
        let Some(folder) = &self.folder else {
            return Err(fail("external data, but the model does not come from a file".into()));
        };
        let relative = Path::new(location);
        let plain =
            relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || location.contains('\0') || !plain {
            return Err(fail(format!(
                "external data location '{location}' is not a path inside the model's folder"
            )));
        }
        let canonical = |path: &Path| {
            path.canonicalize()
                .map_err(|source| ImportError::Io { path: path.to_path_buf(), source })
        };
        let root = canonical(folder)?;
        let path = canonical(&folder.join(relative))?;
        if !path.starts_with(&root) {
            return Err(fail(format!(
                "external data location '{location}' leads out of the model's folder"
            )));
        }
        Ok(path)
    }
}
