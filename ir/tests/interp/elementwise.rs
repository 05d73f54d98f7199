//! Scalars, element-wise ops, leaves.

use super::*;
use cascata_ir::op::{BinaryOp, Distribution, RandomAttrs, UnaryOp};
use cascata_ir::scalar::{cast, eval_binary, eval_unary};
use cascata_ir::types::{Dim, SymbolTable};
use half::{bf16, f16};

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

fn un(op: UnaryOp, x: f32) -> f32 {
    apply1(Op::Unary(op), &[t(&[], [x])]).as_slice::<f32>().unwrap()[0]
}

fn bin<T: Element>(op: BinaryOp, a: T, b: T) -> Tensor {
    apply1(Op::Binary(op), &[Tensor::scalar(a), Tensor::scalar(b)])
}

#[test]
fn unary_floats() {
    use UnaryOp::*;
    let table = [
        (Neg, 2.5, -2.5),
        (Abs, -2.5, 2.5),
        (Sign, -0.25, -1.0),
        (Sign, INF, 1.0),
        (Floor, -1.5, -2.0),
        (Ceil, -1.5, -1.0),
        (Round, 2.5, 2.0),
        (Round, 3.5, 4.0),
        (Round, -0.5, -0.0),
        (Trunc, -1.75, -1.0),
        (Sqrt, 6.25, 2.5),
        (Rsqrt, 0.25, 2.0),
        (Rsqrt, 0.0, INF),
        (Recip, -4.0, -0.25),
        (Exp, 1.0, 2.7182817),
        (Exp, -INF, 0.0),
        (Log, 0.0, -INF),
        (Sin, 1.0, 0.84147098),
        (Cos, 1.0, 0.5403023),
        (Tan, 1.0, 1.5574077),
        (Asin, 0.25, 0.25268026),
        (Acos, 0.25, 1.3181161),
        (Atan, 2.0, 1.1071487),
        (Sinh, 1.0, 1.1752012),
        (Cosh, 1.0, 1.5430806),
        (Tanh, 0.5, 0.46211716),
        (Asinh, 1.0, 0.8813736),
        (Acosh, 2.0, 1.316958),
        (Atanh, 0.5, 0.54930615),
        (Erf, 0.5, 0.5204999),
        (Erf, -INF, -1.0),
        (Sigmoid, 0.75, 0.6791787),
        (Sigmoid, -1000.0, 0.0),
        (Relu, -3.0, 0.0),
        (Relu, 3.0, 3.0),
        (Silu, 2.0, 1.7615942),
        (GeluErf, 1.0, 0.8413447),
        (GeluErf, -3.0, -0.004049694),
        (GeluTanh, 1.0, 0.841192),
        (HardSwish, 1.0, 0.6666667),
        (HardSwish, -4.0, -0.0),
        (Softplus, 1.0, 1.3132617),
        (Softplus, 1000.0, 1000.0),
        (Mish, 1.0, 0.8650984),
    ];
    for (op, x, y) in table {
        let found = un(op, x);
        assert!((found - y).abs() <= y.abs() * 2e-7 || found == y, "{op}({x}) = {found}, not {y}");
    }
    for op in [Neg, Abs, Sign, Relu, Round, Sqrt, GeluErf, Softplus, Mish] {
        assert!(un(op, NAN).is_nan(), "{op}(NaN)");
    }
    assert!(un(Sqrt, -1.0).is_nan());
    assert!(un(Log, -1.0).is_nan());
    assert_eq!(un(Relu, -0.0).to_bits(), 0);
}

