//! Branches and loops: a block for each region, slots for what crosses its border.

use super::{Body, Builder, Control, Step, checks, lower_region};
use crate::lower::{LowerError, Lowering, Operand};
use cascata_artifact::manifest as m;
use cascata_ir::graph::{Graph, Node, NodeId, ValueId};
use cascata_ir::op::Op;
use cascata_passes::fuse::memory_owner;
use cascata_types::{Dim, Encoding, SymbolId};

/// Lowers the regions of a branch or a loop.
pub(super) fn lower(
    lowering: &mut Lowering,
    graph: &Graph,
    id: NodeId,
    errors: &mut Vec<LowerError>,
) -> Result<Control, LowerError> {
    let node = &graph.nodes[id];
    let dense =
        |v: &ValueId| graph.ty(*v).as_tensor().is_some_and(|t| t.encoding == Encoding::Dense);
    if !node.inputs.iter().chain(&node.outputs).all(dense) {
        let reason = "its operands and results must be dense tensors";
        return Err(lowering.unsupported(id, reason));
    }
    let inputs = node.inputs.iter().map(|v| lowering.operand(*v)).collect();
    let body = |region| {
        let steps = lower_region(lowering, graph, region, errors);
        let results = &graph.regions[region].results;
        let results = results.iter().map(|v| lowering.operand(*v)).collect();
        Body { region, steps, results }
    };
    let bodies = node.op.regions().into_iter().map(body).collect();
    Ok(Control { node: id, inputs, bodies })
}

impl Builder<'_> {
    pub(super) fn control(&mut self, control: &Control) -> m::Step {
        let node = &self.graph.nodes[control.node];
        let inputs: Vec<u32> = control.inputs.iter().map(|o| self.buffers.id(*o)).collect();
        node.outputs.iter().for_each(|v| self.buffers.slot(*v));
        match (&node.op, control.bodies.as_slice()) {
            (Op::Loop { carried, count, dims, .. }, [body]) => {
                let l = self.repeat(node, &inputs, body, (*carried, *count, dims));
                m::Step::Loop(l)
            }
            (op, bodies) => {
                let dims = match op {
                    Op::If { dims, .. } => dims.as_slice(),
                    _ => &[],
                };
                m::Step::If(self.branch(node, &inputs, bodies, dims))
            }
        }
    }

    /// The buffer of a value that is in memory of its own.
    fn value(&mut self, v: ValueId) -> u32 {
        self.buffers.id(Operand::Value(v))
    }

    /// A block for a region, left open; its number.
    fn open(&mut self, body: &Body) -> u32 {
        self.blocks.push(m::Block::default());
        let block = self.blocks.len() as u32;
        let steps: &[Step] = &body.steps;
        let steps = self.steps(body.region, steps, block);
        self.buffers.at(steps.len().saturating_sub(1));
        let checks = checks(&self.graph.regions[body.region].checks);
        self.blocks[block as usize - 1] = m::Block { steps, checks };
        block
    }

    fn branch(
        &mut self,
        node: &Node,
        inputs: &[u32],
        bodies: &[Body],
        dims: &[((usize, usize), SymbolId)],
    ) -> m::Branch {
        let mut blocks = Vec::new();
        let mut results: Vec<Vec<u32>> = Vec::new();
        for body in bodies {
            let values = &self.graph.regions[body.region].results;
            values.iter().for_each(|v| self.buffers.slot(*v));
            blocks.push(self.open(body));
            results.push(body.results.iter().map(|o| self.buffers.id(*o)).collect());
            self.buffers.leave();
        }
        let size = |side: usize, result: usize, axis: usize| -> Dim {
            let v = self.graph.regions[bodies[side].region].results[result];
            self.graph.tensor(v).shape[axis].clone()
        };
        let dims = dims.iter().map(|((r, axis), symbol)| m::BranchDim {
            symbol: *symbol,
            then: size(0, *r, *axis),
            other: size(1, *r, *axis),
        });
        let dims = dims.collect();
        let pairs = results[0].iter().zip(&results[1]).zip(&node.outputs);
        let results = pairs
            .map(|((then, other), v)| m::BranchResult {
                then: *then,
                other: *other,
                result: self.value(*v),
            })
            .collect();
        let source = vec![node.source.clone()];
        let (then_block, else_block) = (blocks[0], blocks[1]);
        m::Branch { cond: inputs[0], then_block, else_block, results, dims, source }
    }

    fn repeat(
        &mut self,
        node: &Node,
        inputs: &[u32],
        body: &Body,
        (carried, count, dims): (usize, SymbolId, &[(SymbolId, SymbolId)]),
    ) -> m::Loop {
        let region = &self.graph.regions[body.region];
        region.params.iter().for_each(|v| self.buffers.slot(*v));
        let stays =
            |i: usize| memory_owner(self.graph, region.results[i + 1]) == region.params[i + 2];
        for i in (0..carried).filter(|i| !stays(*i)) {
            self.buffers.slot(region.results[i + 1]);
        }
        let block = self.open(body);
        let results: Vec<u32> = body.results.iter().map(|o| self.buffers.id(*o)).collect();
        let params: Vec<u32> = region.params[2..].iter().map(|v| self.value(*v)).collect();
        let [iteration, going] = [0, 1].map(|i| self.buffers.known(region.params[i]));
        self.buffers.leave();
        let outputs: Vec<u32> = node.outputs.iter().map(|v| self.value(*v)).collect();
        let carry = |i: usize| m::Carried {
            initial: inputs[i + 2],
            param: params[i],
            next: (!stays(i)).then_some(results[i + 1]),
            result: outputs[i],
        };
        let rows = results[carried + 1..].iter().zip(&outputs[carried..]);
        m::Loop {
            trip: inputs[0],
            cond: inputs[1],
            body: block,
            iteration,
            going,
            next_cond: results[0],
            carried: (0..carried).map(carry).collect(),
            scanned: rows.map(|(row, result)| m::Scanned { row: *row, result: *result }).collect(),
            count,
            dims: dims.iter().filter_map(|d| self.changing(node, body, *d)).collect(),
            source: vec![node.source.clone()],
        }
    }

    /// A dim that changes from iteration to iteration.
    fn changing(
        &self,
        node: &Node,
        body: &Body,
        (inside, after): (SymbolId, SymbolId),
    ) -> Option<m::LoopDim> {
        let region = &self.graph.regions[body.region];
        let (i, axis) = region.params.iter().enumerate().skip(2).find_map(|(i, v)| {
            let shape = &self.graph.tensor(*v).shape;
            Some((i, shape.iter().position(|d| d.as_sym() == Some(inside))?))
        })?;
        let dim = |v: ValueId| self.graph.tensor(v).shape[axis].clone();
        let (initial, next) = (dim(node.inputs[i]), dim(region.results[i - 1]));
        Some(m::LoopDim { inside, after, initial, next })
    }
}
