//! Dims as linear functions of one symbol: strides of index expressions.

use super::{Atom, Dim, Monomial};
use crate::SymbolId;

impl Dim {
    /// `(c, r)` with `self = c·symbol + r`, where neither mentions the symbol;
    /// `None` when the dim is not linear in it.
    pub fn linear_in(&self, symbol: SymbolId) -> Option<(Dim, Dim)> {
        let wanted = Atom::Sym(symbol);
        let (mut coefficient, mut rest) = (Vec::new(), Vec::new());
        for (monomial, c) in &self.terms {
            let mut factors = monomial.0.clone();
            let found = factors.iter().position(|(atom, _)| *atom == wanted);
            match found.map(|i| factors.remove(i).1) {
                None => rest.push((monomial.clone(), *c)),
                Some(1) => coefficient.push((Monomial(factors), *c)),
                Some(_) => return None,
            }
        }
        let parts = (Dim::from_terms(coefficient), Dim::from_terms(rest));
        let free = |d: &Dim| !d.symbols().contains(&symbol);
        (free(&parts.0) && free(&parts.1)).then_some(parts)
    }
}
