//! Text from a compiled decoder: the generation engine over an artifact.

mod model;
mod paged;
mod rows;

pub use model::SessionModel;
pub use paged::PagedModel;

use crate::engine::{ChatTemplate, Config, Engine, EngineError, Model, RequestError, Tokenizer};
use crate::{Artifact, LoadError, Runtime, SessionOptions};
use serde_json::{Map, Value};

/// Why an artifact generates no text.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// It is no decoder with a cache.
    #[error(
        "the artifact cannot generate: {0}; compile a decoder with `cascata compile MODEL --kv-cache`"
    )]
    NoDecoder(String),
    /// What goes with the model is not what it should be.
    #[error("the artifact's {file}: {reason}")]
    File {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The engine cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A decoder as the engine's model; `max_context` allows sequences longer than the model was
/// trained for, where its cache is paged.
///
/// # Errors
/// It is no decoder that was compiled with a cache.
pub fn model_of(
    artifact: &Artifact,
    runtime: &Runtime,
    session: &SessionOptions,
    max_context: Option<u32>,
) -> Result<Box<dyn Model>, TextError> {
    let session = artifact.session_with(runtime, session)?;
    if !PagedModel::fits(&session) {
        return Ok(Box::new(SessionModel::new(session)?));
    }
    let mut model = PagedModel::new(session)?;
    if let Some(tokens) = max_context {
        model.set_max_context(tokens);
    }
    Ok(Box::new(model))
}

/// An engine over an artifact, with the tokenizer, chat template and end tokens that it keeps.
///
/// # Errors
/// It is no decoder that was compiled with its cache as inputs, what goes with it is damaged,
/// or there is no memory for the cache.
pub fn engine_of(
    artifact: &Artifact,
    runtime: &Runtime,
    session: &SessionOptions,
    mut config: Config,
) -> Result<Engine, TextError> {
    let model = model_of(artifact, runtime, session, None)?;
    let generation = json(artifact, "generation_config.json")?;
    let described = json(artifact, "config.json")?;
    config.eos_tokens.extend(end_tokens(&generation));
    if config.eos_tokens.is_empty() {
        config.eos_tokens.extend(end_tokens(&described));
    }
    let mut engine = Engine::new(model, config)?;
    let kept = stored(artifact, "tokenizer.json")?;
    let Some(text) = kept else { return Ok(engine) };
    let wrong = |file| move |e: RequestError| TextError::File { file, reason: e.to_string() };
    let tokenizer = Tokenizer::from_json(text.as_bytes()).map_err(wrong("tokenizer.json"))?;
    let marks = marks(&generation, &tokenizer);
    engine = engine.with_tokenizer(tokenizer);
    if let Some(template) = stored(artifact, "chat_template")? {
        let chat = ChatTemplate::new(&template, marks).map_err(wrong("chat_template"))?;
        engine = engine.with_chat_template(chat);
    }
    Ok(engine)
}

/// A file that goes with the model: metadata, or an attachment if it is large.
fn stored(artifact: &Artifact, name: &'static str) -> Result<Option<String>, TextError> {
    if let Some(text) = artifact.manifest().metadata.get(name) {
        return Ok(Some(text.clone()));
    }
    let bytes = artifact.attachment(name)?;
    let text = bytes.map(String::from_utf8).transpose();
    text.map_err(|e| TextError::File { file: name, reason: e.to_string() })
}

fn json(artifact: &Artifact, name: &'static str) -> Result<Map<String, Value>, TextError> {
    let Some(text) = stored(artifact, name)? else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|e| TextError::File { file: name, reason: e.to_string() })
}

/// `eos_token_id`: a number or several.
fn end_tokens(config: &Map<String, Value>) -> Vec<u32> {
    let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match config.get("eos_token_id") {
        Some(Value::Array(all)) => all.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => vec![],
    }
}

/// `bos_token` and `eos_token` as templates want them.
fn marks(config: &Map<String, Value>, tokenizer: &Tokenizer) -> Map<String, Value> {
    let text = |name: &str| {
        let id = config.get(&format!("{name}_id"))?.as_u64()?;
        let text = tokenizer.decode(&[u32::try_from(id).ok()?], false).ok()?;
        Some((name.to_string(), Value::String(text)))
    };
    ["bos_token", "eos_token"].iter().filter_map(|name| text(name)).collect()
}
