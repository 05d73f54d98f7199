//! Scales and shifts around contractions fold into their weights.
//!
//! Convolution and batch normalisation, affine maps before and after. A scale commutes
//! with zero padding; a shift does not, so shifts before a convolution fold only where
//! nothing is padded.

use super::{Exactness::*, Guard, ROW, Rhs, Rule};
use crate::egraph::site::Site;
use cascata_ir::op::{BinaryOp, ChannelLayout, ConvAttrs, Op, ReduceOp};
use cascata_types::{Dim, Shape};
use egg::Id;

const NOT_PADDED: Guard = Guard {
    name: "not-padded",
    holds: |s| match s.attr("a") {
        Op::Conv(a) => a.pads.iter().all(|p| *p == (0, 0)),
        _ => false,
    },
};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "conv-scale-after",
        lhs: &[
            "(mul (conv:a ?x ?w:const) ?s:const)",
            "(mul (conv:a ?x ?w:const ?b:const) ?s:const)",
        ],
        rhs: Rhs::Build(conv_scale_after),
        class: Reassociates,
        source: "linearity; folds batch normalisation",
        examples: &[
            "(mul (conv{s1,1;p1,1,1,1} x:f32[2,3,H,W] w:=f32[5,3,3,3]) s:=f32[5,1,1])",
            "(mul (conv{s1,2;p0,0,0,0;g3} x:f32[2,3,H,W] w:=f32[3,1,1,2] b:=f32[3]) s:=f32[1,3,1,1])",
            "(mul (conv{s1,1;p1,1,1,1} x:f32[2,3,H,W] w:=f32[5,3,3,3] b:=f32[5]) 0.5)",
        ],
        ..ROW
    },
    Rule {
        name: "conv-shift-after",
        lhs: &["(add (conv:a ?x ?w) ?s:const)", "(add (conv:a ?x ?w ?b:const) ?s:const)"],
        rhs: Rhs::Build(conv_shift_after),
        class: Reassociates,
        source: "definition of the bias",
        examples: &[
            "(add (conv{s1,1;p1,1,1,1} x:f32[2,3,H,W] w:=f32[5,3,3,3]) s:=f32[5,1,1])",
            "(add (conv{s2,1;p0,0,1,0;g3} x:f32[2,3,H,W] w:=f32[6,1,1,2] b:=f32[6]) s:=f32[1,6,1,1])",
            "(add (conv{s1;p1,0} x:f32[2,3,W] w:=f32[5,3,2]) 0.5)",
        ],
        ..ROW
    },
    Rule {
        name: "conv-scale-before",
        lhs: &["(conv:a (mul ?x ?s:const) ?w:const)", "(conv:a (mul ?x ?s:const) ?w:const ?b)"],
        rhs: Rhs::Build(conv_scale_before),
        class: Reassociates,
        source: "linearity; zero padding is scaled to zero",
        examples: &[
            "(conv{s1,1;p1,1,1,1} (mul x:f32[2,3,H,W] s:=f32[3,1,1]) w:=f32[5,3,3,3])",
            "(conv{s1,1;p1,0,0,1;g3} (mul x:f32[2,3,H,W] s:=f32[3,1,1]) w:=f32[3,1,2,2] b:=f32[3])",
            "(conv{s1,1;p1,1,1,1;g2} (mul x:f32[2,4,H,W] 0.5) w:=f32[6,2,3,3])",
        ],
        ..ROW
    },
    Rule {
        name: "conv-shift-before",
        lhs: &[
            "(conv:a (add ?x ?s:const) ?w:const)",
            "(conv:a (add ?x ?s:const) ?w:const ?b:const)",
        ],
        rhs: Rhs::Build(conv_shift_before),
        sound_when: &[NOT_PADDED],
        class: Reassociates,
        source: "linearity; padding would see the shift in the middle but not at the border",
        examples: &[
            "(conv{s1,1;p0,0,0,0} (add x:f32[2,3,H,W] s:=f32[3,1,1]) w:=f32[5,3,1,1] b:=f32[5])",
            "(conv{s1,2;p0,0,0,0;g3} (add x:f32[2,3,H,W] 0.5) w:=f32[3,1,1,2])",
        ],
        refutes: &[(
            "not-padded",
            "(conv{s1,1;p1,1,1,1} (add x:f32[2,3,5,4] 0.5) w:=f32[5,3,3,3])",
        )],
        ..ROW
    },
    Rule {
        name: "conv-transpose-scale-after",
        lhs: &[
            "(mul (conv_transpose:a ?x ?w:const) ?s:const)",
            "(mul (conv_transpose:a ?x ?w:const ?b:const) ?s:const)",
        ],
        rhs: Rhs::Build(conv_scale_after),
        class: Reassociates,
        source: "linearity; folds batch normalisation",
        examples: &[
            "(mul (conv_transpose{s2,2;p0,0,0,0} x:f32[2,3,H,W] w:=f32[3,5,2,2]) s:=f32[5,1,1])",
            "(mul (conv_transpose{s2,1;p1,0,0,0} x:f32[1,3,H,W] w:=f32[3,5,3,2] b:=f32[5]) 0.5)",
        ],
        ..ROW
    },
    Rule {
        name: "conv-transpose-shift-after",
        lhs: &[
            "(add (conv_transpose:a ?x ?w) ?s:const)",
            "(add (conv_transpose:a ?x ?w ?b:const) ?s:const)",
        ],
        rhs: Rhs::Build(conv_shift_after),
        class: Reassociates,
        source: "definition of the bias",
        examples: &[
            "(add (conv_transpose{s2,2;p0,0,0,0} x:f32[2,3,H,W] w:=f32[3,5,2,2]) s:=f32[5,1,1])",
        ],
        ..ROW
    },
    Rule {
        name: "matmul-scale-after",
        lhs: &["(mul (matmul ?x ?w:const) ?s:const)"],
        rhs: Rhs::Build(matmul_scale_after),
        class: Reassociates,
        source: "linearity",
        examples: &[
            "(mul (matmul x:f32[A,B,C] w:=f32[C,D]) s:=f32[D])",
            "(mul (matmul x:f32[A,C] w:=f32[C,D]) 0.25)",
        ],
        ..ROW
    },
    Rule {
        name: "matmul-scale-before",
        lhs: &["(matmul (mul ?x ?s:const) ?w:const)"],
        rhs: Rhs::Build(matmul_scale_before),
        class: Reassociates,
        source: "linearity",
        examples: &[
            "(matmul (mul x:f32[A,B,C] s:=f32[C]) w:=f32[C,D])",
            "(matmul (mul x:f32[B,C] 0.25) w:=f32[C,D])",
        ],
        ..ROW
    },
    Rule {
        name: "matmul-scale-out",
        lhs: &["(matmul ?x (mul ?w ?s:const))"],
        rhs: Rhs::Build(matmul_scale_out),
        class: Reassociates,
        source: "linearity: weight-only quantisation scales the product, not the weights",
        examples: &[
            "(matmul x:f32[A,B,C] (mul (cast{f32} q:=i8[C,D]) s:=f32[1,D]))",
            "(matmul x:f32[A,B,C] (mul k:f32[A,C,D] 0.25))",
        ],
        ..ROW
    },
    Rule {
        name: "matmul-associate-right",
        lhs: &["(matmul (matmul ?x ?y) ?z)"],
        rhs: Rhs::Text("(matmul ?x (matmul ?y ?z))"),
        class: Reassociates,
        source: "associativity; which order is cheaper depends on the sizes",
        examples: &[
            "(matmul (matmul x:f32[A,B] y:f32[B,C]) z:f32[C,D])",
            "(matmul (matmul x:f32[F,A,B] y:f32[B,C]) z:f32[F,C,D])",
        ],
        ..ROW
    },
    Rule {
        name: "matmul-associate-left",
        lhs: &["(matmul ?x (matmul ?y ?z))"],
        rhs: Rhs::Text("(matmul (matmul ?x ?y) ?z)"),
        class: Reassociates,
        source: "associativity; which order is cheaper depends on the sizes",
        examples: &["(matmul x:f32[A,B] (matmul y:f32[B,C] z:f32[C,D]))"],
        ..ROW
    },
    Rule {
        name: "matmul-scalar-out",
        lhs: &["(matmul (mul ?x ?s:scalar) ?w)"],
        rhs: Rhs::Build(|s| {
            let by = s.number(s.dtype(s.root()), s.uniform(s.var("s"))?)?;
            let product = s.add(Op::MatMul, &[s.var("x"), s.var("w")])?;
            s.binary(BinaryOp::Mul, product, by)
        }),
        class: Reassociates,
        source: "linearity; brings attention's scale to the scores",
        examples: &["(matmul (mul x:f32[A,B,C] 0.25) w:f32[A,C,D])"],
        ..ROW
    },
];

