//! Options of an engine.

use crate::draft::Speculation;
use crate::error::EngineError;
use crate::model::ModelSpec;
use cascata_kv::{KvElement, KvLayout};

/// Options of an engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Bytes of keys and values.
    pub kv_budget_bytes: u64,
    /// How they are stored.
    pub kv_element: KvElement,
    /// Tokens of a block: the unit of sharing and the tile of attention.
    pub block_tokens: u32,
    /// Rows of one step at most: what a decode waits for at worst.
    pub step_tokens: usize,
    /// Sequences that run at once at most.
    pub max_sequences: usize,
    /// Requests that wait at most; more are refused.
    pub queue_capacity: usize,
    /// Keeps prefixes in the cache and finds them again.
    pub prefix_sharing: bool,
    /// Tokens that end a sequence.
    pub eos_tokens: Vec<u32>,
    /// Drafts tokens; results stay the same.
    pub speculation: Option<Speculation>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kv_budget_bytes: 1 << 30,
            kv_element: KvElement::F16,
            block_tokens: 64,
            step_tokens: 512,
            max_sequences: 64,
            queue_capacity: 1024,
            prefix_sharing: true,
            eos_tokens: Vec::new(),
            speculation: None,
        }
    }
}

impl Config {
    /// Checks every range.
    ///
    /// # Errors
    /// The first option that is outside of its range.
    pub fn check(&self) -> Result<(), EngineError> {
        let within = |name, value: usize, good: bool, expected: String| {
            let error = || EngineError::Option { name, value: value.to_string(), expected };
            good.then_some(()).ok_or_else(error)
        };
        let (sequences, rows) = (self.max_sequences, self.step_tokens);
        let tokens = self.block_tokens as usize;
        within("block_tokens", tokens, (1..=4096).contains(&tokens), "in 1..=4096".into())?;
        within("max_sequences", sequences, sequences > 0, "above 0".into())?;
        let expected = format!("at least max_sequences, {sequences}, so that no decode waits");
        within("step_tokens", rows, rows >= sequences, expected)?;
        within("step_tokens", rows, rows <= 1 << 20, "at most 1048576".into())?;
        within("queue_capacity", self.queue_capacity, self.queue_capacity > 0, "above 0".into())
    }

    pub(crate) fn layout(&self, spec: &ModelSpec) -> KvLayout {
        KvLayout {
            layers: spec.layers,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            block_tokens: self.block_tokens,
            element: self.kv_element,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_option_is_named() {
        type Spoil = fn(&mut Config);
        let cases: &[(&str, Spoil)] = &[
            ("block_tokens", |c| c.block_tokens = 0),
            ("max_sequences", |c| c.max_sequences = 0),
            ("step_tokens", |c| c.step_tokens = 63),
            ("step_tokens", |c| c.step_tokens = usize::MAX),
            ("queue_capacity", |c| c.queue_capacity = 0),
        ];
        assert!(Config::default().check().is_ok());
        for (want, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let error = config.check().unwrap_err();
            assert!(matches!(&error, EngineError::Option { name, .. } if name == want), "{error}");
        }
    }
}
