//! The batch-reduce GEMM by a block of 256 threads.
//!
//! `C[i,j] = clamp(init + Σ_t Σ_k A_t[i,k]·B_t[k,j])`, f32, or i32 of i16. The block works on
//! 64 × 64 results at a time: slices of 16 along K are staged in shared memory, zeros where
//! nothing is, and every thread keeps 4 × 4 results in registers (16 multiply-adds per 8
//! values read from shared memory). Bound by flops; by the bytes of B where there are few rows.

use super::contraction::clamped;
use super::{Mapper, less, moved};
use cascata_ir::kernel::{BufferId, Expr, Gemm, Place, Rows, Stmt};
use cascata_ir::op::BinaryOp;
use cascata_types::{DType, Dim, PANEL_WIDTH, Scalar, SymbolId};

/// Rows and columns of what is worked on at a time.
const SIDE: i64 = 64;
/// Rows and columns of a thread's results.
const OWN: i64 = 4;
/// Length of a slice along K.
const SLICE: i64 = 16;
/// Elements of a slice that each thread brings.
const BRINGS: i64 = SIDE * SLICE / super::GEMM_THREADS;

/// What the statements of one contraction share.
struct Block<'g> {
    g: &'g Gemm,
    /// Element types of the operands and of sums.
    dtype: DType,
    sums: DType,
    /// First column of the block's part, and first row.
    column: Dim,
    row: Dim,
    thread: Dim,
    /// `A[k][row]` and `B[k][column]` of a slice.
    a: BufferId,
    b: BufferId,
    acc: BufferId,
}

impl Mapper {
    pub(super) fn gemm(&mut self, g: &Gemm) -> Vec<Stmt> {
        let (parts, strips) = (g.n.ceil_div(&SIDE.into()), g.m.ceil_div(&SIDE.into()));
        let (part, strip) = (self.index("part", &parts), self.index("strip", &strips));
        let dtype = self.buffers[g.b.buffer].dtype;
        let sums = self.buffers[g.c.buffer].dtype;
        let (a, b) =
            (self.shared("a", dtype, SIDE * SLICE), self.shared("b", dtype, SIDE * SLICE));
        let acc = self.registers("acc", sums, OWN * OWN);
        let work = self.over_threads(|m, t| {
            let (column, row) = (Dim::sym(part) * SIDE, Dim::sym(strip) * SIDE);
            let thread = Dim::sym(t);
            let block = Block { g, dtype, sums, column, row, thread, a, b, acc };
            let mut body = vec![m.zero(&block)];
            body.push(m.over_k(&block));
            body.push(m.results(&block));
            body
        });
        vec![Stmt::serial(part, parts, vec![Stmt::serial(strip, strips, vec![work])])]
    }

    fn zero(&mut self, block: &Block) -> Stmt {
        let i = self.symbols.fresh("i", 0, OWN * OWN - 1);
        let zero = Expr::Const(Scalar::from_i64(block.sums, 0));
        Stmt::vector(i, OWN * OWN, vec![Stmt::store(block.acc, Dim::sym(i), zero)])
    }

    /// All blocks of K, slice by slice.
    fn over_k(&mut self, block: &Block) -> Stmt {
        let g = block.g;
        let t = self.index("block", &g.batch);
        // 1 for the last block, 0 for the others.
        let last = (Dim::sym(t) - g.batch.clone() + 2).maximum(&0.into());
        let length = match g.batch.is(1) {
            true => g.k_last.clone(),
            false if g.k == g.k_last => g.k.clone(),
            false => g.k.clone() + last * (g.k_last.clone() - g.k.clone()),
        };
        let longest = g.k.bounds(&self.symbols).1.max(g.k_last.bounds(&self.symbols).1);
        let slices = length.ceil_div(&SLICE.into());
        let slice = self.symbols.fresh("slice", 0, (longest + SLICE - 1) / SLICE);
        let first = Dim::sym(slice) * SLICE;
        let bring_a = self.bring_a(block, t, &first, &length);
        let bring_b = self.bring_b(block, t, &first, &length);
        let multiply = self.multiply(block);
        let steps = vec![bring_a, bring_b, Stmt::Barrier, multiply, Stmt::Barrier];
        Stmt::serial(t, g.batch.clone(), vec![Stmt::serial(slice, slices, steps)])
    }

    /// Each thread's elements of a slice of A: neighbours along K.
    fn bring_a(&mut self, block: &Block, t: SymbolId, first: &Dim, length: &Dim) -> Stmt {
        let (g, turn) = (block.g, self.symbols.fresh("turn", 0, BRINGS - 1));
        let i = Dim::sym(turn) * super::GEMM_THREADS + block.thread.clone();
        let (row, k) = (i.floor_div(&SLICE.into()), i.modulo(&SLICE.into()));
        let to = k.clone() * SIDE + row.clone();
        let (row, k) = (block.row.clone() + row, first.clone() + k);
        let store = |value| vec![Stmt::store(block.a, to.clone(), value)];
        let zero = || store(Expr::Const(Scalar::from_i64(block.dtype, 0)));
        let load = match &g.a {
            Rows::Strided { base, row_stride, batch_stride } => {
                let at = row.clone() * row_stride.clone()
                    + Dim::sym(t) * batch_stride.clone()
                    + k.clone();
                store(Expr::Load(moved(base, at)))
            }
            Rows::Indirect { base, offsets } => {
                let at = moved(offsets, Dim::sym(t) * g.m.clone() + row.clone());
                let (bind, offset, present) = self.offset(at);
                let x = Expr::Load(moved(base, offset + k.clone()));
                vec![bind, Stmt::branch(present, store(x), zero())]
            }
        };
        let inside = less(row, g.m.clone()).binary(BinaryOp::And, less(k, length.clone()));
        Stmt::vector(turn, BRINGS, vec![Stmt::branch(inside, load, zero())])
    }

