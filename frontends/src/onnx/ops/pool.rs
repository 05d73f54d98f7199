//! Pools.

use super::super::cx::Cx;
use super::super::emit::many;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::window::{explicit_pads, lowest, per_axis, spatial, windows};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{
    BinaryOp, ChannelLayout, Op, PadMode, PoolAttrs, PoolKind, ReduceOp, ScatterReduce, UnaryOp,
};
use cascata_ir::types::{Dim, Scalar};

pub const OPS: Table = &[
    ("AveragePool", One(average_pool)),
    ("GlobalAveragePool", One(|cx| global(cx, ReduceOp::Mean))),
    ("GlobalLpPool", One(global_lp)),
    ("GlobalMaxPool", One(|cx| global(cx, ReduceOp::Max))),
    ("LpPool", One(lp_pool)),
    ("MaxPool", Many(max_pool)),
    ("MaxUnpool", One(max_unpool)),
];

fn kernel(cx: &Cx<'_>) -> R<Vec<i64>> {
    match cx.ints("kernel_shape")? {
        Some(k) if k.iter().all(|k| (1..=1 << 31).contains(k)) => Ok(k),
        Some(k) => malformed!("kernel_shape {k:?} is out of range"),
        None => malformed!("kernel_shape is missing"),
    }
}

fn pool(cx: &mut Cx<'_>, x: ValueId, kind: PoolKind, fill: f64) -> R<Vec<ValueId>> {
    let kernel = kernel(cx)?;
    let windows = windows(cx, x, &kernel, fill)?;
    let kind = match kind {
        PoolKind::Average { count_pad: false } if windows.padded => {
            return unsupported!("SAME padding of a symbolic size that the mean leaves out");
        }
        PoolKind::Max { indices: true, .. } if windows.padded => {
            return unsupported!("indices with SAME padding of a symbolic size");
        }
        kind => kind,
    };
    let attrs = PoolAttrs {
        kind,
        kernel,
        strides: windows.strides,
        pads: windows.pads,
        dilations: windows.dilations,
        ceil_mode: cx.flag("ceil_mode", false)?,
        layout: ChannelLayout::First,
    };
    cx.emit_all(Op::Pool(attrs), &[windows.x])
}

fn max_pool(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let kind =
        PoolKind::Max { indices: cx.wants(1), column_major: cx.flag("storage_order", false)? };
    let x = cx.input(0)?;
    let fill = lowest(cx, x);
    many(pool(cx, x, kind, fill)?)
}

fn average_pool(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    average_of(cx, x)
}

/// The means of the node's windows over `x`.
pub fn average_of(cx: &mut Cx<'_>, x: ValueId) -> R<ValueId> {
    let kind = PoolKind::Average { count_pad: cx.flag("count_include_pad", false)? };
    Ok(pool(cx, x, kind, 0.0)?[0])
}

fn lp_pool(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let kind = PoolKind::Lp { p: cx.int("p", 2)? };
    Ok(pool(cx, x, kind, 0.0)?[0])
}

fn spatial_axes(cx: &Cx<'_>, x: ValueId) -> R<Vec<usize>> {
    Ok((2..2 + spatial(cx, x)?).collect())
}

fn global(cx: &mut Cx<'_>, op: ReduceOp) -> R<ValueId> {
    let x = cx.input(0)?;
    let axes = spatial_axes(cx, x)?;
    cx.reduce(op, x, &axes, true)
}

fn global_lp(cx: &mut Cx<'_>) -> R<ValueId> {
    let p = cx.int("p", 2)? as f64;
    let x = cx.input(0)?;
    let axes = spatial_axes(cx, x)?;
    let size = cx.unary(UnaryOp::Abs, x)?;
    let powers = cx.with_number(BinaryOp::Pow, size, p)?;
    let total = cx.reduce(ReduceOp::Sum, powers, &axes, true)?;
    cx.with_number(BinaryOp::Pow, total, 1.0 / p)
}

/// Scatters the operand to its flat indices in zeros of the unpooled shape.
fn max_unpool(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let n = spatial(cx, x)?;
    let kernel = kernel(cx)?;
    if kernel.len() != n {
        return malformed!("a kernel of {} dims for {n} spatial axes", kernel.len());
    }
    let (strides, pads) = (per_axis(cx, "strides", n, 1)?, explicit_pads(cx, n)?);
    let mut shape = cx.shape(x);
    for i in 0..n {
        let size = (shape[2 + i].clone() - 1) * strides[i] + kernel[i];
        shape[2 + i] = size - pads[i].0 - pads[i].1;
    }
    let total = shape.iter().cloned().fold(Dim::from(1), |p, d| p * d);
    let zero = Scalar::from_f64(cx.dtype(x), 0.0);
    let zeros = cx.fill(zero, vec![total])?;
    let (flat, at) = (cx.flatten(x)?, cx.flatten(indices)?);
    let op = Op::ScatterElements { axis: 0, reduce: ScatterReduce::None };
    let y = cx.emit(op, &[zeros, at, flat])?;
    let y = cx.reshape(y, shape.clone())?;
    if !cx.has(2) {
        return Ok(y);
    }
    let wanted = cx.raw_dims(2)?;
    if wanted.len() != shape.len() {
        return malformed!("output_shape has {} dims, the operand {}", wanted.len(), shape.len());
    }
    let pads = wanted.into_iter().zip(shape).map(|(w, d)| (Dim::from(0), w - d)).collect();
    let zero = cx.fill(zero, vec![])?;
    cx.emit(Op::Pad { pads, mode: PadMode::Constant }, &[y, zero])
}
