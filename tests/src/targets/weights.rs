//! Text models: GGUF files, and a configuration with a safetensors file.

use super::text::verified;
use bytes::Bytes;
use cascata_frontends::onnx::ImportOptions;
use cascata_frontends::{Import, ImportError, TextCache, TextOptions, gguf, hf};

/// The limit of a fuzzed file.
fn options() -> ImportOptions {
    ImportOptions { max_bytes: 1 << 20, ..ImportOptions::default() }
}

/// A GGUF file.
///
/// # Panics
/// A defect: a model that is imported does not verify.
pub fn gguf(bytes: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(bytes);
    let with = |text| gguf::import_bytes(&bytes, "fuzz.gguf", &options(), text);
    accepted(with(TextOptions::default())) & accepted(with(CACHED))
}

/// A `config.json`, a zero byte, a safetensors file.
///
/// # Panics
/// As [`fn@gguf`].
pub fn safetensors(bytes: &[u8]) -> bool {
    let split = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let (config, weights) = bytes.split_at(split);
    let Ok(config) = std::str::from_utf8(config) else { return false };
    let weights = Bytes::copy_from_slice(weights.get(1..).unwrap_or(&[]));
    let with = |text| hf::import_bytes(config, &weights, &options(), text);
    accepted(with(TextOptions::default())) & accepted(with(CACHED))
}

const CACHED: TextOptions = TextOptions { last_logits: true, cache: TextCache::Tensors };

fn accepted(import: Result<Import, ImportError>) -> bool {
    let Ok(import) = import else { return false };
    if let Err(errors) = cascata_ir::verify::verify(&import.graph) {
        panic!("imported and not valid: {errors:?}");
    }
    verified(&import.graph)
}
