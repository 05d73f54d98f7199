//! Counters of an engine.

/// What an engine has done so far, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steps of the model.
    pub steps: u64,
    /// Rows of all steps.
    pub rows: u64,
    /// Of these, tokens of prompts (and of sequences computed again).
    pub prefill_rows: u64,
    /// Of these, tokens of drafts.
    pub draft_rows: u64,
    /// Draft tokens that were right.
    pub drafts_accepted: u64,
    /// Tokens handed out.
    pub new_tokens: u64,
    /// Tokens found in the cache when sequences were admitted.
    pub cached_tokens: u64,
    /// Blocks that attention read, each once per step.
    pub tiles_read: u64,
    /// Blocks that attention would have read without sharing within a step.
    pub tiles_unshared: u64,
    /// Sequences that lost their blocks to older ones.
    pub preemptions: u64,
    /// Blocks that the prefix cache gave up.
    pub evictions: u64,
    /// Requests that failed.
    pub failures: u64,
    /// Rows of the largest step.
    pub largest_step: usize,
    /// Sequences that run.
    pub running: usize,
    /// Sequences that wait.
    pub waiting: usize,
    /// Blocks of the pool.
    pub blocks: usize,
    /// Blocks that nobody holds.
    pub blocks_free: usize,
    /// Blocks of the prefix cache.
    pub blocks_cached: usize,
    /// Blocks that only the prefix cache holds.
    pub blocks_evictable: usize,
    /// Nanoseconds spent outside of the model: scheduling, work lists, sampling.
    pub host_ns: u64,
    /// Nanoseconds spent in the model.
    pub model_ns: u64,
}

impl Stats {
    /// Blocks that neither a sequence nor the cache accounts for when nothing runs.
    pub fn leaked_blocks(&self) -> usize {
        self.blocks - self.blocks_free - self.blocks_evictable
    }
}
