//! Loops: what is computed ahead of them, and vector loops four iterations at a time.
//!
//! A vector loop is a main loop of `parts` vectors an iteration, a loop of one vector, and
//! a scalar tail; reductions keep one vector of partial results per part, joined in a fixed
//! tree after the vector loops. `// PERF:` four parts hide the latency of an addition.

use super::emit::{Emit, Mode, Result, SimdLoop, Slot};
use super::invariant::{self, Changes};
use super::plan::{self, Plan};
use super::value::Val;
use cascata_ir::kernel::{Expr, Stmt};
use cascata_ir::op::BinaryOp;
use cascata_types::{DType, Dim, Scalar, SymbolId};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};

/// Elements of a vector.
const LANES: i64 = 4;

impl<'k> Emit<'k, '_> {
    /// A loop in order.
    pub(super) fn serial_loop(
        &mut self,
        var: SymbolId,
        extent: &'k Dim,
        body: &'k [Stmt],
    ) -> Result<()> {
        let n = self.dim(extent)?;
        let ahead = invariant::worthwhile(body, &Changes::of_loop(var, body), self.kernel);
        let zero = self.fb.ins().iconst(I64, 0);
        if ahead.is_empty() {
            return self.counted_loop(var, zero, n, 1, &mut |e| e.body(body));
        }
        let any = self.fb.ins().icmp(IntCC::SignedGreaterThan, n, zero);
        self.guarded(any, &mut |e| {
            e.for_each_part(&mut |e| e.hoist(&ahead))?;
            let zero = e.fb.ins().iconst(I64, 0);
            e.counted_loop(var, zero, n, 1, &mut |e| e.body(body))
        })
    }

    /// Computes expressions ahead, in the current mode.
    fn hoist(&mut self, ahead: &[&'k Expr]) -> Result<()> {
        for e in ahead {
            let key = (std::ptr::from_ref(*e), self.mode);
            // An older value belongs to an earlier emission of the same loop.
            self.hoisted.remove(&key);
            let value = self.expr(e)?;
            self.hoisted.insert(key, value);
        }
        Ok(())
    }

    /// A loop whose iterations are independent.
    pub(super) fn vector_loop(
        &mut self,
        var: SymbolId,
        extent: &'k Dim,
        body: &'k [Stmt],
    ) -> Result<()> {
        match plan::plan(self.kernel, var, extent, body) {
            Ok(plan) => self.simd_loop(var, extent, body, &plan),
            Err(why) => {
                self.notes.push(format!("{}: scalar, because {why}", self.path.join(" / ")));
                self.serial_loop(var, extent, body)
            }
        }
    }

    fn simd_loop(
        &mut self,
        var: SymbolId,
        extent: &'k Dim,
        body: &'k [Stmt],
        plan: &Plan,
    ) -> Result<()> {
        let n = self.dim(extent)?;
        let changes = Changes::of_loop(var, body);
        let scalars = invariant::worthwhile(body, &changes, self.kernel);
        let splats = invariant::splats(body, &changes, self.kernel, plan.keep_constants);
        let any = self.fb.ins().icmp_imm_s(IntCC::SignedGreaterThan, n, 0);
        let constant = extent.as_const();
        self.guarded(any, &mut |e| {
            e.hoist(&scalars)?;
            e.hoist_splats(&splats, plan.parts)?;
            let partial = e.open_reductions(plan)?;
            let whole = e.main_loops(var, n, constant, body, plan)?;
            e.close_reductions(plan, partial)?;
            if constant.is_some_and(|n| n % LANES == 0) {
                return Ok(());
            }
            e.counted_loop(var, whole, n, 1, &mut |e| e.body(body))
        })
    }

    /// The vector loops; returns how many iterations they did.
    fn main_loops(
        &mut self,
        var: SymbolId,
        n: Value,
        constant: Option<i64>,
        body: &'k [Stmt],
        plan: &Plan,
    ) -> Result<Value> {
        let block = LANES * plan.parts as i64;
        let mut begin = self.fb.ins().iconst(I64, 0);
        if plan.parts > 1 && constant.is_none_or(|n| n >= block) {
            let end = self.fb.ins().band_imm_s(n, -block);
            self.part_loop(var, begin, end, plan.parts, body)?;
            self.join_parts(plan)?;
            begin = end;
        }
        if plan.parts > 1 && constant.is_some_and(|n| n % block < LANES) {
            return Ok(begin);
        }
        let end = self.fb.ins().band_imm_s(n, -LANES);
        self.part_loop(var, begin, end, 1, body)?;
        Ok(end)
    }

    fn part_loop(
        &mut self,
        var: SymbolId,
        begin: Value,
        end: Value,
        parts: usize,
        body: &'k [Stmt],
    ) -> Result<()> {
        self.counted_loop(var, begin, end, LANES * parts as i64, &mut |e| {
            e.simd = Some(SimdLoop { var, parts });
            let result = e.body(body);
            e.simd = None;
            result
        })
    }

    /// Computes values that all lanes share.
    fn hoist_splats(&mut self, shared: &[&'k Expr], parts: usize) -> Result<()> {
        for e in shared {
            let key = |mode| (std::ptr::from_ref(*e), mode);
            let value = self.expr(e)?;
            let vector = self.splat(value)?;
            for part in 0..parts {
                self.hoisted.insert(key(Mode::Simd(part)), vector);
            }
        }
        Ok(())
    }

    /// Gives reduced locals vector variables; returns their scalar slots.
    fn open_reductions(&mut self, plan: &Plan) -> Result<Vec<Slot>> {
        let mut scalars = Vec::with_capacity(plan.reductions.len());
        for (local, op) in &plan.reductions {
            let dtype = self.local_dtype(*local)?;
            self.mode = Mode::Simd(0);
            let neutral = self.neutral(*op, dtype)?;
            let ty = self.repr(dtype)?;
            self.mode = Mode::Scalar;
            let vars: Vec<_> = (0..plan.parts).map(|_| self.fb.declare_var(ty)).collect();
            for var in &vars {
                self.fb.def_var(*var, neutral.v);
            }
            let scalar = self.slots.insert(*local, Slot { vars, simd: true });
            let missing = || self.invalid("a reduced local is not declared".into());
            scalars.push(scalar.ok_or_else(missing)?);
        }
        Ok(scalars)
    }

    /// Joins the parts of every reduced local into its first.
    fn join_parts(&mut self, plan: &Plan) -> Result<()> {
        for (local, op) in &plan.reductions {
            let dtype = self.local_dtype(*local)?;
            let vars = self.slots[local].vars.clone();
            let mut parts: Vec<Val> =
                vars.iter().map(|v| Val { v: self.fb.use_var(*v), dtype }).collect();
            self.mode = Mode::Simd(0);
            while parts.len() > 1 {
                let mut joined = Vec::with_capacity(parts.len() / 2);
                for pair in parts.chunks(2) {
                    joined.push(self.binary(*op, pair[0], pair[1])?);
                }
                parts = joined;
            }
            self.mode = Mode::Scalar;
            self.fb.def_var(vars[0], parts[0].v);
        }
        Ok(())
    }

    /// Gives reduced locals their scalar variables back, with all lanes joined in.
    fn close_reductions(&mut self, plan: &Plan, scalars: Vec<Slot>) -> Result<()> {
        for ((local, op), scalar) in plan.reductions.iter().zip(scalars) {
            let dtype = self.local_dtype(*local)?;
            let v = self.fb.use_var(self.slots[local].vars[0]);
            let vector = Val { v, dtype };
            let lanes: Vec<Val> =
                (0..4).map(|i| Val { v: self.split_lane(vector, i), dtype }).collect();
            let (low, high) =
                (self.binary(*op, lanes[0], lanes[1])?, self.binary(*op, lanes[2], lanes[3])?);
            let all = self.binary(*op, low, high)?;
            self.slots.insert(*local, scalar);
            let old = self.read(*local)?;
            let new = self.binary(*op, old, all)?;
            self.write(*local, new)?;
        }
        Ok(())
    }

    /// What changes nothing when it is reduced in.
    fn neutral(&mut self, op: BinaryOp, dtype: DType) -> Result<Val> {
        let x = match (op, dtype) {
            (BinaryOp::And, _) | (BinaryOp::Min, DType::Bool) => 1.0,
            (BinaryOp::Or | BinaryOp::Max, DType::Bool) => 0.0,
            (BinaryOp::Add, _) => -0.0,
            (BinaryOp::Mul, _) => 1.0,
            (BinaryOp::Max, _) => f64::NEG_INFINITY,
            (BinaryOp::Min, _) => f64::INFINITY,
            _ => return Err(self.invalid(format!("a reduction by {op}"))),
        };
        self.constant(Scalar::from_f64(dtype, x))
    }
}
