//! Operators that read a picture at computed places: RoiAlign, MaxRoiPool and DeformConv.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::contraction::matmul;
use super::sample::{Picture, linear_sample};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[
    ("DeformConv", One(deform_conv)),
    ("MaxRoiPool", One(max_roi_pool)),
    ("RoiAlign", One(roi_align)),
];

/// Longest side of a kernel: its taps are listed.
const LONGEST_SIDE: i64 = 64;

/// A two-dimensional convolution whose taps are moved by computed offsets: the samples
/// become columns, the rest is a product.
fn deform_conv(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, w, offset) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (xs, ws, os) = (cx.shape(x), cx.shape(w), cx.shape(offset));
    let ([batch, channels, h, wd], [out, per_group, kh, kw], [_, _, oh, ow]) =
        (xs.as_slice(), ws.as_slice(), os.as_slice())
    else {
        return unsupported!("a deformable convolution of rank {}, only 4", xs.len());
    };
    let number = |name: &str| match cx.int(name, 1)? {
        n if n >= 1 => Ok(n),
        n => malformed!("{name} is {n}"),
    };
    let (groups, offset_groups) = (number("group")?, number("offset_group")?);
    let small = |d: &Dim| d.as_const().filter(|n| (1..=LONGEST_SIDE).contains(n));
    let (Some(kh), Some(kw)) = (small(kh), small(kw)) else {
        return unsupported!("a kernel's sides must be known, 1 to {LONGEST_SIDE}");
    };
    let taps = kh * kw;
    let (Some(depth), Some(each)) =
        (channels.exact_div(&offset_groups.into()), out.exact_div(&groups.into()))
    else {
        return malformed!("the channels do not divide into the groups");
    };
    let lead = batch.clone() * offset_groups;
    let grid = [lead.clone(), taps.into(), oh.clone(), ow.clone()];
    let parts = [lead.clone(), taps.into(), 2.into(), oh.clone(), ow.clone()];
    let offsets = cx.reshape(offset, parts.to_vec())?;
    let mut places = Vec::new();
    for d in 0..2 {
        let moved = cx.slice_axis(offsets, 2, (d as i64).into(), 1.into())?;
        let moved = cx.squeeze(moved, &[2])?;
        let moved = cx.cast(moved, DType::F32)?;
        let at = regular_places(cx, d, (kh, kw), &[oh.clone(), ow.clone()])?;
        places.push(cx.binary(BinaryOp::Add, at, moved)?);
    }
    let by_group = cx.reshape(x, vec![lead.clone(), depth.clone(), h.clone(), wd.clone()])?;
    let picture = Picture::new(cx, by_group)?;
    let mut columns = linear_sample(cx, &picture, &places)?;
    if let Some(mask) = cx.optional(4)? {
        let mask = cx.reshape(mask, [grid.to_vec(), vec![1.into()]].concat())?;
        columns = cx.binary(BinaryOp::Mul, columns, mask)?;
    }
    // [N·offset groups, taps, OH, OW, C'] to [N, groups, C/groups·taps, OH·OW].
    let columns = cx.transpose(columns, vec![0, 4, 1, 2, 3])?;
    let inner = per_group.clone() * taps;
    let shape = vec![batch.clone(), groups.into(), inner.clone(), oh.clone() * ow.clone()];
    let columns = cx.reshape(columns, shape)?;
    let weights = cx.reshape(w, vec![groups.into(), each, inner])?;
    let y = matmul(cx, weights, columns)?;
    let y = cx.reshape(y, vec![batch.clone(), out.clone(), oh.clone(), ow.clone()])?;
    match cx.optional(3)? {
        Some(bias) => {
            let bias = cx.unsqueeze(bias, &[1, 2])?;
            cx.binary(BinaryOp::Add, y, bias)
        }
        None => Ok(y),
    }
}

/// Where taps lie without offsets, along axis `d` of two: `f32[1, taps, OH, OW]`, broadcast.
fn regular_places(cx: &mut Cx<'_>, d: usize, (kh, kw): (i64, i64), out: &[Dim]) -> R<ValueId> {
    let list = |name: &str, len: usize, default: i64| -> R<Vec<i64>> {
        match cx.ints(name)? {
            Some(list) if list.len() == len && list.iter().all(|n| n.abs() < 1 << 31) => Ok(list),
            Some(list) => malformed!("{name} {list:?}, must have {len} numbers in range"),
            None => Ok(vec![default; len]),
        }
    };
    let (strides, dilations) = (list("strides", 2, 1)?, list("dilations", 2, 1)?);
    let pads = list("pads", 4, 0)?;
    let tap = |t: i64| if d == 0 { t / kw } else { t % kw };
    let taps: Vec<f64> = (0..kh * kw).map(|t| (tap(t) * dilations[d] - pads[d]) as f64).collect();
    let taps = cx.constant(DType::F32, vec![1, kh * kw, 1, 1], &taps)?;
    let mut line = vec![Dim::from(1); 4];
    line[2 + d] = out[d].clone();
    let index = cx.iota(DType::F32, line, 2 + d)?;
    let index = cx.with_number(BinaryOp::Mul, index, strides[d] as f64)?;
    cx.binary(BinaryOp::Add, index, taps)
}

