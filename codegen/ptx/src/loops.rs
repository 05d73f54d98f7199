//! Loops, and reductions over neighbouring threads.

use crate::emit::{Emit, holds_barrier};
use crate::index::Symbol;
use crate::scalar::{Val, binary};
use crate::text::{Ty, V};
use cascata_ir::kernel::{LoopKind, Stmt};
use cascata_ir::op::BinaryOp;
use cascata_types::{Dim, SymbolId};

/// Loops of a thread are unrolled up to this many iterations, so that small arrays of
/// the thread's own become registers.
const UNROLLED: i64 = 16;
/// Threads of a warp.
const WARP: u32 = 32;

/// Whether threads meet in a loop. Its iterations are long and index no arrays; written out, LLVM
/// would move all their arithmetic behind the last barrier, and every operand would wait for it
/// in a register.
fn is_pipeline(body: &[Stmt]) -> bool {
    body.iter().any(holds_barrier)
}

impl<'k> Emit<'k> {
    pub fn for_loop(&mut self, var: SymbolId, extent: &Dim, kind: LoopKind, body: &'k [Stmt]) {
        let number = extent.as_const();
        match (kind, number) {
            (LoopKind::Threads, Some(n)) => self.threads_loop(var, n, body),
            (LoopKind::Threads, None) => {
                self.problem("a loop over a number of threads that is not known".into());
            }
            (_, Some(n)) if self.in_threads && n <= UNROLLED && !(n > 1 && is_pipeline(body)) => {
                for i in 0..n {
                    self.symbols.insert(var, Symbol::Number(i));
                    self.body(body);
                }
            }
            _ => {
                let (first, step, end) =
                    (self.text.int(Ty::I64, 0), self.text.int(Ty::I64, 1), self.dim(extent));
                let i = self.text.fresh(Ty::I64);
                self.text.line(format_args!("scf.for {i} = {first} to {end} step {step} : i64 {{"));
                self.symbols.insert(var, Symbol::Value(i));
                self.body(body);
                self.text.line("}");
            }
        }
    }

    /// Every thread runs its iteration; all wait for each other at the end.
    fn threads_loop(&mut self, var: SymbolId, count: i64, body: &'k [Stmt]) {
        let all = count == i64::from(self.threads);
        if !all && body.iter().any(holds_barrier) {
            return self.problem(format!(
                "a loop over {count} threads with a barrier in a block of {}",
                self.threads
            ));
        }
        let tid = self.own_number();
        let tid = self.text.resize(tid, Ty::I64, false);
        self.symbols.insert(var, Symbol::Value(tid));
        self.in_threads = true;
        if !all {
            let limit = self.text.int(Ty::I32, count);
            let runs = self.text.cmpi("ult", self.tid, limit);
            self.text.line(format_args!("scf.if {runs} {{"));
        }
        self.body(body);
        if !all {
            self.text.line("}");
        }
        self.in_threads = false;
        self.barrier();
    }

    /// The thread's number, read anew: what is computed from it stays inside of this loop. A
    /// block runs few tiles, and hundreds of addresses that LLVM took out of the loop over tiles
    /// would wait in registers.
    fn own_number(&mut self) -> V {
        let read = "llvm.inline_asm has_side_effects \"mov.u32 $0, %tid.x;\", \"=r\" : () -> i32";
        let tid = self.text.define(Ty::I32, read.to_string());
        // What LLVM knows of the register it does not know of assembly.
        let most = self.text.int(Ty::I32, i64::from(self.threads.next_power_of_two()) - 1);
        self.text.op("arith.andi", &[tid, most])
    }

    /// `op` over the values of each group of threads, in all of its threads.
    pub fn group_reduce(&mut self, op: BinaryOp, value: Val, width: u32) -> Option<Val> {
        let mut all = value;
        let mut distance = 1;
        while distance < width.min(WARP) {
            let other = self.shuffled(all.v, distance);
            all = self.joined(op, all, Val { v: other, ..all })?;
            distance *= 2;
        }
        if width > WARP { self.across_warps(op, all, width / WARP) } else { Some(all) }
    }

