//! Scalar functions and conversions, as `cascata_ir` defines them.
//!
//! Values of half floats are f32 that hold a half float: every operation rounds its result.

use crate::formulas::Floats;
use crate::text::{Text, Ty, V};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_math::{FloatOps, atan2, double, pow, single};
use cascata_types::DType;

/// A value with its dtype.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Val {
    pub v: V,
    pub dtype: DType,
}

/// An f32 as it is after a store as `dtype`.
fn rounded(t: &mut Text, v: V, dtype: DType) -> V {
    let narrow = match dtype {
        DType::F16 => Ty::F16,
        DType::BF16 => Ty::BF16,
        _ => return v,
    };
    let v = t.convert("arith.truncf", v, narrow);
    t.convert("arith.extf", v, Ty::F32)
}

/// `op(x)`; none where it is not defined.
pub(crate) fn unary(t: &mut Text, op: UnaryOp, x: Val) -> Option<Val> {
    let dtype = op.result(x.dtype);
    let v = match x.dtype {
        DType::Bool if op == UnaryOp::Not => {
            let one = t.int(Ty::I1, 1);
            t.op("arith.xori", &[x.v, one])
        }
        d if d.is_float() => {
            let v = float_unary(t, op, x.v)?;
            if dtype == d { rounded(t, v, d) } else { v }
        }
        d if d.is_int() => int_unary(t, op, x.v, d.is_unsigned_int())?,
        _ => return None,
    };
    Some(Val { v, dtype })
}

fn int_unary(t: &mut Text, op: UnaryOp, x: V, unsigned: bool) -> Option<V> {
    let zero = t.int(x.ty, 0);
    Some(match op {
        UnaryOp::Abs | UnaryOp::Relu if unsigned => x,
        UnaryOp::Neg => t.op("arith.subi", &[zero, x]),
        UnaryOp::BitNot => {
            let ones = t.int(x.ty, -1);
            t.op("arith.xori", &[x, ones])
        }
        UnaryOp::Relu => t.op("arith.maxsi", &[x, zero]),
        UnaryOp::Abs => {
            let (minus, negative) = (t.op("arith.subi", &[zero, x]), t.cmpi("slt", x, zero));
            t.select(negative, minus, x)
        }
        UnaryOp::Sign => {
            let (one, minus) = (t.int(x.ty, 1), t.int(x.ty, -1));
            let is_zero = t.cmpi("eq", x, zero);
            let sign = t.select(is_zero, zero, one);
            let negative = t.cmpi("slt", x, zero);
            if unsigned { sign } else { t.select(negative, minus, sign) }
        }
        _ => return None,
    })
}

fn float_unary(t: &mut Text, op: UnaryOp, x: V) -> Option<V> {
    use UnaryOp::*;
    let ty = x.ty;
    let mut o = Floats { text: t, ty };
    Some(match op {
        Neg => o.neg(x),
        Abs => o.abs(x),
        Sign => sign(&mut o, x),
        Floor => t.intrinsic("floor", &[x]),
        Ceil => t.intrinsic("ceil", &[x]),
        Round => o.round(x),
        Trunc => o.trunc(x),
        Sqrt => o.sqrt(x),
        Rsqrt => {
            let root = o.sqrt(x);
            let one = o.float(1.0);
            o.div(one, root)
        }
        Recip => {
            let one = o.float(1.0);
            o.div(one, x)
        }
        Relu => {
            let kept = o.at_least(x, 0.0);
            // −0 becomes +0.
            o.add_c(kept, 0.0)
        }
        HardSwish => {
            let scaled = o.mul_c(x, 1.0 / 6.0);
            let gate = o.add_c(scaled, 0.5);
            let gate = o.at_least(gate, 0.0);
            let gate = o.at_most(gate, 1.0);
            o.mul(x, gate)
        }
        IsNan => o.is_nan(x),
        IsInf => {
            let (magnitude, infinity) = (o.abs(x), o.float(f64::INFINITY));
            t.cmpf("oeq", magnitude, infinity)
        }
        Not | BitNot => return None,
        Exp | Log | Erf | Tanh | Sigmoid | Silu | GeluErf | GeluTanh | Softplus | Mish
            if ty == Ty::F32 =>
        {
            single(&mut o, op, x)
        }
        _ => Floats::in_f64(t, [x], |o, [x]| double(o, op, x)),
    })
}

fn sign(o: &mut Floats<'_>, x: V) -> V {
    let one = o.float(1.0);
    let signed = o.with_sign(one, x);
    let zero = o.float(0.0);
    // Zeros give +0, a NaN stays.
    let rest = o.add(x, zero);
    let is_zero = o.text.cmpf("oeq", x, zero);
    let is_nan = o.is_nan(x);
    let kept = o.or(is_zero, is_nan);
    o.select(kept, rest, signed)
}

