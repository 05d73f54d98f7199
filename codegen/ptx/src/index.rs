//! Index expressions.
//!
//! In 32 bits where the ranges of the symbols prove that every partial result fits (64-bit
//! multiplication and division are several instructions on a GPU), else in 64.

use crate::emit::Emit;
use crate::text::{Ty, V};
use cascata_types::{Atom, Dim, Monomial, SymbolId};

/// What a symbol stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Symbol {
    /// An i64 value.
    Value(V),
    /// A number, in an unrolled loop.
    Number(i64),
}

impl Emit<'_> {
    /// The value of an index expression, i64.
    pub fn dim(&mut self, dim: &Dim) -> V {
        let ty = if self.fits_i32(dim) { Ty::I32 } else { Ty::I64 };
        let v = self.dim_as(dim, ty);
        self.text.resize(v, Ty::I64, true)
    }

    /// Whether every partial result is an i32.
    fn fits_i32(&self, dim: &Dim) -> bool {
        const LIMIT: i64 = i32::MAX as i64;
        let symbols = &self.kernel.symbols;
        let mut sum = 0i64;
        for (monomial, c) in dim.terms() {
            let mut product = c.saturating_abs();
            for (atom, power) in &monomial.0 {
                let parts: &[&Dim] = match atom {
                    Atom::Sym(_) => &[],
                    Atom::FloorDiv(a, b)
                    | Atom::Mod(a, b)
                    | Atom::Max(a, b)
                    | Atom::Min(a, b)
                    | Atom::Bcast(a, b) => &[a.as_ref(), b.as_ref()],
                };
                if !parts.iter().all(|d| self.fits_i32(d)) {
                    return false;
                }
                let one = Dim::from(0) + self.atom_dim(atom);
                let (low, high) = one.bounds(symbols);
                let largest = low.saturating_abs().max(high.saturating_abs());
                for _ in 0..*power {
                    product = product.saturating_mul(largest.max(1));
                }
            }
            sum = sum.saturating_add(product);
        }
        sum <= LIMIT
    }

    /// An atom as an expression.
    fn atom_dim(&self, atom: &Atom) -> Dim {
        match atom {
            Atom::Sym(s) => Dim::sym(*s),
            Atom::FloorDiv(a, b) => a.floor_div(b),
            Atom::Mod(a, b) => a.modulo(b),
            Atom::Max(a, b) => a.maximum(b),
            Atom::Min(a, b) => a.minimum(b),
            Atom::Bcast(a, b) => a.maximum(b),
        }
    }

    fn dim_as(&mut self, dim: &Dim, ty: Ty) -> V {
        let mut sum: Option<V> = None;
        let mut constant = 0;
        for (monomial, c) in dim.terms() {
            match self.monomial(monomial, *c, ty) {
                Product::Number(x) => constant += x,
                Product::Value(v) => {
                    sum = Some(match sum {
                        Some(sum) => self.text.op("arith.addi", &[sum, v]),
                        None => v,
                    });
                }
            }
        }
        match sum {
            None => self.text.int(ty, constant),
            Some(sum) if constant == 0 => sum,
            Some(sum) => {
                let c = self.text.int(ty, constant);
                self.text.op("arith.addi", &[sum, c])
            }
        }
    }

    fn monomial(&mut self, monomial: &Monomial, c: i64, ty: Ty) -> Product {
        let (mut number, mut product): (i64, Option<V>) = (c, None);
        for (atom, power) in &monomial.0 {
            for _ in 0..*power {
                match self.atom(atom, ty) {
                    Product::Number(x) => number = number.wrapping_mul(x),
                    Product::Value(v) => {
                        product = Some(match product {
                            Some(p) => self.text.op("arith.muli", &[p, v]),
                            None => v,
                        });
                    }
                }
            }
        }
        match product {
            None => Product::Number(number),
            Some(v) if number == 1 => Product::Value(v),
            Some(v) => {
                let c = self.text.int(ty, number);
                Product::Value(self.text.op("arith.muli", &[v, c]))
            }
        }
    }

    fn atom(&mut self, atom: &Atom, ty: Ty) -> Product {
        let pair = match atom {
            Atom::Sym(s) => return self.symbol(*s, ty),
            Atom::FloorDiv(a, b)
            | Atom::Mod(a, b)
            | Atom::Max(a, b)
            | Atom::Min(a, b)
            | Atom::Bcast(a, b) => (a.as_ref(), b.as_ref()),
        };
        let (a, b) = (self.dim_as(pair.0, ty), self.dim_as(pair.1, ty));
        Product::Value(match atom {
            Atom::Max(..) => self.text.op("arith.maxsi", &[a, b]),
            Atom::Min(..) => self.text.op("arith.minsi", &[a, b]),
            Atom::Bcast(..) => {
                let one = self.text.int(ty, 1);
                let is_one = self.text.cmpi("eq", a, one);
                self.text.select(is_one, b, a)
            }
            Atom::FloorDiv(..) => self.floor_div(a, b, pair).0,
            _ => self.floor_div(a, b, pair).1,
        })
    }

    fn symbol(&mut self, id: SymbolId, ty: Ty) -> Product {
        match self.symbols.get(&id) {
            Some(Symbol::Number(x)) => Product::Number(*x),
            Some(Symbol::Value(v)) => Product::Value(self.text.resize(*v, ty, true)),
            None => {
                self.problem(format!(
                    "the symbol '{}' has no value here",
                    self.kernel.symbols.name(id)
                ));
                Product::Number(0)
            }
        }
    }

    /// `(floor(a / b), a − b·floor(a / b))`; the quotient by 0 is 0, and so is the rest.
    fn floor_div(&mut self, a: V, b: V, of: (&Dim, &Dim)) -> (V, V) {
        let symbols = &self.kernel.symbols;
        let ((a_low, _), (b_low, _)) = (of.0.bounds(symbols), of.1.bounds(symbols));
        let t = &mut self.text;
        let (zero, one) = (t.int(a.ty, 0), t.int(a.ty, 1));
        let by_zero = (b_low <= 0).then(|| t.cmpi("eq", b, zero));
        let safe = by_zero.map_or(b, |z| t.select(z, one, b));
        let (mut quotient, mut rest) = if a_low >= 0 && b_low >= 0 {
            (t.op("arith.divui", &[a, safe]), t.op("arith.remui", &[a, safe]))
        } else {
            let (quotient, rest) =
                (t.op("arith.divsi", &[a, safe]), t.op("arith.remsi", &[a, safe]));
            let signs = t.op("arith.xori", &[rest, safe]);
            let (differ, inexact) = (t.cmpi("slt", signs, zero), t.cmpi("ne", rest, zero));
            let wrong = t.op("arith.andi", &[differ, inexact]);
            let (below, above) =
                (t.op("arith.subi", &[quotient, one]), t.op("arith.addi", &[rest, safe]));
            (t.select(wrong, below, quotient), t.select(wrong, above, rest))
        };
        if let Some(by_zero) = by_zero {
            quotient = t.select(by_zero, zero, quotient);
            rest = t.select(by_zero, zero, rest);
        }
        (quotient, rest)
    }
}

/// A product so far.
enum Product {
    Number(i64),
    Value(V),
}
