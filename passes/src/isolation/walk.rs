//! Follows entries through regions and keeps how they came to each value.

use super::batch::{Batch, InputPlace};
use super::number::Number;
use super::report::LeakKind;
use super::state::{Entries, Problem, State};
use super::transfer::Operands;
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::op::Op;
use cascata_types::{Dim, Entity, SymbolId};
use std::collections::HashMap;

/// Where a value became mixed.
pub(super) struct Origin {
    /// The first mixed value.
    pub(super) value: ValueId,
    /// What computes it; `None` for an input.
    pub(super) node: Option<NodeId>,
    /// The operand that brought the entries.
    pub(super) operand: Option<ValueId>,
    pub(super) problem: Problem,
}

/// The analysis under way.
pub(super) struct Walk<'g> {
    pub(super) graph: &'g Graph,
    pub(super) batch: &'g Batch,
    states: Vec<State>,
    pub(super) origins: Vec<Origin>,
    /// The origin that a node has made; the bodies of loops are walked more than once.
    origin_of: HashMap<NodeId, usize>,
    /// From which value one got its entries. A value gets here once, after its source.
    entries_from: HashMap<ValueId, ValueId>,
    /// From which value one got its mixture; as above.
    mixed_from: HashMap<ValueId, ValueId>,
    /// Symbols that are bound by entries' data: the origin, and the value that binds them.
    tainted: HashMap<SymbolId, (usize, ValueId)>,
    /// Values that hold the number of their entry.
    numbers: HashMap<ValueId, Number>,
}

impl<'g> Walk<'g> {
    pub(super) fn new(graph: &'g Graph, batch: &'g Batch) -> Self {
        Self {
            graph,
            batch,
            states: vec![State::Shared; graph.values.len()],
            origins: Vec::new(),
            origin_of: HashMap::new(),
            entries_from: HashMap::new(),
            mixed_from: HashMap::new(),
            tainted: HashMap::new(),
            numbers: HashMap::new(),
        }
    }

    pub(super) fn state(&self, value: ValueId) -> &State {
        &self.states[value.index()]
    }

    /// The entries of a value that is not mixed.
    pub(super) fn entries(&self, value: ValueId) -> Option<Entries> {
        match self.state(value) {
            State::Entries(e) => Some(e.clone()),
            State::Shared | State::Mixed(_) => None,
        }
    }

    /// The origin of the first mixed value.
    pub(super) fn mixed(&self, values: &[ValueId]) -> Option<(usize, ValueId)> {
        values.iter().find_map(|v| match self.state(*v) {
            State::Mixed(origin) => Some((*origin, *v)),
            State::Shared | State::Entries(_) => None,
        })
    }

    /// Gives the graph's inputs their states.
    pub(super) fn inputs(&mut self) {
        for (&v, place) in self.graph.inputs().iter().zip(&self.batch.places) {
            match place {
                InputPlace::Shared => {}
                InputPlace::Axis(axis) => self.set_entries(v, Entries::whole(*axis), None),
                InputPlace::Unclear(reason) => {
                    let problem = Problem { kind: LeakKind::Unproven, reason: reason.clone() };
                    self.origins.push(Origin { value: v, node: None, operand: None, problem });
                    self.set_mixed(v, self.origins.len() - 1, None);
                }
            }
        }
    }

    /// Walks a region; its parameters have their states.
    pub(super) fn region(&mut self, region: RegionId) {
        for &n in &self.graph.regions[region].nodes {
            self.node(n);
        }
    }

    fn node(&mut self, id: NodeId) {
        let node = &self.graph.nodes[id];
        match &node.op {
            Op::If { .. } => self.if_(id),
            Op::Loop { body, carried, .. } => self.loop_(id, *body, *carried),
            Op::Scan(attrs) => self.scan(id, attrs),
            Op::Group { body, .. } => self.group(id, *body),
            _ => self.plain(id),
        }
    }

    /// An op without regions.
    fn plain(&mut self, id: NodeId) {
        let node = &self.graph.nodes[id];
        self.number(id);
        if let Some((origin, from)) = self.mixed(&node.inputs).or_else(|| self.tainted_op(&node.op))
        {
            self.all_mixed(id, origin, Some(from));
            self.taint(id, origin, from);
            return;
        }
        let operands = self.operands(id);
        let Some(first) = operands.places.iter().position(Option::is_some) else {
            self.check_shapes(id);
            return;
        };
        let from = node.inputs[first];
        match operands.results() {
            Ok(results) => {
                for (&v, place) in node.outputs.iter().zip(results) {
                    if let Some(place) = place {
                        self.set_entries(v, place, Some(from));
                    }
                }
                self.check_shapes(id);
            }
            Err(problem) => {
                let origin = self.origin(id, from, problem);
                self.all_mixed(id, origin, None);
                self.taint(id, origin, node.outputs.first().copied().unwrap_or(from));
            }
        }
    }

