//! Data movement by computed places. An index along the batch's axis may reach any entry.

use super::state::{Entries, Known, join, mixes};
use super::transfer::Operands;

pub(super) fn reaches<T>(axis: usize) -> Result<T, super::state::Problem> {
    mixes(format!("the index reaches along the batch's axis {axis}"))
}

fn as_address<T>() -> Result<T, super::state::Problem> {
    mixes("the entries lie along the axis of the index that makes one address")
}

impl Operands<'_> {
    /// `x, index → x[..axis, index dims, axis+1..]`.
    pub(super) fn gather(&self, axis: usize) -> Known {
        let x = match self.place(0) {
            Some(e) if e.axis == axis => self.by_number(e, 0, 1)?.map(|e| e.at(e.axis + axis)),
            Some(e) if e.axis > axis => Some(e.at(e.axis + self.rank(1) - 1)),
            other => other.cloned(),
        };
        let index = self.place(1).map(|e| e.at(e.axis + axis));
        join([x, index])
    }

    /// `x, index → y` of the index's shape.
    pub(super) fn gather_elements(&self, axis: usize) -> Known {
        if self.place(0).is_some_and(|e| e.axis == axis) {
            return reaches(axis);
        }
        join([self.place(0).cloned(), self.place(1).cloned()])
    }

    /// `x, index[.., k] → y[index dims but the last, x dims from batch_dims + k on]`.
    pub(super) fn gather_nd(&self, batch_dims: usize) -> Known {
        let dims = self.rank(1).saturating_sub(1);
        let Some(k) = self.address_len(1) else { return mixes("the index has no fixed length") };
        let x = match self.place(0) {
            Some(e) if e.axis < batch_dims => Some(e.clone()),
            Some(e) if e.axis < batch_dims + k => self.by_number(e, e.axis - batch_dims, k)?,
            Some(e) => Some(e.at(e.axis - batch_dims - k + dims)),
            None => None,
        };
        match self.place(1) {
            Some(e) if e.axis == dims => as_address(),
            index => join([x, index.cloned()]),
        }
    }

    /// `x, index, updates → y`: all of one rank.
    pub(super) fn scatter_elements(&self, axis: usize) -> Known {
        let written = join([self.place(1).cloned(), self.place(2).cloned()])?;
        if written.as_ref().is_some_and(|e| e.axis == axis) {
            return reaches(axis);
        }
        // What is written is shared, or stays at its place along the batch's axis.
        join([self.place(0).cloned(), written])
    }

    /// `x, index[.., k], updates[index dims but the last, x dims from k on] → y`.
    pub(super) fn scatter_nd(&self) -> Known {
        let Some(k) = self.address_len(1) else { return mixes("the index has no fixed length") };
        let dims = self.rank(1).saturating_sub(1);
        // Where the index holds the number of its entry, updates stay in the entry.
        let numbered = (0..k).find_map(|c| Some((c, self.numbered(c, k)?)));
        if let Some((column, place)) = numbered {
            let written = join([self.place(1).cloned(), self.place(2).cloned()])?;
            if written.as_ref().is_none_or(|w| *w == place) {
                return join([self.place(0).cloned(), written.map(|w| w.at(column))]);
            }
        }
        let updates: Option<Entries> = match (self.place(1), self.place(2)) {
            (Some(e), _) => return reaches(e.axis),
            (None, Some(e)) if e.axis < dims => return reaches(e.axis),
            (None, Some(e)) => Some(e.at(e.axis - dims + k)),
            (None, None) => None,
        };
        join([self.place(0).cloned(), updates])
    }

    /// How many axes an index addresses.
    fn address_len(&self, operand: usize) -> Option<usize> {
        self.shape(operand).last()?.as_const().and_then(|k| usize::try_from(k).ok())
    }
}
