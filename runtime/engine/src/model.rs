//! What the engine needs of a compiled model, and nothing more.

use cascata_kv::{KvStore, StepBatch};

/// Sizes of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// Layers that keep keys and values.
    pub layers: u32,
    /// Key and value heads of each.
    pub kv_heads: u32,
    /// Numbers of each head's key, and of its value.
    pub head_dim: u32,
    /// Number of token ids.
    pub vocab: u32,
    /// Tokens of the longest sequence.
    pub max_context: u32,
}

/// Why a step failed; its text reaches the streams of all requests of the batch.
pub type ModelError = Box<dyn std::error::Error + Send + Sync>;

/// A decoder over flat tokens.
pub trait Model: Send {
    /// Its sizes; they never change.
    fn spec(&self) -> ModelSpec;

    /// Runs a batch: appends keys and values of all rows in each layer, attends over the work
    /// list, and writes `logits`, `f32[batch.logit_rows, vocab]`.
    ///
    /// A row's logits must not depend on the other sequences of the batch, nor on how its
    /// own tokens are cut into steps: that is what makes results independent of load.
    ///
    /// # Errors
    /// The batch cannot be run. All of its requests end; the engine goes on.
    fn step(
        &mut self,
        batch: &StepBatch,
        kv: &mut KvStore,
        logits: &mut [f32],
    ) -> Result<(), ModelError>;
}

impl<M: Model + ?Sized> Model for Box<M> {
    fn spec(&self) -> ModelSpec {
        (**self).spec()
    }

    fn step(
        &mut self,
        batch: &StepBatch,
        kv: &mut KvStore,
        logits: &mut [f32],
    ) -> Result<(), ModelError> {
        (**self).step(batch, kv, logits)
    }
}
