//! Bodies that are imported once per run: loops that are unrolled, SequenceMap.
//!
//! A loop of the graph carries tensors of one dtype and rank each, and sequences of one
//! length. Where an ONNX loop carries something else (a sequence that grows, a tensor that
//! gains an axis), or where its body needs the iteration's number, its iterations are
//! imported one after the other, if it is known how many there are.

use super::super::cx::Cx;
use super::super::error::{R, Refusal, malformed, unsupported};
use super::super::facts::{Elem, Facts};
use super::super::importer::Frame;
use super::super::proto::GraphProto;
use super::super::scope::{Content, Slot};
use cascata_ir::graph::ValueId;
use cascata_ir::types::DType;
use prost::Message;
use std::rc::Rc;

/// Most iterations of a loop that is unrolled.
pub const MAX_TRIPS: usize = 4096;

/// What a node costs in bytes when a body is copied.
const BYTES_PER_NODE: usize = 4096;

/// A body that is imported where it stands, as often as it is asked to.
pub(super) struct Copies {
    body: GraphProto,
    frame: Frame,
    cost: usize,
}

impl Copies {
    /// Imports the body once more, with these values for its inputs.
    pub fn again(&self, cx: &mut Cx<'_>, arguments: &[Slot]) -> R<Vec<Slot>> {
        let (got, wanted) = (self.body.input.len(), arguments.len());
        if got != wanted {
            return malformed!("the body has {got} inputs, needs {wanted}");
        }
        cx.imp.spend(self.cost).map_err(Refusal::Unsupported)?;
        cx.imp.scopes.push(false);
        for (info, slot) in self.body.input.iter().zip(arguments) {
            cx.imp.scopes.define(info.name(), *slot);
        }
        let results = cx.imp.body(&self.body, &self.frame);
        cx.imp.scopes.pop();
        results
    }
}

impl Cx<'_> {
    /// Gives `run` a body to import again and again; its initializers are read once.
    pub(super) fn copies<T>(
        &mut self,
        mut body: GraphProto,
        run: impl FnOnce(&mut Self, &Copies) -> R<T>,
    ) -> R<T> {
        let frame = self.frame.nested(self.frame.region, self.frame.opsets.clone())?;
        self.imp.scopes.push(false);
        let read = self.imp.initializers(&body).map_err(|e| Refusal::Malformed(e.to_string()));
        body.initializer.clear();
        let cost = body.encoded_len() / BYTES_PER_NODE;
        let results = read.and_then(|()| run(self, &Copies { body, frame, cost }));
        self.imp.scopes.pop();
        results
    }

    /// A slot for a known number.
    pub(super) fn known(&mut self, facts: Facts) -> Slot {
        let region = self.frame.region;
        self.imp.lazy(Content::Known(Rc::new(facts)), "", region)
    }

    /// Whether a slot is known to be true or false.
    fn decided(&self, slot: Slot) -> Option<bool> {
        let facts = self.imp.slot_facts(slot)?;
        Some(facts.elems.first()?.as_int()? != 0)
    }
}

/// How often a loop runs at most; `None` where that is not known, or where it is too often.
pub(super) fn trips(cx: &Cx<'_>) -> Option<usize> {
    let starts = match cx.has(1) {
        true => cx.decided(cx.slot(1).ok()?)?,
        false => true,
    };
    let most = match cx.has(0) {
        true => cx.facts(0)?.elems.first()?.as_int()?,
        // Until the condition says so.
        false => MAX_TRIPS as i64,
    };
    let trips = usize::try_from(most.max(0)).ok().filter(|n| *n <= MAX_TRIPS)?;
    Some(if starts { trips } else { 0 })
}

/// A loop as its iterations, `trips` of them unless its condition ends it before.
pub(super) fn unrolled(cx: &mut Cx<'_>, body: GraphProto, trips: usize) -> R<Vec<Slot>> {
    let mut state = (2..cx.inputs.len()).map(|i| cx.slot(i)).collect::<R<Vec<Slot>>>()?;
    let Some(stacked) = body.output.len().checked_sub(1 + state.len()) else {
        return malformed!("the body gives {} values, carries {}", body.output.len(), state.len());
    };
    let mut rows: Vec<Vec<Slot>> = vec![Vec::new(); stacked];
    let mut condition = cx.known(Facts::scalar(DType::Bool, Elem::bool(true)));
    cx.copies(body, |cx, body| {
        for i in 0..trips {
            match cx.decided(condition) {
                Some(true) => {}
                Some(false) => return Ok(()),
                None => {
                    return unsupported!(
                        "the loop is unrolled, so that the condition after iteration {} must be \
                         known when the model is compiled",
                        i - 1
                    );
                }
            }
            let number = cx.known(Facts::scalar(DType::I64, Elem::int(i as i64)));
            let arguments: Vec<Slot> =
                [number, condition].into_iter().chain(state.clone()).collect();
            let results = body.again(cx, &arguments)?;
            let (carried, scanned) = results[1..].split_at(state.len());
            condition = results[0];
            state = carried.to_vec();
            rows.iter_mut().zip(scanned).for_each(|(rows, row)| rows.push(*row));
        }
        match trips == 0 || cx.has(0) || cx.decided(condition) == Some(false) {
            true => Ok(()),
            false => unsupported!("the loop is unrolled, and does not end in {trips} iterations"),
        }
    })?;
    for (i, rows) in rows.into_iter().enumerate() {
        let wanted = cx.wants(state.len());
        state.push(if wanted { stack(cx, i, &rows)? } else { Slot::Absent });
    }
    Ok(state)
}

/// What iterations give for scanned output `i`, along a new first axis.
fn stack(cx: &mut Cx<'_>, i: usize, rows: &[Slot]) -> R<Slot> {
    let mut parts: Vec<ValueId> = Vec::new();
    for row in rows {
        let row = cx.imp.value(*row)?;
        let part = cx.unsqueeze(row, &[0])?;
        let first = *parts.first().unwrap_or(&part);
        if cx.ty(first) != cx.ty(part) {
            let (a, b) = (cx.ty(first).display(cx.symbols()), cx.ty(part).display(cx.symbols()));
            return unsupported!("scanned output {i} has rows of different types: {a} and {b}");
        }
        parts.push(part);
    }
    match parts.is_empty() {
        true => unsupported!("scanned output {i} of a loop that never runs"),
        false => cx.concat(&parts, 0).map(Slot::Value),
    }
}
