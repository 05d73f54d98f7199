//! Integer expressions over symbols, in a normal form.
//!
//! A [`Dim`] is a polynomial with integer coefficients over *atoms*: symbols and
//! the non-polynomial operators (floor division, modulo, max, min, broadcast) of
//! other dims. Terms are sorted and zero terms dropped, so two dims that are
//! equal as polynomials are equal as values. Coefficients saturate at ±`i64::MAX`
//! (so that negation is exact); evaluation is checked and reports overflow instead.

use crate::{SymbolId, SymbolTable};
use ::serde::{Deserialize, Serialize};
use std::ops::{Add, Mul, Neg, Sub};

mod bounds;
mod eval;
mod linear;
mod serde;
mod text;

pub use eval::EvalError;

/// What a [`Dim`] is a polynomial of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Atom {
    /// A symbol.
    Sym(SymbolId),
    /// `floor(a / b)`.
    FloorDiv(Box<Dim>, Box<Dim>),
    /// `a - b * floor(a / b)`.
    Mod(Box<Dim>, Box<Dim>),
    /// The larger.
    Max(Box<Dim>, Box<Dim>),
    /// The smaller.
    Min(Box<Dim>, Box<Dim>),
    /// NumPy broadcast of two dims: `b` where `a` is 1, else `a`; evaluation
    /// fails unless they are equal or one of them is 1.
    Bcast(Box<Dim>, Box<Dim>),
}

/// A product of atoms with positive powers, sorted by atom. The empty product is 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Monomial(pub Vec<(Atom, u32)>);

/// An integer expression over symbols; see the module text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim {
    /// `(monomial, coefficient)`, sorted, coefficients non-zero.
    terms: Vec<(Monomial, i64)>,
}

impl Dim {
    /// A symbol.
    pub fn sym(id: SymbolId) -> Self {
        Self::atom(Atom::Sym(id))
    }

    fn atom(atom: Atom) -> Self {
        Self { terms: vec![(Monomial(vec![(atom, 1)]), 1)] }
    }

    /// The terms of the polynomial, sorted.
    pub fn terms(&self) -> &[(Monomial, i64)] {
        &self.terms
    }

    /// The number, if there is no symbol left.
    pub fn as_const(&self) -> Option<i64> {
        match self.terms.as_slice() {
            [] => Some(0),
            [(m, c)] if m.0.is_empty() => Some(*c),
            _ => None,
        }
    }

