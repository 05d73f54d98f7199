//! Reading a picture between its pixels: GridSample and AffineGrid.
//!
//! A sample is a sum over the corners around its place: each corner is gathered where it
//! is inside, and weighed. Places and weights are `f32`.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[("AffineGrid", One(affine_grid)), ("GridSample", One(grid_sample))];

/// What lies outside of the picture.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

/// How a place between pixels is read.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// The picture, channels last: `[N, d…, C]`.
pub struct Picture {
    pub value: ValueId,
    pub sizes: Vec<Dim>,
}

impl Picture {
    /// From `[N, C, d…]`.
    pub fn new(cx: &mut Cx<'_>, x: ValueId) -> R<Picture> {
        let shape = cx.shape(x);
        if shape.len() < 3 {
            return malformed!("a picture of rank {}, must be 3 or more", shape.len());
        }
        // Neighbours multiply with every axis.
        if shape.len() > 5 {
            return unsupported!("a picture of rank {}, at most 5", shape.len());
        }
        let perm = std::iter::once(0).chain(2..shape.len()).chain([1]).collect();
        Ok(Picture { value: cx.transpose(x, perm)?, sizes: shape[2..].to_vec() })
    }

    /// The pixels at `i64` places of any shape `[N, o…]` each, which must be inside: `[N, o…, C]`.
    pub fn at(&self, cx: &mut Cx<'_>, places: &[ValueId]) -> R<ValueId> {
        let mut parts = Vec::new();
        for p in places {
            parts.push(cx.unsqueeze(*p, &[cx.rank(*p)])?);
        }
        let last = cx.rank(parts[0]) - 1;
        let index = cx.concat(&parts, last)?;
        cx.emit(Op::GatherNd { batch_dims: 1 }, &[self.value, index])
    }
}

/// `low ≤ x ≤ high` for integers.
fn between(cx: &mut Cx<'_>, x: ValueId, high: ValueId) -> R<ValueId> {
    let low = cx.with_number(BinaryOp::Ge, x, 0.0)?;
    let high = cx.binary(BinaryOp::Le, x, high)?;
    cx.binary(BinaryOp::And, low, high)
}

/// Folds `x` back between `low` and `high` as a mirror at both ends does.
fn reflect(cx: &mut Cx<'_>, x: ValueId, low: ValueId, high: ValueId) -> R<ValueId> {
    let range = cx.binary(BinaryOp::Sub, high, low)?;
    let period = cx.with_number(BinaryOp::Mul, range, 2.0)?;
    let from_low = cx.binary(BinaryOp::Sub, x, low)?;
    let distance = cx.unary(UnaryOp::Abs, from_low)?;
    let folded = cx.binary(BinaryOp::Mod, distance, period)?;
    let back = cx.binary(BinaryOp::Sub, period, folded)?;
    let folded = cx.binary(BinaryOp::Min, folded, back)?;
    let y = cx.binary(BinaryOp::Add, folded, low)?;
    // One pixel: nothing to mirror in.
    let single = cx.with_number(BinaryOp::Le, range, 0.0)?;
    cx.select(single, low, y)
}

fn grid_sample(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, grid) = (cx.input(0)?, cx.input(1)?);
    let mode =
        match cx.string("mode", if cx.version >= 20 { "linear" } else { "bilinear" })?.as_str() {
            "linear" | "bilinear" => Mode::Linear,
            "nearest" => Mode::Nearest,
            "cubic" | "bicubic" => Mode::Cubic,
            other => return malformed!("mode '{other}' does not exist"),
        };
    let outside = match cx.string("padding_mode", "zeros")?.as_str() {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => return malformed!("padding_mode '{other}' does not exist"),
    };
    let corners = cx.flag("align_corners", false)?;
    let dtype = cx.dtype(x);
    let picture = Picture::new(cx, x)?;
    let rank = picture.sizes.len();
    if cx.rank(grid) != rank + 2 || !cx.shape(grid)[rank + 1].is(rank as i64) {
        return malformed!("the grid must have {rank} numbers for each place");
    }
    let grid = cx.cast(grid, DType::F32)?;
    let mut axes = Vec::new();
    for (d, size) in picture.sizes.clone().into_iter().enumerate() {
        // The grid has the last axis first.
        let n = cx.slice_axis(grid, rank + 1, ((rank - 1 - d) as i64).into(), 1.into())?;
        let n = cx.squeeze(n, &[rank + 1])?;
        axes.push(taps(cx, n, size, mode, outside, corners)?);
    }
    let y = weighted(cx, &picture, &axes, dtype)?;
    let last = cx.rank(y) - 1;
    let perm = [vec![0, last], (1..last).collect()].concat();
    cx.transpose(y, perm)
}

