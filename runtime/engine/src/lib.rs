//! Generation: many requests at once over one compiled model.
//!
//! ```text
//! submit ── tokenizer, limits ──> queue ──> Core::step ──> Stream
//!                                            │ admit    radix tree: prefixes in the cache
//!                                            │ plan     token budget, KV blocks, drafts
//!                                            │ batch    flat tokens + prefix forest
//!                                            │ Model::step
//!                                            └ harvest  sampling, verification, stop rules
//! ```
//!
//! The model is behind [`Model`], whose data ([`cascata_kv::StepBatch`]) is what one attention
//! kernel needs. A request's result depends on its own tokens, parameters and seed: not on
//! what else runs, how prompts are cut into chunks, whether prefixes are shared, whether it
//! was thrown out and computed again, or whether tokens were drafted.
//!
//! What an engine costs beside its model is in this crate's README.

#![forbid(unsafe_code)]

mod admit;
mod batch;
mod chat;
mod config;
mod core;
mod detokenize;
mod draft;
mod engine;
mod error;
mod event;
mod harvest;
mod model;
mod params;
mod plan;
mod radix;
mod rng;
mod sample;
mod sequence;
mod stats;
mod stop;
mod stream;
mod tokenizer;
mod weights;

pub use crate::core::Core;
pub use chat::{ChatTemplate, Message};
pub use config::Config;
pub use detokenize::Detokenizer;
pub use draft::Speculation;
pub use engine::{Engine, Prompt};
pub use error::{EngineError, GenerateError, RequestError, SubmitError};
pub use event::{Callback, Event, FinishReason, Usage};
pub use model::{Model, ModelError, ModelSpec};
pub use params::{Params, Sampling};
pub use radix::{Match, RadixTree};
pub use sample::LogProbs;
pub use sequence::Cancel;
pub use stats::Stats;
pub use stream::{NextError, Output, Stream};
pub use tokenizer::Tokenizer;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
