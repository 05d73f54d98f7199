//! Every scalar function on every dtype, in vector and serial loops.

use crate::support::random::Random;
use crate::support::{EXACT, Tolerance, check};
use cascata_ir::kernel::interp::HostBuffer;
use cascata_ir::kernel::{Expr, Kernel, KernelBuilder, LoopKind, Stmt};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_ir::scalar::{eval_binary, eval_unary};
use cascata_ir::types::{DType, Dim, Scalar, SymbolTable};

const NUMERIC: [DType; 13] = {
    use DType::*;
    [Bool, I8, U8, I16, U16, I32, U32, I64, U64, F16, BF16, F32, F64]
};

/// `y[i] = f(a[i], b[i])` for `i < N`, in tiles of 64.
fn kernel(
    name: &str,
    kind: LoopKind,
    operands: (DType, DType),
    f: &dyn Fn(Expr, Expr) -> Expr,
) -> Kernel {
    let mut symbols = SymbolTable::default();
    let n = symbols.intern("N");
    symbols.get_mut(n).max = 4096;
    let (n, block) = (Dim::sym(n), Dim::from(64));
    let mut k = KernelBuilder::new(name, symbols);
    let a = k.input("a", operands.0, n.clone());
    let b = k.input("b", operands.0, n.clone());
    let y = k.output("y", operands.1, n.clone());
    let (t, i) = (k.tile("t"), k.var("i", 0, 63));
    let at = Dim::sym(t) * 64 + Dim::sym(i);
    let value = f(Expr::load(a, at.clone()), Expr::load(b, at.clone()));
    let extent = block.minimum(&(n.clone() - Dim::sym(t) * 64));
    let body = vec![Stmt::loop_of(kind, i, extent, vec![Stmt::store(y, at, value)])];
    k.finish(n.ceil_div(&block), t, body)
}

fn run(name: &str, dtypes: (DType, DType), t: Tolerance, f: &dyn Fn(Expr, Expr) -> Expr) {
    let mut random = Random(name.len() as u64 + 17);
    for kind in [LoopKind::Vector, LoopKind::Serial] {
        let kernel = kernel(name, kind, dtypes, f);
        for n in [0, 1, 3, 4, 5, 15, 17, 64, 66, 131] {
            check(&kernel, &[n], &mut |_, dtype, len| random.wild(dtype, len), t);
        }
    }
}

/// What a float result may be off by, where it is not exact.
fn tolerance(dtype: DType, transcendental: bool) -> Tolerance {
    match (dtype, transcendental) {
        (_, false) => EXACT,
        (DType::F64, true) => Tolerance { ulps: 16.0, absolute: 1e-300 },
        (DType::F32, true) => Tolerance { ulps: 12.0, absolute: 1e-37 },
        // One step of a half, where f32 and f64 round to different sides.
        (_, true) => Tolerance { ulps: 1.0, absolute: 0.0 },
    }
}

#[test]
fn unary_ops() {
    use UnaryOp::*;
    for dtype in NUMERIC {
        for op in UnaryOp::ALL.iter().copied() {
            let one = Scalar::from_f64(dtype, 1.0);
            let Ok(result) = eval_unary(op, one) else { continue };
            // Full-range arguments of periodic functions and the tails of products with a
            // vanishing factor are swept in `math.rs`.
            // libm's acosh, and so the interpreter's, is wrong below −2.
            if matches!(op, Acosh | Sin | Cos | Tan | Silu | GeluErf | GeluTanh | Mish | HardSwish)
            {
                continue;
            }
            let exact = matches!(
                op,
                Neg | Abs
                    | Sign
                    | Floor
                    | Ceil
                    | Round
                    | Trunc
                    | Sqrt
                    | Recip
                    | Relu
                    | Not
                    | BitNot
                    | IsNan
                    | IsInf
            );
            let t = tolerance(dtype, !exact && dtype.is_float());
            run(&format!("{op}_{dtype}"), (dtype, result.dtype), t, &|a, _| a.unary(op));
        }
    }
}

