//! The decoder of the Llama family, described by a [`Decoder`].

use super::config::Config;
use super::families::{Decoder, Family};
use super::net::{Angles, Attend, Net, R, Reach};
use super::text::Text;
use super::{Layout, TextCache, TextOptions};
use cascata_ir::graph::ValueId;
use cascata_ir::op::BinaryOp;

/// Reads the configuration and builds the graph.
pub fn build<F: Family>(config: &mut Config, net: &mut Net, options: TextOptions) -> R<()> {
    let d = F::read(config);
    net.weights.ignore(&[".rotary_emb.inv_freq"], &[]);
    let mut text = Text::new(net, d.positions, options)?;
    let seen = Seen::new(net, &d, &text)?;
    let mut x = net.embed(text.ids, "model.embed_tokens", d.vocabulary, d.hidden)?;
    if let Some(scale) = d.embedding_scale {
        x = net.with_number(BinaryOp::Mul, x, scale)?;
    }
    for i in 0..d.layers {
        x = layer(net, &d, &mut text, &seen, x, i)?;
    }
    let x = text.asked_for(net, x)?;
    let x = norm(net, &d, x, "model.norm", d.hidden)?;
    let head = if d.tied { "model.embed_tokens" } else { "lm_head" };
    if d.tied {
        net.weights.ignore(&[], &["lm_head.weight"]);
    }
    let mut logits = net.linear(x, head, [d.hidden, d.vocabulary], false)?;
    if let Some(cap) = d.logit_cap {
        logits = net.soft_cap(logits, cap)?;
    }
    net.output("logits", logits);
    text.outputs(net);
    Ok(())
}

fn layer(
    net: &mut Net,
    d: &Decoder,
    text: &mut Text,
    seen: &Seen,
    x: ValueId,
    i: i64,
) -> R<ValueId> {
    let at = format!("model.layers.{i}");
    // With norms on both sides the one before the MLP has a name of its own.
    let before_mlp =
        if d.post_norms { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
    let h = norm(net, d, x, &format!("{at}.input_layernorm"), d.hidden)?;
    let mut h = attention(net, d, text, seen, h, i)?;
    if d.post_norms {
        h = norm(net, d, h, &format!("{at}.post_attention_layernorm"), d.hidden)?;
    }
    let x = net.binary(BinaryOp::Add, x, h)?;
    let h = norm(net, d, x, &format!("{at}.{before_mlp}"), d.hidden)?;
    let gate = net.linear(h, &format!("{at}.mlp.gate_proj"), [d.hidden, d.inner], d.mlp_bias)?;
    let gate = net.unary(d.activation, gate)?;
    let up = net.linear(h, &format!("{at}.mlp.up_proj"), [d.hidden, d.inner], d.mlp_bias)?;
    let h = net.binary(BinaryOp::Mul, gate, up)?;
    let mut h = net.linear(h, &format!("{at}.mlp.down_proj"), [d.inner, d.hidden], d.mlp_bias)?;
    if d.post_norms {
        h = norm(net, d, h, &format!("{at}.post_feedforward_layernorm"), d.hidden)?;
    }
    net.binary(BinaryOp::Add, x, h)
}

fn attention(
    net: &mut Net,
    d: &Decoder,
    text: &mut Text,
    seen: &Seen,
    x: ValueId,
    i: i64,
) -> R<ValueId> {
    let at = format!("model.layers.{i}.self_attn");
    let (wide, narrow) = (d.heads * d.depth, d.key_heads * d.depth);
    let q = net.linear(x, &format!("{at}.q_proj"), [d.hidden, wide], d.qkv_bias)?;
    let k = net.linear(x, &format!("{at}.k_proj"), [d.hidden, narrow], d.qkv_bias)?;
    let v = net.linear(x, &format!("{at}.v_proj"), [d.hidden, narrow], d.qkv_bias)?;
    let mut q = net.split_heads(q, d.heads, d.depth)?;
    let mut k = net.split_heads(k, d.key_heads, d.depth)?;
    let v = net.split_heads(v, d.key_heads, d.depth)?;
    if d.qk_norm {
        q = norm(net, d, q, &format!("{at}.q_norm"), d.depth)?;
        k = norm(net, d, k, &format!("{at}.k_norm"), d.depth)?;
    }
    net.scope = at.clone();
    let slides = d.slides[i as usize];
    let angles = if slides { seen.local_angles } else { seen.angles };
    let (q, k) = (net.rotate(q, angles)?, net.rotate(k, angles)?);
    let visible = if slides { seen.sliding } else { seen.full };
    let window = d.window.filter(|_| slides);
    let how =
        Attend { scale: d.scale, visible, window, cap: d.score_cap, ..Attend::causal(d.depth) };
    let y = text.attend(net, [q, k, v], how, i)?;
    net.linear(y, &format!("{at}.o_proj"), [wide, d.hidden], d.out_bias)
}

fn norm(net: &mut Net, d: &Decoder, x: ValueId, name: &str, width: i64) -> R<ValueId> {
    let plus_one = d.plus_one && net.layout == Layout::HuggingFace;
    net.rms_norm(x, name, width, d.epsilon, plus_one)
}

/// What the layers share: angles and masks.
struct Seen {
    angles: Angles,
    local_angles: Angles,
    /// Mask of layers that see everything before, where it must be spelt out.
    full: Option<ValueId>,
    /// Mask of sliding layers, where the window is shorter than the longest sequence.
    sliding: Option<ValueId>,
}

impl Seen {
    fn new(net: &mut Net, d: &Decoder, text: &Text) -> R<Seen> {
        let angles = net.angles(&d.rope, text.positions)?;
        let local_angles = match d.local_rope == d.rope {
            true => angles,
            false => net.angles(&d.local_rope, text.positions)?,
        };
        if text.options.cache == TextCache::Paged {
            return Ok(Seen { angles, local_angles, full: None, sliding: None });
        }
        let full = match d.score_cap {
            Some(_) => Some(net.visible(&text.tokens, &text.past, Reach::Behind)?),
            None => None,
        };
        let window = d.window.filter(|w| *w < d.positions && d.slides.contains(&true));
        let sliding = match window {
            Some(w) => Some(net.visible(&text.tokens, &text.past, Reach::Last(w))?),
            None => full,
        };
        Ok(Seen { angles, local_angles, full, sliding })
    }
}
