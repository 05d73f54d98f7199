//! Resize as expressions: operand coordinates and weights per axis, then a weighted
//! sum of 1, 2 or 4 taps per resized axis; what needs more taps has launches of its own.

use super::LowerError;
use super::access::{binary, cast};
use super::body::Body;
use cascata_ir::graph::ValueId;
use cascata_ir::kernel::{Expr, Stmt};
use cascata_ir::op::{BinaryOp, NearestMode, ResizeAttrs, ResizeCoordinates, ResizeMode, UnaryOp};
use cascata_types::{DType, Dim, Scalar};

mod passes;

/// An operand index along one axis and its weight.
struct Tap {
    at: Dim,
    weight: Option<Expr>,
}

/// The resized value at `idx`.
pub(super) fn value_at(
    body: &mut Body,
    x: ValueId,
    attrs: &ResizeAttrs,
    idx: &[Dim],
) -> Result<Expr, LowerError> {
    let weighted = attrs.mode != ResizeMode::Nearest;
    let crops = attrs.coordinates == ResizeCoordinates::TfCropAndResize;
    let filtered = attrs.antialias || attrs.exclude_outside || crops;
    if weighted && (filtered || body.graph.tensor(x).dtype != DType::F32) {
        return passes::value_at(body, x, attrs, idx);
    }
    let shape = body.shape(x);
    let mut taps = Vec::with_capacity(idx.len());
    for (axis, i) in idx.iter().enumerate() {
        taps.push(axis_taps(body, attrs, &shape, axis, i));
    }
    let value = sum(body, x, &taps, &mut Vec::new())?;
    if !crops {
        return Ok(value);
    }
    let dtype = body.graph.tensor(x).dtype;
    let fill = Expr::Const(Scalar::from_f64(dtype, attrs.extrapolation.to_f64()));
    let mut cropped = value;
    for (axis, i) in idx.iter().enumerate() {
        let at = coordinate_f64(attrs, axis, &shape[axis], i);
        cropped = inside(at, &shape[axis]).select(cropped, fill.clone());
    }
    Ok(cropped)
}

/// Whether a coordinate lies in an operand of length `n`.
fn inside(at: Expr, n: &Dim) -> Expr {
    let low = at.clone().ge(number(0.0));
    low.and(at.le(as_f64(n.clone() - 1)))
}

/// Whether every coordinate of an axis of length `n` maps to itself.
fn is_identity(attrs: &ResizeAttrs, n: &Dim, axis: usize) -> bool {
    let scale = attrs.scales.as_ref().map(|s| s[axis].to_f64());
    let crops = attrs.coordinates == ResizeCoordinates::TfCropAndResize;
    *n == attrs.shape[axis] && scale.is_none_or(|s| s == 1.0) && !crops
}

fn sum(
    body: &mut Body,
    x: ValueId,
    taps: &[Vec<Tap>],
    from: &mut Vec<Dim>,
) -> Result<Expr, LowerError> {
    let Some((axis, rest)) = taps.split_first() else {
        return body.value_at(x, from);
    };
    let mut total: Option<Expr> = None;
    for tap in axis {
        from.push(tap.at.clone());
        let mut value = sum(body, x, rest, from)?;
        from.pop();
        if let Some(weight) = &tap.weight {
            value = binary(BinaryOp::Mul, value, weight.clone());
        }
        total = Some(match total {
            Some(sum) => binary(BinaryOp::Add, sum, value),
            None => value,
        });
    }
    total.ok_or_else(|| body.error("a resized axis needs taps"))
}

fn axis_taps(
    body: &mut Body,
    attrs: &ResizeAttrs,
    shape: &[Dim],
    axis: usize,
    i: &Dim,
) -> Vec<Tap> {
    let n = &shape[axis];
    let scale = attrs.scales.as_ref().map(|s| s[axis].to_f64());
    if is_identity(attrs, n, axis) {
        return vec![Tap { at: i.clone(), weight: None }];
    }
    let whole = scale.filter(|s| *s >= 1.0 && s.fract() == 0.0).map(|s| s as i64);
    if let (Some(s), ResizeMode::Nearest) = (whole, attrs.mode)
        && attrs.coordinates == ResizeCoordinates::Asymmetric
        && attrs.nearest == NearestMode::Floor
    {
        return vec![Tap { at: i.floor_div(&s.into()), weight: None }];
    }
    if attrs.mode == ResizeMode::Nearest {
        let at = body.hoist("coordinate", DType::F64, coordinate_f64(attrs, axis, n, i));
        let rounded = cast(DType::I64, DType::F64, nearest(attrs.nearest, at));
        return vec![Tap { at: clamped_index(body, rounded, 0, n), weight: None }];
    }
    let at = body.hoist("coordinate", DType::F32, coordinate(attrs, axis, n, i));
    let floor = body.hoist("floor", DType::F32, Expr::Unary(UnaryOp::Floor, at.clone().into()));
    let whole = cast(DType::I64, DType::F32, floor.clone());
    match attrs.mode {
        ResizeMode::Linear => {
            let upper = binary(BinaryOp::Sub, at, floor);
            let upper = body.hoist("weight", DType::F32, upper);
            let lower = binary(BinaryOp::Sub, Expr::f32(1.0), upper.clone());
            let lower = body.hoist("weight", DType::F32, lower);
            let pairs = [(0, lower), (1, upper)];
            pairs
                .map(|(k, w)| Tap { at: clamped_index(body, whole.clone(), k, n), weight: Some(w) })
                .into()
        }
        _ => {
            let t = body.hoist("t", DType::F32, binary(BinaryOp::Sub, at, floor));
            let a = attrs.cubic_coeff.to_f64() as f32;
            (-1..=2)
                .map(|k| {
                    let weight = cubic_weight(t.clone(), k, a);
                    let weight = body.hoist("weight", DType::F32, weight);
                    Tap { at: clamped_index(body, whole.clone(), k, n), weight: Some(weight) }
                })
                .collect()
        }
    }
}

