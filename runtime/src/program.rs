//! An entry point, cut into segments: what can be planned before anything runs, and
//! what must wait for a data-dependent symbol.

use cascata_artifact::manifest::{Entry, Step, Storage};
use cascata_types::{Dim, SymbolId};
use std::collections::HashSet;
use std::ops::Range;

/// The steps between two binds, and the buffers that they touch first.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    /// Launches of the segment; a bind, if any, is the step after the last.
    pub(crate) steps: Range<usize>,
    /// The bind that ends the segment.
    pub(crate) bind: Option<(u32, Vec<SymbolId>)>,
    /// Arena buffers that begin to live here.
    pub(crate) arena: Vec<u32>,
    /// Inputs, outputs and weights touched first here.
    pub(crate) outside: Vec<u32>,
    /// Aliases touched first here.
    pub(crate) aliases: Vec<u32>,
    /// Output ports that get their memory here.
    pub(crate) outputs: Vec<u32>,
    /// Checks whose symbols are all bound here.
    pub(crate) checks: Vec<usize>,
}

/// Cuts an entry (of a verified manifest) after each bind.
pub(crate) fn segments(entry: &Entry) -> Vec<Segment> {
    let mut out = Vec::new();
    let mut segment = Segment::default();
    for (i, step) in entry.steps.iter().enumerate() {
        if let Step::Bind { buffer, symbols } = step {
            segment.bind = Some((*buffer, symbols.clone()));
            let next = Segment { steps: i + 1..i + 1, ..Segment::default() };
            out.push(std::mem::replace(&mut segment, next));
        } else {
            segment.steps.end = i + 1;
        }
    }
    out.push(segment);
    assign_buffers(entry, &mut out);
    assign_outputs(entry, &mut out);
    assign_checks(entry, &mut out);
    out
}

/// The steps of a segment, its bind included.
fn all_steps(segment: &Segment) -> Range<usize> {
    segment.steps.start..segment.steps.end + usize::from(segment.bind.is_some())
}

fn assign_buffers(entry: &Entry, segments: &mut [Segment]) {
    let mut seen = vec![false; entry.buffers.len()];
    let mut touch = |segment: &mut Segment, b: u32| {
        if std::mem::replace(&mut seen[b as usize], true) {
            return;
        }
        match entry.buffers[b as usize].storage {
            Storage::Arena { .. } => segment.arena.push(b),
            Storage::Alias { .. } => segment.aliases.push(b),
            Storage::Input(_) | Storage::Output(_) | Storage::Weight(_) => segment.outside.push(b),
        }
    };
    for segment in segments {
        for step in &entry.steps[all_steps(segment)] {
            let touched = match step {
                Step::Launch(launch) => launch.buffers.as_slice(),
                Step::Bind { buffer, .. } => std::slice::from_ref(buffer),
            };
            for &b in touched {
                if let Storage::Alias { of, .. } = entry.buffers[b as usize].storage {
                    touch(segment, of);
                }
                touch(segment, b);
            }
        }
    }
}

fn assign_outputs(entry: &Entry, segments: &mut [Segment]) {
    let mut seen = HashSet::new();
    for segment in segments {
        for &b in &segment.outside {
            if let Storage::Output(port) = entry.buffers[b as usize].storage
                && seen.insert(port)
            {
                segment.outputs.push(port);
            }
        }
    }
}

fn assign_checks(entry: &Entry, segments: &mut [Segment]) {
    let mut bound: HashSet<SymbolId> =
        entry.symbols.iter().filter(|(_, s)| !s.data_dependent).map(|(id, _)| id).collect();
    let mut waiting: Vec<usize> = (0..entry.checks.len()).collect();
    for segment in segments {
        let known = |d: &Dim| d.symbols().iter().all(|s| bound.contains(s));
        let ready = |i: &usize| known(&entry.checks[*i].lhs) && known(&entry.checks[*i].rhs);
        segment.checks = waiting.iter().copied().filter(ready).collect();
        waiting.retain(|i| !segment.checks.contains(i));
        bound.extend(segment.bind.iter().flat_map(|(_, symbols)| symbols));
    }
}
