//! The buffers of an entry, with the block and the steps in which each lives.

use crate::lower::{Lowering, Operand};
use cascata_artifact::manifest as m;
use cascata_ir::graph::{Graph, RegionId, ValueId};
use cascata_passes::fuse::memory_owner;
use cascata_types::{Dim, TensorType};
use std::collections::{HashMap, HashSet};

/// The entry's buffers, one for each distinct piece of memory.
pub(super) struct Buffers<'a> {
    graph: &'a Graph,
    lowering: &'a Lowering<'a>,
    ids: HashMap<Operand, u32>,
    pub(super) items: Vec<m::Buffer>,
    /// The block that computes a value.
    home: HashMap<ValueId, u32>,
    /// Values that move between blocks.
    slots: HashSet<ValueId>,
    /// Open blocks with their current step, innermost last.
    path: Vec<(u32, u32)>,
}

impl<'a> Buffers<'a> {
    pub(super) fn new(graph: &'a Graph, lowering: &'a Lowering<'a>) -> Self {
        Self {
            graph,
            lowering,
            ids: HashMap::new(),
            items: Vec::new(),
            home: HashMap::new(),
            slots: HashSet::new(),
            path: Vec::new(),
        }
    }

    /// Opens a block with the nodes of a region.
    pub(super) fn enter(&mut self, region: RegionId, block: u32) {
        self.path.push((block, 0));
        let region = &self.graph.regions[region];
        let computed = region.nodes.iter().flat_map(|n| &self.graph.nodes[*n].outputs);
        self.home.extend(region.params.iter().chain(computed).map(|v| (*v, block)));
    }

    /// What is touched from now on is touched by this step of the innermost block.
    pub(super) fn at(&mut self, step: usize) {
        if let Some(place) = self.path.last_mut() {
            place.1 = step as u32;
        }
    }

    /// Closes the innermost block.
    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    /// The value's memory is a slot.
    pub(super) fn slot(&mut self, v: ValueId) {
        self.slots.insert(memory_owner(self.graph, v));
    }

    /// The buffer of an operand that the current step touches.
    pub(super) fn id(&mut self, operand: Operand) -> u32 {
        let operand = match operand {
            Operand::Value(v) => Operand::Value(memory_owner(self.graph, v)),
            other => other,
        };
        if let Some(id) = self.ids.get(&operand) {
            let buffer = &mut self.items[*id as usize];
            let open = self.path.iter().find(|(block, _)| *block == buffer.block);
            if let (m::Storage::Arena { last, .. }, Some((_, step))) = (&mut buffer.storage, open) {
                *last = *step;
            }
            return *id;
        }
        let id = self.items.len() as u32;
        let buffer = self.describe(operand);
        self.items.push(buffer);
        self.ids.insert(operand, id);
        id
    }

    /// The buffer of a value, if a step has touched it.
    pub(super) fn known(&self, v: ValueId) -> Option<u32> {
        self.ids.get(&Operand::Value(v)).copied()
    }

    fn describe(&self, operand: Operand) -> m::Buffer {
        let (here, step) = self.path.last().copied().unwrap_or_default();
        let arena = m::Storage::Arena { first: step, last: step };
        let (name, ty, storage, block) = match operand {
            Operand::Value(v) => {
                let block = self.home.get(&v).copied().unwrap_or(here);
                let name = self.graph.values[v].name.clone();
                (name, self.graph.tensor(v).clone(), self.storage(v).unwrap_or(arena), block)
            }
            Operand::Temp(t) => {
                let temp = &self.lowering.temps[t];
                (t.to_string(), TensorType::dense(temp.dtype, vec![temp.len.clone()]), arena, here)
            }
            Operand::Weight(w) => {
                let (_, name, dtype, elements) = &self.lowering.weights.items[w];
                let ty = TensorType::fixed(*dtype, &[*elements as i64]);
                (name.clone(), ty, m::Storage::Weight(w.0), 0)
            }
        };
        m::Buffer { name, bytes: bytes(&ty), ty, storage, block }
    }

    /// Inputs and results of the graph are the caller's memory.
    fn storage(&self, v: ValueId) -> Option<m::Storage> {
        if self.slots.contains(&v) {
            return Some(m::Storage::Slot);
        }
        let input = self.graph.inputs().iter().position(|i| *i == v);
        let owner = |o: &ValueId| memory_owner(self.graph, *o) == v;
        let output = self.graph.outputs().iter().position(owner);
        input.map(|i| m::Storage::Input(i as u32)).or(output.map(|i| m::Storage::Output(i as u32)))
    }
}

fn bytes(ty: &TensorType) -> Dim {
    ty.elements() * ty.dtype.stored_bytes() as i64
}
