//! Gathers, scatters and what is built from indices and masks.

use super::super::cx::{Cx, axis};
use super::super::error::{R, malformed};
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, ScatterReduce};
use cascata_ir::types::DType;

pub const OPS: Table = &[
    ("Compress", One(compress)),
    ("Gather", One(gather)),
    ("GatherElements", One(gather_elements)),
    ("GatherND", One(gather_nd)),
    ("NonZero", One(non_zero)),
    ("OneHot", One(one_hot)),
    ("ReverseSequence", One(reverse_sequence)),
    ("Scatter", One(scatter_elements)),
    ("ScatterElements", One(scatter_elements)),
    ("ScatterND", One(scatter_nd)),
    ("Trilu", One(trilu)),
];

fn gather(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, index) = (cx.input(0)?, cx.input(1)?);
    let axis = cx.axis("axis", 0, cx.rank(x))?;
    cx.emit(Op::Gather { axis }, &[x, index])
}

fn gather_elements(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, index) = (cx.input(0)?, cx.input(1)?);
    let axis = cx.axis("axis", 0, cx.rank(x))?;
    cx.emit(Op::GatherElements { axis }, &[x, index])
}

fn gather_nd(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, index) = (cx.input(0)?, cx.input(1)?);
    let Ok(batch_dims) = usize::try_from(cx.int("batch_dims", 0)?) else {
        return malformed!("batch_dims is negative");
    };
    cx.emit(Op::GatherNd { batch_dims }, &[x, index])
}

fn scatter_reduce(cx: &Cx<'_>) -> R<ScatterReduce> {
    Ok(match cx.string("reduction", "none")?.as_str() {
        "none" => ScatterReduce::None,
        "add" => ScatterReduce::Add,
        "mul" => ScatterReduce::Mul,
        "max" => ScatterReduce::Max,
        "min" => ScatterReduce::Min,
        other => return malformed!("reduction '{other}' does not exist"),
    })
}

fn scatter_elements(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, index, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let axis = cx.axis("axis", 0, cx.rank(x))?;
    let reduce = scatter_reduce(cx)?;
    cx.emit(Op::ScatterElements { axis, reduce }, &[x, index, updates])
}

fn scatter_nd(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, index, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let reduce = scatter_reduce(cx)?;
    cx.emit(Op::ScatterNd { reduce }, &[x, index, updates])
}

fn non_zero(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let count = cx.fresh("count");
    cx.emit(Op::NonZero { count }, &[x])
}

/// Rows where the condition holds: its non-zero indices, gathered.
fn compress(cx: &mut Cx<'_>) -> R<ValueId> {
    let (mut x, condition) = (cx.input(0)?, cx.input(1)?);
    let axis = match cx.opt_int("axis")? {
        Some(a) => axis(a, cx.rank(x))?,
        None => {
            x = cx.flatten(x)?;
            0
        }
    };
    let condition = cx.flatten(condition)?;
    let count = cx.fresh("count");
    let index = cx.emit(Op::NonZero { count }, &[condition])?;
    let index = cx.reshape(index, vec![count.into()])?;
    cx.emit(Op::Gather { axis }, &[x, index])
}

/// `iota == index` chooses between the two values; out of range gives no hit.
fn one_hot(cx: &mut Cx<'_>) -> R<ValueId> {
    let depth = match cx.raw_dims(1)?.as_slice() {
        [depth] => depth.clone(),
        other => return malformed!("depth has {} elements", other.len()),
    };
    let (indices, values) = (cx.input(0)?, cx.input(2)?);
    let index = cx.cast(indices, DType::I64)?;
    let rank = cx.rank(index) + 1;
    let axis = cx.axis("axis", -1, rank)?;
    let size = cx.dim_scalar(depth.clone(), DType::I64)?;
    let negative = cx.with_number(BinaryOp::Lt, index, 0.0)?;
    let from_end = cx.binary(BinaryOp::Add, index, size)?;
    let index = cx.select(negative, from_end, index)?;
    let index = cx.unsqueeze(index, &[axis])?;
    let mut shape = vec![1.into(); rank];
    shape[axis] = depth;
    let positions = cx.iota(DType::I64, shape, axis)?;
    let hit = cx.binary(BinaryOp::Eq, index, positions)?;
    let mut value = |i: i64| -> R<ValueId> {
        let one = cx.slice_axis(values, 0, i.into(), 1.into())?;
        cx.reshape(one, vec![])
    };
    let (off, on) = (value(0)?, value(1)?);
    cx.select(hit, on, off)
}

/// Keeps `column − row ≥ k` (upper) or `≤ k` (lower).
fn trilu(cx: &mut Cx<'_>) -> R<ValueId> {
    let upper = cx.flag("upper", true)?;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let Some(lead) = shape.len().checked_sub(2) else {
        return malformed!("the operand needs rank 2 or more");
    };
    let (rows, columns) = (shape[lead].clone(), shape[lead + 1].clone());
    let row = cx.iota(DType::I64, vec![rows, 1.into()], 0)?;
    let column = cx.iota(DType::I64, vec![1.into(), columns], 1)?;
    let distance = cx.binary(BinaryOp::Sub, column, row)?;
    let k = match cx.optional(1)? {
        Some(k) => cx.reshape(k, vec![])?,
        None => cx.number(DType::I64, 0.0)?,
    };
    let keep = cx.binary(if upper { BinaryOp::Ge } else { BinaryOp::Le }, distance, k)?;
    let zero = cx.number_like(x, 0.0)?;
    cx.select(keep, x, zero)
}

/// Reverses the first `lens[b]` steps: step `t` comes from `lens[b] − 1 − t` where that is
/// not negative.
fn reverse_sequence(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, lens) = (cx.input(0)?, cx.input(1)?);
    let shape = cx.shape(x);
    let (batch, time) = (cx.int("batch_axis", 1)?, cx.int("time_axis", 0)?);
    let (batch, time) = (axis(batch, shape.len())?, axis(time, shape.len())?);
    if batch == time {
        return malformed!("batch_axis and time_axis are the same");
    }
    let mut column = vec![1.into(); shape.len()];
    column[batch] = shape[batch].clone();
    let lens = cx.cast(lens, DType::I64)?;
    let lens = cx.reshape(lens, column)?;
    let mut line = vec![1.into(); shape.len()];
    line[time] = shape[time].clone();
    let step = cx.iota(DType::I64, line, time)?;
    let last = cx.with_number(BinaryOp::Sub, lens, 1.0)?;
    let mirrored = cx.binary(BinaryOp::Sub, last, step)?;
    let outside = cx.with_number(BinaryOp::Lt, mirrored, 0.0)?;
    let index = cx.select(outside, step, mirrored)?;
    let index = cx.broadcast(index, shape)?;
    cx.emit(Op::GatherElements { axis: time }, &[x, index])
}
