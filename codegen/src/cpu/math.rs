//! Elementary functions: the formulas of `cascata_math` over one element or a vector of them,
//! and remainders, which need a loop.

mod fmod;

pub(super) use cascata_math::{atan2, double, pow, single};
pub(super) use fmod::fmod;

use super::ops::Ops;
use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I8X16};
use cranelift_codegen::ir::{ConstantData, InstBuilder, Value};

/// `f` of f64 operands; f32 ones are widened and the result is rounded.
pub(super) fn in_f64<const N: usize>(
    ops: &mut Ops<'_>,
    x: [Value; N],
    f: impl Fn(&mut Ops<'_>, [Value; N]) -> Value,
) -> Value {
    match ops.ty {
        F32 => {
            let wide = x.map(|x| ops.c.ins().fpromote(F64, x));
            let y = f(&mut ops.with_type(F64), wide);
            ops.c.ins().fdemote(F32, y)
        }
        F32X4 => {
            let low = x.map(|x| ops.c.ins().fvpromote_low(x));
            let high = x.map(|x| {
                let high = shuffle(ops, x, x, 8);
                ops.c.ins().fvpromote_low(high)
            });
            let [low, high] = [low, high].map(|x| {
                let y = f(&mut ops.with_type(F64X2), x);
                ops.c.ins().fvdemote(y)
            });
            shuffle(ops, low, high, 0)
        }
        _ => f(ops, x),
    }
}

/// The eight bytes of `a` from `from` on, then the eight low bytes of `b` or, when `from`
/// is 8, the eight high ones.
fn shuffle(ops: &mut Ops<'_>, a: Value, b: Value, from: u8) -> Value {
    let mask: ConstantData = (from..from + 8).chain(from + 16..from + 24).collect();
    let mask = ops.c.func.dfg.immediates.push(mask);
    let (a, b) = (ops.cast_bits(a, I8X16), ops.cast_bits(b, I8X16));
    let joined = ops.c.ins().shuffle(a, b, mask);
    ops.cast_bits(joined, F32X4)
}
