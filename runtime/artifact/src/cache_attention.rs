//! Attention over a KV cache as a step of an entry.

use serde::{Deserialize, Serialize};

/// Keys and values of all rows join a cache that the caller of the run keeps, then each row
/// attends to those of its sequence, up to its own. What the rows' sequences and positions
/// are is the caller's to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheAttentionStep {
    /// Which keys and values of the cache.
    pub layer: u32,
    /// Query heads H, a multiple of the others.
    pub heads: u32,
    /// Key and value heads G.
    pub kv_heads: u32,
    /// Numbers of each head D.
    pub head_dim: u32,
    /// Positions are below this.
    pub max_positions: u32,
    /// Multiplies q·kᵀ.
    pub scale: f32,
    /// A row sees this many keys at most, its own included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Scores become `cap·tanh(score/cap)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_cap: Option<f32>,
    /// Buffers of `q: f32[T,H,D]`, `k: f32[T,G,D]` and `v: f32[T,G,D]`.
    pub operands: [u32; 3],
    /// The buffer of `f32[T,H,D]` that it fills.
    pub result: u32,
    /// The graph value that it computes, for profiles.
    pub value: String,
    /// Source nodes, for reports.
    pub source: Vec<String>,
}

impl CacheAttentionStep {
    /// All buffers, the result last.
    pub fn buffers(&self) -> impl Iterator<Item = u32> {
        self.operands.into_iter().chain([self.result])
    }

    /// Floats of one row of each buffer.
    pub fn row_lengths(&self) -> [(u32, u64); 4] {
        let of = |heads: u32| u64::from(heads) * u64::from(self.head_dim);
        let [q, k, v] = self.operands;
        let (wide, narrow) = (of(self.heads), of(self.kv_heads));
        [(q, wide), (k, narrow), (v, narrow), (self.result, wide)]
    }
}
