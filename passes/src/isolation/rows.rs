//! Ops along axes: reductions, scans, normalisations, recurrent layers.

use super::state::{Entries, Known, Problem, join, mixes};
use super::transfer::Operands;

impl Operands<'_> {
    pub(super) fn reduce(&self, axes: &[usize], keep_dims: bool) -> Known {
        let Some(place) = self.place(0) else { return Ok(None) };
        if axes.contains(&place.axis) {
            return mixes(format!("it reduces over the batch's axis {}", place.axis));
        }
        let gone = if keep_dims { 0 } else { axes.iter().filter(|a| **a < place.axis).count() };
        Ok(Some(place.at(place.axis - gone)))
    }

    /// An op of one operand that works along `axis` and keeps the shape.
    pub(super) fn along(&self, axis: usize, what: &str) -> Known {
        match self.place(0) {
            Some(e) if e.axis == axis => mixes(format!("{what} along the batch's axis {axis}")),
            place => Ok(place.cloned()),
        }
    }

    /// `x, scale (, bias)`: over the axes from `axis` on, which scale and bias have.
    pub(super) fn norm(&self, axis: usize) -> Known {
        if let Some(e) = self.place(0).filter(|e| e.axis >= axis) {
            return mixes(format!("it normalises over the batch's axis {}", e.axis));
        }
        let rest = (1..self.places.len()).map(|i| self.place(i).map(|e| e.at(e.axis + axis)));
        join(rest.chain([self.place(0).cloned()]))
    }

    /// `x[S,B,I], w, r, b, lens[B], h0[D,B,H] (, c0[D,B,H], p) → y[S,D,B,H], h[D,B,H] (, c)`.
    pub(super) fn recurrent(&self) -> Result<Vec<Option<Entries>>, Problem> {
        let mut rows = Vec::new();
        for (i, place) in self.places.iter().enumerate() {
            let Some(e) = place else { continue };
            let batch = match i {
                0 | 5 | 6 => 1,
                4 => 0,
                _ => return mixes("the entries are in the weights"),
            };
            if e.axis != batch {
                return mixes(format!("the entries lie along axis {} of operand {i}", e.axis));
            }
            rows.push(Some(e.at(0)));
        }
        let rows = join(rows)?;
        let at = |axis: usize| rows.as_ref().map(|e| e.at(axis));
        let results = self.node.outputs.len();
        Ok((0..results).map(|i| at(if i == 0 { 2 } else { 1 })).collect())
    }
}
