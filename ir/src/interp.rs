//! The reference interpreter of [`Graph`]: it defines what every op means.
//!
//! Naive on purpose: one loop per op, floats accumulated in `f64` and rounded once to
//! the result's dtype, integers exact and wrapped. Every computed value is compared
//! with its declared type, so a wrong shape rule or rewrite is found here.
//!
//! # Symbols
//! A symbol that is an input dim by itself is bound by that input; input dims that are
//! other expressions are checked. A data-dependent symbol is bound by its op, in a loop
//! body once per iteration; checks between dims that mention it are made then.
//!
//! # Limits
//! Tensors have at most [`MAX_ELEMENTS`] elements, regions nest at most 64 deep. User
//! input never panics: every failure is a [`RunError`].

use crate::graph::{Graph, ValueId};
use crate::op::Op;
use crate::types::{SecondaryMap, SymbolId};
use std::sync::Arc;

mod attention;
mod bind;
mod cache_attention;
mod compute;
mod control;
mod conv;
mod elementwise;
mod error;
mod exec;
mod gather;
mod index;
mod leaves;
mod matmul;
mod movement;
mod nms;
mod norm;
mod pad;
mod pool;
mod recurrent;
mod reduce;
mod resize;
mod scatter;
mod search;
mod state;
mod tensor;
mod text;

pub use error::{OpError, RunError};
pub use leaves::constant;
pub use tensor::{Data, Element, MAX_ELEMENTS, Tensor};

/// What an SSA value holds while the graph runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A tensor.
    Tensor(Arc<Tensor>),
    /// A resource: what has been appended so far.
    State {
        /// The axis that grows.
        axis: usize,
        /// The contents.
        tensor: Arc<Tensor>,
    },
}

impl Value {
    /// The tensor or the contents of the state.
    pub fn tensor(&self) -> &Tensor {
        match self {
            Value::Tensor(t) | Value::State { tensor: t, .. } => t,
        }
    }
}

impl From<Tensor> for Value {
    fn from(t: Tensor) -> Self {
        Value::Tensor(Arc::new(t))
    }
}

/// Called with each value as it is computed, region parameters included; a value in a
/// loop is seen once per iteration.
pub type Observer<'a> = &'a mut dyn FnMut(ValueId, &Value);

/// Runs a graph on tensors and gives its outputs.
///
/// # Errors
/// Inputs that do not fit the graph, a failed check between dims, or an op that cannot
/// be computed on these values.
///
/// ```
/// use cascata_ir::graph::Graph;
/// use cascata_ir::interp::{Tensor, run};
/// use cascata_ir::op::{Op, UnaryOp};
/// use cascata_ir::types::{DType, TensorType};
///
/// let mut graph = Graph::new("negate");
/// let ty = TensorType::fixed(DType::F32, &[2]);
/// let x = graph.add_param(Graph::ROOT, "x", ty.clone());
/// let y = graph.add_node_typed(Graph::ROOT, Op::Unary(UnaryOp::Neg), vec![x], vec![ty.into()], "");
/// graph.add_output("y", y[0]);
/// let out = run(&graph, &[Tensor::vector(vec![1.0f32, -2.0])])?;
/// assert_eq!(out, [Tensor::vector(vec![-1.0f32, 2.0])]);
/// # Ok::<(), cascata_ir::interp::RunError>(())
/// ```
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
    run_with(graph, inputs, &mut |_, _| {})
}

/// As [`run`], showing every value to `observer`.
///
/// # Errors
/// As [`run`]; the values computed before the error have been shown.
pub fn run_with(
    graph: &Graph,
    inputs: &[Tensor],
    observer: Observer<'_>,
) -> Result<Vec<Tensor>, RunError> {
    let inputs: Vec<Value> = inputs.iter().cloned().map(Value::from).collect();
    let outputs = run_values(graph, &inputs, observer)?;
    Ok(outputs.iter().map(|v| v.tensor().clone()).collect())
}

/// As [`run_with`] for graphs that take or give resources.
///
/// # Errors
/// As [`run`].
pub fn run_values(
    graph: &Graph,
    inputs: &[Value],
    observer: Observer<'_>,
) -> Result<Vec<Value>, RunError> {
    exec::Interpreter::new(graph, observer).run(inputs)
}

/// What a run computed.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The graph's outputs.
    pub outputs: Vec<Tensor>,
    /// Every value's last contents; `None` where it was never computed.
    pub values: SecondaryMap<ValueId, Option<Value>>,
}

/// As [`run`], keeping all intermediate values.
///
/// # Errors
/// As [`run`].
pub fn run_recorded(graph: &Graph, inputs: &[Tensor]) -> Result<Recorded, RunError> {
    let mut values = SecondaryMap::new();
    let outputs = run_with(graph, inputs, &mut |id, value| values[id] = Some(value.clone()))?;
    Ok(Recorded { outputs, values })
}

/// Computes one op that owns no region and holds no state, e.g. to fold constants or to
/// test a rewrite rule. `bind` gives the values of symbols.
///
/// # Errors
/// As the op's node in [`run`]; `Const`, `BindDims`, control flow and state are refused.
pub fn eval_op(
    op: &Op,
    operands: &[&Tensor],
    bind: &dyn Fn(SymbolId) -> Option<i64>,
) -> Result<Vec<Tensor>, OpError> {
    compute::compute(op, operands, &bind::Dims::new(bind))
}
