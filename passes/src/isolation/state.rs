//! What is known of a value: a lattice of height three.

use super::report::LeakKind;
use cascata_types::Dim;

/// Where the entries of the batch lie in a tensor: the size of `axis` is `outer·B·inner`, and
/// its element `(o·B + b)·inner + i` depends on entry `b` only (and on what all share).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The axis that the batch is (a factor of).
    pub axis: usize,
    /// What lies outside of the batch in that axis: 1 for `[B·S]`, `S` for `[S·B]`.
    pub outer: Dim,
    /// What lies inside of the batch in that axis: `S` for `[B·S]`.
    pub inner: Dim,
}

impl Entries {
    /// The axis is the batch.
    pub(crate) fn whole(axis: usize) -> Self {
        Self { axis, outer: 1.into(), inner: 1.into() }
    }

    /// The same on another axis.
    pub(crate) fn at(&self, axis: usize) -> Self {
        Self { axis, ..self.clone() }
    }

    /// The size that the axis must have.
    pub(crate) fn size(&self, batch: &Dim) -> Dim {
        self.outer.clone() * batch.clone() * self.inner.clone()
    }
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No entry's data is in it.
    Shared,
    /// Every element holds data of one entry.
    Entries(Entries),
    /// Any element may hold data of any entry; the number of the origin.
    Mixed(usize),
}

/// Why a result is mixed although no operand is.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) kind: LeakKind,
    pub(super) reason: String,
}

/// What an op makes of operands that are not mixed; `None` is shared.
pub(super) type Known = Result<Option<Entries>, Problem>;

/// The op certainly combines entries.
pub(super) fn mixes<T>(reason: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { kind: LeakKind::Mixes, reason: reason.into() })
}

/// The analysis does not see that the op keeps entries apart.
pub(super) fn unproven<T>(reason: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { kind: LeakKind::Unproven, reason: reason.into() })
}

/// The entries of a result to which several operands contribute elementwise.
pub(super) fn join(places: impl IntoIterator<Item = Option<Entries>>) -> Known {
    let mut all: Option<Entries> = None;
    for place in places.into_iter().flatten() {
        match &all {
            None => all = Some(place),
            Some(known) if *known == place => {}
            Some(known) if known.axis != place.axis => {
                let (a, b) = (known.axis, place.axis);
                return mixes(format!("entries along axis {a} meet entries along axis {b}"));
            }
            Some(known) => {
                return unproven(format!(
                    "the operands order the entries along axis {} in different ways",
                    known.axis
                ));
            }
        }
    }
    Ok(all)
}
