//! A tile of a product by `wgmma` (sm_90a), on steps that `cp.async` brings.
//!
//! Rows of both operands lie in shared memory as 128 bytes each (64 terms), swizzled, in a ring
//! of [`GemmSchedule::stages`] steps. Four warps multiply 64 rows with all columns; their sums
//! stay in registers. Per step of terms there is one barrier, behind which the products of a
//! step are started while those of the step before may still be under way; what is copied then
//! goes where the step before that one was, which all warps have finished.
//!
//! Bound by flops: `2·rows·cols·64` a step, for which `128·(rows + cols)` bytes are copied.
//! The loop is one piece of PTX: where the compiler defines anything between products, `ptxas`
//! makes each of them wait for the one before.

use super::attention_copy::address;
use super::{Effect, MOST_SHARED_WGMMA, ROW, half_of};
use crate::emit::Emit;
use crate::text::{Text, Ty, V};
use cascata_ir::kernel::{GemmSchedule, TileGemm};
use cascata_types::{DType, Scalar};
use std::fmt::Write as _;

/// Terms of a step.
const STEP: i64 = 64;

/// The sizes of a tile.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    rows: u32,
    cols: u32,
    stages: u32,
    half: &'static str,
}

impl Shape {
    fn new(s: GemmSchedule, dtype: DType) -> Self {
        let half = half_of(dtype).unwrap_or("f16");
        Shape { rows: s.rows, cols: s.cols, stages: s.stages, half }
    }

    fn threads(&self) -> u32 {
        2 * self.rows
    }

    /// Rows that the threads copy at once, 16 bytes each.
    fn pass_rows(&self) -> u32 {
        self.threads() / 8
    }

    fn step_bytes(&self) -> u32 {
        (self.rows + self.cols) * ROW
    }

    fn bytes(&self) -> u32 {
        self.stages * self.step_bytes()
    }

    /// Sums of a thread.
    fn sums(&self) -> usize {
        self.cols as usize / 2
    }

    fn problem(&self) -> Option<String> {
        let whole = self.rows > 0
            && self.rows.is_multiple_of(64)
            && self.cols > 0
            && self.cols.is_multiple_of(16)
            && self.cols.is_multiple_of(self.pass_rows());
        let fits = self.cols <= 256 && self.stages >= 3 && self.bytes() <= MOST_SHARED_WGMMA;
        (!whole || !fits).then(|| {
            format!(
                "a product in tiles of {} rows and {} columns, {} steps ahead",
                self.rows, self.cols, self.stages
            )
        })
    }
}

/// Shared memory of a tile.
pub(super) fn bytes(g: &TileGemm) -> u32 {
    Shape::new(g.schedule, DType::BF16).bytes()
}

/// A tile in the making.
struct Tile<'e, 'k> {
    e: &'e mut Emit<'k>,
    g: &'k TileGemm,
    s: Shape,
    /// The first byte of the tile's shared memory.
    shared: V,
    /// Rows, columns and terms that exist.
    counts: [V; 3],
}

/// What a thread copies.
struct Sources {
    /// Its 16 bytes of each pass in global memory, of the left operand's rows first.
    from: Vec<V>,
    /// Its place in a step of the ring, without the bytes of the passes before.
    to: V,
    /// Terms from its first one on.
    terms: V,
}

