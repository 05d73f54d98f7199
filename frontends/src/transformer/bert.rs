//! BERT, MiniLM and RoBERTa: learnt positions, layer norms after each half.

use super::TextOptions;
use super::config::Config;
use super::net::{Attend, Net, R};
use super::text::MAX_BATCH;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_ir::types::{DType, Dim};

struct Bert {
    hidden: i64,
    heads: i64,
    depth: i64,
    inner: i64,
    epsilon: f64,
    activation: UnaryOp,
}

/// An encoder's inputs.
pub struct Batch {
    /// `i64[B,S]`.
    pub ids: ValueId,
    /// bool`[B,1,1,S]`: which tokens are no padding.
    pub real: ValueId,
    /// S.
    pub tokens: Dim,
}

impl Batch {
    /// Declares `input_ids` and `attention_mask`.
    pub fn new(net: &mut Net, longest: i64) -> R<Batch> {
        let (batch, tokens) = (net.symbol("B", 1, MAX_BATCH), net.symbol("S", 1, longest));
        let shape = [batch.clone(), tokens.clone()];
        let ids = net.input("input_ids", DType::I64, &shape);
        let mask = net.input("attention_mask", DType::I64, &shape);
        net.scope = "mask".into();
        let real = net.with_number(BinaryOp::Ne, mask, 0.0)?;
        let real = net.reshape(real, vec![batch, 1.into(), 1.into(), tokens.clone()])?;
        Ok(Batch { ids, real, tokens })
    }
}

/// Builds BERT; positions count from 0.
pub fn build(c: &mut Config, net: &mut Net, _: TextOptions) -> R<()> {
    net.weights.strip("bert.", "embeddings.word_embeddings.weight");
    let longest = c.size("max_position_embeddings");
    let batch = Batch::new(net, longest)?;
    let positions = net.positions(&batch.tokens, &0.into())?;
    encoder(c, net, &batch, positions)
}

/// Builds RoBERTa; positions count real tokens from behind the padding token's number.
pub fn build_roberta(c: &mut Config, net: &mut Net, _: TextOptions) -> R<()> {
    net.weights.strip("roberta.", "embeddings.word_embeddings.weight");
    let padding = c.index_or("pad_token_id", 1);
    let longest = c.size("max_position_embeddings") - padding - 1;
    let batch = Batch::new(net, longest.max(1))?;
    net.scope = "positions".into();
    let real = net.with_number(BinaryOp::Ne, batch.ids, padding as f64)?;
    let real = net.add(Op::Cast { to: DType::I64 }, &[real])?;
    let count = net.add(Op::CumSum { axis: 1, exclusive: false, reverse: false }, &[real])?;
    let count = net.binary(BinaryOp::Mul, count, real)?;
    let positions = net.with_number(BinaryOp::Add, count, padding as f64)?;
    encoder(c, net, &batch, positions)
}

fn encoder(c: &mut Config, net: &mut Net, batch: &Batch, positions: ValueId) -> R<()> {
    let (hidden, heads) = (c.size("hidden_size"), c.size("num_attention_heads"));
    let b = Bert {
        hidden,
        heads,
        depth: c.share("'hidden_size' by heads", hidden, heads),
        inner: c.size("intermediate_size"),
        epsilon: c.number_or("layer_norm_eps", 1e-12),
        activation: c.activation("hidden_act", "gelu"),
    };
    c.refuse_unless("position_embedding_type", &"absolute".into());
    c.refuse_unless("is_decoder", &false.into());
    // Heads of tasks: the graph ends at the hidden states.
    let heads = ["pooler.", "cls.", "lm_head.", "classifier.", "qa_outputs."];
    net.weights.ignore(&["embeddings.position_ids", "embeddings.token_type_ids"], &heads);
    let x = embeddings(c, net, batch, positions, &b)?;
    let mut x = net.layer_norm(x, "embeddings.LayerNorm", hidden, b.epsilon, true)?;
    for i in 0..c.layers("num_hidden_layers") {
        x = layer(net, &b, batch.real, x, i)?;
    }
    net.output("last_hidden_state", x);
    Ok(())
}

fn embeddings(
    c: &mut Config,
    net: &mut Net,
    batch: &Batch,
    positions: ValueId,
    b: &Bert,
) -> R<ValueId> {
    let shape = net.shape(batch.ids);
    let kinds = net.input("token_type_ids", DType::I64, &shape);
    let at = |what: &str| format!("embeddings.{what}_embeddings");
    let words = net.embed(batch.ids, &at("word"), c.size("vocab_size"), b.hidden)?;
    let count = c.size("max_position_embeddings");
    let places = net.embed(positions, &at("position"), count, b.hidden)?;
    let kinds = net.embed(kinds, &at("token_type"), c.size("type_vocab_size"), b.hidden)?;
    let x = net.binary(BinaryOp::Add, words, kinds)?;
    net.binary(BinaryOp::Add, x, places)
}

fn layer(net: &mut Net, b: &Bert, real: ValueId, x: ValueId, i: i64) -> R<ValueId> {
    let at = format!("encoder.layer.{i}");
    let square = [b.hidden, b.hidden];
    let mut part = |name: &str| -> R<ValueId> {
        let y = net.linear(x, &format!("{at}.attention.self.{name}"), square, true)?;
        net.split_heads(y, b.heads, b.depth)
    };
    let qkv = [part("query")?, part("key")?, part("value")?];
    let scale = 1.0 / (b.depth as f64).sqrt();
    let how = Attend { scale, causal: false, visible: Some(real), window: None, cap: None };
    let h = net.attend(qkv, how)?;
    let h = net.linear(h, &format!("{at}.attention.output.dense"), square, true)?;
    let x = net.binary(BinaryOp::Add, x, h)?;
    let name = format!("{at}.attention.output.LayerNorm");
    let x = net.layer_norm(x, &name, b.hidden, b.epsilon, true)?;
    let h = net.linear(x, &format!("{at}.intermediate.dense"), [b.hidden, b.inner], true)?;
    let h = net.unary(b.activation, h)?;
    let h = net.linear(h, &format!("{at}.output.dense"), [b.inner, b.hidden], true)?;
    let x = net.binary(BinaryOp::Add, x, h)?;
    net.layer_norm(x, &format!("{at}.output.LayerNorm"), b.hidden, b.epsilon, true)
}
