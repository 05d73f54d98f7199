//! What a value holds under one binding, and how sure that is.

use super::rng::Rng;
use cascata_ir::interp::Tensor;
use cascata_ir::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_types::DType;
use std::sync::Arc;

/// The interpreter's tensor and its two shadows.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    pub base: Arc<Tensor>,
    pub shadows: [Arc<Tensor>; 2],
}

/// Larger floats are not let in: sums of squares stay far from infinity.
const LARGEST: f64 = 1e4;

/// How far one result may move by rounding, relative to its magnitude: several units in the
/// last place, so that polynomial approximations and other orders of summation are covered.
pub(super) fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-13,
        DType::F32 => 1e-6,
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        _ => 0.0,
    }
}

/// Finite, not too large, and not so small that roundings are not relative: of half floats
/// altogether, else anywhere.
fn tame(x: &Tensor, values: &[f64]) -> bool {
    let largest = largest(values);
    let (normal, anywhere) = match x.dtype() {
        DType::F16 => (6.2e-5, false),
        DType::F64 => (f64::MIN_POSITIVE, true),
        _ => (f64::from(f32::MIN_POSITIVE), true),
    };
    let normal = |x: f64| x == 0.0 || x.abs() >= normal;
    values.iter().all(|x| x.is_finite() && (normal(*x) || !anywhere))
        && largest < LARGEST
        && normal(largest)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// Whether a product of all of `x` stays normal in whatever order it is computed.
fn multiplies_tamely(x: &Tensor) -> bool {
    let exponents = |x: &f64| if *x == 0.0 { 0.0 } else { x.abs().log2().abs() };
    let sum: f64 = x.to_f64().unwrap_or_default().iter().map(exponents).sum();
    sum < if x.dtype() == DType::F16 { 13.0 } else { 120.0 }
}

impl Witness {
    /// A tensor that is given, not computed.
    pub fn exact(tensor: Tensor) -> Self {
        let base = Arc::new(tensor);
        Self { shadows: [base.clone(), base.clone()], base }
    }

    /// The witness of a computed result; `None` when it is not tame.
    pub fn computed(
        op: &Op,
        operands: &[&Tensor],
        base: Tensor,
        shadows: [Tensor; 2],
        rng: &mut Rng,
    ) -> Option<Self> {
        let tame = |x: &Tensor| !x.dtype().is_float() || x.to_f64().is_some_and(|v| tame(x, &v));
        if !tame(&base) || !shadows.iter().all(tame) {
            return None;
        }
        let product = matches!(op, Op::Reduce { op: ReduceOp::Prod, .. });
        if product && base.dtype().is_float() && !multiplies_tamely(operands[0]) {
            return None;
        }
        let [up, down] = shadows;
        let (up, down) = if base.dtype().is_float() && !moves_only(op) {
            let noise = noise(base.dtype(), &magnitudes(op, operands, &base), rng);
            (moved(&up, &noise, 1.0)?, moved(&down, &noise, -1.0)?)
        } else {
            (up, down)
        };
        let witness = Self { base: Arc::new(base), shadows: [Arc::new(up), Arc::new(down)] };
        let limit = (rounding(witness.base.dtype()) * 500.0).min(0.05);
        (witness.spread() <= limit).then_some(witness)
    }

    /// The largest distance of a shadow, relative to the largest magnitude; infinite where
    /// shadows of integers differ at all.
    pub fn spread(&self) -> f64 {
        let of = |s: &Arc<Tensor>| {
            if Arc::ptr_eq(s, &self.base) || **s == *self.base {
                0.0
            } else if self.base.dtype().is_float() {
                crate::compare::relative_difference(s, &self.base)
            } else {
                f64::INFINITY
            }
        };
        of(&self.shadows[0]).max(of(&self.shadows[1]))
    }
}

/// Whether the op copies elements without arithmetic.
fn moves_only(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Broadcast { .. }
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Gather { .. }
            | Op::GatherElements { .. }
            | Op::GatherNd { .. }
            | Op::Select
            | Op::Fill { .. }
            | Op::Iota { .. }
            | Op::DimValues { .. }
    )
}

/// Whether terms are added inside: the error is relative to the largest of them, and
/// rewrites and fused multiply-adds may add in another order.
pub(super) fn adds(op: &Op) -> bool {
    use BinaryOp::{Add, Sub};
    match op {
        Op::Binary(b) => matches!(b, Add | Sub),
        Op::Unary(_) | Op::Cast { .. } | Op::ArgReduce { .. } => false,
        _ => !moves_only(op),
    }
}

/// What the error of each element is relative to.
fn magnitudes(op: &Op, operands: &[&Tensor], base: &Tensor) -> Vec<f64> {
    let values = base.to_f64().unwrap_or_default();
    match op {
        // `1 + erf` cancels where the operand is far below zero.
        Op::Unary(UnaryOp::GeluErf | UnaryOp::GeluTanh) => {
            operands[0].to_f64().unwrap_or_default().iter().map(|x| x.abs()).collect()
        }
        // A coordinate is rounded relative to the axis, and the value moves with it.
        Op::Resize(_) => {
            let longest = operands[0].dims().iter().chain(base.dims()).max().copied().unwrap_or(0);
            vec![largest(&values) * (longest as f64 / 8.0).max(1.0); values.len()]
        }
        _ if adds(op) => vec![largest(&values) * growth(operands, 16.0); values.len()],
        _ => values.iter().map(|x| x.abs()).collect(),
    }
}

/// How much more a sum of many terms may be off: with the root of their number, from
/// `free²` of them on.
fn growth(operands: &[&Tensor], free: f64) -> f64 {
    let most = operands.iter().map(|x| x.dims().iter().product::<usize>()).max().unwrap_or(0);
    ((most as f64).sqrt() / free).max(1.0)
}

/// An operand that is a rounding off, for ops that add: what cancels inside shows. The errors
/// of a long sum do not cancel as these do, so that they are larger there.
pub(super) fn nearby(op: &Op, x: &Tensor, sign: f64, rng: &mut Rng) -> Option<Tensor> {
    if !x.dtype().is_float() {
        return None;
    }
    let size = if matches!(op, Op::Resize(_)) { 0.3 } else { 0.3 * growth(&[x], 4.0) };
    let magnitudes: Vec<f64> = x.to_f64()?.iter().map(|x| x.abs() * size).collect();
    moved(x, &noise(x.dtype(), &magnitudes, rng), sign)
}

fn noise(dtype: DType, magnitudes: &[f64], rng: &mut Rng) -> Vec<f64> {
    let size = rounding(dtype);
    let one = |magnitude: &f64| {
        let sign = if rng.one_in(2) { 1.0 } else { -1.0 };
        sign * (0.5 + rng.unit() / 2.0) * size * magnitude
    };
    magnitudes.iter().map(one).collect()
}

fn moved(x: &Tensor, noise: &[f64], sign: f64) -> Option<Tensor> {
    let values = x.to_f64()?.iter().zip(noise).map(|(x, n)| x + sign * n).collect();
    Tensor::from_f64(x.dtype(), x.dims(), values).ok()
}
