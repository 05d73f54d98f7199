//! The engine with its thread.
//!
//! [`Engine::submit`] checks and tokenizes on the caller's thread, puts the request into a
//! bounded queue and gives a [`Stream`]. One thread owns the [`Core`] and runs its steps while
//! there is anything to do. Nothing that a caller does stops it: streams never block it,
//! panics of callbacks end their own request, a model's error or panic ends the requests of
//! that batch.

use crate::chat::{ChatTemplate, Message};
use crate::config::Config;
use crate::core::{Core, Limits};
use crate::detokenize::Detokenizer;
use crate::error::{EngineError, GenerateError, RequestError, SubmitError};
use crate::event::{Callback, Sink};
use crate::model::Model;
use crate::params::Params;
use crate::sequence::{Cancel, Job};
use crate::stats::Stats;
use crate::stream::Stream;
use crate::tokenizer::Tokenizer;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

/// What a request continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Tokens as they are.
    Tokens(Vec<u32>),
    /// Text, with what the tokenizer puts around it.
    Text(String),
    /// A conversation, through the chat template.
    Chat(Vec<Message>),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Prompt::Text(text.to_string())
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Self {
        Prompt::Tokens(tokens)
    }
}

/// Generates text with one model. Dropping it ends all requests with an error;
/// [`Engine::finish`] lets them end first.
pub struct Engine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    limits: Limits,
    queue_capacity: usize,
    tokenizer: Option<Tokenizer>,
    chat: Option<ChatTemplate>,
}

/// What callers and the engine's thread have in common.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to do, or the end has come.
    wake: Condvar,
    /// There is room in the queue, or the end has come.
    room: Condvar,
}

#[derive(Default)]
struct State {
    inbox: VecDeque<Job>,
    closing: Closing,
    stats: Stats,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Closing {
    #[default]
    Open,
    /// No new requests; the others end as they would.
    Finish,
    /// Everything ends now.
    Abort,
    /// The thread is gone.
    Gone,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, closing: Closing) {
        let mut state = self.lock();
        if state.closing != Closing::Gone {
            state.closing = closing;
        }
        self.wake.notify_all();
        self.room.notify_all();
    }
}

impl Engine {
    /// Starts an engine that knows tokens only.
    ///
    /// # Errors
    /// An option is outside of its range, or there is no memory or no thread.
    pub fn new(model: impl Model + 'static, config: Config) -> Result<Self, EngineError> {
        let queue_capacity = config.queue_capacity;
        let core = Core::new(model, config)?;
        let (limits, shared) = (core.limits(), Arc::new(Shared::default()));
        shared.lock().stats = core.stats();
        let of_thread = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name("cascata-engine".into());
        let thread = Some(builder.spawn(move || run(core, &of_thread))?);
        Ok(Self { shared, thread, limits, queue_capacity, tokenizer: None, chat: None })
    }

