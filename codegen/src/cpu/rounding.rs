//! Rounding to integers, also where the CPU has no instruction for it.

use super::ops::Ops;
use cascata_math::FloatOps;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Value};

impl Ops<'_> {
    /// To the nearest integer, ties to even.
    pub fn round(&mut self, x: Value) -> Value {
        if self.features.sse41 {
            return self.c.ins().nearest(x);
        }
        // Above this every float is an integer; adding it leaves no room for a fraction.
        let big = if self.is_double() { (1u64 << 52) as f64 } else { (1u32 << 23) as f64 };
        let magnitude = self.abs(x);
        let rounded = self.add_c(magnitude, big);
        let rounded = self.add_c(rounded, -big);
        let small = self.lt_c(magnitude, big);
        let rounded = self.select(small, rounded, magnitude);
        self.with_sign(rounded, x)
    }

    /// To the largest integer that is not above.
    pub fn floor(&mut self, x: Value) -> Value {
        if self.features.sse41 {
            return self.c.ins().floor(x);
        }
        let near = self.round(x);
        let above = self.cmp(FloatCC::GreaterThan, near, x);
        let below = self.add_c(near, -1.0);
        self.select(above, below, near)
    }

    /// To the smallest integer that is not below.
    pub fn ceil(&mut self, x: Value) -> Value {
        if self.features.sse41 {
            return self.c.ins().ceil(x);
        }
        let minus = self.neg(x);
        let floor = self.floor(minus);
        self.neg(floor)
    }

    /// Toward zero.
    pub fn trunc(&mut self, x: Value) -> Value {
        if self.features.sse41 {
            return self.c.ins().trunc(x);
        }
        let magnitude = self.abs(x);
        let floor = self.floor(magnitude);
        self.with_sign(floor, x)
    }
}
