//! Whether and how a vector loop runs four iterations at a time.
//!
//! Postcondition of [`plan`]: every statement of the body has SIMD code, so that emission
//! in SIMD mode does not fail on what it finds. What has none runs one iteration at a time.

use super::contract::contraction;
use super::emit::Mode;
use super::expr::{limit, whole_power};
use super::quantise::quantised;
use super::typing;
use super::value::repr;
use cascata_ir::kernel::{Expr, Kernel, LocalId, Stmt};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_types::{Atom, DType, Dim, SymbolId};
use std::collections::BTreeMap;

/// How a loop runs.
pub(super) struct Plan {
    /// Locals that the loop reduces into.
    pub reductions: Vec<(LocalId, BinaryOp)>,
    /// Vectors per iteration of the main loop.
    pub parts: usize,
    /// Whether there are registers for the constants of the body.
    pub keep_constants: bool,
}

/// Whether a symbol occurs in an index expression.
pub(super) fn mentions(dim: &Dim, var: SymbolId) -> bool {
    dim.terms().iter().any(|(m, _)| m.0.iter().any(|(a, _)| atom_mentions(a, var)))
}

fn atom_mentions(atom: &Atom, var: SymbolId) -> bool {
    match atom {
        Atom::Sym(s) => *s == var,
        Atom::FloorDiv(a, b)
        | Atom::Mod(a, b)
        | Atom::Max(a, b)
        | Atom::Min(a, b)
        | Atom::Bcast(a, b) => mentions(a, var) || mentions(b, var),
    }
}

/// By how much an index grows per step of `var`, where that is one number.
pub(super) fn stride(dim: &Dim, var: SymbolId) -> Option<i64> {
    let mut stride = 0;
    for (m, c) in dim.terms() {
        match m.0.as_slice() {
            [(Atom::Sym(s), 1)] if *s == var => stride = *c,
            atoms if atoms.iter().any(|(a, _)| atom_mentions(a, var)) => return None,
            _ => {}
        }
    }
    Some(stride)
}

/// Plans a loop; the error says why it has no SIMD code.
pub(super) fn plan(
    kernel: &Kernel,
    var: SymbolId,
    extent: &Dim,
    body: &[Stmt],
) -> Result<Plan, String> {
    if extent.bounds(&kernel.symbols).1 < 4 {
        return Err("fewer than four iterations".into());
    }
    let mut check =
        Check { kernel, var, inner: Vec::new(), reductions: BTreeMap::new(), weight: 0 };
    check.body(body)?;
    // Heavy bodies fill the pipeline by themselves; unrolling them costs registers.
    let parts = match check.weight {
        0..=16 => 4,
        17..=48 => 2,
        _ => 1,
    };
    let reductions: Vec<_> = check.reductions.into_iter().collect();
    Ok(Plan { reductions, parts, keep_constants: check.weight <= 48 })
}

struct Check<'k> {
    kernel: &'k Kernel,
    var: SymbolId,
    /// Locals that the body declares.
    inner: Vec<LocalId>,
    reductions: BTreeMap<LocalId, BinaryOp>,
    /// About how many instructions an iteration has.
    weight: usize,
}

