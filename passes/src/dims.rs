//! Simpler dims: ranges narrowed by what the model needs anyway, then every expression
//! simplified under the ranges.
//!
//! **Why.** A position table of 512 rows gives dims like `bcast(S, min(512, S))`
//! everywhere. Such a broadcast is valid only where `S ≤ 512`; once the range says so,
//! all of it is `S`, and shapes that are equal look equal.
//! **Precondition.** Types are recorded.
//! **Postcondition.** The same function on all sizes on which the source graph ran; sizes
//! on which it failed are refused by the symbol's range. Types are what inference gives.
//! **Cost.** Linear in the size of all dims; one verification.

use cascata_ir::graph::Graph;
use cascata_ir::verify::verify;
use cascata_types::{Atom, Dim, SymbolId, SymbolTable, ValueType};
use std::collections::HashMap;

/// Simplifies all dims; returns how many symbols got a narrower range.
pub fn simplify(graph: &mut Graph) -> usize {
    let narrowed = narrow(graph);
    let mut simpler = graph.clone();
    let symbols = simpler.symbols.clone();
    let mut memo = HashMap::new();
    map_dims(&mut simpler, &mut |d| simplified(d, &symbols, &mut memo));
    simpler.checks.retain(|c| c.lhs != c.rhs);
    // Simplification commutes with inference for all ops that are known; should one
    // disagree, the dims stay as they were.
    if verify(&simpler).is_ok() {
        *graph = simpler;
    }
    narrowed
}

/// `bcast(S, min(k, S))` in a type of the body means that `S ≤ k`, for `k ≥ 2`.
fn narrow(graph: &mut Graph) -> usize {
    let mut bounds: Vec<(SymbolId, i64)> = vec![];
    for &n in &graph.root().nodes {
        for &v in &graph.nodes[n].outputs {
            for dim in graph.ty(v).as_tensor().iter().flat_map(|t| &t.shape) {
                collect_bounds(dim, &mut bounds);
            }
        }
    }
    let mut count = 0;
    for (symbol, bound) in bounds {
        let symbol = graph.symbols.get_mut(symbol);
        if symbol.max > bound && symbol.min <= bound {
            symbol.max = bound;
            count += 1;
        }
    }
    count
}

fn collect_bounds(dim: &Dim, out: &mut Vec<(SymbolId, i64)>) {
    for (atom, _) in dim.terms().iter().flat_map(|(m, _)| &m.0) {
        let Atom::Bcast(a, b) = atom else { continue };
        for (whole, part) in [(a, b), (b, a)] {
            if let Some(symbol) = whole.as_sym()
                && let Some(k) = min_with(part, whole)
                && k >= 2
            {
                out.push((symbol, k));
            }
        }
        collect_bounds(a, out);
        collect_bounds(b, out);
    }
}

/// `k` if `dim` is `min(k, other)`.
fn min_with(dim: &Dim, other: &Dim) -> Option<i64> {
    let [(m, 1)] = dim.terms() else { return None };
    let [(Atom::Min(a, b), 1)] = m.0.as_slice() else { return None };
    match (a.as_const(), b.as_const()) {
        (Some(k), _) if **b == *other => Some(k),
        (_, Some(k)) if **a == *other => Some(k),
        _ => None,
    }
}

fn simplified(dim: &Dim, symbols: &SymbolTable, memo: &mut HashMap<Dim, Dim>) -> Dim {
    if dim.as_const().is_some() || dim.as_sym().is_some() {
        return dim.clone();
    }
    if let Some(known) = memo.get(dim) {
        return known.clone();
    }
    let mut sum = Dim::from(0);
    for (monomial, coefficient) in dim.terms() {
        let mut product = Dim::from(*coefficient);
        for (atom, power) in &monomial.0 {
            let base = simplified_atom(atom, symbols, memo);
            for _ in 0..*power {
                product = product * base.clone();
            }
        }
        sum = sum + product;
    }
    memo.insert(dim.clone(), sum.clone());
    sum
}

fn simplified_atom(atom: &Atom, symbols: &SymbolTable, memo: &mut HashMap<Dim, Dim>) -> Dim {
    let mut both = |a: &Dim, b: &Dim| (simplified(a, symbols, memo), simplified(b, symbols, memo));
    match atom {
        Atom::Sym(id) => Dim::sym(*id),
        Atom::FloorDiv(a, b) => {
            let (a, b) = both(a, b);
            a.floor_div(&b)
        }
        Atom::Mod(a, b) => {
            let (a, b) = both(a, b);
            a.modulo(&b)
        }
        Atom::Max(a, b) => {
            let (a, b) = both(a, b);
            match (a.clone() - b.clone()).bounds(symbols) {
                (low, _) if low >= 0 => a,
                (_, high) if high <= 0 => b,
                _ => a.maximum(&b),
            }
        }
        Atom::Min(a, b) => {
            let (a, b) = both(a, b);
            match (a.clone() - b.clone()).bounds(symbols) {
                (low, _) if low >= 0 => b,
                (_, high) if high <= 0 => a,
                _ => a.minimum(&b),
            }
        }
        Atom::Bcast(a, b) => {
            let (a, b) = both(a, b);
            // Dims that can never agree keep their atom, so that binding reports them.
            a.broadcast(&b).unwrap_or_else(|| whole(atom))
        }
    }
}

/// The dim that is this atom as it is; substituting nothing rebuilds it.
fn whole(atom: &Atom) -> Dim {
    match atom {
        Atom::Bcast(a, b) => {
            let marker = SymbolId(u32::MAX);
            let sum = Dim::sym(marker).broadcast(a).unwrap_or_default();
            let b = (**b).clone();
            sum.substitute(&move |s| (s == marker).then(|| b.clone()))
        }
        _ => Dim::default(),
    }
}

/// Applies `f` to every dim of types, attributes and checks.
fn map_dims(graph: &mut Graph, f: &mut dyn FnMut(&Dim) -> Dim) {
    for value in graph.values.values_mut() {
        map_type(&mut value.ty, f);
    }
    for node in graph.nodes.values_mut() {
        node.op.for_each_dim_mut(&mut |d| *d = f(d));
    }
    for check in &mut graph.checks {
        check.lhs = f(&check.lhs);
        check.rhs = f(&check.rhs);
    }
}

fn map_type(ty: &mut ValueType, f: &mut dyn FnMut(&Dim) -> Dim) {
    match ty {
        ValueType::Tensor(t) => t.shape.iter_mut().for_each(|d| *d = f(d)),
        ValueType::Optional(inner) => map_type(inner, f),
        ValueType::Sequence(_) | ValueType::Resource(_) => {}
    }
}
