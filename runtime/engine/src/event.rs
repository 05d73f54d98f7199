//! What reaches the caller.

use crate::error::GenerateError;
use crate::sample::LogProbs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;

/// Something that happened to one sample of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A new token.
    Token {
        /// Which of the request's samples.
        sample: u32,
        /// The token.
        token: u32,
        /// The text that it completes. Empty without a tokenizer, in the middle of a
        /// character, and while it may be the beginning of a stop string.
        text: String,
        /// If they were asked for.
        log_probs: Option<LogProbs>,
    },
    /// The sample is complete.
    Finished {
        /// Which of the request's samples.
        sample: u32,
        /// Why.
        reason: FinishReason,
        /// Text that was held back until now.
        text: String,
        /// What it took.
        usage: Usage,
    },
}

/// Why a sample ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// This stop token came.
    StopToken(u32),
    /// This stop string came.
    StopString(String),
    /// It has `max_tokens` tokens.
    Length,
    /// The caller took the request back.
    Cancelled,
}

/// What one sample took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens that were in the cache at first admission.
    pub cached_tokens: usize,
    /// New tokens, a stop token included.
    pub new_tokens: usize,
    /// Of these, tokens that a draft had right.
    pub drafted_tokens: usize,
}

/// A callback for a request's events.
pub type Callback = Box<dyn FnMut(Result<Event, GenerateError>) + Send>;

/// Where a request's events go.
pub(crate) enum Sink {
    Channel(Sender<Result<Event, GenerateError>>),
    Callback(Callback),
}

impl Sink {
    /// Hands over an event; false if nobody takes it any more.
    pub(crate) fn send(&mut self, event: Result<Event, GenerateError>) -> bool {
        match self {
            Sink::Channel(sender) => sender.send(event).is_ok(),
            // What a callback broke is its own; the engine's state is not reachable from it.
            Sink::Callback(call) => catch_unwind(AssertUnwindSafe(|| call(event))).is_ok(),
        }
    }
}
