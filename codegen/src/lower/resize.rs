//! Resize as expressions: operand coordinates and weights per axis, then a weighted
//! sum of 1, 2 or 4 taps per resized axis.

use super::LowerError;
use super::access::{binary, cast};
use super::body::Body;
use cascata_ir::graph::ValueId;
use cascata_ir::kernel::{Expr, Stmt};
use cascata_ir::op::{BinaryOp, NearestMode, ResizeAttrs, ResizeCoordinates, ResizeMode, UnaryOp};
use cascata_types::{DType, Dim, Scalar};

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
    if attrs.antialias || attrs.exclude_outside {
        return Err(body.error("Resize with antialias or exclude_outside"));
    }
    if attrs.coordinates == ResizeCoordinates::TfCropAndResize {
        return Err(body.error("Resize with tf_crop_and_resize"));
    }
    let shape = body.shape(x);
    // Which element is nearest must not depend on rounding.
    let nearest = attrs.mode == ResizeMode::Nearest;
    let real = if nearest { DType::F64 } else { real(body, x) };
    let mut taps = Vec::with_capacity(idx.len());
    for axis in 0..idx.len() {
        taps.push(axis_taps(body, attrs, real, &shape, axis, &idx[axis]));
    }
    let dtype = body.graph.tensor(x).dtype;
    if nearest {
        return sum(body, x, dtype, &taps, &mut Vec::new());
    }
    let value = sum(body, x, real, &taps, &mut Vec::new())?;
    let value = if dtype.is_float() { value } else { Expr::Unary(UnaryOp::Round, value.into()) };
    Ok(cast(dtype, real, value))
}

/// What coordinates, weights and sums are computed in.
fn real(body: &Body, x: ValueId) -> DType {
    match body.graph.tensor(x).dtype {
        DType::F32 | DType::F16 | DType::BF16 | DType::I8 | DType::U8 => DType::F32,
        _ => DType::F64,
    }
}

fn number(real: DType, x: f64) -> Expr {
    Expr::Const(Scalar::from_f64(real, x))
}

