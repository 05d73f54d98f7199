//! Symbolic evaluation of shape arithmetic.
//!
//! Each rule gives the [`Facts`] of a node's results from those of its inputs, or `None`
//! where nothing is known. Rules never guess: a comparison or a rounding that bounds do
//! not decide is [`Elem::Unknown`] with the symbols that would decide it. One liberty is
//! taken: dims that pass through floats are taken as exact, as if no dim were above 2^24.

use super::cx::Cx;
use super::facts::{Elem, Facts, MAX_ELEMENTS};
use super::importer::domain;

mod arithmetic;
mod movement;
mod shapes;

type Rule = fn(&Cx<'_>) -> Option<Vec<Facts>>;

const RULES: &[(&str, Rule)] = &[
    ("Abs", arithmetic::unary),
    ("Add", arithmetic::binary),
    ("And", arithmetic::binary),
    ("Cast", arithmetic::cast),
    ("CastLike", arithmetic::cast),
    ("Ceil", arithmetic::unary),
    ("Concat", movement::concat),
    ("ConstantOfShape", shapes::constant_of_shape),
    ("Div", arithmetic::binary),
    ("Equal", arithmetic::binary),
    ("Expand", movement::expand),
    ("Flatten", movement::reshaped),
    ("Floor", arithmetic::unary),
    ("Gather", movement::gather),
    ("Greater", arithmetic::binary),
    ("GreaterOrEqual", arithmetic::binary),
    ("Less", arithmetic::binary),
    ("LessOrEqual", arithmetic::binary),
    ("Max", arithmetic::variadic),
    ("Min", arithmetic::variadic),
    ("Mod", arithmetic::binary),
    ("Mul", arithmetic::binary),
    ("Neg", arithmetic::unary),
    ("NonZero", shapes::non_zero),
    ("Not", arithmetic::unary),
    ("Or", arithmetic::binary),
    ("Pow", arithmetic::binary),
    ("Range", shapes::range),
    ("ReduceMax", shapes::reduce),
    ("ReduceMin", shapes::reduce),
    ("ReduceProd", shapes::reduce),
    ("ReduceSum", shapes::reduce),
    ("Relu", arithmetic::unary),
    ("Reshape", movement::reshaped),
    ("Shape", shapes::shape),
    ("Size", shapes::size),
    ("Slice", movement::slice),
    ("Split", movement::split),
    ("Squeeze", movement::reshaped),
    ("Sub", arithmetic::binary),
    ("Sum", arithmetic::variadic),
    ("Tile", movement::tile),
    ("Transpose", movement::transpose),
    ("Unsqueeze", movement::reshaped),
    ("Where", arithmetic::choose),
    ("Xor", arithmetic::binary),
];

/// What is known about the results of a node.
pub fn evaluate(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    if !domain(cx.node).is_empty() {
        return None;
    }
    let at = RULES.binary_search_by_key(&cx.node.op_type(), |(name, _)| name).ok()?;
    let mut results = RULES[at].1(cx)?;
    for facts in &mut results {
        if facts.elems.len() > MAX_ELEMENTS {
            return None;
        }
        facts.forget_inexact();
    }
    let blank = |e: &Elem| matches!(e, Elem::Unknown(s) if s.is_empty());
    let useless = |f: &Facts| !f.elems.is_empty() && f.elems.iter().all(blank);
    if results.iter().all(useless) { None } else { Some(results) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn rules_are_sorted() {
        assert!(super::RULES.windows(2).all(|w| w[0].0 < w[1].0));
    }
}