/// `op(a, b)`; none where it is not defined.
pub(crate) fn binary(t: &mut Text, op: BinaryOp, a: Val, b: Val) -> Option<Val> {
    if a.dtype != b.dtype {
        return None;
    }
    let dtype = op.result(a.dtype);
    let v = match a.dtype {
        d if op.is_comparison() => compare(t, op, d, a.v, b.v)?,
        DType::Bool => match op {
            BinaryOp::And | BinaryOp::Min => t.op("arith.andi", &[a.v, b.v]),
            BinaryOp::Or | BinaryOp::Max => t.op("arith.ori", &[a.v, b.v]),
            BinaryOp::Xor => t.op("arith.xori", &[a.v, b.v]),
            _ => return None,
        },
        d if d.is_float() => {
            let v = float_binary(t, op, a.v, b.v)?;
            rounded(t, v, d)
        }
        d if d.is_int() => int_binary(t, op, a.v, b.v, d.is_unsigned_int())?,
        _ => return None,
    };
    Some(Val { v, dtype })
}

fn compare(t: &mut Text, op: BinaryOp, dtype: DType, a: V, b: V) -> Option<V> {
    use BinaryOp::*;
    if dtype.is_float() {
        let predicate = match op {
            Eq => "oeq",
            Ne => "une",
            Lt => "olt",
            Le => "ole",
            Gt => "ogt",
            _ => "oge",
        };
        return Some(t.cmpf(predicate, a, b));
    }
    // Ids of strings are equal where the strings are; false is below true.
    let unsigned = dtype.is_unsigned_int() || dtype == DType::Bool;
    let predicate = match (op, unsigned) {
        (Eq, _) => "eq",
        (Ne, _) => "ne",
        (Lt, false) => "slt",
        (Le, false) => "sle",
        (Gt, false) => "sgt",
        (Ge, false) => "sge",
        (Lt, true) => "ult",
        (Le, true) => "ule",
        (Gt, true) => "ugt",
        (_, _) => "uge",
    };
    Some(t.cmpi(predicate, a, b))
}

fn float_binary(t: &mut Text, op: BinaryOp, a: V, b: V) -> Option<V> {
    Some(match op {
        BinaryOp::Add => t.op("arith.addf", &[a, b]),
        BinaryOp::Sub => t.op("arith.subf", &[a, b]),
        BinaryOp::Mul => t.op("arith.mulf", &[a, b]),
        BinaryOp::Div => t.op("arith.divf", &[a, b]),
        // NaN if either is NaN, −0 below +0.
        BinaryOp::Max => t.intrinsic("maximum", &[a, b]),
        BinaryOp::Min => t.intrinsic("minimum", &[a, b]),
        BinaryOp::Pow => Floats::in_f64(t, [a, b], |o, [a, b]| pow(o, a, b)),
        BinaryOp::Atan2 => Floats::in_f64(t, [a, b], |o, [a, b]| atan2(o, a, b)),
        BinaryOp::Rem => crate::remainder::fmod(t, a, b),
        BinaryOp::Mod => {
            let rest = crate::remainder::fmod(t, a, b);
            let mut o = Floats { text: t, ty: a.ty };
            let zero = o.float(0.0);
            let (r_negative, b_negative) =
                (o.text.cmpf("olt", rest, zero), o.text.cmpf("olt", b, zero));
            let differ = o.text.op("arith.xori", &[r_negative, b_negative]);
            let moved = o.add(rest, b);
            let fixed = o.select(differ, moved, rest);
            let is_zero = o.text.cmpf("oeq", rest, zero);
            let signed_zero = o.with_sign(zero, b);
            o.select(is_zero, signed_zero, fixed)
        }
        _ => return None,
    })
}

fn int_binary(t: &mut Text, op: BinaryOp, a: V, b: V, unsigned: bool) -> Option<V> {
    use BinaryOp::*;
    Some(match op {
        Add => t.op("arith.addi", &[a, b]),
        Sub => t.op("arith.subi", &[a, b]),
        Mul => t.op("arith.muli", &[a, b]),
        Max => t.op(if unsigned { "arith.maxui" } else { "arith.maxsi" }, &[a, b]),
        Min => t.op(if unsigned { "arith.minui" } else { "arith.minsi" }, &[a, b]),
        BitAnd => t.op("arith.andi", &[a, b]),
        BitOr => t.op("arith.ori", &[a, b]),
        BitXor => t.op("arith.xori", &[a, b]),
        Div | Rem | Mod => divide(t, op, a, b, unsigned),
        Shl | Shr => {
            let (zero, width) = (t.int(a.ty, 0), t.int(a.ty, a.ty.bits().into()));
            let fits = t.cmpi("ult", b, width);
            let count = t.select(fits, b, zero);
            let name = if op == Shl { "arith.shli" } else { "arith.shrui" };
            let shifted = t.op(name, &[a, count]);
            t.select(fits, shifted, zero)
        }
        Pow => power(t, a, b, unsigned),
        _ => return None,
    })
}

