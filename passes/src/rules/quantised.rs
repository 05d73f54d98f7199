//! Quantisation: `cast(clamp(round(x / scale) + zero))`.
//!
//! A cast from float to integer saturates, and gives 0 for NaN: what comes before it need not
//! clamp to the range of its result.

use super::{Exactness::*, Guard, ROW, Rhs, Rule};
use crate::egraph::site::Site;
use cascata_ir::op::Op;
use cascata_types::{DType, Scalar};

/// A cast from integer to integer wraps.
const FROM_FLOAT: Guard = Guard { name: "from-float", holds: |s| s.dtype(s.var("x")).is_float() };

const UNSIGNED: Guard = Guard { name: "unsigned", holds: |s| target(s).is_unsigned_int() };

const ABOVE_ALL: Guard =
    Guard { name: "limit-above-all", holds: |s| limit(s).is_some_and(|(a, (_, high))| a >= high) };

const BELOW_ALL: Guard =
    Guard { name: "limit-below-all", holds: |s| limit(s).is_some_and(|(a, (low, _))| a <= low) };

const POSITIVE: Guard = Guard {
    name: "positive-scale",
    holds: |s| s.uniform(s.var("s")).is_some_and(|scale| scale > 0.0),
};

const SCALED_ABOVE_ALL: Guard = Guard {
    name: "scaled-limit-above-all",
    holds: |s| {
        let scale = s.uniform(s.var("s"));
        let scaled = |(a, (_, high)): (f64, (f64, f64))| {
            let product = Scalar::from_f64(s.dtype(s.var("x")), a * scale?);
            Some(product.to_f64().round_ties_even() >= high)
        };
        limit(s).and_then(scaled) == Some(true)
    },
};

const INTEGERS: Guard =
    Guard { name: "integers", holds: |s| ["p", "q"].iter().all(|v| s.dtype(s.var(v)).is_int()) };

const WIDE: Guard = Guard {
    name: "holds-products",
    holds: |s| matches!(s.dtype(s.root()), DType::F32 | DType::F64),
};

/// A difference of fewer than 32 bits would wrap.
const WIDE_DIFFERENCE: Guard = Guard {
    name: "wide-difference",
    holds: |s| {
        s.get("n").is_none() || matches!(s.attr("w"), Op::Cast { to: DType::I32 | DType::I64 })
    },
};

const SAME_ZERO: Guard = Guard {
    name: "same-zero-point",
    holds: |s| zero(s, "n").is_some() && zero(s, "n") == zero(s, "z"),
};

const NEAR_ONE: Guard =
    Guard { name: "scale-near-one", holds: |s| moves_less_than_half(s) == Some(true) };

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
        name: "quantise-again",
        lhs: &[
            "(cast:c (add (round (mul (cast:f (sub (cast:w ?q) ?n:scalar)) ?s:scalar)) ?z:scalar))",
            "(cast:c (add (round (cast:f (sub (cast:w ?q) ?n:scalar))) ?z:scalar))",
            "(cast:c (round (mul (cast:f ?q) ?s:scalar)))",
            "(cast:c (round (cast:f ?q)))",
        ],
        rhs: Rhs::Text("?q"),
        sound_when: &[WIDE_DIFFERENCE, SAME_ZERO, NEAR_ONE],
        source: "an integer moved by less than 1/2 rounds back: ops between quantisations that change nothing but the scale",
        examples: &[
            "(cast{u8} (add (round (mul (cast{f32} (sub (cast{i32} q:u8[A,B]) 12)) 1.0004)) 12))",
            "(cast{i8} (add -3 (round (cast{f32} (sub (cast{i32} q:i8[A]) -3)))))",
            "(cast{u8} (round (mul 0.999 (cast{f32} q:u8[A,B]))))",
            "(cast{i16} (round (cast{f32} q:i16[A,B])))",
        ],
        refutes: &[
            (
                "wide-difference",
                "(cast{i8} (add (round (cast{f32} (sub (cast{i8} q:i8[5,7]) 125))) 125))",
            ),
            (
                "same-zero-point",
                "(cast{u8} (add (round (cast{f32} (sub (cast{i32} q:u8[3,5]) 3))) 5))",
            ),
            ("scale-near-one", "(cast{i8} (round (mul (cast{f32} q:i8[3,5]) 1.5)))"),
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

/// What is compared with, and the range of the root's dtype.
fn limit(s: &Site) -> Option<(f64, (f64, f64))> {
    Some((s.uniform(s.var("a"))?, range(target(s))?))
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

/// A zero point that a spelling of the left side may lack.
fn zero(s: &Site, name: &str) -> Option<f64> {
    s.get(name).map_or(Some(0.0), |zero| s.uniform(zero))
}

/// Whether the scale and the rounding of the product move no number by half of one.
fn moves_less_than_half(s: &Site) -> Option<bool> {
    let (low, high) = range(s.dtype(s.var("q")))?;
    let zero = zero(s, "n")?;
    let largest = (low - zero).abs().max((high - zero).abs());
    let scale = s.get("s").map_or(Some(1.0), |scale| s.uniform(scale))?;
    let Op::Cast { to } = s.attr("f") else { return None };
    let precision: f64 = match to {
        DType::F64 => 2f64.powi(-52),
        DType::F32 => 2f64.powi(-23),
        DType::F16 => 2f64.powi(-10),
        _ => return None,
    };
    Some(largest * ((scale - 1.0).abs() + precision) < 0.5)
}
