//! A request's events, as they come.

use crate::error::GenerateError;
use crate::event::{Event, FinishReason, Usage};
use crate::sequence::Cancel;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// The events of one request. It ends after every sample's [`Event::Finished`], or after one
/// error. Dropping it takes the request back.
///
/// The engine never waits for a stream: what is not read is kept, at most `max_tokens` events
/// for each sample.
#[derive(Debug)]
pub struct Stream {
    events: Receiver<Result<Event, GenerateError>>,
    cancel: Cancel,
    /// Samples that have not finished.
    open: u32,
}

/// All of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Its text; empty without a tokenizer.
    pub text: String,
    /// Why it ended.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
}

impl Stream {
    pub(crate) fn new(
        events: Receiver<Result<Event, GenerateError>>,
        cancel: Cancel,
        samples: u32,
    ) -> Self {
        Self { events, cancel, open: samples }
    }

    /// Takes the request back: what is open finishes as cancelled.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// A handle that takes the request back, for another thread.
    pub fn canceller(&self) -> Cancel {
        self.cancel.clone()
    }

    /// The next event if it comes in time; `Ok(None)` at the end.
    ///
    /// # Errors
    /// The request failed; the stream is at its end.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event>, NextError> {
        if self.open == 0 {
            return Ok(None);
        }
        match self.events.recv_timeout(timeout) {
            Ok(event) => self.count(event).map(Some).map_err(NextError::Failed),
            Err(RecvTimeoutError::Timeout) => Err(NextError::Timeout),
            Err(RecvTimeoutError::Disconnected) => {
                self.open = 0;
                Err(NextError::Failed(GenerateError::ShutDown))
            }
        }
    }

    fn count(&mut self, event: Result<Event, GenerateError>) -> Result<Event, GenerateError> {
        match &event {
            Ok(Event::Finished { .. }) => self.open -= 1,
            Ok(Event::Token { .. }) => {}
            Err(_) => self.open = 0,
        }
        event
    }

    /// Reads to the end: the samples in order.
    ///
    /// # Errors
    /// The request failed.
    pub fn collect_outputs(self) -> Result<Vec<Output>, GenerateError> {
        let mut out: Vec<Output> = Vec::new();
        let empty = || Output {
            tokens: Vec::new(),
            text: String::new(),
            reason: FinishReason::Cancelled,
            usage: Usage::default(),
        };
        for event in self {
            let event = event?;
            let (Event::Token { sample, .. } | Event::Finished { sample, .. }) = event;
            let sample = sample as usize;
            out.resize_with(out.len().max(sample + 1), empty);
            match event {
                Event::Token { token, text, .. } => {
                    out[sample].tokens.push(token);
                    out[sample].text += &text;
                }
                Event::Finished { reason, text, usage, .. } => {
                    out[sample].text += &text;
                    (out[sample].reason, out[sample].usage) = (reason, usage);
                }
            }
        }
        Ok(out)
    }
}

/// Why there is no next event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NextError {
    /// None came in time.
    #[error("no event within the timeout")]
    Timeout,
    /// The request failed.
    #[error(transparent)]
    Failed(#[from] GenerateError),
}

impl Iterator for Stream {
    type Item = Result<Event, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.open == 0 {
            return None;
        }
        // An engine that is gone leaves no stream open.
        let event = self.events.recv().unwrap_or(Err(GenerateError::ShutDown));
        Some(self.count(event))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