/// One neighbour along an axis: where, how heavy, and whether it is inside (`None`: always).
struct Tap {
    place: ValueId,
    weight: Option<ValueId>,
    inside: Option<ValueId>,
}

/// The neighbours of the place `n` in −1..=1 along an axis.
fn taps(
    cx: &mut Cx<'_>,
    n: ValueId,
    size: Dim,
    mode: Mode,
    outside: Outside,
    corners: bool,
) -> R<Vec<Tap>> {
    let length = cx.dim_scalar(size, DType::F32)?;
    let last = cx.with_number(BinaryOp::Sub, length, 1.0)?;
    let shifted = cx.with_number(BinaryOp::Add, n, 1.0)?;
    let mut at = match corners {
        true => {
            let half = cx.with_number(BinaryOp::Div, shifted, 2.0)?;
            cx.binary(BinaryOp::Mul, half, last)?
        }
        false => {
            let scaled = cx.binary(BinaryOp::Mul, shifted, length)?;
            let scaled = cx.with_number(BinaryOp::Sub, scaled, 1.0)?;
            cx.with_number(BinaryOp::Div, scaled, 2.0)?
        }
    };
    if mode == Mode::Nearest {
        at = cx.unary(UnaryOp::Round, at)?;
    }
    let ends = match corners {
        true => (cx.number(DType::F32, 0.0)?, last),
        false => (cx.number(DType::F32, -0.5)?, cx.with_number(BinaryOp::Sub, length, 0.5)?),
    };
    at = match outside {
        Outside::Zeros => at,
        Outside::Border => {
            // Between the picture's edge and its outermost pixel's centre nothing moves.
            let low = cx.binary(BinaryOp::Lt, at, ends.0)?;
            let high = cx.binary(BinaryOp::Gt, at, ends.1)?;
            let out = cx.binary(BinaryOp::Or, low, high)?;
            let clamped = cx.with_number(BinaryOp::Max, at, 0.0)?;
            let clamped = cx.binary(BinaryOp::Min, clamped, last)?;
            cx.select(out, clamped, at)?
        }
        Outside::Reflection => reflect(cx, at, ends.0, ends.1)?,
    };
    around(cx, at, last, ends, mode, outside)
}

/// The neighbours of a place in pixels.
fn around(
    cx: &mut Cx<'_>,
    at: ValueId,
    last: ValueId,
    ends: (ValueId, ValueId),
    mode: Mode,
    outside: Outside,
) -> R<Vec<Tap>> {
    let base = cx.unary(UnaryOp::Floor, at)?;
    let part = cx.binary(BinaryOp::Sub, at, base)?;
    let mut out = Vec::new();
    for (offset, weight) in neighbours(cx, part, mode)? {
        let place = cx.with_number(BinaryOp::Add, base, offset)?;
        out.push(tap(cx, place, weight, last, ends, outside)?);
    }
    Ok(out)
}

/// Distances of the neighbours from the pixel below, with their weights where the place
/// is `part` of the way to the next.
fn neighbours(cx: &mut Cx<'_>, part: ValueId, mode: Mode) -> R<Vec<(f64, Option<ValueId>)>> {
    Ok(match mode {
        Mode::Nearest => vec![(0.0, None)],
        Mode::Linear => {
            let one = cx.number(DType::F32, 1.0)?;
            let near = cx.binary(BinaryOp::Sub, one, part)?;
            vec![(0.0, Some(near)), (1.0, Some(part))]
        }
        Mode::Cubic => {
            let mut all = Vec::new();
            for (k, offset) in [-1.0, 0.0, 1.0, 2.0].into_iter().enumerate() {
                all.push((offset, Some(cubic_weight(cx, part, k)?)));
            }
            all
        }
    })
}

