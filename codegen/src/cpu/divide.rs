//! Integer division without a division instruction.
//!
//! x86's `div` faults on a zero divisor and on overflow, and generated code holds no
//! instruction that can fault. Quotients come from shifts, from a multiplication by a
//! reciprocal, or from an `f64` division, which is exact below 2^53 and a first guess above.

use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F64, I64};
use cranelift_codegen::ir::{InstBuilder, Value};

/// An `i64` with inclusive bounds.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub value: Value,
    pub range: (i64, i64),
}

/// Integers below this are exact as `f64`, and so are floors of their quotients.
const EXACT: i64 = 1 << 53;

impl Operand {
    fn constant(self) -> Option<i64> {
        (self.range.0 == self.range.1).then_some(self.range.0)
    }

    fn is_exact(self) -> bool {
        self.range.0 > -EXACT && self.range.1 < EXACT
    }
}

/// `floor(a / b)`; 0 for `b = 0`.
pub(super) fn floor_div(c: &mut FuncCursor<'_>, a: Operand, b: Operand) -> Value {
    match b.constant() {
        Some(b) if b > 0 && b.count_ones() == 1 => {
            return c.ins().sshr_imm_u(a.value, i64::from(b.trailing_zeros()));
        }
        Some(b) if b > 0 && b < 1 << 31 && a.range.0 >= 0 && a.range.1 < 1 << 31 => {
            return by_reciprocal(c, a.value, b);
        }
        _ => {}
    }
    let quotient = truncated(c, a, b);
    if a.range.0 >= 0 && b.range.0 >= 0 {
        return quotient;
    }
    floor_fix(c, a.value, b.value, quotient).0
}

/// `a − b·floor(a / b)`; for `b = 0`, 0 (an index) where the bounds allow `b = 0`.
pub(super) fn floor_mod(c: &mut FuncCursor<'_>, a: Operand, b: Operand) -> Value {
    if let Some(b) = b.constant()
        && b > 0
        && b.count_ones() == 1
    {
        return c.ins().band_imm_s(a.value, b - 1);
    }
    let quotient = floor_div(c, a, b);
    let multiple = c.ins().imul(quotient, b.value);
    let rest = c.ins().isub(a.value, multiple);
    if b.range.0 > 0 || b.range.1 < 0 { rest } else { zero_if_zero(c, b.value, rest) }
}

/// `x`, or 0 where `b` is 0.
fn zero_if_zero(c: &mut FuncCursor<'_>, b: Value, x: Value) -> Value {
    let zero = c.ins().iconst(I64, 0);
    c.ins().select(b, x, zero)
}

/// `a / b` for `0 <= a < 2^31` and constant `0 < b < 2^31`: with `s = 31 + ceil(log2 b)` and
/// `m = floor(2^s / b) + 1`, `a·m / 2^s` exceeds `a / b` by less than `1 / b`
/// (Granlund and Montgomery 1994), and `a·m < 2^63`.
fn by_reciprocal(c: &mut FuncCursor<'_>, a: Value, b: i64) -> Value {
    let shift = 31 + i64::from(64 - (b - 1).leading_zeros());
    let reciprocal = ((1i128 << shift) / i128::from(b) + 1) as i64;
    let reciprocal = c.ins().iconst(I64, reciprocal);
    let product = c.ins().imul(a, reciprocal);
    c.ins().ushr_imm_u(product, shift)
}

