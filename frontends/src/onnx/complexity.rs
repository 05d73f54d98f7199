//! Bounds on the expressions that a model may build.
//!
//! Dims are polynomials: a hostile graph could multiply sums until they have more terms
//! than memory, or nest divisions deeper than the stack. Real models stay far below.

use cascata_ir::types::{Atom, Dim};

/// Most axes of a tensor.
pub const MAX_RANK: usize = 64;

/// Most terms of one dim.
const MAX_TERMS: usize = 64;

/// Deepest nesting of divisions, minima and their like; the text form reads 64.
const MAX_DEPTH: usize = 32;

/// Most parts of one dim, nested ones included.
const MAX_PARTS: usize = 1024;

/// Most terms of the product of a shape's dims.
const MAX_PRODUCT_TERMS: usize = 4096;

/// Whether a dim is small enough to be computed with.
pub fn is_simple(dim: &Dim) -> bool {
    let mut parts = MAX_PARTS;
    dim.terms().len() <= MAX_TERMS && spend(dim, MAX_DEPTH, &mut parts)
}

/// Takes the parts of a dim from a budget; false when budget or depth is used up.
fn spend(dim: &Dim, depth: usize, parts: &mut usize) -> bool {
    if depth == 0 {
        return false;
    }
    for (m, _) in dim.terms() {
        for (atom, _) in &m.0 {
            if *parts == 0 {
                return false;
            }
            *parts -= 1;
            let fine = match atom {
                Atom::Sym(_) => true,
                Atom::FloorDiv(a, b)
                | Atom::Mod(a, b)
                | Atom::Max(a, b)
                | Atom::Min(a, b)
                | Atom::Bcast(a, b) => spend(a, depth - 1, parts) && spend(b, depth - 1, parts),
            };
            if !fine {
                return false;
            }
        }
    }
    true
}

/// Whether a shape's dims, and their product, are small enough to be computed with.
pub fn is_simple_shape(shape: &[Dim]) -> bool {
    let terms = |n: usize, d: &Dim| n.saturating_mul(d.terms().len().max(1));
    shape.len() <= MAX_RANK
        && shape.iter().fold(1, terms) <= MAX_PRODUCT_TERMS
        && shape.iter().all(is_simple)
}