#[test]
fn unary_other_dtypes() {
    let x = t(&[3], [i8::MIN, -3, 4]);
    assert_eq!(
        apply1(Op::Unary(UnaryOp::Neg), std::slice::from_ref(&x)),
        t(&[3], [i8::MIN, 3, -4])
    );
    assert_eq!(apply1(Op::Unary(UnaryOp::Abs), std::slice::from_ref(&x)), t(&[3], [i8::MIN, 3, 4]));
    assert_eq!(apply1(Op::Unary(UnaryOp::Sign), std::slice::from_ref(&x)), t(&[3], [-1i8, -1, 1]));
    assert_eq!(apply1(Op::Unary(UnaryOp::Neg), &[t(&[1], [1u16])]), t(&[1], [u16::MAX]));
    assert_eq!(apply1(Op::Unary(UnaryOp::BitNot), &[t(&[1], [5u8])]), t(&[1], [250u8]));
    assert_eq!(apply1(Op::Unary(UnaryOp::Not), &[t(&[2], [true, false])]), t(&[2], [false, true]));
    let special = t(&[4], [1.0, NAN, INF, -INF]);
    let nan = apply1(Op::Unary(UnaryOp::IsNan), std::slice::from_ref(&special));
    assert_eq!(nan, t(&[4], [false, true, false, false]));
    let inf = apply1(Op::Unary(UnaryOp::IsInf), &[special]);
    assert_eq!(inf, t(&[4], [false, false, true, true]));
    let half =
        apply1(Op::Unary(UnaryOp::Exp), &[t(&[2], [f16::from_f32(1.0), f16::from_f32(12.0)])]);
    assert_eq!(half, t(&[2], [f16::from_f32(2.71875), f16::INFINITY]));
    let empty = apply1(Op::Unary(UnaryOp::Exp), &[t::<f64>(&[3, 0, 2], [])]);
    assert_eq!(empty.dims(), [3, 0, 2]);
    assert!(
        fails(Op::Unary(UnaryOp::Exp), &[t(&[1], [1i32])]).contains("exp is not defined for i32")
    );
    assert!(fails(Op::Unary(UnaryOp::Neg), &[t(&[1], ["a".to_string()])]).contains("str"));
}

#[test]
fn binary_floats() {
    use BinaryOp::*;
    let table = [
        (Add, 1.5, 2.25, 3.75),
        (Sub, 1.5, 2.25, -0.75),
        (Mul, 1.5, -2.0, -3.0),
        (Div, 1.0, 0.0, INF),
        (Mod, -5.5, 2.0, 0.5),
        (Mod, 5.5, -2.0, -0.5),
        (Mod, -4.0, INF, INF),
        (Rem, -5.5, 2.0, -1.5),
        (Pow, 2.0, -2.0, 0.25),
        (Pow, 0.0, 0.0, 1.0),
        (Max, -INF, 3.0, 3.0),
        (Min, -INF, 3.0, -INF),
        (Atan2, -1.0, -1.0, -2.3561945),
    ];
    for (op, a, b, y) in table {
        assert_eq!(bin(op, a, b), Tensor::scalar(y), "{op}({a}, {b})");
    }
    for op in [Max, Min, Mod, Rem] {
        assert!(bin(op, NAN, 1.0f32).to_f64().unwrap()[0].is_nan(), "{op}(NaN, 1)");
        assert!(bin(op, 1.0f32, NAN).to_f64().unwrap()[0].is_nan(), "{op}(1, NaN)");
    }
    assert!(bin(Mod, 1.0f32, 0.0).to_f64().unwrap()[0].is_nan());
    for (a, b) in [(0.0f32, -0.0), (-0.0, 0.0)] {
        assert_eq!(bits(&bin(Max, a, b)), [0]);
        assert_eq!(bits(&bin(Min, a, b)), [0x8000_0000]);
    }
}

