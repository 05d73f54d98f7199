//! f16 and bf16 as f32, by integer arithmetic: exact widening, rounding to nearest even.

use super::ops::Ops;
use cascata_math::FloatOps;
use cascata_types::DType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};

impl Ops<'_> {
    /// The f32 of 16 zero-extended bits of `dtype`.
    pub fn widen_half(&mut self, bits: Value, dtype: DType) -> Value {
        if dtype == DType::BF16 {
            let high = self.shift(bits, 16);
            return self.of_bits(high);
        }
        let (magnitude_mask, sign_mask) = (self.int(0x7fff), self.int(0x8000));
        let magnitude = self.c.ins().band(bits, magnitude_mask);
        let shifted = self.shift(magnitude, 13);
        // Scaling moves the exponent and makes denormals normal, exactly.
        let scaled = self.of_bits(shifted);
        let scaled = self.mul_c(scaled, f64::from(f32::from_bits(0x7780_0000)));
        let scaled = self.bits(scaled);
        let (infinity, largest) = (self.int(0x7f80_0000), self.int(0x7bff));
        let special = self.c.ins().bor(shifted, infinity);
        let is_special = self.c.ins().icmp(IntCC::SignedGreaterThan, magnitude, largest);
        let unsigned = self.select(super::ops::Mask(is_special), special, scaled);
        let sign = self.c.ins().band(bits, sign_mask);
        let sign = self.shift(sign, 16);
        let joined = self.c.ins().bor(unsigned, sign);
        self.of_bits(joined)
    }

    /// 16 zero-extended bits of `dtype` nearest to an f32.
    pub fn narrow_half(&mut self, x: Value, dtype: DType) -> Value {
        let bits = self.bits(x);
        if dtype == DType::BF16 { self.narrow_bf16(x, bits) } else { self.narrow_f16(bits) }
    }

    fn narrow_bf16(&mut self, x: Value, bits: Value) -> Value {
        let one = self.int(1);
        let odd = self.shift(bits, -16);
        let odd = self.c.ins().band(odd, one);
        let bias = self.int(0x7fff);
        let rounded = self.c.ins().iadd(bits, bias);
        let rounded = self.c.ins().iadd(rounded, odd);
        // A NaN must not round to infinity.
        let quiet = self.int(0x0040_0000);
        let quiet = self.c.ins().bor(bits, quiet);
        let nan = self.is_nan(x);
        let chosen = self.select(nan, quiet, rounded);
        self.shift(chosen, -16)
    }

    fn narrow_f16(&mut self, bits: Value) -> Value {
        let (magnitude_mask, sign_mask) = (self.int(0x7fff_ffff), self.int(0x8000));
        let a = self.c.ins().band(bits, magnitude_mask);
        let sign = self.shift(bits, -16);
        let sign = self.c.ins().band(sign, sign_mask);
        let one = self.int(1);
        let odd = self.shift(a, -13);
        let odd = self.c.ins().band(odd, one);
        // Rebias the exponent from 127 to 15 and round; overflow carries into infinity.
        let rebias = self.int(i64::from(0xc800_0fffu32 as i32));
        let normal = self.c.ins().iadd(a, rebias);
        let normal = self.c.ins().iadd(normal, odd);
        let normal = self.shift(normal, -13);
        // Adding 1/2 lines a denormal's last bit up with the last bit of the sum.
        let half = self.int(0x3f00_0000);
        let denormal = self.of_bits(a);
        let denormal = self.add_c(denormal, 0.5);
        let denormal = self.bits(denormal);
        let denormal = self.c.ins().isub(denormal, half);
        let (infinity, nan) = (self.int(0x7c00), self.int(0x7e00));
        let special = self.select_above(a, 0x7f80_0000, nan, infinity);
        let large = self.select_above(a, 0x477f_ffff, special, normal);
        let magnitude = self.select_above(a, 0x387f_ffff, large, denormal);
        self.c.ins().bor(magnitude, sign)
    }

    /// `x > limit ? a : b` of signed integers.
    fn select_above(&mut self, x: Value, limit: i64, a: Value, b: Value) -> Value {
        let limit = self.int(limit);
        let above = self.c.ins().icmp(IntCC::SignedGreaterThan, x, limit);
        self.select(super::ops::Mask(above), a, b)
    }

    /// An f32 rounded to `dtype`, kept as f32.
    pub fn round_to(&mut self, x: Value, dtype: DType) -> Value {
        if !matches!(dtype, DType::F16 | DType::BF16) {
            return x;
        }
        let bits = self.narrow_half(x, dtype);
        self.widen_half(bits, dtype)
    }
}
