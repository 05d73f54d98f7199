//! Pieces put into larger tensors: CenterCropPad, Col2Im, TensorScatter.

use super::super::cx::{Cx, axis};
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, PadMode};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[
    ("CenterCropPad", One(center_crop_pad)),
    ("Col2Im", One(col2im)),
    ("TensorScatter", One(tensor_scatter)),
];

/// Most taps of a kernel whose blocks are added up one by one.
const MOST_TAPS: i64 = 1024;

/// Zeros around `x`, per axis.
fn pad_zeros(cx: &mut Cx<'_>, x: ValueId, pads: Vec<(Dim, Dim)>) -> R<ValueId> {
    if pads.iter().all(|(before, after)| before.is(0) && after.is(0)) {
        return Ok(x);
    }
    let zero = cx.number_like(x, 0.0)?;
    cx.emit(Op::Pad { pads, mode: PadMode::Constant }, &[x, zero])
}

/// The middle of larger axes, zeros around smaller ones.
fn center_crop_pad(cx: &mut Cx<'_>) -> R<ValueId> {
    let wanted = cx.known_ints(1)?;
    let mut x = cx.input(0)?;
    let rank = cx.rank(x);
    let axes = match cx.ints("axes")? {
        Some(list) => list.iter().map(|a| axis(*a, rank)).collect::<R<Vec<usize>>>()?,
        None => (0..rank).collect(),
    };
    if wanted.iter().any(|size| !(0..1 << 31).contains(size)) {
        return malformed!("sizes {wanted:?} are out of range");
    }
    if axes.len() != wanted.len() {
        return malformed!("{} sizes for {} axes", wanted.len(), axes.len());
    }
    for (a, size) in axes.into_iter().zip(wanted) {
        let Some(own) = cx.shape(x)[a].as_const() else {
            return unsupported!("an axis of unknown size is cropped or padded");
        };
        let apart = own - size;
        if apart >= 0 {
            x = cx.slice_axis(x, a, (apart / 2).into(), size.into())?;
        } else {
            let before = -apart / 2;
            let mut pads = vec![(Dim::from(0), Dim::from(0)); rank];
            pads[a] = (before.into(), (-apart - before).into());
            x = pad_zeros(cx, x, pads)?;
        }
    }
    Ok(x)
}

/// How blocks lie over an axis of the image.
struct Blocks {
    size: i64,
    taps: i64,
    stride: i64,
    dilation: i64,
    pads: (i64, i64),
    count: i64,
}

/// Overlapping blocks added up: for each tap all blocks' elements at once, spread by the
/// stride and shifted to their place.
fn col2im(cx: &mut Cx<'_>) -> R<ValueId> {
    let axes = blocks(cx)?;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let taps = axes.iter().fold(1i64, |n, a| n.saturating_mul(a.taps));
    let [batch, columns, _] = shape.as_slice() else {
        return malformed!("an operand of rank {}, must be 3", shape.len());
    };
    if taps > MOST_TAPS {
        return unsupported!("{taps} taps, at most {MOST_TAPS}");
    }
    let Some(channels) = columns.exact_div(&taps.into()) else {
        return malformed!("{} columns for {taps} taps", cx.show(columns));
    };
    let mut split = vec![batch.clone(), channels.clone(), taps.into()];
    split.extend(axes.iter().map(|a| Dim::from(a.count)));
    let by_tap = cx.reshape(x, split)?;
    let mut total = None;
    for tap in 0..taps {
        let one = cx.slice_axis(by_tap, 2, tap.into(), 1.into())?;
        let mut one = cx.squeeze(one, &[2])?;
        let mut rest = tap;
        for (d, a) in axes.iter().enumerate().rev() {
            one = spread(cx, one, d + 2, a, rest % a.taps)?;
            rest /= a.taps;
        }
        total = Some(match total {
            Some(sum) => cx.binary(BinaryOp::Add, sum, one)?,
            None => one,
        });
    }
    match total {
        Some(y) => Ok(y),
        None => malformed!("a block without elements"),
    }
}

