//! Dense sweeps of elementary functions against f64, in units of the last place.

use crate::support::exec::Loaded;
use crate::support::memory::Edge;
use crate::support::{TARGETS, ulp};
use cascata_codegen::cpu::{CpuLevel, compile};
use cascata_ir::kernel::interp::HostBuffer;
use cascata_ir::kernel::{Expr, Kernel, KernelBuilder, Stmt};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_ir::scalar::float_unary;
use cascata_ir::types::{DType, Dim, SymbolTable};

/// `y[i] = f(a[i], b[i])`, one tile.
fn kernel(dtype: DType, f: &dyn Fn(Expr, Expr) -> Expr) -> Kernel {
    let mut symbols = SymbolTable::default();
    let n = Dim::sym(symbols.intern("N"));
    let mut k = KernelBuilder::new("sweep", symbols);
    let a = k.input("a", dtype, n.clone());
    let b = k.input("b", dtype, n.clone());
    let y = k.output("y", dtype, n.clone());
    let (t, i) = (k.tile("t"), k.var("i", 0, SymbolTable::DEFAULT_MAX));
    let at = Dim::sym(i);
    let value = f(Expr::load(a, at.clone()), Expr::load(b, at.clone()));
    k.finish(1, t, vec![Stmt::vector(i, n, vec![Stmt::store(y, at, value)])])
}

/// Runs over operands at every level and hands out `(level, a, b, result)`.
fn sweep(
    dtype: DType,
    f: &dyn Fn(Expr, Expr) -> Expr,
    a: &[f64],
    b: &[f64],
    check: &mut dyn FnMut(CpuLevel, f64, f64, f64),
) {
    let kernel = kernel(dtype, f);
    for target in TARGETS.iter() {
        let loaded = Loaded::new(&compile(&kernel, target).expect("machine code"));
        let (a, b) = (HostBuffer::rounded(dtype, a), HostBuffer::rounded(dtype, b));
        let y = HostBuffer::undefined(dtype, a.len());
        let mut buffers = [a, b, y];
        let n = buffers[0].len() as i64;
        assert_eq!(loaded.run(&[n], &mut buffers, &[(0, 1)], Edge::End), 0);
        let [a, b, y] = buffers.map(|b| b.scalars());
        for ((a, b), y) in a.into_iter().zip(b).zip(y) {
            check(target.level(), a.to_f64(), b.to_f64(), y.to_f64());
        }
    }
}

/// Evenly spaced numbers, and the same at every order of magnitude within the range.
fn points(low: f64, high: f64, count: usize) -> Vec<f64> {
    let step = (high - low) / count as f64;
    let even = (0..=count).map(|i| low + step * i as f64);
    let magnitudes = (-60..60).flat_map(|e| [1.0, 1.37, 1.83].map(|m| m * 2f64.powi(e)));
    let signed = magnitudes.flat_map(|x| [x, -x]).filter(|x| (low..=high).contains(x));
    even.chain(signed).collect()
}

/// How large an error may be: in ulps of the result, plus a number, plus a part of `|x|`.
struct Bound(f64, f64, f64);

fn check_unary(dtype: DType, op: UnaryOp, low: f64, high: f64, bound: &Bound) {
    let reference = float_unary(op).expect("a float function");
    let xs = points(low, high, 200_000);
    let mut worst = (0.0, 0.0, CpuLevel::V1);
    sweep(dtype, &|a, _| a.unary(op), &xs, &xs, &mut |level, x, _, y| {
        let expected = reference(x);
        let allowed = bound.0 * ulp(dtype, expected) + bound.1 + bound.2 * x.abs();
        let ratio = (y - expected).abs() / allowed;
        if y != expected && (ratio.is_nan() || ratio > worst.0) {
            worst = (ratio, x, level);
        }
    });
    let (ratio, x, level) = worst;
    println!("{op} {dtype}: {ratio:.2} of the bound at {x:e}, {level}");
    assert!(ratio <= 1.0, "{op} {dtype} at {x:e}: {ratio} of the bound, {level}");
}