/// Regions of a picture, each cut into bins of `ratio × ratio` samples.
struct Regions {
    x: ValueId,
    /// `f32[R, 4]`.
    boxes: ValueId,
    /// `i64[R, 1, 1, 1, 1]`.
    entry: ValueId,
    half_pixel: bool,
    ratio: i64,
}

fn roi_align(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, boxes, entry) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    if cx.rank(x) != 4 || cx.rank(boxes) != 2 {
        return malformed!("operands of rank {} and {}", cx.rank(x), cx.rank(boxes));
    }
    let default = if cx.version >= 16 { "half_pixel" } else { "output_half_pixel" };
    let half_pixel = match cx.string("coordinate_transformation_mode", default)?.as_str() {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => return malformed!("coordinate_transformation_mode '{other}' does not exist"),
    };
    let ratio = cx.int("sampling_ratio", 0)?;
    if !(1..=64).contains(&ratio) {
        return unsupported!("sampling_ratio {ratio}: the samples of a bin must be 1 to 64");
    }
    let entry = cx.cast(entry, DType::I64)?;
    let entry = cx.unsqueeze(entry, &[1, 2, 3, 4])?;
    let boxes = cx.cast(boxes, DType::F32)?;
    let regions = Regions { x, boxes, entry, half_pixel, ratio };
    let max = match cx.string("mode", "avg")?.to_lowercase().as_str() {
        "avg" => false,
        "max" => true,
        other => return malformed!("mode '{other}' does not exist"),
    };
    let y = regions.bins(cx, max)?;
    let y = cx.transpose(y, vec![0, 3, 1, 2])?;
    let dtype = cx.dtype(x);
    cx.cast(y, dtype)
}

/// Samples along an axis: the two pixels around, their weights, whether they are inside.
struct Line {
    low: ValueId,
    high: ValueId,
    near: ValueId,
    far: ValueId,
    inside: ValueId,
}

impl Regions {
    /// `[R, bins down, bins across, C]`.
    fn bins(&self, cx: &mut Cx<'_>, max: bool) -> R<ValueId> {
        let (rows, columns) = (cx.int("output_height", 1)?, cx.int("output_width", 1)?);
        if rows < 1 || columns < 1 {
            return malformed!("{rows}·{columns} bins");
        }
        let down = self.line(cx, 1, rows)?;
        let across = self.line(cx, 0, columns)?;
        let picture = cx.transpose(self.x, vec![0, 2, 3, 1])?;
        let inside = cx.binary(BinaryOp::And, down.inside, across.inside)?;
        let inside = cx.unsqueeze(inside, &[5])?;
        let mut total = None;
        for (y, wy) in [(down.low, down.near), (down.high, down.far)] {
            for (x, wx) in [(across.low, across.near), (across.high, across.far)] {
                let pixel = self.pixel(cx, picture, y, x)?;
                let weight = cx.binary(BinaryOp::Mul, wy, wx)?;
                let weight = cx.unsqueeze(weight, &[5])?;
                let term = cx.binary(BinaryOp::Mul, pixel, weight)?;
                let op = if max { BinaryOp::Max } else { BinaryOp::Add };
                total = Some(match total {
                    Some(sum) => cx.binary(op, sum, term)?,
                    None => term,
                });
            }
        }
        let Some(samples) = total else { return unsupported!("no samples") };
        let zero = cx.number_like(samples, 0.0)?;
        let samples = cx.select(inside, samples, zero)?;
        let op = if max { ReduceOp::Max } else { ReduceOp::Mean };
        cx.reduce(op, samples, &[2, 4], false)
    }

