//! Strings of tensors: as bytes, and what ops compute from one of them.
//!
//! Outside of a run, a tensor of strings is its elements one after the other, each as its
//! length in bytes (u32, little-endian) and UTF-8. In a run it is an array of 8-byte ids
//! into a table in which equal strings have equal ids, so that moving and comparing them is
//! integer work; only what is here needs the characters.

use serde::{Deserialize, Serialize};

/// The most bytes of a string that an op makes.
pub const MAX_BYTES: usize = 1 << 28;

/// Strings as bytes.
///
/// `None` if one is longer than a u32 says.
pub fn pack<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for text in texts {
        out.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
        out.extend(text.as_bytes());
    }
    Some(out)
}

/// The strings that bytes stand for; `None` if the bytes are not [`pack`]'s.
pub fn unpack(mut bytes: &[u8]) -> Option<Vec<&str>> {
    let mut out = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        out.push(std::str::from_utf8(text).ok()?);
        bytes = rest;
    }
    bytes.is_empty().then_some(out)
}

/// A string in upper or lower case, as Unicode has it without regard to a language.
pub fn cased(text: &str, upper: bool) -> String {
    if upper { text.to_uppercase() } else { text.to_lowercase() }
}

/// What is between delimiters, with at most so many splits. Without a delimiter what is
/// between runs of white space: then nothing is empty, and an unsplit rest keeps the white
/// space at its end.
pub fn parts<'a>(text: &'a str, delimiter: &str, at_most: u64) -> Vec<&'a str> {
    let splits = usize::try_from(at_most).unwrap_or(usize::MAX);
    if !delimiter.is_empty() {
        return text.splitn(splits.saturating_add(1), delimiter).collect();
    }
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(char::is_whitespace).filter(|_| out.len() < splits);
        let (part, tail) = rest.split_at(end.unwrap_or(rest.len()));
        out.push(part);
        rest = tail.trim_start();
    }
    out
}

/// A deterministic automaton over bytes that accepts whole strings: state 0 is the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dfa {
    /// The class of each byte.
    pub classes: Vec<u8>,
    /// The state after a byte of a class, row by row: one row per state.
    pub next: Vec<u32>,
    /// Whether a string may end in a state.
    pub accepts: Vec<bool>,
}

impl Dfa {
    fn width(&self) -> usize {
        self.classes.iter().max().map_or(0, |c| usize::from(*c) + 1)
    }

    /// Whether every class, state and row exists.
    pub fn is_sound(&self) -> bool {
        let states = self.accepts.len();
        self.classes.len() == 256
            && states > 0
            && states.checked_mul(self.width()) == Some(self.next.len())
            && self.next.iter().all(|s| (*s as usize) < states)
    }

    /// Whether it accepts a string; an automaton that is not sound accepts none.
    pub fn accepts(&self, text: &str) -> bool {
        let width = self.width();
        let step = |state: usize, byte: u8| {
            let class = usize::from(*self.classes.get(usize::from(byte))?);
            self.next.get(state * width + class).map(|s| *s as usize)
        };
        let end = text.bytes().try_fold(0, step);
        end.and_then(|s| self.accepts.get(s)).copied().unwrap_or(false)
    }
}