/// Where a contraction's operand, weights and result have their channels.
struct Channels {
    /// Rank of operand and result.
    rank: usize,
    /// Channel axis of operand and result.
    axis: usize,
    /// Output channel axis of the weights.
    weight_out: usize,
    /// Output channels.
    outputs: Dim,
}

fn channels(s: &Site) -> Option<Channels> {
    let weights = s.shape(s.var("w"));
    let rank = weights.len();
    let (layout, weight_out) = match s.attr("a") {
        Op::Conv(ConvAttrs { layout: ChannelLayout::First, .. }) => (ChannelLayout::First, 0),
        Op::Conv(ConvAttrs { layout: ChannelLayout::Last, .. }) => (ChannelLayout::Last, rank - 1),
        Op::ConvTranspose(a) if a.groups == 1 => match a.layout {
            ChannelLayout::First => (ChannelLayout::First, 1),
            ChannelLayout::Last => (ChannelLayout::Last, rank - 1),
        },
        _ => return None,
    };
    let axis = if layout == ChannelLayout::First { 1 } else { rank - 1 };
    Some(Channels { rank, axis, weight_out, outputs: weights[weight_out].clone() })
}

/// A constant that broadcasts along one axis only: as a vector of that axis, or itself
/// as a number.
fn along(s: &mut Site, c: Id, rank: usize, axis: usize) -> Option<Id> {
    if let Some(x) = s.uniform(c) {
        return s.number(s.dtype(c), x);
    }
    let shape = s.shape(c);
    let lead = rank.checked_sub(shape.len())?;
    let at = axis.checked_sub(lead)?;
    let others = shape.iter().enumerate().all(|(i, d)| i == at || d.is(1));
    others.then_some(())?;
    s.reshape(c, vec![shape[at].clone()])
}

