//! States become tensors: appending is a concat along the growing axis, which a loop
//! carries as a dim that changes.

use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{BindMode, Op};
use cascata_types::{Dim, Scalar, SymbolId, SymbolTable, TensorType, ValueType};
use std::collections::HashMap;

/// Replaces every resource, unless the model's inputs hold some.
pub(super) fn to_tensors(graph: &mut Graph) -> Result<usize, InferError> {
    let outside = graph.inputs().iter().any(|v| is_resource(graph, *v));
    if outside || !graph.values.values().any(|v| matches!(v.ty, ValueType::Resource(_))) {
        return Ok(0);
    }
    let mut pass = States { graph, axes: HashMap::new(), replaced: HashMap::new(), count: 0 };
    pass.region(Graph::ROOT)?;
    let States { replaced, count, .. } = pass;
    crate::walk::substitute(graph, &|v| replaced.get(&v).copied().unwrap_or(v));
    Ok(count)
}

fn is_resource(graph: &Graph, v: ValueId) -> bool {
    matches!(graph.ty(v), ValueType::Resource(_))
}

struct States<'g> {
    graph: &'g mut Graph,
    /// The growing axis of each value that was a resource.
    axes: HashMap<ValueId, usize>,
    /// What was read → the tensor.
    replaced: HashMap<ValueId, ValueId>,
    count: usize,
}

impl States<'_> {
    fn region(&mut self, region: RegionId) -> Result<(), InferError> {
        for id in std::mem::take(&mut self.graph.regions[region].nodes) {
            self.node(region, id)?;
        }
        Ok(())
    }

    fn node(&mut self, region: RegionId, id: NodeId) -> Result<(), InferError> {
        let node = self.graph.nodes[id].clone();
        match &node.op {
            Op::StateEmpty { ty, axis } => {
                let value = Scalar::from_i64(ty.dtype, 0);
                self.graph.nodes[id].op = Op::Fill { value, shape: ty.shape.clone() };
                self.define(node.outputs[0], ty.clone(), *axis);
            }
            Op::StateAppend => {
                let Some(axis) = self.axes.get(&node.inputs[0]).copied() else {
                    return self.keep(region, id);
                };
                self.graph.nodes[id].op = Op::Concat { axis };
                let mut ty = self.graph.tensor(node.inputs[0]).clone();
                let more = self.graph.tensor(node.inputs[1]).shape[axis].clone();
                ty.shape[axis] = ty.shape[axis].clone() + more;
                self.define(node.outputs[0], ty, axis);
            }
            Op::StateRead { ty, length } => {
                return self.read(region, &node.inputs, node.outputs[0], ty, *length);
            }
            Op::Loop { body, dims, .. } => self.carried(id, *body, dims.clone())?,
            Op::If { then_region, else_region, dims } => {
                self.region(*then_region)?;
                self.region(*else_region)?;
                let branches = [*then_region, *else_region];
                self.branches(id, branches, dims.clone());
            }
            op => op.regions().into_iter().try_for_each(|r| self.region(r))?,
        }
        self.keep(region, id)
    }

    fn keep(&mut self, region: RegionId, id: NodeId) -> Result<(), InferError> {
        self.graph.regions[region].nodes.push(id);
        Ok(())
    }

    /// `v`, which was a resource, is a tensor from now on.
    fn define(&mut self, v: ValueId, ty: TensorType, axis: usize) {
        self.graph.values[v].ty = ty.into();
        self.axes.insert(v, axis);
        self.count += 1;
    }

    /// Binds the length and reads the tensor under it.
    fn read(
        &mut self,
        region: RegionId,
        inputs: &[ValueId],
        output: ValueId,
        ty: &TensorType,
        length: SymbolId,
    ) -> Result<(), InferError> {
        let state = inputs[0];
        let axis = self.axes.get(&state).copied().unwrap_or(0);
        let len = self.graph.tensor(state).shape[axis].clone();
        let dims = Op::DimValues { dims: vec![len], scalar: false };
        let dims = self.graph.add1(region, dims, vec![], "state_read")?;
        let bind = Op::BindDims { symbols: vec![length], mode: BindMode::Raw };
        self.graph.add(region, bind, vec![dims], "state_read")?;
        let read = Op::Reshape { shape: ty.shape.clone() };
        let read = self.graph.add1(region, read, vec![state], "state_read")?;
        self.graph.values[read].name = self.graph.values[output].name.clone();
        self.replaced.insert(output, read);
        self.count += 1;
        Ok(())
    }

    /// A new symbol for a length.
    fn length(&mut self) -> SymbolId {
        self.graph.symbols.fresh("length", 0, SymbolTable::DEFAULT_MAX)
    }

    fn carried(
        &mut self,
        id: NodeId,
        body: RegionId,
        mut dims: Vec<(SymbolId, SymbolId)>,
    ) -> Result<(), InferError> {
        let node = self.graph.nodes[id].clone();
        for (i, &v) in node.inputs.iter().enumerate().skip(2) {
            let Some(axis) = self.axes.get(&v).copied() else { continue };
            let (inside, after) = (self.length(), self.length());
            dims.push((inside, after));
            let ty = self.graph.tensor(v).clone();
            let with = |s: SymbolId| {
                let mut ty = ty.clone();
                ty.shape[axis] = Dim::sym(s);
                ty
            };
            let param = self.graph.regions[body].params[i];
            self.define(param, with(inside), axis);
            self.define(node.outputs[i - 2], with(after), axis);
        }
        if let Op::Loop { dims: all, .. } = &mut self.graph.nodes[id].op {
            *all = dims;
        }
        self.region(body)
    }

    fn branches(
        &mut self,
        id: NodeId,
        [then, other]: [RegionId; 2],
        mut dims: Vec<((usize, usize), SymbolId)>,
    ) {
        for (i, v) in self.graph.nodes[id].outputs.clone().into_iter().enumerate() {
            if !is_resource(self.graph, v) {
                continue;
            }
            let a = self.graph.regions[then].results[i];
            let b = self.graph.regions[other].results[i];
            let Some(axis) = self.axes.get(&a).copied() else { continue };
            let mut ty = self.graph.tensor(a).clone();
            if ty != *self.graph.tensor(b) {
                let length = self.length();
                ty.shape[axis] = Dim::sym(length);
                dims.push(((i, axis), length));
            }
            self.define(v, ty, axis);
        }
        if let Op::If { dims: all, .. } = &mut self.graph.nodes[id].op {
            *all = dims;
        }
    }
}
