//! The operations that the formulas of `cascata_math` are made of, as Cranelift instructions.

use super::ops::{Mask, Ops};
use cascata_math::{Compare, FloatOps};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value};

impl FloatOps for Ops<'_> {
    type Value = Value;
    type Mask = Mask;

    fn is_double(&self) -> bool {
        Ops::is_double(self)
    }
    fn float(&mut self, x: f64) -> Value {
        Ops::float(self, x)
    }
    fn int(&mut self, x: i64) -> Value {
        Ops::int(self, x)
    }
    fn add(&mut self, a: Value, b: Value) -> Value {
        Ops::add(self, a, b)
    }
    fn sub(&mut self, a: Value, b: Value) -> Value {
        Ops::sub(self, a, b)
    }
    fn mul(&mut self, a: Value, b: Value) -> Value {
        Ops::mul(self, a, b)
    }
    fn div(&mut self, a: Value, b: Value) -> Value {
        Ops::div(self, a, b)
    }
    fn neg(&mut self, a: Value) -> Value {
        Ops::neg(self, a)
    }
    fn abs(&mut self, a: Value) -> Value {
        Ops::abs(self, a)
    }
    fn sqrt(&mut self, a: Value) -> Value {
        Ops::sqrt(self, a)
    }
    fn round(&mut self, a: Value) -> Value {
        Ops::round(self, a)
    }
    fn trunc(&mut self, a: Value) -> Value {
        Ops::trunc(self, a)
    }
    fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        Ops::fma(self, a, b, c)
    }
    fn fnma(&mut self, a: Value, b: Value, c: Value) -> Value {
        Ops::fnma(self, a, b, c)
    }
    fn cmp(&mut self, how: Compare, a: Value, b: Value) -> Mask {
        let cc = match how {
            Compare::Eq => FloatCC::Equal,
            Compare::Ne => FloatCC::NotEqual,
            Compare::Lt => FloatCC::LessThan,
            Compare::Le => FloatCC::LessThanOrEqual,
            Compare::Gt => FloatCC::GreaterThan,
            Compare::Ge => FloatCC::GreaterThanOrEqual,
            Compare::Unordered => FloatCC::Unordered,
        };
        Ops::cmp(self, cc, a, b)
    }
    fn and(&mut self, a: Mask, b: Mask) -> Mask {
        Ops::and(self, a, b)
    }
    fn or(&mut self, a: Mask, b: Mask) -> Mask {
        Ops::or(self, a, b)
    }
    fn select(&mut self, mask: Mask, a: Value, b: Value) -> Value {
        Ops::select(self, mask, a, b)
    }
    fn bits(&mut self, a: Value) -> Value {
        Ops::bits(self, a)
    }
    fn of_bits(&mut self, a: Value) -> Value {
        Ops::of_bits(self, a)
    }
    fn shift(&mut self, a: Value, by: i64) -> Value {
        Ops::shift(self, a, by)
    }
    fn int_add(&mut self, a: Value, b: Value) -> Value {
        self.c.ins().iadd(a, b)
    }
    fn int_and(&mut self, a: Value, b: Value) -> Value {
        self.c.ins().band(a, b)
    }
    fn int_or(&mut self, a: Value, b: Value) -> Value {
        self.c.ins().bor(a, b)
    }
    fn int_less(&mut self, a: Value, b: Value) -> Mask {
        Mask(self.c.ins().icmp(IntCC::SignedLessThan, a, b))
    }
    fn int_differ(&mut self, a: Value, b: Value) -> Mask {
        Mask(self.c.ins().icmp(IntCC::NotEqual, a, b))
    }
}
