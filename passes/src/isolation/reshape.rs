//! Reshapes: the batch must stay a factor of one axis.
//!
//! Row-major order makes a flat index `(p·B + b)·q + r` of an operand with entries, where `p`
//! counts what lies outside of the batch and `q` is all that lies inside. If the result has an
//! axis `j` of size `o·B·i` with `p_total = (dims before j)·o`, then `q = i·(dims after j)`, as
//! both shapes hold the same number of elements (or the run is refused), and the same `b` is
//! found in that axis, and nowhere else. Just so from the inside out.

use super::state::{Entries, Known, unproven};
use super::transfer::Operands;
use cascata_types::Dim;

impl Operands<'_> {
    pub(super) fn reshape(&self, shape: &[Dim]) -> Known {
        let Some(place) = self.place(0) else { return Ok(None) };
        let from = self.shape(0);
        let outside: Vec<Dim> =
            from[..place.axis].iter().cloned().chain([place.outer.clone()]).collect();
        let inside: Vec<Dim> =
            from[place.axis + 1..].iter().cloned().chain([place.inner.clone()]).collect();
        for axis in 0..shape.len() {
            let size = std::slice::from_ref(&shape[axis]);
            let rest = |factor: Dim| quotient(size, &[self.batch.clone(), factor]);
            if let Some(outer) = quotient(&outside, &shape[..axis])
                && let Some(inner) = rest(outer.clone())
            {
                return Ok(Some(Entries { axis, outer, inner }));
            }
            if let Some(inner) = quotient(&inside, &shape[axis + 1..])
                && let Some(outer) = rest(inner.clone())
            {
                return Ok(Some(Entries { axis, outer, inner }));
            }
        }
        let text = |shape: &[Dim]| {
            let dims: Vec<String> =
                shape.iter().map(|d| d.display(&self.graph.symbols).to_string()).collect();
            dims.join(",")
        };
        unproven(format!(
            "from [{}] to [{}] the batch is not a factor of one axis",
            text(from),
            text(shape)
        ))
    }
}

/// `Π over / Π under`, if it is a dim. Equal factors cancel first: a sum divides itself only.
pub(super) fn quotient(over: &[Dim], under: &[Dim]) -> Option<Dim> {
    let mut over = over.to_vec();
    let mut rest = Dim::from(1);
    for dim in under {
        match over.iter().position(|d| d == dim) {
            Some(i) => drop(over.swap_remove(i)),
            None => rest = rest * dim.clone(),
        }
    }
    let over = over.into_iter().fold(Dim::from(1), |n, d| n * d);
    if rest.is(1) { Some(over) } else { over.exact_div(&rest) }
}