impl<'k> Emit<'k> {
    /// A tile of a product.
    pub fn tile_gemm(&mut self, g: &'k TileGemm) {
        let dtype = self.kernel.buffers[g.a.buffer].dtype;
        let s = Shape::new(g.schedule, dtype);
        if !matches!(dtype, DType::BF16 | DType::F16) {
            return self.problem(format!("a product of {dtype} on tensor cores"));
        }
        if self.in_threads {
            return self.problem("a tile of a product in a loop over threads".into());
        }
        if s.threads() != self.threads {
            let (own, all) = (s.threads(), self.threads);
            return self.problem(format!("a tile of {own} threads in a block of {all}"));
        }
        if let Some(problem) = s.problem() {
            return self.problem(problem);
        }
        if misaligned(g) {
            return self.problem("rows of a product that do not start at 16 bytes".into());
        }
        let Some(shared) = self.tile_memory else {
            return self.problem("a product without shared memory".into());
        };
        let mut tile = Tile::new(self, g, s, shared);
        let mut sources = tile.sources();
        tile.first_copies(&mut sources);
        let sums = tile.multiply(&sources);
        tile.write(&sums);
        // The next use of the memory.
        self.barrier();
    }
}

impl<'e, 'k> Tile<'e, 'k> {
    fn new(e: &'e mut Emit<'k>, g: &'k TileGemm, s: Shape, shared: V) -> Self {
        let counts = [&g.m, &g.n, &g.k].map(|d| e.dim(d));
        let t = &mut e.text;
        let counts = counts.map(|v| t.resize(v, Ty::I32, true));
        let shared =
            t.define(Ty::I32, format_args!("llvm.ptrtoint {shared} : !llvm.ptr<3> to i32"));
        Tile { e, g, s, shared, counts }
    }

    fn t(&mut self) -> &mut Text {
        &mut self.e.text
    }

    /// Thread `t` copies 16-byte column `t mod 8` of rows `t / 8`, one a pass. Rows that do
    /// not exist are copies of the last one: their products are not written.
    fn sources(&mut self) -> Sources {
        let (s, g, tid, shared, terms) = (self.s, self.g, self.e.tid, self.shared, self.counts[2]);
        let t = self.t();
        let row = t.with("arith.shrui", tid, 3);
        let column = t.with("arith.andi", tid, 7);
        let in_eight = t.with("arith.andi", row, 7);
        let swizzled = t.op("arith.xori", &[column, in_eight]);
        let bytes = t.with("arith.shli", swizzled, 4);
        let rows = t.with("arith.muli", row, i64::from(ROW));
        let inside = t.op("arith.addi", &[rows, bytes]);
        let to = t.op("arith.addi", &[shared, inside]);
        let before = t.with("arith.shli", column, 3);
        let terms = t.op("arith.subi", &[terms, before]);
        let mut from = Vec::new();
        let operands = [(&g.a, &g.a_row_stride, 0, s.rows), (&g.b, &g.b_col_stride, 1, s.cols)];
        for (place, stride, count, of) in operands {
            let base = address(self.e, place);
            let stride = self.e.dim(&(stride.clone() * 2));
            let column_bytes = self.t().with("arith.shli", column, 4);
            let base = self.t().offset(base, column_bytes);
            for first in (0..of).step_by(s.pass_rows() as usize) {
                from.push(self.row_address(base, stride, (row, first), self.counts[count]));
            }
        }
        Sources { from, to, terms }
    }

    fn row_address(&mut self, base: V, stride: V, (row, first): (V, u32), count: V) -> V {
        let t = self.t();
        let row = t.with("arith.addi", row, i64::from(first));
        let last = t.with("arith.addi", count, -1);
        let row = t.op("arith.minsi", &[row, last]);
        // Of a tile without rows.
        let zero = t.i32(0);
        let row = t.op("arith.maxsi", &[row, zero]);
        let row = t.resize(row, Ty::I64, true);
        let bytes = t.op("arith.muli", &[row, stride]);
        t.offset(base, bytes)
    }

