//! Index expressions, compiled: linear terms first, which are nearly all there is.

use super::error::Step;
use cascata_types::{Atom, Dim, Entity as _, EvalError};

/// A [`Dim`] over registers.
#[derive(Debug)]
pub(super) struct Index {
    constant: i64,
    /// `(register, coefficient)`.
    linear: Box<[(usize, i64)]>,
    products: Box<[Product]>,
}

#[derive(Debug)]
struct Product {
    coefficient: i64,
    factors: Box<[(Factor, u32)]>,
}

#[derive(Debug)]
enum Factor {
    Register(usize),
    Call(Function, Box<(Index, Index)>),
}

#[derive(Clone, Copy, Debug)]
enum Function {
    FloorDiv,
    Mod,
    Max,
    Min,
    Bcast,
}

impl Index {
    /// Symbols are in the registers of their own number.
    pub(super) fn new(dim: &Dim) -> Self {
        let (mut constant, mut linear, mut products) = (0, Vec::new(), Vec::new());
        for (monomial, coefficient) in dim.terms() {
            match monomial.0.as_slice() {
                [] => constant = *coefficient,
                [(Atom::Sym(id), 1)] => linear.push((id.index(), *coefficient)),
                factors => {
                    let factors = factors.iter().map(|(atom, power)| (factor(atom), *power));
                    let factors = factors.collect();
                    products.push(Product { coefficient: *coefficient, factors });
                }
            }
        }
        Self { constant, linear: linear.into(), products: products.into() }
    }

    /// The value, checked as [`Dim::eval`] does.
    #[inline]
    pub(super) fn eval(&self, registers: &[i64]) -> Step<i64> {
        let mut sum = self.constant;
        for (register, coefficient) in &self.linear {
            let term = registers[*register].checked_mul(*coefficient);
            sum = term.and_then(|t| sum.checked_add(t)).ok_or(EvalError::Overflow)?;
        }
        if self.products.is_empty() { Ok(sum) } else { self.add_products(sum, registers) }
    }

    fn add_products(&self, mut sum: i64, registers: &[i64]) -> Step<i64> {
        for product in &self.products {
            let mut value = product.coefficient;
            for (factor, power) in &product.factors {
                let x = factor.eval(registers)?;
                for _ in 0..*power {
                    value = value.checked_mul(x).ok_or(EvalError::Overflow)?;
                }
            }
            sum = sum.checked_add(value).ok_or(EvalError::Overflow)?;
        }
        Ok(sum)
    }
}

fn factor(atom: &Atom) -> Factor {
    let call = |f, a: &Dim, b: &Dim| Factor::Call(f, Box::new((Index::new(a), Index::new(b))));
    match atom {
        Atom::Sym(id) => Factor::Register(id.index()),
        Atom::FloorDiv(a, b) => call(Function::FloorDiv, a, b),
        Atom::Mod(a, b) => call(Function::Mod, a, b),
        Atom::Max(a, b) => call(Function::Max, a, b),
        Atom::Min(a, b) => call(Function::Min, a, b),
        Atom::Bcast(a, b) => call(Function::Bcast, a, b),
    }
}

impl Factor {
    fn eval(&self, registers: &[i64]) -> Step<i64> {
        let (function, operands) = match self {
            Factor::Register(register) => return Ok(registers[*register]),
            Factor::Call(function, operands) => (*function, operands),
        };
        let (a, b) = (operands.0.eval(registers)?, operands.1.eval(registers)?);
        Ok(match function {
            Function::FloorDiv => floor_div(a, b)?,
            Function::Mod => a.wrapping_sub(b.wrapping_mul(floor_div(a, b)?)),
            Function::Max => a.max(b),
            Function::Min => a.min(b),
            Function::Bcast => match (a, b) {
                (1, x) | (x, 1) => x,
                (a, b) if a == b => a,
                (a, b) => return Err(EvalError::Broadcast(a, b).into()),
            },
        })
    }
}

fn floor_div(a: i64, b: i64) -> Step<i64> {
    if b == 0 {
        return Err(EvalError::DivisionByZero.into());
    }
    let q = a.checked_div(b).ok_or(EvalError::Overflow)?;
    let r = a.wrapping_rem(b);
    Ok(if r != 0 && (r < 0) != (b < 0) { q - 1 } else { q })
}