    /// The value of the thread whose number differs in one bit.
    fn shuffled(&mut self, v: V, distance: u32) -> V {
        let bits = self.text.bitcast(v, v.ty.int());
        let moved = match bits.ty {
            Ty::I32 => self.shuffled_word(bits, distance),
            Ty::I64 => {
                let half = self.text.int(Ty::I64, 32);
                let low = self.text.resize(bits, Ty::I32, false);
                let high = self.text.op("arith.shrui", &[bits, half]);
                let high = self.text.resize(high, Ty::I32, false);
                let [low, high] = [low, high].map(|word| {
                    let word = self.shuffled_word(word, distance);
                    self.text.resize(word, Ty::I64, false)
                });
                let high = self.text.op("arith.shli", &[high, half]);
                self.text.op("arith.ori", &[low, high])
            }
            narrow => {
                let wide = self.text.resize(bits, Ty::I32, false);
                let moved = self.shuffled_word(wide, distance);
                self.text.resize(moved, narrow, false)
            }
        };
        self.text.bitcast(moved, v.ty)
    }

    fn shuffled_word(&mut self, word: V, distance: u32) -> V {
        let t = &mut self.text;
        let mask = t.int(Ty::I32, -1);
        let (by, clamp) = (t.int(Ty::I32, distance.into()), t.int(Ty::I32, 31));
        let text = format!("nvvm.shfl.sync bfly {mask}, {word}, {by}, {clamp} : i32 -> i32");
        t.define(Ty::I32, text)
    }

    /// Combines what warps have, by way of shared memory.
    fn across_warps(&mut self, op: BinaryOp, value: Val, warps: u32) -> Option<Val> {
        let exchange = self.exchange?;
        let stored = if value.v.ty == Ty::I1 { Ty::I8 } else { value.v.ty };
        let bytes = i64::from(stored.bits() / 8);
        let t = &mut self.text;
        let five = t.int(Ty::I32, 5);
        let (size, zero) = (t.int(Ty::I32, bytes), t.int(Ty::I32, 0));
        let warp = t.op("arith.shrui", &[self.tid, five]);
        let last = t.int(Ty::I32, 31);
        let lane = t.op("arith.andi", &[self.tid, last]);
        let first_lane = t.cmpi("eq", lane, zero);
        // Those who still read the exchange of the reduction before must be done.
        t.line("nvvm.barrier0");
        t.line(format_args!("scf.if {first_lane} {{"));
        let offset = t.op("arith.muli", &[warp, size]);
        let at = t.offset(exchange, offset);
        let v = t.resize(value.v, stored, false);
        t.store(v, at);
        t.line("}\nnvvm.barrier0");
        // The group's first warp.
        let keep = t.int(Ty::I32, -i64::from(warps));
        let group = t.op("arith.andi", &[warp, keep]);
        let base = t.op("arith.muli", &[group, size]);
        let mut parts = Vec::new();
        for i in 0..warps {
            let step = t.int(Ty::I32, i64::from(i) * bytes);
            let offset = t.op("arith.addi", &[base, step]);
            let at = t.offset(exchange, offset);
            let v = t.load(at, stored, false);
            let v = t.resize(v, value.v.ty, false);
            parts.push(Val { v, dtype: value.dtype });
        }
        while parts.len() > 1 {
            let pairs: Option<Vec<Val>> =
                parts.chunks(2).map(|p| self.joined(op, p[0], p[1])).collect();
            parts = pairs?;
        }
        parts.pop()
    }

    fn joined(&mut self, op: BinaryOp, a: Val, b: Val) -> Option<Val> {
        let joined = binary(&mut self.text, op, a, b);
        if joined.is_none() {
            self.problem(format!("{op} of {}", a.dtype));
        }
        joined
    }
}
