//! Statements.

use super::contract::product;
use super::emit::{Emit, Mode, Result, Slot};
use super::value::Val;
use cascata_ir::kernel::{Expr, LocalId, LoopKind, Place, Stmt};
use cascata_ir::op::BinaryOp;
use cascata_types::DType;
use cranelift_codegen::ir::InstBuilder;

impl<'k> Emit<'k, '_> {
    /// Statements in order.
    pub(super) fn body(&mut self, body: &'k [Stmt]) -> Result<()> {
        for stmt in body {
            self.path.push(self.label(stmt));
            self.stmt(stmt)?;
            self.path.pop();
        }
        Ok(())
    }

    /// What messages call a statement.
    fn label(&self, stmt: &Stmt) -> String {
        let symbol = |s| self.kernel.symbols.name(s);
        let local = |l| self.kernel.locals.get(l).map_or("?", |l| &l.name);
        let buffer = |b| self.kernel.buffers.get(b).map_or("?", |b| &b.name);
        match stmt {
            Stmt::For { var, .. } => format!("for {}", symbol(*var)),
            Stmt::Bind { symbol: s, .. } => format!("bind {}", symbol(*s)),
            Stmt::Let { local: l, .. } => format!("let {}", local(*l)),
            Stmt::Assign { local: l, .. } => format!("assign {}", local(*l)),
            Stmt::Reduce { local: l, .. } => format!("reduce {}", local(*l)),
            Stmt::Store { buffer: b, .. } => format!("store {}", buffer(*b)),
            Stmt::If { .. } => "if".into(),
            Stmt::Check { message, .. } => format!("check {message}"),
            Stmt::Gemm(g) => format!("gemm into {}", buffer(g.c.buffer)),
            Stmt::DwConv(d) => format!("dwconv into {}", buffer(d.c.buffer)),
            Stmt::PackB(p) => format!("pack_b into {}", buffer(p.dst.buffer)),
            Stmt::MapRow { op, dst, .. } => format!("map_row {op} into {}", buffer(dst.buffer)),
            Stmt::ReduceRow { local: l, .. } => format!("reduce_row {}", local(*l)),
            Stmt::ExpSum { local: l, .. } => format!("exp_sum {}", local(*l)),
            Stmt::Barrier => "barrier".into(),
            Stmt::TileAttention(_) => "tile_attention".into(),
            Stmt::TileGemm(_) => "tile_gemm".into(),
            Stmt::GroupReduce { .. } => "group_reduce".into(),
        }
    }

    fn stmt(&mut self, stmt: &'k Stmt) -> Result<()> {
        match stmt {
            Stmt::For { var, extent, kind: LoopKind::Vector, body } if self.simd.is_none() => {
                self.vector_loop(*var, extent, body)
            }
            Stmt::For { var, extent, body, .. } => self.serial_loop(*var, extent, body),
            Stmt::Bind { symbol, value } => {
                let x = self.uniform(value)?;
                if x.dtype != DType::I64 {
                    return Err(self.invalid(format!("an index of {}", x.dtype)));
                }
                self.bind_symbol(*symbol, x.v);
                Ok(())
            }
            Stmt::Let { local, value } => {
                self.declare(*local)?;
                self.assign(*local, value)
            }
            Stmt::Assign { local, value } => self.assign(*local, value),
            Stmt::Reduce { local, op, value } => self.reduce(*local, *op, value),
            Stmt::Store { buffer, at, value } => {
                let place = Place::new(*buffer, at.clone());
                self.for_each_part(&mut |e| {
                    let x = e.expr(value)?;
                    e.store(&place, x)
                })
            }
            Stmt::If { cond, then, otherwise } => self.branch(cond, then, otherwise),
            Stmt::Check { cond, message } => {
                let ok = self.condition(cond)?;
                let status = i32::try_from(*message).ok().and_then(|m| m.checked_add(1));
                let status = status.ok_or_else(|| self.invalid("too many messages".into()))?;
                self.check(ok.v, status);
                Ok(())
            }
            Stmt::Gemm(g) => self.gemm(g),
            Stmt::DwConv(d) => self.dwconv(d),
            Stmt::PackB(p) => self.pack_b(p),
            Stmt::MapRow { op, dst, src, n } => self.map_row(*op, dst, src, n),
            Stmt::ReduceRow { local, op, src, n } => self.reduce_row(*local, *op, src, n),
            Stmt::ExpSum { local, dst, src, n, bias } => self.exp_sum(*local, dst, src, n, bias),
            Stmt::Barrier => Err(self.unsupported("a barrier".into())),
            Stmt::TileAttention(_) => Err(self.unsupported("attention of a thread block".into())),
            Stmt::TileGemm(_) => Err(self.unsupported("a product of a thread block".into())),
            Stmt::GroupReduce { .. } => Err(self.unsupported("a group of threads".into())),
        }
    }

    /// Runs `f` for each vector of a SIMD iteration, or once.
    pub(super) fn for_each_part(
        &mut self,
        f: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let Some(around) = self.simd else { return f(self) };
        for part in 0..around.parts {
            self.mode = Mode::Simd(part);
            f(self)?;
        }
        self.mode = Mode::Scalar;
        Ok(())
    }

    /// A value that is the same in every lane, as a scalar.
    pub(super) fn uniform(&mut self, e: &'k Expr) -> Result<Val> {
        let (simd, mode) = (self.simd.take(), std::mem::replace(&mut self.mode, Mode::Scalar));
        let value = self.expr(e);
        (self.simd, self.mode) = (simd, mode);
        value
    }

    /// A bool that is the same in every lane.
    fn condition(&mut self, e: &'k Expr) -> Result<Val> {
        let cond = self.uniform(e)?;
        match cond.dtype {
            DType::Bool => Ok(cond),
            other => Err(self.invalid(format!("a condition of {other}"))),
        }
    }

    /// Makes a local's variables.
    pub(super) fn declare(&mut self, local: LocalId) -> Result<()> {
        let dtype = self.local_dtype(local)?;
        let mode = if self.simd.is_some() { Mode::Simd(0) } else { Mode::Scalar };
        let outer = std::mem::replace(&mut self.mode, mode);
        let ty = self.repr(dtype);
        self.mode = outer;
        let ty = ty?;
        let parts = self.simd.map_or(1, |around| around.parts);
        let vars = (0..parts).map(|_| self.fb.declare_var(ty)).collect();
        self.slots.insert(local, Slot { vars, simd: self.simd.is_some() });
        Ok(())
    }

    /// A local's dtype.
    pub(super) fn local_dtype(&self, local: LocalId) -> Result<DType> {
        let local = self.kernel.locals.get(local);
        local.map(|l| l.dtype).ok_or_else(|| self.invalid("an unknown local".into()))
    }

    fn slot(&self, local: LocalId) -> Result<&Slot> {
        self.slots
            .get(&local)
            .ok_or_else(|| self.invalid("a local is used before its declaration".into()))
    }

    /// A local's value in the current mode.
    pub(super) fn read(&mut self, local: LocalId) -> Result<Val> {
        let dtype = self.local_dtype(local)?;
        let slot = self.slot(local)?.clone();
        match self.mode {
            Mode::Simd(part) if slot.simd => Ok(Val { v: self.fb.use_var(slot.vars[part]), dtype }),
            Mode::Scalar if slot.simd => {
                Err(self.invalid("a variable of a vector loop is used outside of it".into()))
            }
            Mode::Simd(_) => {
                let v = self.fb.use_var(slot.vars[0]);
                self.splat(Val { v, dtype })
            }
            Mode::Scalar => Ok(Val { v: self.fb.use_var(slot.vars[0]), dtype }),
        }
    }

    /// Sets a local in the current mode.
    pub(super) fn write(&mut self, local: LocalId, x: Val) -> Result<()> {
        if self.local_dtype(local)? != x.dtype {
            return Err(self.invalid(format!("a {} is assigned to another dtype", x.dtype)));
        }
        let part = match self.mode {
            Mode::Simd(part) => part,
            Mode::Scalar => 0,
        };
        let var = self.slot(local)?.vars[part];
        self.fb.def_var(var, x.v);
        Ok(())
    }

    fn assign(&mut self, local: LocalId, value: &'k Expr) -> Result<()> {
        self.for_each_part(&mut |e| {
            let x = e.expr(value)?;
            e.write(local, x)
        })
    }

    fn reduce(&mut self, local: LocalId, op: BinaryOp, value: &'k Expr) -> Result<()> {
        self.for_each_part(&mut |e| {
            let old = e.read(local)?;
            let fused = op == BinaryOp::Add && matches!(old.dtype, DType::F32 | DType::F64);
            let new = match product(value) {
                Some((a, b)) if fused => {
                    let (a, b) = (e.expr(a)?, e.expr(b)?);
                    e.multiply_add(a, b, old)?
                }
                _ => {
                    let x = e.expr(value)?;
                    e.binary(op, old, x)?
                }
            };
            e.write(local, new)
        })
    }

    fn branch(&mut self, cond: &'k Expr, then: &'k [Stmt], otherwise: &'k [Stmt]) -> Result<()> {
        let cond = self.condition(cond)?;
        let (yes, no, done) =
            (self.fb.create_block(), self.fb.create_block(), self.fb.create_block());
        let entry = self.fb.ins().brif(cond.v, yes, &[], no, &[]);
        for (block, body) in [(yes, then), (no, otherwise)] {
            self.enter(block, entry);
            self.body(body)?;
            self.close_scope();
            self.fb.ins().jump(done, &[]);
        }
        self.fb.switch_to_block(done);
        self.fb.seal_block(done);
        Ok(())
    }
}