#[test]
fn binary_integers() {
    use BinaryOp::*;
    let table: [(BinaryOp, i8, i8, i8); 24] = [
        (Add, 127, 1, -128),
        (Sub, -128, 1, 127),
        (Mul, 64, 4, 0),
        (Div, -7, 2, -3),
        (Div, 7, 0, 0),
        (Div, -128, -1, -128),
        (Mod, -7, 3, 2),
        (Mod, 7, -3, -2),
        (Mod, -6, 3, 0),
        (Mod, 7, 0, 0),
        (Rem, -7, 3, -1),
        (Rem, 7, 0, 0),
        (Pow, 3, 4, 81),
        (Pow, 2, 7, -128),
        (Pow, -1, -3, -1),
        (Pow, 2, -1, 0),
        (Pow, 0, 0, 1),
        (Max, -3, 2, 2),
        (BitXor, 12, 10, 6),
        (BitAnd, 12, 10, 8),
        (BitOr, 12, 10, 14),
        (Shl, 1, 7, -128),
        (Shl, 1, 8, 0),
        (Shr, -1, 1, 127),
    ];
    for (op, a, b, y) in table {
        assert_eq!(bin(op, a, b), Tensor::scalar(y), "{op}({a}, {b})");
    }
    assert_eq!(bin(Shr, u64::MAX, 63u64), Tensor::scalar(1u64));
    assert_eq!(bin(Shr, u64::MAX, 64u64), Tensor::scalar(0u64));
    assert_eq!(bin(Shl, -1i32, -1), Tensor::scalar(0i32));
    assert_eq!(bin(Max, u64::MAX, u64::MAX - 1), Tensor::scalar(u64::MAX));
    assert_eq!(bin(Pow, 3u64, 41), Tensor::scalar(3u64.wrapping_pow(41)));
    assert_eq!(bin(Lt, i64::MAX - 1, i64::MAX), Tensor::scalar(true));
}

#[test]
fn comparisons_and_logic() {
    use BinaryOp::*;
    let table = [
        (Eq, false, true),
        (Ne, true, false),
        (Lt, false, false),
        (Le, false, true),
        (Gt, false, false),
        (Ge, false, true),
    ];
    for (op, with_nan, equal) in table {
        assert_eq!(bin(op, NAN, NAN), Tensor::scalar(with_nan), "{op}(NaN, NaN)");
        assert_eq!(bin(op, 0.0f32, -0.0), Tensor::scalar(equal), "{op}(0, -0)");
    }
    assert_eq!(bin(Xor, true, true), Tensor::scalar(false));
    assert_eq!(bin(And, true, false), Tensor::scalar(false));
    assert_eq!(bin(Or, true, false), Tensor::scalar(true));
    assert_eq!(bin(Eq, "a".to_string(), "a".to_string()), Tensor::scalar(true));
    assert_eq!(bin(Ne, "a".to_string(), "b".to_string()), Tensor::scalar(true));
    let text = [t(&[1], ["a".to_string()]), t(&[1], ["b".to_string()])];
    assert!(fails(Op::Binary(Lt), &text).contains("expected a number"));
    assert!(fails(Op::Binary(Add), &[t(&[1], [true]), t(&[1], [true])]).contains("add"));
    assert!(
        fails(Op::Binary(Add), &[t(&[1], [1i32]), t(&[1], [1i64])]).contains("i32 as operand 0")
    );
}

#[test]
fn broadcasting() {
    let a = count(&[2, 1, 3]);
    let b = t(&[2, 1], [10.0f32, 20.0]);
    let sum = apply1(Op::Binary(BinaryOp::Add), &[a.clone(), b]);
    let expected = [10., 11., 12., 20., 21., 22., 13., 14., 15., 23., 24., 25.];
    assert_eq!(sum, t(&[2, 2, 3], expected.map(|x: f32| x)));
    let empty = apply1(Op::Binary(BinaryOp::Add), &[a, t::<f32>(&[0, 1], [])]);
    assert_eq!(empty.dims(), [2, 0, 3]);
    assert!(
        fails(Op::Binary(BinaryOp::Add), &[count(&[2]), count(&[3])]).contains("do not broadcast")
    );
}

