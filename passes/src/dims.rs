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
    for region in simpler.regions.values_mut() {
        region.checks.retain(|c| c.lhs != c.rhs);
    }
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
    // Dims that can never agree stay, so that binding the symbols reports them.
    let simpler = rebuilt(dim, symbols, memo).unwrap_or_else(|| dim.clone());
    memo.insert(dim.clone(), simpler.clone());
    simpler
}

fn rebuilt(dim: &Dim, symbols: &SymbolTable, memo: &mut HashMap<Dim, Dim>) -> Option<Dim> {
    let mut sum = Dim::from(0);
    for (monomial, coefficient) in dim.terms() {
        let mut product = Dim::from(*coefficient);
        for (atom, power) in &monomial.0 {
            let base = rebuilt_atom(atom, symbols, memo)?;
            for _ in 0..*power {
                product = product * base.clone();
            }
        }
        sum = sum + product;
    }
    Some(sum)
}

fn rebuilt_atom(atom: &Atom, symbols: &SymbolTable, memo: &mut HashMap<Dim, Dim>) -> Option<Dim> {
    let (a, b) = match atom {
        Atom::Sym(id) => return Some(Dim::sym(*id)),
        Atom::FloorDiv(a, b)
        | Atom::Mod(a, b)
        | Atom::Max(a, b)
        | Atom::Min(a, b)
        | Atom::Bcast(a, b) => (simplified(a, symbols, memo), simplified(b, symbols, memo)),
    };
    let (low, high) = (a.clone() - b.clone()).bounds(symbols);
    Some(match atom {
        Atom::FloorDiv(..) => a.floor_div(&b),
        Atom::Mod(..) => a.modulo(&b),
        Atom::Max(..) if low >= 0 => a,
        Atom::Max(..) if high <= 0 => b,
        Atom::Max(..) => a.maximum(&b),
        Atom::Min(..) if low >= 0 => b,
        Atom::Min(..) if high <= 0 => a,
        Atom::Min(..) => a.minimum(&b),
        Atom::Sym(_) | Atom::Bcast(..) => a.broadcast(&b)?,
    })
}

/// Applies `f` to every dim of types, attributes and checks.
fn map_dims(graph: &mut Graph, f: &mut dyn FnMut(&Dim) -> Dim) {
    for value in graph.values.values_mut() {
        map_type(&mut value.ty, f);
    }
    for node in graph.nodes.values_mut() {
        node.op.for_each_dim_mut(&mut |d| *d = f(d));
    }
    for check in graph.regions.values_mut().flat_map(|r| &mut r.checks) {
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