impl Check<'_> {
    fn body(&mut self, body: &[Stmt]) -> Result<(), String> {
        body.iter().try_for_each(|s| self.stmt(s))
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), String> {
        match stmt {
            Stmt::Let { local, value } => {
                self.value(value)?;
                self.inner.push(*local);
                Ok(())
            }
            Stmt::Assign { local, value } if self.inner.contains(local) => self.value(value),
            Stmt::Assign { .. } => Err("it assigns a variable from outside".into()),
            Stmt::Reduce { local, op, value } => self.reduce(*local, *op, value),
            Stmt::Store { at, value, .. } => {
                if !mentions(at, self.var) {
                    return Err("every iteration stores to one element".into());
                }
                self.weight += if stride(at, self.var) == Some(1) { 1 } else { 8 };
                self.value(value)
            }
            Stmt::For { extent, body, .. } => {
                if mentions(extent, self.var) {
                    return Err("an inner loop's extent differs between iterations".into());
                }
                self.body(body)
            }
            Stmt::Bind { value, .. } => self.uniform_only(value, "a bound index"),
            Stmt::Check { cond, .. } => self.uniform_only(cond, "a check"),
            Stmt::If { cond, then, otherwise } => {
                self.uniform_only(cond, "a branch")?;
                self.body(then)?;
                self.body(otherwise)
            }
            Stmt::Gemm(_)
            | Stmt::DwConv(_)
            | Stmt::PackB(_)
            | Stmt::MapRow { .. }
            | Stmt::ReduceRow { .. }
            | Stmt::ExpSum { .. }
            | Stmt::Barrier
            | Stmt::TileAttention(_)
            | Stmt::TileGemm(_)
            | Stmt::GroupReduce { .. } => Err("it calls a micro-kernel".into()),
        }
    }

    fn uniform_only(&self, e: &Expr, what: &str) -> Result<(), String> {
        match self.is_uniform(e) {
            true => Ok(()),
            false => Err(format!("{what} differs between iterations")),
        }
    }

    fn reduce(&mut self, local: LocalId, op: BinaryOp, value: &Expr) -> Result<(), String> {
        self.value(value)?;
        self.weight += 1;
        let dtype = self.dtype(&Expr::Local(local))?;
        if self.inner.contains(&local) {
            return self.binary(op, dtype);
        }
        let supported = matches!(dtype, DType::F32 | DType::I32 | DType::U32 | DType::Bool);
        if !supported {
            return Err(format!("it reduces {dtype}"));
        }
        self.binary(op, dtype)?;
        match self.reductions.insert(local, op) {
            Some(other) if other != op => Err("it reduces one variable in two ways".into()),
            _ => Ok(()),
        }
    }

    fn is_uniform(&self, e: &Expr) -> bool {
        match e {
            Expr::Const(_) => true,
            Expr::Index(d) => !mentions(d, self.var),
            Expr::Local(l) => !self.inner.contains(l) && !self.reductions.contains_key(l),
            Expr::Load(p) => !mentions(&p.at, self.var),
            Expr::Unary(_, x) | Expr::Cast(_, x) | Expr::Bits(_, x) => self.is_uniform(x),
            Expr::Binary(_, a, b) => self.is_uniform(a) && self.is_uniform(b),
            Expr::Select(c, a, b) => self.is_uniform(c) && self.is_uniform(a) && self.is_uniform(b),
        }
    }

    fn dtype(&self, e: &Expr) -> Result<DType, String> {
        typing::dtype(self.kernel, e).ok_or_else(|| "an expression has no dtype".to_string())
    }

    fn fits_i32(&self, d: &Dim) -> bool {
        let (lo, hi) = d.bounds(&self.kernel.symbols);
        lo >= i64::from(i32::MIN) && hi <= i64::from(i32::MAX)
    }

    /// A value has a SIMD representation and SIMD code.
    fn value(&mut self, e: &Expr) -> Result<(), String> {
        let dtype = self.dtype(e)?;
        repr(dtype, Mode::Simd(0)).ok_or_else(|| format!("it computes with {dtype}"))?;
        match e {
            Expr::Index(d) if self.fits_i32(d) => return Ok(()),
            Expr::Const(x) if dtype != DType::I64 || i32::try_from(x.to_i64()).is_ok() => {
                return Ok(());
            }
            _ if dtype == DType::I64 => return Err("it computes with i64".into()),
            _ if self.is_uniform(e) => return Ok(()),
            _ => {}
        }
        if let Some(quantised) = quantised(self.kernel, e) {
            self.weight += 5;
            return self.value(quantised.x);
        }
        self.weight += 1;
        match e {
            Expr::Const(_) | Expr::Index(_) => Ok(()),
            Expr::Local(l) if self.reductions.contains_key(l) => {
                Err("it reads a variable that it reduces into".into())
            }
            Expr::Local(_) => Ok(()),
            Expr::Load(p) => {
                self.weight += if stride(&p.at, self.var) == Some(1) { 0 } else { 8 };
                Ok(())
            }
            Expr::Unary(op, x) => {
                self.value(x)?;
                self.unary(*op, self.dtype(x)?)
            }
            Expr::Binary(op, a, b) => {
                if contraction(self.kernel, e).is_some() {
                    self.weight -= 1;
                }
                self.value(a)?;
                self.value(b)?;
                let op = if whole_power(*op, b).is_some() { BinaryOp::Mul } else { *op };
                if limit(op, a, b).is_some() {
                    return Ok(());
                }
                self.binary(op, self.dtype(a)?)
            }
            Expr::Select(c, a, b) => {
                self.value(c)?;
                self.value(a)?;
                self.value(b)
            }
            Expr::Cast(to, x) => {
                self.value(x)?;
                self.cast(self.dtype(x)?, *to)
            }
            Expr::Bits(to, _) => Err(format!("bits as {to} have no SIMD code")),
        }
    }

    fn unary(&mut self, op: UnaryOp, dtype: DType) -> Result<(), String> {
        use UnaryOp::*;
        self.weight += match op {
            Neg | Abs | Relu | Not | BitNot | Sqrt | Floor | Ceil | Round | Trunc => 0,
            Sign | Rsqrt | Recip | IsNan | IsInf | HardSwish => 4,
            Exp | Log | Tanh | Sigmoid | Silu | Erf | GeluErf | GeluTanh => 30,
            _ => 100,
        };
        match typing::unary_is_defined(op, dtype) {
            true => Ok(()),
            false => Err(format!("{op} is not defined for {dtype}")),
        }
    }

    fn binary(&mut self, op: BinaryOp, dtype: DType) -> Result<(), String> {
        use BinaryOp::*;
        let by_loop =
            matches!(op, Mod | Rem) || dtype.is_int() && matches!(op, Div | Pow | Shl | Shr);
        let i64_arithmetic = dtype == DType::I64 && !op.is_comparison();
        if by_loop || i64_arithmetic || !typing::binary_is_defined(op, dtype) {
            return Err(format!("{op} of {dtype} has no SIMD code"));
        }
        self.weight += match op {
            Pow | Atan2 => 150,
            Max | Min if dtype.is_float() => 8,
            _ => 0,
        };
        Ok(())
    }

    fn cast(&mut self, from: DType, to: DType) -> Result<(), String> {
        self.weight += 3;
        let wide = matches!(from, DType::I32 | DType::U32 | DType::I64);
        let twice_rounded = wide && matches!(to, DType::F16 | DType::BF16);
        let missing = to == DType::I64 || repr(to, Mode::Simd(0)).is_none();
        match missing || twice_rounded {
            false => Ok(()),
            true => Err(format!("a cast from {from} to {to} has no SIMD code")),
        }
    }
}
