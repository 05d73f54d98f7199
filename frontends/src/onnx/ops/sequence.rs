//! Sequences and optionals, resolved while the model is read: a sequence is a list of
//! slots, an optional is what it holds or nothing.

use super::super::cx::{Cx, axis};
use super::super::emit::many;
use super::super::error::{R, malformed, unsupported};
use super::super::facts::{Elem, Facts};
use super::super::form::{self, MAX_LENGTH};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use cascata_ir::graph::ValueId;
use cascata_ir::types::{DType, Dim};
use std::rc::Rc;

pub const OPS: Table = &[
    ("ConcatFromSequence", One(concat_from_sequence)),
    ("Optional", Many(optional)),
    ("OptionalGetElement", Many(optional_get_element)),
    ("OptionalHasElement", Many(optional_has_element)),
    ("SequenceAt", Many(sequence_at)),
    ("SequenceConstruct", Many(sequence_construct)),
    ("SequenceEmpty", Many(|cx| list(cx, vec![]))),
    ("SequenceErase", Many(sequence_erase)),
    ("SequenceInsert", Many(sequence_insert)),
    ("SequenceLength", Many(sequence_length)),
    ("SequenceMap", Many(sequence_map)),
    ("SplitToSequence", Many(split_to_sequence)),
];

fn list(cx: &mut Cx<'_>, elements: Vec<Slot>) -> R<Vec<Slot>> {
    Ok(vec![cx.imp.list(elements)?])
}

/// The elements of input 0.
fn elements(cx: &Cx<'_>) -> R<Vec<Slot>> {
    match cx.imp.elements(cx.slot(0)?) {
        Some(elements) => Ok(elements.to_vec()),
        None => unsupported!("a sequence whose elements are not known when the model is compiled"),
    }
}

/// The position that input `i` names among `0..count`; `None` where it is absent.
fn position(cx: &Cx<'_>, i: usize, count: usize) -> R<Option<usize>> {
    if !cx.has(i) {
        return Ok(None);
    }
    match axis(cx.known_int(i)?, count) {
        Ok(at) => Ok(Some(at)),
        Err(_) => malformed!("position {} of a sequence of {count}", cx.known_int(i)?),
    }
}

fn sequence_construct(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let elements = (0..cx.inputs.len()).map(|i| cx.slot(i)).collect::<R<Vec<Slot>>>()?;
    list(cx, elements)
}

fn sequence_at(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let elements = elements(cx)?;
    match position(cx, 1, elements.len())? {
        Some(at) => Ok(vec![elements[at]]),
        None => malformed!("the position is missing"),
    }
}

/// Without a position at the end.
fn sequence_insert(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let mut elements = elements(cx)?;
    let count = elements.len();
    let at = match cx.has(2) {
        // −1 is before the last element, not behind it.
        true if cx.known_int(2)? < 0 => position(cx, 2, count)?,
        _ => position(cx, 2, count + 1)?,
    };
    elements.insert(at.unwrap_or(count), cx.slot(1)?);
    list(cx, elements)
}

/// Without a position the last one.
fn sequence_erase(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let mut elements = elements(cx)?;
    let Some(last) = elements.len().checked_sub(1) else {
        return malformed!("an empty sequence has nothing to erase");
    };
    let at = position(cx, 1, elements.len())?.unwrap_or(last);
    elements.remove(at);
    list(cx, elements)
}

fn sequence_length(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let count = elements(cx)?.len() as i64;
    Ok(vec![cx.known(Facts::scalar(DType::I64, Elem::int(count)))])
}

fn concat_from_sequence(cx: &mut Cx<'_>) -> R<ValueId> {
    let mut parts = Vec::new();
    for slot in elements(cx)? {
        parts.push(cx.imp.value(slot)?);
    }
    let Some(&first) = parts.first() else { return malformed!("an empty sequence") };
    let fresh = cx.flag("new_axis", false)?;
    if !cx.has_attribute("axis") {
        return malformed!("axis is missing");
    }
    let at = cx.axis("axis", 0, cx.rank(first) + fresh as usize)?;
    if fresh {
        for part in &mut parts {
            *part = cx.unsqueeze(*part, &[at])?;
        }
    }
    cx.concat(&parts, at)
}

