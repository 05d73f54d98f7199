//! Normalisations and softmax spelled out.
//!
//! First the parts get one spelling (mean, two-pass variance, reciprocal root), then one
//! pattern recognises the whole.

use super::movement::inverse;
use super::{Exactness::*, Guard, ROW, Rhs, Rule};
use crate::egraph::site::Site;
use cascata_ir::op::{BinaryOp, Op, ReduceOp};
use cascata_types::{DType, Scalar, Shape};
use egg::Id;

const ONE_OVER_COUNT: Guard = Guard {
    name: "one-over-count",
    holds: |s| {
        let c = s.uniform(s.var("c")).unwrap_or(f64::NAN);
        count(s).is_some_and(|n| (c * n - 1.0).abs() < 1e-6)
    },
};

const COUNT: Guard =
    Guard { name: "count", holds: |s| count(s).is_some_and(|n| s.uniform(s.var("c")) == Some(n)) };

const SAME_AXES: Guard =
    Guard { name: "same-axes", holds: |s| reduced(&s.attr("m")) == reduced(&s.attr("s")) };

const AXES_KEPT: Guard = Guard {
    name: "axes-kept",
    holds: |s| matches!(s.attr("r"), Op::Reduce { keep_dims: true, .. }),
};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "mean-of-sum",
        lhs: &["(mul (reduce_sum:r ?x) ?c:scalar)"],
        rhs: Rhs::Build(mean),
        sound_when: &[ONE_OVER_COUNT],
        class: Reassociates,
        source: "tf2onnx spells ReduceMean so",
        examples: &[
            "(mul (reduce_sum{1} x:f32[A,4]) 0.25)",
            "(mul (reduce_sum{1;keep} x:f32[A,5,B]) 0.2)",
        ],
        refutes: &[("one-over-count", "(mul (reduce_sum{1} x:f32[A,4]) 0.3)")],
        ..ROW
    },
    Rule {
        name: "mean-of-sum-divided",
        lhs: &["(div (reduce_sum:r ?x) ?c:scalar)"],
        rhs: Rhs::Build(mean),
        sound_when: &[COUNT],
        source: "definition",
        examples: &["(div (reduce_sum{1} x:f32[A,5]) 5)"],
        refutes: &[("count", "(div (reduce_sum{1} x:f32[A,5]) 4)")],
        ..ROW
    },
    Rule {
        name: "variance-two-pass",
        lhs: &["(sub (reduce_mean:r (mul ?x ?x)) (mul ?m=(reduce_mean:r ?x) ?m))"],
        rhs: Rhs::Build(two_pass_variance),
        // Together with the next rule the bare difference would otherwise lose its guard.
        subsumes: true,
        class: Reassociates,
        source: "E[x²]−E[x]² = E[(x−E[x])²]; the right side does not cancel",
        examples: &[
            "(sub (reduce_mean{1} (mul x:f32[A,B] x:f32[A,B])) (mul (reduce_mean{1} x:f32[A,B]) (reduce_mean{1} x:f32[A,B])))",
            "m=(reduce_mean{1;keep} x:f32[A,B,C]); (sub (reduce_mean{1;keep} (mul x:f32[A,B,C] x:f32[A,B,C])) (mul m m))",
        ],
        ..ROW
    },
    Rule {
        name: "mean-square-not-negative",
        lhs: &["(max (reduce_mean:r (mul ?d ?d)) #0)"],
        rhs: Rhs::Text("(reduce_mean:r (mul ?d ?d))"),
        source: "a mean of squares is not negative",
        examples: &["(max 0 (reduce_mean{1} (mul x:f32[A,B] x:f32[A,B])))"],
        ..ROW
    },
    Rule {
        name: "root-as-power",
        lhs: &["(pow ?x #0.5)"],
        rhs: Rhs::Text("(sqrt ?x)"),
        class: Reassociates,
        source: "definition; TensorFlow and hand-written norms",
        examples: &["(pow (abs x:f32[A,B]) 0.5)"],
        ..ROW
    },
    Rule {
        name: "reciprocal-root-as-power",
        lhs: &["(pow ?x #-0.5)"],
        rhs: Rhs::Text("(rsqrt ?x)"),
        class: Reassociates,
        source: "definition; TensorFlow and hand-written norms",
        examples: &["(pow (add 0.5 (abs x:f32[A,B])) -0.5)"],
        ..ROW
    },
    Rule {
        name: "scale-after-rsqrt",
        lhs: &["(mul ?d (mul (rsqrt ?v) ?g:const))"],
        rhs: Rhs::Text("(mul (mul ?d (rsqrt ?v)) ?g)"),
        class: Reassociates,
        source: "associativity, towards the layer-norm pattern",
        examples: &["(mul x:f32[A,B] (mul (rsqrt (abs y:f32[A,1])) g:=f32[B]))"],
        ..ROW
    },
    Rule {
        name: "layer-norm",
        lhs: &[
            "(mul ?d=(sub ?x (reduce_mean:r ?x)) (rsqrt (add (reduce_mean:r (mul ?d ?d)) ?e:scalar)))",
        ],
        rhs: Rhs::Build(layer_norm),
        sound_when: &[AXES_KEPT],
        class: Reassociates,
        source: "Ba et al., arXiv 1607.06450",
        examples: &[
            "d=(sub x:f32[A,B] (reduce_mean{1;keep} x:f32[A,B])); (div d (sqrt (add (reduce_mean{1;keep} (pow d 2)) 1e-5)))",
            "d=(sub x:f32[A,B,C] (reduce_mean{1;keep} x:f32[A,B,C])); (mul d (rsqrt (add (reduce_mean{1;keep} (mul d d)) 1e-6)))",
            "d=(sub x:f32[A,B,C] (reduce_mean{1,2;keep} x:f32[A,B,C])); (div d (sqrt (add (reduce_mean{1,2;keep} (mul d d)) 1e-5)))",
            // 1/√(…) as recip of sqrt and as a power; sums divided by the count
            "d=(sub x:f32[A,B] (reduce_mean{1;keep} x:f32[A,B])); (mul (recip (sqrt (add 1e-5 (reduce_mean{1;keep} (pow d 2))))) d)",
            "d=(sub x:f32[A,B] (reduce_mean{1;keep} x:f32[A,B])); (mul d (pow (add (reduce_mean{1;keep} (mul d d)) 1e-3) -0.5))",
            "d=(sub x:f32[A,5] (mul (reduce_sum{1;keep} x:f32[A,5]) 0.2)); (div d (pow (add (div (reduce_sum{1;keep} (mul d d)) 5) 1e-3) 0.5))",
            // axes that are dropped and put back; the mean that is added negated
            "d=(sub x:f32[A,B] (reshape{A,1} (reduce_mean{1} x:f32[A,B]))); (div d (sqrt (add (reshape{A,1} (reduce_mean{1} (mul d d))) 1e-3)))",
            "d=(add x:f32[A,B] (neg (reduce_mean{1;keep} x:f32[A,B]))); (div d (sqrt (add (reduce_mean{1;keep} (mul d d)) 1e-3)))",
            // InstanceNorm over the spatial axes, GroupNorm over a reshape
            "d=(sub x:f32[A,B,H,W] (reduce_mean{2,3;keep} x:f32[A,B,H,W])); (mul d (rsqrt (add (reduce_mean{2,3;keep} (mul d d)) 1e-3)))",
            "g=(reshape{A,2,B*H} x:f32[A,2*B,H]); d=(sub g (reduce_mean{2;keep} g)); (mul d (rsqrt (add (reduce_mean{2;keep} (mul d d)) 1e-3)))",
        ],
        refutes: &[(
            "axes-kept",
            "d=(sub x:f32[3,3] (reduce_mean{1} x:f32[3,3])); (div d (sqrt (add (reduce_mean{1} (mul d d)) 0.25)))",
        )],
        ..ROW
    },
    Rule {
        name: "layer-norm-scale",
        lhs: &["(mul (layer_norm:a ?x ?g) ?s:const)", "(mul (layer_norm:a ?x ?g ?b) ?s:const)"],
        rhs: Rhs::Build(scale_norm),
        class: Reassociates,
        source: "associativity",
        examples: &[
            "(mul (layer_norm{1;1e-5} x:f32[A,B] g:=f32[B]) s:=f32[B])",
            "(mul (layer_norm{1;1e-5} x:f32[A,B] g:=f32[B] b:=f32[B]) 2.5)",
        ],
        ..ROW
    },
    Rule {
        name: "layer-norm-shift",
        lhs: &["(add (layer_norm:a ?x ?g) ?s:const)", "(add (layer_norm:a ?x ?g ?b) ?s:const)"],
        rhs: Rhs::Build(shift_norm),
        class: Reassociates,
        source: "associativity",
        examples: &[
            "(add (layer_norm{1;1e-5} x:f32[A,B] g:=f32[B]) s:=f32[B])",
            "(add (layer_norm{1;1e-5} x:f32[A,B] g:=f32[B] b:=f32[B]) s:=f32[B])",
        ],
        ..ROW
    },
    Rule {
        name: "rms-norm",
        lhs: &["(mul ?x (rsqrt (add (reduce_mean:r (mul ?x ?x)) ?e:scalar)))"],
        rhs: Rhs::Build(rms_norm),
        sound_when: &[AXES_KEPT],
        class: Reassociates,
        source: "Zhang and Sennrich, arXiv 1910.07467",
        examples: &[
            "(mul x:f32[A,B] (rsqrt (add (reduce_mean{1;keep} (mul x:f32[A,B] x:f32[A,B])) 1e-5)))",
            "(div x:f32[A,B] (sqrt (add (reduce_mean{1;keep} (pow x:f32[A,B] 2)) 1e-5)))",
            "(mul (recip (sqrt (add (reduce_mean{1;keep} (mul x:f32[A,B] x:f32[A,B])) 1e-3))) x:f32[A,B])",
            "(mul x:f32[A,B] (div 1 (sqrt (add 1e-3 (reduce_mean{1;keep} (mul x:f32[A,B] x:f32[A,B]))))))",
            "(mul x:f32[A,B] (pow (add (reduce_mean{1;keep} (pow x:f32[A,B] 2)) 1e-3) -0.5))",
        ],
        refutes: &[(
            "axes-kept",
            "(mul x:f32[3,3] (rsqrt (add (reduce_mean{1} (mul x:f32[3,3] x:f32[3,3])) 1e-5)))",
        )],
        ..ROW
    },
    Rule {
        name: "l2-norm",
        lhs: &["(mul ?x (rsqrt (add (reduce_sum:r (mul ?x ?x)) ?e:scalar)))"],
        rhs: Rhs::Build(l2_norm),
        sound_when: &[AXES_KEPT],
        class: Reassociates,
        source: "x/√(Σx² + e) = (x/√(mean(x²) + e/n))/√n; the scale folds",
        examples: &[
            "(mul x:f32[A,7] (rsqrt (add (reduce_sum{1;keep} (mul x:f32[A,7] x:f32[A,7])) 1e-3)))",
            "(div x:f32[A,5,B] (sqrt (add (reduce_sum{1;keep} (pow x:f32[A,5,B] 2)) 1e-3)))",
        ],
        refutes: &[(
            "axes-kept",
            "(mul x:f32[3,3] (rsqrt (add (reduce_sum{1} (mul x:f32[3,3] x:f32[3,3])) 1e-3)))",
        )],
        ..ROW
    },
    Rule {
        name: "rms-norm-scale",
        lhs: &["(mul (rms_norm:a ?x ?g) ?s:const)"],
        rhs: Rhs::Build(scale_norm),
        class: Reassociates,
        source: "associativity",
        examples: &["(mul (rms_norm{1;1e-5} x:f32[A,B] g:=f32[B]) s:=f32[B])"],
        ..ROW
    },
    Rule {
        name: "softmax",
        lhs: &["(div ?e=(exp (sub ?x (reduce_max:m ?x))) (reduce_sum:s ?e))"],
        rhs: Rhs::Build(softmax),
        sound_when: &[SAME_AXES],
        source: "definition",
        class: Reassociates,
        examples: &[
            "e=(exp (sub x:f32[A,B,C] (reduce_max{1;keep} x:f32[A,B,C]))); (div e (reduce_sum{1;keep} e))",
            "e=(exp (sub x:f32[A,B] (reduce_max{1;keep} x:f32[A,B]))); (mul e (recip (reduce_sum{1;keep} e)))",
        ],
        refutes: &[(
            "same-axes",
            "e=(exp (sub x:f32[4,4] (reduce_max{1;keep} x:f32[4,4]))); (div e (reduce_sum{0;keep} e))",
        )],
        ..ROW
    },
    Rule {
        name: "softmax-of-log-softmax",
        lhs: &["(exp (sub ?d=(sub ?x (reduce_max:m ?x)) (log (reduce_sum:s (exp ?d)))))"],
        rhs: Rhs::Build(softmax),
        sound_when: &[SAME_AXES],
        source: "e^(d − ln Σe^d) = e^d/Σe^d",
        class: Reassociates,
        examples: &[
            "d=(sub x:f32[A,B] (reduce_max{1;keep} x:f32[A,B])); (exp (sub d (log (reduce_sum{1;keep} (exp d)))))",
        ],
        refutes: &[(
            "same-axes",
            "d=(sub x:f32[4,4] (reduce_max{1;keep} x:f32[4,4])); (exp (sub d (log (reduce_sum{0;keep} (exp d)))))",
        )],
        ..ROW
    },
];

