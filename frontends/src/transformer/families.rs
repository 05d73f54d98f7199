//! The Llama family: what each member's `config.json` means for the one decoder.

use super::config::Config;
use super::rope::Rope;
use cascata_ir::op::UnaryOp;
use serde_json::Value;

/// A decoder of the Llama family: norm before attention and gated MLP, rotary positions.
#[derive(Clone, Debug)]
pub struct Decoder {
    pub vocabulary: i64,
    pub hidden: i64,
    pub layers: i64,
    pub heads: i64,
    pub key_heads: i64,
    pub depth: i64,
    pub inner: i64,
    /// Longest sequence.
    pub positions: i64,
    pub epsilon: f64,
    /// Norms scale by 1 + w.
    pub plus_one: bool,
    pub activation: UnaryOp,
    pub qkv_bias: bool,
    pub out_bias: bool,
    pub mlp_bias: bool,
    /// Norms of each query's and key's head.
    pub qk_norm: bool,
    /// Norms after attention and MLP too.
    pub post_norms: bool,
    /// Of the scores.
    pub scale: f64,
    pub score_cap: Option<f64>,
    pub logit_cap: Option<f64>,
    /// Multiplies the embeddings.
    pub embedding_scale: Option<f64>,
    /// The embeddings are the output projection too.
    pub tied: bool,
    pub rope: Rope,
    /// Of sliding layers.
    pub local_rope: Rope,
    /// How many keys a query of a sliding layer sees.
    pub window: Option<i64>,
    /// Which layers slide.
    pub slides: Vec<bool>,
}

/// A member of the family.
pub trait Family {
    /// Reads its configuration.
    fn read(config: &mut Config) -> Decoder;
}

/// What all members have.
fn common(c: &mut Config) -> Decoder {
    let (hidden, heads) = (c.size("hidden_size"), c.size("num_attention_heads"));
    let depth = match c.optional_size("head_dim") {
        Some(depth) => depth,
        None => c.share("'hidden_size' by heads", hidden, heads),
    };
    let key_heads = c.size_or("num_key_value_heads", heads);
    c.share("heads by key heads", heads, key_heads);
    let layers = c.layers("num_hidden_layers");
    let rope = Rope::read(c, depth, 10000.0, "full_attention");
    Decoder {
        vocabulary: c.size("vocab_size"),
        hidden,
        layers,
        heads,
        key_heads,
        depth,
        inner: c.size("intermediate_size"),
        positions: c.size_or("max_position_embeddings", 2048),
        epsilon: c.number_or("rms_norm_eps", 1e-6),
        plus_one: false,
        activation: c.activation("hidden_act", "silu"),
        qkv_bias: false,
        out_bias: false,
        mlp_bias: false,
        qk_norm: false,
        post_norms: false,
        scale: 1.0 / (depth as f64).sqrt(),
        score_cap: None,
        logit_cap: None,
        embedding_scale: None,
        tied: c.flag_or("tie_word_embeddings", false),
        local_rope: rope.clone(),
        rope,
        window: None,
        slides: vec![false; layers as usize],
    }
}

/// Which layers slide: `layer_types` where given, else what `default` says of each.
fn slides(c: &mut Config, layers: i64, default: impl Fn(i64) -> bool) -> Vec<bool> {
    let Some(types) = c.get("layer_types").and_then(Value::as_array).cloned() else {
        return (0..layers).map(default).collect();
    };
    if types.len() as i64 != layers {
        c.problem(format!("'layer_types' has {} entries for {layers} layers", types.len()));
    }
    let mut of = |t: &Value| match t.as_str() {
        Some("sliding_attention") => true,
        Some("full_attention") => false,
        _ => {
            c.problem(format!("layers of type {t} are not supported"));
            false
        }
    };
    let mut slides: Vec<bool> = types.iter().take(layers as usize).map(&mut of).collect();
    slides.resize(layers as usize, false);
    slides
}

/// Llama 1 to 3, SmolLM and SmolLM2.
pub struct Llama;

impl Family for Llama {
    fn read(c: &mut Config) -> Decoder {
        let mut d = common(c);
        let bias = c.flag_or("attention_bias", false);
        (d.qkv_bias, d.out_bias) = (bias, bias);
        d.mlp_bias = c.flag_or("mlp_bias", false);
        c.refuse_unless("pretraining_tp", &1.into());
        d
    }
}

