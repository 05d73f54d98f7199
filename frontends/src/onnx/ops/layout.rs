//! Reshape, transpose, concat, split, expand, tile, pad and their like.

use super::super::cx::{Cx, axes, axis};
use super::super::emit::{many, simple};
use super::super::error::{R, malformed, unsupported};
use super::super::facts::{Elem, divide_products};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BindMode, Op, PadMode};
use cascata_ir::types::{Dim, Shape};

pub const OPS: Table = &[
    ("Concat", One(concat)),
    ("DepthToSpace", One(depth_to_space)),
    ("Expand", One(expand)),
    ("Flatten", One(flatten)),
    ("Pad", One(pad)),
    ("Reshape", One(reshape)),
    ("SpaceToDepth", One(space_to_depth)),
    ("Split", Many(split)),
    ("Squeeze", One(squeeze)),
    ("Tile", One(tile)),
    ("Transpose", One(transpose)),
    ("Unsqueeze", One(unsqueeze)),
];

/// The `axes` of a node: an input since opset 13, an attribute before.
fn axes_operand(cx: &Cx<'_>) -> R<Option<Vec<i64>>> {
    if cx.has(1) { cx.known_ints(1).map(Some) } else { cx.ints("axes") }
}

fn reshape(cx: &mut Cx<'_>) -> R<ValueId> {
    let operand = cx.input_type(0)?.shape;
    let allow_zero = cx.flag("allowzero", false)?;
    // Known dims are resolved here; a target that depends on data is bound where it stands.
    let mode = BindMode::Reshape { operand: operand.clone(), allow_zero };
    let target = cx.dims(1, mode)?;
    simple(&operand)?;
    simple(&target.iter().filter_map(|e| e.as_dim().cloned()).collect::<Vec<Dim>>())?;
    let shape = resolve_reshape(cx, &operand, &target, allow_zero)?;
    let x = cx.input(0)?;
    cx.reshape(x, shape)
}

/// Resolves 0 and −1 of a reshape target.
fn resolve_reshape(cx: &Cx<'_>, from: &[Dim], target: &[Elem], allow_zero: bool) -> R<Shape> {
    let mut shape = Vec::with_capacity(target.len());
    let mut open = None;
    for (i, elem) in target.iter().enumerate() {
        let Some(dim) = elem.as_dim() else {
            return unsupported!("dim {i} of the target is not an integer");
        };
        shape.push(match dim.as_const() {
            Some(0) if !allow_zero => match from.get(i) {
                Some(d) => d.clone(),
                None => {
                    return malformed!(
                        "dim {i} of the target is 0, but the operand has no dim {i}"
                    );
                }
            },
            Some(-1) if open.is_none() => {
                open = Some(i);
                Dim::from(1)
            }
            Some(-1) => return malformed!("the target has two dims of -1"),
            Some(n) if n < 0 => return malformed!("dim {i} of the target is {n}"),
            _ => dim.clone(),
        });
    }
    let Some(i) = open else { return Ok(shape) };
    let rest: Vec<Dim> =
        shape.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, d)| d.clone()).collect();
    if let Some(dim) = divide_products(from, &rest) {
        shape[i] = dim;
        return Ok(shape);
    }
    let product = |dims: &[Dim]| dims.iter().cloned().fold(Dim::from(1), |p, d| p * d);
    let (all, rest) = (product(from), product(&rest));
    if rest.is(0) {
        return malformed!("-1 in the target is ambiguous: the other dims have 0 elements");
    }
    if let (Some(a), Some(r)) = (all.as_const(), rest.as_const())
        && a % r != 0
    {
        return malformed!("{a} elements do not divide into rows of {r}");
    }
    if !rest.at_least(1, cx.symbols()) && rest.as_const().is_some() {
        return malformed!("the target's dims multiply to {}", cx.show(&rest));
    }
    shape[i] = all.floor_div(&rest);
    Ok(shape)
}

fn flatten(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let at = cx.int("axis", 1)?;
    let rank = shape.len();
    let at = if at == rank as i64 { rank } else { axis(at, rank)? };
    let product = |dims: &[Dim]| dims.iter().cloned().fold(Dim::from(1), |p, d| p * d);
    cx.reshape(x, vec![product(&shape[..at]), product(&shape[at..])])
}

fn squeeze(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let gone = match axes_operand(cx)? {
        Some(list) => axes(&list, shape.len())?,
        None => {
            for d in shape.iter().filter(|d| d.as_const().is_none()) {
                let (low, high) = d.bounds(cx.symbols());
                if low <= 1 && high >= 1 {
                    return unsupported!(
                        "without axes the result's rank depends on whether {} is 1; bind it with --dim",
                        cx.show(d)
                    );
                }
            }
            (0..shape.len()).filter(|&a| shape[a].is(1)).collect()
        }
    };
    cx.squeeze(x, &gone)
}

