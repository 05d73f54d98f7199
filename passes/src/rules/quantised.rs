//! Quantisation: `cast(clamp(round(x / scale) + zero))`.
//!
//! A cast from float to integer saturates, and gives 0 for NaN: what comes before it need not
//! clamp to the range of its result.

use super::{Exactness::*, Guard, ROW, Rhs, Rule};
use crate::egraph::site::Site;
use cascata_types::{DType, Scalar};

/// A cast from integer to integer wraps.
const FROM_FLOAT: Guard = Guard { name: "from-float", holds: |s| s.dtype(s.var("x")).is_float() };

const UNSIGNED: Guard = Guard { name: "unsigned", holds: |s| target(s).is_unsigned_int() };

const ABOVE_ALL: Guard = Guard {
    name: "limit-above-all",
    holds: |s| matches!((s.uniform(s.var("a")), range(target(s))), (Some(a), Some((_, high))) if a >= high),
};

const BELOW_ALL: Guard = Guard {
    name: "limit-below-all",
    holds: |s| matches!((s.uniform(s.var("a")), range(target(s))), (Some(a), Some((low, _))) if a <= low),
};

const POSITIVE: Guard = Guard {
    name: "positive-scale",
    holds: |s| s.uniform(s.var("s")).is_some_and(|scale| scale > 0.0),
};

const SCALED_ABOVE_ALL: Guard = Guard {
    name: "scaled-limit-above-all",
    holds: |s| match (s.uniform(s.var("a")), s.uniform(s.var("s")), range(target(s))) {
        (Some(a), Some(scale), Some((_, high))) => {
            let dtype = s.dtype(s.var("x"));
            Scalar::from_f64(dtype, a * scale).to_f64().round_ties_even() >= high
        }
        _ => false,
    },
};

const INTEGERS: Guard =
    Guard { name: "integers", holds: |s| ["p", "q"].iter().all(|v| s.dtype(s.var(v)).is_int()) };