/// The axes of a reduction, and whether it keeps them.
fn reduced(op: &Op) -> Option<(Vec<usize>, bool)> {
    match op {
        Op::Reduce { axes, keep_dims, .. } => Some((axes.clone(), *keep_dims)),
        _ => None,
    }
}

/// How many elements the reduction `r` of `x` takes, when that is a number.
fn count(s: &Site) -> Option<f64> {
    let (axes, _) = reduced(&s.attr("r"))?;
    let shape = s.shape(s.var("x"));
    let dims = axes.iter().map(|&a| shape[a].as_const());
    Some(dims.collect::<Option<Vec<i64>>>()?.iter().product::<i64>() as f64)
}

fn mean(s: &mut Site) -> Option<Id> {
    let (axes, keep_dims) = reduced(&s.attr("r"))?;
    s.add(Op::Reduce { op: ReduceOp::Mean, axes, keep_dims }, &[s.var("x")])
}

fn two_pass_variance(s: &mut Site) -> Option<Id> {
    let (axes, _) = reduced(&s.attr("r"))?;
    let x = s.var("x");
    let mean = s.add(Op::Reduce { op: ReduceOp::Mean, axes, keep_dims: true }, &[x])?;
    let centred = s.binary(BinaryOp::Sub, x, mean)?;
    let square = s.binary(BinaryOp::Mul, centred, centred)?;
    s.add(s.attr("r"), &[square])
}

