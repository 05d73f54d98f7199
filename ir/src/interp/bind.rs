//! Values of symbols: bound from input dims and by data-dependent ops.

use super::Value;
use super::error::{OpError, RunError};
use crate::graph::{DimCheck, Graph, RegionId, ValueId};
use crate::types::{Dim, EvalError, SecondaryMap, SymbolId, TensorType, ValueType};

/// Evaluates dims under a binding.
pub(super) struct Dims<'a> {
    bind: &'a dyn Fn(SymbolId) -> Option<i64>,
}

impl<'a> Dims<'a> {
    pub(super) fn new(bind: &'a dyn Fn(SymbolId) -> Option<i64>) -> Self {
        Self { bind }
    }

    /// The value of a dim, of either sign.
    pub(super) fn value(&self, dim: &Dim) -> Result<i64, OpError> {
        Ok(dim.eval(self.bind)?)
    }

    /// The value of a dim that is a size or a position.
    pub(super) fn size(&self, dim: &Dim) -> Result<usize, OpError> {
        let value = self.value(dim)?;
        usize::try_from(value).map_err(|_| OpError::TooSmall { what: "a size", value, min: 0 })
    }

    /// The values of a shape.
    pub(super) fn shape(&self, shape: &[Dim]) -> Result<Vec<usize>, OpError> {
        shape.iter().map(|d| self.size(d)).collect()
    }
}

/// The binding of one run.
pub(super) struct Bindings<'g> {
    graph: &'g Graph,
    values: SecondaryMap<SymbolId, Option<i64>>,
    /// The regions that run now, innermost last: their checks apply.
    running: Vec<RegionId>,
}