#[test]
fn select_takes_elements_whole() {
    let cond = t(&[3, 1], [true, false, true]);
    let (a, b) = (t(&[2], [NAN, -0.0]), t(&[], [7.0f32]));
    let y = apply1(Op::Select, &[cond, a, b]);
    let nan = NAN.to_bits();
    let seven = 7.0f32.to_bits();
    assert_eq!(bits(&y), [nan, 0x8000_0000, seven, seven, nan, 0x8000_0000]);
    let text = |s: &str| t(&[1], [s.to_string()]);
    assert_eq!(apply1(Op::Select, &[t(&[1], [false]), text("x"), text("y")]), text("y"));
}

#[test]
fn casts() {
    let to = |x: Tensor, dtype| apply1(Op::Cast { to: dtype }, &[x]);
    let x = t(&[6], [-1.9f32, 300.0, NAN, INF, -INF, -0.0]);
    assert_eq!(to(x.clone(), DType::U8), t(&[6], [0u8, 255, 0, 255, 0, 0]));
    assert_eq!(to(x.clone(), DType::I8), t(&[6], [-1i8, 127, 0, 127, -128, 0]));
    assert_eq!(to(x, DType::Bool), t(&[6], [true, true, true, true, true, false]));
    assert_eq!(to(t(&[2], [-1i64, 300]), DType::U8), t(&[2], [255u8, 44]));
    assert_eq!(to(t(&[1], [u64::MAX]), DType::I64), t(&[1], [-1i64]));
    assert_eq!(to(t(&[1], [u64::MAX]), DType::F32), t(&[1], [18446744073709551616.0f32]));
    assert_eq!(to(t(&[2], [0i32, -3]), DType::Bool), t(&[2], [false, true]));
    assert_eq!(to(t(&[1], [true]), DType::BF16), t(&[1], [bf16::ONE]));
    assert_eq!(to(t(&[1], [1e30f64]), DType::U64), t(&[1], [u64::MAX]));
    // Just above a tie of f16: through f32 this would round down.
    assert_eq!(
        to(t(&[1], [1.0 + 2f64.powi(-11) + 2f64.powi(-40)]), DType::F16),
        t(&[1], [f16::from_bits(0x3c01)])
    );
    assert!(fails(Op::Cast { to: DType::Str }, &[t(&[1], [1i8])]).contains("i8 to str"));
}

#[test]
fn scalar_functions() {
    let two = Scalar::i64(2);
    assert_eq!(eval_unary(UnaryOp::Neg, two), Ok(Scalar::i64(-2)));
    assert_eq!(eval_unary(UnaryOp::IsNan, f32s(NAN)), Ok(Scalar::bool(true)));
    assert_eq!(eval_unary(UnaryOp::Not, Scalar::bool(false)), Ok(Scalar::bool(true)));
    assert_eq!(eval_binary(BinaryOp::Lt, two, Scalar::i64(3)), Ok(Scalar::bool(true)));
    assert_eq!(eval_binary(BinaryOp::Add, two, Scalar::i64(3)), Ok(Scalar::i64(5)));
    assert!(eval_binary(BinaryOp::Add, two, f32s(1.0)).is_err());
    assert!(eval_unary(UnaryOp::Sqrt, two).is_err());
    assert_eq!(cast(f32s(-1.5), DType::I64), Scalar::i64(-1));
    assert_eq!(cast(Scalar::i64(-1), DType::U8).bits, 255);
}

/// Every op on every dtype gives a value or an error, and `eval_*` agrees with tensors.
#[test]
fn no_op_panics() {
    for dtype in DType::ALL.into_iter().filter(|&d| d != DType::Str) {
        let numbers = [0.0, 1.0, -1.0, 63.0, 64.0, 200.0, 1e30, f64::NAN, f64::NEG_INFINITY];
        let values = numbers.map(|x| Scalar::from_f64(dtype, x));
        let one = |s: Scalar| {
            Tensor::from_le_bytes(dtype, &[], &s.bits.to_le_bytes()[..dtype.size_bytes().unwrap()])
                .unwrap()
        };
        for a in values {
            for &op in UnaryOp::ALL {
                let tensor = eval_op(&Op::Unary(op), &[&one(a)], &|_| None).ok();
                let scalar = eval_unary(op, a).ok();
                let bytes =
                    |s: Scalar| s.bits.to_le_bytes()[..s.dtype.size_bytes().unwrap()].to_vec();
                assert_eq!(tensor.map(|t| t[0].to_le_bytes()), scalar.map(bytes), "{op} {dtype}");
            }
            for b in values {
                for &op in BinaryOp::ALL {
                    let tensor = eval_op(&Op::Binary(op), &[&one(a), &one(b)], &|_| None).is_ok();
                    assert_eq!(tensor, eval_binary(op, a, b).is_ok(), "{op} {dtype}");
                }
            }
        }
    }
}

