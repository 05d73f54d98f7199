//! Evaluation of dims once symbols are bound; checked, never panics.

use super::{Atom, Dim, div_floor, rem_floor};
use crate::SymbolId;

/// Why a dim has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A symbol has no value yet.
    #[error("symbol {0} is not bound")]
    Unbound(SymbolId),
    /// An intermediate value does not fit 64 bits.
    #[error("the value does not fit 64 bits")]
    Overflow,
    /// Division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// Two dims that must broadcast do not.
    #[error("dims {0} and {1} do not broadcast: they must be equal or one must be 1")]
    Broadcast(i64, i64),
}

impl Dim {
    /// The value under a binding of the symbols.
    ///
    /// # Errors
    /// An unbound symbol, overflow, division by zero, or a broadcast of unequal dims.
    pub fn eval(&self, bind: &dyn Fn(SymbolId) -> Option<i64>) -> Result<i64, EvalError> {
        let mut sum = 0i64;
        for (m, c) in &self.terms {
            let mut product = *c;
            for (atom, power) in &m.0 {
                let factor = atom.eval(bind)?.checked_pow(*power).ok_or(EvalError::Overflow)?;
                product = product.checked_mul(factor).ok_or(EvalError::Overflow)?;
            }
            sum = sum.checked_add(product).ok_or(EvalError::Overflow)?;
        }
        Ok(sum)
    }
}

impl Atom {
    fn eval(&self, bind: &dyn Fn(SymbolId) -> Option<i64>) -> Result<i64, EvalError> {
        match self {
            Atom::Sym(id) => bind(*id).ok_or(EvalError::Unbound(*id)),
            Atom::FloorDiv(a, b) => match (a.eval(bind)?, b.eval(bind)?) {
                (_, 0) => Err(EvalError::DivisionByZero),
                (i64::MIN, -1) => Err(EvalError::Overflow),
                (a, b) => Ok(div_floor(a, b)),
            },
            Atom::Mod(a, b) => match (a.eval(bind)?, b.eval(bind)?) {
                (_, 0) => Err(EvalError::DivisionByZero),
                (a, b) => Ok(rem_floor(a, b)),
            },
            Atom::Max(a, b) => Ok(a.eval(bind)?.max(b.eval(bind)?)),
            Atom::Min(a, b) => Ok(a.eval(bind)?.min(b.eval(bind)?)),
            Atom::Bcast(a, b) => match (a.eval(bind)?, b.eval(bind)?) {
                (1, b) => Ok(b),
                (a, 1) => Ok(a),
                (a, b) if a == b => Ok(a),
                (a, b) => Err(EvalError::Broadcast(a, b)),
            },
        }
    }
}
