//! Attention over keys and values that outlive runs.
//!
//! Why: what a sequence's earlier tokens left lies in blocks that sequences share and that a
//! scheduler moves about; a run sees none of that. Where the model says `cache_attention`,
//! the run hands the rows to a cache that its caller has brought.

use crate::sys::pool::Pool;
use cascata_artifact::CacheAttentionStep;
use std::ops::Range;

/// Rows that join a cache, then attend over it.
#[derive(Clone, Copy, Debug)]
pub struct CacheAttention<'a> {
    /// Sizes and options.
    pub step: &'a CacheAttentionStep,
    /// Queries, `f32[T,H,D]`.
    pub q: &'a [f32],
    /// Keys, `f32[T,G,D]`.
    pub k: &'a [f32],
    /// Values, `f32[T,G,D]`.
    pub v: &'a [f32],
}

/// Keys and values of earlier tokens, and which sequence each row of a run belongs to.
pub trait KvCache {
    /// Stores the keys and values of all rows for the step's layer; then writes the attention
    /// of each row over those of its sequence, up to its own, to `y: f32[T,H,D]`.
    ///
    /// # Errors
    /// The rows do not fit the cache; the run ends with this text.
    fn attend(
        &mut self,
        rows: &CacheAttention<'_>,
        y: &mut [f32],
        threads: Threads<'_>,
    ) -> Result<(), String>;
}

/// The threads of a run's [`Runtime`](crate::Runtime).
#[derive(Clone, Copy)]
pub struct Threads<'r>(pub(crate) &'r Pool);

impl Threads<'_> {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.threads()
    }

    /// Runs `job` for ranges that make up `0..tasks`, on each thread one at most; returns when
    /// all are done.
    ///
    /// # Errors
    /// A task panicked.
    pub fn run(&self, tasks: usize, job: &(dyn Fn(Range<usize>) + Sync)) -> Result<(), String> {
        let count = i64::try_from(tasks).map_err(|_| format!("{tasks} tasks are too many"))?;
        let job = |_: usize, begin: i64, end: i64| job(begin as usize..end as usize);
        self.0.run(count, 1, &job).map_err(|_| "a thread panicked".to_string())
    }
}
