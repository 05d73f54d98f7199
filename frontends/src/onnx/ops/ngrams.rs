//! TfIdfVectorizer over integers: every n-gram of the pool is compared with every window.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::contraction::matmul;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, ReduceOp};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[("TfIdfVectorizer", One(tf_idf))];

/// Most numbers of the table that adds n-grams up into columns.
const MOST_CELLS: i64 = 1 << 24;

/// N-grams of one length.
struct Grams {
    length: usize,
    /// One after the other.
    items: Vec<i64>,
    /// Their columns in the result.
    columns: Vec<i64>,
}

fn tf_idf(cx: &mut Cx<'_>) -> R<ValueId> {
    if cx.has_attribute("pool_strings") || cx.input_type(0)?.dtype == DType::Str {
        return unsupported!("n-grams of strings");
    }
    let x = cx.input(0)?;
    let single = cx.rank(x) < 2;
    let x = cx.cast(x, DType::I64)?;
    let x = match cx.rank(x) {
        0 => cx.unsqueeze(x, &[0, 1])?,
        1 => cx.unsqueeze(x, &[0])?,
        2 => x,
        rank => return malformed!("an operand of rank {rank}, must be 1 or 2"),
    };
    let (grams, width) = pool(cx)?;
    let (least, most) = (cx.int("min_gram_length", 1)?, cx.int("max_gram_length", 1)?);
    let skips = cx.int("max_skip_count", 0)?;
    if !(1..=64).contains(&least) || !(least..=64).contains(&most) || !(0..=64).contains(&skips) {
        return unsupported!("n-grams of {least} to {most} with {skips} skips, at most 64");
    }
    let mut total = None;
    for g in grams.iter().filter(|g| (least..=most).contains(&(g.length as i64))) {
        // One item has no distance to the next.
        let distances = if g.length == 1 { 1 } else { skips + 1 };
        for distance in 1..=distances {
            let Some(found) = counted(cx, x, g, distance)? else { continue };
            let found = in_columns(cx, found, g, width)?;
            total = Some(match total {
                Some(sum) => cx.binary(BinaryOp::Add, sum, found)?,
                None => found,
            });
        }
    }
    let rows = cx.shape(x)[0].clone();
    let total = match total {
        Some(total) => total,
        None => cx.fill(cascata_ir::types::Scalar::f32(0.0), vec![rows, width.into()])?,
    };
    let y = weighed(cx, total, width)?;
    if single { cx.squeeze(y, &[0]) } else { Ok(y) }
}

/// The pool's n-grams by length, and how many columns the result has.
fn pool(cx: &Cx<'_>) -> R<(Vec<Grams>, i64)> {
    let list = |name: &str| match cx.ints(name)? {
        Some(list) => Ok(list),
        None => malformed!("{name} is missing"),
    };
    let (starts, columns, items) =
        (list("ngram_counts")?, list("ngram_indexes")?, list("pool_int64s")?);
    let width = columns.iter().max().map_or(0, |m| m.saturating_add(1));
    if columns.iter().any(|c| *c < 0) || width.saturating_mul(columns.len() as i64) > MOST_CELLS {
        return unsupported!("{} n-grams in {width} columns", columns.len());
    }
    let mut grams = Vec::new();
    let mut seen = 0;
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(items.len() as i64);
        let range = usize::try_from(*start).ok().zip(usize::try_from(end).ok());
        let own = range.and_then(|(a, b)| items.get(a..b));
        let length = i + 1;
        let Some(own) = own.filter(|own| own.len().is_multiple_of(length)) else {
            return malformed!("ngram_counts {starts:?} do not fit {} items", items.len());
        };
        let count = own.len() / length;
        let Some(columns) = columns.get(seen..seen + count) else {
            return malformed!("{} ngram_indexes are too few", columns.len());
        };
        grams.push(Grams { length, items: own.to_vec(), columns: columns.to_vec() });
        seen += count;
    }
    Ok((grams, width))
}

/// How often each n-gram occurs in each row with items `distance` apart: `f32[rows, grams]`;
/// `None` where no window fits.
fn counted(cx: &mut Cx<'_>, x: ValueId, g: &Grams, distance: i64) -> R<Option<ValueId>> {
    let count = g.columns.len() as i64;
    let reach = distance * (g.length as i64 - 1);
    let windows = cx.shape(x)[1].clone() - reach;
    if count == 0 || windows.bounds(cx.symbols()).1 < 1 {
        return Ok(None);
    }
    if !windows.at_least(1, cx.symbols()) {
        return unsupported!("rows of unknown length that may be shorter than an n-gram");
    }
    let mut hits = None;
    for k in 0..g.length {
        let start = Dim::from(distance * k as i64);
        let items = cx.slice_axis(x, 1, start, windows.clone())?;
        let items = cx.unsqueeze(items, &[2])?;
        let wanted: Vec<i64> = g.items.iter().skip(k).step_by(g.length).copied().collect();
        let wanted = super::super::tensor::Tensor::from_i64s(vec![1, 1, count], &wanted);
        let wanted = cx.imp.weight(wanted, "");
        let wanted = cx.imp.value(wanted)?;
        let equal = cx.binary(BinaryOp::Eq, items, wanted)?;
        hits = Some(match hits {
            Some(hits) => cx.binary(BinaryOp::And, hits, equal)?,
            None => equal,
        });
    }
    let Some(hits) = hits else { return Ok(None) };
    let hits = cx.cast(hits, DType::F32)?;
    cx.reduce(ReduceOp::Sum, hits, &[1], false).map(Some)
}

/// Counts of n-grams added up in their columns.
fn in_columns(cx: &mut Cx<'_>, counts: ValueId, g: &Grams, width: i64) -> R<ValueId> {
    let mut table = vec![0.0; g.columns.len() * width as usize];
    for (row, column) in g.columns.iter().enumerate() {
        table[row * width as usize + *column as usize] = 1.0;
    }
    let table = cx.constant(DType::F32, vec![g.columns.len() as i64, width], &table)?;
    matmul(cx, counts, table)
}

/// Counts as the mode has them.
fn weighed(cx: &mut Cx<'_>, counts: ValueId, width: i64) -> R<ValueId> {
    let weights = match cx.floats("weights")? {
        Some(w) if w.len() as i64 == width => {
            let w: Vec<f64> = w.into_iter().map(f64::from).collect();
            Some(cx.constant(DType::F32, vec![width], &w)?)
        }
        Some(w) => return malformed!("{} weights for {width} columns", w.len()),
        None => None,
    };
    let (mode, mut y) = (cx.string("mode", "")?, counts);
    if mode == "IDF" {
        let some = cx.with_number(BinaryOp::Gt, counts, 0.0)?;
        y = cx.cast(some, DType::F32)?;
    }
    match (mode.as_str(), weights) {
        ("TF", _) | ("IDF" | "TFIDF", None) => Ok(y),
        ("IDF" | "TFIDF", Some(w)) => cx.binary(BinaryOp::Mul, y, w),
        (other, _) => malformed!("mode '{other}' does not exist"),
    }
}
