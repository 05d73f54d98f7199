//! The engine without its thread: requests go in, each [`Core::step`] runs the model once.
//!
//! A step is: take back what was cancelled; admit (`admit.rs`); decide how many tokens of
//! each sequence run and find blocks for them (`plan.rs`); write the batch and its work list
//! (`batch.rs`); run the model; choose tokens and hand them out (`harvest.rs`).
//!
//! All decisions are made in the order of arrival and depend on tokens and counts, never on
//! time or addresses. What a sequence gives depends on its own tokens and parameters alone;
//! what the others do decides only when.

use crate::config::Config;
use crate::error::{EngineError, GenerateError, RequestError};
use crate::event::{FinishReason, Sink};
use crate::model::{Model, ModelSpec};
use crate::params::Params;
use crate::radix::RadixTree;
use crate::sample::Scratch;
use crate::sequence::{Cancel, Job, Request, Sequence, SequenceId};
use crate::stats::Stats;
use crate::stream::Stream;
use cascata_kv::{BlockCopy, BlockPool, KvStore, StepBatch, WorkBuilder};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Instant;

/// A model, its cache, and the requests on their way.
pub struct Core<M> {
    pub(crate) model: M,
    pub(crate) spec: ModelSpec,
    pub(crate) config: Config,
    pub(crate) store: KvStore,
    pub(crate) pool: BlockPool,
    pub(crate) tree: RadixTree,
    /// In the order of arrival.
    pub(crate) waiting: VecDeque<Sequence>,
    /// In the order of arrival.
    pub(crate) running: Vec<Sequence>,
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) arrived: u64,
    pub(crate) copies: Vec<BlockCopy>,
    pub(crate) batch: StepBatch,
    pub(crate) builder: WorkBuilder,
    pub(crate) logits: Vec<f32>,
    pub(crate) scratch: Scratch,
    pub(crate) stats: Stats,
}

/// What requests are checked against.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) spec: ModelSpec,
    pub(crate) max_sequences: usize,
    pub(crate) block_tokens: usize,
    pub(crate) blocks: usize,
}

impl Limits {
    /// Everything that would keep a request from ending.
    pub(crate) fn check(&self, prompt: &[u32], params: &Params) -> Result<(), RequestError> {
        params.check(self.max_sequences)?;
        let vocab = self.spec.vocab;
        if prompt.is_empty() {
            return Err(RequestError::EmptyPrompt);
        }
        if let Some(&token) = prompt.iter().find(|t| **t >= vocab) {
            return Err(RequestError::Token { token, vocab });
        }
        let (prompt, max_tokens) = (prompt.len(), params.max_tokens as usize);
        let limit = self.spec.max_context as usize;
        let all = prompt.saturating_add(max_tokens);
        if all > limit {
            return Err(RequestError::Context { prompt, max_tokens, limit });
        }
        let (needed, capacity) = (all.div_ceil(self.block_tokens), self.blocks);
        if needed > capacity {
            return Err(RequestError::Cache { prompt, max_tokens, needed, capacity });
        }
        Ok(())
    }
}

