//! Moving transposes, reshapes and broadcasts past other ops, towards where they cancel.
//!
//! Transposes sink (towards results): a conversion of layouts after one contraction
//! meets the inverse before the next. Attributes are computed by the functions below.

use super::{Exactness, ROW, Rhs, Rule};
use crate::egraph::facts::same_but_ones;
use crate::egraph::site::Site;
use cascata_ir::op::{ChannelLayout, Op, PoolAttrs, PoolKind};
use cascata_types::{Dim, Shape};
use egg::Id;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "transpose-transpose",
        lhs: &["(transpose:p (transpose:q ?x))"],
        rhs: Rhs::Build(|s| {
            let (p, q) = (perm(&s.attr("p"))?, perm(&s.attr("q"))?);
            let composed: Vec<usize> = p.iter().map(|&i| q[i]).collect();
            s.transpose(s.var("x"), &composed)
        }),
        source: "composition of permutations",
        examples: &[
            "(transpose{2,0,1} (transpose{1,0,2} x:f32[A,B,C]))",
            "(transpose{1,0} (transpose{1,0} x:f32[A,B]))",
        ],
        ..ROW
    },
    Rule {
        name: "transpose-unary",
        lhs: &["(unary:u (transpose:p ?x))", "(cast:u (transpose:p ?x))"],
        rhs: Rhs::Text("(transpose:p (unary:u ?x))"),
        source: "element-wise ops commute with movement",
        examples: &[
            "(relu (transpose{0,2,1} x:f32[A,B,C]))",
            "(cast{i32} (transpose{1,0} x:f32[A,B]))",
        ],
        ..ROW
    },
    Rule {
        name: "transpose-binary",
        lhs: &["(binary:b (transpose:p ?x) (transpose:p ?y))"],
        rhs: Rhs::Text("(transpose:p (binary:b ?x ?y))"),
        source: "element-wise ops commute with movement",
        examples: &["(sub (transpose{0,2,1} x:f32[A,B,C]) (transpose{0,2,1} y:f32[A,B,C]))"],
        ..ROW
    },
    Rule {
        name: "transpose-binary-constant",
        lhs: &["(binary:b (transpose:p ?x) ?c:const)", "(binary:b ?c:const (transpose:p ?y))"],
        rhs: Rhs::Build(transpose_binary_constant),
        source: "element-wise ops commute with movement; the constant is transposed back",
        examples: &[
            "(add (transpose{0,2,3,1} x:f32[A,B,C,D]) c:=f32[B])",
            "(sub c:=f32[C,1] (transpose{0,2,1} x:f32[A,B,C]))",
            "(mul (transpose{1,0} x:f32[A,B]) 2.5)",
        ],
        ..ROW
    },
    Rule {
        name: "transpose-reduce",
        lhs: &[
            "(reduce_sum:r (transpose:p ?x))",
            "(reduce_mean:r (transpose:p ?x))",
            "(reduce_max:r (transpose:p ?x))",
            "(reduce_min:r (transpose:p ?x))",
        ],
        rhs: Rhs::Build(transpose_reduce),
        source: "a reduction over permuted axes",
        examples: &[
            "(reduce_mean{1,2} (transpose{0,2,3,1} x:f32[A,B,C,D]))",
            "(reduce_sum{1;keep} (transpose{2,0,1} x:f32[A,B,C]))",
            "(reduce_max{0} (transpose{2,1,0} x:f32[A,B,C]))",
        ],
        // Sums go over the elements in another order.
        class: Exactness::Reassociates,
        ..ROW
    },
    Rule {
        name: "transpose-softmax",
        lhs: &["(softmax:s (transpose:p ?x))"],
        rhs: Rhs::Build(|s| {
            let (p, Op::Softmax { axis }) = (perm(&s.attr("p"))?, s.attr("s")) else { return None };
            let inner = s.add(Op::Softmax { axis: p[axis] }, &[s.var("x")])?;
            s.transpose(inner, &p)
        }),
        source: "a reduction over a permuted axis",
        examples: &["(softmax{1} (transpose{0,2,1} x:f32[A,B,C]))"],
        ..ROW
    },
    Rule {
        name: "transpose-pad",
        lhs: &["(pad:a (transpose:p ?x) ?v)", "(pad:a (transpose:p ?x))"],
        rhs: Rhs::Build(transpose_pad),
        source: "padding of permuted axes",
        examples: &[
            "(pad{0,0,1,2,0,3} (transpose{0,2,1} x:f32[A,B,C]) 1.5)",
            "(pad{0,0,1,1,0,0;edge} (transpose{0,2,1} x:f32[A,B,C]))",
        ],
        ..ROW
    },
    Rule {
        name: "transpose-concat",
        lhs: &[
            "(concat:c (transpose:p ?x) (transpose:p ?y))",
            "(concat:c (transpose:p ?x) (transpose:p ?y) (transpose:p ?z))",
            "(concat:c (transpose:p ?x) (transpose:p ?y) (transpose:p ?z) (transpose:p ?w))",
        ],
        rhs: Rhs::Build(transpose_concat),
        source: "joining along a permuted axis",
        examples: &[
            "(concat{1} (transpose{0,2,1} x:f32[A,B,C]) (transpose{0,2,1} y:f32[A,B,D]))",
            "(concat{2} (transpose{2,0,1} x:f32[A,B,C]) (transpose{2,0,1} y:f32[A,D,C]) (transpose{2,0,1} z:f32[A,B,C]))",
            "(concat{0} (transpose{1,0} x:f32[A,B]) (transpose{1,0} y:f32[A,C]) (transpose{1,0} z:f32[A,D]) (transpose{1,0} w:f32[A,B]))",
        ],
        ..ROW
    },
    Rule {
        name: "transpose-slice",
        lhs: &["(slice:a (transpose:p ?x))"],
        rhs: Rhs::Build(transpose_slice),
        source: "a window of permuted axes",
        examples: &["(slice{0,1,2;2,0,3} (transpose{1,2,0} x:f32[4,3,C]))"],
        ..ROW
    },
    Rule {
        name: "transpose-pool",
        lhs: &["(pool:a (transpose:p ?x))"],
        rhs: Rhs::Build(transpose_pool),
        source: "pooling with the channels where they lie",
        examples: &[
            "(pool{max;k2,3;s1,2;p0,1,1,0} (transpose{0,3,1,2} x:f32[A,H,W,B]))",
            "(pool{average;k3,2;s2,1;p1,0,0,1} (transpose{0,3,1,2} x:f32[A,H,W,B]))",
        ],
        ..ROW
    },
    Rule {
        name: "transpose-resize",
        lhs: &["(resize:a (transpose:p ?x))"],
        rhs: Rhs::Build(transpose_resize),
        source: "resampling of permuted axes",
        examples: &["(resize{A,B,7,9} (transpose{0,3,1,2} x:f32[A,H,W,B]))"],
        // Resampled axes may change places, and neighbours are summed axis by axis.
        class: Exactness::Reassociates,
        ..ROW
    },
    Rule {
        name: "reshape-reshape",
        lhs: &["(reshape:o (reshape:i ?x))"],
        rhs: Rhs::Build(|s| {
            let Op::Reshape { shape } = s.attr("o") else { return None };
            s.reshape(s.var("x"), shape)
        }),
        source: "reshapes keep the row-major order",
        examples: &["(reshape{A*B,C} (reshape{A,B*C} x:f32[A,B,C]))"],
        ..ROW
    },
    Rule {
        name: "reshape-unary",
        lhs: &["(unary:u (reshape:s ?x))", "(cast:u (reshape:s ?x))"],
        rhs: Rhs::Text("(reshape:s (unary:u ?x))"),
        source: "element-wise ops commute with movement",
        examples: &["(exp (reshape{A*B} x:f32[A,B]))"],
        ..ROW
    },
    Rule {
        name: "reshape-binary-scalar",
        lhs: &["(binary:b (reshape:s ?x) ?c:scalar)", "(binary:b ?c:scalar (reshape:s ?y))"],
        rhs: Rhs::Build(reshape_binary_scalar),
        source: "element-wise ops commute with movement",
        examples: &["(mul (reshape{A*B} x:f32[A,B]) 2.5)", "(sub 1.5 (reshape{A,1,B} x:f32[A,B]))"],
        ..ROW
    },
    Rule {
        name: "transpose-unit-axes",
        lhs: &["(transpose:p (reshape:s ?x))"],
        rhs: Rhs::Build(transpose_unit_axes),
        source: "inserting and dropping dims of 1 commutes with permuting the others",
        examples: &[
            "(transpose{0,2,1,3} (reshape{A,B,C,1} x:f32[A,B,C]))",
            "(transpose{1,0} (reshape{A,B} x:f32[A,1,B]))",
        ],
        ..ROW
    },
    Rule {
        name: "unit-axes-binary-constant",
        lhs: &["(binary:b (reshape:s ?x) ?c:const)", "(binary:b ?c:const (reshape:s ?y))"],
        rhs: Rhs::Build(unit_axes_binary_constant),
        source: "inserting and dropping dims of 1 commutes with element-wise ops",
        examples: &[
            "(add (reshape{A,B,C} x:f32[A,B,C,1]) c:=f32[B,1])",
            "(sub c:=f32[A,1,B] (reshape{A,1,B} x:f32[A,B]))",
        ],
        ..ROW
    },
    Rule {
        name: "insert-axis-before",
        lhs: &["(reshape:s (binary:b ?x ?y))"],
        rhs: Rhs::Build(insert_axis_binary),
        source: "inserting dims of 1 commutes with element-wise ops on operands of one shape",
        examples: &[
            "(reshape{A,1,B} (sub x:f32[A,B] y:f32[A,B]))",
            "(reshape{A,1,B} (mul x:f32[A,B] 2.5))",
        ],
        ..ROW
    },
    Rule {
        name: "insert-axis-before-unary",
        lhs: &["(reshape:s (unary:u ?x))"],
        rhs: Rhs::Build(insert_axis_unary),
        source: "inserting dims of 1 commutes with element-wise ops",
        examples: &["(reshape{A,1,B} (exp x:f32[A,B]))"],
        ..ROW
    },
    Rule {
        name: "reduce-keeps-axes",
        lhs: &[
            "(reshape:s (reduce_sum:r ?x))",
            "(reshape:s (reduce_mean:r ?x))",
            "(reshape:s (reduce_max:r ?x))",
            "(reshape:s (reduce_min:r ?x))",
        ],
        rhs: Rhs::Build(reduce_keeps_axes),
        source: "definition of keep_dims",
        examples: &["(reshape{A,1,C} (reduce_max{1} x:f32[A,B,C]))"],
        ..ROW
    },
    Rule {
        name: "broadcast-operand",
        lhs: &["(binary:b (broadcast:s ?x) ?y)", "(binary:b ?y (broadcast:s ?x))"],
        rhs: Rhs::Build(broadcast_operand),
        source: "element-wise ops broadcast their operands themselves",
        examples: &[
            "(sub x:f32[A,B] (broadcast{A,B} y:f32[A,1]))",
            "(sub (broadcast{A,B} y:f32[B]) x:f32[A,B])",
        ],
        ..ROW
    },
    Rule {
        name: "matrix-transpose-in-batch",
        lhs: &["(reshape:o (transpose:t (reshape:i ?x)))"],
        rhs: Rhs::Build(matrix_transpose_in_batch),
        source: "PyTorch's dynamo exports k.transpose(-1, -2) through [B·H,S,D]",
        examples: &["(reshape{A,B,D,C} (transpose{0,2,1} (reshape{A*B,C,D} x:f32[A,B,C,D])))"],
        ..ROW
    },
];

