//! Data movement with fixed places: transpose, concat, slice, pad, resize.

use super::reshape::quotient;
use super::state::{Entries, Known, join, mixes, unproven};
use super::transfer::Operands;
use cascata_ir::op::{ResizeAttrs, ResizeCoordinates, SliceRange};
use cascata_types::Dim;
use std::slice::from_ref;

impl Operands<'_> {
    pub(super) fn transpose(&self, perm: &[usize]) -> Known {
        let Some(place) = self.place(0) else { return Ok(None) };
        match perm.iter().position(|p| *p == place.axis) {
            Some(axis) => Ok(Some(place.at(axis))),
            None => unproven("the permutation has lost the batch"),
        }
    }

    pub(super) fn concat(&self, axis: usize) -> Known {
        let places = || self.places.iter().cloned();
        let Some(inner) = places().flatten().find(|e| e.axis == axis).map(|e| e.inner) else {
            return join(places());
        };
        let mut outer = Dim::from(0);
        for (i, place) in self.places.iter().enumerate() {
            let part = match place {
                Some(e) if e.axis == axis && e.inner == inner => Some(e.outer.clone()),
                Some(_) => None,
                None => {
                    let size = self.shape(i).get(axis).cloned().unwrap_or_default();
                    quotient(&[size], &[self.batch.clone(), inner.clone()])
                }
            };
            let Some(part) = part else {
                return mixes(format!("parts of the batch's axis {axis} are joined out of step"));
            };
            outer = outer + part;
        }
        Ok(Some(Entries { axis, outer, inner }))
    }

    pub(super) fn slice(&self, ranges: &[SliceRange]) -> Known {
        let Some(place) = self.place(0) else { return Ok(None) };
        let Some(range) = ranges.iter().find(|r| r.axis == place.axis) else {
            return Ok(Some(place.clone()));
        };
        match sliced(place, range, &self.shape(0)[place.axis], self.batch) {
            Some(place) => Ok(Some(place)),
            None => mixes(format!("it takes some entries of the batch's axis {}", place.axis)),
        }
    }

    pub(super) fn pad(&self, pads: &[(Dim, Dim)]) -> Known {
        let Some(place) = self.place(0) else { return unproven("the padding is an entry's") };
        match pads.get(place.axis) {
            Some((before, after)) if before.is(0) && after.is(0) => Ok(Some(place.clone())),
            _ => mixes(format!("the batch's axis {} is padded", place.axis)),
        }
    }

    pub(super) fn resize(&self, attrs: &ResizeAttrs) -> Known {
        let Some(place) = self.place(0) else { return Ok(None) };
        let axis = place.axis;
        let size = attrs.shape.get(axis) == self.shape(0).get(axis);
        let scale =
            attrs.scales.as_ref().is_none_or(|s| s.get(axis).is_some_and(|x| x.to_f64() == 1.0));
        if size && scale && attrs.coordinates != ResizeCoordinates::TfCropAndResize {
            return Ok(Some(place.clone()));
        }
        mixes(format!("the batch's axis {axis} is resampled"))
    }
}

/// The entries of a slice of their axis: all of it, whole rounds of the batch, or every
/// `step`-th of what lies inside of an entry.
fn sliced(place: &Entries, range: &SliceRange, size: &Dim, batch: &Dim) -> Option<Entries> {
    if range.step == 1 {
        let round = [batch.clone(), place.inner.clone()];
        // The start must be whole rounds as well, or the entries shift.
        let start = if range.start.is(0) {
            Some(0.into())
        } else {
            quotient(from_ref(&range.start), &round)
        };
        let outer = start.and_then(|_: Dim| quotient(from_ref(&range.len), &round))?;
        return Some(Entries { outer, ..place.clone() });
    }
    let step = Dim::from(range.step);
    let start = range.start.as_const()?;
    let inner = quotient(from_ref(&place.inner), from_ref(&step))?;
    let whole = quotient(from_ref(size), from_ref(&step))? == range.len;
    (range.step > 1 && start < range.step && whole).then(|| Entries { inner, ..place.clone() })
}
