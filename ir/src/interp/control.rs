//! Ops that run regions: If, Loop and Scan.

use super::error::OpError;
use super::exec::{Interpreter, as_tensor};
use super::movement::{pick, stack};
use super::tensor::Tensor;
use super::{Value, bind::Dims};
use crate::graph::{Node, RegionId};
use crate::op::{Op, ScanAttrs};
use crate::types::{DType, SymbolId, ValueType};

impl Interpreter<'_> {
    pub(super) fn run_if(
        &mut self,
        then_region: RegionId,
        else_region: RegionId,
        dims: &[((usize, usize), SymbolId)],
        args: &[Value],
    ) -> Result<Vec<Value>, OpError> {
        let chosen = if flag(args, 0)? { then_region } else { else_region };
        let results = self.region(chosen, vec![]).map_err(Box::new)?;
        for ((result, axis), symbol) in dims {
            let size = size(results.get(*result), *axis)?;
            self.symbols.bind_symbol(*symbol, size)?;
        }
        Ok(results)
    }

    pub(super) fn run_loop(
        &mut self,
        body: RegionId,
        carried: usize,
        args: &[Value],
        node: &Node,
    ) -> Result<Vec<Value>, OpError> {
        let Op::Loop { count, dims, .. } = &node.op else { return Err(OpError::MissingOperand(0)) };
        let (trip, mut go) = (integer(args, 0)?, flag(args, 1)?);
        let mut state = args
            .get(2..carried.saturating_add(2))
            .ok_or(OpError::MissingOperand(args.len()))?
            .to_vec();
        let scanned = node.outputs.len().saturating_sub(carried);
        let mut rows: Vec<Vec<Tensor>> = vec![vec![]; scanned];
        let most = self.graph.symbols.range(*count).1;
        let mut iteration = 0i64;
        while go && iteration < trip {
            // Beyond its range the count could not be bound: do not run on for ever.
            if iteration >= most {
                self.symbols.bind_symbol(*count, iteration + 1)?;
            }
            for (inside, _) in dims {
                self.bind_changing(body, *inside, *inside, &state)?;
            }
            let mut passed: Vec<Value> =
                vec![Tensor::scalar(iteration).into(), Tensor::scalar(true).into()];
            passed.append(&mut state);
            let results = self.region(body, passed).map_err(Box::new)?;
            if results.len() != 1 + carried + scanned {
                return Err(body_results(results.len(), 1 + carried + scanned));
            }
            go = flag(&results, 0)?;
            state = results[1..1 + carried].to_vec();
            for (i, value) in results[1 + carried..].iter().enumerate() {
                rows[i].push(as_tensor(value, i)?.clone());
            }
            iteration += 1;
        }
        self.symbols.bind_symbol(*count, iteration)?;
        for (inside, after) in dims {
            self.bind_changing(body, *inside, *after, &state)?;
        }
        for (i, rows) in rows.iter().enumerate() {
            state.push(self.stacked(rows, 0, node, carried + i)?.into());
        }
        Ok(state)
    }

    /// Binds `symbol` to the size that the carried values have where the body's parameter
    /// has the dim `inside`.
    fn bind_changing(
        &mut self,
        body: RegionId,
        inside: SymbolId,
        symbol: SymbolId,
        carried: &[Value],
    ) -> Result<(), OpError> {
        let params = &self.graph.regions[body].params;
        let place = params.iter().skip(2).enumerate().find_map(|(i, v)| {
            let shape = &self.graph.ty(*v).as_tensor()?.shape;
            Some((i, shape.iter().position(|d| d.as_sym() == Some(inside))?))
        });
        let none = || OpError::Shape("a changing dim is at no carried parameter".into());
        let (index, axis) = place.ok_or_else(none)?;
        self.symbols.bind_symbol(symbol, size(carried.get(index), axis)?)
    }

    pub(super) fn run_scan(
        &mut self,
        attrs: &ScanAttrs,
        args: &[Value],
        node: &Node,
    ) -> Result<Vec<Value>, OpError> {
        let wanted = attrs.states + attrs.inputs.len();
        if args.len() != wanted {
            return Err(OpError::MissingOperand(args.len()));
        }
        let (state, sequences) = args.split_at(attrs.states);
        let mut state = state.to_vec();
        let steps = scan_length(attrs, sequences)?;
        let mut rows: Vec<Vec<Tensor>> = vec![vec![]; attrs.outputs.len()];
        for step in 0..steps {
            let mut passed = state;
            for (i, (sequence, &(axis, reverse))) in sequences.iter().zip(&attrs.inputs).enumerate()
            {
                let at = if reverse { steps - 1 - step } else { step };
                passed.push(pick(as_tensor(sequence, attrs.states + i)?, axis, at)?.into());
            }
            let results = self.region(attrs.body, passed).map_err(Box::new)?;
            if results.len() != attrs.states + rows.len() {
                return Err(body_results(results.len(), attrs.states + rows.len()));
            }
            state = results[..attrs.states].to_vec();
            for (i, value) in results[attrs.states..].iter().enumerate() {
                rows[i].push(as_tensor(value, i)?.clone());
            }
        }
        for (i, (mut rows, &(axis, reverse))) in rows.into_iter().zip(&attrs.outputs).enumerate() {
            if reverse {
                rows.reverse();
            }
            state.push(self.stacked(&rows, axis, node, attrs.states + i)?.into());
        }
        Ok(state)
    }

    /// The per-iteration results joined along a new axis. Without any, the declared type
    /// of the result says what is empty; its unknown dims are 0.
    fn stacked(
        &self,
        rows: &[Tensor],
        axis: usize,
        node: &Node,
        output: usize,
    ) -> Result<Tensor, OpError> {
        if !rows.is_empty() {
            return stack(&rows.iter().collect::<Vec<_>>(), axis);
        }
        let declared = node.outputs.get(output).map(|&v| self.graph.ty(v));
        let Some(ValueType::Tensor(ty)) = declared else {
            return Err(OpError::Unsupported("a stacked result that is no tensor".into()));
        };
        let bind = |s| self.symbols.get(s);
        let dims = Dims::new(&bind);
        let mut sizes: Vec<usize> = ty.shape.iter().map(|d| dims.size(d).unwrap_or(0)).collect();
        if let Some(size) = sizes.get_mut(axis) {
            *size = 0;
        }
        Tensor::zeros(ty.dtype, &sizes)
    }
}

