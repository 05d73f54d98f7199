//! Resources (growing tensors) and dims read from data.

use super::Value;
use super::bind::{Dims, describe};
use super::error::OpError;
use super::exec::{Interpreter, as_tensor};
use super::index::no_axis;
use super::movement::concat;
use super::tensor::Tensor;
use crate::graph::Node;
use crate::op::BindMode;
use crate::types::{SymbolId, TensorType};
use std::sync::Arc;

impl Interpreter<'_> {
    pub(super) fn state_empty(&self, ty: &TensorType, axis: usize) -> Result<Vec<Value>, OpError> {
        let mut shape = ty.shape.clone();
        match shape.get_mut(axis) {
            Some(dim) => *dim = 0.into(),
            None => return Err(OpError::Shape(format!("axis {axis} is no axis of the state"))),
        }
        let dims = Dims::new(&|s| self.symbols.get(s)).shape(&shape)?;
        let tensor = Arc::new(Tensor::zeros(ty.dtype, &dims)?);
        Ok(vec![Value::State { axis, tensor }])
    }

    /// The operand is used up: reading it later is an error.
    pub(super) fn state_append(
        &mut self,
        node: &Node,
        args: &[Value],
    ) -> Result<Vec<Value>, OpError> {
        let (axis, held) = state(args)?;
        let more = as_tensor(args.get(1).ok_or(OpError::MissingOperand(1))?, 1)?;
        let tensor = Arc::new(concat(&[held, more], axis)?);
        self.use_up(node.inputs[0]);
        Ok(vec![Value::State { axis, tensor }])
    }

    pub(super) fn state_read(
        &mut self,
        length: SymbolId,
        args: &[Value],
    ) -> Result<Vec<Value>, OpError> {
        let (axis, held) = state(args)?;
        let len = *held.dims().get(axis).ok_or_else(|| no_axis(axis, held.dims()))?;
        self.symbols.bind_symbol(length, len as i64)?;
        Ok(vec![held.clone().into()])
    }

    pub(super) fn bind_dims(
        &mut self,
        symbols: &[SymbolId],
        mode: &BindMode,
        args: &[Value],
    ) -> Result<Vec<Value>, OpError> {
        let x = as_tensor(args.first().ok_or(OpError::MissingOperand(0))?, 0)?;
        let given = match x.as_slice::<i64>() {
            Some(values) if x.rank() == 1 && values.len() == symbols.len() => values,
            _ => {
                let expected = format!("i64[{}]", symbols.len());
                return Err(OpError::Operand { operand: 0, expected, found: describe(&args[0]) });
            }
        };
        let values = match mode {
            BindMode::Raw => given.to_vec(),
            BindMode::Reshape { operand, allow_zero } => {
                let dims = Dims::new(&|s| self.symbols.get(s)).shape(operand)?;
                reshape_target(given, &dims, *allow_zero)?
            }
        };
        for (&symbol, value) in symbols.iter().zip(values) {
            self.symbols.bind_symbol(symbol, value)?;
        }
        Ok(vec![])
    }
}

/// The resource that is operand 0: its axis and contents.
fn state(args: &[Value]) -> Result<(usize, &Tensor), OpError> {
    match args.first() {
        Some(Value::State { axis, tensor }) => Ok((*axis, tensor)),
        Some(other) => Err(OpError::Operand {
            operand: 0,
            expected: "a resource".into(),
            found: describe(other),
        }),
        None => Err(OpError::MissingOperand(0)),
    }
}

/// The dims that an ONNX reshape target stands for.
fn reshape_target(given: &[i64], operand: &[usize], allow_zero: bool) -> Result<Vec<i64>, OpError> {
    let wrong = |text: &str| OpError::Shape(format!("reshape of {operand:?} to {given:?}: {text}"));
    let mut out = given.to_vec();
    for (i, dim) in out.iter_mut().enumerate().filter(|(_, d)| **d == 0 && !allow_zero) {
        *dim = *operand.get(i).ok_or_else(|| wrong("0 copies an axis that is not there"))? as i64;
    }
    if out.iter().any(|&d| d < -1) {
        return Err(wrong("a dim is below -1"));
    }
    let open: Vec<usize> = (0..out.len()).filter(|&i| out[i] == -1).collect();
    let known = out.iter().filter(|&&d| d != -1).try_fold(1i64, |n, &d| n.checked_mul(d));
    let known = known.ok_or_else(|| wrong("the target is too large"))?;
    let all: i64 = operand.iter().product::<usize>() as i64;
    match open.as_slice() {
        [] if known == all => Ok(out),
        [] => Err(wrong("the number of elements differs")),
        [i] if known != 0 && all % known == 0 => {
            out[*i] = all / known;
            Ok(out)
        }
        [_] => Err(wrong("no size for -1 fits")),
        _ => Err(wrong("-1 occurs twice")),
    }
}
