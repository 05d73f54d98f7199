//! Scaled dot-product attention in its exported spellings.
//!
//! The scale may stand on the scores, on the queries or on the keys (rules in `linear`
//! and `movement` bring it to the scores), the keys may be transposed in any way (the
//! transposes compose). A mask is added to the scores. Some exporters guard rows that
//! are masked completely with `Where(IsNaN(p), 0, p)`.

use super::{Exactness::*, Guard, ROW, Rhs, Rule};
use crate::egraph::site::Site;
use cascata_ir::op::{AttentionAttrs, Op};
use cascata_types::{DType, Scalar, Shape};
use egg::Id;

const OVER_KEYS: Guard = Guard {
    name: "softmax-over-keys",
    holds: |s| match s.attr("s") {
        Op::Softmax { axis } => axis + 1 == s.rank(s.root()),
        _ => false,
    },
};

const SCORES: [&str; 4] = [
    "(matmul (softmax:s (matmul ?q ?k)) ?v)",
    "(matmul (softmax:s (mul (matmul ?q ?k) ?c:scalar)) ?v)",
    "(matmul (softmax:s (add (matmul ?q ?k) ?m)) ?v)",
    "(matmul (softmax:s (add (mul (matmul ?q ?k) ?c:scalar) ?m)) ?v)",
];

const GUARDED: [&str; 4] = [
    "(matmul (select (is_nan ?p=(softmax:s (matmul ?q ?k))) #0 ?p) ?v)",
    "(matmul (select (is_nan ?p=(softmax:s (mul (matmul ?q ?k) ?c:scalar))) #0 ?p) ?v)",
    "(matmul (select (is_nan ?p=(softmax:s (add (matmul ?q ?k) ?m))) #0 ?p) ?v)",
    "(matmul (select (is_nan ?p=(softmax:s (add (mul (matmul ?q ?k) ?c:scalar) ?m))) #0 ?p) ?v)",
];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "attention",
        lhs: &SCORES,
        rhs: Rhs::Build(|s| attention(s, false)),
        sound_when: &[OVER_KEYS],
        class: Reassociates,
        source: "Vaswani et al., arXiv 1706.03762; division deferred as in FuseMax, arXiv 2406.10491, 4.2",
        examples: &[
            "(matmul (softmax{3} (matmul q:f32[A,B,C,D] (transpose{0,1,3,2} k:f32[A,B,E,D]))) v:f32[A,B,E,F])",
            "(matmul (softmax{3} (add (mul (matmul q:f32[A,B,C,D] (transpose{0,2,3,1} k:f32[A,E,B,D])) 0.25) m:f32[A,1,1,E])) v:f32[A,B,E,F])",
            "(matmul (softmax{2} (mul (matmul q:f32[A,C,D] k:f32[A,D,E]) 0.25)) v:f32[A,E,F])",
            "(matmul (softmax{1} (add (matmul q:f32[C,D] k:f32[D,E]) m:f32[C,E])) v:f32[E,F])",
        ],
        refutes: &[(
            "softmax-over-keys",
            "(matmul (softmax{2} (matmul q:f32[2,3,4,5] k:f32[2,3,5,4])) v:f32[2,3,4,6])",
        )],
        ..ROW
    },
    Rule {
        name: "attention-guarded",
        lhs: &GUARDED,
        rhs: Rhs::Build(|s| attention(s, true)),
        sound_when: &[OVER_KEYS],
        class: Reassociates,
        source: "PyTorch's SDPA decomposition; on finite operands a row is NaN only where all keys are masked",
        examples: &[
            "p=(softmax{3} (add (mul (matmul q:f32[A,B,C,D] (transpose{0,1,3,2} k:f32[A,B,E,D])) 0.25) m:f32[A,1,1,E])); (matmul (select (is_nan p) 0 p) v:f32[A,B,E,F])",
        ],
        refutes: &[(
            "softmax-over-keys",
            "p=(softmax{2} (matmul q:f32[2,3,4,5] k:f32[2,3,5,4])); (matmul (select (is_nan p) 0 p) v:f32[2,3,4,6])",
        )],
        ..ROW
    },
];

fn attention(s: &mut Site, zero_masked_rows: bool) -> Option<Id> {
    let (q, k, v, root) = (s.var("q"), s.var("k"), s.var("v"), s.root());
    let rank = s.rank(q);
    if s.rank(k) != rank || s.rank(v) != rank || !(2..=4).contains(&rank) || !s.dtype(q).is_float()
    {
        return None;
    }
    let mut swap: Vec<usize> = (0..rank).collect();
    swap.swap(rank - 2, rank - 1);
    let k = s.transpose(k, &swap)?;
    let mut operands = vec![];
    for x in [q, k, v] {
        operands.push(with_heads(s, x, rank)?);
    }
    if let Some(mask) = s.get("m") {
        operands.push(with_heads(s, mask, rank)?);
    }
    let scale = match s.get("c") {
        Some(c) => s.uniform(c)?,
        None => 1.0,
    };
    let scale = Scalar::from_f64(DType::F32, scale);
    let attrs = AttentionAttrs { scale, causal: false, zero_masked_rows };
    let out = s.add(Op::Attention(attrs), &operands)?;
    let shape = s.shape(root);
    s.reshape(out, shape)
}

/// A tensor of a rank-2 or rank-3 attention as `[B,H,·,·]` with the missing axes 1; a
/// mask of lower rank broadcasts on its own.
fn with_heads(s: &mut Site, x: Id, rank: usize) -> Option<Id> {
    let mut shape: Shape = s.shape(x);
    if shape.len() < rank || rank == 4 {
        return Some(x);
    }
    shape.insert(rank - 2, 1.into());
    if rank == 2 {
        shape.insert(0, 1.into());
    }
    s.reshape(x, shape)
}
