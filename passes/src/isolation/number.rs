//! Values that hold the number of their entry, so that indexing by them stays in the entry.
//!
//! `x[arange(B), lengths]` gathers along the batch's axis and is isolated all the same: the
//! index that reaches along it is the entry's own number. Exporters build such indices from
//! an `iota` by data movement and a concatenation of columns; that much is followed here.

use super::state::{Entries, Known};
use super::transfer::Operands;
use cascata_ir::op::Op;
use cascata_types::DType;

/// At the places of entry `b` the value is `b`: everywhere, or in one column of its last axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) place: Entries,
    pub(super) column: Option<usize>,
}

/// Whether every number of an entry has its own value (in f16, 2049 would be 2048).
fn exact(dtype: DType) -> bool {
    matches!(dtype, DType::I32 | DType::I64)
}

impl Operands<'_> {
    /// What the node's result numbers.
    pub(super) fn number(&self) -> Option<Number> {
        let first = || self.numbers.first()?.clone();
        match &self.node.op {
            Op::Iota { axis, shape, dtype } if exact(*dtype) && shape[*axis] == *self.batch => {
                Some(Number { place: Entries::whole(*axis), column: None })
            }
            Op::Cast { to } if exact(*to) => first(),
            Op::Reshape { .. } | Op::Transpose { .. } | Op::Broadcast { .. } => {
                let number = first().filter(|n| n.column.is_none())?;
                let (places, numbers) = (vec![Some(number.place)], vec![]);
                let moved = Operands { places, numbers, ..*self };
                let place = moved.results().ok()?.pop()??;
                Some(Number { place, column: None })
            }
            Op::Concat { axis } => self.columns(*axis),
            _ => None,
        }
    }

    /// A column of numbers beside others.
    fn columns(&self, axis: usize) -> Option<Number> {
        let mut known = self.numbers.iter().enumerate();
        let (at, number) = known.find_map(|(i, n)| Some((i, n.as_ref()?)))?;
        let last = axis + 1 == self.result_shape().len();
        let apart = number.place.axis != axis && number.column.is_none();
        let width = |i: usize| self.shape(i).get(axis).and_then(cascata_types::Dim::as_const);
        if !last || !apart || width(at) != Some(1) {
            return None;
        }
        let before = (0..at).try_fold(0, |sum, i| Some(sum + usize::try_from(width(i)?).ok()?));
        Some(Number { place: number.place.clone(), column: before })
    }

    /// Where the index's address `column` (of `count`) is the number of the entry.
    pub(super) fn numbered(&self, column: usize, count: usize) -> Option<Entries> {
        let number = self.numbers.get(1)?.as_ref()?;
        let fits = number.column == Some(column) || (number.column.is_none() && count == 1);
        let whole = number.place == Entries::whole(number.place.axis);
        (fits && whole).then(|| number.place.clone())
    }

    /// The entries of an operand that is indexed along `axis` of `count` by column.
    pub(super) fn by_number(&self, e: &Entries, column: usize, count: usize) -> Known {
        match self.numbered(column, count) {
            Some(place) if *e == Entries::whole(e.axis) => Ok(Some(place)),
            _ => super::index::reaches(e.axis),
        }
    }
}
