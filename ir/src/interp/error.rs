//! Why a run stops.

use crate::graph::{NodeId, ValueId};
use crate::scalar::ScalarError;
use crate::types::{DType, EvalError};

/// Why a graph cannot be run on the given inputs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RunError {
    /// Another number of inputs.
    #[error("the graph takes {expected} inputs, {found} were given")]
    InputCount {
        /// By the graph.
        expected: usize,
        /// Given.
        found: usize,
    },
    /// An input of another kind: dtype, rank, or state where a tensor is expected.
    #[error("input '{input}' must be {expected}, found {found}")]
    InputType {
        /// The input's name.
        input: String,
        /// Its declared type.
        expected: String,
        /// What was given.
        found: String,
    },
    /// An input dim that does not fit.
    #[error("input '{input}' axis {axis} is {found}, expected {expected}")]
    InputDim {
        /// The input's name.
        input: String,
        /// The axis.
        axis: usize,
        /// The declared dim and its value or range.
        expected: String,
        /// The given size.
        found: usize,
    },
    /// A dim has no value.
    #[error("{place}: {source}")]
    Dim {
        /// Where the dim stands.
        place: String,
        /// Why it has no value.
        source: EvalError,
    },
    /// A check between dims failed.
    #[error("{what}: {lhs} = {lhs_value} must equal {rhs} = {rhs_value}")]
    Check {
        /// Who needs it.
        what: String,
        /// Left side.
        lhs: String,
        /// Its value.
        lhs_value: i64,
        /// Right side.
        rhs: String,
        /// Its value.
        rhs_value: i64,
    },
    /// An op cannot be computed.
    #[error("node {node} '{source_node}' computing {value}: {error}")]
    Op {
        /// The node.
        node: NodeId,
        /// Its source node's name.
        source_node: String,
        /// Its first result, as `%id 'name'`.
        value: String,
        /// What is wrong.
        #[source]
        error: Box<OpError>,
    },
    /// A value is not of its declared type: the type rules (or a rewrite) are wrong.
    #[error("{value} of {definer} is declared {declared} but was computed as {found}")]
    Mistyped {
        /// The value's id.
        id: ValueId,
        /// The value, as `%id 'name'`.
        value: String,
        /// The defining node or region.
        definer: String,
        /// The declared type, dims evaluated.
        declared: String,
        /// What was computed.
        found: String,
    },
    /// The graph refers to something that is not there (the verifier says more).
    #[error("the graph is malformed: {0}")]
    Malformed(String),
}

/// Why one op cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpError {
    /// Too few operands.
    #[error("operand {0} is missing")]
    MissingOperand(usize),
    /// An operand of another dtype.
    #[error("operand {operand} is {found}, expected {expected}")]
    Operand {
        /// Its position.
        operand: usize,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Operands whose dims do not fit together.
    #[error("{0}")]
    Shape(String),
    /// An index outside of its axis.
    #[error("index {index} is outside of axis {axis} of {len} elements")]
    Index {
        /// The index as given.
        index: i64,
        /// The addressed axis.
        axis: usize,
        /// Elements along it.
        len: usize,
    },
    /// A tensor over the size limit.
    #[error("a tensor of dims {dims:?} is over the limit of {limit} elements")]
    TooLarge {
        /// Its dims.
        dims: Vec<usize>,
        /// Most elements allowed.
        limit: usize,
    },
    /// Elements that do not fill the dims.
    #[error("{found} elements do not fill dims {dims:?}")]
    ElementCount {
        /// The dims.
        dims: Vec<usize>,
        /// Elements given.
        found: usize,
    },
    /// A dim with no value.
    #[error(transparent)]
    Dim(#[from] EvalError),
    /// A dim or attribute that must not be negative.
    #[error("{what} is {value}: it must be at least {min}")]
    TooSmall {
        /// Which.
        what: &'static str,
        /// Its value.
        value: i64,
        /// The least allowed.
        min: i64,
    },
    /// A data-dependent symbol outside of its range.
    #[error("symbol {symbol} is bound to {value}, outside of its range {min}..={max}")]
    Range {
        /// The symbol's name.
        symbol: String,
        /// Its value.
        value: i64,
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// A scalar op on a dtype for which it has no meaning.
    #[error(transparent)]
    Scalar(#[from] ScalarError),
    /// Not defined by the interpreter.
    #[error("{0} is not supported by the interpreter")]
    Unsupported(String),
    /// A region inside the op failed.
    #[error("in its body: {0}")]
    Body(#[from] Box<RunError>),
}

impl OpError {
    /// A dtype that an operand must not have.
    pub(super) fn dtype(operand: usize, expected: &str, found: DType) -> Self {
        Self::Operand { operand, expected: expected.into(), found: found.to_string() }
    }
}