    /// Copies of the ring's first steps; the sources go on behind them.
    fn first_copies(&mut self, sources: &mut Sources) {
        let s = self.s;
        for step in 0..s.stages - 2 {
            let terms = self.t().with("arith.addi", sources.terms, -STEP * i64::from(step));
            let mut code = copies(s, "$0", "$1", "");
            for i in (0..sources.from.len()).rev() {
                code = code.replace(&format!("source{i}]"), &format!("${}]", i + 2));
            }
            let code = format!("{{ .reg .b32 size; {code} }}");
            let slot = i64::from(step * s.step_bytes());
            let to = self.t().with("arith.addi", sources.to, slot);
            let operands = [&[to, terms], &sources.from[..]].concat();
            self.t().asm(&code, &[], &operands, Effect::Memory);
            let bytes = self.t().int(Ty::I64, 2 * STEP);
            for from in &mut sources.from {
                *from = self.e.text.offset(*from, bytes);
            }
        }
        sources.terms = self.t().with("arith.addi", sources.terms, -STEP * i64::from(s.stages - 2));
    }

    /// The sums of all steps.
    fn multiply(&mut self, sources: &Sources) -> Vec<V> {
        let s = self.s;
        let (tid, shared, terms) = (self.e.tid, self.shared, self.counts[2]);
        let t = self.t();
        let above = t.with("arith.addi", terms, STEP - 1);
        let steps = t.with("arith.divsi", above, STEP);
        // Four warps have 64 rows.
        let four = t.with("arith.shrui", tid, 7);
        let behind = t.with("arith.muli", four, i64::from(64 * ROW));
        let a = t.op("arith.addi", &[shared, behind]);
        let b = t.with("arith.addi", shared, i64::from(s.rows * ROW));
        // A step is one block of columns: there is no next one.
        let [a, b] = [a, b].map(|at| t.descriptor(at, 16));
        let start = self.start();
        let operands = [&[sources.to, sources.terms, steps, a, b], &sources.from[..]].concat();
        self.t().asm_in_place(&main_loop(s, sources.from.len()), (0, &start), &operands)
    }

    /// Writes the rows and columns that exist. A thread has of row `lane / 4` of its warp's 16,
    /// and of the one 8 below, two columns of every eight.
    fn write(&mut self, sums: &[V]) {
        let (tid, rows) = (self.e.tid, self.counts[0]);
        let t = self.t();
        let warp = t.with("arith.shrui", tid, 5);
        let first = t.with("arith.shli", warp, 4);
        let lane = t.with("arith.andi", tid, 31);
        let of_lane = t.with("arith.shrui", lane, 2);
        let row = t.op("arith.addi", &[first, of_lane]);
        let column = lane_column(t, tid);
        let clamp = self.g.clamp;
        let sums: Vec<V> = sums.iter().map(|v| clamped(self.t(), *v, clamp)).collect();
        let pairs = self.is_written_in_pairs();
        for half in 0..2 {
            let own: Vec<[V; 2]> =
                sums.chunks_exact(4).map(|s| [s[2 * half], s[2 * half + 1]]).collect();
            let row = self.t().with("arith.addi", row, 8 * half as i64);
            let exists = self.t().cmpi("slt", row, rows);
            self.t().line(format_args!("scf.if {exists} {{"));
            let at = self.result_address(row, column);
            self.t().line(format_args!("scf.if {pairs} {{"));
            self.write_pairs(at, &own);
            self.t().line("} else {");
            self.write_singles(at, column, &own);
            self.t().line("}\n}");
        }
    }

    /// What the sums start from: each column's bias.
    fn start(&mut self) -> Vec<V> {
        let (g, s, cols, tid) = (self.g, self.s, self.counts[1], self.e.tid);
        let Some(bias) = g.bias.as_ref().map(|place| address(self.e, place)) else {
            return vec![self.t().float(Ty::F32, 0.0); s.sums()];
        };
        let t = self.t();
        let column = lane_column(t, tid);
        let last = t.with("arith.addi", cols, -1);
        let mut all = Vec::new();
        for eight in 0..i64::from(s.cols / 8) {
            let pair = [0, 1].map(|j| {
                let at = t.with("arith.addi", column, 8 * eight + j);
                let at = t.op("arith.minsi", &[at, last]);
                let bytes = t.with("arith.shli", at, 2);
                let at = t.offset(bias, bytes);
                t.load(at, Ty::F32, true)
            });
            // A row, and the one 8 below.
            all.extend([pair, pair].concat());
        }
        all
    }

