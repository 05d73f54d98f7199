//! Scalar expressions, compiled.
//!
//! A value in a register or between operators is *raw*: a float of any width as the bits
//! of the equal `f64`, an integer sign-extended to 64 bits (u64 as it is), a bool as 0
//! or 1.

use super::error::Step;
use super::index::Index;
use super::machine::Machine;
use crate::kernel::{Expr, Kernel, Place};
use crate::op::{BinaryOp, UnaryOp};
use crate::scalar::{self, Num, cast_value, compare};
use crate::with_num;
use cascata_types::{DType, Entity as _, Scalar};

/// One element of a buffer.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) buffer: usize,
    pub(super) at: Index,
}

impl Access {
    pub(super) fn new(place: &Place) -> Self {
        Self { buffer: place.buffer.index(), at: Index::new(&place.at) }
    }
}

/// An [`Expr`] with its functions resolved.
#[derive(Debug)]
pub(super) enum Value {
    Const(u64),
    Index(Index),
    Register(usize),
    Load(Access),
    Float1(fn(f64) -> f64, DType, Box<Value>),
    Float2(fn(f64, f64) -> f64, DType, Box<(Value, Value)>),
    Int1(fn(i128) -> i128, DType, Box<Value>),
    Int2(fn(u32, i128, i128) -> i128, DType, Box<(Value, Value)>),
    /// Of a float.
    Test(fn(f64) -> bool, Box<Value>),
    /// Operands of the dtype.
    Compare(BinaryOp, DType, Box<(Value, Value)>),
    Select(Box<(Value, Value, Value)>),
    Cast(fn(u64) -> u64, Box<Value>),
}

/// Compiles the expressions of a verified kernel.
pub(super) struct Compiler<'k> {
    pub(super) kernel: &'k Kernel,
}

impl Compiler<'_> {
    /// Locals are in the registers after the symbols.
    pub(super) fn register(&self, local: crate::kernel::LocalId) -> usize {
        self.kernel.symbols.len() + local.index()
    }

    /// Behind those of all locals.
    pub(super) fn spare_register(&self) -> usize {
        self.kernel.symbols.len() + self.kernel.locals.len()
    }

    /// The expression and its dtype.
    pub(super) fn expr(&self, expr: &Expr) -> (Value, DType) {
        match expr {
            Expr::Const(x) => (Value::Const(raw_of_scalar(*x)), x.dtype),
            Expr::Index(dim) => (Value::Index(Index::new(dim)), DType::I64),
            Expr::Local(id) => (Value::Register(self.register(*id)), self.kernel.locals[*id].dtype),
            Expr::Load(place) => {
                (Value::Load(Access::new(place)), self.kernel.buffers[place.buffer].dtype)
            }
            Expr::Unary(op, a) => {
                let (a, dtype) = self.expr(a);
                (unary(*op, dtype, a.into()), op.result(dtype))
            }
            Expr::Binary(op, a, b) => {
                let ((a, dtype), (b, _)) = (self.expr(a), self.expr(b));
                (binary(*op, dtype, (a, b).into()), op.result(dtype))
            }
            Expr::Select(c, a, b) => {
                let ((c, _), (a, dtype), (b, _)) = (self.expr(c), self.expr(a), self.expr(b));
                (Value::Select(Box::new((c, a, b))), dtype)
            }
            Expr::Cast(to, a) => {
                let (a, from) = self.expr(a);
                (Value::Cast(cast(from, *to), a.into()), *to)
            }
            Expr::Bits(to, a) => {
                let (a, from) = self.expr(a);
                (Value::Cast(bits(from, *to), a.into()), *to)
            }
        }
    }

    /// `op(a, b)` of two compiled values.
    pub(super) fn joined(&self, op: BinaryOp, dtype: DType, a: Value, b: Value) -> Value {
        binary(op, dtype, Box::new((a, b)))
    }
}

const VERIFIED: &str = "the verifier checks that ops are defined for their dtypes";

fn unary(op: UnaryOp, dtype: DType, a: Box<Value>) -> Value {
    match op {
        UnaryOp::IsNan => Value::Test(f64::is_nan, a),
        UnaryOp::IsInf => Value::Test(f64::is_infinite, a),
        _ if dtype.is_float() => Value::Float1(scalar::float_unary(op).expect(VERIFIED), dtype, a),
        _ => Value::Int1(scalar::int_unary(op, dtype).expect(VERIFIED), dtype, a),
    }
}

fn binary(op: BinaryOp, dtype: DType, operands: Box<(Value, Value)>) -> Value {
    if op.is_comparison() {
        return Value::Compare(op, dtype, operands);
    }
    if dtype.is_float() {
        return Value::Float2(scalar::float_binary(op).expect(VERIFIED), dtype, operands);
    }
    Value::Int2(scalar::int_binary(op, dtype).expect(VERIFIED), dtype, operands)
}

fn cast(from: DType, to: DType) -> fn(u64) -> u64 {
    fn raw_cast<T: Num, U: Num>(raw: u64) -> u64 {
        raw_of(cast_value::<T, U>(of_raw(raw)))
    }
    with_num!(from, T => with_num!(to, U => raw_cast::<T, U>, str => |_| 0), str => |_| 0)
}

