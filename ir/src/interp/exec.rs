//! Runs regions node by node and checks every value against its declared type.

use super::bind::{Bindings, Dims, describe};
use super::compute::compute;
use super::error::{OpError, RunError};
use super::{Observer, Tensor, Value, leaves};
use crate::graph::{ConstId, Graph, Node, NodeId, RegionId, ValueId};
use crate::op::Op;
use crate::types::{SecondaryMap, TensorType, ValueType};
use std::sync::Arc;

/// Regions may nest this deep; a region that contains itself must not overflow the stack.
const MAX_DEPTH: usize = 64;

/// One run of one graph.
pub(super) struct Interpreter<'a> {
    pub(super) graph: &'a Graph,
    pub(super) symbols: Bindings<'a>,
    /// Values by id; a region's activation overwrites those of the one before.
    env: SecondaryMap<ValueId, Option<Value>>,
    /// Constants already decoded: loop bodies read them again and again.
    consts: SecondaryMap<ConstId, Option<Arc<Tensor>>>,
    observer: Observer<'a>,
    depth: usize,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(graph: &'a Graph, observer: Observer<'a>) -> Self {
        Self {
            graph,
            symbols: Bindings::new(graph),
            env: SecondaryMap::new(),
            consts: SecondaryMap::new(),
            observer,
            depth: 0,
        }
    }

    pub(super) fn run(mut self, inputs: &[Value]) -> Result<Vec<Value>, RunError> {
        check_ids(self.graph)?;
        self.symbols.bind_inputs(inputs)?;
        self.region(Graph::ROOT, inputs.to_vec())
    }

    /// Runs a region on the owner's arguments.
    pub(super) fn region(
        &mut self,
        id: RegionId,
        args: Vec<Value>,
    ) -> Result<Vec<Value>, RunError> {
        let region = &self.graph.regions[id];
        if args.len() != region.params.len() {
            let (takes, gets) = (region.params.len(), args.len());
            let text = format!("region {id} takes {takes} parameters, its owner passes {gets}");
            return Err(RunError::Malformed(text));
        }
        if self.depth == MAX_DEPTH {
            return Err(RunError::Malformed(format!("regions nest deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        self.symbols.enter(id)?;
        for (&param, arg) in region.params.iter().zip(args) {
            self.define(param, arg, &|| format!("region {id}"))?;
        }
        for &node in &region.nodes {
            self.node(node)?;
        }
        self.symbols.leave();
        self.depth -= 1;
        region.results.iter().map(|&v| self.value(v)).collect()
    }

    /// A value computed before.
    pub(super) fn value(&self, id: ValueId) -> Result<Value, RunError> {
        let unset =
            || RunError::Malformed(format!("{} is used before it is computed", self.label(id)));
        self.env[id].clone().ok_or_else(unset)
    }

    /// Forgets a value: a resource may be used once.
    pub(super) fn use_up(&mut self, id: ValueId) {
        self.env[id] = None;
    }

    fn node(&mut self, id: NodeId) -> Result<(), RunError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let args = node.inputs.iter().map(|&v| self.value(v)).collect::<Result<Vec<_>, _>>()?;
        let definer = || format!("node {id} '{}'", node.source);
        let wrap = |this: &Self, error: OpError| RunError::Op {
            node: id,
            source_node: node.source.clone(),
            value: node.outputs.first().map_or("nothing".into(), |&v| this.label(v)),
            error: Box::new(error),
        };
        let results = self.op(node, args).map_err(|e| wrap(self, e))?;
        if results.len() != node.outputs.len() {
            let (gives, has) = (results.len(), node.outputs.len());
            return Err(RunError::Malformed(format!(
                "{} gives {gives} results but lists {has}",
                definer()
            )));
        }
        for (&output, result) in node.outputs.iter().zip(results) {
            self.define(output, result, &definer)?;
        }
        Ok(())
    }

    fn op(&mut self, node: &Node, args: Vec<Value>) -> Result<Vec<Value>, OpError> {
        match &node.op {
            Op::Const(id) => Ok(vec![Value::Tensor(self.constant(*id)?)]),
            Op::If { then_region, else_region, dims } => {
                self.run_if(*then_region, *else_region, dims, &args)
            }
            Op::Loop { body, carried, .. } => self.run_loop(*body, *carried, &args, node),
            Op::Scan(attrs) => self.run_scan(attrs, &args, node),
            Op::Group { body, .. } => Ok(self.region(*body, args).map_err(Box::new)?),
            Op::StateEmpty { ty, axis } => self.state_empty(ty, *axis),
            Op::StateAppend => self.state_append(node, &args),
            Op::StateRead { length, .. } => self.state_read(*length, &args),
            Op::BindDims { symbols, mode } => self.bind_dims(symbols, mode, &args),
            op => self.plain(op, &args),
        }
    }

    /// An op that computes tensors from tensors.
    fn plain(&mut self, op: &Op, args: &[Value]) -> Result<Vec<Value>, OpError> {
        let operands = args.iter().enumerate().map(|(i, v)| as_tensor(v, i));
        let operands = operands.collect::<Result<Vec<_>, _>>()?;
        let results = compute(op, &operands, &Dims::new(&|s| self.symbols.get(s)))?;
        match op {
            Op::NonZero { count } => {
                self.symbols.bind_symbol(*count, results[0].dims()[1] as i64)?
            }
            Op::NonMaxSuppression { count, .. } => {
                self.symbols.bind_symbol(*count, results[0].dims()[0] as i64)?;
            }
            _ => {}
        }
        Ok(results.into_iter().map(Value::from).collect())
    }

    fn constant(&mut self, id: ConstId) -> Result<Arc<Tensor>, OpError> {
        if let Some(known) = &self.consts[id] {
            return Ok(known.clone());
        }
        let value = Arc::new(leaves::constant(&self.graph.consts[id])?);
        self.consts[id] = Some(value.clone());
        Ok(value)
    }

    /// Records a computed value after comparing it with its declared type.
    fn define(
        &mut self,
        id: ValueId,
        value: Value,
        definer: &dyn Fn() -> String,
    ) -> Result<(), RunError> {
        let declared = self.graph.ty(id);
        let fits = match (declared, &value) {
            (ValueType::Tensor(ty), Value::Tensor(x)) => self.fits(id, ty, x, definer)?,
            (ValueType::Resource(_), Value::State { .. }) => true,
            _ => false,
        };
        if !fits {
            return Err(RunError::Mistyped {
                id,
                value: self.label(id),
                definer: definer(),
                declared: self.declared_text(declared),
                found: describe(&value),
            });
        }
        (self.observer)(id, &value);
        self.env[id] = Some(value);
        Ok(())
    }

    fn fits(
        &self,
        id: ValueId,
        ty: &TensorType,
        x: &Tensor,
        definer: &dyn Fn() -> String,
    ) -> Result<bool, RunError> {
        if ty.dtype != x.dtype() || ty.rank() != x.rank() {
            return Ok(false);
        }
        for (dim, &found) in ty.shape.iter().zip(x.dims()) {
            let value = dim.eval(&|s| self.symbols.get(s));
            let value = value.map_err(|source| RunError::Dim {
                place: format!("{} of {}", self.label(id), definer()),
                source,
            })?;
            if usize::try_from(value) != Ok(found) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A declared type with the values of its dims, where it has any.
    fn declared_text(&self, ty: &ValueType) -> String {
        let text = ty.display(&self.graph.symbols);
        let Some(tensor) = ty.as_tensor() else { return text };
        let value = |d: &crate::types::Dim| d.eval(&|s| self.symbols.get(s));
        let dims: Vec<String> =
            tensor.shape.iter().map(|d| value(d).map_or("?".into(), |v| v.to_string())).collect();
        let evaluated = format!("{}[{}]", tensor.dtype, dims.join(","));
        if evaluated == text { text } else { format!("{text} = {evaluated}") }
    }

    /// `%id 'name'`.
    fn label(&self, id: ValueId) -> String {
        match self.graph.values[id].name.as_str() {
            "" => id.to_string(),
            name => format!("{id} '{name}'"),
        }
    }
}

/// That every id names something. The verifier checks more; this much the interpreter
/// needs so that it can report, and not panic, on a graph that was not verified.
fn check_ids(graph: &Graph) -> Result<(), RunError> {
    let no = |what: String| Err(RunError::Malformed(format!("there is no {what}")));
    if graph.regions.is_empty() {
        return no("body".into());
    }
    for region in graph.regions.values() {
        let mut values = region.params.iter().chain(&region.results);
        if let Some(v) = values.find(|&&v| graph.values.get(v).is_none()) {
            return no(format!("value {v}"));
        }
        if let Some(n) = region.nodes.iter().find(|&&n| graph.nodes.get(n).is_none()) {
            return no(format!("node {n}"));
        }
    }
    for node in graph.nodes.values() {
        let mut values = node.inputs.iter().chain(&node.outputs);
        if let Some(v) = values.find(|&&v| graph.values.get(v).is_none()) {
            return no(format!("value {v}"));
        }
        if let Some(r) = node.op.regions().into_iter().find(|&r| graph.regions.get(r).is_none()) {
            return no(format!("region {r}"));
        }
        let binds = node.op.binds().into_iter().chain(node.op.binds_inside());
        if let Some(s) = binds.into_iter().find(|&s| graph.symbols.get(s).is_none()) {
            return no(format!("symbol {s}"));
        }
        if let Op::Const(c) = node.op
            && graph.consts.get(c).is_none()
        {
            return no(format!("constant {c}"));
        }
    }
    Ok(())
}

/// The tensor in a value; resources are no operands of ordinary ops.
pub(super) fn as_tensor(value: &Value, operand: usize) -> Result<&Tensor, OpError> {
    match value {
        Value::Tensor(t) => Ok(t),
        Value::State { .. } => {
            Err(OpError::Operand { operand, expected: "a tensor".into(), found: describe(value) })
        }
    }
}