/// A vector (or number) shaped to lie along `axis` of a tensor of `rank`.
fn placed(s: &mut Site, vector: Id, rank: usize, axis: usize) -> Option<Id> {
    if s.rank(vector) == 0 {
        return Some(vector);
    }
    let mut shape: Shape = vec![1.into(); rank];
    shape[axis] = s.shape(vector)[0].clone();
    s.reshape(vector, shape)
}

fn conv_scale_after(s: &mut Site) -> Option<Id> {
    let c = channels(s)?;
    let scale = along(s, s.var("s"), c.rank, c.axis)?;
    let over_weights = placed(s, scale, c.rank, c.weight_out)?;
    let weights = s.binary(BinaryOp::Mul, s.var("w"), over_weights)?;
    let mut operands = vec![s.var("x"), weights];
    if let Some(bias) = s.get("b") {
        operands.push(s.binary(BinaryOp::Mul, bias, scale)?);
    }
    s.add(s.attr("a"), &operands)
}

fn conv_shift_after(s: &mut Site) -> Option<Id> {
    let c = channels(s)?;
    let shift = along(s, s.var("s"), c.rank, c.axis)?;
    let bias = match s.get("b") {
        Some(bias) => s.binary(BinaryOp::Add, bias, shift)?,
        None => s.broadcast(shift, vec![c.outputs.clone()])?,
    };
    s.add(s.attr("a"), &[s.var("x"), s.var("w"), bias])
}

/// A vector over the operand's channels, shaped to multiply the weights. Within groups
/// only numbers and the depthwise case (one channel each) are placed.
fn over_input_channels(s: &mut Site, c: &Channels, vector: Id) -> Option<Id> {
    let Op::Conv(attrs) = s.attr("a") else { return None };
    let weights = s.shape(s.var("w"));
    let weight_in = match attrs.layout {
        ChannelLayout::First => 1,
        ChannelLayout::Last => c.rank - 2,
    };
    let depthwise = weights[weight_in].is(1) && c.outputs.is(attrs.groups);
    match attrs.groups {
        _ if s.rank(vector) == 0 => Some(vector),
        1 => placed(s, vector, c.rank, weight_in),
        _ if depthwise => placed(s, vector, c.rank, c.weight_out),
        _ => None,
    }
}

fn conv_scale_before(s: &mut Site) -> Option<Id> {
    let c = channels(s)?;
    let scale = along(s, s.var("s"), c.rank, c.axis)?;
    let scale = over_input_channels(s, &c, scale)?;
    let weights = s.binary(BinaryOp::Mul, s.var("w"), scale)?;
    let mut operands = vec![s.var("x"), weights];
    operands.extend(s.get("b"));
    s.add(s.attr("a"), &operands)
}

fn conv_shift_before(s: &mut Site) -> Option<Id> {
    let c = channels(s)?;
    let shift = along(s, s.var("s"), c.rank, c.axis)?;
    let shift = over_input_channels(s, &c, shift)?;
    let product = s.binary(BinaryOp::Mul, s.var("w"), shift)?;
    let axes = (0..c.rank).filter(|&a| a != c.weight_out).collect();
    let sum = Op::Reduce { op: ReduceOp::Sum, axes, keep_dims: false };
    let mut bias = s.add(sum, &[product])?;
    if let Some(own) = s.get("b") {
        bias = s.binary(BinaryOp::Add, own, bias)?;
    }
    s.add(s.attr("a"), &[s.var("x"), s.var("w"), bias])
}

fn matmul_scale_after(s: &mut Site) -> Option<Id> {
    let (root, w) = (s.root(), s.var("w"));
    let rank = s.rank(root);
    let scale = along(s, s.var("s"), rank, rank - 1)?;
    let weights = s.binary(BinaryOp::Mul, w, scale)?;
    s.add(Op::MatMul, &[s.var("x"), weights])
}

fn matmul_scale_before(s: &mut Site) -> Option<Id> {
    let (x, w) = (s.var("x"), s.var("w"));
    let rank = s.rank(x);
    let scale = along(s, s.var("s"), rank, rank.checked_sub(1)?)?;
    let down = placed(s, scale, 2, 0)?;
    let weights = s.binary(BinaryOp::Mul, w, down)?;
    s.add(Op::MatMul, &[x, weights])
}

fn matmul_scale_out(s: &mut Site) -> Option<Id> {
    let w = s.var("w");
    let rank = s.rank(w);
    let scale = along(s, s.var("s"), rank, rank.checked_sub(1)?)?;
    let product = s.add(Op::MatMul, &[s.var("x"), w])?;
    s.binary(BinaryOp::Mul, product, scale)
}