    /// Whether all columns are there and pairs of results are aligned.
    fn is_written_in_pairs(&mut self) -> V {
        let (g, s, cols) = (self.g, self.s, self.counts[1]);
        let (at, stride) = (self.e.dim(&g.c.at), self.e.dim(&g.c_row_stride));
        let t = self.t();
        let both = t.op("arith.ori", &[at, stride]);
        let odd = t.with("arith.andi", both, 1);
        let zero = t.int(Ty::I64, 0);
        let even = t.cmpi("eq", odd, zero);
        let most = t.i32(i64::from(s.cols));
        let full = t.cmpi("eq", cols, most);
        t.op("arith.andi", &[even, full])
    }

    fn result_address(&mut self, row: V, column: V) -> V {
        let g = self.g;
        let size = self.e.kernel.buffers[g.c.buffer].dtype.stored_bytes() as i64;
        let (base, stride) = (address(self.e, &g.c), self.e.dim(&g.c_row_stride));
        let t = self.t();
        let row = t.resize(row, Ty::I64, true);
        let column = t.resize(column, Ty::I64, true);
        let at = t.op("arith.muli", &[row, stride]);
        let at = t.op("arith.addi", &[at, column]);
        let bytes = t.with("arith.muli", at, size);
        t.offset(base, bytes)
    }

    fn write_pairs(&mut self, at: V, own: &[[V; 2]]) {
        let dtype = self.e.kernel.buffers[self.g.c.buffer].dtype;
        let t = self.t();
        for (i, pair) in own.iter().enumerate() {
            t.store_pair(at, 8 * i * dtype.stored_bytes(), dtype, *pair);
        }
    }

    fn write_singles(&mut self, at: V, column: V, own: &[[V; 2]]) {
        let (cols, dtype) = (self.counts[1], self.e.kernel.buffers[self.g.c.buffer].dtype);
        let t = self.t();
        let left = t.op("arith.subi", &[cols, column]);
        for (i, x) in own.iter().flatten().enumerate() {
            let number = 8 * (i / 2) + i % 2;
            let behind = number * dtype.stored_bytes();
            let (convert, store) = match half_of(dtype) {
                Some(half) => (format!("cvt.rn.{half}.f32 value, $1;"), "b16"),
                None => ("mov.b32 value, $1;".into(), "b32"),
            };
            let code = format!(
                "{{ .reg .pred there; .reg .{store} value; setp.gt.s32 there, $2, {number}; \
                 {convert} @there st.global.{store} [$0+{behind}], value; }}"
            );
            t.asm(&code, &[], &[at, *x, left], Effect::Memory);
        }
    }
}

/// The first of two columns of every eight that a thread has.
fn lane_column(t: &mut Text, tid: V) -> V {
    let quad = t.with("arith.andi", tid, 3);
    t.with("arith.shli", quad, 1)
}

/// Within finite bounds; NaN stays.
fn clamped(t: &mut Text, mut x: V, (min, max): (Scalar, Scalar)) -> V {
    for (bound, beyond) in [(min.to_f64(), "olt"), (max.to_f64(), "ogt")] {
        if bound.is_finite() {
            let bound = t.float(Ty::F32, bound);
            let outside = t.cmpf(beyond, x, bound);
            x = t.select(outside, bound, x);
        }
    }
    x
}

/// Copies of a step to `to`, from registers `source0`, …; terms that do not exist are zeros.
fn copies(s: Shape, to: &str, terms: &str, advance: &str) -> String {
    let mut code =
        format!("shl.b32 size, {terms}, 1; max.s32 size, size, 0; min.s32 size, size, 16; ");
    let passes = (s.rows + s.cols) / s.pass_rows();
    for pass in 0..passes {
        let behind = pass * s.pass_rows() * ROW;
        let _ = write!(
            code,
            "cp.async.cg.shared.global.L2::128B [{to}+{behind}], [source{pass}], 16, size; "
        );
        code += &advance.replace("source", &format!("source{pass}"));
    }
    code + "cp.async.commit_group; "
}

