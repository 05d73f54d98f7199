//! Ops on strings.

use super::{Ctx, InferError, Types, one};
use cascata_types::{DType, Dim, TensorType};

impl Ctx<'_> {
    fn string(&self, i: usize) -> Result<&TensorType, InferError> {
        let x = self.tensor(i)?;
        self.require(x.dtype == DType::Str, &format!("operand {i} must be a string"), "check it")?;
        Ok(x)
    }

    /// Equal shapes: broadcasting is another op's.
    pub(super) fn text_concat(&mut self) -> Types {
        self.arity(2, 2)?;
        let (a, b) = (self.string(0)?.shape.clone(), self.string(1)?.shape.clone());
        self.require(a.len() == b.len(), "operands must be of one rank", "broadcast them")?;
        for (i, (x, y)) in a.iter().zip(&b).enumerate() {
            self.equal(x, y, &format!("axis {i} of the operands"))?;
        }
        one(TensorType::dense(DType::Str, a))
    }

    /// A result of this dtype for each string.
    pub(super) fn text_map(&self, dtype: DType) -> Types {
        self.arity(1, 1)?;
        one(TensorType::dense(dtype, self.string(0)?.shape.clone()))
    }

    pub(super) fn text_split(&self, parts: &Dim) -> Types {
        self.arity(1, 1)?;
        let mut shape = self.string(0)?.shape.clone();
        shape.push(parts.clone());
        one(TensorType::dense(DType::Str, shape))
    }
}