/// Quotients and rests; 0 for a zero divisor, `MIN / −1` wraps.
fn divide(t: &mut Text, op: BinaryOp, a: V, b: V, unsigned: bool) -> V {
    let (zero, one) = (t.int(a.ty, 0), t.int(a.ty, 1));
    let by_zero = t.cmpi("eq", b, zero);
    if unsigned {
        let safe = t.select(by_zero, one, b);
        let name = if op == BinaryOp::Div { "arith.divui" } else { "arith.remui" };
        let v = t.op(name, &[a, safe]);
        return t.select(by_zero, zero, v);
    }
    let minus = t.int(a.ty, -1);
    let by_minus = t.cmpi("eq", b, minus);
    let trivial = t.op("arith.ori", &[by_zero, by_minus]);
    let safe = t.select(trivial, one, b);
    if op == BinaryOp::Div {
        let (quotient, negated) = (t.op("arith.divsi", &[a, safe]), t.op("arith.subi", &[zero, a]));
        let quotient = t.select(by_minus, negated, quotient);
        return t.select(by_zero, zero, quotient);
    }
    // By 1 and −1 nothing is left.
    let rest = t.op("arith.remsi", &[a, safe]);
    if op == BinaryOp::Rem {
        return rest;
    }
    let signs = t.op("arith.xori", &[rest, safe]);
    let (differ, inexact) = (t.cmpi("slt", signs, zero), t.cmpi("ne", rest, zero));
    let wrong = t.op("arith.andi", &[differ, inexact]);
    let moved = t.op("arith.addi", &[rest, safe]);
    t.select(wrong, moved, rest)
}

/// By squaring, wrapping; a negative exponent truncates the exact quotient.
fn power(t: &mut Text, a: V, n: V, unsigned: bool) -> V {
    let ty = a.ty;
    let (zero, one, minus) = (t.int(ty, 0), t.int(ty, 1), t.int(ty, -1));
    let (first, end, step) =
        (t.int(Ty::I32, 0), t.int(Ty::I32, ty.bits().into()), t.int(Ty::I32, 1));
    let [product, base, left] = [ty; 3].map(|ty| t.fresh(ty));
    let results = t.fresh(ty);
    let i = t.fresh(Ty::I32);
    t.line(format_args!(
        "{results}:3 = scf.for {i} = {first} to {end} step {step} iter_args({product} = {one}, \
         {base} = {a}, {left} = {n}) -> ({ty}, {ty}, {ty}) : i32 {{"
    ));
    let odd = t.op("arith.andi", &[left, one]);
    let odd = t.cmpi("ne", odd, zero);
    let multiplied = t.op("arith.muli", &[product, base]);
    let product = t.select(odd, multiplied, product);
    let square = t.op("arith.muli", &[base, base]);
    let left = t.op("arith.shrui", &[left, one]);
    t.line(format_args!("scf.yield {product}, {square}, {left} : {ty}, {ty}, {ty}\n}}"));
    let wide = t.define(ty, format_args!("arith.addi {results}#0, {zero} : {ty}"));
    if unsigned {
        return wide;
    }
    let odd = t.op("arith.andi", &[n, one]);
    let odd = t.cmpi("ne", odd, zero);
    let alternating = t.select(odd, minus, one);
    let is_minus = t.cmpi("eq", a, minus);
    let of_minus = t.select(is_minus, alternating, zero);
    let is_one = t.cmpi("eq", a, one);
    let fraction = t.select(is_one, one, of_minus);
    let negative = t.cmpi("slt", n, zero);
    t.select(negative, fraction, wide)
}

/// `x` as `to`: floats to integers truncate and saturate, NaN gives 0; integers wrap; anything
/// to bool is `!= 0`; to float rounds once.
pub(crate) fn cast(t: &mut Text, x: Val, to: DType) -> Option<V> {
    let from = x.dtype;
    if from == to {
        return Some(x.v);
    }
    if from == DType::Str || to == DType::Str {
        return None;
    }
    let ty = Ty::held(to);
    Some(match (from.is_float(), to) {
        (true, DType::Bool) => {
            let zero = t.float(x.v.ty, 0.0);
            t.cmpf("une", x.v, zero)
        }
        (false, DType::Bool) => {
            let zero = t.int(x.v.ty, 0);
            t.cmpi("ne", x.v, zero)
        }
        (true, d) if d.is_float() => float_to_float(t, x.v, d),
        (false, d) if d.is_float() => int_to_float(t, x, d),
        (true, d) => float_to_int(t, x.v, ty, d.is_unsigned_int()),
        (false, _) => t.resize(x.v, ty, from.is_signed_int()),
    })
}

