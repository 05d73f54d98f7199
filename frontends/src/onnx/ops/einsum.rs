//! Einsum: diagonals, sums, then one batched matrix product per operand pair.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, ReduceOp};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[("Einsum", One(einsum))];

/// An index of the equation; ellipsis dims are counted from the right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

/// A tensor with a label per axis.
#[derive(Clone, Debug)]
struct Term {
    value: ValueId,
    labels: Vec<Label>,
}

fn einsum(cx: &mut Cx<'_>) -> R<ValueId> {
    let equation: String = cx.string("equation", "")?.split_whitespace().collect();
    let inputs = cx.all_inputs()?;
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != inputs.len() || inputs.is_empty() {
        return malformed!("'{equation}' has {} terms for {} operands", parts.len(), inputs.len());
    }
    let mut terms = Vec::new();
    for (text, &value) in parts.iter().zip(&inputs) {
        let labels = labels(text, cx.rank(value))?;
        terms.push(diagonal(cx, Term { value, labels })?);
    }
    let all: Vec<Label> = parts
        .iter()
        .zip(&inputs)
        .flat_map(|(t, &v)| labels(t, cx.rank(v)).unwrap_or_default())
        .collect();
    let dots = all
        .iter()
        .filter_map(|l| if let Label::Ellipsis(i) = l { Some(i + 1) } else { None })
        .max()
        .unwrap_or(0);
    let output = match right {
        Some(text) => labels(text, dots + text.replace("...", "").chars().count())?,
        None => implicit_output(&all, dots),
    };
    if let Some(l) = output.iter().find(|l| !all.contains(l)) {
        return malformed!("{l:?} of the result is in no operand");
    }
    let mut terms = terms.into_iter();
    let Some(mut total) = terms.next() else { return malformed!("it has no operand") };
    let mut rest: Vec<Term> = terms.collect();
    while !rest.is_empty() {
        let next = rest.remove(0);
        let later: Vec<Label> = rest.iter().flat_map(|t| t.labels.clone()).collect();
        let kept = |l: &Label| output.contains(l) || later.contains(l);
        total = contract(cx, total, next, &kept)?;
    }
    let total = sum_out(cx, total, &|l| output.contains(l))?;
    let perm = output.iter().map(|l| position(&total, l)).collect::<R<Vec<usize>>>()?;
    cx.transpose(total.value, perm)
}

fn labels(text: &str, rank: usize) -> R<Vec<Label>> {
    let letters = text.replace("...", "").chars().count();
    let dots = match rank.checked_sub(letters) {
        Some(0) => 0,
        Some(n) if text.contains("...") => n,
        _ => return malformed!("'{text}' does not fit rank {rank}"),
    };
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            out.extend((0..dots).rev().map(Label::Ellipsis));
            rest = after;
        } else if c.is_alphabetic() {
            out.push(Label::Letter(c));
            rest = &rest[c.len_utf8()..];
        } else {
            return malformed!("'{c}' in '{text}'");
        }
    }
    Ok(out)
}

/// Without `->`: the ellipsis, then letters that occur once, in alphabetical order.
fn implicit_output(all: &[Label], dots: usize) -> Vec<Label> {
    let once = |l: &&Label| all.iter().filter(|m| m == l).count() == 1;
    let mut letters: Vec<Label> =
        all.iter().filter(|l| matches!(l, Label::Letter(_))).filter(once).copied().collect();
    letters.sort();
    (0..dots).rev().map(Label::Ellipsis).chain(letters).collect()
}

fn position(term: &Term, label: &Label) -> R<usize> {
    match term.labels.iter().position(|l| l == label) {
        Some(i) => Ok(i),
        None => unsupported!("the index {label:?} is lost"),
    }
}

/// Keeps the diagonal of axes that share a label: everything else is zeroed and summed away.
fn diagonal(cx: &mut Cx<'_>, mut term: Term) -> R<Term> {
    while let Some((i, j)) = repeated(&term.labels) {
        let shape = cx.shape(term.value);
        cx.check(&shape[i], &shape[j], "dims of a repeated index")?;
        let mut line = |axis: usize| {
            let mut dims = vec![Dim::from(1); shape.len()];
            dims[axis] = shape[axis].clone();
            cx.iota(DType::I64, dims, axis)
        };
        let (row, column) = (line(i)?, line(j)?);
        let same = cx.binary(BinaryOp::Eq, row, column)?;
        let zero = cx.number_like(term.value, 0.0)?;
        let masked = cx.select(same, term.value, zero)?;
        term.value = cx.reduce(ReduceOp::Sum, masked, &[j], false)?;
        term.labels.remove(j);
    }
    Ok(term)
}

fn repeated(labels: &[Label]) -> Option<(usize, usize)> {
    (0..labels.len())
        .find_map(|i| (i + 1..labels.len()).find(|&j| labels[i] == labels[j]).map(|j| (i, j)))
}