impl<M: Model> Core<M> {
    /// An engine without requests.
    ///
    /// # Errors
    /// An option is outside of its range, or there is no memory for the cache.
    pub fn new(model: M, config: Config) -> Result<Self, EngineError> {
        config.check()?;
        let spec = model.spec();
        let (store, pool) = KvStore::new(config.layout(&spec), config.kv_budget_bytes)?;
        Ok(Self {
            model,
            spec,
            store,
            tree: RadixTree::new(config.block_tokens),
            waiting: VecDeque::new(),
            running: Vec::new(),
            requests: BTreeMap::new(),
            arrived: 0,
            copies: Vec::new(),
            batch: StepBatch::default(),
            builder: WorkBuilder::default(),
            logits: Vec::new(),
            scratch: Scratch::default(),
            stats: Stats { blocks: pool.capacity(), ..Stats::default() },
            pool,
            config,
        })
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            spec: self.spec,
            max_sequences: self.config.max_sequences,
            block_tokens: self.config.block_tokens as usize,
            blocks: self.pool.capacity(),
        }
    }

    /// Queues a request of tokens, however many wait; its stream gets events while
    /// [`Core::step`] runs.
    ///
    /// # Errors
    /// The request makes no sense.
    pub fn submit(&mut self, prompt: Vec<u32>, params: Params) -> Result<Stream, RequestError> {
        self.limits().check(&prompt, &params)?;
        let ((sender, events), cancel) = (mpsc::channel(), Cancel::default());
        let stream = Stream::new(events, cancel.clone(), params.samples);
        self.add(Job { prompt, params, text: None, sink: Sink::Channel(sender), cancel });
        Ok(stream)
    }

    /// Takes in a checked request.
    pub(crate) fn add(&mut self, job: Job) {
        let id = SequenceId { request: self.arrived, sample: 0 };
        self.arrived += 1;
        let (sequence, request) = Sequence::new(id, job, self.config.block_tokens);
        self.requests.insert(id.request, request);
        self.waiting.push_back(sequence);
    }

    /// The model's sizes.
    pub fn spec(&self) -> ModelSpec {
        self.spec
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            running: self.running.len(),
            waiting: self.waiting.len(),
            blocks_free: self.pool.free(),
            blocks_cached: self.tree.blocks(),
            blocks_evictable: self.pool.evictable(),
            ..self.stats
        }
    }

    /// Runs the model once, if there is anything to run.
    pub fn step(&mut self) {
        let start = Instant::now();
        self.reap();
        self.admit();
        self.plan();
        self.write_batch();
        let host = start.elapsed();
        if self.batch.rows() == 0 {
            return;
        }
        let result = self.run_model();
        let ran = start.elapsed();
        match result {
            Ok(()) => self.harvest(),
            Err(error) => self.fail_running(&error),
        }
        self.stats.model_ns += (ran - host).as_nanos() as u64;
        self.stats.host_ns += (start.elapsed() - ran + host).as_nanos() as u64;
    }

    fn run_model(&mut self) -> Result<(), GenerateError> {
        let Self { model, store, batch, logits, copies, stats, .. } = self;
        copies.drain(..).for_each(|c| store.copy(&c));
        stats.steps += 1;
        stats.rows += batch.rows() as u64;
        stats.largest_step = stats.largest_step.max(batch.rows());
        stats.tiles_read += batch.work.blocks.len() as u64;
        // A model that panics may have left the cache half written, but only where this batch
        // appends, and all of its sequences end.
        match catch_unwind(AssertUnwindSafe(|| model.step(batch, store, logits))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(GenerateError::Model(error.to_string())),
            Err(panic) => Err(GenerateError::ModelPanic(panic_text(&*panic))),
        }
    }

    /// Ends what was cancelled or has nobody listening.
    fn reap(&mut self) {
        let cancelled = |r: &Request| r.cancel.is_cancelled();
        if !self.requests.values().any(cancelled) {
            return;
        }
        let requests = self.requests.iter().filter(|(_, r)| cancelled(r));
        let ids: Vec<u64> = requests.map(|(id, _)| *id).collect();
        for sequence in self.take(|s| ids.contains(&s.id.request)) {
            self.finish(sequence, FinishReason::Cancelled);
        }
    }

    /// Takes sequences out of both queues, in the order of arrival.
    fn take(&mut self, which: impl Fn(&Sequence) -> bool) -> Vec<Sequence> {
        let mut out: Vec<Sequence> = self.running.extract_if(.., |s| which(s)).collect();
        let (taken, rest): (VecDeque<_>, _) = self.waiting.drain(..).partition(|s| which(s));
        self.waiting = rest;
        out.extend(taken);
        out.sort_by_key(|s| s.id);
        out
    }

    /// Ends every request of the batch with this error.
    fn fail_running(&mut self, error: &GenerateError) {
        let failed: Vec<u64> =
            self.running.iter().filter(|s| s.plan.tokens > 0).map(|s| s.id.request).collect();
        for request in failed {
            self.fail(request, error);
        }
    }

    /// Ends a request, and all of its samples, with an error.
    pub(crate) fn fail(&mut self, request: u64, error: &GenerateError) {
        for mut sequence in self.take(|s| s.id.request == request) {
            self.drop_blocks(&mut sequence);
        }
        if let Some(mut request) = self.requests.remove(&request) {
            self.stats.failures += 1;
            request.sink.send(Err(error.clone()));
        }
    }

    /// Ends all requests with this error.
    pub(crate) fn fail_all(&mut self, error: &GenerateError) {
        let all: Vec<u64> = self.requests.keys().copied().collect();
        all.iter().for_each(|request| self.fail(*request, error));
    }

    /// Lets a sequence's blocks go, those of its draft included.
    pub(crate) fn drop_blocks(&mut self, sequence: &mut Sequence) {
        let branches = std::mem::take(&mut sequence.plan).branches;
        let tables = branches.into_iter().filter_map(|b| b.table);
        tables.for_each(|mut table| table.clear(&mut self.pool));
        sequence.table.clear(&mut self.pool);
    }

    /// Lets the blocks go, but keeps what was computed in the prefix cache.
    pub(crate) fn retire(&mut self, sequence: &mut Sequence) {
        if self.config.prefix_sharing {
            let (tokens, table) = (&sequence.tokens, &mut sequence.table);
            self.tree.insert(&tokens[..table.tokens()], table, true, &mut self.pool);
        }
        self.drop_blocks(sequence);
    }

    /// Hands out the end of a sample.
    pub(crate) fn finish(&mut self, mut sequence: Sequence, reason: FinishReason) {
        self.retire(&mut sequence);
        let id = sequence.id;
        let Some(request) = self.requests.get_mut(&id.request) else { return };
        request.sink.send(Ok(sequence.finished_event(reason.clone())));
        request.open -= 1;
        // Samples that never began end with the first one, for the same reason.
        for sibling in 1..=std::mem::take(&mut sequence.siblings) {
            sequence.id.sample = id.sample + sibling;
            request.sink.send(Ok(sequence.finished_event(reason.clone())));
            request.open -= 1;
        }
        if request.open == 0 {
            self.requests.remove(&id.request);
        }
    }

    /// Gives up the prefix cache.
    pub fn clear_cache(&mut self) {
        self.tree.clear(&mut self.pool);
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
