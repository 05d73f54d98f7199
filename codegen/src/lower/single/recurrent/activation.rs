//! Recurrent activations as expressions, f32.
//!
//! Error: that of the elementary functions, a few ulp; Elu near 0 is `e^x − 1`, 2⁻²⁴ absolute.

use cascata_ir::kernel::Expr;
use cascata_ir::op::{Activation, ActivationKind, UnaryOp};
use cascata_types::Scalar;

/// `f(x)`.
pub(super) fn activate(f: &Activation, x: Expr) -> Expr {
    let number = |s: Scalar| Expr::f32(s.to_f64() as f32);
    let (alpha, beta) = (number(f.alpha), number(f.beta));
    let (zero, one) = (Expr::f32(0.0), Expr::f32(1.0));
    match f.kind {
        ActivationKind::Relu => x.unary(UnaryOp::Relu),
        ActivationKind::Tanh => x.unary(UnaryOp::Tanh),
        ActivationKind::Sigmoid => x.unary(UnaryOp::Sigmoid),
        ActivationKind::Affine => alpha * x + beta,
        ActivationKind::LeakyRelu => x.clone().ge(zero).select(x.clone(), alpha * x),
        ActivationKind::ThresholdedRelu => x.clone().ge(alpha).select(x, zero),
        ActivationKind::ScaledTanh => alpha * (beta * x).unary(UnaryOp::Tanh),
        ActivationKind::HardSigmoid => (alpha * x + beta).max(zero).min(one),
        ActivationKind::Elu => {
            let below = alpha * (x.clone().unary(UnaryOp::Exp) - one);
            x.clone().ge(zero).select(x, below)
        }
        ActivationKind::Softsign => x.clone() / (one + x.unary(UnaryOp::Abs)),
        ActivationKind::Softplus => x.unary(UnaryOp::Softplus),
    }
}

/// `f` of the sum clamped to ±`clip`.
pub(super) fn squash(f: &Activation, clip: Option<Scalar>, sum: Expr) -> Expr {
    // A NaN limit is none.
    let limit = clip.map(|c| c.to_f64().abs()).filter(|c| c.is_finite());
    match limit {
        Some(c) => activate(f, sum.max(Expr::f32(-c as f32)).min(Expr::f32(c as f32))),
        None => activate(f, sum),
    }
}
