//! Why a model cannot be imported.

use cascata_ir::infer::InferError;
use std::fmt;
use std::path::PathBuf;

/// Why a model cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be opened or mapped.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than the option allows.
    #[error("{what} has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        bytes: u64,
        /// [`super::ImportOptions::max_bytes`].
        limit: u64,
    },
    /// The bytes are not an ONNX model.
    #[error("not an ONNX model: {0}")]
    Decode(String),
    /// A part of the model other than a node is wrong or not supported.
    #[error("{what}: {reason}")]
    Model {
        /// Which part: an input, an initializer, the opset list…
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option does not fit the model.
    #[error("option '{option}': {reason}")]
    Option {
        /// The option as given.
        option: String,
        /// Why it does not fit, and what would.
        reason: String,
    },
    /// Nodes that cannot be imported: all of them, not only the first.
    #[error("{}", list(.0))]
    Nodes(Vec<Problem>),
}

/// One node that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The node's name, else its op and first output.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Domain; `ai.onnx` for the default one.
    pub domain: String,
    /// The opset version in force for that domain; 0 when the model imports none.
    pub opset: i64,
    /// What is missing or wrong.
    pub reason: String,
    /// Whether it is wrong by ONNX's own rules, so that no run could get past it.
    pub invalid: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { node, op, domain, opset, reason, .. } = self;
        write!(f, "node '{node}' ({domain}.{op}, opset {opset}): {reason}")
    }
}

fn list(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "1 node cannot be imported".to_string(),
        n => format!("{n} nodes cannot be imported"),
    };
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}

impl ImportError {
    pub(super) fn model(what: impl Into<String>, reason: impl Into<String>) -> Self {
        ImportError::Model { what: what.into(), reason: reason.into() }
    }
}

/// Why one node is refused; becomes the reason of a [`Problem`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Valid ONNX, but not something that Cascata can express.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// Not valid ONNX.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The operands do not fit the core op.
    #[error("{0}")]
    Infer(#[from] InferError),
    /// An operand comes from a refused node; reported there.
    #[error("depends on a refused node")]
    Poisoned,
    /// Nodes of a body were refused, each already reported.
    #[error("the body has refused nodes")]
    Reported,
}

impl Refusal {
    /// Whether the node is wrong by ONNX's own rules.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Refusal::Malformed(_) | Refusal::Infer(_))
    }
}

/// The result of importing a node or a part of one.
pub(super) type R<T> = Result<T, Refusal>;

/// `Err(Refusal::Unsupported(…))` with a formatted reason.
macro_rules! unsupported {
    ($($arg:tt)*) => { Err($crate::onnx::error::Refusal::Unsupported(format!($($arg)*))) };
}

/// `Err(Refusal::Malformed(…))` with a formatted reason.
macro_rules! malformed {
    ($($arg:tt)*) => { Err($crate::onnx::error::Refusal::Malformed(format!($($arg)*))) };
}

pub(super) use {malformed, unsupported};
