//! Regions: what the branch, the number of iterations and the carried values tell.

use super::report::LeakKind;
use super::state::{Entries, Problem, State, join, mixes};
use super::walk::Walk;
use cascata_ir::graph::{NodeId, RegionId, ValueId};
use cascata_ir::op::{Op, ScanAttrs};

impl Walk<'_> {
    pub(super) fn if_(&mut self, id: NodeId) {
        let node = &self.graph.nodes[id];
        let branches = node.op.regions();
        for region in &branches {
            self.region(*region);
        }
        // Which branch runs is seen in every result.
        if let Some((origin, from)) = self.mixed(&node.inputs) {
            self.all_mixed(id, origin, Some(from));
            self.taint(id, origin, from);
            return;
        }
        for (i, &v) in node.outputs.iter().enumerate() {
            let results: Vec<ValueId> =
                branches.iter().map(|r| self.graph.regions[*r].results[i]).collect();
            self.merge(id, v, &results);
        }
        if matches!(&node.op, Op::If { dims, .. } if !dims.is_empty()) {
            self.changing_dims(id, &node.outputs);
        }
        self.check_shapes(id);
    }

    /// Dims that a region decides say nothing of where entries lie: unless all of `values`
    /// are shared, nothing is proven of the node.
    fn changing_dims(&mut self, id: NodeId, values: &[ValueId]) {
        let of_entries = |v: &&ValueId| !matches!(self.state(**v), State::Shared);
        let Some(&v) = values.iter().find(of_entries) else { return };
        let reason = "dims of its results depend on what runs".into();
        let problem = Problem { kind: LeakKind::Unproven, reason };
        let origin = self.origin(id, v, problem);
        self.all_mixed(id, origin, None);
        self.taint(id, origin, v);
    }

    /// Joins the states of `from` into `into`; whether that changed it.
    fn merge(&mut self, id: NodeId, into: ValueId, from: &[ValueId]) -> bool {
        let before = self.state(into).clone();
        if let Some((origin, v)) = self.mixed(from) {
            self.set_mixed(into, origin, Some(v));
        } else {
            let places = from.iter().chain([&into]).map(|v| self.entries(*v));
            let source = from.iter().copied().find(|v| self.entries(*v).is_some());
            match (join(places), source) {
                (Ok(Some(place)), Some(v)) => self.set_entries(into, place, Some(v)),
                (Err(problem), Some(v)) => {
                    let origin = self.origin(id, v, problem);
                    self.set_mixed(into, origin, None);
                }
                _ => {}
            }
        }
        before != *self.state(into)
    }

    /// Walks a body until the states of its carried values are stable; each walk raises
    /// one of them, at most twice each.
    fn fixpoint(&mut self, id: NodeId, body: RegionId, pairs: &[(ValueId, ValueId)]) {
        loop {
            self.region(body);
            let mut changed = false;
            for &(param, result) in pairs {
                changed |= self.merge(id, param, &[result]);
            }
            if !changed {
                return;
            }
        }
    }

    pub(super) fn loop_(&mut self, id: NodeId, body: RegionId, carried: usize) {
        let node = &self.graph.nodes[id];
        let region = &self.graph.regions[body];
        // Operands are trip, cond, carried…; parameters iteration, cond, carried….
        for (&param, operand) in region.params.iter().zip(&node.inputs).skip(1) {
            self.merge(id, param, &[*operand]);
        }
        let params = region.params[1..].iter().copied();
        let pairs: Vec<(ValueId, ValueId)> = params.zip(region.results.iter().copied()).collect();
        self.fixpoint(id, body, &pairs[..=carried]);
        // How often it ran is seen in every result.
        let deciding = [node.inputs[0], region.params[1]];
        if let Some((origin, from)) = self.mixed(&deciding) {
            self.all_mixed(id, origin, Some(from));
            self.taint(id, origin, from);
            return;
        }
        for (i, &v) in node.outputs.iter().enumerate() {
            if i < carried {
                self.merge(id, v, &[region.params[i + 2]]);
            } else {
                self.stack(v, region.results[i + 1], 0);
            }
        }
        if matches!(&node.op, Op::Loop { dims, .. } if !dims.is_empty()) {
            self.changing_dims(id, &region.params[1..]);
        }
        self.check_shapes(id);
    }

    /// A result that stacks a body's result along a new axis.
    fn stack(&mut self, v: ValueId, result: ValueId, axis: usize) {
        match self.state(result).clone() {
            State::Shared => {}
            State::Mixed(origin) => self.set_mixed(v, origin, Some(result)),
            State::Entries(e) => {
                let place = e.at(e.axis + usize::from(e.axis >= axis));
                self.set_entries(v, place, Some(result));
            }
        }
    }

    pub(super) fn scan(&mut self, id: NodeId, attrs: &ScanAttrs) {
        let node = &self.graph.nodes[id];
        let region = &self.graph.regions[attrs.body];
        let (states, scanned) = region.params.split_at(attrs.states);
        for (&param, operand) in states.iter().zip(&node.inputs) {
            self.merge(id, param, &[*operand]);
        }
        let slices = scanned.iter().zip(&node.inputs[attrs.states..]).zip(&attrs.inputs);
        for ((&param, &operand), (axis, _)) in slices {
            self.slice(id, param, operand, *axis);
        }
        let pairs: Vec<(ValueId, ValueId)> =
            states.iter().copied().zip(region.results.iter().copied()).collect();
        self.fixpoint(id, attrs.body, &pairs);
        for (i, &v) in node.outputs.iter().enumerate() {
            match i.checked_sub(attrs.states) {
                None => {
                    self.merge(id, v, &[region.params[i]]);
                }
                Some(stacked) => self.stack(v, region.results[i], attrs.outputs[stacked].0),
            }
        }
        self.check_shapes(id);
    }

    /// A parameter that is one slice of the operand after the other.
    fn slice(&mut self, id: NodeId, param: ValueId, operand: ValueId, axis: usize) {
        match self.state(operand).clone() {
            State::Shared => {}
            State::Mixed(origin) => self.set_mixed(param, origin, Some(operand)),
            State::Entries(e) => match without_axis(&e, axis) {
                Ok(place) => self.set_entries(param, place, Some(operand)),
                Err(problem) => {
                    let origin = self.origin(id, operand, problem);
                    self.set_mixed(param, origin, None);
                }
            },
        }
    }

    pub(super) fn group(&mut self, id: NodeId, body: RegionId) {
        let node = &self.graph.nodes[id];
        let region = &self.graph.regions[body];
        for (&param, operand) in region.params.iter().zip(&node.inputs) {
            self.merge(id, param, &[*operand]);
            self.same_number(param, *operand);
        }
        self.region(body);
        for (&v, result) in node.outputs.iter().zip(&region.results) {
            self.merge(id, v, &[*result]);
            self.same_number(v, *result);
        }
        self.check_shapes(id);
    }
}

fn without_axis(e: &Entries, axis: usize) -> Result<Entries, Problem> {
    if e.axis == axis {
        return mixes(format!("the scan goes along axis {axis}, from entry to entry"));
    }
    Ok(e.at(e.axis - usize::from(e.axis > axis)))
}
