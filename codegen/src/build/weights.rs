//! The weights of an artifact: each constant once in each form, whichever graphs read it.

use super::Part;
use crate::lower::{WeightData, WeightId};
use cascata_artifact::manifest as m;
use std::collections::HashMap;

/// What makes two weights the same: type, bytes and form.
type Identity = (String, blake3::Hash, WeightData);

/// Numbers the weights that the entries' steps touch, and their buffers after it. Lowering
/// also registers plain forms that it then packs.
pub(super) fn number(entries: &mut [m::Entry], parts: &[Part]) -> Vec<(usize, WeightId)> {
    let mut numbers =
        Numbers { parts, used: Vec::new(), of: HashMap::new(), known: HashMap::new() };
    for (part, entry) in entries.iter_mut().enumerate() {
        let mut weights: Vec<&mut u32> = entry.buffers.iter_mut().filter_map(weight).collect();
        // In the order of the graph's constants, whatever order steps touch them in.
        weights.sort_by_key(|id| **id);
        for id in weights {
            *id = numbers.number(part, WeightId(*id));
        }
    }
    numbers.used
}

fn weight(buffer: &mut m::Buffer) -> Option<&mut u32> {
    match &mut buffer.storage {
        m::Storage::Weight(id) => Some(id),
        _ => None,
    }
}

struct Numbers<'p, 'g> {
    parts: &'p [Part<'g>],
    used: Vec<(usize, WeightId)>,
    of: HashMap<(usize, WeightId), u32>,
    known: HashMap<Identity, u32>,
}

impl Numbers<'_, '_> {
    fn number(&mut self, part: usize, id: WeightId) -> u32 {
        if let Some(number) = self.of.get(&(part, id)) {
            return *number;
        }
        let next = self.used.len() as u32;
        // A single graph has each of its weights once already: nothing to read.
        let number = match self.parts.len() {
            1 => next,
            _ => *self.known.entry(self.identity(part, id)).or_insert(next),
        };
        if number == next {
            self.used.push((part, id));
        }
        self.of.insert((part, id), number);
        number
    }

    fn identity(&self, part: usize, id: WeightId) -> Identity {
        let Part { graph, lowering, .. } = &self.parts[part];
        let weight = &lowering.weights.items[id].0;
        let source = &graph.consts[weight.source];
        let ty = source.ty.display(&graph.symbols);
        (ty, blake3::hash(&source.data), weight.data.clone())
    }
}

/// These weights, with places in the section.
pub(super) fn describe(parts: &[Part], used: &[(usize, WeightId)]) -> Vec<m::Weight> {
    let describe = |(part, id): &(usize, WeightId)| {
        let weights = &parts[*part].lowering.weights;
        let (_, name, dtype, _) = &weights.items[*id];
        let (name, bytes) = (name.clone(), weights.bytes(*id));
        m::Weight { name, dtype: *dtype, offset: 0, bytes, param: false }
    };
    let mut weights: Vec<m::Weight> = used.iter().map(describe).collect();
    cascata_artifact::assign_offsets(&mut weights);
    weights
}
