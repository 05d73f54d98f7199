//! Ranges of symbols that a model implies.
//!
//! A table of 512 positions sliced to the sequence length gives `min(512, S)` rows; they
//! are then added to S rows. That is defined for `S ≤ 512` only, so the symbol's range is
//! narrowed and the import repeated: all dims become simple, and a longer sequence is
//! refused by its range when it is bound rather than deep inside the model.

use super::options::DimOption;
use cascata_ir::graph::Graph;
use cascata_ir::types::{Atom, Dim, SymbolTable, ValueType};

/// Narrower ranges that hold whenever the graph's body can run.
pub fn implied_ranges(graph: &Graph) -> Vec<DimOption> {
    let mut out: Vec<DimOption> = Vec::new();
    // Only what always runs: a branch of an If may be invalid while the other is taken.
    let nodes = graph.root().nodes.iter().flat_map(|n| &graph.nodes[*n].outputs);
    for dim in nodes.filter_map(|v| shape(graph.ty(*v))).flatten() {
        for (m, _) in dim.terms() {
            for (atom, _) in &m.0 {
                if let Atom::Bcast(..) = atom {
                    narrow(&parts(atom), &graph.symbols, &mut out);
                }
            }
        }
    }
    out
}

fn shape(ty: &ValueType) -> Option<&Vec<Dim>> {
    ty.as_tensor().map(|t| &t.shape)
}

/// All dims that nested broadcasts join.
fn parts(atom: &Atom) -> Vec<&Dim> {
    let Atom::Bcast(a, b) = atom else { return vec![] };
    let inner = |d| match only_atom(d) {
        Some(atom @ Atom::Bcast(..)) => parts(atom),
        _ => vec![d],
    };
    [inner(a.as_ref()), inner(b.as_ref())].concat()
}

/// The atom that a dim consists of.
fn only_atom(dim: &Dim) -> Option<&Atom> {
    match dim.terms() {
        [(m, 1)] => match m.0.as_slice() {
            [(atom, 1)] => Some(atom),
            _ => None,
        },
        _ => None,
    }
}

/// `S` and `min(n, S)` with `n ≥ 2` broadcast only where `S ≤ n`: beyond, the second is
/// `n`, neither 1 nor `S`.
fn narrow(parts: &[&Dim], symbols: &SymbolTable, out: &mut Vec<DimOption>) {
    for part in parts {
        let Some(Atom::Min(a, b)) = only_atom(part) else { continue };
        for (limit, size) in [(a, b), (b, a)] {
            let (Some(n), Some(id)) = (limit.as_const(), size.as_sym()) else { continue };
            let (min, max) = symbols.range(id);
            let known = symbols.get(id).is_some_and(|s| !s.data_dependent);
            if !known || n < 2 || n < min || n >= max || !parts.contains(&size.as_ref()) {
                continue;
            }
            let option = DimOption { target: symbols.name(id), min, max: n };
            match out.iter_mut().find(|o| o.target == option.target) {
                Some(o) => o.max = o.max.min(n),
                None => out.push(option),
            }
        }
    }
}