impl<'g> Bindings<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        Self { graph, values: SecondaryMap::new(), running: vec![] }
    }

    /// The value of a symbol.
    pub(super) fn get(&self, symbol: SymbolId) -> Option<i64> {
        self.values[symbol]
    }

    /// Binds all symbols that are dims of inputs and checks every input's type.
    pub(super) fn bind_inputs(&mut self, inputs: &[Value]) -> Result<(), RunError> {
        let expected = self.graph.inputs().len();
        if inputs.len() != expected {
            return Err(RunError::InputCount { expected, found: inputs.len() });
        }
        for (&id, input) in self.graph.inputs().iter().zip(inputs) {
            self.check_kind(id, input)?;
        }
        for (&id, input) in self.graph.inputs().iter().zip(inputs) {
            let Some(ty) = self.graph.ty(id).as_tensor() else { continue };
            for axis in 0..ty.rank() {
                self.bind_axis(id, ty, axis, input.tensor().dims()[axis])?;
            }
        }
        for (&id, input) in self.graph.inputs().iter().zip(inputs) {
            let Some(ty) = self.graph.ty(id).as_tensor() else { continue };
            for axis in 0..ty.rank() {
                self.check_axis(id, ty, axis, input.tensor().dims()[axis])?;
            }
        }
        Ok(())
    }

    /// A region starts: what it binds has no value yet, and its checks apply from now on.
    pub(super) fn enter(&mut self, region: RegionId) -> Result<(), RunError> {
        for &node in &self.graph.regions[region].nodes {
            for symbol in self.graph.nodes[node].op.binds() {
                self.values[symbol] = None;
            }
        }
        self.running.push(region);
        self.graph.regions[region].checks.iter().try_for_each(|c| self.check(c))
    }

    /// The region entered last ends.
    pub(super) fn leave(&mut self) {
        self.running.pop();
    }

    /// dtype, rank and kind of an input.
    fn check_kind(&self, id: ValueId, input: &Value) -> Result<(), RunError> {
        let declared = self.graph.ty(id);
        let fits = match (declared, input) {
            (ValueType::Tensor(t), Value::Tensor(x)) => {
                t.dtype == x.dtype() && t.rank() == x.rank()
            }
            (ValueType::Resource(_), Value::State { .. }) => true,
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(RunError::InputType {
            input: self.graph.values[id].name.clone(),
            expected: declared.display(&self.graph.symbols),
            found: describe(input),
        })
    }

    /// Binds a dim that is one symbol, unless it is bound.
    fn bind_axis(
        &mut self,
        id: ValueId,
        ty: &TensorType,
        axis: usize,
        found: usize,
    ) -> Result<(), RunError> {
        let Some(symbol) = ty.shape[axis].as_sym() else { return Ok(()) };
        if self.values[symbol].is_some() || self.graph.symbols.get(symbol).is_none() {
            return Ok(());
        }
        let (min, max) = self.graph.symbols.range(symbol);
        let value = i64::try_from(found).unwrap_or(i64::MAX);
        if value < min || value > max {
            let expected = format!("{} in {min}..={max}", self.graph.symbols.name(symbol));
            return Err(self.input_dim(id, axis, expected, found));
        }
        self.values[symbol] = Some(value);
        Ok(())
    }

    fn check_axis(
        &self,
        id: ValueId,
        ty: &TensorType,
        axis: usize,
        found: usize,
    ) -> Result<(), RunError> {
        let dim = &ty.shape[axis];
        let text = dim.display(&self.graph.symbols).to_string();
        let name = &self.graph.values[id].name;
        let value = dim.eval(&|s| self.get(s)).map_err(|source| RunError::Dim {
            place: format!("input '{name}' axis {axis}, {text}"),
            source,
        })?;
        if usize::try_from(value) == Ok(found) {
            return Ok(());
        }
        let expected = if dim.as_const().is_some() { text } else { format!("{text} = {value}") };
        Err(self.input_dim(id, axis, expected, found))
    }

    fn input_dim(&self, id: ValueId, axis: usize, expected: String, found: usize) -> RunError {
        RunError::InputDim { input: self.graph.values[id].name.clone(), axis, expected, found }
    }

    /// A check, if it can be evaluated; one over data-dependent symbols waits for them.
    fn check(&self, check: &DimCheck) -> Result<(), RunError> {
        let eval = |dim: &Dim| match dim.eval(&|s| self.get(s)) {
            Ok(value) => Ok(Some(value)),
            Err(EvalError::Unbound(s)) if self.is_data_dependent(s) => Ok(None),
            Err(source) => Err(RunError::Dim { place: check.what.clone(), source }),
        };
        match (eval(&check.lhs)?, eval(&check.rhs)?) {
            (Some(lhs_value), Some(rhs_value)) if lhs_value != rhs_value => Err(RunError::Check {
                what: check.what.clone(),
                lhs: check.lhs.display(&self.graph.symbols).to_string(),
                lhs_value,
                rhs: check.rhs.display(&self.graph.symbols).to_string(),
                rhs_value,
            }),
            _ => Ok(()),
        }
    }

    fn is_data_dependent(&self, symbol: SymbolId) -> bool {
        self.graph.symbols.get(symbol).is_some_and(|s| s.data_dependent)
    }

    /// Binds (or, in a loop, binds again) a data-dependent symbol.
    pub(super) fn bind_symbol(&mut self, symbol: SymbolId, value: i64) -> Result<(), OpError> {
        let (min, max) = self.graph.symbols.range(symbol);
        if value < min || value > max {
            let symbol = self.graph.symbols.name(symbol);
            return Err(OpError::Range { symbol, value, min, max });
        }
        self.values[symbol] = Some(value);
        let checks = self.running.iter().flat_map(|r| &self.graph.regions[*r].checks);
        for check in checks {
            if check.lhs.symbols().contains(&symbol) || check.rhs.symbols().contains(&symbol) {
                self.check(check).map_err(Box::new)?;
            }
        }
        Ok(())
    }
}

/// A value's type as text: `f32[2,3]`.
pub(super) fn describe(value: &Value) -> String {
    let x = value.tensor();
    let dims: Vec<String> = x.dims().iter().map(usize::to_string).collect();
    let text = format!("{}[{}]", x.dtype(), dims.join(","));
    match value {
        Value::Tensor(_) => text,
        Value::State { .. } => format!("resource holding {text}"),
    }
}