/// The loop over steps. Operands behind the sums: the thread's place, its terms behind the
/// first copies, steps, descriptors of both operands, sources.
fn main_loop(s: Shape, sources: usize) -> String {
    let n = s.sums();
    let operand = |i: usize| format!("${}", 2 * n + i);
    let mut code = String::from(
        "{ .reg .pred more, wrap, yes; .reg .b32 step, size, terms, to, read, written, units; \
         .reg .b64 da, db, units64; ",
    );
    for k in 0..4 {
        let _ = write!(code, ".reg .b64 da{k}, db{k}; ");
    }
    for i in 0..sources {
        let _ = write!(code, ".reg .b64 source{i}; mov.b64 source{i}, {}; ", operand(5 + i));
    }
    let (ring, ahead) = (s.bytes(), (s.stages - 2) * s.step_bytes());
    let _ = write!(
        code,
        "mov.b32 step, 0; mov.b32 read, 0; mov.b32 written, {ahead}; mov.b32 terms, {terms}; \
         setp.eq.s32 yes, step, 0; setp.gt.s32 more, {steps}, 0; @!more bra gemm_end; \
         gemm_step: \
         cp.async.wait_group {pending}; fence.proxy.async.shared::cta; bar.sync 0; ",
        terms = operand(1),
        steps = operand(2),
        pending = s.stages - 3,
    );
    code += &products(s, &operand(3), &operand(4));
    let _ = write!(code, "add.s32 to, {}, written; ", operand(0));
    code += &copies(s, "to", "terms", &format!("add.s64 source, source, {}; ", 2 * STEP));
    let next = |slot: &str| {
        format!(
            "add.s32 {slot}, {slot}, {step}; setp.eq.s32 wrap, {slot}, {ring}; \
             @wrap mov.b32 {slot}, 0; ",
            step = s.step_bytes()
        )
    };
    code + &next("read")
        + &next("written")
        + &format!(
            "sub.s32 terms, terms, {STEP}; add.s32 step, step, 1; \
             wgmma.wait_group.sync.aligned 1; \
             setp.lt.s32 more, step, {steps}; @more bra gemm_step; \
             wgmma.wait_group.sync.aligned 0; gemm_end: cp.async.wait_group 0; }}",
            steps = operand(2)
        )
}

/// The products of a step of the ring.
fn products(s: Shape, a: &str, b: &str) -> String {
    let mut code = format!(
        "shr.u32 units, read, 4; cvt.u64.u32 units64, units; \
         add.s64 da, {a}, units64; add.s64 db, {b}, units64; "
    );
    for k in 0..4 {
        let _ = write!(code, "add.s64 da{k}, da, {0}; add.s64 db{k}, db, {0}; ", 2 * k);
    }
    code += "wgmma.fence.sync.aligned; ";
    let sums: Vec<String> = (0..s.sums()).map(|i| format!("${i}")).collect();
    for k in 0..4 {
        let _ = write!(
            code,
            "wgmma.mma_async.sync.aligned.m64n{}k16.f32.{h}.{h} {{{}}}, da{k}, db{k}, yes, 1, 1, 0, 0; ",
            s.cols,
            sums.join(", "),
            h = s.half
        );
    }
    code + "wgmma.commit_group.sync.aligned; "
}

/// Whether rows are known not to start where 16 bytes can be copied from.
fn misaligned(g: &TileGemm) -> bool {
    [&g.a_row_stride, &g.b_col_stride, &g.a.at, &g.b.at]
        .iter()
        .any(|d| d.as_const().is_some_and(|n| n % 8 != 0))
}