/// The common length of all scanned operands; 0 without any.
fn scan_length(attrs: &ScanAttrs, sequences: &[Value]) -> Result<usize, OpError> {
    let mut length = None;
    for (i, (sequence, &(axis, _))) in sequences.iter().zip(&attrs.inputs).enumerate() {
        let x = as_tensor(sequence, attrs.states + i)?;
        let len = *x.dims().get(axis).ok_or_else(|| super::index::no_axis(axis, x.dims()))?;
        if *length.get_or_insert(len) != len {
            return Err(OpError::Shape("scanned operands differ in length".into()));
        }
    }
    Ok(length.unwrap_or(0))
}

/// The size of an axis of a value that leaves a region.
fn size(value: Option<&Value>, axis: usize) -> Result<i64, OpError> {
    let x = as_tensor(value.ok_or(OpError::MissingOperand(0))?, 0)?;
    let len = x.dims().get(axis).ok_or_else(|| super::index::no_axis(axis, x.dims()))?;
    Ok(*len as i64)
}

fn body_results(found: usize, expected: usize) -> OpError {
    OpError::Shape(format!("the body gives {found} results, expected {expected}"))
}

/// Operand `i`, one bool.
fn flag(args: &[Value], i: usize) -> Result<bool, OpError> {
    let x = as_tensor(args.get(i).ok_or(OpError::MissingOperand(i))?, i)?;
    match x.as_slice::<bool>() {
        Some(&[value]) => Ok(value),
        _ => Err(OpError::Operand {
            operand: i,
            expected: "one bool".into(),
            found: super::bind::describe(&args[i]),
        }),
    }
}

/// Operand `i`, one i64.
fn integer(args: &[Value], i: usize) -> Result<i64, OpError> {
    let x = as_tensor(args.get(i).ok_or(OpError::MissingOperand(i))?, i)?;
    match x.as_slice::<i64>() {
        Some(&[value]) => Ok(value),
        _ => Err(OpError::dtype(i, &format!("one {}", DType::I64), x.dtype())),
    }
}
