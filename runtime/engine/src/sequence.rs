//! One sample on its way, and the request that it belongs to.

use crate::detokenize::Detokenizer;
use crate::draft::DraftTree;
use crate::event::{Event, FinishReason, Sink, Usage};
use crate::params::Params;
use crate::sample::{LogProbs, Sampler};
use crate::stop::StopMatcher;
use cascata_kv::BlockTable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes a request back; clones take back the same one.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the request at the next step. Any thread may call it.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the request was taken back.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A checked request.
pub(crate) struct Job {
    pub(crate) prompt: Vec<u32>,
    pub(crate) params: Params,
    pub(crate) text: Option<Detokenizer>,
    pub(crate) sink: Sink,
    pub(crate) cancel: Cancel,
}

/// What the samples of a request have in common.
pub(crate) struct Request {
    pub(crate) params: Params,
    pub(crate) sink: Sink,
    pub(crate) cancel: Cancel,
    /// Samples that have not ended.
    pub(crate) open: u32,
}

/// Order of arrival, and of samples within a request: the order of all decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SequenceId {
    pub(crate) request: u64,
    pub(crate) sample: u32,
}

/// A sample.
pub(crate) struct Sequence {
    pub(crate) id: SequenceId,
    /// The prompt and what was generated.
    pub(crate) tokens: Vec<u32>,
    pub(crate) prompt: usize,
    /// Where the computed tokens are; behind the last token by one at least.
    pub(crate) table: BlockTable,
    pub(crate) sampler: Sampler,
    pub(crate) text: Option<Text>,
    /// Further samples that begin when the prompt is through.
    pub(crate) siblings: u32,
    pub(crate) usage: Usage,
    pub(crate) plan: Plan,
}

/// What one step does for a sequence.
#[derive(Default)]
pub(crate) struct Plan {
    /// Tokens of the sequence to compute; 0 if it waits.
    pub(crate) tokens: usize,
    pub(crate) draft: DraftTree,
    /// One for each leaf of the draft; the first one's table is the sequence's own.
    pub(crate) branches: Vec<Branch>,
    /// First row of the batch, and first row of the logits.
    pub(crate) row: usize,
    pub(crate) logit: usize,
}

/// One way through a draft.
pub(crate) struct Branch {
    pub(crate) nodes: Vec<usize>,
    /// None for the first branch.
    pub(crate) table: Option<BlockTable>,
}

/// From tokens to text.
#[derive(Clone)]
pub(crate) struct Text {
    detokenizer: Detokenizer,
    stop: StopMatcher,
}

/// What became of a new token.
pub(crate) struct Pushed {
    pub(crate) text: String,
    pub(crate) reason: Option<FinishReason>,
}

impl Sequence {
    pub(crate) fn new(id: SequenceId, job: Job, block_tokens: u32) -> (Self, Request) {
        let Job { prompt, params, text, sink, cancel } = job;
        let stop = StopMatcher::new(&params.stop_strings);
        let sequence = Self {
            id,
            prompt: prompt.len(),
            table: BlockTable::new(block_tokens),
            sampler: Sampler::new(&params.sampling, id.sample, &prompt),
            text: text.map(|detokenizer| Text { detokenizer, stop }),
            siblings: params.samples - 1,
            usage: Usage { prompt_tokens: prompt.len(), ..Usage::default() },
            plan: Plan::default(),
            tokens: prompt,
        };
        let open = params.samples;
        (sequence, Request { params, sink, cancel, open })
    }

    /// Another sample of the same prompt, whose table is empty.
    pub(crate) fn sibling(&self, id: SequenceId) -> Self {
        Self {
            id,
            tokens: self.tokens.clone(),
            prompt: self.prompt,
            table: self.table.sibling(),
            sampler: self.sampler.sibling(id.sample),
            text: self.text.clone(),
            siblings: 0,
            usage: self.usage,
            plan: Plan::default(),
        }
    }

    /// Tokens of it whose keys and values are in the cache.
    pub(crate) fn computed(&self) -> usize {
        self.table.tokens()
    }

    /// How many tokens are to be computed before the next one can be chosen.
    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.computed()
    }

    pub(crate) fn new_tokens(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// Takes in a chosen token.
    pub(crate) fn push(&mut self, token: u32, params: &Params, eos: &[u32]) -> Pushed {
        self.tokens.push(token);
        self.sampler.push(token);
        self.usage.new_tokens += 1;
        let is_eos = !params.ignore_eos && eos.contains(&token);
        if is_eos || params.stop_tokens.contains(&token) {
            let reason = Some(FinishReason::StopToken(token));
            return Pushed { text: String::new(), reason };
        }
        let (text, stop) = self.text.as_mut().map_or_else(Default::default, |t| t.push(token));
        let full = self.new_tokens() >= params.max_tokens as usize;
        let length = full.then_some(FinishReason::Length);
        Pushed { text, reason: stop.map(FinishReason::StopString).or(length) }
    }

    /// The event of a chosen token.
    pub(crate) fn token_event(&self, text: String, log_probs: Option<LogProbs>) -> Event {
        let token = self.tokens.last().copied().unwrap_or_default();
        Event::Token { sample: self.id.sample, token, text, log_probs }
    }

    /// The last event, with the text that was held back.
    pub(crate) fn finished_event(&mut self, reason: FinishReason) -> Event {
        let cut = matches!(reason, FinishReason::StopString(_));
        let text = self.text.as_mut().filter(|_| !cut).map_or_else(String::new, Text::finish);
        Event::Finished { sample: self.id.sample, reason, text, usage: self.usage }
    }
}

impl Text {
    /// Text that is decided, and the stop string that ended it.
    fn push(&mut self, token: u32) -> (String, Option<String>) {
        // A token that the decoder refuses has no text.
        let piece = self.detokenizer.push(token).unwrap_or_default();
        let matched = self.stop.push(&piece);
        (matched.text, matched.stop)
    }

    fn finish(&mut self) -> String {
        let piece = self.detokenizer.finish().unwrap_or_default();
        let matched = self.stop.push(&piece);
        matched.text + &self.stop.finish()
    }
}