const WIDE: Guard = Guard {
    name: "holds-products",
    holds: |s| matches!(s.dtype(s.root()), DType::F32 | DType::F64),
};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "saturates-above",
        lhs: &["(cast:c (min ?x ?a:scalar))"],
        rhs: Rhs::Text("(cast:c ?x)"),
        sound_when: &[FROM_FLOAT, ABOVE_ALL],
        source: "the cast saturates at its dtype's largest number",
        examples: &[
            "(cast{u8} (min (mul x:f32[A,B] 300) 255))",
            "(cast{i8} (min 127.5 (mul x:f32[A] 100)))",
        ],
        refutes: &[
            ("from-float", "(cast{u8} (min (mul x:i32[3,5] 100) 300))"),
            ("limit-above-all", "(cast{u8} (min (mul x:f32[3,5] 300) 254))"),
        ],
        ..ROW
    },
    Rule {
        name: "saturates-below",
        lhs: &["(cast:c (max ?x ?a:scalar))"],
        rhs: Rhs::Text("(cast:c ?x)"),
        sound_when: &[FROM_FLOAT, BELOW_ALL],
        source: "the cast saturates at its dtype's smallest number",
        examples: &[
            "(cast{i8} (max (mul x:f32[A,B] 300) -128))",
            "(cast{u8} (max (mul x:f32[A] 100) -3))",
        ],
        refutes: &[
            ("from-float", "(cast{i8} (max (mul x:i32[3,5] 100) -300))"),
            ("limit-below-all", "(cast{i8} (max (mul x:f32[3,5] 100) -127))"),
        ],
        ..ROW
    },
    Rule {
        name: "saturates-at-zero",
        lhs: &["(cast:c (relu ?x))"],
        rhs: Rhs::Text("(cast:c ?x)"),
        sound_when: &[FROM_FLOAT, UNSIGNED],
        source: "a cast to an unsigned dtype saturates at 0",
        examples: &["(cast{u8} (relu (mul x:f32[A,B] 300)))"],
        refutes: &[
            ("from-float", "(cast{u8} (relu x:i32[3,5]))"),
            ("unsigned", "(cast{i8} (relu (mul x:f32[3,5] 30)))"),
        ],
        ..ROW
    },
    Rule {
        name: "saturates-scaled-above",
        lhs: &["(cast:c (round (mul (min ?x ?a:scalar) ?s:scalar)))"],
        rhs: Rhs::Text("(cast:c (round (mul ?x ?s)))"),
        sound_when: &[POSITIVE, SCALED_ABOVE_ALL],
        source: "products and rounding are monotone: a ReLU6 of which 6 is the largest that 8 bits stand for",
        examples: &[
            "(cast{u8} (round (mul (min (mul x:f32[A,B] 5) 6) 42.5)))",
            "(cast{u8} (round (mul 42.5 (min (relu (mul x:f32[A] 5)) 6))))",
        ],
        refutes: &[
            ("positive-scale", "(cast{u8} (round (mul (min x:f32[3,5] -200) -1.5)))"),
            (
                "scaled-limit-above-all",
                "(cast{u8} (round (mul (min (mul x:f32[3,5] 300) 100) 1.5)))",
            ),
        ],
        ..ROW
    },
    Rule {
        name: "saturates-scaled-at-zero",
        lhs: &["(cast:c (round (mul (relu ?x) ?s:scalar)))"],
        rhs: Rhs::Text("(cast:c (round (mul ?x ?s)))"),
        sound_when: &[POSITIVE, UNSIGNED],
        source: "products and rounding keep the sign",
        examples: &[
            "(cast{u8} (round (mul (relu (mul x:f32[A,B] 5)) 42.5)))",
            "(cast{u8} (round (mul 49.4 (relu x:f32[A]))))",
        ],
        refutes: &[
            ("positive-scale", "(cast{u8} (round (mul (relu x:f32[3,5]) -9.5)))"),
            ("unsigned", "(cast{i8} (round (mul (relu x:f32[3,5]) 9.5)))"),
        ],
        ..ROW
    },
    Rule {
        name: "product-of-dequantised",
        lhs: &["(mul (mul (cast:e ?p) ?a:scalar) (mul (cast:d ?q) ?b:scalar))"],
        rhs: Rhs::Text("(mul (mul (cast:e ?p) (cast:d ?q)) (mul ?a ?b))"),
        sound_when: &[INTEGERS, WIDE],
        class: Reassociates,
        source: "associativity; the product of scales folds, that of integers does not overflow",
        examples: &[
            "(mul (mul (cast{f32} p:u8[A,B]) 0.5) (mul (cast{f32} q:i32[A,B]) 0.02))",
            "(mul (mul 0.1 (cast{f32} p:i8[A,B])) (mul (cast{f32} q:u8[B]) 0.3))",
        ],
        refutes: &[
            (
                "integers",
                "(mul (mul (cast{f32} (mul p:f64[3,5] 1e30)) 1e-30) (mul (cast{f32} (mul q:f64[3,5] 1e30)) 1e-30))",
            ),
            (
                "holds-products",
                "(mul (mul (cast{f16} (mul p:i32[3,5] 1000)) 0.001) (mul (cast{f16} (mul q:i32[3,5] 1000)) 0.001))",
            ),
        ],
        ..ROW
    },
];

/// What the root casts to.
fn target(s: &Site) -> DType {
    s.dtype(s.root())
}

/// The smallest and the largest number of an integer dtype.
fn range(dtype: DType) -> Option<(f64, f64)> {
    let bits = 8 * dtype.size_bytes()? as i32;
    match dtype {
        d if d.is_unsigned_int() => Some((0.0, 2f64.powi(bits) - 1.0)),
        d if d.is_signed_int() => Some((-2f64.powi(bits - 1), 2f64.powi(bits - 1) - 1.0)),
        _ => None,
    }
}
