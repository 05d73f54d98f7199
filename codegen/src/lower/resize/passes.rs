//! Weighted resizing with any number of taps, one launch per resized axis.
//!
//! `x[..] → f64[result shape]` in a temporary, which the reader of the result loads from.
//! For antialias, exclude_outside, crop-and-resize and dtypes other than f32. Bound by the
//! taps: 2·radius/scale multiply-adds per element and axis. Error: coordinates and weights
//! are f64, sums are f64.

use super::*;
use crate::lower::body::{dot, strides};
use crate::lower::{Lowering, Operand};
use cascata_ir::kernel::LocalId;

/// The resized value at `idx`.
pub(super) fn value_at(
    body: &mut Body,
    x: ValueId,
    attrs: &ResizeAttrs,
    idx: &[Dim],
) -> Result<Expr, LowerError> {
    let dtype = body.graph.tensor(x).dtype;
    let shape = body.shape(x);
    let mut source = Source { shape: shape.clone(), temp: None };
    for (axis, n) in shape.iter().enumerate() {
        if !is_identity(attrs, n, axis) {
            source = resample(body, x, attrs, axis, source)?;
        }
    }
    let mut value = match source.temp {
        Some(temp) => Expr::load(body.input(temp), dot(idx, &strides(&source.shape))),
        None => cast(DType::F64, dtype, body.value_at(x, idx)?),
    };
    if attrs.coordinates == ResizeCoordinates::TfCropAndResize {
        let fill = number(attrs.extrapolation.to_f64());
        for (axis, i) in idx.iter().enumerate() {
            let at = coordinate_f64(attrs, axis, &shape[axis], i);
            value = inside(at, &shape[axis]).select(value, fill.clone());
        }
    }
    if !dtype.is_float() {
        value = value.unary(UnaryOp::Round);
    }
    Ok(cast(dtype, DType::F64, value))
}

/// What a pass reads: the operand itself or the temporary of the pass before.
struct Source {
    shape: Vec<Dim>,
    temp: Option<Operand>,
}

/// The launch that resizes one axis.
fn resample(
    outer: &mut Body,
    x: ValueId,
    attrs: &ResizeAttrs,
    axis: usize,
    source: Source,
) -> Result<Source, LowerError> {
    let group = outer.group();
    let lowering: &mut Lowering = outer.lowering;
    let mut shape = source.shape.clone();
    shape[axis] = attrs.shape[axis].clone();
    let total = shape.iter().fold(Dim::from(1), |n, d| n * d.clone());
    let temp = lowering.temp(DType::F64, total.clone());
    let mut body = Body::new(lowering, &group);
    let axes = body.axes(&shape);
    let mut idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    let to = dot(&idx, &strides(&shape));
    let n = source.shape[axis].clone();
    let mut stmts = Vec::new();
    let filter = Filter::new(&mut body, attrs, axis, (&n, &idx[axis]), &mut stmts);
    let k = body.index("k", &filter.taps);
    let at = body.index("at", &n);
    let position = filter.position(Dim::sym(k));
    idx[axis] = Dim::sym(at);
    let value = match source.temp {
        Some(temp) => Expr::load(body.input(temp), dot(&idx, &strides(&source.shape))),
        None => {
            let dtype = body.graph.tensor(x).dtype;
            cast(DType::F64, dtype, body.value_at(x, &idx)?)
        }
    };
    if !body.prelude.is_empty() {
        return Err(body.error("resizing of values read through an index"));
    }
    let [sum, weights, weight] = ["sum", "weights", "weight"].map(|h| body.local(h, DType::F64));
    let low = position.clone().cast(DType::I64).max(Expr::i64(0));
    let step = vec![
        Stmt::bind(at, low.min(Expr::index(n.clone() - 1))),
        Stmt::declare(weight, filter.weight(attrs, position, &n)),
        Stmt::assign(sum, Expr::Local(sum) + Expr::Local(weight) * value),
        Stmt::assign(weights, Expr::Local(weights) + Expr::Local(weight)),
    ];
    stmts.extend([Stmt::declare(sum, number(0.0)), Stmt::declare(weights, number(0.0))]);
    stmts.push(Stmt::serial(k, filter.taps.clone(), step));
    let normalised = attrs.antialias || attrs.exclude_outside;
    let result = if normalised { Expr::Local(sum) / Expr::Local(weights) } else { sum.into() };
    let buffer = body.output(temp);
    stmts.push(Stmt::store(buffer, to, result));
    body.flops = total * 4 * filter.taps.clone();
    body.finish_nest("resize_axis", axes, stmts);
    Ok(Source { shape, temp: Some(temp) })
}

/// The taps of one result position.
struct Filter {
    /// How many.
    taps: Dim,
    /// Distance of the first tap from the whole coordinate.
    first: Dim,
    /// The coordinate and its floor.
    at: LocalId,
    floor: LocalId,
    /// The filter is this much wider, inverted.
    shrink: Expr,
}

impl Filter {
    fn new(
        body: &mut Body,
        attrs: &ResizeAttrs,
        axis: usize,
        (n, i): (&Dim, &Dim),
        stmts: &mut Vec<Stmt>,
    ) -> Self {
        let radius = if attrs.mode == ResizeMode::Cubic { 2 } else { 1 };
        let out = &attrs.shape[axis];
        let scale = attrs.scales.as_ref().map(|s| s[axis].to_f64());
        let (reach, shrink) = match scale {
            _ if !attrs.antialias => (Dim::from(radius), number(1.0)),
            Some(s) => {
                let shrink = s.min(1.0);
                (((radius as f64 / shrink).ceil() as i64).into(), number(shrink))
            }
            None => {
                let reach = (n.maximum(out) * radius).ceil_div(out);
                let ratio = binary(BinaryOp::Div, as_f64(out.clone()), as_f64(n.clone()));
                (reach, ratio.min(number(1.0)))
            }
        };
        let [at, floor] = ["at", "floor"].map(|h| body.local(h, DType::F64));
        stmts.push(Stmt::declare(at, coordinate_f64(attrs, axis, n, i)));
        stmts.push(Stmt::declare(floor, Expr::Local(at).unary(UnaryOp::Floor)));
        Self { taps: reach.clone() * 2, first: Dim::from(1) - reach, at, floor, shrink }
    }

    /// The whole coordinate of tap `k`.
    fn position(&self, k: Dim) -> Expr {
        Expr::Local(self.floor) + as_f64(self.first.clone() + k)
    }

    fn weight(&self, attrs: &ResizeAttrs, position: Expr, n: &Dim) -> Expr {
        let distance = (position.clone() - Expr::Local(self.at)) * self.shrink.clone();
        let d = distance.unary(UnaryOp::Abs);
        let weight = match attrs.mode {
            ResizeMode::Cubic => {
                let a = attrs.cubic_coeff.to_f64();
                let far = d
                    .clone()
                    .lt(number(2.0))
                    .select(keys(DType::F64, d.clone(), a, false), number(0.0));
                d.clone().le(number(1.0)).select(keys(DType::F64, d, a, true), far)
            }
            _ => (number(1.0) - d).max(number(0.0)),
        };
        match attrs.exclude_outside {
            true => inside(position, n).select(weight, number(0.0)),
            false => weight,
        }
    }
}