/// Sums over the labels that nobody needs.
fn sum_out(cx: &mut Cx<'_>, term: Term, kept: &dyn Fn(&Label) -> bool) -> R<Term> {
    let axes: Vec<usize> = (0..term.labels.len()).filter(|&i| !kept(&term.labels[i])).collect();
    let value = cx.reduce(ReduceOp::Sum, term.value, &axes, false)?;
    Ok(Term { value, labels: term.labels.into_iter().filter(|l| kept(l)).collect() })
}

/// One pair: labels are batch (in both, kept), contracted (in both, not kept) or of one side.
fn contract(cx: &mut Cx<'_>, a: Term, b: Term, kept: &dyn Fn(&Label) -> bool) -> R<Term> {
    let a = sum_out(cx, a, &|l| kept(l) || b.labels.contains(l))?;
    let b = sum_out(cx, b, &|l| kept(l) || a.labels.contains(l))?;
    let both: Vec<Label> = a.labels.iter().filter(|l| b.labels.contains(l)).copied().collect();
    let batch: Vec<Label> = both.iter().filter(|l| kept(l)).copied().collect();
    let inner: Vec<Label> = both.iter().filter(|l| !kept(l)).copied().collect();
    let rows: Vec<Label> = a.labels.iter().filter(|l| !both.contains(l)).copied().collect();
    let columns: Vec<Label> = b.labels.iter().filter(|l| !both.contains(l)).copied().collect();
    let arranged = |first: &[Label], second: &[Label]| [&batch, first, second].concat();
    let (a, b) = equalise(cx, a, b, &both)?;
    if inner.is_empty() {
        return outer(cx, a, b, arranged(&rows, &columns));
    }
    let (left, mut sizes) = grouped(cx, &a, [&batch, &rows, &inner])?;
    let (right, b_sizes) = grouped(cx, &b, [&batch, &inner, &columns])?;
    let y = super::contraction::matmul(cx, left, right)?;
    sizes.truncate(batch.len() + rows.len());
    sizes.extend_from_slice(&b_sizes[batch.len() + inner.len()..]);
    Ok(Term { value: cx.reshape(y, sizes)?, labels: arranged(&rows, &columns) })
}

/// Dims of 1 of shared labels are broadcast to the other side's.
fn equalise(cx: &mut Cx<'_>, a: Term, b: Term, both: &[Label]) -> R<(Term, Term)> {
    let (mut a_shape, mut b_shape) = (cx.shape(a.value), cx.shape(b.value));
    for l in both {
        let (i, j) = (position(&a, l)?, position(&b, l)?);
        match (a_shape[i].is(1), b_shape[j].is(1)) {
            (true, false) => a_shape[i] = b_shape[j].clone(),
            (false, true) => b_shape[j] = a_shape[i].clone(),
            _ => cx.check(&a_shape[i], &b_shape[j], "dims of a shared index")?,
        }
    }
    let a = Term { value: cx.broadcast(a.value, a_shape)?, labels: a.labels };
    let b = Term { value: cx.broadcast(b.value, b_shape)?, labels: b.labels };
    Ok((a, b))
}

/// A product without contraction: both sides aligned to the result's labels, then multiplied.
fn outer(cx: &mut Cx<'_>, a: Term, b: Term, labels: Vec<Label>) -> R<Term> {
    let mut aligned = |term: &Term| -> R<ValueId> {
        let own: Vec<&Label> = labels.iter().filter(|l| term.labels.contains(l)).collect();
        let perm = own.iter().map(|l| position(term, l)).collect::<R<Vec<usize>>>()?;
        let value = cx.transpose(term.value, perm)?;
        let missing: Vec<usize> =
            (0..labels.len()).filter(|&i| !own.contains(&&labels[i])).collect();
        cx.unsqueeze(value, &missing)
    };
    let (left, right) = (aligned(&a)?, aligned(&b)?);
    Ok(Term { value: cx.binary(BinaryOp::Mul, left, right)?, labels })
}

/// A term as `[batch, second, third]` with each group flattened; gives the single dims too.
fn grouped(cx: &mut Cx<'_>, term: &Term, groups: [&Vec<Label>; 3]) -> R<(ValueId, Vec<Dim>)> {
    let perm =
        groups.iter().flat_map(|g| g.iter()).map(|l| position(term, l)).collect::<R<Vec<_>>>()?;
    let value = cx.transpose(term.value, perm)?;
    let sizes = cx.shape(value);
    let mut shape = Vec::new();
    let mut at = 0;
    for g in groups {
        shape.push(sizes[at..at + g.len()].iter().cloned().fold(Dim::from(1), |p, d| p * d));
        at += g.len();
    }
    Ok((cx.reshape(value, shape)?, sizes))
}