#[test]
fn leaves() {
    let shape = |dims: &[i64]| dims.iter().map(|&d| Dim::from(d)).collect::<Vec<_>>();
    let fill = apply1(Op::Fill { value: f32s(-0.0), shape: shape(&[2, 1]) }, &[]);
    assert_eq!(bits(&fill), [0x8000_0000; 2]);
    let iota = apply1(Op::Iota { dtype: DType::U8, shape: shape(&[2, 3, 2]), axis: 1 }, &[]);
    assert_eq!(iota, t(&[2, 3, 2], [0u8, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]));
    let wrapped = apply1(Op::Iota { dtype: DType::U8, shape: shape(&[258]), axis: 0 }, &[]);
    assert_eq!(wrapped.as_slice::<u8>().unwrap()[255..], [255, 0, 1]);
    let dims = Op::DimValues { dims: shape(&[3, -4]), scalar: false };
    assert_eq!(apply1(dims, &[]), t(&[2], [3i64, -4]));
    let dim = Op::DimValues { dims: shape(&[3]), scalar: true };
    assert_eq!(apply1(dim, &[]), t(&[], [3i64]));
    let mut symbols = SymbolTable::default();
    let n = symbols.intern("n");
    let half = Op::DimValues { dims: vec![Dim::sym(n).floor_div(&2.into())], scalar: true };
    assert_eq!(eval_op(&half, &[], &|_| Some(7)).unwrap(), [t(&[], [3i64])]);
    assert!(eval_op(&half, &[], &|_| None).unwrap_err().to_string().contains("not bound"));
    let huge = Op::Fill { value: f32s(0.0), shape: shape(&[1 << 20, 1 << 20]) };
    assert!(eval_op(&huge, &[], &|_| None).unwrap_err().to_string().contains("limit"));
}

#[test]
fn random_numbers_follow_their_distribution() {
    let shape = vec![Dim::from(100), Dim::from(101)];
    let attrs = |distribution, seed| RandomAttrs {
        distribution,
        dtype: DType::F64,
        shape: shape.clone(),
        seed,
    };
    let moments = |x: &Tensor| {
        let v = x.to_f64().unwrap();
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        (mean, (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64).sqrt())
    };
    let normal = Distribution::Normal { mean: f32s(3.0), scale: f32s(0.5) };
    let x = apply1(Op::Random(attrs(normal, 7)), &[]);
    let (mean, deviation) = moments(&x);
    assert!((mean - 3.0).abs() < 0.02 && (deviation - 0.5).abs() < 0.02, "{mean} {deviation}");
    assert_eq!(x, apply1(Op::Random(attrs(normal, 7)), &[]));
    assert_ne!(x, apply1(Op::Random(attrs(normal, 8)), &[]));
    let uniform = Distribution::Uniform { low: f32s(-1.0), high: f32s(3.0) };
    let u = apply1(Op::Random(attrs(uniform, 7)), &[]);
    let (mean, deviation) = moments(&u);
    assert!((mean - 1.0).abs() < 0.05 && (deviation - 4.0 / 12f64.sqrt()).abs() < 0.02);
    assert!(u.to_f64().unwrap().iter().all(|x| (-1.0..3.0).contains(x)));
}