    /// The symbol, if the dim is exactly one symbol.
    pub fn as_sym(&self) -> Option<SymbolId> {
        match self.terms.as_slice() {
            [(m, 1)] => match m.0.as_slice() {
                [(Atom::Sym(id), 1)] => Some(*id),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the dim is the number `x`.
    pub fn is(&self, x: i64) -> bool {
        self.as_const() == Some(x)
    }

    /// `floor(self / by)`; terms that divide exactly are taken out.
    /// `by` must not be zero when evaluated.
    pub fn floor_div(&self, by: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), by.as_const())
            && b != 0
        {
            return div_floor(a, b).into();
        }
        if by.is(1) {
            return self.clone();
        }
        if let Some(q) = self.exact_div(by) {
            return q;
        }
        match by.as_const() {
            Some(c) if c > 0 => {
                let (quotient, rest) = self.split_multiples(c);
                let tail = match rest.as_const() {
                    Some(r) => div_floor(r, c).into(),
                    None => Dim::atom(Atom::FloorDiv(rest.into(), by.clone().into())),
                };
                quotient + tail
            }
            _ => Dim::atom(Atom::FloorDiv(self.clone().into(), by.clone().into())),
        }
    }

    /// `ceil(self / by)` for positive `by`.
    pub fn ceil_div(&self, by: &Dim) -> Dim {
        // The same form as a floor division, so that equal sizes are equal dims.
        self.exact_div(by).unwrap_or_else(|| (self.clone() + by.clone() - 1).floor_div(by))
    }

    /// `self - by * floor(self / by)`.
    pub fn modulo(&self, by: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), by.as_const())
            && b != 0
        {
            return rem_floor(a, b).into();
        }
        if by.is(1) || self.exact_div(by).is_some() {
            return 0.into();
        }
        match by.as_const() {
            Some(c) if c > 0 => {
                let (_, rest) = self.split_multiples(c);
                match rest.as_const() {
                    Some(r) => r.rem_euclid(c).into(),
                    None => Dim::atom(Atom::Mod(rest.into(), by.clone().into())),
                }
            }
            _ => Dim::atom(Atom::Mod(self.clone().into(), by.clone().into())),
        }
    }

    /// The larger of two dims.
    pub fn maximum(&self, other: &Dim) -> Dim {
        match ((self.clone() - other.clone()).as_const(), self <= other) {
            (Some(d), _) => if d >= 0 { self } else { other }.clone(),
            (None, true) => Dim::atom(Atom::Max(self.clone().into(), other.clone().into())),
            (None, false) => Dim::atom(Atom::Max(other.clone().into(), self.clone().into())),
        }
    }

    /// The smaller of two dims.
    pub fn minimum(&self, other: &Dim) -> Dim {
        match ((self.clone() - other.clone()).as_const(), self <= other) {
            (Some(d), _) => if d <= 0 { self } else { other }.clone(),
            (None, true) => Dim::atom(Atom::Min(self.clone().into(), other.clone().into())),
            (None, false) => Dim::atom(Atom::Min(other.clone().into(), self.clone().into())),
        }
    }

    /// The NumPy broadcast of two dims; `None` when they can never agree.
    /// A known number above 1 wins over a symbol (which must then be it or 1).
    pub fn broadcast(&self, other: &Dim) -> Option<Dim> {
        match (self.as_const(), other.as_const()) {
            _ if self == other => Some(self.clone()),
            (Some(1), _) => Some(other.clone()),
            (_, Some(1)) => Some(self.clone()),
            (Some(_), Some(_)) => None,
            (Some(_), None) => Some(self.clone()),
            (None, Some(_)) => Some(other.clone()),
            (None, None) => {
                let mut parts = self.broadcast_parts();
                parts.extend(other.broadcast_parts());
                parts.sort();
                parts.dedup();
                let join = |a: Dim, b: Dim| Dim::atom(Atom::Bcast(a.into(), b.into()));
                parts.into_iter().cloned().reduce(join)
            }
        }
    }

    /// The dims that a nested broadcast joins; the dim itself if it is none.
    fn broadcast_parts(&self) -> Vec<&Dim> {
        if let [(m, 1)] = self.terms.as_slice()
            && let [(Atom::Bcast(a, b), 1)] = m.0.as_slice()
        {
            let mut parts = a.broadcast_parts();
            parts.extend(b.broadcast_parts());
            return parts;
        }
        vec![self]
    }

    /// `self / by` when `by` is one term that divides every term of `self`.
    pub fn exact_div(&self, by: &Dim) -> Option<Dim> {
        if by.terms.is_empty() {
            return None;
        }
        if self == by {
            return Some(1.into());
        }
        let [(m, c)] = by.terms.as_slice() else { return None };
        let mut terms = Vec::with_capacity(self.terms.len());
        for (mine, coef) in &self.terms {
            if coef % c != 0 {
                return None;
            }
            terms.push((mine.divide(m)?, coef / c));
        }
        Some(Dim::from_terms(terms))
    }

    /// Replaces every symbol by `f(symbol)`; `None` keeps it.
    pub fn substitute(&self, f: &dyn Fn(SymbolId) -> Option<Dim>) -> Dim {
        let mut sum = Dim::from(0);
        for (m, c) in &self.terms {
            let mut product = Dim::from(*c);
            for (atom, power) in &m.0 {
                let base = atom.substitute(f);
                for _ in 0..*power {
                    product = product * base.clone();
                }
            }
            sum = sum + product;
        }
        sum
    }

    /// Replaces every atom that is not a symbol by `f(atom)`, innermost first.
    pub fn replace_atoms(&self, f: &mut dyn FnMut(Dim) -> Dim) -> Dim {
        let mut sum = Dim::from(0);
        for (m, c) in &self.terms {
            let mut product = Dim::from(*c);
            for (atom, power) in &m.0 {
                let base = atom.replace_inside(f);
                for _ in 0..*power {
                    product = product * base.clone();
                }
            }
            sum = sum + product;
        }
        sum
    }

    /// Every symbol that occurs, in order, without repeats.
    pub fn symbols(&self) -> Vec<SymbolId> {
        let mut out = Vec::new();
        self.collect_symbols(&mut out);
        out.sort_unstable();
        out.dedup();
        out
    }

    fn collect_symbols(&self, out: &mut Vec<SymbolId>) {
        for (m, _) in &self.terms {
            for (atom, _) in &m.0 {
                match atom {
                    Atom::Sym(id) => out.push(*id),
                    Atom::FloorDiv(a, b)
                    | Atom::Mod(a, b)
                    | Atom::Max(a, b)
                    | Atom::Min(a, b)
                    | Atom::Bcast(a, b) => {
                        a.collect_symbols(out);
                        b.collect_symbols(out);
                    }
                }
            }
        }
    }

    /// Splits into `(q, r)` with `self = q·c + r`, taking whole multiples of `c` into `q`.
    fn split_multiples(&self, c: i64) -> (Dim, Dim) {
        let (mut q, mut r) = (Vec::new(), Vec::new());
        for (m, coef) in &self.terms {
            q.push((m.clone(), div_floor(*coef, c)));
            r.push((m.clone(), rem_floor(*coef, c)));
        }
        (Dim::from_terms(q), Dim::from_terms(r))
    }

    fn from_terms(mut terms: Vec<(Monomial, i64)>) -> Dim {
        terms.sort();
        let mut out: Vec<(Monomial, i64)> = Vec::with_capacity(terms.len());
        for (m, c) in terms {
            match out.last_mut() {
                Some((last, sum)) if *last == m => *sum = sum.saturating_add(c),
                _ => out.push((m, c)),
            }
        }
        out.retain(|(_, c)| *c != 0);
        for (_, c) in &mut out {
            *c = (*c).max(-i64::MAX);
        }
        Dim { terms: out }
    }
}

