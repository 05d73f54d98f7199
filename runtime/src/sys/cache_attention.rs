//! Rows on their way to the caller's KV cache and back.

use super::run::{OutputSet, Run};
use crate::bind::InputSet;
use crate::error::RunError;
use crate::kv_cache::{CacheAttention, Threads};
use cascata_artifact::manifest::Step;

impl<I: InputSet + ?Sized, O: OutputSet> Run<'_, I, O> {
    /// Attends over the caller's cache.
    pub(super) fn cache_attention(&mut self, block: u32, at: usize) -> Result<(), RunError> {
        self.go_on(at)?;
        let exe = self.exe;
        let Step::CacheAttention(step) = &exe.entry().steps_of(block)[at] else { return Ok(()) };
        let refused = |problem: String| {
            let source_nodes = step.source.clone();
            Err(RunError::Cache { problem, source_nodes })
        };
        let Some(cache) = self.cache.as_deref_mut() else {
            return refused("the model attends over a KV cache and none was given: run it with Session::run_with_cache, or compile it without --kv-cache".into());
        };
        // SAFETY: the buffers were placed in this run (see `Run::launch`), the operands have
        // been written and the result is no input and no constant (the verifier has checked);
        // no kernel runs now.
        let Some((operands, y)) = (unsafe { self.ctx.frame.floats(step.operands, step.result) })
        else {
            return refused("the buffers of an attention overlap or are no floats: the artifact is inconsistent, recompile the model and report this".into());
        };
        let [q, k, v] = operands;
        let rows = CacheAttention { step, q, k, v };
        cache.attend(&rows, y, Threads(exe.runtime.pool())).or_else(refused)
    }
}
