//! Everything that can go wrong, with what to do about it.

use cascata_kv::KvError;

/// Why an engine cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum EngineError {
    /// The cache cannot be made.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// An option has no sense.
    #[error("{name} = {value}: it must be {expected}")]
    Option { name: &'static str, value: String, expected: String },
    /// The system gives no thread.
    #[error("cannot start the engine's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum RequestError {
    /// No token at all.
    #[error("the prompt has no tokens; give it at least one, e.g. the model's first token")]
    EmptyPrompt,
    /// An id beyond the vocabulary.
    #[error("token {token} of the prompt is not below the vocabulary's size {vocab}")]
    Token { token: u32, vocab: u32 },
    /// The sequence would outgrow the context.
    #[error(
        "{prompt} tokens of prompt and up to {max_tokens} new ones exceed the context of {limit}; shorten the prompt or lower max_tokens"
    )]
    Context { prompt: usize, max_tokens: usize, limit: usize },
    /// The sequence would outgrow the whole cache.
    #[error(
        "{prompt} tokens of prompt and up to {max_tokens} new ones need {needed} KV blocks and the cache has {capacity}; raise the KV budget or lower max_tokens"
    )]
    Cache { prompt: usize, max_tokens: usize, needed: usize, capacity: usize },
    /// A parameter is outside of its range.
    #[error("{name} = {value}: it must be {expected}")]
    Parameter { name: &'static str, value: String, expected: String },
    /// Text without a tokenizer.
    #[error("{what} needs a tokenizer and the engine was made without one")]
    NoTokenizer { what: &'static str },
    /// The tokenizer cannot be read or cannot encode this.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template refuses the messages.
    #[error("chat template: {0}")]
    Template(String),
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// It makes no sense.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Too many requests are waiting.
    #[error("{0} requests are waiting, as many as the queue holds; try again later")]
    QueueFull(usize),
    /// The engine has ended.
    #[error("the engine is shut down")]
    ShutDown,
}

/// Why a stream ended without a result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GenerateError {
    /// The model refused the batch.
    #[error("the model failed: {0}")]
    Model(String),
    /// The model panicked.
    #[error("the model panicked: {0}")]
    ModelPanic(String),
    /// The logits are no distribution.
    #[error("token {position} of the sequence has logits without a finite maximum (NaN or ±∞)")]
    Logits {
        /// The token's position.
        position: usize,
    },
    /// The cache is too small after all.
    #[error("the KV cache has no block left for this sequence alone")]
    OutOfBlocks,
    /// The engine ended first.
    #[error("the engine was shut down before the request was through")]
    ShutDown,
}