fn sum(
    body: &mut Body,
    x: ValueId,
    to: DType,
    taps: &[Vec<Tap>],
    from: &mut Vec<Dim>,
) -> Result<Expr, LowerError> {
    let Some((axis, rest)) = taps.split_first() else {
        let value = body.value_at(x, from)?;
        return Ok(cast(to, body.graph.tensor(x).dtype, value));
    };
    let mut total: Option<Expr> = None;
    for tap in axis {
        from.push(tap.at.clone());
        let mut value = sum(body, x, to, rest, from)?;
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
    real: DType,
    shape: &[Dim],
    axis: usize,
    i: &Dim,
) -> Vec<Tap> {
    let (n, out) = (&shape[axis], &attrs.shape[axis]);
    let scale = attrs.scales.as_ref().map(|s| s[axis].to_f64());
    if n == out && scale.is_none_or(|s| s == 1.0) {
        return vec![Tap { at: i.clone(), weight: None }];
    }
    let whole = scale.filter(|s| *s >= 1.0 && s.fract() == 0.0).map(|s| s as i64);
    if let (Some(s), ResizeMode::Nearest) = (whole, attrs.mode)
        && attrs.coordinates == ResizeCoordinates::Asymmetric
        && attrs.nearest == NearestMode::Floor
    {
        return vec![Tap { at: i.floor_div(&s.into()), weight: None }];
    }
    // In f64, as in the interpreter: `length·scale == 1` and ties are decided exactly.
    let at = cast(real, DType::F64, coordinate(attrs, n, out, scale, i));
    let at = body.hoist("coordinate", real, at);
    match attrs.mode {
        ResizeMode::Nearest => {
            let rounded = nearest(attrs.nearest, real, at);
            vec![Tap { at: clamped_index(body, real, rounded, 0, n), weight: None }]
        }
        ResizeMode::Linear => {
            let floor = body.hoist("floor", real, Expr::Unary(UnaryOp::Floor, at.clone().into()));
            let upper = binary(BinaryOp::Sub, at, floor.clone());
            let upper = body.hoist("weight", real, upper);
            let lower = binary(BinaryOp::Sub, number(real, 1.0), upper.clone());
            let lower = body.hoist("weight", real, lower);
            let pairs = [(0, lower), (1, upper)];
            pairs
                .map(|(k, w)| Tap {
                    at: clamped_index(body, real, floor.clone(), k, n),
                    weight: Some(w),
                })
                .into()
        }
        ResizeMode::Cubic => {
            let floor = body.hoist("floor", real, Expr::Unary(UnaryOp::Floor, at.clone().into()));
            let t = body.hoist("t", real, binary(BinaryOp::Sub, at, floor.clone()));
            let a = attrs.cubic_coeff.to_f64();
            (-1..=2)
                .map(|k| {
                    let weight = cubic_weight(real, t.clone(), k, a);
                    let weight = body.hoist("weight", real, weight);
                    Tap { at: clamped_index(body, real, floor.clone(), k, n), weight: Some(weight) }
                })
                .collect()
        }
    }
}

/// The operand coordinate of result index `i` (ONNX Resize, coordinate_transformation_mode).
fn coordinate(attrs: &ResizeAttrs, n: &Dim, out: &Dim, scale: Option<f64>, i: &Dim) -> Expr {
    use BinaryOp::{Add, Div, Mul, Sub};
    let number = |x: f64| number(DType::F64, x);
    let of = |d: Dim| cast(DType::F64, DType::I64, Expr::Index(d));
    let half = || number(0.5);
    let x = of(i.clone());
    // The length after scaling: fractional when scales are given.
    let width = || match scale {
        Some(s) => binary(Mul, of(n.clone()), number(s)),
        None => of(out.clone()),
    };
    let scale = match scale {
        Some(s) => number(s),
        None => binary(Div, of(out.clone()), of(n.clone())),
    };
    let centred = |x: Expr| binary(Sub, binary(Div, binary(Add, x, half()), scale.clone()), half());
    match attrs.coordinates {
        ResizeCoordinates::Asymmetric | ResizeCoordinates::TfCropAndResize => binary(Div, x, scale),
        ResizeCoordinates::HalfPixel => centred(x),
        ResizeCoordinates::PytorchHalfPixel => {
            let single = binary(BinaryOp::Le, width(), number(1.0));
            single.select(number(0.0), centred(x))
        }
        ResizeCoordinates::HalfPixelSymmetric => {
            // The centre stays the centre when the result's length was rounded.
            let exact = binary(Mul, of(n.clone()), scale.clone());
            let adjust = binary(Div, of(out.clone()), exact);
            let centre = binary(Mul, of(n.clone()), half());
            let offset = binary(Mul, centre, binary(Sub, number(1.0), adjust));
            binary(Add, offset, centred(x))
        }
        ResizeCoordinates::AlignCorners => {
            let single = binary(BinaryOp::Eq, width(), number(1.0));
            let last = binary(Sub, width(), number(1.0));
            let moved = binary(Div, binary(Mul, x, of(n.clone() - 1)), last);
            single.select(number(0.0), moved)
        }
    }
}

fn nearest(mode: NearestMode, real: DType, at: Expr) -> Expr {
    let half = number(real, 0.5);
    let unary = |op, x: Expr| Expr::Unary(op, Box::new(x));
    match mode {
        NearestMode::Floor => unary(UnaryOp::Floor, at),
        NearestMode::Ceil => unary(UnaryOp::Ceil, at),
        NearestMode::RoundPreferFloor => unary(UnaryOp::Ceil, binary(BinaryOp::Sub, at, half)),
        NearestMode::RoundPreferCeil => unary(UnaryOp::Floor, binary(BinaryOp::Add, at, half)),
    }
}

/// `clamp(at + k, 0, n − 1)` as an index.
fn clamped_index(body: &mut Body, real: DType, at: Expr, k: i64, n: &Dim) -> Dim {
    let moved = binary(BinaryOp::Add, cast(DType::I64, real, at), Expr::i64(k));
    let low = binary(BinaryOp::Max, moved, Expr::i64(0));
    let value = binary(BinaryOp::Min, low, Expr::Index(n.clone() - 1));
    let symbol = body.index("source", n);
    body.prelude.push(Stmt::bind(symbol, value));
    Dim::sym(symbol)
}

/// Keys' cubic convolution weight of the tap `k` before or after fraction `t`.
fn cubic_weight(real: DType, t: Expr, k: i64, a: f64) -> Expr {
    use BinaryOp::{Add, Mul, Sub};
    let number = |x: f64| number(real, x);
    // Distance of the tap: 1 + t, t, 1 − t, 2 − t.
    let d = match k {
        -1 => binary(Add, t, number(1.0)),
        0 => t,
        _ => binary(Sub, number(k as f64), t),
    };
    let horner = |coefficients: [f64; 4]| {
        let mut sum = number(coefficients[0]);
        for c in &coefficients[1..] {
            sum = binary(Add, binary(Mul, sum, d.clone()), number(*c));
        }
        sum
    };
    match k {
        0 | 1 => horner([a + 2.0, -(a + 3.0), 0.0, 1.0]),
        _ => horner([a, -5.0 * a, 8.0 * a, -4.0 * a]),
    }
}