fn unsqueeze(cx: &mut Cx<'_>) -> R<ValueId> {
    let Some(list) = axes_operand(cx)? else { return malformed!("axes is missing") };
    let x = cx.input(0)?;
    let axes = axes(&list, cx.rank(x) + list.len())?;
    cx.unsqueeze(x, &axes)
}

fn transpose(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let perm = match cx.ints("perm")? {
        Some(perm) if perm.len() == rank => {
            perm.iter().map(|&p| axis(p, rank)).collect::<R<Vec<usize>>>()?
        }
        Some(perm) => return malformed!("perm {perm:?} for rank {rank}"),
        None => (0..rank).rev().collect(),
    };
    cx.transpose(x, perm)
}

fn concat(cx: &mut Cx<'_>) -> R<ValueId> {
    let parts = cx.all_inputs()?;
    let Some(&first) = parts.first() else { return malformed!("it has no input") };
    if !cx.has_attribute("axis") {
        return malformed!("axis is missing");
    }
    let axis = cx.axis("axis", 0, cx.rank(first))?;
    cx.concat(&parts, axis)
}

fn split(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let x = cx.input(0)?;
    let axis = cx.axis("axis", 0, cx.rank(x))?;
    let size = cx.shape(x)[axis].clone();
    let parts = cx.node.output.len() as i64;
    let sizes = if cx.has(1) {
        cx.raw_dims(1)?
    } else if let Some(list) = cx.ints("split")? {
        list.into_iter().map(Dim::from).collect()
    } else {
        even_parts(cx, &size, parts)?
    };
    if sizes.len() != parts as usize {
        return malformed!("{} sizes for {parts} outputs", sizes.len());
    }
    let total = sizes.iter().cloned().fold(Dim::from(0), |t, s| t + s);
    cx.check(&total, &size, "sizes of the parts and of the axis")?;
    let mut start = Dim::from(0);
    let mut out = Vec::new();
    for len in sizes {
        out.push(cx.slice_axis(x, axis, start.clone(), len.clone())?);
        start = start + len;
    }
    many(out)
}

/// Equal parts; since opset 18 the last may be smaller.
fn even_parts(cx: &Cx<'_>, size: &Dim, parts: i64) -> R<Vec<Dim>> {
    let n = cx.int("num_outputs", parts)?;
    if n != parts || n < 1 {
        return malformed!("num_outputs is {n}, but there are {parts} outputs");
    }
    let chunk = match size.exact_div(&n.into()) {
        Some(chunk) => return Ok(vec![chunk; n as usize]),
        None if cx.version >= 18 => size.ceil_div(&n.into()),
        None => return unsupported!("{} does not divide into {n} equal parts", cx.show(size)),
    };
    let mut sizes = vec![chunk.clone(); n as usize];
    sizes[n as usize - 1] = size.clone() - chunk * (n - 1);
    Ok(sizes)
}

fn expand(cx: &mut Cx<'_>) -> R<ValueId> {
    let target = cx.raw_dims(1)?;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let rank = shape.len().max(target.len());
    let at = |s: &[Dim], i: usize| match (i + s.len()).checked_sub(rank) {
        Some(j) => s[j].clone(),
        None => Dim::from(1),
    };
    let mut out = Vec::with_capacity(rank);
    for i in 0..rank {
        let (a, b) = (at(&shape, i), at(&target, i));
        match a.broadcast(&b) {
            Some(d) => out.push(d),
            None => return malformed!("dims {} and {} do not broadcast", cx.show(&a), cx.show(&b)),
        }
    }
    cx.broadcast(x, out)
}

/// Repeats by broadcasting a new axis before each repeated one.
fn tile(cx: &mut Cx<'_>) -> R<ValueId> {
    let repeats = cx.raw_dims(1)?;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    if repeats.len() != shape.len() {
        return malformed!("{} repeats for rank {}", repeats.len(), shape.len());
    }
    let (mut split, mut wide, mut result) = (Vec::new(), Vec::new(), Vec::new());
    for (dim, times) in shape.iter().zip(&repeats) {
        if !times.is(1) {
            split.push(Dim::from(1));
            wide.push(times.clone());
        }
        split.push(dim.clone());
        wide.push(dim.clone());
        result.push(dim.clone() * times.clone());
    }
    let x = cx.reshape(x, split)?;
    let x = cx.broadcast(x, wide)?;
    cx.reshape(x, result)
}