/// Mistral: every layer slides, if a window is given.
pub struct Mistral;

impl Family for Mistral {
    fn read(c: &mut Config) -> Decoder {
        let mut d = common(c);
        d.window = c.optional_size("sliding_window");
        d.slides = vec![d.window.is_some(); d.layers as usize];
        d
    }
}

/// Qwen 2 and 2.5: biases on queries, keys and values; upper layers may slide.
pub struct Qwen2;

impl Family for Qwen2 {
    fn read(c: &mut Config) -> Decoder {
        let mut d = common(c);
        d.qkv_bias = true;
        qwen_window(c, &mut d);
        d
    }
}

fn qwen_window(c: &mut Config, d: &mut Decoder) {
    if c.flag_or("use_sliding_window", false) {
        d.window = c.optional_size("sliding_window");
        let first = c.index_or("max_window_layers", 28);
        d.slides = slides(c, d.layers, |i| i >= first);
    }
}

/// Qwen 3: norms on the heads of queries and keys.
pub struct Qwen3;

impl Family for Qwen3 {
    fn read(c: &mut Config) -> Decoder {
        let mut d = common(c);
        let bias = c.flag_or("attention_bias", false);
        (d.qkv_bias, d.out_bias) = (bias, bias);
        d.qk_norm = true;
        qwen_window(c, &mut d);
        d
    }
}

/// Gemma 1: scaled embeddings, norms that scale by 1 + w.
pub struct Gemma;

impl Family for Gemma {
    fn read(c: &mut Config) -> Decoder {
        gemma(c)
    }
}

fn gemma(c: &mut Config) -> Decoder {
    let mut d = common(c);
    let bias = c.flag_or("attention_bias", false);
    (d.qkv_bias, d.out_bias) = (bias, bias);
    // Configurations of the first days say `hidden_act: gelu` and mean the tanh form.
    d.activation = c.activation("hidden_activation", "gelu_pytorch_tanh");
    d.plus_one = true;
    d.embedding_scale = Some((d.hidden as f64).sqrt());
    d.tied = c.flag_or("tie_word_embeddings", true);
    d
}

/// Gemma 2: soft caps, norms on both sides, every other layer slides.
pub struct Gemma2;

impl Family for Gemma2 {
    fn read(c: &mut Config) -> Decoder {
        let mut d = gemma(c);
        d.post_norms = true;
        d.scale = 1.0 / c.number_or("query_pre_attn_scalar", 256.0).sqrt();
        d.score_cap = cap(c, "attn_logit_softcapping", 50.0);
        d.logit_cap = cap(c, "final_logit_softcapping", 30.0);
        d.window = Some(c.size_or("sliding_window", 4096));
        d.slides = slides(c, d.layers, |i| i % 2 == 0);
        d
    }
}

/// A soft cap, which null turns off.
fn cap(c: &mut Config, name: &str, default: f64) -> Option<f64> {
    let off = c.is_null(name);
    Some(c.number_or(name, default)).filter(|cap| !off && *cap > 0.0)
}

/// Gemma 3: norms on the heads of queries and keys, five of six layers slide and turn with
/// frequencies of their own.
pub struct Gemma3;

impl Family for Gemma3 {
    fn read(c: &mut Config) -> Decoder {
        let theta = c.number_or("rope_theta", 1e6);
        let mut d = gemma(c);
        d.rope = Rope::read(c, d.depth, theta, "full_attention");
        let local = c.number_or("rope_local_base_freq", 10000.0);
        d.local_rope = match c.get("rope_parameters") {
            Some(_) => Rope::read(c, d.depth, local, "sliding_attention"),
            None => Rope { dims: d.depth, base: local, scaling: super::rope::Scaling::None },
        };
        d.qk_norm = true;
        d.post_norms = true;
        d.scale = 1.0 / c.number_or("query_pre_attn_scalar", 256.0).sqrt();
        d.score_cap = c.optional_number("attn_logit_softcapping");
        d.logit_cap = c.optional_number("final_logit_softcapping");
        d.window = Some(c.size_or("sliding_window", 4096));
        let pattern = c.size_or("sliding_window_pattern", 6);
        d.slides = slides(c, d.layers, |i| (i + 1) % pattern != 0);
        d
    }
}
