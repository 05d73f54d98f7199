//! Pseudo-random tensors: element `i` depends on the seed and `i` only (SplitMix64; normal
//! numbers by Box and Muller), as in the interpreter.
//!
//! Bound by integer multiplications and, for normal numbers, by a logarithm and a cosine in
//! f64. Error: uniform numbers are exact before rounding to the dtype; normal ones have that
//! of the two functions.

use super::*;
use cascata_ir::op::{Distribution, RandomAttrs, UnaryOp};

pub(super) fn lower(
    lowering: &mut Lowering,
    group: &Group,
    attrs: &RandomAttrs,
) -> Result<Vec<BareStep>, LowerError> {
    let first = lowering.launches.len();
    let mut body = Body::new(lowering, group);
    let total = attrs.shape.iter().fold(Dim::from(1), |n, d| n * d.clone());
    let i = Axis { var: body.index("i", &total), extent: total.clone() };
    let number = |s: Scalar| Expr::number(DType::F64, s.to_f64());
    let at = |scale: i64, offset: i64| Dim::sym(i.var) * scale + offset;
    let value = match attrs.distribution {
        Distribution::Uniform { low, high } => {
            let width = Expr::number(DType::F64, high.to_f64() - low.to_f64());
            number(low) + width * unit(attrs.seed, at(1, 0))
        }
        Distribution::Normal { mean, scale } => {
            let rest = Expr::number(DType::F64, 1.0) - unit(attrs.seed, at(2, 0));
            let log = rest.unary(UnaryOp::Log);
            let radius = (Expr::number(DType::F64, -2.0) * log).unary(UnaryOp::Sqrt);
            let turn = Expr::number(DType::F64, std::f64::consts::TAU);
            let angle = (turn * unit(attrs.seed, at(2, 1))).unary(UnaryOp::Cos);
            number(mean) + number(scale) * (radius * angle)
        }
    };
    let buffer = body.output(Operand::Value(group.outputs[0]));
    let store = Stmt::store(buffer, Dim::sym(i.var), cast(attrs.dtype, DType::F64, value));
    body.flops = total * 20;
    body.finish_nest("random", vec![i], vec![store]);
    Ok(vec![BareStep::Launches(first..lowering.launches.len())])
}

/// Word `i` of the seed's stream as a number in `[0, 1)`.
fn unit(seed: u64, i: Dim) -> Expr {
    let word = |bits: u64| Expr::Const(Scalar { dtype: DType::U64, bits });
    let folded = |z: Expr, by: u64| {
        let shifted = z.clone().binary(BinaryOp::Shr, word(by));
        z.binary(BinaryOp::BitXor, shifted)
    };
    let count = Expr::index(i + 1).cast(DType::U64);
    let z = word(seed) + count * word(0x9e37_79b9_7f4a_7c15);
    let z = folded(z, 30) * word(0xbf58_476d_1ce4_e5b9);
    let z = folded(z, 27) * word(0x94d0_49bb_1331_11eb);
    let top = folded(z, 31).binary(BinaryOp::Shr, word(11)).cast(DType::F64);
    top * Expr::number(DType::F64, 1.0 / (1u64 << 53) as f64)
}