/// The permutation of a transpose.
pub(super) fn perm(op: &Op) -> Option<Vec<usize>> {
    match op {
        Op::Transpose { perm } => Some(perm.clone()),
        _ => None,
    }
}

/// The permutation that undoes `perm`.
pub(super) fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut out = vec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        out[p] = i;
    }
    out
}

/// `x` with leading dims of 1 up to `rank`.
pub(super) fn raise(s: &mut Site, x: Id, rank: usize) -> Option<Id> {
    let shape = s.shape(x);
    let missing = rank.checked_sub(shape.len())?;
    let raised: Shape = std::iter::repeat_n(Dim::from(1), missing).chain(shape).collect();
    s.reshape(x, raised)
}

fn transpose_binary_constant(s: &mut Site) -> Option<Id> {
    let p = perm(&s.attr("p"))?;
    let c = s.var("c");
    let c = match s.rank(c) {
        0 => c,
        _ => {
            let raised = raise(s, c, p.len())?;
            s.transpose(raised, &inverse(&p))?
        }
    };
    let operands = match (s.get("x"), s.get("y")) {
        (Some(x), _) => [x, c],
        (None, y) => [c, y?],
    };
    let inner = s.add(s.attr("b"), &operands)?;
    s.transpose(inner, &p)
}