    /// The samples of `count` bins along one axis of the picture (`side` 0 across, 1 down),
    /// as `[R, bins, ratio, 1, 1]` or `[R, 1, 1, bins, ratio]`.
    fn line(&self, cx: &mut Cx<'_>, side: i64, count: i64) -> R<Line> {
        let scale = cx.float("spatial_scale", 1.0)?;
        let size = cx.shape(self.x)[2 + (side == 0) as usize].clone();
        let mut edge = |i: i64| -> R<ValueId> {
            let e = cx.slice_axis(self.boxes, 1, i.into(), 1.into())?;
            let e = cx.unsqueeze(e, &[2, 3, 4])?;
            let e = cx.with_number(BinaryOp::Mul, e, scale.into())?;
            cx.with_number(BinaryOp::Sub, e, if self.half_pixel { 0.5 } else { 0.0 })
        };
        let (start, end) = (edge(side)?, edge(side + 2)?);
        let mut extent = cx.binary(BinaryOp::Sub, end, start)?;
        if !self.half_pixel {
            extent = cx.with_number(BinaryOp::Max, extent, 1.0)?;
        }
        let bin = cx.with_number(BinaryOp::Div, extent, count as f64)?;
        // Bins and samples stand on axes 1, 2 down and 3, 4 across.
        let first = if side == 1 { 1 } else { 3 };
        let mut bins = vec![Dim::from(1); 5];
        bins[first] = count.into();
        let mut samples = vec![Dim::from(1); 5];
        samples[first + 1] = self.ratio.into();
        let index = cx.iota(DType::F32, bins, first)?;
        let sample = cx.iota(DType::F32, samples, first + 1)?;
        let sample = cx.with_number(BinaryOp::Add, sample, 0.5)?;
        let sample = cx.with_number(BinaryOp::Div, sample, self.ratio as f64)?;
        let part = cx.binary(BinaryOp::Add, index, sample)?;
        let moved = cx.binary(BinaryOp::Mul, part, bin)?;
        let at = cx.binary(BinaryOp::Add, start, moved)?;
        line_at(cx, at, size)
    }

    /// Pixels of every channel: `[R, bins, ratio, bins, ratio, C]`.
    fn pixel(&self, cx: &mut Cx<'_>, picture: ValueId, y: ValueId, x: ValueId) -> R<ValueId> {
        let at = |v: ValueId, cx: &Cx<'_>| cx.shape(v);
        let (down, across) = (at(y, cx), at(x, cx));
        let full = [down[..3].to_vec(), across[3..].to_vec()].concat();
        let mut parts = Vec::new();
        for v in [self.entry, y, x] {
            let wide = cx.broadcast(v, full.clone())?;
            parts.push(cx.unsqueeze(wide, &[5])?);
        }
        let index = cx.concat(&parts, 5)?;
        let pixels = cx.emit(Op::GatherNd { batch_dims: 0 }, &[picture, index])?;
        cx.cast(pixels, DType::F32)
    }
}

/// The pixels around `at`: beyond the last one both are the last; more than one pixel
/// outside nothing is read.
fn line_at(cx: &mut Cx<'_>, at: ValueId, size: Dim) -> R<Line> {
    let length = cx.dim_scalar(size, DType::F32)?;
    let last = cx.with_number(BinaryOp::Sub, length, 1.0)?;
    let low = cx.with_number(BinaryOp::Ge, at, -1.0)?;
    let high = cx.binary(BinaryOp::Le, at, length)?;
    let inside = cx.binary(BinaryOp::And, low, high)?;
    let at = cx.with_number(BinaryOp::Max, at, 0.0)?;
    let at = cx.binary(BinaryOp::Min, at, last)?;
    let low = cx.unary(UnaryOp::Floor, at)?;
    let far = cx.binary(BinaryOp::Sub, at, low)?;
    let one = cx.number(DType::F32, 1.0)?;
    let near = cx.binary(BinaryOp::Sub, one, far)?;
    let high = cx.with_number(BinaryOp::Add, low, 1.0)?;
    let high = cx.binary(BinaryOp::Min, high, last)?;
    Ok(Line { low: cx.cast(low, DType::I64)?, high: cx.cast(high, DType::I64)?, near, far, inside })
}