#[test]
fn single_functions() {
    use UnaryOp::*;
    // Results near the smallest normal number are flushed: 2e-38.
    let ulps = |n| Bound(n, 2e-38, 0.0);
    for (op, low, high, bound) in [
        (Exp, -110.0, 88.7, ulps(2.0)),
        (Log, 1e-45, 3e38, ulps(2.0)),
        (Log, 0.5, 2.0, ulps(2.0)),
        (Erf, -6.0, 6.0, ulps(4.0)),
        (Tanh, -20.0, 20.0, ulps(4.0)),
        (Sigmoid, -100.0, 100.0, ulps(4.0)),
        (Silu, -80.0, 100.0, ulps(4.0)),
        (GeluErf, -20.0, 20.0, Bound(0.0, 1e-6, 1e-6)),
        (GeluTanh, -20.0, 20.0, Bound(0.0, 1e-6, 1e-6)),
        (Softplus, -90.0, 100.0, ulps(4.0)),
        (Mish, -80.0, 100.0, ulps(6.0)),
        (HardSwish, -5.0, 5.0, Bound(2.0, 1e-6, 0.0)),
        (Sqrt, 0.0, 1e10, ulps(0.5)),
        (Rsqrt, 1e-10, 1e10, ulps(1.5)),
        (Sin, -1000.0, 1000.0, ulps(1.0)),
        (Cos, -1e6, 1e6, ulps(1.0)),
        (Tan, -100.0, 100.0, ulps(1.0)),
        (Asin, -1.0, 1.0, ulps(1.0)),
        (Acos, -1.0, 1.0, ulps(1.0)),
        (Atan, -100.0, 100.0, ulps(1.0)),
        (Sinh, -89.0, 89.0, ulps(1.0)),
        (Cosh, -89.0, 89.0, ulps(1.0)),
        (Asinh, -1e6, 1e6, ulps(1.0)),
        (Acosh, 1.0, 1e6, ulps(1.0)),
        (Atanh, -0.999999, 0.999999, ulps(1.0)),
    ] {
        check_unary(DType::F32, op, low, high, &bound);
    }
}

#[test]
fn double_functions() {
    use UnaryOp::*;
    let ulps = |n| Bound(n, 1e-307, 0.0);
    for (op, low, high, bound) in [
        (Exp, -745.0, 709.7, ulps(2.0)),
        (Log, 1e-300, 1e300, ulps(2.0)),
        (Log, 0.5, 2.0, ulps(2.0)),
        (Sin, -1000.0, 1000.0, ulps(2.0)),
        (Cos, -1e6, 1e6, ulps(2.0)),
        (Tan, -100.0, 100.0, ulps(4.0)),
        (Asin, -1.0, 1.0, ulps(3.0)),
        (Acos, -1.0, 1.0, ulps(3.0)),
        (Atan, -100.0, 100.0, ulps(2.0)),
        (Sinh, -22.0, 22.0, ulps(4.0)),
        (Cosh, -22.0, 22.0, ulps(4.0)),
        (Sinh, 22.0, 710.0, ulps(16.0)),
        (Tanh, -25.0, 25.0, ulps(4.0)),
        (Asinh, -1e6, 1e6, ulps(4.0)),
        (Acosh, 1.0, 1e6, ulps(4.0)),
        (Atanh, -0.999999, 0.999999, ulps(4.0)),
        (Erf, -7.0, 7.0, ulps(2.0)),
        (Sigmoid, -700.0, 100.0, ulps(4.0)),
        (Silu, -700.0, 100.0, ulps(5.0)),
        (GeluErf, -30.0, 20.0, ulps(64.0)),
        (GeluTanh, -20.0, 20.0, Bound(4.0, 0.0, 1e-15)),
        (Softplus, -700.0, 100.0, ulps(4.0)),
        (Mish, -700.0, 100.0, ulps(8.0)),
    ] {
        check_unary(DType::F64, op, low, high, &bound);
    }
}

fn check_binary(
    dtype: DType,
    op: BinaryOp,
    reference: fn(f64, f64) -> f64,
    ranges: [(f64, f64); 2],
    ulps: f64,
) {
    let axis = |(low, high)| points(low, high, 300);
    let (xs, ys) = (axis(ranges[0]), axis(ranges[1]));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for x in &xs {
        for y in &ys {
            a.push(*x);
            b.push(*y);
        }
    }
    let mut worst = (0.0, 0.0, 0.0, CpuLevel::V1);
    sweep(dtype, &|a, b| a.binary(op, b), &a, &b, &mut |level, x, y, z| {
        let expected = reference(x, y);
        let rounded = if dtype == DType::F32 { f64::from(expected as f32) } else { expected };
        if z == rounded || z.is_nan() && expected.is_nan() {
            return;
        }
        let error = (z - expected).abs() / ulp(dtype, expected);
        if error.is_nan() || error > worst.0 {
            worst = (error, x, y, level);
        }
    });
    let (error, x, y, level) = worst;
    println!("{op} {dtype}: {error:.2} ulp at ({x:e}, {y:e}), {level}");
    assert!(error <= ulps, "{op} {dtype} at ({x:e}, {y:e}): {error} ulp, {level}");
}

#[test]
fn functions_of_two() {
    let any = (-1e18, 1e18);
    check_binary(DType::F32, BinaryOp::Atan2, f64::atan2, [any, any], 1.0);
    check_binary(DType::F64, BinaryOp::Atan2, f64::atan2, [any, any], 3.0);
    check_binary(DType::F32, BinaryOp::Pow, f64::powf, [(0.0, 50.0), (-20.0, 20.0)], 1.0);
    check_binary(DType::F64, BinaryOp::Pow, f64::powf, [(0.0, 50.0), (-20.0, 20.0)], 2048.0);
    let whole = |x: f64, y: f64| x.powf(y);
    check_binary(DType::F32, BinaryOp::Pow, whole, [(-50.0, 0.0), (-150.0, 150.0)], 1.0);
}