fn transpose_reduce(s: &mut Site) -> Option<Id> {
    let p = perm(&s.attr("p"))?;
    let Op::Reduce { op, axes, keep_dims } = s.attr("r") else { return None };
    let mut moved: Vec<usize> = axes.iter().map(|&a| p[a]).collect();
    moved.sort_unstable();
    let reduce = Op::Reduce { op, axes: moved.clone(), keep_dims };
    let inner = s.add(reduce, &[s.var("x")])?;
    if keep_dims {
        return s.transpose(inner, &p);
    }
    // Remaining axes, as positions in the reduced tensor.
    let rest = |a: usize| a - moved.iter().filter(|&&m| m < a).count();
    let left: Vec<usize> = p.iter().filter(|a| !moved.contains(a)).map(|&a| rest(a)).collect();
    s.transpose(inner, &left)
}

fn transpose_pad(s: &mut Site) -> Option<Id> {
    let p = perm(&s.attr("p"))?;
    let Op::Pad { pads, mode } = s.attr("a") else { return None };
    let pads = inverse(&p).iter().map(|&i| pads[i].clone()).collect();
    let mut operands = vec![s.var("x")];
    operands.extend(s.get("v"));
    let inner = s.add(Op::Pad { pads, mode }, &operands)?;
    s.transpose(inner, &p)
}

