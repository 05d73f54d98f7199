//! Tensor and value types.

use crate::{DType, Dim, Encoding, SymbolTable};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The dims of a tensor, outermost first.
pub type Shape = Vec<Dim>;

/// dtype × shape × encoding. Printed as `f32[B,128]` or `f32[576,1536]:q4_1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorType {
    /// Logical element type.
    pub dtype: DType,
    /// Logical dims, outermost first.
    pub shape: Shape,
    /// How the elements lie in memory.
    #[serde(default)]
    pub encoding: Encoding,
}

impl TensorType {
    /// A dense row-major tensor.
    pub fn dense(dtype: DType, shape: impl Into<Shape>) -> Self {
        Self { dtype, shape: shape.into(), encoding: Encoding::Dense }
    }

    /// A dense tensor whose dims are all known.
    pub fn fixed(dtype: DType, dims: &[i64]) -> Self {
        Self::dense(dtype, dims.iter().map(|&d| Dim::from(d)).collect::<Shape>())
    }

    /// Number of dims.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Product of all dims.
    pub fn elements(&self) -> Dim {
        self.shape.iter().fold(Dim::from(1), |n, d| n * d.clone())
    }

    /// All dims when they are known numbers.
    pub fn static_shape(&self) -> Option<Vec<i64>> {
        self.shape.iter().map(Dim::as_const).collect()
    }

    /// Why the encoding cannot hold a tensor of this dtype and shape, if it cannot.
    pub fn encoding_problem(&self) -> Option<String> {
        let last = self.shape.last().and_then(Dim::as_const);
        match self.encoding {
            Encoding::Dense => None,
            _ if self.dtype == DType::Str => Some("strings are always dense".into()),
            Encoding::Quant(q) if self.dtype != DType::F32 => Some(format!("{q} holds f32 only")),
            Encoding::Quant(q) => {
                let block = q.block_elements() as i64;
                let whole = last.is_some_and(|n| n % block == 0);
                (!whole)
                    .then(|| format!("{q} needs a last dim that is a known multiple of {block}"))
            }
            Encoding::BlockSparse { rows, cols } => (rows == 0 || cols == 0 || self.rank() < 2)
                .then(|| "block sparsity needs a matrix and blocks of 1x1 or more".into()),
            Encoding::Panels(p) => {
                let matrix = p.k.checked_mul(p.n).and_then(|n| i64::try_from(n).ok());
                let whole = match (matrix, self.elements().as_const()) {
                    (Some(0), n) => n == Some(0),
                    (Some(m), Some(n)) => n % m == 0,
                    _ => false,
                };
                (!p.is_cut() || !whole).then(|| {
                    "the panels do not tile the tensor; it must be whole K×N matrices".into()
                })
            }
        }
    }

    /// Bytes that the elements take as stored; `None` where that depends on the data
    /// (strings, block sparsity), on symbols, or does not fit.
    pub fn stored_bytes(&self) -> Option<u64> {
        let dims = self.static_shape()?;
        let count = dims.iter().try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?))?;
        let size = self.dtype.size_bytes()? as u64;
        match self.encoding {
            Encoding::Dense => count.checked_mul(size),
            Encoding::Quant(q) => (count / q.block_elements()).checked_mul(q.block_bytes()),
            Encoding::BlockSparse { .. } => None,
            Encoding::Panels(p) => {
                let matrices = count.checked_div(p.k.checked_mul(p.n)?).unwrap_or(0);
                matrices.checked_mul(p.checked_elements()?)?.checked_mul(size)
            }
        }
    }

    /// The text form with symbol names from `symbols`.
    pub fn display(&self, symbols: &SymbolTable) -> String {
        let mut out = format!("{}[", self.dtype);
        for (i, d) in self.shape.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{}", d.display(symbols));
        }
        out.push(']');
        if self.encoding != Encoding::Dense {
            let _ = write!(out, ":{}", self.encoding);
        }
        out
    }
}

/// What an SSA value holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// A tensor.
    Tensor(TensorType),
    /// A list of tensors of one dtype (ONNX `seq`); shapes may differ.
    Sequence(DType),
    /// A value that may be absent (ONNX `optional`).
    Optional(Box<ValueType>),
    /// State threaded through SSA, used linearly (e.g. a KV cache); the string is its kind.
    Resource(String),
}

impl ValueType {
    /// The tensor type, if this is a tensor.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            ValueType::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// The text form: `f32[2,3]`, `seq<f32>`, `opt<f32[2]>`, `resource<kv>`.
    pub fn display(&self, symbols: &SymbolTable) -> String {
        match self {
            ValueType::Tensor(t) => t.display(symbols),
            ValueType::Sequence(d) => format!("seq<{d}>"),
            ValueType::Optional(t) => format!("opt<{}>", t.display(symbols)),
            ValueType::Resource(kind) => format!("resource<{kind}>"),
        }
    }
}

impl From<TensorType> for ValueType {
    fn from(t: TensorType) -> Self {
        ValueType::Tensor(t)
    }
}

/// The arithmetic family of a dtype: kernels and rules ask for this, not for a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum ElemKind {
    Bool,
    Signed,
    Unsigned,
    Float,
    Str,
}

impl From<DType> for ElemKind {
    fn from(d: DType) -> Self {
        match d {
            DType::Bool => ElemKind::Bool,
            DType::Str => ElemKind::Str,
            d if d.is_float() => ElemKind::Float,
            d if d.is_signed_int() => ElemKind::Signed,
            _ => ElemKind::Unsigned,
        }
    }
}