/// `a / b` toward zero as `i64`; 0 for `b = 0`, and `MIN / −1` wraps.
pub(super) fn truncated(c: &mut FuncCursor<'_>, a: Operand, b: Operand) -> Value {
    if a.is_exact() && b.is_exact() {
        let (x, y) = (c.ins().fcvt_from_sint(F64, a.value), c.ins().fcvt_from_sint(F64, b.value));
        let quotient = c.ins().fdiv(x, y);
        let quotient = c.ins().fcvt_to_sint_sat(I64, quotient);
        let safe = b.range.0 > 0 || b.range.1 < 0;
        return if safe { quotient } else { zero_if_zero(c, b.value, quotient) };
    }
    let (x, y) = (c.ins().iabs(a.value), c.ins().iabs(b.value));
    let quotient = unsigned(c, x, y);
    let negated = c.ins().ineg(quotient);
    let signs = c.ins().bxor(a.value, b.value);
    let negative = c.ins().icmp_imm_s(IntCC::SignedLessThan, signs, 0);
    c.ins().select(negative, negated, quotient)
}

/// From the truncated quotient, `(floor(a / b), a − b·floor(a / b))`; wrong for `b = 0`.
pub(super) fn floor_fix(
    c: &mut FuncCursor<'_>,
    a: Value,
    b: Value,
    quotient: Value,
) -> (Value, Value) {
    let multiple = c.ins().imul(quotient, b);
    let rest = c.ins().isub(a, multiple);
    let signs = c.ins().bxor(rest, b);
    let differ = c.ins().icmp_imm_s(IntCC::SignedLessThan, signs, 0);
    let inexact = c.ins().icmp_imm_s(IntCC::NotEqual, rest, 0);
    let wrong = c.ins().band(differ, inexact);
    let (below, shifted) = (c.ins().iadd_imm_s(quotient, -1), c.ins().iadd(rest, b));
    (c.ins().select(wrong, below, quotient), c.ins().select(wrong, shifted, rest))
}

/// `a / b` of `u64`; 0 for `b = 0`.
pub(super) fn unsigned(c: &mut FuncCursor<'_>, a: Value, b: Value) -> Value {
    let (small, large) = (unsigned_small(c, a, b), unsigned_large(c, a, b));
    let is_small = c.ins().icmp_imm_u(IntCC::UnsignedLessThan, b, 1 << 62);
    let quotient = c.ins().select(is_small, small, large);
    zero_if_zero(c, b, quotient)
}

/// `a / b` for `0 < b < 2^62`. The first `f64` quotient leaves a rest of at most
/// `b + 2^13`, the second one is off by at most one.
fn unsigned_small(c: &mut FuncCursor<'_>, a: Value, b: Value) -> Value {
    let (fa, fb) = (c.ins().fcvt_from_uint(F64, a), c.ins().fcvt_from_uint(F64, b));
    let first = c.ins().fdiv(fa, fb);
    let first = c.ins().fcvt_to_uint_sat(I64, first);
    let multiple = c.ins().imul(first, b);
    let rest = c.ins().isub(a, multiple);
    let fr = c.ins().fcvt_from_sint(F64, rest);
    let second = c.ins().fdiv(fr, fb);
    let second = c.ins().fcvt_to_sint_sat(I64, second);
    let quotient = c.ins().iadd(first, second);
    let multiple = c.ins().imul(second, b);
    let rest = c.ins().isub(rest, multiple);
    let (below, above) = (c.ins().iadd_imm_s(quotient, -1), c.ins().iadd_imm_s(quotient, 1));
    let too_small = c.ins().icmp(IntCC::SignedGreaterThanOrEqual, rest, b);
    let too_large = c.ins().icmp_imm_s(IntCC::SignedLessThan, rest, 0);
    let quotient = c.ins().select(too_small, above, quotient);
    c.ins().select(too_large, below, quotient)
}

/// `a / b` for `b >= 2^62`: at most 3.
fn unsigned_large(c: &mut FuncCursor<'_>, a: Value, b: Value) -> Value {
    let (mut rest, mut quotient) = (a, c.ins().iconst(I64, 0));
    for _ in 0..3 {
        let fits = c.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, rest, b);
        let (less, more) = (c.ins().isub(rest, b), c.ins().iadd_imm_s(quotient, 1));
        rest = c.ins().select(fits, less, rest);
        quotient = c.ins().select(fits, more, quotient);
    }
    quotient
}
