//! Transformer architectures as small builders over [`Graph`], whatever file the weights are in.
//!
//! [`config`] reads a configuration, [`weights`] hands out tensors and remembers what is wrong
//! with them, [`net`] is the vocabulary; every architecture is a page of its own. Tensors are
//! asked for by their Hugging Face names: other formats rename theirs.

mod bert;
mod config;
mod decoder;
mod families;
mod gpt2;
mod modernbert;
mod neox;
mod net;
mod rope;
mod text;
mod weights;

use crate::error::ImportError;
use crate::onnx::DimOption;
use crate::stored::Stored;
use config::Config;
use net::Net;
use serde_json::{Map, Value};
use weights::Weights;

use cascata_ir::graph::Graph;

/// What a text model's graph takes and gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// Logits of the last token of each row only; a decoder over a paged cache is told which
    /// rows in any case.
    pub last_logits: bool,
    /// Where a decoder keeps the keys and values of earlier tokens.
    pub cache: TextCache,
}

/// Where a decoder keeps the keys and values of earlier tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextCache {
    /// Nowhere: `input_ids: i64[B,S]` are whole texts.
    #[default]
    None,
    /// In a cache that the caller brings (`cache_attention`). Rows of any sequences stand one
    /// after the other: `input_ids: i64[T]`, `positions: i64[T]`, and `logit_rows: i64[L]`,
    /// which rows of logits to give.
    Paged,
    /// In inputs `past_key.N` and `past_value.N` `f32[B,G,P,D]`; outputs `present_key.N` and
    /// `present_value.N` hold them and those of the run.
    Tensors,
}

/// How a format stores what architectures leave open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As `transformers` does.
    HuggingFace,
    /// As llama.cpp's converter leaves it: every matrix is `[out,in]`, Gemma's norms hold
    /// 1 + w, fused projections are `[q; k; v]`.
    Gguf,
}

/// A model without code: what it is and its tensors.
pub(crate) struct Description {
    /// The file that the configuration is from.
    pub file: String,
    /// In the words of `config.json`.
    pub config: Map<String, Value>,
    /// By Hugging Face names.
    pub tensors: Vec<(String, Stored)>,
    /// How the tensors are stored.
    pub layout: Layout,
}

/// An architecture: `model_type`, what reads its configuration and builds it.
type Build = fn(&mut Config, &mut Net, TextOptions) -> Result<(), ImportError>;

/// Every architecture that is known.
const ARCHITECTURES: &[(&str, Build)] = &[
    ("bert", bert::build),
    ("gemma", decoder::build::<families::Gemma>),
    ("gemma2", decoder::build::<families::Gemma2>),
    ("gemma3_text", decoder::build::<families::Gemma3>),
    ("gpt2", gpt2::build),
    ("gpt_neox", neox::build),
    ("llama", decoder::build::<families::Llama>),
    ("mistral", decoder::build::<families::Mistral>),
    ("modernbert", modernbert::build),
    ("qwen2", decoder::build::<families::Qwen2>),
    ("qwen3", decoder::build::<families::Qwen3>),
    ("roberta", bert::build_roberta),
    ("xlm-roberta", bert::build_roberta),
];

/// Builds the graph of a model.
///
/// # Errors
/// An unknown architecture; a configuration that is incomplete or asks for what is not
/// supported; tensors that are missing, misshapen or left over. Everything is listed.
pub(crate) fn build(
    model: Description,
    options: TextOptions,
    dims: &[DimOption],
) -> Result<Graph, ImportError> {
    let Description { file, config, tensors, layout } = model;
    let architecture = config.get("model_type").and_then(Value::as_str).unwrap_or("").to_string();
    let Some((_, build)) = ARCHITECTURES.iter().find(|(name, _)| *name == architecture) else {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
        let problem = match architecture.as_str() {
            "" => "it names no 'model_type'".to_string(),
            other => format!("architecture '{other}' is not known"),
        };
        return Err(ImportError::file(file, format!("{problem}; known are {}", known.join(", "))));
    };
    let mut config = Config::new(config);
    let mut net = Net::new(&architecture, Weights::new(tensors), layout);
    // What is wrong with the configuration explains more than what came of it.
    let built = build(&mut config, &mut net, options);
    config.finish(&file)?;
    built?;
    let mut graph = net.finish(&architecture)?;
    dims.iter().try_for_each(|option| narrow(&mut graph, option))?;
    Ok(graph)
}

/// Applies a range to a symbol.
fn narrow(graph: &mut Graph, option: &DimOption) -> Result<(), ImportError> {
    let DimOption { target, min, max } = option;
    let fail = |reason: String| {
        let option = format!("{target}={min}..{max}");
        Err(ImportError::Option { option, reason })
    };
    let Some(id) = graph.symbols.lookup(target) else {
        let names: Vec<String> = graph.symbols.iter().map(|(_, s)| s.name.clone()).collect();
        return fail(format!("the model's dims are {}", names.join(", ")));
    };
    let symbol = graph.symbols.get_mut(id);
    if *min < symbol.min || *max > symbol.max {
        return fail(format!("it must lie in {}..{}", symbol.min, symbol.max));
    }
    (symbol.min, symbol.max) = (*min, *max);
    Ok(())
}

#[cfg(test)]
mod tests;
