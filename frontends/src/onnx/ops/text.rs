//! Strings: joined, normalised, split, matched.
//!
//! Only what looks at characters is an op on strings; comparing, selecting and moving them
//! is what it is for numbers.

use super::super::cx::Cx;
use super::super::emit::one;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_ir::regex::full_match;
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[
    ("RegexFullMatch", One(regex_full_match)),
    ("StringConcat", One(concat)),
    ("StringNormalizer", Many(normalise)),
    ("StringSplit", Many(split)),
];

/// Languages in which upper and lower case are not what they are elsewhere.
const OTHER_CASE: &[&str] = &["az", "lt", "tr"];

fn strings(cx: &mut Cx<'_>, i: usize) -> R<ValueId> {
    let x = cx.input(i)?;
    match cx.dtype(x) {
        DType::Str => Ok(x),
        other => malformed!("input {i} is of type {other}, must be strings"),
    }
}

fn regex_full_match(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = strings(cx, 0)?;
    let pattern = cx.string("pattern", "")?;
    if let Err(reason) = full_match(&pattern) {
        return unsupported!("{reason}");
    }
    cx.emit(Op::TextMatch { pattern }, &[x])
}

fn concat(cx: &mut Cx<'_>) -> R<ValueId> {
    let (a, b) = (strings(cx, 0)?, strings(cx, 1)?);
    // The shape of both together is that of any op that broadcasts.
    let both = cx.binary(BinaryOp::Eq, a, b)?;
    let shape = cx.shape(both);
    let (a, b) = (cx.broadcast(a, shape.clone())?, cx.broadcast(b, shape)?);
    cx.emit(Op::TextConcat, &[a, b])
}

/// Parts along a new last axis, as many as the string with the most has, and their numbers.
fn split(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let x = strings(cx, 0)?;
    let delimiter = cx.string("delimiter", "")?;
    // Without the attribute there is no limit.
    let at_most = match cx.opt_int("maxsplit")? {
        Some(n) => u64::try_from(n).unwrap_or(u64::MAX),
        None => u64::MAX,
    };
    let counts = cx.emit(Op::TextCount { delimiter: delimiter.clone(), at_most }, &[x])?;
    let all = cx.flatten(counts)?;
    let most = cx.reduce(ReduceOp::Max, all, &[0], true)?;
    // The largest of no numbers is the least number.
    let most = cx.with_number(BinaryOp::Max, most, 0.0)?;
    let parts = cx.bind_vector(most, 1)?.swap_remove(0);
    let parts = cx.emit(Op::TextSplit { delimiter, at_most, parts }, &[x])?;
    Ok(vec![parts.into(), counts.into()])
}

/// Case, then what is no stop word; one empty string if nothing is left.
fn normalise(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let x = strings(cx, 0)?;
    let (rank, shape) = (cx.rank(x), cx.shape(x));
    if rank == 0 || rank > 2 {
        return malformed!("an operand of rank {rank}, must be [C] or [1,C]");
    }
    if rank == 2 {
        cx.check(&shape[0], &Dim::from(1), "rows of the operand")?;
    }
    let upper = match cx.string("case_change_action", "NONE")?.as_str() {
        "NONE" => None,
        "LOWER" => Some(false),
        "UPPER" => Some(true),
        other => return malformed!("case_change_action '{other}', must be LOWER, UPPER or NONE"),
    };
    let sensitive = cx.flag("is_case_sensitive", false)?;
    let locale = cx.string("locale", "")?;
    let language = locale.split(['_', '-', '.']).next().unwrap_or("").to_lowercase();
    if OTHER_CASE.contains(&language.as_str()) && (upper.is_some() || !sensitive) {
        return unsupported!("upper and lower case of the locale '{locale}'");
    }
    let x = cx.flatten(x)?;
    let stopwords = cx.strings("stopwords")?.unwrap_or_default();
    let kept = match stopwords.is_empty() {
        true => x,
        false => without(cx, x, stopwords, sensitive)?,
    };
    let kept = match upper {
        Some(upper) => cx.emit(Op::TextCase { upper }, &[kept])?,
        None => kept,
    };
    let kept = never_empty(cx, kept)?;
    let count = cx.shape(kept)[0].clone();
    let shape = if rank == 2 { vec![1.into(), count] } else { vec![count] };
    one(cx.reshape(kept, shape)?)
}

/// The elements of a vector that are no stop words.
fn without(cx: &mut Cx<'_>, x: ValueId, words: Vec<String>, sensitive: bool) -> R<ValueId> {
    let lower = |w: &String| cascata_ir::types::text::cased(w, false);
    let (compared, words) = match sensitive {
        true => (x, words),
        false => {
            let words = words.iter().map(lower).collect();
            (cx.emit(Op::TextCase { upper: false }, &[x])?, words)
        }
    };
    let words = cx.strings_value(vec![1, words.len() as i64], &words)?;
    let compared = cx.unsqueeze(compared, &[1])?;
    let same = cx.binary(BinaryOp::Eq, compared, words)?;
    let same = cx.cast(same, DType::I32)?;
    let stopped = cx.reduce(ReduceOp::Max, same, &[1], false)?;
    let stopped = cx.cast(stopped, DType::Bool)?;
    let kept = cx.unary(UnaryOp::Not, stopped)?;
    let count = cx.fresh("count");
    let index = cx.emit(Op::NonZero { count }, &[kept])?;
    let index = cx.reshape(index, vec![count.into()])?;
    cx.emit(Op::Gather { axis: 0 }, &[x, index])
}

/// A vector, or one empty string in place of no elements.
fn never_empty(cx: &mut Cx<'_>, x: ValueId) -> R<ValueId> {
    let count = cx.shape(x)[0].clone();
    if count.bounds(cx.symbols()).0 > 0 {
        return Ok(x);
    }
    let empty = cx.strings_value(vec![1], &[String::new()])?;
    let longer = cx.concat(&[x, empty], 0)?;
    let wanted = count.maximum(&Dim::from(1));
    let positions = cx.iota(DType::I64, vec![wanted], 0)?;
    cx.emit(Op::Gather { axis: 0 }, &[longer, positions])
}
