//! A decoder's inputs and outputs, and where it keeps keys and values.

use super::net::{Attend, Net, R};
use super::{TextCache, TextOptions};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{CacheAttentionAttrs, Op};
use cascata_ir::types::{DType, Dim, Scalar};

/// Most rows of a batch.
pub const MAX_BATCH: i64 = 1024;

/// Most rows of a step over a paged cache.
const MAX_ROWS: i64 = 1 << 16;

/// A decoder's inputs, and what it keeps.
pub struct Text {
    /// `i64[B,S]`, or `i64[T]` over a paged cache.
    pub ids: ValueId,
    /// `i64[S]`, or `i64[T]`.
    pub positions: ValueId,
    /// S, or T.
    pub tokens: Dim,
    /// P, or 0.
    pub past: Dim,
    /// What it takes and gives.
    pub options: TextOptions,
    /// Tokens of the longest sequence.
    longest: i64,
    /// Of a paged cache: `i64[L]`.
    logit_rows: Option<ValueId>,
    /// Keys and values that are outputs.
    kept: Vec<[ValueId; 2]>,
}

impl Text {
    /// Declares the inputs, for sequences of up to `longest` tokens.
    pub fn new(net: &mut Net, longest: i64, options: TextOptions) -> R<Text> {
        if options.cache == TextCache::Paged {
            return Ok(Self::flat(net, longest, options));
        }
        let batch = net.symbol("B", 1, MAX_BATCH);
        let tokens = net.symbol("S", 1, longest);
        let ids = net.input("input_ids", DType::I64, &[batch, tokens.clone()]);
        let tensors = options.cache == TextCache::Tensors;
        let past = if tensors { net.symbol("P", 0, longest) } else { Dim::from(0) };
        net.scope = "positions".into();
        let positions = net.positions(&tokens, &past)?;
        let (logit_rows, kept) = (None, vec![]);
        Ok(Text { ids, positions, tokens, past, options, longest, logit_rows, kept })
    }

    /// Rows of any sequences.
    fn flat(net: &mut Net, longest: i64, options: TextOptions) -> Text {
        let tokens = net.symbol("T", 1, MAX_ROWS);
        let rows = net.symbol("L", 0, MAX_ROWS);
        let ids = net.input("input_ids", DType::I64, std::slice::from_ref(&tokens));
        let positions = net.input("positions", DType::I64, std::slice::from_ref(&tokens));
        let logit_rows = Some(net.input("logit_rows", DType::I64, &[rows]));
        let (past, kept) = (0.into(), vec![]);
        Text { ids, positions, tokens, past, options, longest, logit_rows, kept }
    }

    /// Attention over the layer's keys and values of all tokens so far: heads as
    /// [`Net::split_heads`] leaves them in, `[B,S,H·D]` or `[T,H·D]` out.
    pub fn attend(
        &mut self,
        net: &mut Net,
        [q, k, v]: [ValueId; 3],
        how: Attend,
        layer: i64,
    ) -> R<ValueId> {
        match self.options.cache {
            TextCache::None => net.attend([q, k, v], how),
            TextCache::Tensors => {
                let [k, v] = self.remembered(net, [k, v], layer)?;
                net.attend([q, k, v], how)
            }
            TextCache::Paged => self.attend_paged(net, [q, k, v], how, layer),
        }
    }

    /// Over the cache that the caller brings.
    fn attend_paged(
        &self,
        net: &mut Net,
        [q, k, v]: [ValueId; 3],
        how: Attend,
        layer: i64,
    ) -> R<ValueId> {
        let attrs = CacheAttentionAttrs {
            layer,
            max_positions: self.longest,
            scale: Scalar::f32(how.scale as f32),
            window: how.window.filter(|w| *w < self.longest),
            soft_cap: how.cap.map(|c| Scalar::f32(c as f32)),
        };
        let y = net.add(Op::CacheAttention(attrs), &[q, k, v, self.positions])?;
        net.join_heads(y)
    }

    /// Keys and values of a layer with those of earlier tokens in front.
    fn remembered(&mut self, net: &mut Net, new: [ValueId; 2], layer: i64) -> R<[ValueId; 2]> {
        let mut shape = net.shape(new[0]);
        shape[2] = self.past.clone();
        let mut all = new;
        for (value, kind) in all.iter_mut().zip(["key", "value"]) {
            let past = net.input(&format!("past_{kind}.{layer}"), DType::F32, &shape);
            *value = net.add(Op::Concat { axis: 2 }, &[past, *value])?;
        }
        self.kept.push(all);
        Ok(all)
    }

    /// The rows whose logits are asked for.
    pub fn asked_for(&self, net: &mut Net, x: ValueId) -> R<ValueId> {
        match (self.logit_rows, self.options.last_logits) {
            (Some(rows), _) => net.add(Op::Gather { axis: 0 }, &[x, rows]),
            (None, true) => net.slice(x, 1, self.tokens.clone() - 1, 1),
            (None, false) => Ok(x),
        }
    }

    /// Declares what is kept as outputs.
    pub fn outputs(&self, net: &mut Net) {
        for (i, [k, v]) in self.kept.iter().enumerate() {
            net.output(&format!("present_key.{i}"), *k);
            net.output(&format!("present_value.{i}"), *v);
        }
    }
}
