//! Products of few rows: the bytes of B, once.
//!
//! A block of 256 threads computes one panel of 16 columns. A thread has one column and every
//! sixteenth step of K, all rows of which it keeps in registers; what the sixteen threads of a
//! column have is summed by way of shared memory, in their order.

use super::gemm::finished;
use super::{GEMM_THREADS, Mapper, less, moved};
use cascata_ir::kernel::{BufferId, Expr, Gemm, Place, Rows, Stmt};
use cascata_ir::op::BinaryOp;
use cascata_types::{DType, Dim, PANEL_WIDTH, SymbolId};

/// Rows that are few.
pub(super) const MOST_ROWS: i64 = 8;
const WIDTH: i64 = PANEL_WIDTH as i64;
/// Threads of a column.
const SHARES: i64 = GEMM_THREADS / WIDTH;
/// Elements of B that a thread has under way.
const AHEAD: i64 = 8;

/// What the statements of one panel share.
struct Panel<'g> {
    g: &'g Gemm,
    /// Rows kept.
    rows: i64,
    panel: Dim,
    /// The thread's column in the panel, and its share of K.
    lane: Dim,
    share: Dim,
    acc: BufferId,
    /// Elements of B.
    ahead: BufferId,
    a: &'g Place,
    row_stride: &'g Dim,
    batch_stride: &'g Dim,
}

impl Mapper {
    /// Columns `16·panel..` of all of at most `rows` rows.
    pub(super) fn few_rows(&mut self, g: &Gemm, rows: i64, panel: Dim) -> Vec<Stmt> {
        let Rows::Strided { base: a, row_stride, batch_stride } = &g.a else { return vec![] };
        let acc = self.registers("acc", DType::F32, rows);
        let ahead = self.registers("ahead", DType::F32, AHEAD);
        let shares = self.shared("shares", DType::F32, SHARES * rows * WIDTH);
        let work = self.over_threads(|m, t| {
            let (lane, share) =
                (Dim::sym(t).modulo(&WIDTH.into()), Dim::sym(t).floor_div(&WIDTH.into()));
            let p = Panel { g, rows, panel, lane, share, acc, ahead, a, row_stride, batch_stride };
            let [i, j] = [0; 2].map(|_| m.symbols.fresh("i", 0, rows - 1));
            let zero = Stmt::store(acc, Dim::sym(i), Expr::f32(0.0));
            let at = (p.share.clone() * rows + Dim::sym(j)) * WIDTH + p.lane.clone();
            let share = Stmt::store(shares, at, Expr::load(acc, Dim::sym(j)));
            let mut body = vec![Stmt::vector(i, rows, vec![zero]), m.few_over_k(&p)];
            body.extend([Stmt::vector(j, rows, vec![share]), Stmt::Barrier]);
            body.push(m.few_results(&p, &Dim::sym(t), shares));
            body
        });
        vec![work]
    }

    fn few_over_k(&mut self, p: &Panel) -> Stmt {
        let g = p.g;
        let t = self.index("block", &g.batch);
        let last = (Dim::sym(t) - g.batch.clone() + 2).maximum(&0.into());
        let length = match g.batch.is(1) {
            true => g.k_last.clone(),
            false if g.k == g.k_last => g.k.clone(),
            false => g.k.clone() + last * (g.k_last.clone() - g.k.clone()),
        };
        let turns = g.k.maximum(&g.k_last).ceil_div(&(SHARES * AHEAD).into());
        let turn = self.index("turn", &turns);
        let first = Dim::sym(turn) * (SHARES * AHEAD) + p.share.clone();
        let step = |j: SymbolId| {
            let k = first.clone() + Dim::sym(j) * SHARES;
            let (there, last) = (less(k.clone(), length.clone()), length.clone() - 1);
            (there, k.minimum(&last))
        };
        let j = self.symbols.fresh("j", 0, AHEAD - 1);
        let (there, k) = step(j);
        let at = Dim::sym(t) * g.b_batch_stride.clone()
            + p.panel.clone() * g.b_panel_stride.clone()
            + k * WIDTH
            + p.lane.clone();
        let x = there.select(Expr::Load(moved(&g.b, at)), Expr::f32(0.0));
        let ahead = Stmt::vector(j, AHEAD, vec![Stmt::store(p.ahead, Dim::sym(j), x)]);
        let (r, j) =
            (self.symbols.fresh("r", 0, p.rows - 1), self.symbols.fresh("j", 0, AHEAD - 1));
        let (there, k) = step(j);
        let row = Dim::sym(r).minimum(&(g.m.clone() - 1));
        let place =
            moved(p.a, row * p.row_stride.clone() + Dim::sym(t) * p.batch_stride.clone() + k);
        let x = there.select(Expr::Load(place), Expr::f32(0.0));
        let sum = Expr::load(p.acc, Dim::sym(r)) + x * Expr::load(p.ahead, Dim::sym(j));
        let add = Stmt::serial(j, AHEAD, vec![Stmt::store(p.acc, Dim::sym(r), sum)]);
        let body = vec![ahead, Stmt::vector(r, p.rows, vec![add])];
        Stmt::serial(t, g.batch.clone(), vec![Stmt::serial(turn, turns, body)])
    }

    /// Sums the shares of an element, each by a thread.
    fn few_results(&mut self, p: &Panel, t: &Dim, shares: BufferId) -> Stmt {
        let sum = self.local("sum", DType::F32);
        let s = self.symbols.fresh("s", 0, SHARES - 1);
        let row = t.floor_div(&WIDTH.into());
        let at = (Dim::sym(s) * p.rows + row.clone()) * WIDTH + p.lane.clone();
        let column = p.panel.clone() * WIDTH + p.lane.clone();
        let inside = less(row.clone(), p.g.m.minimum(&p.rows.into()))
            .and(less(column.clone(), p.g.n.clone()));
        let body = vec![
            Stmt::declare(sum, Expr::f32(0.0)),
            Stmt::serial(s, SHARES, vec![Stmt::reduce(sum, BinaryOp::Add, Expr::load(shares, at))]),
            finished(p.g, DType::F32, &row, &column, Expr::Local(sum)),
        ];
        Stmt::when(inside, body)
    }
}
