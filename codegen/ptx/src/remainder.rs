//! `fmod`: the exact rest of a division of floats.

use crate::formulas::Floats;
use crate::text::{Text, Ty, V};
use cascata_math::FloatOps;

/// `a − b·trunc(a / b)` with the sign of `a`, exactly: binary long division of magnitudes.
///
/// In f64 the divisor is scaled by powers of two, which is exact as long as nothing is
/// denormal; f32 operands are normal there, f64 ones are scaled up first.
pub(crate) fn fmod(t: &mut Text, a: V, b: V) -> V {
    if a.ty == Ty::F32 {
        return Floats::in_f64(t, [a, b], |o, [a, b]| rest(o.text, a, b));
    }
    rest(t, a, b)
}

/// The rest of f64.
fn rest(t: &mut Text, a: V, b: V) -> V {
    let (x, y) = (t.intrinsic("fabs", &[a]), t.intrinsic("fabs", &[b]));
    let left = t.fresh(Ty::F64);
    let end = t.fresh(Ty::F64);
    t.line(format_args!("{end} = scf.while ({left} = {x}) : (f64) -> f64 {{"));
    let more = t.cmpf("oge", left, y);
    let infinity = t.float(Ty::F64, f64::INFINITY);
    let finite = t.cmpf("olt", left, infinity);
    let zero = t.float(Ty::F64, 0.0);
    let divides = t.cmpf("ogt", y, zero);
    let more = t.op("arith.andi", &[more, finite]);
    let more = t.op("arith.andi", &[more, divides]);
    t.line(format_args!("scf.condition({more}) {left} : f64\n}} do {{"));
    let left = t.fresh(Ty::F64);
    t.line(format_args!("^bb0({left}: f64):"));
    let part = multiple(t, y, left);
    let next = t.op("arith.subf", &[left, part]);
    t.line(format_args!("scf.yield {next} : f64\n}}"));
    let mut o = Floats { text: t, ty: Ty::F64 };
    let signed = o.with_sign(end, a);
    // No rest of an infinite number, or by 0; any number is its own rest by infinity.
    let (nan, infinity, zero) = (o.float(f64::NAN), o.float(f64::INFINITY), o.float(0.0));
    let bad_a = o.text.cmpf("uge", x, infinity);
    let bad_b = o.text.cmpf("ueq", y, zero);
    let bad = o.or(bad_a, bad_b);
    o.select(bad, nan, signed)
}

/// The largest `y·2^n ≤ x` that one step takes away: by exponents, one lower where that is
/// too much; steps of at most 2^1000 keep powers of two finite.
fn multiple(t: &mut Text, y: V, x: V) -> V {
    let exponent = |t: &mut Text, v: V| {
        let (bits, shift) = (t.bitcast(v, Ty::I64), t.int(Ty::I64, 52));
        t.op("arith.shrui", &[bits, shift])
    };
    let (ex, ey) = (exponent(t, x), exponent(t, y));
    let distance = t.op("arith.subi", &[ex, ey]);
    let limit = t.int(Ty::I64, 1000);
    let distance = t.op("arith.minsi", &[distance, limit]);
    let (bias, shift) = (t.int(Ty::I64, 1023), t.int(Ty::I64, 52));
    let biased = t.op("arith.addi", &[distance, bias]);
    let scale = t.op("arith.shli", &[biased, shift]);
    let scale = t.bitcast(scale, Ty::F64);
    let near = t.op("arith.mulf", &[y, scale]);
    let half = t.float(Ty::F64, 0.5);
    let lower = t.op("arith.mulf", &[near, half]);
    let too_large = t.cmpf("ogt", near, x);
    let lower = t.select(too_large, lower, near);
    // A denormal divisor's exponent says too little: then `y` itself is taken away.
    let fits = t.cmpf("ole", lower, x);
    t.select(fits, lower, y)
}