#[test]
fn binary_ops() {
    use BinaryOp::*;
    for dtype in NUMERIC {
        for op in BinaryOp::ALL.iter().copied() {
            let one = Scalar::from_f64(dtype, 1.0);
            let Ok(result) = eval_binary(op, one, one) else { continue };
            let exact = !matches!(op, Pow | Atan2);
            let t = match (dtype, op) {
                (DType::F64, Pow) => Tolerance { ulps: 2048.0, absolute: 0.0 },
                _ => tolerance(dtype, !exact && dtype.is_float()),
            };
            run(&format!("{op}_{dtype}"), (dtype, result.dtype), t, &|a, b| a.binary(op, b));
        }
    }
}

#[test]
fn limits() {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        for x in [0.0, -0.0, 1.0, -1.0, 255.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            for op in [BinaryOp::Max, BinaryOp::Min] {
                let limit = || Expr::Const(Scalar::from_f64(dtype, x));
                let name = format!("{op}_{dtype}");
                run(&name, (dtype, dtype), EXACT, &|a, _| a.binary(op, limit()));
                run(&name, (dtype, dtype), EXACT, &|a, _| limit().binary(op, a));
            }
        }
    }
}

/// `zero` is what is added before the cast and subtracted after it.
fn dequantised(x: Expr, to: DType, zero: [i64; 2]) -> Expr {
    use DType::*;
    let [added, subtracted] = zero;
    let quantised = x.unary(UnaryOp::Round) + Expr::Const(Scalar::from_i64(F32, added));
    (quantised.cast(to).cast(I32) - Expr::Const(Scalar::from_i64(I32, subtracted))).cast(F32)
}

#[test]
fn quantised() {
    use DType::*;
    for (to, zero) in [(U8, 7), (U8, 255), (I8, -7), (I8, 5), (U16, 300), (I16, -9), (I16, 1 << 17)]
    {
        let name = format!("quantised_{to}_{zero}");
        // Differing zero points are no way back.
        for zeros in [[zero; 2], [zero, 3]] {
            run(&name, (F32, F32), EXACT, &|a, _| dequantised(a, to, zeros));
        }
        let quantised =
            |a: Expr| (a.unary(UnaryOp::Round) + Expr::Const(Scalar::from_i64(F32, zero))).cast(to);
        run(&name, (F32, to), EXACT, &|a, _| quantised(a));
        run(&name, (F32, F32), EXACT, &|a, _| {
            (quantised(a) - Expr::Const(Scalar::from_i64(to, zero))).cast(F32)
        });
        run(&name, (F32, to), EXACT, &|a, _| a.unary(UnaryOp::Round).cast(to));
        run(&name, (F32, F32), EXACT, &|a, _| a.unary(UnaryOp::Round).cast(to).cast(F32));
        run(&name, (F16, F32), EXACT, &|a, _| a.unary(UnaryOp::Round).cast(to).cast(F32));
    }
}

/// Halves, and what lies beside them, round as they should and lie on both sides of limits.
#[test]
fn quantised_ties() {
    let kernel = kernel("ties", LoopKind::Vector, (DType::F32, DType::F32), &|a, _| {
        dequantised(a, DType::U8, [3; 2])
    });
    let halves = |_: &str, dtype: DType, len: usize| {
        let near = |i: usize| f64::from(i as i32 / 3 - 20) / 2.0 + (i % 3) as f64 * 1e-6 - 1e-6;
        HostBuffer::rounded(dtype, &(0..len).map(near).collect::<Vec<_>>())
    };
    check(&kernel, &[1700], &mut { halves }, EXACT);
}

#[test]
fn casts() {
    for from in NUMERIC {
        for to in NUMERIC {
            run(&format!("{from}_to_{to}"), (from, to), EXACT, &|a, _| a.cast(to));
        }
    }
}

#[test]
fn selects() {
    for dtype in NUMERIC {
        run(&format!("select_{dtype}"), (dtype, dtype), EXACT, &|a, b| {
            a.clone().lt(b.clone()).select(b, a)
        });
    }
}
