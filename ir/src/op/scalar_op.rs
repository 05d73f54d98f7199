//! Scalar functions shared by the tensor level and the kernel level.

use cascata_types::DType;

macro_rules! scalar_ops {
    ($(#[$m:meta])* $name:ident { $(#[doc = $doc:literal] $variant:ident = $text:literal,)* }) => {
        $(#[$m])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $(#[doc = $doc] $variant,)* }

        impl $name {
            /// Every op, in declaration order.
            pub const ALL: &[$name] = &[$($name::$variant,)*];
            /// The printed name.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
            /// What it computes.
            pub const fn doc(self) -> &'static str {
                match self { $($name::$variant => $doc,)* }
            }
            /// Finds an op by its printed name.
            pub fn from_name(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|op| op.name() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

scalar_ops! {
    /// A function of one element.
    UnaryOp {
        /// −x; wraps for integers.
        Neg = "neg",
        /// |x|; wraps for integers.
        Abs = "abs",
        /// −1, 0 or 1; NaN stays NaN.
        Sign = "sign",
        /// Largest integer ≤ x.
        Floor = "floor",
        /// Smallest integer ≥ x.
        Ceil = "ceil",
        /// Nearest integer, halves to even.
        Round = "round",
        /// Toward zero.
        Trunc = "trunc",
        /// √x.
        Sqrt = "sqrt",
        /// 1/√x.
        Rsqrt = "rsqrt",
        /// 1/x.
        Recip = "recip",
        /// e^x.
        Exp = "exp",
        /// Natural logarithm.
        Log = "log",
        /// Sine.
        Sin = "sin",
        /// Cosine.
        Cos = "cos",
        /// Tangent.
        Tan = "tan",
        /// Inverse sine.
        Asin = "asin",
        /// Inverse cosine.
        Acos = "acos",
        /// Inverse tangent.
        Atan = "atan",
        /// Hyperbolic sine.
        Sinh = "sinh",
        /// Hyperbolic cosine.
        Cosh = "cosh",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// Inverse hyperbolic sine.
        Asinh = "asinh",
        /// Inverse hyperbolic cosine.
        Acosh = "acosh",
        /// Inverse hyperbolic tangent.
        Atanh = "atanh",
        /// Error function.
        Erf = "erf",
        /// 1/(1+e^−x).
        Sigmoid = "sigmoid",
        /// max(x, 0); NaN stays NaN.
        Relu = "relu",
        /// x·sigmoid(x).
        Silu = "silu",
        /// x·(1+erf(x/√2))/2.
        GeluErf = "gelu_erf",
        /// x·(1+tanh(√(2/π)(x+0.044715x³)))/2.
        GeluTanh = "gelu_tanh",
        /// x·clamp(x/6+1/2, 0, 1).
        HardSwish = "hard_swish",
        /// ln(1+e^x).
        Softplus = "softplus",
        /// x·tanh(softplus(x)).
        Mish = "mish",
        /// Logical not of a bool.
        Not = "not",
        /// Bitwise not of an integer.
        BitNot = "bit_not",
        /// bool: x is NaN.
        IsNan = "is_nan",
        /// bool: x is ±infinity.
        IsInf = "is_inf",
    }
}

scalar_ops! {
    /// A function of two elements of one dtype.
    BinaryOp {
        /// a + b; wraps for integers.
        Add = "add",
        /// a − b; wraps for integers.
        Sub = "sub",
        /// a·b; wraps for integers.
        Mul = "mul",
        /// a/b; integers truncate, division by zero gives 0, MIN/−1 wraps.
        Div = "div",
        /// Floor modulo: the sign of b (integers and floats); integer b = 0 gives 0.
        Mod = "mod",
        /// Truncating remainder: the sign of a (C `fmod`); integer b = 0 gives 0.
        Rem = "rem",
        /// a^b.
        Pow = "pow",
        /// The larger; NaN if either is NaN.
        Max = "max",
        /// The smaller; NaN if either is NaN.
        Min = "min",
        /// Logical and.
        And = "and",
        /// Logical or.
        Or = "or",
        /// Logical exclusive or.
        Xor = "xor",
        /// Bitwise and.
        BitAnd = "bit_and",
        /// Bitwise or.
        BitOr = "bit_or",
        /// Bitwise exclusive or.
        BitXor = "bit_xor",
        /// Shift left; counts ≥ the width give 0.
        Shl = "shl",
        /// Logical shift right; counts ≥ the width give 0.
        Shr = "shr",
        /// Inverse tangent of a/b by quadrant.
        Atan2 = "atan2",
        /// bool.
        Eq = "eq",
        /// bool.
        Ne = "ne",
        /// bool.
        Lt = "lt",
        /// bool.
        Le = "le",
        /// bool.
        Gt = "gt",
        /// bool.
        Ge = "ge",
    }
}

impl UnaryOp {
    /// The dtype of the result for an operand of `dtype`.
    pub fn result(self, dtype: DType) -> DType {
        match self {
            UnaryOp::IsNan | UnaryOp::IsInf => DType::Bool,
            _ => dtype,
        }
    }
}

impl BinaryOp {
    /// Whether the result is bool whatever the operands are.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Eq | Ne | Lt | Le | Gt | Ge)
    }

    /// The dtype of the result for operands of `dtype`.
    pub fn result(self, dtype: DType) -> DType {
        if self.is_comparison() { DType::Bool } else { dtype }
    }

    /// Whether `f(a,b) == f(b,a)` bitwise (up to NaN payloads).
    pub fn is_commutative(self) -> bool {
        use BinaryOp::*;
        matches!(self, Add | Mul | Max | Min | And | Or | Xor | BitAnd | BitOr | BitXor | Eq | Ne)
    }
}
