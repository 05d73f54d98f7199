//! Text to tokens and back; `tokenizer.json` is the one stored form.

use crate::error::RequestError;
use std::path::Path;
use std::sync::Arc;

/// A tokenizer; clones share it.
#[derive(Clone)]
pub struct Tokenizer(Arc<tokenizers::Tokenizer>);

fn refuse(error: impl ToString) -> RequestError {
    RequestError::Tokenizer(error.to_string())
}

impl Tokenizer {
    /// Reads the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// It is not one.
    pub fn from_json(json: &[u8]) -> Result<Self, RequestError> {
        Ok(Self(Arc::new(tokenizers::Tokenizer::from_bytes(json).map_err(refuse)?)))
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read or is not one.
    pub fn from_file(path: &Path) -> Result<Self, RequestError> {
        let json = std::fs::read(path).map_err(|e| refuse(format!("{}: {e}", path.display())))?;
        Self::from_json(&json)
    }

    /// The text's tokens; `special` adds what the tokenizer puts around a text.
    ///
    /// # Errors
    /// The tokenizer has no token for some part of the text.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, RequestError> {
        Ok(self.0.encode_fast(text, special).map_err(refuse)?.get_ids().to_vec())
    }

    /// The tokens' text. Ids without a token are left out; bytes that are no UTF-8 become
    /// U+FFFD.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn decode(&self, tokens: &[u32], skip_special: bool) -> Result<String, RequestError> {
        self.0.decode(tokens, skip_special).map_err(refuse)
    }

    /// The id of a token's text.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    /// The number of ids, added tokens included.
    pub fn vocab(&self) -> usize {
        self.0.get_vocab_size(true)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer of {} tokens", self.vocab())
    }
}