    /// Each thread's elements of a slice of B: neighbours along a panel's row.
    fn bring_b(&mut self, block: &Block, t: SymbolId, first: &Dim, length: &Dim) -> Stmt {
        let (g, turn) = (block.g, self.symbols.fresh("turn", 0, BRINGS - 1));
        let i = Dim::sym(turn) * super::GEMM_THREADS + block.thread.clone();
        let (k, column) = (i.floor_div(&SIDE.into()), i.modulo(&SIDE.into()));
        let to = k.clone() * SIDE + column.clone();
        let (k, column) = (first.clone() + k, block.column.clone() + column);
        let width = PANEL_WIDTH as i64;
        let (panel, lane) = (column.floor_div(&width.into()), column.modulo(&width.into()));
        // i16 lie in pairs along K.
        let inside_panel = match block.dtype {
            DType::I16 => {
                k.floor_div(&2.into()) * (2 * width) + lane * 2 + k.modulo(&2.into())
            }
            _ => k.clone() * width + lane,
        };
        let at = Dim::sym(t) * g.b_batch_stride.clone()
            + panel * g.b_panel_stride.clone()
            + inside_panel;
        let store = |value| vec![Stmt::store(block.b, to.clone(), value)];
        let zero = Expr::Const(Scalar::from_i64(block.dtype, 0));
        let inside = less(column, g.n.clone()).binary(BinaryOp::And, less(k, length.clone()));
        let load = store(Expr::Load(moved(&g.b, at)));
        Stmt::vector(turn, BRINGS, vec![Stmt::branch(inside, load, store(zero))])
    }

    /// A slice's products, from shared memory into registers.
    fn multiply(&mut self, block: &Block) -> Stmt {
        let (rows, columns) =
            (self.registers("row", block.sums, OWN), self.registers("column", block.sums, OWN));
        let k = self.symbols.fresh("k", 0, SLICE - 1);
        let [i, j, r, c] = ["i", "j", "r", "c"].map(|n| self.symbols.fresh(n, 0, OWN - 1));
        let (ty, tx) = thread_place(&block.thread);
        let take = |to: BufferId, var: SymbolId, from: BufferId, first: &Dim| {
            let at = Dim::sym(k) * SIDE + first.clone() * OWN + Dim::sym(var);
            let x = Expr::load(from, at);
            let x = if block.dtype == block.sums { x } else { x.cast(block.sums) };
            Stmt::vector(var, OWN, vec![Stmt::store(to, Dim::sym(var), x)])
        };
        let at = Dim::sym(r) * OWN + Dim::sym(c);
        let product = Expr::load(rows, Dim::sym(r)).binary(BinaryOp::Mul, Expr::load(columns, Dim::sym(c)));
        let sum = Expr::load(block.acc, at.clone()).binary(BinaryOp::Add, product);
        let add = Stmt::vector(c, OWN, vec![Stmt::store(block.acc, at, sum)]);
        let body = vec![
            take(rows, i, block.a, &ty),
            take(columns, j, block.b, &tx),
            Stmt::vector(r, OWN, vec![add]),
        ];
        Stmt::serial(k, SLICE, body)
    }

    /// The way out, element by element.
    fn results(&mut self, block: &Block) -> Stmt {
        let g = block.g;
        let [r, c] = ["r", "c"].map(|n| self.symbols.fresh(n, 0, OWN - 1));
        let (ty, tx) = thread_place(&block.thread);
        let row = block.row.clone() + ty * OWN + Dim::sym(r);
        let column = block.column.clone() + tx * OWN + Dim::sym(c);
        let to: Place = moved(&g.c, row.clone() * g.c_row_stride.clone() + column.clone());
        let mut value = Expr::load(block.acc, Dim::sym(r) * OWN + Dim::sym(c));
        if g.accumulate {
            value = Expr::Load(to.clone()).binary(BinaryOp::Add, value);
        } else if let Some(bias) = &g.bias {
            value = value.binary(BinaryOp::Add, Expr::Load(moved(bias, column.clone())));
        }
        if block.sums == DType::F32 {
            value = clamped(value, &g.clamp);
        }
        let inside = less(row, g.m.clone()).binary(BinaryOp::And, less(column, g.n.clone()));
        let store = Stmt::store(to.buffer, to.at, value);
        let columns = Stmt::vector(c, OWN, vec![Stmt::branch(inside, vec![store], vec![])]);
        Stmt::vector(r, OWN, vec![columns])
    }
}

/// The thread's row and column among 16 × 16.
fn thread_place(thread: &Dim) -> (Dim, Dim) {
    let across = Dim::from(SIDE / OWN);
    (thread.floor_div(&across), thread.modulo(&across))
}