/// [`coordinate_f64`] rounded once.
fn coordinate(attrs: &ResizeAttrs, axis: usize, n: &Dim, i: &Dim) -> Expr {
    cast(DType::F32, DType::F64, coordinate_f64(attrs, axis, n, i))
}

fn as_f64(d: Dim) -> Expr {
    cast(DType::F64, DType::I64, Expr::Index(d))
}

fn number(x: f64) -> Expr {
    Expr::number(DType::F64, x)
}

/// The operand coordinate of result index `i` (ONNX Resize, coordinate_transformation_mode).
/// The length after scaling is fractional, as in the ONNX reference. In f64: which element
/// is nearest, and whether a length is exactly 1, must not depend on rounding.
fn coordinate_f64(attrs: &ResizeAttrs, axis: usize, n: &Dim, i: &Dim) -> Expr {
    let out = &attrs.shape[axis];
    let half = || number(0.5);
    let one = || number(1.0);
    let (x, len) = (as_f64(i.clone()), as_f64(n.clone()));
    let (scale, width) = match attrs.scales.as_ref().map(|s| s[axis].to_f64()) {
        Some(s) => (number(s), len.clone() * number(s)),
        None => (as_f64(out.clone()) / len.clone(), as_f64(out.clone())),
    };
    let centred = |x: Expr| (x + half()) / scale.clone() - half();
    let single = width.clone().equals(one());
    // Never divides by 0, even where the quotient is not used.
    let between = single.clone().select(one(), width.clone() - one());
    match attrs.coordinates {
        ResizeCoordinates::Asymmetric => x / scale,
        ResizeCoordinates::HalfPixel => centred(x),
        ResizeCoordinates::PytorchHalfPixel => width.gt(one()).select(centred(x), number(0.0)),
        ResizeCoordinates::HalfPixelSymmetric => {
            // The centre stays the centre when the result's length was rounded.
            let adjust = as_f64(out.clone()) / width;
            len * half() * (one() - adjust) + centred(x)
        }
        ResizeCoordinates::AlignCorners => single.select(number(0.0), x * (len - one()) / between),
        ResizeCoordinates::TfCropAndResize => {
            let end = |k: usize| attrs.roi.get(k).map_or(0.0, |s| s.to_f64());
            let (start, end) = (end(axis), end(attrs.shape.len() + axis));
            let step = single.select(half(), x / between);
            let last = len - one();
            number(start) * last.clone() + step * number(end - start) * last
        }
    }
}

fn nearest(mode: NearestMode, at: Expr) -> Expr {
    let half = number(0.5);
    let unary = |op, x: Expr| Expr::Unary(op, Box::new(x));
    match mode {
        NearestMode::Floor => unary(UnaryOp::Floor, at),
        NearestMode::Ceil => unary(UnaryOp::Ceil, at),
        NearestMode::RoundPreferFloor => unary(UnaryOp::Ceil, binary(BinaryOp::Sub, at, half)),
        NearestMode::RoundPreferCeil => unary(UnaryOp::Floor, binary(BinaryOp::Add, at, half)),
    }
}

/// `clamp(at + k, 0, n − 1)` as an index.
fn clamped_index(body: &mut Body, at: Expr, k: i64, n: &Dim) -> Dim {
    let moved = binary(BinaryOp::Add, at, Expr::i64(k));
    let low = binary(BinaryOp::Max, moved, Expr::i64(0));
    let value = binary(BinaryOp::Min, low, Expr::Index(n.clone() - 1));
    let symbol = body.index("source", n);
    body.prelude.push(Stmt::bind(symbol, value));
    Dim::sym(symbol)
}

/// Keys' cubic convolution weight of the tap `k` before or after fraction `t`.
fn cubic_weight(t: Expr, k: i64, a: f32) -> Expr {
    use BinaryOp::{Add, Sub};
    let number = |x: f32| Expr::Const(Scalar::f32(x));
    // Distance of the tap: 1 + t, t, 1 − t, 2 − t.
    let d = match k {
        -1 => binary(Add, t, number(1.0)),
        0 => t,
        _ => binary(Sub, number(k as f32), t),
    };
    keys(DType::F32, d, a.into(), k == 0 || k == 1)
}

/// Keys' convolution kernel at distance `d`, up to 1 when `near`, from 1 to 2 otherwise.
fn keys(dtype: DType, d: Expr, a: f64, near: bool) -> Expr {
    let number = |x: f64| Expr::number(dtype, x);
    let [first, rest @ ..] = match near {
        true => [a + 2.0, -(a + 3.0), 0.0, 1.0],
        false => [a, -5.0 * a, 8.0 * a, -4.0 * a],
    };
    rest.into_iter().fold(number(first), |sum, c| sum * d.clone() + number(c))
}