fn pad(cx: &mut Cx<'_>) -> R<ValueId> {
    let mut x = cx.input(0)?;
    let rank = cx.rank(x);
    let mode = match cx.string("mode", "constant")?.as_str() {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => return malformed!("mode '{other}' does not exist"),
    };
    let list = match cx.has(1) {
        true => cx.raw_dims(1)?,
        false => cx.ints("pads")?.unwrap_or_default().into_iter().map(Dim::from).collect(),
    };
    let which = match cx.has(3) {
        true => cx.known_ints(3)?.iter().map(|&a| axis(a, rank)).collect::<R<Vec<usize>>>()?,
        false => (0..rank).collect(),
    };
    if list.len() != 2 * which.len() {
        return malformed!("{} pads for {} axes", list.len(), which.len());
    }
    let mut pads = vec![(Dim::from(0), Dim::from(0)); rank];
    for (i, &a) in which.iter().enumerate() {
        pads[a] = (list[i].clone(), list[which.len() + i].clone());
    }
    x = crop_negative(cx, x, &mut pads)?;
    if pads.iter().all(|(a, b)| a.is(0) && b.is(0)) {
        return Ok(x);
    }
    let mut operands = vec![x];
    if mode == PadMode::Constant {
        let value = match cx.optional(2)? {
            Some(value) => cx.reshape(value, vec![])?,
            None => {
                let value = cx.float("value", 0.0)?;
                cx.number_like(x, value.into())?
            }
        };
        operands.push(value);
    }
    cx.emit(Op::Pad { pads, mode }, &operands)
}

/// Negative pads cut elements off.
fn crop_negative(cx: &mut Cx<'_>, x: ValueId, pads: &mut [(Dim, Dim)]) -> R<ValueId> {
    let mut x = x;
    for (axis, (before, after)) in pads.iter_mut().enumerate() {
        let mut cut = [Dim::from(0), Dim::from(0)];
        for (pad, cut) in [&mut *before, &mut *after].into_iter().zip(&mut cut) {
            let (low, high) = pad.bounds(cx.symbols());
            if high < 0 {
                *cut = -std::mem::take(pad);
            } else if low < 0 && high > 0 && pad.symbols().is_empty() {
                return unsupported!("a pad of {}", cx.show(pad));
            }
        }
        let [start, end] = cut;
        let len = cx.shape(x)[axis].clone() - start.clone() - end;
        x = cx.slice_axis(x, axis, start, len)?;
    }
    Ok(x)
}

/// `[N, C, H, W]` and the block size.
fn blocks(cx: &mut Cx<'_>) -> R<(ValueId, Shape, i64)> {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let block = cx.int("blocksize", 0)?;
    if shape.len() != 4 || !(1..=1 << 20).contains(&block) {
        return malformed!("it needs rank 4 and a blocksize of 1 or more");
    }
    Ok((x, shape, block))
}

/// `dim / by`, which must be exact.
fn exact(cx: &Cx<'_>, dim: &Dim, by: i64) -> R<Dim> {
    match (dim.exact_div(&by.into()), dim.as_const()) {
        (Some(q), _) => Ok(q),
        (None, Some(_)) => malformed!("{} is not a multiple of {by}", cx.show(dim)),
        (None, None) => Ok(dim.floor_div(&by.into())),
    }
}

fn depth_to_space(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, s, b) = blocks(cx)?;
    let depth = exact(cx, &s[1], b * b)?;
    let (n, h, w) = (s[0].clone(), s[2].clone(), s[3].clone());
    let result = vec![n.clone(), depth.clone(), h.clone() * b, w.clone() * b];
    let (split, perm) = match cx.string("mode", "DCR")?.as_str() {
        "DCR" => (vec![n, b.into(), b.into(), depth, h, w], vec![0, 3, 4, 1, 5, 2]),
        "CRD" => (vec![n, depth, b.into(), b.into(), h, w], vec![0, 1, 4, 2, 5, 3]),
        other => return malformed!("mode '{other}' must be DCR or CRD"),
    };
    let y = cx.reshape(x, split)?;
    let y = cx.transpose(y, perm)?;
    cx.reshape(y, result)
}

fn space_to_depth(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, s, b) = blocks(cx)?;
    let (h, w) = (exact(cx, &s[2], b)?, exact(cx, &s[3], b)?);
    let (n, c) = (s[0].clone(), s[1].clone());
    let split = vec![n.clone(), c.clone(), h.clone(), b.into(), w.clone(), b.into()];
    let perm = match cx.string("mode", "DCR")?.as_str() {
        "DCR" => vec![0, 3, 5, 1, 2, 4],
        "CRD" => vec![0, 1, 3, 5, 2, 4],
        other => return malformed!("mode '{other}' must be DCR or CRD"),
    };
    let y = cx.reshape(x, split)?;
    let y = cx.transpose(y, perm)?;
    cx.reshape(y, vec![n, c * (b * b), h, w])
}