fn float_to_float(t: &mut Text, x: V, to: DType) -> V {
    match (x.ty, to) {
        (Ty::F32, DType::F64) => t.convert("arith.extf", x, Ty::F64),
        (Ty::F64, DType::F32) => t.convert("arith.truncf", x, Ty::F32),
        (Ty::F64, DType::F16 | DType::BF16) => {
            let near = to_odd(t, x);
            rounded(t, near, to)
        }
        _ => rounded(t, x, to),
    }
}

/// An f64 as f32 so that an inexact result has an odd last bit; rounding that to two or more
/// bits less is then as if done in one step (Boldo and Melquiond 2008).
fn to_odd(t: &mut Text, x: V) -> V {
    let near = t.convert("arith.truncf", x, Ty::F32);
    let back = t.convert("arith.extf", near, Ty::F64);
    let inexact = t.cmpf("one", back, x);
    let (b, a) = (t.intrinsic("fabs", &[back]), t.intrinsic("fabs", &[x]));
    let too_large = t.cmpf("ogt", b, a);
    let bits = t.bitcast(near, Ty::I32);
    let (one, zero) = (t.int(Ty::I32, 1), t.int(Ty::I32, 0));
    let odd = t.op("arith.andi", &[bits, one]);
    let even = t.cmpi("eq", odd, zero);
    let (down, up) = (t.op("arith.subi", &[bits, one]), t.op("arith.addi", &[bits, one]));
    let moved = t.select(too_large, down, up);
    let wrong = t.op("arith.andi", &[inexact, even]);
    let bits = t.select(wrong, moved, bits);
    t.bitcast(bits, Ty::F32)
}

fn int_to_float(t: &mut Text, x: Val, to: DType) -> V {
    let signed = x.dtype.is_signed_int();
    let name = if signed { "arith.sitofp" } else { "arith.uitofp" };
    let wide = match x.dtype {
        DType::Bool => t.resize(x.v, Ty::I32, false),
        _ => x.v,
    };
    match to {
        DType::F64 | DType::F32 => t.convert(name, wide, Ty::held(to)),
        // 16 bits and fewer are exact as f32; more are rounded once, by way of an f64 in which
        // what does not fit leaves a sticky bit.
        _ if wide.ty.bits() <= 16 || x.dtype == DType::Bool => {
            let v = t.convert(name, wide, Ty::F32);
            rounded(t, v, to)
        }
        _ => {
            let wide = t.resize(wide, Ty::I64, signed);
            let (mask, zero) = (t.int(Ty::I64, 0x7ff), t.int(Ty::I64, 0));
            let low = t.op("arith.andi", &[wide, mask]);
            let lost = t.cmpi("ne", low, zero);
            let (sticky, keep) = (t.int(Ty::I64, 0x800), t.int(Ty::I64, !0x7ff));
            let sticky = t.select(lost, sticky, zero);
            let high = t.op("arith.andi", &[wide, keep]);
            let short = t.op("arith.ori", &[high, sticky]);
            // Up to 2^53 the integer is exact as it is.
            let limit = t.int(Ty::I64, 1 << 53);
            let below = t.op("arith.addi", &[wide, limit]);
            let twice = t.int(Ty::I64, 1 << 54);
            let small = match signed {
                true => t.cmpi("ult", below, twice),
                false => t.cmpi("ult", wide, limit),
            };
            let exact = t.select(small, wide, short);
            let v = t.convert(name, exact, Ty::F64);
            float_to_float(t, v, to)
        }
    }
}

fn float_to_int(t: &mut Text, x: V, ty: Ty, unsigned: bool) -> V {
    let name = if unsigned { "fptoui" } else { "fptosi" };
    let (from, to) = (x.ty, ty);
    t.define(ty, format_args!("llvm.call_intrinsic \"llvm.{name}.sat\"({x}) : ({from}) -> {to}"))
}

/// The same bits as another dtype of the same size; none for half floats, which are held as f32.
pub(crate) fn bits(t: &mut Text, x: Val, to: DType) -> Option<V> {
    let (from, ty) = (x.v.ty, Ty::held(to));
    let half = |d: DType| matches!(d, DType::F16 | DType::BF16);
    if half(x.dtype) || half(to) || from.bits() != ty.bits() {
        return None;
    }
    Some(t.bitcast(x.v, ty))
}