/// `x` with the reduced axes last, and the permutation that brings them back.
fn axes_last(s: &mut Site, x: Id, axes: &[usize]) -> Option<(Id, usize, Vec<usize>)> {
    let rank = s.rank(x);
    let kept = (0..rank).filter(|a| !axes.contains(a));
    let perm: Vec<usize> = kept.chain(axes.iter().copied()).collect();
    let moved = s.transpose(x, &perm)?;
    Some((moved, rank - axes.len(), inverse(&perm)))
}

fn epsilon(s: &Site) -> Option<Scalar> {
    Some(Scalar::from_f64(DType::F32, s.uniform(s.var("e"))?))
}

fn ones(s: &mut Site, x: Id, axis: usize) -> Option<Id> {
    let value = Scalar::from_f64(s.dtype(x), 1.0);
    let shape = s.shape(x)[axis..].to_vec();
    s.add(Op::Fill { value, shape }, &[])
}

fn layer_norm(s: &mut Site) -> Option<Id> {
    let (axes, _) = reduced(&s.attr("r"))?;
    let epsilon = epsilon(s)?;
    let (x, axis, back) = axes_last(s, s.var("x"), &axes)?;
    let scale = ones(s, x, axis)?;
    let norm = s.add(Op::LayerNorm { axis, epsilon }, &[x, scale])?;
    s.transpose(norm, &back)
}