/// The largest pixel of each bin of regions whose edges are rounded to pixels; 0 where a bin
/// has none. All bins of a row have the same rows, so columns are reduced first, under a
/// mask: regions · channels · height · width · bins across comparisons.
fn max_roi_pool(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, rois) = (cx.input(0)?, cx.input(1)?);
    let (xs, rs) = (cx.shape(x), cx.shape(rois));
    let ([_, _, height, width], [_, five]) = (xs.as_slice(), rs.as_slice()) else {
        return malformed!("operands of rank {} and {}", xs.len(), rs.len());
    };
    cx.check(five, &5.into(), "numbers of a region")?;
    let (rows, columns) = match cx.ints("pooled_shape")?.as_deref() {
        Some([rows, columns]) if *rows >= 1 && *columns >= 1 => (*rows, *columns),
        other => return malformed!("pooled_shape is {other:?}"),
    };
    let entry = cx.slice_axis(rois, 1, 0.into(), 1.into())?;
    let entry = cx.squeeze(entry, &[1])?;
    let entry = cx.cast(entry, DType::I64)?;
    let mut pictures = cx.emit(Op::Gather { axis: 0 }, &[x, entry])?;
    let mut empty = Vec::new();
    // [R, C, H, W] to [R, C, H, bins across] to [R, C, bins down, bins across].
    for (side, count, size, axis) in [(0, columns, width, 3), (1, rows, height, 2)] {
        let pixels = bin_pixels(cx, rois, side, count, size)?;
        let some = cx.cast(pixels, DType::I32)?;
        let some = cx.reduce(ReduceOp::Max, some, &[2], false)?;
        let none = cx.with_number(BinaryOp::Lt, some, 1.0)?;
        empty.push(cx.unsqueeze(none, if side == 0 { &[1, 2] } else { &[1, 3] })?);
        let wide = cx.unsqueeze(pictures, &[axis])?;
        let mask = cx.unsqueeze(pixels, if side == 0 { &[1, 2] } else { &[1, 4] })?;
        let lowest = cx.number_like(wide, f64::NEG_INFINITY)?;
        let wide = cx.select(mask, wide, lowest)?;
        pictures = cx.reduce(ReduceOp::Max, wide, &[axis + 1], false)?;
    }
    let empty = cx.binary(BinaryOp::Or, empty[0], empty[1])?;
    let zero = cx.number_like(pictures, 0.0)?;
    cx.select(empty, zero, pictures)
}

/// Whether a pixel is in a bin, along one axis of the picture (`side` 0 across, 1 down):
/// `bool[R, bins, pixels]`.
fn bin_pixels(cx: &mut Cx<'_>, rois: ValueId, side: i64, count: i64, size: &Dim) -> R<ValueId> {
    let dtype = if cx.dtype(rois) == DType::F64 { DType::F64 } else { DType::F32 };
    let scale = cx.float("spatial_scale", 1.0)?;
    let mut edge = |column: i64| -> R<ValueId> {
        let e = cx.slice_axis(rois, 1, column.into(), 1.into())?;
        let e = cx.cast(e, dtype)?;
        let e = cx.with_number(BinaryOp::Mul, e, scale.into())?;
        half_away(cx, e)
    };
    let (start, end) = (edge(1 + side)?, edge(3 + side)?);
    let extent = cx.binary(BinaryOp::Sub, end, start)?;
    let extent = cx.with_number(BinaryOp::Add, extent, 1.0)?;
    let extent = cx.with_number(BinaryOp::Max, extent, 1.0)?;
    let bin = cx.with_number(BinaryOp::Div, extent, count as f64)?;
    let first = cx.iota(dtype, vec![1.into(), count.into()], 1)?;
    let next = cx.with_number(BinaryOp::Add, first, 1.0)?;
    let low = cx.binary(BinaryOp::Mul, first, bin)?;
    let low = cx.unary(UnaryOp::Floor, low)?;
    let low = cx.binary(BinaryOp::Add, low, start)?;
    let high = cx.binary(BinaryOp::Mul, next, bin)?;
    let high = cx.unary(UnaryOp::Ceil, high)?;
    let high = cx.binary(BinaryOp::Add, high, start)?;
    let at = cx.iota(dtype, vec![1.into(), 1.into(), size.clone()], 2)?;
    let (low, high) = (cx.unsqueeze(low, &[2])?, cx.unsqueeze(high, &[2])?);
    let from = cx.binary(BinaryOp::Ge, at, low)?;
    let to = cx.binary(BinaryOp::Lt, at, high)?;
    cx.binary(BinaryOp::And, from, to)
}

/// The nearest integer; halves go away from 0.
fn half_away(cx: &mut Cx<'_>, x: ValueId) -> R<ValueId> {
    let size = cx.unary(UnaryOp::Abs, x)?;
    let whole = cx.unary(UnaryOp::Floor, size)?;
    let rest = cx.binary(BinaryOp::Sub, size, whole)?;
    let up = cx.with_number(BinaryOp::Ge, rest, 0.5)?;
    let up = cx.cast(up, cx.dtype(x))?;
    let whole = cx.binary(BinaryOp::Add, whole, up)?;
    let sign = cx.unary(UnaryOp::Sign, x)?;
    cx.binary(BinaryOp::Mul, whole, sign)
}
