//! What formulas are made of.

/// How two floats compare. All but `Ne` and `Unordered` are false where one is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// a = b.
    Eq,
    /// a ≠ b, or one is NaN.
    Ne,
    /// a < b.
    Lt,
    /// a ≤ b.
    Le,
    /// a > b.
    Gt,
    /// a ≥ b.
    Ge,
    /// One is NaN.
    Unordered,
}

/// Arithmetic of one float type, f32 or f64, that a back end turns into instructions.
#[allow(missing_docs, reason = "IEEE operations by their usual names")]
pub trait FloatOps {
    /// A float, or an integer of its size.
    type Value: Copy;
    /// The result of a comparison.
    type Mask: Copy;

    /// Whether elements are f64.
    fn is_double(&self) -> bool;
    /// `x` rounded to the element type.
    fn float(&mut self, x: f64) -> Self::Value;
    /// An integer of the element's size.
    fn int(&mut self, x: i64) -> Self::Value;

    fn add(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    fn sub(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    fn mul(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    fn div(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    fn neg(&mut self, a: Self::Value) -> Self::Value;
    fn abs(&mut self, a: Self::Value) -> Self::Value;
    fn sqrt(&mut self, a: Self::Value) -> Self::Value;
    /// To the nearest integer, ties to even.
    fn round(&mut self, a: Self::Value) -> Self::Value;
    /// Toward zero.
    fn trunc(&mut self, a: Self::Value) -> Self::Value;
    /// `a·b + c`, rounded once where the target can.
    fn fma(&mut self, a: Self::Value, b: Self::Value, c: Self::Value) -> Self::Value;
    /// `c − a·b`, rounded once where the target can.
    fn fnma(&mut self, a: Self::Value, b: Self::Value, c: Self::Value) -> Self::Value;

    fn cmp(&mut self, how: Compare, a: Self::Value, b: Self::Value) -> Self::Mask;
    fn and(&mut self, a: Self::Mask, b: Self::Mask) -> Self::Mask;
    fn or(&mut self, a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// `a` where the mask holds, else `b`; floats or integers.
    fn select(&mut self, mask: Self::Mask, a: Self::Value, b: Self::Value) -> Self::Value;

    /// The bits of a float.
    fn bits(&mut self, a: Self::Value) -> Self::Value;
    /// The float with these bits.
    fn of_bits(&mut self, a: Self::Value) -> Self::Value;
    /// An integer shifted left (`by > 0`) or logically right.
    fn shift(&mut self, a: Self::Value, by: i64) -> Self::Value;
    fn int_add(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    fn int_and(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    fn int_or(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// a < b of signed integers.
    fn int_less(&mut self, a: Self::Value, b: Self::Value) -> Self::Mask;
    /// a ≠ b of integers.
    fn int_differ(&mut self, a: Self::Value, b: Self::Value) -> Self::Mask;

    /// `a + x` for a number `x`.
    fn add_c(&mut self, a: Self::Value, x: f64) -> Self::Value {
        let x = self.float(x);
        self.add(a, x)
    }

    /// `a·x` for a number `x`.
    fn mul_c(&mut self, a: Self::Value, x: f64) -> Self::Value {
        let x = self.float(x);
        self.mul(a, x)
    }

    /// `c[0] + c[1]·x + …`, the even and the odd powers each by Horner's scheme.
    // PERF: half the latency of one chain, and no more operations but one.
    fn polynomial(&mut self, x: Self::Value, c: &[f64]) -> Self::Value {
        let even: Vec<f64> = c.iter().copied().step_by(2).collect();
        let odd: Vec<f64> = c.iter().copied().skip(1).step_by(2).collect();
        if odd.is_empty() {
            return self.float(even[0]);
        }
        let square = self.mul(x, x);
        let even = horner(self, square, &even);
        let odd = horner(self, square, &odd);
        self.fma(odd, x, even)
    }

    /// `a < x` for a number `x`; false for NaN.
    fn lt_c(&mut self, a: Self::Value, x: f64) -> Self::Mask {
        let x = self.float(x);
        self.cmp(Compare::Lt, a, x)
    }

    /// `a > x` for a number `x`; false for NaN.
    fn gt_c(&mut self, a: Self::Value, x: f64) -> Self::Mask {
        let x = self.float(x);
        self.cmp(Compare::Gt, a, x)
    }

    fn is_nan(&mut self, a: Self::Value) -> Self::Mask {
        self.cmp(Compare::Unordered, a, a)
    }

    /// The larger of `x` and a number, one instruction; a NaN `x` stays.
    fn at_least(&mut self, x: Self::Value, lowest: f64) -> Self::Value {
        let c = self.float(lowest);
        let larger = self.cmp(Compare::Lt, x, c);
        self.select(larger, c, x)
    }

    /// The smaller of `x` and a number, one instruction; a NaN `x` stays.
    fn at_most(&mut self, x: Self::Value, highest: f64) -> Self::Value {
        let c = self.float(highest);
        let smaller = self.cmp(Compare::Lt, c, x);
        self.select(smaller, c, x)
    }

    /// `magnitude` with the sign of `sign`.
    fn with_sign(&mut self, magnitude: Self::Value, sign: Self::Value) -> Self::Value {
        let sign_bit = if self.is_double() { i64::MIN } else { i64::from(i32::MIN) };
        let (m, s) = (self.bits(magnitude), self.bits(sign));
        let (keep, take) = (self.int(!sign_bit), self.int(sign_bit));
        let (m, s) = (self.int_and(m, keep), self.int_and(s, take));
        let joined = self.int_or(m, s);
        self.of_bits(joined)
    }
}

/// `c[0] + c[1]·x + …` by Horner's scheme.
fn horner<O: FloatOps + ?Sized>(o: &mut O, x: O::Value, c: &[f64]) -> O::Value {
    let (last, rest) = c.split_last().expect("a polynomial has coefficients");
    let mut sum = o.float(*last);
    for c in rest.iter().rev() {
        let c = o.float(*c);
        sum = o.fma(sum, x, c);
    }
    sum
}