fn rms_norm(s: &mut Site) -> Option<Id> {
    let (axes, _) = reduced(&s.attr("r"))?;
    let epsilon = epsilon(s)?;
    let (x, axis, back) = axes_last(s, s.var("x"), &axes)?;
    let scale = ones(s, x, axis)?;
    let norm = s.add(Op::RmsNorm { axis, epsilon }, &[x, scale])?;
    s.transpose(norm, &back)
}

fn l2_norm(s: &mut Site) -> Option<Id> {
    let (axes, _) = reduced(&s.attr("r"))?;
    let n = count(s).filter(|n| *n >= 1.0)?;
    let epsilon = Scalar::from_f64(DType::F32, s.uniform(s.var("e"))? / n);
    let (x, axis, back) = axes_last(s, s.var("x"), &axes)?;
    let value = Scalar::from_f64(s.dtype(x), 1.0 / n.sqrt());
    let shape = s.shape(x)[axis..].to_vec();
    let scale = s.add(Op::Fill { value, shape }, &[])?;
    let norm = s.add(Op::RmsNorm { axis, epsilon }, &[x, scale])?;
    s.transpose(norm, &back)
}

/// The constant `c`, broadcast over the normalised axes of the norm `a` of `x`.
fn over_axes(s: &mut Site, c: Id) -> Option<Id> {
    let (Op::LayerNorm { axis, .. } | Op::RmsNorm { axis, .. }) = s.attr("a") else { return None };
    let want: Shape = s.shape(s.var("x"))[axis..].to_vec();
    let mut have = s.shape(c);
    while have.len() > want.len() && have[0].is(1) {
        have.remove(0);
    }
    if have.len() > want.len() {
        return None;
    }
    let trimmed = s.reshape(c, have)?;
    s.broadcast(trimmed, want)
}

fn scale_norm(s: &mut Site) -> Option<Id> {
    let by = over_axes(s, s.var("s"))?;
    let scale = s.binary(BinaryOp::Mul, s.var("g"), by)?;
    let mut operands = vec![s.var("x"), scale];
    if let Some(bias) = s.get("b") {
        operands.push(s.binary(BinaryOp::Mul, bias, by)?);
    }
    s.add(s.attr("a"), &operands)
}

fn shift_norm(s: &mut Site) -> Option<Id> {
    let by = over_axes(s, s.var("s"))?;
    let bias = match s.get("b") {
        Some(bias) => s.binary(BinaryOp::Add, bias, by)?,
        None => by,
    };
    s.add(s.attr("a"), &[s.var("x"), s.var("g"), bias])
}

fn softmax(s: &mut Site) -> Option<Id> {
    match reduced(&s.attr("s"))? {
        (axes, true) if axes.len() == 1 => s.add(Op::Softmax { axis: axes[0] }, &[s.var("x")]),
        _ => None,
    }
}
