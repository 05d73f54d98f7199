//! Proposals: element-wise ops, leaves.

use super::build::Builder;
use super::fresh::Domain;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_types::{DType, Dim, Scalar, Shape};

type Made = Option<ValueId>;

impl Builder {
    /// One number with the rank 0.
    pub fn number(&mut self, dtype: DType, x: f64) -> Made {
        self.add(Op::Fill { value: Scalar::from_f64(dtype, x), shape: vec![] }, &[])
    }

    fn with(&mut self, op: BinaryOp, v: ValueId, x: f64) -> Made {
        let c = self.number(self.dtype(v), x)?;
        self.add(Op::Binary(op), &[v, c])
    }

    /// `|v| + x`.
    fn above(&mut self, v: ValueId, x: f64) -> Made {
        let v = self.add(Op::Unary(UnaryOp::Abs), &[v])?;
        self.with(BinaryOp::Add, v, x)
    }

    /// Squeezed into ±x.
    fn within(&mut self, v: ValueId, x: f64) -> Made {
        let v = self.add(Op::Unary(UnaryOp::Tanh), &[v])?;
        self.with(BinaryOp::Mul, v, x)
    }

    pub fn float(&mut self) -> ValueId {
        self.find(|b, v| b.dtype(v).is_float()).unwrap_or_else(|| {
            let rank = self.rng.below(4);
            let shape = self.any_shape(rank);
            self.input(DType::F32, shape, Domain::Any)
        })
    }

    fn of_dtype(&mut self, fits: fn(DType) -> bool, otherwise: DType) -> ValueId {
        self.find(|b, v| fits(b.dtype(v))).unwrap_or_else(|| {
            let rank = self.rng.below(4);
            let shape = self.any_shape(rank);
            self.fresh(otherwise, shape, Domain::Any)
        })
    }

    pub fn unary(&mut self) -> Made {
        use UnaryOp::*;
        let op = self.rng.pick(UnaryOp::ALL);
        let v = match op {
            Not => self.of_dtype(|d| d == DType::Bool, DType::Bool),
            BitNot => self.of_dtype(DType::is_int, DType::I32),
            Neg | Abs | Sign | Relu => self.of_dtype(|d| d != DType::Bool, DType::I64),
            _ => self.float(),
        };
        if self.rng.one_in(2)
            && let Some(y) = self.add(Op::Unary(op), &[v])
        {
            return Some(y);
        }
        let v = match op {
            Sqrt | Rsqrt | Recip | Log => self.above(v, 0.5)?,
            Acosh => self.above(v, 1.25)?,
            Asin | Acos | Atanh | Tan => self.within(v, 0.9)?,
            Exp | Sinh | Cosh => self.within(v, 3.0)?,
            _ => v,
        };
        self.add(Op::Unary(op), &[v])
    }

    pub fn binary(&mut self) -> Made {
        use BinaryOp::*;
        let op = match self.rng.below(3) {
            0 => self.rng.pick(&[Add, Sub, Mul, Max, Min, Div]),
            _ => self.rng.pick(BinaryOp::ALL),
        };
        let mut a = match op {
            And | Or | Xor => self.of_dtype(|d| d == DType::Bool, DType::Bool),
            BitAnd | BitOr | BitXor | Shl | Shr => self.of_dtype(DType::is_int, DType::I32),
            Atan2 => self.float(),
            _ => self.any(),
        };
        let (dtype, shape) = (self.dtype(a), self.shape(a));
        let domain = match op {
            Div | Mod | Rem | Pow if dtype.is_float() || self.rng.one_in(2) => Domain::Positive,
            Shl | Shr if self.rng.one_in(2) => Domain::Index(0, 9),
            _ => Domain::Any,
        };
        let mut b = self.partner(dtype, &shape, domain);
        if op == Pow && dtype.is_float() {
            a = self.above(a, 0.5)?;
        } else {
            let either = matches!(op, Add | Mul | Max | Min | Eq | Atan2);
            let ints = matches!(op, Sub | Div | Lt | Ge) && dtype.is_int();
            if (either || ints) && self.rng.one_in(2) {
                std::mem::swap(&mut a, &mut b);
            }
        }
        self.add(Op::Binary(op), &[a, b])
    }

    pub fn select(&mut self) -> Made {
        let a = self.any();
        let shape = self.shape(a);
        let b = self.partner(self.dtype(a), &shape, Domain::Any);
        let condition = self.partner(DType::Bool, &shape, Domain::Any);
        self.add(Op::Select, &[condition, a, b])
    }

    pub fn cast(&mut self) -> Made {
        let v = self.any();
        let to = self.any_dtype();
        self.add(Op::Cast { to }, &[v])
    }

    pub fn leaf(&mut self) -> Made {
        let rank = self.rng.range(0, 3) as usize;
        let shape = self.any_shape(rank);
        match self.rng.below(3) {
            0 if rank > 0 => self.iota(shape),
            1 => self.dim_values(),
            _ => {
                let dtype = self.any_dtype();
                let value = Scalar::from_f64(dtype, self.rng.below(3) as f64);
                self.add(Op::Fill { value, shape }, &[])
            }
        }
    }

    fn iota(&mut self, shape: Shape) -> Made {
        let dtype = self.rng.pick(&[DType::I64, DType::I32, DType::F32, DType::U8, DType::F64]);
        let axis = self.rng.below(shape.len());
        self.add(Op::Iota { dtype, shape, axis }, &[])
    }

    fn dim_values(&mut self) -> Made {
        let scalar = self.rng.one_in(2);
        let n = if scalar { 1 } else { self.rng.range(1, 4) };
        let dims = (0..n).map(|_| match self.symbols.is_empty() {
            true => Dim::from(self.rng.range(0, 9)),
            false => {
                Dim::sym(self.rng.pick(&self.symbols)) * self.rng.range(1, 3) + self.rng.range(0, 2)
            }
        });
        let op = Op::DimValues { dims: dims.collect(), scalar };
        self.add(op, &[])
    }
}
