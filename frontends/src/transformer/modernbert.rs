//! ModernBERT: an encoder with rotary positions, gated MLPs, and two of three layers local.

use super::TextOptions;
use super::bert::Batch;
use super::config::Config;
use super::net::{Angles, Attend, Net, R, Reach};
use super::rope::{Rope, Scaling};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, UnaryOp};

struct ModernBert {
    hidden: i64,
    heads: i64,
    depth: i64,
    inner: i64,
    epsilon: f64,
    norm_bias: bool,
    attention_bias: bool,
    mlp_bias: bool,
    activation: UnaryOp,
}

/// How a kind of layer sees: angles, and which keys.
type Sight = (Angles, ValueId);

/// Reads the configuration and builds the graph.
pub fn build(c: &mut Config, net: &mut Net, _: TextOptions) -> R<()> {
    let (hidden, heads) = (c.size("hidden_size"), c.size("num_attention_heads"));
    let m = ModernBert {
        hidden,
        heads,
        depth: c.share("'hidden_size' by heads", hidden, heads),
        inner: c.size("intermediate_size"),
        epsilon: c.number_or("norm_eps", 1e-5),
        norm_bias: c.flag_or("norm_bias", false),
        attention_bias: c.flag_or("attention_bias", false),
        mlp_bias: c.flag_or("mlp_bias", false),
        activation: c.activation("hidden_activation", "gelu"),
    };
    net.weights.strip("model.", "embeddings.tok_embeddings.weight");
    net.weights.ignore(&[], &["head.", "decoder.", "classifier."]);
    let longest = c.size_or("max_position_embeddings", 8192);
    let batch = Batch::new(net, longest)?;
    let (global, local) = sights(c, net, &m, &batch, longest)?;
    let every = c.size_or("global_attn_every_n_layers", 3);
    let x = net.embed(batch.ids, "embeddings.tok_embeddings", c.size("vocab_size"), hidden)?;
    let mut x = norm(net, &m, x, "embeddings.norm")?;
    for i in 0..c.layers("num_hidden_layers") {
        x = layer(net, &m, if i % every == 0 { global } else { local }, x, i)?;
    }
    let x = norm(net, &m, x, "final_norm")?;
    net.output("last_hidden_state", x);
    Ok(())
}

fn sights(
    c: &mut Config,
    net: &mut Net,
    m: &ModernBert,
    batch: &Batch,
    longest: i64,
) -> R<(Sight, Sight)> {
    let rope = |base| Rope { dims: m.depth, base, scaling: Scaling::None };
    let global = rope(c.number_or("global_rope_theta", 160_000.0));
    let local = rope(c.number_or("local_rope_theta", 10_000.0));
    // Half of the window on each side, the token itself in the middle.
    let reach = c.size_or("local_attention", 128) / 2;
    net.scope = "positions".into();
    let positions = net.positions(&batch.tokens, &0.into())?;
    let global = (net.angles(&global, positions)?, batch.real);
    let mut near = batch.real;
    if reach < longest - 1 {
        let window = net.visible(&batch.tokens, &0.into(), Reach::Around(reach))?;
        near = net.binary(BinaryOp::And, batch.real, window)?;
    }
    Ok((global, (net.angles(&local, positions)?, near)))
}

fn norm(net: &mut Net, m: &ModernBert, x: ValueId, name: &str) -> R<ValueId> {
    net.layer_norm(x, name, m.hidden, m.epsilon, m.norm_bias)
}

fn layer(net: &mut Net, m: &ModernBert, sight: Sight, x: ValueId, i: i64) -> R<ValueId> {
    let at = format!("layers.{i}");
    let (angles, visible) = sight;
    // The first layer reads what the embeddings' norm gave.
    let h = if i == 0 { x } else { norm(net, m, x, &format!("{at}.attn_norm"))? };
    let wide = [m.hidden, 3 * m.hidden];
    let qkv = net.linear(h, &format!("{at}.attn.Wqkv"), wide, m.attention_bias)?;
    let part = |net: &mut Net, i: i64| -> R<ValueId> {
        let x = net.slice(qkv, 2, i * m.hidden, m.hidden)?;
        net.split_heads(x, m.heads, m.depth)
    };
    let (q, k, v) = (part(net, 0)?, part(net, 1)?, part(net, 2)?);
    let (q, k) = (net.rotate(q, angles)?, net.rotate(k, angles)?);
    let scale = 1.0 / (m.depth as f64).sqrt();
    let how = Attend { scale, causal: false, visible: Some(visible), window: None, cap: None };
    let h = net.attend([q, k, v], how)?;
    let h = net.linear(h, &format!("{at}.attn.Wo"), [m.hidden, m.hidden], m.attention_bias)?;
    let x = net.binary(BinaryOp::Add, x, h)?;
    let h = norm(net, m, x, &format!("{at}.mlp_norm"))?;
    let h = net.linear(h, &format!("{at}.mlp.Wi"), [m.hidden, 2 * m.inner], m.mlp_bias)?;
    let (value, gate) = (net.slice(h, 2, 0, m.inner)?, net.slice(h, 2, m.inner, m.inner)?);
    let value = net.unary(m.activation, value)?;
    let h = net.binary(BinaryOp::Mul, value, gate)?;
    let h = net.linear(h, &format!("{at}.mlp.Wo"), [m.inner, m.hidden], m.mlp_bias)?;
    net.binary(BinaryOp::Add, x, h)
}
