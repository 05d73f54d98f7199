//! A GGUF model in the words of Hugging Face: configuration, tensor names, row order.

use super::{Gguf, Value};
use crate::error::ImportError;
use crate::stored::Stored;
use crate::transformer::{Description, Layout};
use bytes::Bytes;
use cascata_ir::types::{DType, Encoding};
use serde_json::{Map, Value as Json, json};

/// `MODEL.architecture` and the `model_type` that it is.
const ARCHITECTURES: &[(&str, &str)] = &[
    ("llama", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("gemma", "gemma"),
    ("gemma2", "gemma2"),
    ("gemma3", "gemma3_text"),
    ("gpt2", "gpt2"),
    ("gptneox", "gpt_neox"),
];

/// Metadata keys (after the architecture's name) and what they are in `config.json`.
const KEYS: &[(&str, &str)] = &[
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.layer_norm_epsilon", "layer_norm_eps"),
    ("attention.sliding_window", "sliding_window"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
    ("rope.freq_base", "rope_theta"),
    ("use_parallel_residual", "use_parallel_residual"),
];

/// Names that GPT-2's configuration has for the same.
const GPT2_KEYS: &[(&str, &str)] = &[
    ("num_hidden_layers", "n_layer"),
    ("max_position_embeddings", "n_positions"),
    ("hidden_size", "n_embd"),
    ("intermediate_size", "n_inner"),
    ("num_attention_heads", "n_head"),
    ("layer_norm_eps", "layer_norm_epsilon"),
];

/// Where the converter puts what divides the frequencies of Llama 3.
const FACTORS: &str = "rope_freqs.weight";

/// Describes a model.
///
/// # Errors
/// An architecture that is not known, or metadata that does not say what it must.
pub(super) fn describe(gguf: &Gguf, file: &str) -> Result<Description, ImportError> {
    let fail = |problem: String| ImportError::file(file, problem);
    let text = |key: &str| gguf.metadata.get(key).and_then(Value::text);
    let own = text("general.architecture")
        .ok_or_else(|| fail("it does not say its 'general.architecture'".into()))?;
    let known = ARCHITECTURES.iter().find(|(name, _)| *name == own);
    let (_, model_type) = known.ok_or_else(|| {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
        fail(format!("architecture '{own}' is not known; known are {}", names.join(", ")))
    })?;
    if gguf.metadata.get("split.count").and_then(Value::size).is_some_and(|n| n > 1) {
        return Err(fail("it is one part of a split model; merge it with llama-gguf-split".into()));
    }
    let config = config(gguf, own, model_type);
    let mut tensors = Vec::new();
    for tensor in gguf.tensors.iter().filter(|t| t.name != FACTORS) {
        let name = names(model_type, &tensor.name);
        tensors.push((name, in_row_order(tensor, own, &config)));
    }
    Ok(Description { file: file.into(), config, tensors, layout: Layout::Gguf })
}

/// What `config.json` would say.
fn config(gguf: &Gguf, own: &str, model_type: &str) -> Map<String, Json> {
    let get = |key: &str| gguf.metadata.get(&format!("{own}.{key}"));
    let mut config = Map::new();
    config.insert("model_type".into(), model_type.into());
    for (key, name) in KEYS {
        if let Some(value) = get(key).and_then(json_of) {
            config.insert((*name).into(), value);
        }
    }
    let has = |name: &str| gguf.tensors.iter().any(|t| t.name == name);
    let rows = gguf.tensors.iter().find(|t| t.name == "token_embd.weight");
    if let Some(rows) = rows.and_then(|t| t.ty.static_shape()?.first().copied()) {
        config.insert("vocab_size".into(), rows.into());
    }
    config.insert("tie_word_embeddings".into(), (!has("output.weight")).into());
    config.insert("attention_bias".into(), has("blk.0.attn_output.bias").into());
    if let Some(scaling) = factors(gguf).or_else(|| scaling(&get)) {
        config.insert("rope_scaling".into(), scaling);
    }
    match model_type {
        "gpt2" => {
            for (name, gpt2) in GPT2_KEYS {
                if let Some(value) = config.remove(*name) {
                    config.insert((*gpt2).into(), value);
                }
            }
        }
        "gpt_neox" => {
            let number = |name: &str| config.get(name).and_then(Json::as_f64);
            let depth = number("hidden_size").zip(number("num_attention_heads"));
            let turned = get("rope.dimension_count").and_then(Value::number);
            if let (Some((hidden, heads)), Some(turned)) = (depth, turned) {
                // In the middle, so that no rounding loses an element.
                config
                    .insert("rotary_pct".into(), ((turned + 0.5) * heads / hidden).min(1.0).into());
            }
        }
        "gemma2" | "gemma3_text" => query_scale(&mut config),
        _ => {}
    }
    config
}

/// Gemma's largest models scale scores by the width per head, the others by the head size.
fn query_scale(config: &mut Map<String, Json>) {
    let number = |name: &str| config.get(name).and_then(Json::as_f64);
    let layers = number("num_hidden_layers");
    let large = layers == Some(46.0) || layers == Some(62.0);
    let share = number("hidden_size").zip(number("num_attention_heads")).map(|(h, n)| h / n);
    let scalar = if large { share } else { number("head_dim").or(share) };
    if let Some(scalar) = scalar {
        config.insert("query_pre_attn_scalar".into(), scalar.into());
    }
}

fn json_of(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Unsigned(n) => json!(n),
        Value::Signed(n) => json!(n),
        // Written as f32: the shortest number that is the same f32.
        Value::Float(x) => (*x as f32).to_string().parse::<f64>().ok().map(Json::from)?,
        Value::Bool(b) => json!(b),
        Value::Text(text) => json!(text),
        Value::Array(_) => return None,
    })
}

