//! Interval bounds of dims under the ranges of their symbols.

use super::{Atom, Dim, SymbolTable, div_floor};

impl Dim {
    /// Inclusive bounds `(min, max)` that hold for every allowed binding; they
    /// may be loose (each occurrence of a symbol varies on its own) and saturate.
    pub fn bounds(&self, symbols: &SymbolTable) -> (i64, i64) {
        let mut sum = (0i64, 0i64);
        for (m, c) in &self.terms {
            let mut product = (*c, *c);
            for (atom, power) in &m.0 {
                let b = atom.bounds(symbols);
                for _ in 0..*power {
                    product = multiply(product, b);
                }
            }
            sum = (sum.0.saturating_add(product.0), sum.1.saturating_add(product.1));
        }
        sum
    }

    /// Whether the dim is at least `x` for every allowed binding.
    pub fn at_least(&self, x: i64, symbols: &SymbolTable) -> bool {
        self.bounds(symbols).0 >= x
    }
}

fn multiply(a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    let corners = [
        a.0.saturating_mul(b.0),
        a.0.saturating_mul(b.1),
        a.1.saturating_mul(b.0),
        a.1.saturating_mul(b.1),
    ];
    (corners.into_iter().fold(i64::MAX, i64::min), corners.into_iter().fold(i64::MIN, i64::max))
}

impl Atom {
    fn bounds(&self, symbols: &SymbolTable) -> (i64, i64) {
        match self {
            Atom::Sym(id) => symbols.range(*id),
            Atom::FloorDiv(a, b) => {
                let (a, b) = (a.bounds(symbols), b.bounds(symbols));
                if b.0 <= 0 {
                    return (i64::MIN, i64::MAX);
                }
                let lo = div_floor(a.0, b.0).min(div_floor(a.0, b.1));
                let hi = div_floor(a.1, b.0).max(div_floor(a.1, b.1));
                (lo, hi)
            }
            Atom::Mod(_, b) => match b.bounds(symbols) {
                (lo, hi) if lo > 0 => (0, hi - 1),
                _ => (i64::MIN, i64::MAX),
            },
            Atom::Max(a, b) => {
                let (a, b) = (a.bounds(symbols), b.bounds(symbols));
                (a.0.max(b.0), a.1.max(b.1))
            }
            Atom::Min(a, b) => {
                let (a, b) = (a.bounds(symbols), b.bounds(symbols));
                (a.0.min(b.0), a.1.min(b.1))
            }
            Atom::Bcast(a, b) => {
                let (a, b) = (a.bounds(symbols), b.bounds(symbols));
                (a.0.min(b.0), a.1.max(b.1))
            }
        }
    }
}
