//! The operations that the formulas of `cascata_math` are made of.

use crate::text::{Text, Ty, V};
use cascata_math::{Compare, FloatOps};

/// Arithmetic of f32 or f64.
pub(crate) struct Floats<'t> {
    pub text: &'t mut Text,
    pub ty: Ty,
}

impl Floats<'_> {
    /// `f` of f64 operands; f32 ones are widened and the result is rounded.
    pub fn in_f64<const N: usize>(
        text: &mut Text,
        x: [V; N],
        f: impl Fn(&mut Floats<'_>, [V; N]) -> V,
    ) -> V {
        if x[0].ty == Ty::F64 {
            return f(&mut Floats { text, ty: Ty::F64 }, x);
        }
        let wide = x.map(|x| text.convert("arith.extf", x, Ty::F64));
        let y = f(&mut Floats { text, ty: Ty::F64 }, wide);
        text.convert("arith.truncf", y, Ty::F32)
    }
}

impl FloatOps for Floats<'_> {
    type Value = V;
    type Mask = V;

    fn is_double(&self) -> bool {
        self.ty == Ty::F64
    }
    fn float(&mut self, x: f64) -> V {
        self.text.float(self.ty, x)
    }
    fn int(&mut self, x: i64) -> V {
        let ty = self.ty.int();
        self.text.int(ty, if ty == Ty::I32 { i64::from(x as i32) } else { x })
    }
    fn add(&mut self, a: V, b: V) -> V {
        self.text.op("arith.addf", &[a, b])
    }
    fn sub(&mut self, a: V, b: V) -> V {
        self.text.op("arith.subf", &[a, b])
    }
    fn mul(&mut self, a: V, b: V) -> V {
        self.text.op("arith.mulf", &[a, b])
    }
    fn div(&mut self, a: V, b: V) -> V {
        self.text.op("arith.divf", &[a, b])
    }
    fn neg(&mut self, a: V) -> V {
        self.text.op("arith.negf", &[a])
    }
    fn abs(&mut self, a: V) -> V {
        self.text.intrinsic("fabs", &[a])
    }
    fn sqrt(&mut self, a: V) -> V {
        self.text.intrinsic("sqrt", &[a])
    }
    fn round(&mut self, a: V) -> V {
        self.text.intrinsic("roundeven", &[a])
    }
    fn trunc(&mut self, a: V) -> V {
        self.text.intrinsic("trunc", &[a])
    }
    fn fma(&mut self, a: V, b: V, c: V) -> V {
        self.text.intrinsic("fma", &[a, b, c])
    }
    fn fnma(&mut self, a: V, b: V, c: V) -> V {
        let minus = self.neg(a);
        self.fma(minus, b, c)
    }
    fn cmp(&mut self, how: Compare, a: V, b: V) -> V {
        let predicate = match how {
            Compare::Eq => "oeq",
            Compare::Ne => "une",
            Compare::Lt => "olt",
            Compare::Le => "ole",
            Compare::Gt => "ogt",
            Compare::Ge => "oge",
            Compare::Unordered => "uno",
        };
        self.text.cmpf(predicate, a, b)
    }
    fn and(&mut self, a: V, b: V) -> V {
        self.text.op("arith.andi", &[a, b])
    }
    fn or(&mut self, a: V, b: V) -> V {
        self.text.op("arith.ori", &[a, b])
    }
    fn select(&mut self, mask: V, a: V, b: V) -> V {
        self.text.select(mask, a, b)
    }
    fn bits(&mut self, a: V) -> V {
        let ty = self.ty.int();
        self.text.bitcast(a, ty)
    }
    fn of_bits(&mut self, a: V) -> V {
        self.text.bitcast(a, self.ty)
    }
    fn shift(&mut self, a: V, by: i64) -> V {
        let count = self.text.int(a.ty, by.abs());
        self.text.op(if by >= 0 { "arith.shli" } else { "arith.shrui" }, &[a, count])
    }
    fn int_add(&mut self, a: V, b: V) -> V {
        self.text.op("arith.addi", &[a, b])
    }
    fn int_and(&mut self, a: V, b: V) -> V {
        self.text.op("arith.andi", &[a, b])
    }
    fn int_or(&mut self, a: V, b: V) -> V {
        self.text.op("arith.ori", &[a, b])
    }
    fn int_less(&mut self, a: V, b: V) -> V {
        self.text.cmpi("slt", a, b)
    }
    fn int_differ(&mut self, a: V, b: V) -> V {
        self.text.cmpi("ne", a, b)
    }
}