/// Pieces of one size (the last may be smaller), of listed sizes, or of 1.
fn split_to_sequence(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let x = cx.input(0)?;
    let at = cx.axis("axis", 0, cx.rank(x))?;
    let size = cx.shape(x)[at].clone();
    let pieces = |chunk: i64| match (size.as_const(), chunk) {
        (_, ..1) => malformed!("pieces of {chunk}"),
        (None, _) => unsupported!(
            "axis {at} of size {} is split into pieces of {chunk}, so that it must be known when \
             the model is compiled: bind it with --dim",
            cx.show(&size)
        ),
        (Some(n), _) if n / chunk < MAX_LENGTH as i64 => {
            let whole = vec![chunk; (n / chunk) as usize];
            Ok(whole.into_iter().chain((n % chunk > 0).then_some(n % chunk)).collect())
        }
        (Some(n), _) => unsupported!("{n} split into pieces of {chunk}: at most {MAX_LENGTH}"),
    };
    let sizes: Vec<i64> = match cx.has(1) {
        false => pieces(1)?,
        true if cx.input_type(1)?.rank() == 0 => pieces(cx.known_int(1)?)?,
        true => cx.known_ints(1)?,
    };
    form::list_cost(sizes.len())?;
    let total = sizes.iter().fold(0i64, |n, s| n.saturating_add(*s));
    if sizes.iter().any(|s| *s < 0) {
        return malformed!("pieces of {sizes:?}");
    }
    cx.check(&Dim::from(total), &size, "sizes of the pieces and of the axis")?;
    let drop = !cx.has(1) && !cx.flag("keepdims", true)?;
    let (mut elements, mut start) = (Vec::new(), 0);
    for len in sizes {
        let piece = cx.slice_axis(x, at, start.into(), len.into())?;
        elements.push(if drop { cx.squeeze(piece, &[at])? } else { piece });
        start += len;
    }
    let elements = many(elements)?;
    list(cx, elements)
}

/// The body once per element of the first sequence; tensors are the same in all runs.
fn sequence_map(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let body = cx.body("body")?;
    let count = elements(cx)?.len();
    let mut columns: Vec<Rc<[Slot]>> = Vec::new();
    for i in 0..cx.inputs.len() {
        let slot = cx.slot(i)?;
        let column = cx.imp.elements(slot).unwrap_or_else(|| vec![slot; count].into());
        if column.len() != count {
            return malformed!("input {i} is a sequence of {}, input 0 of {count}", column.len());
        }
        columns.push(column);
    }
    let mut results: Vec<Vec<Slot>> = vec![Vec::new(); body.output.len()];
    cx.copies(body, |cx, body| {
        for at in 0..count {
            let arguments: Vec<Slot> = columns.iter().map(|c| c[at]).collect();
            let slots = body.again(cx, &arguments)?;
            results.iter_mut().zip(slots).for_each(|(all, one)| all.push(one));
        }
        Ok(())
    })?;
    results.into_iter().map(|elements| cx.imp.list(elements)).collect()
}

/// What it is given, or nothing.
fn optional(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    Ok(vec![if cx.has(0) { cx.slot(0)? } else { Slot::Absent }])
}

fn optional_get_element(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    match cx.slot(0)? {
        Slot::Absent => malformed!("the optional holds nothing"),
        slot => Ok(vec![slot]),
    }
}

fn optional_has_element(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let holds = cx.has(0) && cx.slot(0)? != Slot::Absent;
    Ok(vec![cx.known(Facts::scalar(DType::Bool, Elem::bool(holds)))])
}