/// A neighbour with its place brought inside of the picture.
fn tap(
    cx: &mut Cx<'_>,
    place: ValueId,
    weight: Option<ValueId>,
    last: ValueId,
    ends: (ValueId, ValueId),
    outside: Outside,
) -> R<Tap> {
    let inside = match outside {
        Outside::Zeros => Some(between(cx, place, last)?),
        _ => None,
    };
    let place = match outside {
        Outside::Reflection => reflect(cx, place, ends.0, ends.1)?,
        _ => place,
    };
    let place = cx.with_number(BinaryOp::Max, place, 0.0)?;
    let place = cx.binary(BinaryOp::Min, place, last)?;
    Ok(Tap { place: cx.cast(place, DType::I64)?, weight, inside })
}

/// Keys' cubic convolution with α = −0.75, for the `k`-th of four neighbours.
fn cubic_weight(cx: &mut Cx<'_>, t: ValueId, k: usize) -> R<ValueId> {
    const ALPHA: f64 = -0.75;
    let one = cx.number(DType::F32, 1.0)?;
    let far = matches!(k, 0 | 3);
    let x = match k {
        0 => cx.with_number(BinaryOp::Add, t, 1.0)?,
        1 => t,
        2 => cx.binary(BinaryOp::Sub, one, t)?,
        _ => {
            let two = cx.number(DType::F32, 2.0)?;
            cx.binary(BinaryOp::Sub, two, t)?
        }
    };
    let coefficients = match far {
        true => [ALPHA, -5.0 * ALPHA, 8.0 * ALPHA, -4.0 * ALPHA],
        false => [ALPHA + 2.0, -(ALPHA + 3.0), 0.0, 1.0],
    };
    let mut y = cx.with_number(BinaryOp::Mul, x, coefficients[0])?;
    y = cx.with_number(BinaryOp::Add, y, coefficients[1])?;
    for c in &coefficients[2..] {
        y = cx.binary(BinaryOp::Mul, y, x)?;
        y = cx.with_number(BinaryOp::Add, y, *c)?;
    }
    Ok(y)
}

/// `Σ weight·pixel` over all combinations of neighbours, one per axis: `[N, o…, C]`.
fn weighted(cx: &mut Cx<'_>, picture: &Picture, axes: &[Vec<Tap>], dtype: DType) -> R<ValueId> {
    let mut total = None;
    for corner in 0..axes.iter().map(Vec::len).product() {
        let (mut rest, mut picked) = (corner, Vec::new());
        for axis in axes {
            picked.push(&axis[rest % axis.len()]);
            rest /= axis.len();
        }
        let term = corner_term(cx, picture, &picked, dtype)?;
        total = Some(match total {
            Some(sum) => cx.binary(BinaryOp::Add, sum, term)?,
            None => term,
        });
    }
    match total {
        Some(y) => cx.cast(y, dtype),
        None => malformed!("a picture without axes"),
    }
}

fn corner_term(cx: &mut Cx<'_>, picture: &Picture, taps: &[&Tap], dtype: DType) -> R<ValueId> {
    let places: Vec<ValueId> = taps.iter().map(|t| t.place).collect();
    let mut term = picture.at(cx, &places)?;
    let mut join = |op: BinaryOp, parts: Vec<ValueId>| -> R<Option<ValueId>> {
        let mut joined = None;
        for p in parts {
            let wide = cx.unsqueeze(p, &[cx.rank(p)])?;
            joined = Some(match joined {
                Some(j) => cx.binary(op, j, wide)?,
                None => wide,
            });
        }
        Ok(joined)
    };
    let inside = join(BinaryOp::And, taps.iter().filter_map(|t| t.inside).collect())?;
    let weight = join(BinaryOp::Mul, taps.iter().filter_map(|t| t.weight).collect())?;
    if let Some(weight) = weight {
        let wide = if dtype == DType::F64 { dtype } else { DType::F32 };
        term = cx.cast(term, wide)?;
        let weight = cx.cast(weight, wide)?;
        term = cx.binary(BinaryOp::Mul, term, weight)?;
    }
    if let Some(inside) = inside {
        let zero = cx.number_like(term, 0.0)?;
        term = cx.select(inside, term, zero)?;
    }
    Ok(term)
}