fn transpose_concat(s: &mut Site) -> Option<Id> {
    let (p, Op::Concat { axis }) = (perm(&s.attr("p"))?, s.attr("c")) else { return None };
    let operands: Vec<Id> = ["x", "y", "z", "w"].iter().filter_map(|v| s.get(v)).collect();
    let inner = s.add(Op::Concat { axis: p[axis] }, &operands)?;
    s.transpose(inner, &p)
}

fn transpose_slice(s: &mut Site) -> Option<Id> {
    let (p, Op::Slice { mut ranges }) = (perm(&s.attr("p"))?, s.attr("a")) else { return None };
    ranges.iter_mut().for_each(|r| r.axis = p[r.axis]);
    ranges.sort_by_key(|r| r.axis);
    let inner = s.add(Op::Slice { ranges }, &[s.var("x")])?;
    s.transpose(inner, &p)
}

fn transpose_pool(s: &mut Site) -> Option<Id> {
    let (p, Op::Pool(attrs)) = (perm(&s.attr("p"))?, s.attr("a")) else { return None };
    let channels = p.len().checked_sub(1)?;
    // [N, spatial…, C] as [N, C, spatial…].
    let channels_first = p.iter().copied().eq([0, channels].into_iter().chain(1..channels));
    let plain = !matches!(attrs.kind, PoolKind::Max { indices: true, .. });
    if !channels_first || !plain || attrs.layout != ChannelLayout::First {
        return None;
    }
    let pool = Op::Pool(PoolAttrs { layout: ChannelLayout::Last, ..attrs });
    let inner = s.add(pool, &[s.var("x")])?;
    s.transpose(inner, &p)
}

fn transpose_resize(s: &mut Site) -> Option<Id> {
    let (p, Op::Resize(mut attrs)) = (perm(&s.attr("p"))?, s.attr("a")) else { return None };
    let back = inverse(&p);
    attrs.shape = back.iter().map(|&i| attrs.shape[i].clone()).collect();
    attrs.scales = attrs.scales.map(|all| back.iter().map(|&i| all[i]).collect());
    let rank = p.len();
    if attrs.roi.len() == 2 * rank {
        let ends = back.iter().map(|&i| i + rank);
        attrs.roi = back.iter().copied().chain(ends).map(|i| attrs.roi[i]).collect();
    }
    let inner = s.add(Op::Resize(attrs), &[s.var("x")])?;
    s.transpose(inner, &p)
}

fn reshape_binary_scalar(s: &mut Site) -> Option<Id> {
    let c = s.var("c");
    // A scalar with dims could raise the rank.
    let number = s.number(s.dtype(c), s.uniform(c)?)?;
    let operands = match (s.get("x"), s.get("y")) {
        (Some(x), _) => [x, number],
        (None, y) => [number, y?],
    };
    let inner = s.add(s.attr("b"), &operands)?;
    s.add(s.attr("s"), &[inner])
}