impl Atom {
    fn replace_inside(&self, f: &mut dyn FnMut(Dim) -> Dim) -> Dim {
        let mut inner = |d: &Dim| Box::new(d.replace_atoms(f));
        let replaced = match self {
            Atom::Sym(id) => return Dim::sym(*id),
            Atom::FloorDiv(a, b) => Atom::FloorDiv(inner(a), inner(b)),
            Atom::Mod(a, b) => Atom::Mod(inner(a), inner(b)),
            Atom::Max(a, b) => Atom::Max(inner(a), inner(b)),
            Atom::Min(a, b) => Atom::Min(inner(a), inner(b)),
            Atom::Bcast(a, b) => Atom::Bcast(inner(a), inner(b)),
        };
        f(Dim::atom(replaced))
    }

    fn substitute(&self, f: &dyn Fn(SymbolId) -> Option<Dim>) -> Dim {
        match self {
            Atom::Sym(id) => f(*id).unwrap_or_else(|| Dim::sym(*id)),
            Atom::FloorDiv(a, b) => a.substitute(f).floor_div(&b.substitute(f)),
            Atom::Mod(a, b) => a.substitute(f).modulo(&b.substitute(f)),
            Atom::Max(a, b) => a.substitute(f).maximum(&b.substitute(f)),
            Atom::Min(a, b) => a.substitute(f).minimum(&b.substitute(f)),
            Atom::Bcast(a, b) => {
                let (a, b) = (a.substitute(f), b.substitute(f));
                // Dims that can never agree stay an atom, so that evaluation reports them.
                a.broadcast(&b).unwrap_or_else(|| Dim::atom(Atom::Bcast(a.into(), b.into())))
            }
        }
    }
}

impl Monomial {
    fn multiply(&self, other: &Monomial) -> Monomial {
        let mut factors = self.0.clone();
        for (atom, power) in &other.0 {
            match factors.iter_mut().find(|(a, _)| a == atom) {
                Some((_, p)) => *p += power,
                None => factors.push((atom.clone(), *power)),
            }
        }
        factors.sort();
        Monomial(factors)
    }

    fn divide(&self, by: &Monomial) -> Option<Monomial> {
        let mut factors = self.0.clone();
        for (atom, power) in &by.0 {
            let (_, p) = factors.iter_mut().find(|(a, p)| a == atom && p >= power)?;
            *p -= power;
        }
        factors.retain(|(_, p)| *p > 0);
        Some(Monomial(factors))
    }
}

impl From<i64> for Dim {
    fn from(x: i64) -> Self {
        Dim::from_terms(vec![(Monomial::default(), x)])
    }
}

impl From<SymbolId> for Dim {
    fn from(id: SymbolId) -> Self {
        Dim::sym(id)
    }
}

impl Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        Dim::from_terms(self.terms.into_iter().chain(other.terms).collect())
    }
}

impl Neg for Dim {
    type Output = Dim;
    fn neg(self) -> Dim {
        self * Dim::from(-1)
    }
}

impl Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + -other
    }
}

impl Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        let mut terms = Vec::with_capacity(self.terms.len() * other.terms.len());
        for (m, c) in &self.terms {
            for (n, d) in &other.terms {
                terms.push((m.multiply(n), c.saturating_mul(*d)));
            }
        }
        Dim::from_terms(terms)
    }
}

impl Add<i64> for Dim {
    type Output = Dim;
    fn add(self, other: i64) -> Dim {
        self + Dim::from(other)
    }
}

impl Sub<i64> for Dim {
    type Output = Dim;
    fn sub(self, other: i64) -> Dim {
        self - Dim::from(other)
    }
}

impl Mul<i64> for Dim {
    type Output = Dim;
    fn mul(self, other: i64) -> Dim {
        self * Dim::from(other)
    }
}

/// Floor division (Rust's `/` truncates; `div_euclid` differs for negative divisors).
/// `MIN / -1` wraps; callers that can meet it check.
fn div_floor(a: i64, b: i64) -> i64 {
    let (q, r) = (a.wrapping_div(b), a.wrapping_rem(b));
    if r != 0 && (r < 0) != (b < 0) { q - 1 } else { q }
}

/// `a - b * div_floor(a, b)`; never overflows.
fn rem_floor(a: i64, b: i64) -> i64 {
    let r = a.wrapping_rem(b);
    if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
}