    fn operands(&self, id: NodeId) -> Operands<'g> {
        let node = &self.graph.nodes[id];
        Operands {
            graph: self.graph,
            node,
            batch: &self.batch.size,
            places: node.inputs.iter().map(|v| self.entries(*v)).collect(),
            numbers: node.inputs.iter().map(|v| self.numbers.get(v).cloned()).collect(),
        }
    }

    /// Notes what the result of a node numbers.
    fn number(&mut self, id: NodeId) {
        if let (Some(number), [v]) =
            (self.operands(id).number(), self.graph.nodes[id].outputs.as_slice())
        {
            self.numbers.insert(*v, number);
        }
    }

    /// What one value numbers, another does as well.
    pub(super) fn same_number(&mut self, to: ValueId, from: ValueId) {
        if let Some(number) = self.numbers.get(&from) {
            self.numbers.insert(to, number.clone());
        }
    }

    /// The origin that a node makes of operands that are not mixed.
    pub(super) fn origin(&mut self, id: NodeId, operand: ValueId, problem: Problem) -> usize {
        let value = self.graph.nodes[id].outputs.first().copied().unwrap_or(operand);
        let origins = &mut self.origins;
        *self.origin_of.entry(id).or_insert_with(|| {
            origins.push(Origin { value, node: Some(id), operand: Some(operand), problem });
            origins.len() - 1
        })
    }

    /// Every result of a node is mixed.
    pub(super) fn all_mixed(&mut self, id: NodeId, origin: usize, from: Option<ValueId>) {
        for &v in &self.graph.nodes[id].outputs {
            self.set_mixed(v, origin, from);
        }
    }

    /// The symbols that a node binds tell of entries' data.
    pub(super) fn taint(&mut self, id: NodeId, origin: usize, by: ValueId) {
        for symbol in self.graph.nodes[id].op.binds() {
            self.tainted.entry(symbol).or_insert((origin, by));
        }
    }

    fn tainted_dim(&self, dim: &Dim) -> Option<(usize, ValueId)> {
        dim.symbols().iter().find_map(|s| self.tainted.get(s)).copied()
    }

    fn tainted_op(&self, op: &Op) -> Option<(usize, ValueId)> {
        let mut found = None;
        if !self.tainted.is_empty() {
            op.for_each_dim(&mut |d| found = found.or_else(|| self.tainted_dim(d)));
        }
        found
    }

    /// Results whose size tells of entries' data are mixed.
    pub(super) fn check_shapes(&mut self, id: NodeId) {
        if self.tainted.is_empty() {
            return;
        }
        for &v in &self.graph.nodes[id].outputs {
            let shape = self.graph.ty(v).as_tensor().map_or(&[][..], |t| &t.shape);
            if let Some((origin, by)) = shape.iter().find_map(|d| self.tainted_dim(d)) {
                self.set_mixed(v, origin, Some(by));
            }
        }
    }

    pub(super) fn set_entries(&mut self, v: ValueId, place: Entries, from: Option<ValueId>) {
        if *self.state(v) == State::Shared {
            self.states[v.index()] = State::Entries(place);
            if let Some(from) = from {
                self.entries_from.insert(v, from);
            }
        }
    }

    pub(super) fn set_mixed(&mut self, v: ValueId, origin: usize, from: Option<ValueId>) {
        if !matches!(self.state(v), State::Mixed(_)) {
            self.states[v.index()] = State::Mixed(origin);
            if let Some(from) = from {
                self.mixed_from.insert(v, from);
            }
        }
    }

    /// The values by which entries came to `value`, from the input on.
    pub(super) fn entries_path(&self, value: Option<ValueId>) -> Vec<ValueId> {
        let step = |v: &ValueId| self.entries_from.get(v).copied();
        let mut path: Vec<ValueId> = std::iter::successors(value, step).collect();
        path.reverse();
        path
    }

    /// The values by which the mixture came to `value`, from its origin on.
    pub(super) fn mixed_path(&self, value: ValueId, origin: ValueId) -> Vec<ValueId> {
        let step = |v: &ValueId| self.mixed_from.get(v).copied();
        let mut path: Vec<ValueId> = std::iter::successors(Some(value), step).collect();
        if path.last() != Some(&origin) {
            path.push(origin); // A node without results (`bind_dims`) has mixed them.
        }
        path.reverse();
        path
    }

    /// The value's name, or its id.
    pub(super) fn name(&self, v: ValueId) -> String {
        let name = &self.graph.values[v].name;
        if name.is_empty() { v.to_string() } else { name.clone() }
    }
}
