//! GPT-2: learnt positions, layer norms before each half, matrices stored as `[in,out]`.

use super::config::Config;
use super::net::{Attend, Net, R};
use super::text::Text;
use super::{Layout, TextOptions};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, UnaryOp};

struct Gpt2 {
    hidden: i64,
    heads: i64,
    depth: i64,
    inner: i64,
    epsilon: f64,
    activation: UnaryOp,
}

/// Reads the configuration and builds the graph.
pub fn build(c: &mut Config, net: &mut Net, options: TextOptions) -> R<()> {
    let (hidden, heads) = (c.size("n_embd"), c.size("n_head"));
    let g = Gpt2 {
        hidden,
        heads,
        depth: c.share("'n_embd' by heads", hidden, heads),
        inner: c.size_or("n_inner", 4 * hidden),
        epsilon: c.number_or("layer_norm_epsilon", 1e-5),
        activation: c.activation("activation_function", "gelu_new"),
    };
    let (vocabulary, positions) = (c.size("vocab_size"), c.size("n_positions"));
    let layers = c.layers("n_layer");
    c.refuse_unless("scale_attn_weights", &true.into());
    c.refuse_unless("scale_attn_by_inverse_layer_idx", &false.into());
    net.weights.strip("transformer.", "wte.weight");
    // The causal mask, which old files store.
    net.weights.ignore(&[".attn.bias", ".attn.masked_bias"], &[]);
    let mut text = Text::new(net, positions, options)?;
    let words = net.embed(text.ids, "wte", vocabulary, hidden)?;
    let places = net.embed(text.positions, "wpe", positions, hidden)?;
    let mut x = net.binary(BinaryOp::Add, words, places)?;
    for i in 0..layers {
        x = layer(net, &g, &mut text, x, i)?;
    }
    let x = text.asked_for(net, x)?;
    let x = net.layer_norm(x, "ln_f", hidden, g.epsilon, true)?;
    let tied = c.flag_or("tie_word_embeddings", true);
    if tied {
        net.weights.ignore(&[], &["lm_head.weight"]);
    }
    let head = if tied { "wte" } else { "lm_head" };
    let logits = net.linear(x, head, [hidden, vocabulary], false)?;
    net.output("logits", logits);
    text.outputs(net);
    Ok(())
}

fn layer(net: &mut Net, g: &Gpt2, text: &mut Text, x: ValueId, i: i64) -> R<ValueId> {
    let h = net.layer_norm(x, &format!("h.{i}.ln_1"), g.hidden, g.epsilon, true)?;
    let qkv = dense(net, h, &format!("h.{i}.attn.c_attn"), [g.hidden, 3 * g.hidden])?;
    let part = |net: &mut Net, at: i64| -> R<ValueId> {
        let axis = net.shape(qkv).len() - 1;
        let x = net.slice(qkv, axis, at * g.hidden, g.hidden)?;
        net.split_heads(x, g.heads, g.depth)
    };
    let (q, k, v) = (part(net, 0)?, part(net, 1)?, part(net, 2)?);
    let h = text.attend(net, [q, k, v], Attend::causal(g.depth), i)?;
    let h = dense(net, h, &format!("h.{i}.attn.c_proj"), [g.hidden, g.hidden])?;
    let x = net.binary(BinaryOp::Add, x, h)?;
    let h = net.layer_norm(x, &format!("h.{i}.ln_2"), g.hidden, g.epsilon, true)?;
    let h = dense(net, h, &format!("h.{i}.mlp.c_fc"), [g.hidden, g.inner])?;
    let h = net.unary(g.activation, h)?;
    let h = dense(net, h, &format!("h.{i}.mlp.c_proj"), [g.inner, g.hidden])?;
    net.binary(BinaryOp::Add, x, h)
}

fn dense(net: &mut Net, x: ValueId, name: &str, sizes: [i64; 2]) -> R<ValueId> {
    match net.layout {
        Layout::HuggingFace => net.linear_in_out(x, name, sizes, true),
        Layout::Gguf => net.linear(x, name, sizes, true),
    }
}