fn bits(from: DType, to: DType) -> fn(u64) -> u64 {
    fn raw_bits<T: Num, U: Num>(raw: u64) -> u64 {
        raw_of(U::of_bits(of_raw::<T>(raw).bits()))
    }
    with_num!(from, T => with_num!(to, U => raw_bits::<T, U>, str => |_| 0), str => |_| 0)
}

/// The raw form of an element.
pub(super) fn raw_of<T: Num>(x: T) -> u64 {
    if T::DTYPE.is_float() { x.to_f64().to_bits() } else { x.to_i128() as u64 }
}

/// The element of a raw form; exact for values of the type, else rounded or wrapped.
pub(super) fn of_raw<T: Num>(raw: u64) -> T {
    if T::DTYPE.is_float() { T::of_f64(f64::from_bits(raw)) } else { T::wrap(int(T::DTYPE, raw)) }
}

fn raw_of_scalar(x: Scalar) -> u64 {
    with_num!(x.dtype, T => raw_of(T::of_bits(x.bits)), str => 0)
}

/// A raw integer or bool.
fn int(dtype: DType, raw: u64) -> i128 {
    if dtype == DType::U64 { raw.into() } else { (raw as i64).into() }
}

/// `x` rounded to a float dtype, as a raw value.
#[inline]
pub(super) fn rounded(dtype: DType, x: f64) -> u64 {
    let x = match dtype {
        DType::F32 => f64::from(x as f32),
        DType::F16 => scalar::round_to_f16(x).to_f64(),
        DType::BF16 => scalar::round_to_bf16(x).to_f64(),
        _ => x,
    };
    x.to_bits()
}

/// `x` wrapped to an integer dtype or bool, as a raw value.
fn wrapped(dtype: DType, x: i128) -> u64 {
    match dtype {
        DType::I64 | DType::U64 => x as u64,
        DType::Bool => (x != 0).into(),
        d => Scalar::from_i64(d, x as i64).to_i64() as u64,
    }
}

fn width(dtype: DType) -> u32 {
    if dtype == DType::Bool { 1 } else { dtype.size_bytes().unwrap_or(0) as u32 * 8 }
}

fn ordered(dtype: DType, a: u64, b: u64) -> Option<std::cmp::Ordering> {
    match dtype {
        d if d.is_float() => f64::from_bits(a).partial_cmp(&f64::from_bits(b)),
        DType::U64 => Some(a.cmp(&b)),
        _ => Some((a as i64).cmp(&(b as i64))),
    }
}

impl Value {
    /// The raw value.
    pub(super) fn eval(&self, m: &mut Machine) -> Step<u64> {
        Ok(match self {
            Value::Const(raw) => *raw,
            Value::Index(index) => m.index(index)? as u64,
            Value::Register(register) => m.register(*register) as u64,
            Value::Load(access) => {
                let at = m.index(&access.at)?;
                m.load(access.buffer, at)?
            }
            Value::Float1(f, dtype, a) => rounded(*dtype, f(a.float(m)?)),
            Value::Float2(f, dtype, operands) => {
                let (a, b) = (operands.0.float(m)?, operands.1.float(m)?);
                rounded(*dtype, f(a, b))
            }
            Value::Int1(f, dtype, a) => wrapped(*dtype, f(int(*dtype, a.eval(m)?))),
            Value::Int2(f, dtype, operands) => {
                let (a, b) = (operands.0.eval(m)?, operands.1.eval(m)?);
                wrapped(*dtype, f(width(*dtype), int(*dtype, a), int(*dtype, b)))
            }
            Value::Test(f, a) => f(a.float(m)?).into(),
            Value::Compare(op, dtype, operands) => {
                let (a, b) = (operands.0.eval(m)?, operands.1.eval(m)?);
                compare(*op, ordered(*dtype, a, b)).into()
            }
            Value::Select(operands) => {
                let (c, a, b) = &**operands;
                let (taken, other) = if c.eval(m)? != 0 { (a, b) } else { (b, a) };
                other.check_bounds(m)?;
                taken.eval(m)?
            }
            Value::Cast(f, a) => f(a.eval(m)?),
        })
    }

    #[inline]
    fn float(&self, m: &mut Machine) -> Step<f64> {
        self.eval(m).map(f64::from_bits)
    }

    /// A back end may evaluate the side of a select that is not taken; what it loads is
    /// of no account but must exist.
    fn check_bounds(&self, m: &mut Machine) -> Step<()> {
        match self {
            Value::Const(_) | Value::Register(_) => Ok(()),
            Value::Index(index) => m.index(index).map(drop),
            Value::Load(access) => {
                let at = m.index(&access.at)?;
                m.element(access.buffer, at).map(drop)
            }
            Value::Float1(_, _, a) | Value::Int1(_, _, a) => a.check_bounds(m),
            Value::Test(_, a) | Value::Cast(_, a) => a.check_bounds(m),
            Value::Float2(_, _, ab) | Value::Int2(_, _, ab) | Value::Compare(_, _, ab) => {
                ab.0.check_bounds(m)?;
                ab.1.check_bounds(m)
            }
            Value::Select(abc) => {
                abc.0.check_bounds(m)?;
                abc.1.check_bounds(m)?;
                abc.2.check_bounds(m)
            }
        }
    }
}
