//! A session over a paged cache as the engine's model.

use super::TextError;
use super::model::{no, position, shape, size};
use crate::engine::{Model, ModelError, ModelSpec};
use crate::kv::{self, Attention, AttentionKernel, KvStore, Layer, StepBatch};
use crate::{Session, TensorView};
use cascata_artifact::CacheAttentionStep;
use cascata_artifact::manifest::{Entry, Step};
use cascata_runtime::{CacheAttention, KvCache, Threads};
use std::ops::Range;

/// A decoder's session: `input_ids: i64[T]`, `positions: i64[T]` and `logit_rows: i64[L]` in,
/// `logits: f32[L,V]` out; attention runs over the engine's blocks, each read once a step.
pub struct PagedModel {
    session: Session,
    spec: ModelSpec,
    /// Query heads of every layer.
    heads: u32,
    logits: usize,
    kernel: AttentionKernel,
    /// `input_ids`, `positions` and `logit_rows` of the step.
    inputs: [Vec<i64>; 3],
}

/// The steps that attend over the cache.
fn attention(entry: &Entry) -> impl Iterator<Item = &CacheAttentionStep> {
    entry.all_steps().filter_map(|(_, _, step)| match step {
        Step::CacheAttention(step) => Some(step),
        _ => None,
    })
}

impl PagedModel {
    /// Whether the session attends over a paged cache.
    pub fn fits(session: &Session) -> bool {
        attention(session.entry()).next().is_some()
    }

    /// A session of an artifact that was compiled with `--kv-cache`.
    ///
    /// # Errors
    /// It has other inputs and outputs, or layers that a paged cache does not hold together.
    pub fn new(session: Session) -> Result<Self, TextError> {
        for name in INPUTS {
            shape(session.inputs(), name)?;
        }
        let steps: Vec<&CacheAttentionStep> = attention(session.entry()).collect();
        let first = steps.first().ok_or_else(|| no("nothing attends over a cache"))?;
        let sizes = |s: &CacheAttentionStep| (s.heads, s.kv_heads, s.head_dim, s.max_positions);
        if steps.iter().any(|step| sizes(step) != sizes(first)) {
            return Err(no("its layers have keys and values of different sizes"));
        }
        let mut layers: Vec<u32> = steps.iter().map(|s| s.layer).collect();
        layers.sort_unstable();
        if !layers.iter().copied().eq(0..layers.len() as u32) {
            return Err(no("its layers are not numbered from 0 on, each once"));
        }
        let spec = ModelSpec {
            layers: layers.len() as u32,
            kv_heads: first.kv_heads,
            head_dim: first.head_dim,
            vocab: size(shape(session.outputs(), "logits")?, 1, "logits")?,
            max_context: first.max_positions,
        };
        let (heads, logits) = (first.heads, position(session.outputs(), "logits")?);
        let kernel = AttentionKernel::new(session.runtime().isa());
        Ok(Self { session, spec, heads, logits, kernel, inputs: [vec![], vec![], vec![]] })
    }

    /// Allows sequences of this many tokens, whatever the model was trained for.
    pub fn set_max_context(&mut self, tokens: u32) {
        self.spec.max_context = tokens;
    }
}

/// The inputs' names, in the order of [`PagedModel::inputs`].
const INPUTS: [&str; 3] = ["input_ids", "positions", "logit_rows"];

impl Model for PagedModel {
    fn spec(&self) -> ModelSpec {
        self.spec
    }

    fn step(
        &mut self,
        batch: &StepBatch,
        kv: &mut KvStore,
        logits: &mut [f32],
    ) -> Result<(), ModelError> {
        let rows = [&batch.ids, &batch.positions, &batch.logit_rows];
        for (input, rows) in self.inputs.iter_mut().zip(rows) {
            input.clear();
            input.extend(rows.iter().map(|r| i64::from(*r)));
        }
        let threads = self.session.runtime().threads();
        self.kernel.begin(batch, self.heads as usize, kv.layout(), threads);
        let mut cache = StepCache { batch, kv, kernel: &self.kernel };
        let dims = self.inputs.each_ref().map(|input| [input.len() as i64]);
        let mut views = Vec::with_capacity(INPUTS.len());
        for ((name, dims), input) in INPUTS.iter().zip(&dims).zip(&self.inputs) {
            views.push((*name, TensorView::of(dims, input)?));
        }
        let outputs = self.session.run_with_cache(&views, &mut cache)?;
        logits.copy_from_slice(outputs[self.logits].as_slice()?);
        Ok(())
    }
}

/// The engine's cache, for one run.
struct StepCache<'s> {
    batch: &'s StepBatch,
    kv: &'s mut KvStore,
    kernel: &'s AttentionKernel,
}

impl KvCache for StepCache<'_> {
    fn attend(
        &mut self,
        rows: &CacheAttention<'_>,
        y: &mut [f32],
        threads: Threads<'_>,
    ) -> Result<(), String> {
        let step = rows.step;
        let layout = self.kv.layout();
        let width = layout.kv_heads as usize * layout.head_dim as usize;
        if rows.k.len() != self.batch.rows() * width {
            return Err("the step's keys are not those of its rows".into());
        }
        let layer = step.layer as usize;
        for append in &self.batch.appends {
            let at = append.row as usize * width;
            let (k, v) = (&rows.k[at..at + width], &rows.v[at..at + width]);
            self.kv.append(layer, append.slot, k, v);
        }
        let attention = Attention {
            heads: step.heads as usize,
            scale: step.scale,
            window: step.window,
            soft_cap: step.soft_cap,
        };
        let threads = OnRuntime(threads);
        let layer = Layer { kv: self.kv, number: layer };
        self.kernel.run(&attention, rows.q, layer, self.batch, &threads, y)
    }
}

/// The runtime's threads as the kernel's.
struct OnRuntime<'r>(Threads<'r>);

impl kv::Threads for OnRuntime<'_> {
    fn run(&self, tasks: usize, job: &(dyn Fn(Range<usize>) + Sync)) -> Result<(), String> {
        self.0.run(tasks, job)
    }
}