fn factors(gguf: &Gguf) -> Option<Json> {
    let tensor = gguf.tensors.iter().find(|t| t.name == FACTORS)?;
    let numbers = tensor.data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let numbers: Vec<f64> = numbers.map(f64::from).collect();
    (tensor.ty.dtype == DType::F32 && tensor.ty.encoding == Encoding::Dense)
        .then(|| json!({"rope_type": "factors", "factors": numbers}))
}

fn scaling<'v>(get: &dyn Fn(&str) -> Option<&'v Value>) -> Option<Json> {
    let kind = get("rope.scaling.type").and_then(Value::text).filter(|k| *k != "none")?;
    let mut scaling = Map::new();
    scaling.insert("rope_type".into(), kind.into());
    let keys = [
        ("factor", "factor"),
        ("original_context_length", "original_max_position_embeddings"),
        ("attn_factor", "attention_factor"),
        ("yarn_beta_fast", "beta_fast"),
        ("yarn_beta_slow", "beta_slow"),
    ];
    for (key, name) in keys {
        if let Some(value) = get(&format!("rope.scaling.{key}")).and_then(json_of) {
            scaling.insert(name.into(), value);
        }
    }
    Some(scaling.into())
}

/// Names in the Llama family.
const LLAMA: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
/// Names that differ where there are norms on both sides.
const GEMMA: &[(&str, &str)] = &[
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];
/// Names in GPT-2.
const GPT2: &[(&str, &str)] = &[
    ("token_embd", "wte"),
    ("position_embd", "wpe"),
    ("output_norm", "ln_f"),
    ("output", "lm_head"),
    ("attn_norm", "ln_1"),
    ("attn_qkv", "attn.c_attn"),
    ("attn_output", "attn.c_proj"),
    ("ffn_norm", "ln_2"),
    ("ffn_up", "mlp.c_fc"),
    ("ffn_down", "mlp.c_proj"),
];
/// Names in GPT-NeoX.
const NEOX: &[(&str, &str)] = &[
    ("token_embd", "gpt_neox.embed_in"),
    ("output_norm", "gpt_neox.final_layer_norm"),
    ("output", "embed_out"),
    ("attn_norm", "input_layernorm"),
    ("attn_qkv", "attention.query_key_value"),
    ("attn_output", "attention.dense"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.dense_h_to_4h"),
    ("ffn_down", "mlp.dense_4h_to_h"),
];

/// The Hugging Face name of a tensor; one without stays as it is and is reported.
fn names(model_type: &str, own: &str) -> String {
    let (tables, layers): (&[&[(&str, &str)]], &str) = match model_type {
        "gpt2" => (&[GPT2], "h"),
        "gpt_neox" => (&[NEOX], "gpt_neox.layers"),
        "gemma2" | "gemma3_text" => (&[GEMMA, LLAMA], "model.layers"),
        _ => (&[LLAMA], "model.layers"),
    };
    let (layer, rest) = match own.strip_prefix("blk.").and_then(|r| r.split_once('.')) {
        Some((number, rest)) => (Some(number), rest),
        None => (None, own),
    };
    let Some((stem, kind)) = rest.rsplit_once('.') else { return own.into() };
    let found = tables.iter().flat_map(|t| t.iter()).find(|(name, _)| *name == stem);
    match (found, layer) {
        (Some((_, name)), Some(number)) => format!("{layers}.{number}.{name}.{kind}"),
        (Some((_, name)), None) => format!("{name}.{kind}"),
        (None, _) => own.into(),
    }
}

/// The tensor with the rows of queries and keys in `transformers`' order: llama.cpp's
/// converter lays the two halves of each head of a Llama side by side, pair by pair. Rows are
/// whole blocks, so that nothing is requantised.
fn in_row_order(tensor: &Stored, own: &str, config: &Map<String, Json>) -> Stored {
    let heads = |name: &str| config.get(name).and_then(Json::as_u64);
    let stem = tensor.name.rsplit_once('.').map_or("", |(stem, _)| stem);
    let heads = match stem.rsplit_once('.').map_or("", |(_, part)| part) {
        "attn_q" => heads("num_attention_heads"),
        "attn_k" => heads("num_key_value_heads").or(heads("num_attention_heads")),
        _ => None,
    };
    let rows = tensor.ty.static_shape().and_then(|s| s.first().copied()).unwrap_or(0) as u64;
    match heads {
        Some(heads)
            if own == "llama" && heads > 0 && rows > 0 && rows.is_multiple_of(2 * heads) =>
        {
            let data = halves_apart(&tensor.data, rows as usize, heads as usize);
            Stored { data, ..tensor.clone() }
        }
        _ => tensor.clone(),
    }
}

/// Row `2i + j` of each head becomes its row `j·half + i`.
fn halves_apart(data: &Bytes, rows: usize, heads: usize) -> Bytes {
    let (width, half) = (data.len() / rows, rows / heads / 2);
    let mut out = Vec::with_capacity(data.len());
    for row in 0..rows {
        let (head, at) = (row / (2 * half), row % (2 * half));
        let from = head * 2 * half + at % half * 2 + at / half;
        out.extend_from_slice(&data[from * width..(from + 1) * width]);
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_come_apart_head_by_head() {
        // Two heads of four rows of one byte: pairs (0, 1), (2, 3) become halves.
        let pairs = Bytes::from_static(&[0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(&halves_apart(&pairs, 8, 2)[..], [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn names_of_other_converters() {
        let of = |model: &str, own: &str| names(model, own);
        assert_eq!(of("llama", "blk.3.attn_q.weight"), "model.layers.3.self_attn.q_proj.weight");
        assert_eq!(
            of("gemma2", "blk.0.ffn_norm.weight"),
            "model.layers.0.pre_feedforward_layernorm.weight"
        );
        assert_eq!(of("gpt2", "blk.1.attn_qkv.bias"), "h.1.attn.c_attn.bias");
        assert_eq!(of("gpt_neox", "output.weight"), "embed_out.weight");
        assert_eq!(of("llama", "blk.3.strange.weight"), "blk.3.strange.weight");
    }
}
