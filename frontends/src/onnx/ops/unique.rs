//! Unique: sort, find where runs of equals begin, look up.

use super::super::cx::{Cx, axis};
use super::super::emit::many;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, PadMode, ReduceOp, ScatterReduce};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[("Unique", Many(unique))];

/// Most numbers of a subtensor: each is a sort.
const MOST_KEYS: i64 = 256;

fn unique(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let x = cx.input(0)?;
    let along = match cx.opt_int("axis")? {
        Some(a) => Some(axis(a, cx.rank(x))?),
        None => None,
    };
    let (whole, at) = match along {
        Some(at) => (x, at),
        None => (cx.flatten(x)?, 0),
    };
    let rows = rows(cx, whole, at)?;
    let order = order(cx, rows)?;
    let runs = Runs::of(cx, rows, order)?;
    let [first, inverse, counts] = match cx.flag("sorted", true)? {
        true => runs.sorted(cx)?,
        false => runs.by_occurrence(cx)?,
    };
    let y = cx.emit(Op::Gather { axis: at }, &[whole, first])?;
    many([y, first, inverse, counts])
}

/// The subtensors along `at` as rows: `[n, keys]`.
fn rows(cx: &mut Cx<'_>, x: ValueId, at: usize) -> R<ValueId> {
    let rank = cx.rank(x);
    let perm = std::iter::once(at).chain((0..rank).filter(|a| *a != at)).collect();
    let moved = cx.transpose(x, perm)?;
    let shape = cx.shape(moved);
    let keys = shape[1..].iter().cloned().fold(Dim::from(1), |n, d| n * d);
    cx.reshape(moved, vec![shape[0].clone(), keys])
}

/// Where each place of the sorted rows comes from: stable sorts from the last key to the
/// first, so that equal rows keep their order.
fn order(cx: &mut Cx<'_>, rows: ValueId) -> R<ValueId> {
    let n = cx.shape(rows)[0].clone();
    let Some(keys) = cx.shape(rows)[1].as_const().filter(|k| (1..=MOST_KEYS).contains(k)) else {
        return unsupported!(
            "subtensors of more than {MOST_KEYS} or an unknown number of elements"
        );
    };
    let mut order = cx.iota(DType::I64, vec![n.clone()], 0)?;
    for key in (0..keys).rev() {
        let column = cx.slice_axis(rows, 1, key.into(), 1.into())?;
        let column = cx.squeeze(column, &[1])?;
        let column = sortable(cx, column)?;
        let column = cx.emit(Op::Gather { axis: 0 }, &[column, order])?;
        let sort = Op::TopK { k: n.clone(), axis: 0, largest: false, sorted: true };
        let sorted = cx.emit_all(sort, &[column])?;
        let Some(&from) = sorted.get(1) else { return malformed!("a sort without places") };
        order = cx.emit(Op::Gather { axis: 0 }, &[order, from])?;
    }
    Ok(order)
}

/// Bools as numbers.
fn sortable(cx: &mut Cx<'_>, x: ValueId) -> R<ValueId> {
    if cx.dtype(x) == DType::Bool { cx.cast(x, DType::U8) } else { Ok(x) }
}

/// Runs of equal rows in the sorted order.
struct Runs {
    /// How many rows.
    n: Dim,
    /// Row of each sorted place.
    order: ValueId,
    /// Sorted places where runs begin: `i64[runs]`.
    starts: ValueId,
    /// How many runs.
    count: Dim,
    /// Run of each row.
    run: ValueId,
}

impl Runs {
    fn of(cx: &mut Cx<'_>, rows: ValueId, order: ValueId) -> R<Runs> {
        let n = cx.shape(rows)[0].clone();
        let sorted = cx.emit(Op::Gather { axis: 0 }, &[rows, order])?;
        let place = cx.iota(DType::I64, vec![n.clone()], 0)?;
        let before = cx.with_number(BinaryOp::Sub, place, 1.0)?;
        let before = cx.with_number(BinaryOp::Max, before, 0.0)?;
        let previous = cx.emit(Op::Gather { axis: 0 }, &[sorted, before])?;
        let differs = cx.binary(BinaryOp::Ne, sorted, previous)?;
        let differs = cx.cast(differs, DType::I32)?;
        let differs = cx.reduce(ReduceOp::Max, differs, &[1], false)?;
        let differs = cx.with_number(BinaryOp::Ne, differs, 0.0)?;
        let first = cx.with_number(BinaryOp::Eq, place, 0.0)?;
        let begins = cx.binary(BinaryOp::Or, differs, first)?;
        let (starts, count) = non_zero(cx, begins)?;
        let numbers = cx.cast(begins, DType::I64)?;
        let sum = Op::CumSum { axis: 0, exclusive: false, reverse: false };
        let run = cx.emit(sum, &[numbers])?;
        let run = cx.with_number(BinaryOp::Sub, run, 1.0)?;
        let run = scattered(cx, order, run)?;
        Ok(Runs { n, order, starts, count, run })
    }

    /// First rows, run of each row and lengths of runs, in sorted order.
    fn sorted(&self, cx: &mut Cx<'_>) -> R<[ValueId; 3]> {
        let first = cx.emit(Op::Gather { axis: 0 }, &[self.order, self.starts])?;
        let end = cx.dim_scalar(self.n.clone(), DType::I64)?;
        let pads = vec![(Dim::from(0), Dim::from(1))];
        let ends = cx.emit(Op::Pad { pads, mode: PadMode::Constant }, &[self.starts, end])?;
        let ends = cx.slice_axis(ends, 0, 1.into(), self.count.clone())?;
        let counts = cx.binary(BinaryOp::Sub, ends, self.starts)?;
        Ok([first, self.run, counts])
    }

    /// The same in the order of first occurrence.
    fn by_occurrence(&self, cx: &mut Cx<'_>) -> R<[ValueId; 3]> {
        let [first, run, counts] = self.sorted(cx)?;
        // A row is its run's first one where looking its run up leads back to it.
        let home = cx.emit(Op::Gather { axis: 0 }, &[first, run])?;
        let own = cx.iota(DType::I64, vec![self.n.clone()], 0)?;
        let is_first = cx.binary(BinaryOp::Eq, home, own)?;
        let (rows, _) = non_zero(cx, is_first)?;
        let rows = cx.reshape(rows, vec![self.count.clone()])?;
        let numbers = cx.cast(is_first, DType::I64)?;
        let sum = Op::CumSum { axis: 0, exclusive: true, reverse: false };
        let rank = cx.emit(sum, &[numbers])?;
        let inverse = cx.emit(Op::Gather { axis: 0 }, &[rank, home])?;
        let runs = cx.emit(Op::Gather { axis: 0 }, &[run, rows])?;
        let counts = cx.emit(Op::Gather { axis: 0 }, &[counts, runs])?;
        Ok([rows, inverse, counts])
    }
}

/// The places of a vector that hold true, and how many.
fn non_zero(cx: &mut Cx<'_>, x: ValueId) -> R<(ValueId, Dim)> {
    let count = cx.fresh("count");
    let at = cx.emit(Op::NonZero { count }, &[x])?;
    Ok((cx.reshape(at, vec![count.into()])?, count.into()))
}

/// `y[index[i]] = x[i]` for a permutation.
fn scattered(cx: &mut Cx<'_>, index: ValueId, x: ValueId) -> R<ValueId> {
    let reduce = ScatterReduce::None;
    cx.emit(Op::ScatterElements { axis: 0, reduce }, &[x, index, x])
}