fn blocks(cx: &Cx<'_>) -> R<Vec<Blocks>> {
    let (image, block) = (cx.known_ints(1)?, cx.known_ints(2)?);
    let n = image.len();
    let list = |name: &str, len: usize, default: i64| -> R<Vec<i64>> {
        match cx.ints(name)? {
            Some(list) if list.len() == len && list.iter().all(|x| (0..1 << 31).contains(x)) => {
                Ok(list)
            }
            Some(list) => malformed!("{name} {list:?} for {n} axes"),
            None => Ok(vec![default; len]),
        }
    };
    let (strides, dilations, pads) =
        (list("strides", n, 1)?, list("dilations", n, 1)?, list("pads", 2 * n, 0)?);
    let sizes = image.iter().chain(&block).chain(&strides).chain(&dilations);
    if block.len() != n || sizes.into_iter().any(|x| !(1..1 << 31).contains(x)) {
        return malformed!("blocks of {block:?} in an image of {image:?}");
    }
    let axis = |i: usize| {
        let covered = image[i] + pads[i] + pads[n + i] - dilations[i] * (block[i] - 1) - 1;
        Blocks {
            size: image[i],
            taps: block[i],
            stride: strides[i],
            dilation: dilations[i],
            pads: (pads[i], pads[n + i]),
            count: covered.div_euclid(strides[i]) + 1,
        }
    };
    let axes: Vec<Blocks> = (0..n).map(axis).collect();
    match axes.iter().any(|a| a.count < 1) {
        true => malformed!("blocks of {block:?} do not fit an image of {image:?}"),
        false => Ok(axes),
    }
}

/// Element `i` of `axis` goes to `i·stride + tap·dilation − pad` of an image's axis.
fn spread(cx: &mut Cx<'_>, x: ValueId, axis: usize, a: &Blocks, tap: i64) -> R<ValueId> {
    let rank = cx.rank(x);
    let mut y = x;
    if a.stride > 1 {
        y = cx.unsqueeze(y, &[axis + 1])?;
        let mut gaps = vec![(Dim::from(0), Dim::from(0)); rank + 1];
        gaps[axis + 1].1 = (a.stride - 1).into();
        y = pad_zeros(cx, y, gaps)?;
        let mut shape = cx.shape(x);
        shape[axis] = (a.count * a.stride).into();
        y = cx.reshape(y, shape)?;
    }
    // The gap after the last element is room that it does not need.
    let used = (a.count - 1) * a.stride + 1;
    y = cx.slice_axis(y, axis, 0.into(), used.into())?;
    let before = tap * a.dilation;
    let after = (a.size + a.pads.0 + a.pads.1 - used - before).max(0);
    let mut pads = vec![(Dim::from(0), Dim::from(0)); rank];
    pads[axis] = (before.into(), after.into());
    let y = pad_zeros(cx, y, pads)?;
    cx.slice_axis(y, axis, a.pads.0.into(), a.size.into())
}

/// Each batch entry's update written from its own index on; `circular` wraps at the end.
fn tensor_scatter(cx: &mut Cx<'_>) -> R<ValueId> {
    let (past, update) = (cx.input(0)?, cx.input(1)?);
    let (shape, rank) = (cx.shape(past), cx.rank(past));
    let at = cx.axis("axis", -2, rank)?;
    if at == 0 || cx.rank(update) != rank {
        return malformed!("axis 0 is the batch; the update has rank {}", cx.rank(update));
    }
    let circular = match cx.string("mode", "linear")?.as_str() {
        "linear" => false,
        "circular" => true,
        other => return malformed!("mode '{other}' does not exist"),
    };
    let mut line = vec![Dim::from(1); rank];
    line[at] = shape[at].clone();
    let place = cx.iota(DType::I64, line, at)?;
    let mut column = vec![Dim::from(1); rank];
    column[0] = shape[0].clone();
    let first = match cx.optional(2)? {
        Some(first) => {
            let first = cx.cast(first, DType::I64)?;
            cx.reshape(first, column)?
        }
        None => cx.number(DType::I64, 0.0)?,
    };
    let mut from = cx.binary(BinaryOp::Sub, place, first)?;
    if circular {
        let size = cx.dim_scalar(shape[at].clone(), DType::I64)?;
        from = cx.binary(BinaryOp::Mod, from, size)?;
    }
    let count = cx.dim_scalar(cx.shape(update)[at].clone(), DType::I64)?;
    let low = cx.with_number(BinaryOp::Ge, from, 0.0)?;
    let high = cx.binary(BinaryOp::Lt, from, count)?;
    let written = cx.binary(BinaryOp::And, low, high)?;
    let zero = cx.number(DType::I64, 0.0)?;
    let index = cx.select(written, from, zero)?;
    let index = cx.broadcast(index, shape)?;
    let new = cx.emit(Op::GatherElements { axis: at }, &[update, index])?;
    cx.select(written, new, past)
}
