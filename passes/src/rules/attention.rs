//! Scaled dot-product attention in its exported spellings.
//!
//! Three steps, each a row: scores get one form (scales move out of the product, hiding a
//! key becomes adding −inf, the masks of a row are added up), the whole is recognised, and
//! then the op's operands are read more closely (a mask that is causal, keys that are
//! repeated for several heads). The keys may be transposed in any way: transposes compose.
//! Some exporters guard rows that are masked completely with `Where(IsNaN(p), 0, p)`.
//!
//! On finite operands, as in every row that hides keys: a hidden NaN would be seen again.

use super::positions::{Mask, causal_offset};
use super::{Exactness::*, Guard, ROW, Rhs, Rule};
use crate::egraph::site::Site;
use cascata_ir::op::{AttentionAttrs, BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_types::{DType, Dim, Scalar, Shape};
use egg::Id;

/// Exporters hide keys with −1e4 (half floats), −1e9 or the lowest float; scores of a
/// trained model stay a hundred above, and e^−100 is 0 beside the largest weight.
const HIDES_BELOW: f64 = -1e4;

const OVER_KEYS: Guard = Guard {
    name: "softmax-over-keys",
    holds: |s| match s.attr("s") {
        Op::Softmax { axis } => axis + 1 == s.rank(s.root()),
        _ => false,
    },
};

const FILL_HIDES: Guard = Guard {
    name: "fill-hides",
    holds: |s| s.uniform(s.var("f")).is_some_and(|f| f <= HIDES_BELOW && f.is_finite()),
};

const CAUSAL: Guard = Guard {
    name: "mask-is-causal",
    holds: |s| offset_fits(s, |x| x == f64::NEG_INFINITY, |_, _| true),
};

const CAUSAL_FILLED: Guard = Guard {
    name: "mask-is-causal",
    holds: |s| offset_fits(s, |x| x <= HIDES_BELOW && x.is_finite(), |s, k| s.at_least(k, 0)),
};

const GROUPS: Guard = Guard {
    name: "heads-repeat-in-groups",
    holds: |s| ["k", "v"].into_iter().all(|x| s.rank(s.var(x)) == 5 && s.shape(s.var(x))[2].is(1)),
};

const GATHERS_GROUPS: Guard = Guard {
    name: "heads-repeat-in-groups",
    holds: |s| {
        let groups = s.shape(s.var("k")).get(1).and_then(Dim::as_const);
        let (index, times) = (s.var("i"), s.repeats(s.var("i")));
        groups.zip(times).is_some_and(|(g, n)| s.shape(index)[0].is(g * n))
    },
};

const FILL_HIDES_LATER: Guard = Guard {
    name: "each-row-sees-a-key",
    holds: |s| {
        let seen = |m: Option<Id>, as_mask: Mask| {
            let offset = m.and_then(|m| causal_offset(s, m, as_mask));
            offset.is_some_and(|k| s.at_least(&k, 0))
        };
        seen(s.get("b"), Mask::Shows) || seen(s.get("n"), Mask::Hides)
    },
};

/// Whether the mask `m` is what the op's causal attribute says. It has a row for each
/// query: one row for all would be repeated, whatever its index says.
fn offset_fits(s: &Site, hidden: fn(f64) -> bool, more: fn(&Site, &Dim) -> bool) -> bool {
    let Op::Attention(attrs) = s.attr("a") else { return false };
    let (queries, keys) = (s.shape(s.var("q"))[2].clone(), s.shape(s.var("k"))[2].clone());
    let mask = s.var("m");
    let whole = s.shape(mask).ends_with(&[queries.clone(), keys.clone()]);
    let meant = match s.dtype(mask) {
        DType::Bool => Mask::Shows,
        _ => Mask::Added(hidden),
    };
    let offset = causal_offset(s, mask, meant);
    !attrs.causal && whole && offset.is_some_and(|k| k == keys - queries && more(s, &k))
}

/// The pattern with every form of the scores.
macro_rules! of_scores {
    ($before:literal, $after:literal) => {
        &[
            concat!($before, "(matmul ?q ?k)", $after),
            concat!($before, "(mul (matmul ?q ?k) ?c:scalar)", $after),
            concat!($before, "(add (matmul ?q ?k) ?m)", $after),
            concat!($before, "(add (mul (matmul ?q ?k) ?c:scalar) ?m)", $after),
        ]
    };
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "attention",
        lhs: of_scores!("(matmul (softmax:s ", ") ?v)"),
        rhs: Rhs::Build(|s| attention(s, false)),
        sound_when: &[OVER_KEYS],
        class: Reassociates,
        source: "Vaswani et al., arXiv 1706.03762; division deferred as in FuseMax, arXiv 2406.10491, 4.2",
        examples: &[
            "(matmul (softmax{3} (matmul q:f32[A,B,C,D] (transpose{0,1,3,2} k:f32[A,B,E,D]))) v:f32[A,B,E,F])",
            "(matmul (softmax{3} (add (mul (matmul q:f32[A,B,C,D] (transpose{0,2,3,1} k:f32[A,E,B,D])) 0.25) m:f32[A,1,1,E])) v:f32[A,B,E,F])",
            "(matmul (softmax{2} (mul (matmul q:f32[A,C,D] k:f32[A,D,E]) 0.25)) v:f32[A,E,F])",
            "(matmul (softmax{1} (add (matmul q:f32[C,D] k:f32[D,E]) m:f32[C,E])) v:f32[E,F])",
            // the scale on the queries, on the keys (transposed after or before), its root on both
            "(matmul (softmax{3} (matmul (mul q:f32[A,B,C,D] 0.25) (transpose{0,1,3,2} k:f32[A,B,E,D]))) v:f32[A,B,E,F])",
            "(matmul (softmax{3} (matmul q:f32[A,B,C,D] (transpose{0,1,3,2} (div k:f32[A,B,E,D] 3)))) v:f32[A,B,E,F])",
            "(matmul (softmax{3} (matmul (mul q:f32[A,B,C,D] 0.6) (mul (transpose{0,1,3,2} k:f32[A,B,E,D]) 0.6))) v:f32[A,B,E,F])",
            // ALiBi and other biases by head; a relative bias of rank 3
            "(matmul (softmax{3} (add (div (matmul q:f32[A,B,C,D] (transpose{0,1,3,2} k:f32[A,B,E,D])) 3) m:f32[1,B,1,E])) v:f32[A,B,E,F])",
            "(matmul (softmax{3} (add (matmul q:f32[A,B,C,D] (transpose{0,1,3,2} k:f32[A,B,E,D])) m:f32[B,C,E])) v:f32[A,B,E,F])",
            // one head of keys for all (MQA)
            "(matmul (softmax{3} (matmul q:f32[A,B,C,D] (transpose{0,1,3,2} k:f32[A,1,E,D]))) v:f32[A,1,E,F])",
        ],
        refutes: &[(
            "softmax-over-keys",
            "(matmul (softmax{2} (matmul q:f32[2,3,4,5] k:f32[2,3,5,4])) v:f32[2,3,4,6])",
        )],
        ..ROW
    },
    Rule {
        name: "attention-guarded",
        lhs: of_scores!("(matmul (select (is_nan ?p=(softmax:s ", ")) #0 ?p) ?v)"),
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
    Rule {
        name: "attention-filled",
        lhs: &[
            "(matmul (softmax:s (select ?b (matmul ?q ?k) ?f:scalar)) ?v)",
            "(matmul (softmax:s (select ?b (mul (matmul ?q ?k) ?c:scalar) ?f:scalar)) ?v)",
            "(matmul (softmax:s (select ?n ?f:scalar (matmul ?q ?k))) ?v)",
            "(matmul (softmax:s (select ?n ?f:scalar (mul (matmul ?q ?k) ?c:scalar))) ?v)",
        ],
        rhs: Rhs::Build(attention_filled),
        sound_when: &[OVER_KEYS, FILL_HIDES],
        class: Approx(1e-6),
        source: "masked_fill with a large negative number; a row that is hidden completely is the mean of the values",
        examples: &[
            "(matmul (softmax{3} (select (gt m:f32[A,1,1,E] 0) (mul (matmul q:f32[A,B,C,D] (transpose{0,1,3,2} k:f32[A,B,E,D])) 0.25) -1e9)) v:f32[A,B,E,F])",
            "(matmul (softmax{3} (select (gt m:f32[A,1,C,E] 0) -3.4028234663852886e38 (matmul q:f32[A,B,C,D] (transpose{0,1,3,2} k:f32[A,B,E,D])))) v:f32[A,B,E,F])",
        ],
        refutes: &[
            (
                "softmax-over-keys",
                "(matmul (softmax{2} (select (gt m:f32[2,1,4,4] 0) (matmul q:f32[2,3,4,5] k:f32[2,3,5,4]) -1e9)) v:f32[2,3,4,6])",
            ),
            (
                "fill-hides",
                "(matmul (softmax{3} (select (gt m:f32[2,1,4,4] 0) (matmul q:f32[2,3,4,5] k:f32[2,3,5,4]) -1)) v:f32[2,3,4,6])",
            ),
        ],
        ..ROW
    },
    Rule {
        name: "hide-by-adding",
        lhs: &["(softmax:s (select ?b ?x #-inf))"],
        rhs: Rhs::Text("(softmax:s (add ?x (select ?b #0 #-inf)))"),
        class: Reassociates,
        source: "Where(mask, scores, -inf); one form for all masks",
        examples: &["(softmax{2} (select (gt m:f32[1,B,C] 0) x:f32[A,B,C] -inf))"],
        ..ROW
    },
    Rule {
        name: "hide-by-adding-inverse",
        lhs: &["(softmax:s (select ?b #-inf ?x))"],
        rhs: Rhs::Text("(softmax:s (add ?x (select ?b #-inf #0)))"),
        class: Reassociates,
        source: "masked_fill(mask, -inf)",
        examples: &["(softmax{2} (select (gt m:f32[1,B,C] 0) -inf x:f32[A,B,C]))"],
        ..ROW
    },
    Rule {
        name: "hide-by-filling-later-keys",
        lhs: &["(softmax:s (select ?b ?x ?f:scalar))", "(softmax:s (select ?n ?f:scalar ?x))"],
        rhs: Rhs::Build(hide_later),
        sound_when: &[OVER_KEYS, FILL_HIDES, FILL_HIDES_LATER],
        class: Approx(1e-6),
        source: "GPT-2 fills later keys with a large negative number; each query sees the first key, beside which they vanish",
        examples: &[
            "(softmax{2} (select m:=bool[4,4]:tril x:f32[A,4,4] -1e9))",
            "(softmax{2} (select (gt (iota{i64;1,5;1}) (add (iota{i64;3,1;0}) 2)) -1e4 x:f32[A,3,5]))",
        ],
        refutes: &[
            (
                "softmax-over-keys",
                "(softmax{1} (select (le (iota{i64;1,5;1}) (iota{i64;3,1;0})) x:f32[3,3,5] -1e9))",
            ),
            ("fill-hides", "(softmax{2} (select m:=bool[4,4]:tril x:f32[3,4,4] -1))"),
            (
                "each-row-sees-a-key",
                "(softmax{2} (select (lt (iota{i64;1,4;1}) (iota{i64;4,1;0})) x:f32[3,4,4] -1e9))",
            ),
        ],
        ..ROW
    },
    Rule {
        name: "masks-together",
        lhs: &[
            "(softmax:s (add (add ?x=(matmul ?q ?k) ?m) ?n))",
            "(softmax:s (add (add ?x=(mul (matmul ?q ?k) ?c:scalar) ?m) ?n))",
        ],
        rhs: Rhs::Text("(softmax:s (add ?x (add ?m ?n)))"),
        class: Reassociates,
        source: "associativity: a position bias and a padding mask are one mask",
        examples: &[
            "(softmax{3} (add (add (matmul q:f32[A,B,C,D] k:f32[A,B,D,E]) m:f32[1,B,C,E]) n:f32[A,1,1,E]))",
            "(softmax{3} (add (add (mul (matmul q:f32[A,B,C,D] k:f32[A,B,D,E]) 0.5) m:f32[1,B,C,E]) n:f32[A,1,1,E]))",
        ],
        ..ROW
    },
    Rule {
        name: "attention-bool-mask",
        lhs: &["(attention:a ?q ?k ?v (select ?b #0 #-inf))"],
        rhs: Rhs::Text("(attention:a ?q ?k ?v ?b)"),
        class: Reassociates,
        source: "definition of the op's bool mask",
        examples: &[
            "(attention{0.5} q:f32[A,B,C,D] k:f32[A,B,E,D] v:f32[A,B,E,F] (select (gt m:f32[A,1,1,E] -1) 0 -inf))",
        ],
        ..ROW
    },
    Rule {
        name: "attention-bool-mask-inverse",
        lhs: &["(attention:a ?q ?k ?v (select ?n #-inf #0))"],
        rhs: Rhs::Text("(attention:a ?q ?k ?v (not ?n))"),
        class: Reassociates,
        source: "definition of the op's bool mask",
        examples: &[
            "(attention{0.5} q:f32[A,B,C,D] k:f32[A,B,E,D] v:f32[A,B,E,F] (select (gt m:f32[A,1,1,E] 1) -inf 0))",
        ],
        ..ROW
    },
    Rule {
        name: "attention-causal",
        lhs: &["(attention:a ?q ?k ?v ?m)"],
        rhs: Rhs::Build(causal),
        sound_when: &[CAUSAL],
        class: Reassociates,
        source: "definition of the op's causal attribute; no mask is read or computed",
        examples: &[
            "(attention{0.5} q:f32[A,B,3,D] k:f32[A,B,5,D] v:f32[A,B,5,F] (le (iota{i64;1,5;1}) (add (iota{i64;3,1;0}) 2)))",
            "(attention{0.5} q:f32[A,B,4,D] k:f32[A,B,4,D] v:f32[A,B,4,F] (not (gt (reshape{1,1,1,4} (iota{i64;4;0})) (reshape{1,1,4,1} (iota{i64;4;0})))))",
            "(attention{0.5} q:f32[A,B,4,D] k:f32[A,B,4,D] v:f32[A,B,4,F] (select (ge (sub (iota{i64;1,4;1}) (iota{i64;4,1;0})) 1) -inf 0))",
            "(attention{0.5} q:f32[A,B,3,D] k:f32[A,B,5,D] v:f32[A,B,5,F] (slice{2,2,3;3,0,5} m:=bool[1,1,7,7]:tril))",
            "(attention{0.5} q:f32[A,B,4,D] k:f32[A,B,4,D] v:f32[A,B,4,F] (not m:=bool[4,4]:triu))",
            "(attention{0.5} q:f32[A,B,4,D] k:f32[A,B,4,D] v:f32[A,B,4,F] m:=f32[4,4]:causal)",
        ],
        refutes: &[
            (
                "mask-is-causal",
                "(attention{0.5} q:f32[2,3,4,5] k:f32[2,3,4,5] v:f32[2,3,4,6] (le (iota{i64;1,4;1}) (add (iota{i64;4,1;0}) 1)))",
            ),
            (
                "mask-is-causal",
                "(attention{0.5} q:f32[2,3,4,5] k:f32[2,3,4,5] v:f32[2,3,4,6] (ge (iota{i64;1,4;1}) (iota{i64;4,1;0})))",
            ),
            (
                "mask-is-causal",
                "(attention{0.5} q:f32[2,3,4,5] k:f32[2,3,4,5] v:f32[2,3,4,6] (le (iota{i64;1,4;1}) (iota{i64;1,1;0})))",
            ),
            (
                "mask-is-causal",
                "(attention{0.5} q:f32[2,3,4,5] k:f32[2,3,4,5] v:f32[2,3,4,6] (ge (sub (iota{u8;4,1;0}) (iota{u8;1,4;1})) 0))",
            ),
            (
                "mask-is-causal",
                "(attention{0.5} q:f32[2,3,4,5] k:f32[2,3,4,5] v:f32[2,3,4,6] (slice{0,1,4;1,0,4} m:=bool[7,7]:tril))",
            ),
        ],
        ..ROW
    },
    Rule {
        name: "attention-causal-filled",
        lhs: &["(attention:a ?q ?k ?v ?m)"],
        rhs: Rhs::Build(causal),
        sound_when: &[CAUSAL_FILLED],
        class: Approx(1e-6),
        source: "a large negative number instead of −inf: each row sees a key, beside which the hidden ones vanish",
        examples: &[
            "(attention{0.5} q:f32[A,B,4,D] k:f32[A,B,4,D] v:f32[A,B,4,F] (select (le (iota{i64;1,4;1}) (iota{i64;4,1;0})) 0 -1e9))",
            "(attention{0.5} q:f32[A,B,3,D] k:f32[A,B,5,D] v:f32[A,B,5,F] (select (lt (add (iota{i64;3,1;0}) 2) (iota{i64;1,5;1})) -3.4028234663852886e38 0))",
        ],
        refutes: &[
            (
                "mask-is-causal",
                "(attention{0.5} q:f32[2,3,4,5] k:f32[2,3,4,5] v:f32[2,3,4,6] (select (lt (iota{i64;1,4;1}) (iota{i64;4,1;0})) 0 -1e9))",
            ),
            (
                "mask-is-causal",
                "(attention{0.5} q:f32[2,3,4,5] k:f32[2,3,4,5] v:f32[2,3,4,6] (select (le (iota{i64;1,4;1}) (iota{i64;4,1;0})) 0 -1))",
            ),
        ],
        ..ROW
    },
    Rule {
        name: "attention-shared-heads",
        lhs: &[
            "(attention:a ?q (reshape:r (broadcast:b ?k)) (reshape:t (broadcast:u ?v)))",
            "(attention:a ?q (reshape:r (broadcast:b ?k)) (reshape:t (broadcast:u ?v)) ?m)",
        ],
        rhs: Rhs::Build(shared_heads),
        sound_when: &[GROUPS],
        class: Reassociates,
        source: "Ainslie et al., arXiv 2305.13245: repeat_kv copies what the op shares",
        examples: &[
            "(attention{0.5} q:f32[A,6,C,D] (reshape{A,6,E,D} (broadcast{A,2,3,E,D} k:f32[A,2,1,E,D])) (reshape{A,6,E,F} (broadcast{A,2,3,E,F} v:f32[A,2,1,E,F])))",
            "(attention{0.5} q:f32[A,6,C,D] (reshape{A,6,E,D} (broadcast{A,2,3,E,D} k:f32[A,2,1,E,D])) (reshape{A,6,E,F} (broadcast{A,2,3,E,F} v:f32[A,2,1,E,F])) m:f32[A,6,C,E])",
        ],
        refutes: &[(
            "heads-repeat-in-groups",
            "(attention{0.5} q:f32[2,6,4,5] (reshape{2,6,3,5} (broadcast{2,3,2,3,5} k:f32[2,1,2,3,5])) (reshape{2,6,3,7} (broadcast{2,3,2,3,7} v:f32[2,1,2,3,7])))",
        )],
        ..ROW
    },
    Rule {
        name: "attention-gathered-heads",
        lhs: &[
            "(attention:a ?q (gather:g ?k ?i:const) (gather:g ?v ?i))",
            "(attention:a ?q (gather:g ?k ?i:const) (gather:g ?v ?i) ?m)",
        ],
        rhs: Rhs::Build(gathered_heads),
        sound_when: &[GATHERS_GROUPS],
        class: Reassociates,
        source: "repeat_interleave by an index: it copies what the op shares",
        examples: &[
            "(attention{0.5} q:f32[A,6,C,D] (gather{1} k:f32[A,2,E,D] i:=i64[6]:by3) (gather{1} v:f32[A,2,E,F] i:=i64[6]:by3))",
            "(attention{0.5} q:f32[A,6,C,D] (gather{1} k:f32[A,2,E,D] i:=i64[6]:by3) (gather{1} v:f32[A,2,E,F] i:=i64[6]:by3) m:f32[A,1,C,E])",
        ],
        refutes: &[(
            "heads-repeat-in-groups",
            "(attention{0.5} q:f32[2,6,4,5] (gather{1} k:f32[2,2,3,5] i:=i64[6]%2) (gather{1} v:f32[2,2,3,7] i:=i64[6]%2))",
        )],
        ..ROW
    },
    Rule {
        name: "scores-split-batch",
        lhs: &["(reshape:r (matmul ?q ?k))"],
        rhs: Rhs::Build(split_batch),
        source: "OPT, BLOOM and others multiply [B·H,S,D] but mask [B,H,S,T]",
        class: Reassociates,
        examples: &["(reshape{A,B,C,E} (matmul q:f32[A*B,C,D] k:f32[A*B,D,E]))"],
        ..ROW
    },
    Rule {
        name: "softmax-merged-batch",
        lhs: &["(softmax:s (reshape:r ?x))"],
        rhs: Rhs::Build(softmax_merged),
        source: "a softmax over the last axis does not ask how its rows are numbered",
        examples: &["(softmax{2} (reshape{A*B,C,E} x:f32[A,B,C,E]))"],
        ..ROW
    },
    Rule {
        name: "matmul-merged-batch",
        lhs: &["(matmul (reshape:r (softmax:s ?x)) ?v)"],
        rhs: Rhs::Build(matmul_merged),
        source: "the way back from [B,H,S,T] to [B·H,S,T]",
        class: Reassociates,
        examples: &["(matmul (reshape{A*B,C,E} (softmax{3} x:f32[A,B,C,E])) v:f32[A*B,E,F])"],
        ..ROW
    },
    Rule {
        name: "matmul-transposed-scale-out",
        lhs: &["(matmul ?x (transpose:p (mul ?w ?c:scalar)))"],
        rhs: Rhs::Build(|s| {
            let w = s.add(s.attr("p"), &[s.var("w")])?;
            let product = s.add(Op::MatMul, &[s.var("x"), w])?;
            let by = s.number(s.dtype(product), s.uniform(s.var("c"))?)?;
            s.binary(BinaryOp::Mul, product, by)
        }),
        class: Reassociates,
        source: "linearity; keys that are scaled before they are transposed",
        examples: &["(matmul x:f32[A,B,C] (transpose{0,2,1} (mul k:f32[A,D,C] 0.25)))"],
        ..ROW
    },
];

fn hide_later(s: &mut Site) -> Option<Id> {
    let dtype = s.dtype(s.root());
    let (zero, hidden) = (s.number(dtype, 0.0)?, s.number(dtype, f64::NEG_INFINITY)?);
    let mask = match (s.get("b"), s.get("n")) {
        (Some(seen), _) => [seen, zero, hidden],
        (None, n) => [n?, hidden, zero],
    };
    let mask = s.add(Op::Select, &mask)?;
    let masked = s.binary(BinaryOp::Add, s.var("x"), mask)?;
    s.add(s.attr("s"), &[masked])
}

/// The op's operands, as `[B,H,·,·]`, and what they are scaled by.
struct Parts {
    operands: Vec<Id>,
    rank: usize,
    scale: Scalar,
}

fn parts(s: &mut Site) -> Option<Parts> {
    let (q, k, v) = (s.var("q"), s.var("k"), s.var("v"));
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
    let scale = match s.get("c") {
        Some(c) => s.uniform(c)?,
        None => 1.0,
    };
    Some(Parts { operands, rank, scale: Scalar::from_f64(DType::F32, scale) })
}

fn attention(s: &mut Site, zero_masked_rows: bool) -> Option<Id> {
    let Parts { mut operands, rank, scale } = parts(s)?;
    if let Some(mask) = s.get("m") {
        operands.push(with_heads(s, mask, rank)?);
    }
    let attrs = AttentionAttrs { scale, causal: false, zero_masked_rows };
    let out = s.add(Op::Attention(attrs), &operands)?;
    let shape = s.shape(s.root());
    s.reshape(out, shape)
}

/// The attention to what is shown, and the mean of the values for rows that are shown
/// nothing: all their scores are the same number.
fn attention_filled(s: &mut Site) -> Option<Id> {
    let Parts { mut operands, rank, scale } = parts(s)?;
    let seen = match (s.get("b"), s.get("n")) {
        (Some(seen), _) => seen,
        (None, n) => s.unary(UnaryOp::Not, n?)?,
    };
    let mask = with_heads(s, seen, rank)?;
    operands.push(mask);
    let attrs = AttentionAttrs { scale, causal: false, zero_masked_rows: false };
    let out = s.add(Op::Attention(attrs), &operands)?;
    let dtype = s.dtype(out);
    let ones = s.add(Op::Cast { to: dtype }, &[mask])?;
    let last = s.rank(mask).checked_sub(1)?;
    let most = Op::Reduce { op: ReduceOp::Max, axes: vec![last], keep_dims: true };
    let most = s.add(most, &[ones])?;
    let some = s.add(Op::Cast { to: DType::Bool }, &[most])?;
    let mean = Op::Reduce { op: ReduceOp::Mean, axes: vec![2], keep_dims: true };
    let mean = s.add(mean, &[operands[2]])?;
    let out = s.add(Op::Select, &[some, out, mean])?;
    let shape = s.shape(s.root());
    s.reshape(out, shape)
}

fn causal(s: &mut Site) -> Option<Id> {
    let Op::Attention(attrs) = s.attr("a") else { return None };
    let attrs = AttentionAttrs { causal: true, ..attrs };
    s.add(Op::Attention(attrs), &[s.var("q"), s.var("k"), s.var("v")])
}

/// The op `a` on these keys and values.
fn with_keys(s: &mut Site, k: Id, v: Id) -> Option<Id> {
    let mut operands = vec![s.var("q"), k, v];
    operands.extend(s.get("m"));
    s.add(s.attr("a"), &operands)
}

fn shared_heads(s: &mut Site) -> Option<Id> {
    let mut both = vec![];
    for (x, wide, joined) in [("k", "b", "r"), ("v", "u", "t")] {
        let x = s.var(x);
        let (Op::Broadcast { shape: wide }, Op::Reshape { shape: joined }) =
            (s.attr(wide), s.attr(joined))
        else {
            return None;
        };
        let shape = s.shape(x);
        let rest = |d: &Shape| d.len() == 5 && d[0] == shape[0] && d[3..] == shape[3..];
        if shape.len() != 5 || !rest(&wide) {
            return None;
        }
        // The copies lie on axis 2, or wrongly on axis 1, and join axes 1 and 2.
        let heads = wide[1].clone() * wide[2].clone();
        if joined.len() != 4
            || joined[1] != heads
            || joined[0] != wide[0]
            || joined[2..] != wide[3..]
        {
            return None;
        }
        let groups = shape[1].clone() * shape[2].clone();
        let one_is_one = shape[1].is(1) || shape[2].is(1);
        let shape = vec![shape[0].clone(), groups, shape[3].clone(), shape[4].clone()];
        both.push(s.reshape(x, one_is_one.then_some(shape)?)?);
    }
    with_keys(s, both[0], both[1])
}

fn gathered_heads(s: &mut Site) -> Option<Id> {
    let Op::Gather { axis: 1 } = s.attr("g") else { return None };
    if s.rank(s.var("i")) != 1 {
        return None;
    }
    with_keys(s, s.var("k"), s.var("v"))
}

/// `[lead…, last two of x]`, where `lead` has the batch `x[0]` as its product.
fn lead_of(s: &Site, x: Id, lead: &[Dim]) -> Option<Shape> {
    let shape = s.shape(x);
    let product = lead.iter().fold(Dim::from(1), |n, d| n * d.clone());
    let fits = shape.len() == 3 && shape[0] == product;
    fits.then(|| [lead, &shape[1..]].concat())
}

fn split_batch(s: &mut Site) -> Option<Id> {
    let Op::Reshape { shape } = s.attr("r") else { return None };
    let (q, k) = (s.var("q"), s.var("k"));
    if shape.len() != 4 {
        return None;
    }
    let (q_shape, k_shape) = (lead_of(s, q, &shape[..2])?, lead_of(s, k, &shape[..2])?);
    if shape[2] != q_shape[2] || shape[3] != k_shape[3] {
        return None;
    }
    let (q, k) = (s.reshape(q, q_shape)?, s.reshape(k, k_shape)?);
    s.add(Op::MatMul, &[q, k])
}

fn softmax_merged(s: &mut Site) -> Option<Id> {
    let (Op::Softmax { axis }, Op::Reshape { shape }) = (s.attr("s"), s.attr("r")) else {
        return None;
    };
    let x = s.var("x");
    let inner = s.shape(x);
    if axis + 1 != shape.len() || inner.last()? != shape.last()? || inner.len() <= shape.len() {
        return None;
    }
    let out = s.add(Op::Softmax { axis: inner.len() - 1 }, &[x])?;
    s.reshape(out, shape)
}

fn matmul_merged(s: &mut Site) -> Option<Id> {
    let (Op::Softmax { .. }, Op::Reshape { shape }) = (s.attr("s"), s.attr("r")) else {
        return None;
    };
    let (p, v) = (s.var("x"), s.var("v"));
    let inner = s.shape(p);
    if inner.len() != 4 || shape.len() != 3 || inner[2..] != shape[1..] {
        return None;
    }
    let wide = lead_of(s, v, &inner[..2])?;
    let v = s.reshape(v, wide)?;
    let p = s.add(s.attr("s"), &[p])?;
    let out = s.add(Op::MatMul, &[p, v])?;
    let shape = s.shape(s.root());
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
