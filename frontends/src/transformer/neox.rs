//! GPT-NeoX (Pythia): attention and MLP side by side, a part of each head turns.

use super::config::Config;
use super::net::{Angles, Attend, Net, R};
use super::rope::Rope;
use super::text::Text;
use super::{Layout, TextOptions};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, UnaryOp};

struct NeoX {
    hidden: i64,
    heads: i64,
    depth: i64,
    inner: i64,
    epsilon: f64,
    activation: UnaryOp,
    /// Biases of the attention.
    bias: bool,
    /// The MLP reads what the attention reads.
    parallel: bool,
}

/// Reads the configuration and builds the graph.
pub fn build(c: &mut Config, net: &mut Net, options: TextOptions) -> R<()> {
    let (hidden, heads) = (c.size("hidden_size"), c.size("num_attention_heads"));
    let depth = c.share("'hidden_size' by heads", hidden, heads);
    let n = NeoX {
        hidden,
        heads,
        depth,
        inner: c.size("intermediate_size"),
        epsilon: c.number_or("layer_norm_eps", 1e-5),
        activation: c.activation("hidden_act", "gelu"),
        bias: c.flag_or("attention_bias", true),
        parallel: c.flag_or("use_parallel_residual", true),
    };
    let turned = (depth as f64 * c.number_or("rotary_pct", 0.25)) as i64;
    let base = c.number_or("rotary_emb_base", 10000.0);
    let rope = Rope::read(c, turned.clamp(0, depth), base, "full_attention");
    let (vocabulary, longest) = (c.size("vocab_size"), c.size_or("max_position_embeddings", 2048));
    let layers = c.layers("num_hidden_layers");
    let buffers = [".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"];
    net.weights.ignore(&buffers, &[]);
    let mut text = Text::new(net, longest, options)?;
    let angles = net.angles(&rope, text.positions)?;
    let mut x = net.embed(text.ids, "gpt_neox.embed_in", vocabulary, hidden)?;
    for i in 0..layers {
        x = layer(net, &n, &mut text, angles, x, i)?;
    }
    let x = text.asked_for(net, x)?;
    let x = net.layer_norm(x, "gpt_neox.final_layer_norm", hidden, n.epsilon, true)?;
    let tied = c.flag_or("tie_word_embeddings", false);
    let head = if tied { "gpt_neox.embed_in" } else { "embed_out" };
    let logits = net.linear(x, head, [hidden, vocabulary], false)?;
    net.output("logits", logits);
    text.outputs(net);
    Ok(())
}

fn layer(
    net: &mut Net,
    n: &NeoX,
    text: &mut Text,
    angles: Angles,
    x: ValueId,
    i: i64,
) -> R<ValueId> {
    let at = format!("gpt_neox.layers.{i}");
    let h = net.layer_norm(x, &format!("{at}.input_layernorm"), n.hidden, n.epsilon, true)?;
    let [q, k, v] = projections(net, n, h, &format!("{at}.attention.query_key_value"))?;
    let (q, k) = (net.rotate(q, angles)?, net.rotate(k, angles)?);
    let h = text.attend(net, [q, k, v], Attend::causal(n.depth), i)?;
    let seen = net.linear(h, &format!("{at}.attention.dense"), [n.hidden, n.hidden], n.bias)?;
    let after = net.binary(BinaryOp::Add, x, seen)?;
    let h = if n.parallel { x } else { after };
    let h =
        net.layer_norm(h, &format!("{at}.post_attention_layernorm"), n.hidden, n.epsilon, true)?;
    let h = net.linear(h, &format!("{at}.mlp.dense_h_to_4h"), [n.hidden, n.inner], true)?;
    let h = net.unary(n.activation, h)?;
    let h = net.linear(h, &format!("{at}.mlp.dense_4h_to_h"), [n.inner, n.hidden], true)?;
    net.binary(BinaryOp::Add, after, h)
}

/// Queries, keys and values, whose rows lie head by head (`transformers`) or one after the
/// other (GGUF).
fn projections(net: &mut Net, n: &NeoX, x: ValueId, name: &str) -> R<[ValueId; 3]> {
    let qkv = net.linear(x, name, [n.hidden, 3 * n.hidden], n.bias)?;
    let mut lead = net.shape(qkv);
    lead.pop();
    let lead = || lead.clone();
    let (parts, axis) = match net.layout {
        Layout::HuggingFace => ([n.heads, 3, n.depth], lead().len() + 1),
        Layout::Gguf => ([3, n.heads, n.depth], lead().len()),
    };
    let shape = [lead(), parts.iter().map(|p| (*p).into()).collect()].concat();
    let qkv = net.reshape(qkv, shape)?;
    let mut part = |i: i64| -> R<ValueId> {
        let one = net.slice(qkv, axis, i, 1)?;
        let flat = net.reshape(one, [lead(), vec![n.hidden.into()]].concat())?;
        net.split_heads(flat, n.heads, n.depth)
    };
    Ok([part(0)?, part(1)?, part(2)?])
}
