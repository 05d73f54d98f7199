//! The truncating remainder of floats, exactly, by shifting and subtracting (musl).

use crate::cpu::emit::Emit;
use cascata_math::FloatOps;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F64, I32, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, Type, Value};

/// `a − b·trunc(a/b)` with the sign of `a`; NaN for infinite `a`, zero `b` and NaN. The
/// loop runs once per binary order of magnitude between the two, at most 2,098 times.
pub(in crate::cpu) fn fmod(e: &mut Emit<'_, '_>, a: Value, b: Value) -> Value {
    let ty = e.fb.func.dfg.value_type(a);
    let (x, y) = (split(e, a, ty), split(e, b, ty));
    let (rest, exponent) = rest(e, x, y);
    let magnitude = join(e, rest, exponent, ty);
    let mut o = e.ops(ty);
    let (ax, ay) = (o.abs(a), o.abs(b));
    let smaller = o.cmp(FloatCC::LessThan, ax, ay);
    let signed = o.with_sign(magnitude, a);
    let result = o.select(smaller, a, signed);
    let (zero, infinity, nan) = (o.float(0.0), o.float(f64::INFINITY), o.float(f64::NAN));
    let (bad_a, bad_b) = (o.cmp(FloatCC::Equal, ax, infinity), o.cmp(FloatCC::Equal, ay, zero));
    let unordered = o.cmp(FloatCC::Unordered, a, b);
    let undefined = o.or(bad_a, bad_b);
    let undefined = o.or(undefined, unordered);
    o.select(undefined, nan, result)
}

/// `(mantissa bits, exponent bias shift)` of a float type.
fn format(ty: Type) -> i64 {
    if ty == F64 { 52 } else { 23 }
}

/// `|x| = m·2^e` as two `I64`, `m` with its leading bit at the format's place; 0 for 0.
fn split(e: &mut Emit<'_, '_>, x: Value, ty: Type) -> (Value, Value) {
    let bits = format(ty);
    let mut o = e.ops(ty);
    let a = o.abs(x);
    let raw = o.bits(a);
    let raw = if ty == F64 { raw } else { o.c.ins().uextend(I64, raw) };
    let exponent = o.c.ins().ushr_imm_u(raw, bits);
    let fraction = o.c.ins().band_imm_s(raw, (1 << bits) - 1);
    let normal = o.c.ins().bor_imm_u(fraction, 1 << bits);
    // A denormal's leading bit moves up, and its exponent down.
    let zeros = o.c.ins().clz(fraction);
    let zeros = o.c.ins().iadd_imm_s(zeros, bits - 63);
    let shifted = o.c.ins().ishl(fraction, zeros);
    let one = o.c.ins().iconst(I64, 1);
    let lowered = o.c.ins().isub(one, zeros);
    let mantissa = o.c.ins().select(exponent, normal, shifted);
    (mantissa, o.c.ins().select(exponent, exponent, lowered))
}

/// The remainder's mantissa (not normalised) and exponent.
fn rest(e: &mut Emit<'_, '_>, x: (Value, Value), y: (Value, Value)) -> (Value, Value) {
    let (head, body, done) = (e.fb.create_block(), e.fb.create_block(), e.fb.create_block());
    let [m, exponent] = [I64; 2].map(|ty| e.fb.append_block_param(head, ty));
    let [rest, at] = [I64; 2].map(|ty| e.fb.append_block_param(done, ty));
    e.fb.ins().jump(head, &[x.0, x.1].map(BlockArg::Value));
    e.fb.switch_to_block(head);
    let less = e.fb.ins().isub(m, y.0);
    let fits = e.fb.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, less, 0);
    let m = e.fb.ins().select(fits, less, m);
    let more = e.fb.ins().icmp(IntCC::SignedGreaterThan, exponent, y.1);
    let nonzero = e.fb.ins().icmp_imm_s(IntCC::NotEqual, m, 0);
    let more = e.fb.ins().band(more, nonzero);
    e.fb.ins().brif(more, body, &[], done, &[m, exponent].map(BlockArg::Value));
    e.fb.switch_to_block(body);
    e.fb.seal_block(body);
    let doubled = e.fb.ins().ishl_imm_u(m, 1);
    let lower = e.fb.ins().iadd_imm_s(exponent, -1);
    e.fb.ins().jump(head, &[doubled, lower].map(BlockArg::Value));
    e.fb.seal_block(head);
    e.fb.switch_to_block(done);
    e.fb.seal_block(done);
    (rest, at)
}

/// The float `m·2^e`, normalised.
fn join(e: &mut Emit<'_, '_>, m: Value, exponent: Value, ty: Type) -> Value {
    let bits = format(ty);
    let mut o = e.ops(ty);
    let zeros = o.c.ins().clz(m);
    let zeros = o.c.ins().iadd_imm_s(zeros, bits - 63);
    let normal = o.c.ins().ishl(m, zeros);
    let lowered = o.c.ins().isub(exponent, zeros);
    let is_normal = o.c.ins().icmp_imm_s(IntCC::SignedGreaterThan, lowered, 0);
    let fraction = o.c.ins().band_imm_s(normal, (1 << bits) - 1);
    let high = o.c.ins().ishl_imm_u(lowered, bits);
    let normal = o.c.ins().bor(fraction, high);
    let one = o.c.ins().iconst(I64, 1);
    let down = o.c.ins().isub(one, exponent);
    let zero = o.c.ins().iconst(I64, 0);
    let up = o.c.ins().iadd_imm_s(exponent, -1);
    let raised = o.c.ins().ishl(m, up);
    let sunk = o.c.ins().ushr(m, down);
    let positive = o.c.ins().icmp(IntCC::SignedGreaterThan, exponent, zero);
    let denormal = o.c.ins().select(positive, raised, sunk);
    let raw = o.c.ins().select(is_normal, normal, denormal);
    let raw = o.c.ins().select(m, raw, zero);
    let raw = if ty == F64 { raw } else { o.c.ins().ireduce(I32, raw) };
    o.of_bits(raw)
}