    /// Text in and out.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: Tokenizer) -> Self {
        self.tokenizer = Some(tokenizer);
        self
    }

    /// Conversations in.
    #[must_use]
    pub fn with_chat_template(mut self, chat: ChatTemplate) -> Self {
        self.chat = Some(chat);
        self
    }

    /// Queues a request.
    ///
    /// # Errors
    /// The request makes no sense, the queue is full, or the engine has ended.
    pub fn submit(&self, prompt: impl Into<Prompt>, params: Params) -> Result<Stream, SubmitError> {
        let (job, stream) = self.streamed(prompt.into(), params)?;
        self.queue(job, false)?;
        Ok(stream)
    }

    /// Queues a request, and waits while the queue is full.
    ///
    /// # Errors
    /// The request makes no sense, or the engine has ended.
    pub fn submit_waiting(
        &self,
        prompt: impl Into<Prompt>,
        params: Params,
    ) -> Result<Stream, SubmitError> {
        let (job, stream) = self.streamed(prompt.into(), params)?;
        self.queue(job, true)?;
        Ok(stream)
    }

    /// Queues a request whose events go to a callback on the engine's thread, which waits for
    /// it. A panic of the callback cancels the request and nothing else.
    ///
    /// # Errors
    /// The request makes no sense, the queue is full, or the engine has ended.
    pub fn submit_with(
        &self,
        prompt: impl Into<Prompt>,
        params: Params,
        callback: Callback,
    ) -> Result<Cancel, SubmitError> {
        let job = self.job(prompt.into(), params, Sink::Callback(callback))?;
        let cancel = job.cancel.clone();
        self.queue(job, false)?;
        Ok(cancel)
    }

    /// Counters, as of the last step.
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats
    }

    /// Takes no more requests, lets those that it has end, and gives the last counters.
    pub fn finish(mut self) -> Stats {
        self.end(Closing::Finish);
        self.stats()
    }

    fn end(&mut self, closing: Closing) {
        self.shared.close(closing);
        let thread = self.thread.take();
        // A callback that drops the engine is on its thread, which cannot wait for itself.
        let other = thread.filter(|t| t.thread().id() != std::thread::current().id());
        if let Some(Err(panic)) = other.map(JoinHandle::join) {
            // Streams have ended by losing their senders; the bug is not to be hidden.
            if !std::thread::panicking() {
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn streamed(&self, prompt: Prompt, params: Params) -> Result<(Job, Stream), RequestError> {
        let (sender, events) = mpsc::channel();
        let samples = params.samples;
        let job = self.job(prompt, params, Sink::Channel(sender))?;
        let stream = Stream::new(events, job.cancel.clone(), samples);
        Ok((job, stream))
    }

    fn job(&self, prompt: Prompt, params: Params, sink: Sink) -> Result<Job, RequestError> {
        if !params.stop_strings.is_empty() {
            self.tokenizer("a stop string")?;
        }
        let prompt = self.tokens(prompt)?;
        self.limits.check(&prompt, &params)?;
        let skip = params.skip_special_tokens;
        let start = |t: &Tokenizer| Detokenizer::new(t.clone(), skip, &prompt);
        let text = self.tokenizer.as_ref().map(start).transpose()?;
        Ok(Job { prompt, params, text, sink, cancel: Cancel::default() })
    }

    fn tokens(&self, prompt: Prompt) -> Result<Vec<u32>, RequestError> {
        match prompt {
            Prompt::Tokens(tokens) => Ok(tokens),
            Prompt::Text(text) => self.tokenizer("a prompt of text")?.encode(&text, true),
            Prompt::Chat(messages) => {
                let tokenizer = self.tokenizer("a conversation")?;
                let missing = || RequestError::Template("the engine was made without one".into());
                let chat = self.chat.as_ref().ok_or_else(missing)?;
                // The template writes the special tokens itself.
                tokenizer.encode(&chat.render(&messages, true)?, false)
            }
        }
    }

    fn tokenizer(&self, what: &'static str) -> Result<&Tokenizer, RequestError> {
        self.tokenizer.as_ref().ok_or(RequestError::NoTokenizer { what })
    }

    fn queue(&self, job: Job, wait: bool) -> Result<(), SubmitError> {
        let mut state = self.shared.lock();
        loop {
            if state.closing != Closing::Open {
                return Err(SubmitError::ShutDown);
            }
            if state.inbox.len() + state.stats.waiting < self.queue_capacity {
                state.inbox.push_back(job);
                self.shared.wake.notify_one();
                return Ok(());
            }
            if !wait {
                return Err(SubmitError::QueueFull(self.queue_capacity));
            }
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end(Closing::Abort);
    }
}

/// Whatever ends the thread, callers learn of it: streams lose their senders.
struct Gone<'a>(&'a Shared);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.lock().inbox.clear();
        self.0.close(Closing::Gone);
    }
}

fn run<M: Model>(mut core: Core<M>, shared: &Shared) {
    let gone = Gone(shared);
    loop {
        let mut state = shared.lock();
        state.stats = core.stats();
        shared.room.notify_all();
        while core.is_idle() && state.inbox.is_empty() && state.closing == Closing::Open {
            state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.inbox.drain(..).for_each(|job| core.add(job));
        state.stats.waiting = core.stats().waiting;
        let closing = state.closing;
        drop(state);
        if closing == Closing::Abort {
            core.fail_all(&GenerateError::ShutDown);
        }
        if core.is_idle() && closing != Closing::Open {
            break;
        }
        core.step();
    }
    core.clear_cache();
    shared.lock().stats = core.stats();
    drop(gone);
}
