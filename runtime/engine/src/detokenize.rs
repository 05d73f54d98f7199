//! Text, token by token.
//!
//! A token's text depends on the tokens before it (spaces, characters of several tokens), so
//! a window of tokens is decoded with and without the new one. A character whose bytes are
//! not all there shows as U+FFFD at the end, and is held back until it is complete. A
//! character has at most four bytes, so no more than three replacement characters wait:
//! bytes that are no UTF-8 at all come out as U+FFFD.

use crate::error::RequestError;
use crate::tokenizer::Tokenizer;

/// Replacement characters that may still become a character.
const MOST_INCOMPLETE: usize = 3;

/// Tokens that decide how the next one reads.
const CONTEXT: usize = 8;

/// The text of a growing sequence of tokens.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    skip_special: bool,
    /// The last tokens.
    window: Vec<u32>,
    /// Bytes of the window's text that were given out, or are the prompt's.
    given: usize,
}

impl Detokenizer {
    /// Starts after `prompt`, whose text is not given out.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn new(
        tokenizer: Tokenizer,
        skip_special: bool,
        prompt: &[u32],
    ) -> Result<Self, RequestError> {
        let window = prompt[prompt.len().saturating_sub(CONTEXT)..].to_vec();
        let given = tokenizer.decode(&window, skip_special)?.len();
        Ok(Self { tokenizer, skip_special, window, given })
    }

    /// The text that this token completes; often empty.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn push(&mut self, token: u32) -> Result<String, RequestError> {
        self.window.push(token);
        let text = self.tokenizer.decode(&self.window, self.skip_special)?;
        let end = text.chars().rev().take(MOST_INCOMPLETE);
        let held = end.take_while(|c| *c == char::REPLACEMENT_CHARACTER).count()
            * char::REPLACEMENT_CHARACTER.len_utf8();
        let complete = text.len() - held;
        let new = text.get(self.given..complete).unwrap_or_default().to_string();
        self.given = self.given.max(complete);
        if self.window.len() > 4 * CONTEXT {
            self.window.drain(..self.window.len() - CONTEXT);
            let text = self.tokenizer.decode(&self.window, self.skip_special)?;
            self.given = text.len().saturating_sub(held);
        }
        Ok(new)
    }

    /// What is held back, at the end.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn finish(&mut self) -> Result<String, RequestError> {
        let text = self.tokenizer.decode(&self.window, self.skip_special)?;
        let rest = text.get(self.given..).unwrap_or_default().to_string();
        self.given = text.len();
        Ok(rest)
    }
}
