//! Arithmetic with constants. Everything that is exact and needs no choice is in
//! `canonicalise` instead.

use super::{Exactness::*, Guard, ROW, Rhs, Rule};
use crate::egraph::site::Site;
use cascata_ir::op::{BinaryOp, UnaryOp};
use egg::Id;

const FLOAT: Guard = Guard { name: "float", holds: |s| s.dtype(s.root()).is_float() };

/// Beyond this range a reciprocal may overflow or lose bits as a subnormal.
const RECIPROCAL: Guard = Guard {
    name: "reciprocal-in-range",
    holds: |s| s.uniform(s.var("c")).is_some_and(|c| (1e-30..1e30).contains(&c.abs())),
};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "one-over",
        lhs: &["(div #1 ?x)"],
        rhs: Rhs::Text("(recip ?x)"),
        source: "definition",
        examples: &["(div 1 x:f32[A,B])"],
        ..ROW
    },
    Rule {
        name: "recip-sqrt",
        lhs: &["(recip (sqrt ?x))", "(sqrt (recip ?x))"],
        rhs: Rhs::Text("(rsqrt ?x)"),
        class: Reassociates,
        source: "definition",
        examples: &["(recip (sqrt (abs x:f32[A,B])))", "(sqrt (recip (abs x:f32[A])))"],
        ..ROW
    },
    Rule {
        name: "div-by-sqrt",
        lhs: &["(div ?a (sqrt ?b))"],
        rhs: Rhs::Text("(mul ?a (rsqrt ?b))"),
        class: Reassociates,
        source: "definition",
        examples: &["(div x:f32[A,B] (sqrt (abs y:f32[B])))"],
        ..ROW
    },
    Rule {
        name: "mul-recip",
        lhs: &["(mul ?a (recip ?b))"],
        rhs: Rhs::Text("(div ?a ?b)"),
        class: Reassociates,
        source: "definition",
        examples: &["(mul x:f32[A,B] (recip y:f32[B]))"],
        ..ROW
    },
    Rule {
        name: "div-by-constant",
        lhs: &["(div ?x ?c:scalar)"],
        rhs: Rhs::Build(reciprocal),
        sound_when: &[FLOAT, RECIPROCAL],
        class: Reassociates,
        source: "a multiplication is a quarter of a division's time",
        examples: &["(div x:f32[A,B] 3)", "(div x:f32[A,B] 6)"],
        refutes: &[
            ("float", "(div x:i32[A,B] 3)"),
            ("reciprocal-in-range", "(div x:f32[5,7] 1e-39)"),
        ],
        ..ROW
    },
    Rule {
        name: "sub-constant",
        lhs: &["(sub ?x ?c:const)"],
        rhs: Rhs::Build(|s| {
            let (x, c) = (s.var("x"), s.var("c"));
            let minus = negated(s, c)?;
            s.binary(BinaryOp::Add, x, minus)
        }),
        source: "one spelling for shifts",
        examples: &["(sub x:f32[A,B] c:=f32[B])", "(sub x:f32[A,B] 2.5)"],
        ..ROW
    },
    Rule {
        name: "add-negated",
        lhs: &["(add ?x (neg ?y))"],
        rhs: Rhs::Text("(sub ?x ?y)"),
        source: "definition",
        examples: &["(add x:f32[A,B] (neg y:f32[B]))"],
        ..ROW
    },
    Rule {
        name: "add-add-constant",
        lhs: &["(add (add ?x ?a:const) ?b:const)"],
        rhs: Rhs::Text("(add ?x (add ?a ?b))"),
        class: Reassociates,
        source: "associativity; the sum of constants folds",
        examples: &[
            "(add (add x:f32[A,B] a:=f32[B]) 2.5)",
            "(add (add x:f32[A,B] a:=f32[B]) b:=f32[A,1])",
        ],
        ..ROW
    },
    Rule {
        name: "mul-mul-constant",
        lhs: &["(mul (mul ?x ?a:const) ?b:const)"],
        rhs: Rhs::Text("(mul ?x (mul ?a ?b))"),
        class: Reassociates,
        source: "associativity; the product of constants folds",
        examples: &[
            "(mul (mul x:f32[A,B] a:=f32[B]) 2.5)",
            "(mul (mul x:f32[A,B] a:=f32[B]) b:=f32[B])",
        ],
        ..ROW
    },
    Rule {
        name: "mul-of-shift",
        lhs: &["(mul (add ?x ?a:const) ?b:const)"],
        rhs: Rhs::Text("(add (mul ?x ?b) (mul ?a ?b))"),
        class: Reassociates,
        source: "distributivity: consecutive affine maps (PP-LCNetV3's learnable affine) become one",
        examples: &[
            "(mul (add x:f32[A,B] a:=f32[B]) b:=f32[B])",
            "(mul (add x:f32[A,B] 1.5) 0.25)",
        ],
        ..ROW
    },
];

fn reciprocal(s: &mut Site) -> Option<Id> {
    let (x, c) = (s.var("x"), s.var("c"));
    let one = s.number(s.dtype(c), 1.0)?;
    let recip = s.binary(BinaryOp::Div, one, c)?;
    s.binary(BinaryOp::Mul, x, recip)
}

/// −c; a number where c is one.
pub(super) fn negated(s: &mut Site, c: Id) -> Option<Id> {
    match s.uniform(c) {
        Some(_) => {
            let zero = s.number(s.dtype(c), 0.0)?;
            s.binary(BinaryOp::Sub, zero, c)
        }
        None => s.unary(UnaryOp::Neg, c),
    }
}
