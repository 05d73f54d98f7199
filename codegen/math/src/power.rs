//! a^b in f64.

use super::exp::exp;
use super::log::log;
use crate::{Compare, FloatOps};

/// a^b as e^(b·ln|a|) with C's special cases: relative error at most 2^-51 per unit of
/// `|b·ln a|`, so 2^-42 at worst; as f32, 1 ulp.
pub fn pow<O: FloatOps>(o: &mut O, a: O::Value, b: O::Value) -> O::Value {
    let magnitude = o.abs(a);
    let log = log(o, magnitude);
    let exponent = o.mul(b, log);
    let power = exp(o, exponent);
    let (zero, one) = (o.float(0.0), o.float(1.0));
    let whole = o.trunc(b);
    let is_whole = o.cmp(Compare::Eq, whole, b);
    let half = o.mul_c(b, 0.5);
    let half_whole = o.trunc(half);
    let half_fraction = o.cmp(Compare::Ne, half_whole, half);
    let is_odd = o.and(is_whole, half_fraction);
    let power = whole_power(o, [magnitude, b], is_whole, power);
    let signed = o.with_sign(power, a);
    let power = o.select(is_odd, signed, power);
    let negative = o.cmp(Compare::Lt, a, zero);
    let fraction = o.cmp(Compare::Ne, whole, b);
    let infinity = o.float(f64::INFINITY);
    let finite = o.cmp(Compare::Lt, magnitude, infinity);
    let undefined = o.and(negative, fraction);
    let undefined = o.and(undefined, finite);
    let nan = o.float(f64::NAN);
    let power = o.select(undefined, nan, power);
    // 1^b and a^0 are 1 even for NaN, and (−1)^±inf is 1.
    let (b_zero, a_one) = (o.cmp(Compare::Eq, b, zero), o.cmp(Compare::Eq, a, one));
    let trivial = o.or(b_zero, a_one);
    let (unit, b_size) = (o.cmp(Compare::Eq, magnitude, one), o.abs(b));
    let b_infinite = o.cmp(Compare::Eq, b_size, infinity);
    let unit_at_infinity = o.and(unit, b_infinite);
    let trivial = o.or(trivial, unit_at_infinity);
    o.select(trivial, one, power)
}

/// Powers of whole numbers are whole: below 2^44 the error is less than a half and is
/// rounded away, so that a conversion to an integer does not fall one short.
fn whole_power<O: FloatOps>(
    o: &mut O,
    [a, b]: [O::Value; 2],
    b_whole: O::Mask,
    power: O::Value,
) -> O::Value {
    let a_trunc = o.trunc(a);
    let a_whole = o.cmp(Compare::Eq, a_trunc, a);
    let zero = o.float(0.0);
    let positive = o.cmp(Compare::Ge, b, zero);
    let limit = o.float((1u64 << 44) as f64);
    let small = o.cmp(Compare::Lt, power, limit);
    let whole = o.and(a_whole, b_whole);
    let whole = o.and(whole, positive);
    let whole = o.and(whole, small);
    let rounded = o.round(power);
    o.select(whole, rounded, power)
}