fn transpose_unit_axes(s: &mut Site) -> Option<Id> {
    let (p, x, root) = (perm(&s.attr("p"))?, s.var("x"), s.root());
    let Op::Reshape { shape: outer } = s.attr("s") else { return None };
    let inner = s.shape(x);
    if !same_but_ones(&inner, &outer) {
        return None;
    }
    // The real axes of both shapes correspond in order; axes of 1 may go anywhere.
    let real = |shape: &[Dim]| (0..shape.len()).filter(|&i| !shape[i].is(1)).collect::<Vec<_>>();
    let (from, to) = (real(&inner), real(&outer));
    let mine = |axis: &usize| to.iter().position(|t| t == axis).map(|i| from[i]);
    let order: Vec<usize> = p.iter().filter_map(mine).collect();
    // Where the real axes stay in order all of it is a reshape.
    let units = (0..inner.len()).filter(|i| !from.contains(i));
    let perm: Vec<usize> = if order.is_sorted() {
        (0..inner.len()).collect()
    } else {
        order.iter().copied().chain(units).collect()
    };
    let moved = s.transpose(x, &perm)?;
    let shape = s.shape(root);
    s.reshape(moved, shape)
}

fn unit_axes_binary_constant(s: &mut Site) -> Option<Id> {
    let (c, x) = (s.var("c"), s.get("x").or(s.get("y"))?);
    let Op::Reshape { shape: outer } = s.attr("s") else { return None };
    let inner = s.shape(x);
    if s.rank(c) == 0 || !same_but_ones(&inner, &outer) {
        return None;
    }
    let raised = raise(s, c, outer.len())?;
    let dims = s.shape(raised);
    // A constant dim along a unit axis would widen the result.
    let widens = outer.iter().zip(&dims).any(|(o, d)| o.is(1) && !d.is(1));
    let mut real = outer.iter().zip(dims).filter(|(o, _)| !o.is(1)).map(|(_, d)| d);
    let mine: Option<Shape> =
        inner.iter().map(|d| if d.is(1) { Some(1.into()) } else { real.next() }).collect();
    let c = s.reshape(raised, mine.filter(|_| !widens)?)?;
    let operands = if s.get("x").is_some() { [x, c] } else { [c, x] };
    let moved = s.add(s.attr("b"), &operands)?;
    s.reshape(moved, outer)
}

fn insert_axis_binary(s: &mut Site) -> Option<Id> {
    let (x, y, root) = (s.var("x"), s.var("y"), s.root());
    let shape = s.shape(root);
    let both = [x, y].map(|v| s.shape(v));
    let full = if both[0].is_empty() { &both[1] } else { &both[0] };
    if full.len() >= shape.len() || !same_but_ones(full, &shape) {
        return None;
    }
    let mut operands = vec![];
    for (v, mine) in [x, y].into_iter().zip(&both) {
        match mine {
            m if m.is_empty() => operands.push(v),
            m if m == full => operands.push(s.reshape(v, shape.clone())?),
            _ => return None,
        }
    }
    s.add(s.attr("b"), &operands)
}

fn insert_axis_unary(s: &mut Site) -> Option<Id> {
    let (x, shape) = (s.var("x"), s.shape(s.root()));
    if s.rank(x) >= shape.len() || !same_but_ones(&s.shape(x), &shape) {
        return None;
    }
    let x = s.reshape(x, shape)?;
    s.add(s.attr("u"), &[x])
}

fn reduce_keeps_axes(s: &mut Site) -> Option<Id> {
    let Op::Reduce { op, axes, keep_dims: false } = s.attr("r") else { return None };
    let x = s.var("x");
    let dim = |(i, d): (usize, Dim)| if axes.contains(&i) { 1.into() } else { d };
    let kept: Shape = s.shape(x).into_iter().enumerate().map(dim).collect();
    if s.shape(s.root()) != kept {
        return None;
    }
    s.add(Op::Reduce { op, axes: axes.clone(), keep_dims: true }, &[x])
}

fn broadcast_operand(s: &mut Site) -> Option<Id> {
    // The second spelling binds y first, so the order of the names tells which one it is.
    let operands = s.in_order(&["x", "y"]);
    s.add(s.attr("b"), &operands)
}

fn matrix_transpose_in_batch(s: &mut Site) -> Option<Id> {
    let x = s.var("x");
    let (Op::Reshape { shape: merged }, Op::Reshape { shape: split }) = (s.attr("i"), s.attr("o"))
    else {
        return None;
    };
    let rank = s.rank(x);
    let shape = s.shape(x);
    let swapped = perm(&s.attr("t"))? == [0, 2, 1];
    let lead = rank.checked_sub(2)?;
    let fits = swapped
        && merged[1..] == shape[lead..]
        && split.len() == rank
        && split[..lead] == shape[..lead]
        && split[lead] == shape[rank - 1]
        && split[rank - 1] == shape[lead];
    if !fits {
        return None;
    }
    let mut p: Vec<usize> = (0..rank).collect();
    p.swap(lead, rank - 1);
    s.transpose(x, &p)
}