/// `θ·[x, y(, z), 1]` for the centres (or corners) of a grid of cells over −1..=1.
fn affine_grid(cx: &mut Cx<'_>) -> R<ValueId> {
    let theta = cx.input(0)?;
    let sizes = cx.raw_dims(1)?;
    let corners = cx.flag("align_corners", false)?;
    let rank = match sizes.len() {
        4 => 2,
        5 => 3,
        n => return malformed!("a size of {n} numbers, must be 4 or 5"),
    };
    let (batch, spatial) = (sizes[0].clone(), &sizes[2..]);
    let shape = |last: i64| [vec![batch.clone()], spatial.to_vec(), vec![last.into()]].concat();
    let mut rows = Vec::new();
    for row in 0..rank {
        let mut total = None;
        for column in 0..=rank {
            let factor = element(cx, theta, row, column, rank)?;
            let term = match column < rank {
                true => {
                    let line = coordinates(cx, spatial, rank - 1 - column, corners)?;
                    cx.binary(BinaryOp::Mul, factor, line)?
                }
                false => factor,
            };
            total = Some(match total {
                Some(sum) => cx.binary(BinaryOp::Add, sum, term)?,
                None => term,
            });
        }
        let Some(total) = total else { return unsupported!("an empty transformation") };
        let total = cx.unsqueeze(total, &[rank + 1])?;
        rows.push(cx.broadcast(total, shape(1))?);
    }
    cx.concat(&rows, rank + 1)
}

/// `θ[:, row, column]` as `[N, 1…]`.
fn element(cx: &mut Cx<'_>, theta: ValueId, row: usize, column: usize, rank: usize) -> R<ValueId> {
    let line = cx.slice_axis(theta, 1, (row as i64).into(), 1.into())?;
    let one = cx.slice_axis(line, 2, (column as i64).into(), 1.into())?;
    let batch = cx.shape(theta)[0].clone();
    cx.reshape(one, [vec![batch], vec![Dim::from(1); rank]].concat())
}

/// The coordinates of cells along a spatial axis, in `f32`, as `[1, …, size, …, 1]`.
fn coordinates(cx: &mut Cx<'_>, spatial: &[Dim], axis: usize, corners: bool) -> R<ValueId> {
    let mut shape = vec![Dim::from(1); spatial.len() + 1];
    shape[axis + 1] = spatial[axis].clone();
    let index = cx.iota(DType::F32, shape, axis + 1)?;
    let size = cx.dim_scalar(spatial[axis].clone(), DType::F32)?;
    let doubled = cx.with_number(BinaryOp::Mul, index, 2.0)?;
    let (above, below) = match corners {
        true => (doubled, cx.with_number(BinaryOp::Sub, size, 1.0)?),
        false => (cx.with_number(BinaryOp::Add, doubled, 1.0)?, size),
    };
    let y = cx.binary(BinaryOp::Div, above, below)?;
    cx.with_number(BinaryOp::Sub, y, 1.0)
}

/// Linear samples of a picture at `f32` places in pixels, zeros outside: `[N, o…, C]`.
pub fn linear_sample(cx: &mut Cx<'_>, picture: &Picture, places: &[ValueId]) -> R<ValueId> {
    let dtype = cx.dtype(picture.value);
    let mut axes = Vec::new();
    for (at, size) in places.iter().zip(&picture.sizes) {
        let length = cx.dim_scalar(size.clone(), DType::F32)?;
        let last = cx.with_number(BinaryOp::Sub, length, 1.0)?;
        let ends = (cx.number(DType::F32, 0.0)?, last);
        axes.push(around(cx, *at, last, ends, Mode::Linear, Outside::Zeros)?);
    }
    weighted(cx, picture, &axes, dtype)
}
