//! The batch-reduce GEMM by a block of 256 threads.
//!
//! `C[i,j] = clamp(init + Σ_t Σ_k A_t[i,k]·B_t[k,j])`, f32, or i32 of i16, or of u8 (less what
//! stands for 0) and i8, which are i16 where the block keeps them. The block works on
//! 64 rows and up to 192 columns at a time: slices of 16 along K go through shared memory,
//! zeros where nothing is, and every thread keeps up to 8 × 6 results in registers. The next
//! slice is on its way, in registers, while one is multiplied. Bound by flops. Few rows are
//! bound by the bytes of B, and have a form of their own ([`super::few`]).

use super::contraction::clamped;
use super::{GEMM_THREADS, Mapper, less, moved};
use cascata_ir::kernel::{BufferId, Expr, Gemm, Place, Rows, Stmt};
use cascata_types::{DType, Dim, PANEL_WIDTH, PanelEncoding, Scalar, SymbolId};

/// Rows of what is worked on at a time.
const ROWS: i64 = 64;
/// Length of a slice along K.
const SLICE: i64 = 16;
/// Elements from one step along K to the next in the shared part of A: four more than rows,
/// so that the threads of a warp store into different banks.
const A_STEP: i64 = ROWS + 4;
/// Elements of A that each thread brings to a slice.
const A_BRINGS: i64 = ROWS * SLICE / GEMM_THREADS;
/// Tiles that keep a GPU busy with blocks of many columns.
const ENOUGH_TILES: i64 = 264;
const WIDTH: i64 = PANEL_WIDTH as i64;

/// How the block's columns are dealt out.
#[derive(Clone, Copy)]
struct Shape {
    /// Columns at a time.
    columns: i64,
    /// Rows of a thread.
    own_rows: i64,
    /// A thread's columns: groups of neighbours, groups across the block apart.
    groups: i64,
    neighbours: i64,
}

impl Shape {
    /// For at most `most` columns.
    fn of(most: i64, many_tiles: bool) -> Self {
        match most {
            129.. if many_tiles => Shape { columns: 192, own_rows: 8, groups: 3, neighbours: 2 },
            65.. if many_tiles => Shape { columns: 128, own_rows: 8, groups: 2, neighbours: 2 },
            _ => Shape { columns: 64, own_rows: 4, groups: 1, neighbours: 4 },
        }
    }

    fn own_columns(self) -> i64 {
        self.groups * self.neighbours
    }

    /// Threads along the columns.
    fn across(self) -> i64 {
        self.columns / self.own_columns()
    }

    /// Elements of B that each thread brings to a slice.
    fn b_brings(self) -> i64 {
        self.columns * SLICE / GEMM_THREADS
    }
}

/// What the statements of one contraction share.
struct Block<'g> {
    g: &'g Gemm,
    shape: Shape,
    /// Element types of the operands where the block keeps them, and of sums.
    dtype: DType,
    sums: DType,
    /// First column of the block's part, and first row.
    column: Dim,
    row: Dim,
    thread: Dim,
    /// The thread's place: its first row, and its first column of each group.
    ty: SymbolId,
    tx: SymbolId,
    /// `A[k][row]` and `B[k][column]` of a slice.
    a: BufferId,
    b: BufferId,
    /// The thread's part of the next slice.
    next_a: BufferId,
    next_b: BufferId,
    acc: BufferId,
}

/// A slice: its block of K, its first step in it, and how long that block is.
struct Slice {
    block: Dim,
    first: Dim,
    length: Dim,
}

impl Mapper {
    /// The whole contraction by one block.
    pub(super) fn gemm(&mut self, g: &Gemm) -> Vec<Stmt> {
        let shape = self.shape(g);
        let strips = g.n.ceil_div(&shape.columns.into());
        let strip = self.index("strip", &strips);
        let tile = self.tile(g, shape, Dim::sym(strip) * shape.columns);
        let whole = vec![Stmt::serial(strip, strips, tile)];
        self.by_rows(g, whole, |m, rows| {
            let panels = g.n.ceil_div(&WIDTH.into());
            let panel = m.index("panel", &panels);
            let few = m.few_rows(g, rows, Dim::sym(panel));
            vec![Stmt::serial(panel, panels, few)]
        })
    }

    /// Part `part` of the contraction, of as many as [`Mapper::parts`] says.
    pub(super) fn gemm_part(&mut self, g: &Gemm, part: SymbolId) -> Vec<Stmt> {
        let (shape, part) = (self.shape(g), Dim::sym(part));
        let strips = g.n.ceil_div(&shape.columns.into());
        let tile = self.tile(g, shape, part.clone() * shape.columns);
        let whole = vec![Stmt::when(less(part.clone(), strips), tile)];
        self.by_rows(g, whole, |m, rows| {
            let few = m.few_rows(g, rows, part.clone());
            vec![Stmt::when(less(part.clone(), g.n.ceil_div(&WIDTH.into())), few)]
        })
    }

    /// Parts that the columns of a contraction fall into.
    pub(super) fn parts(&self, g: &Gemm) -> i64 {
        let most = g.n.bounds(&self.symbols).1.max(1);
        let of = if self.may_be_few(g) { WIDTH } else { self.shape(g).columns };
        (most + of - 1) / of
    }

    fn shape(&self, g: &Gemm) -> Shape {
        Shape::of(g.n.bounds(&self.symbols).1, self.tiles >= ENOUGH_TILES)
    }

    /// Whether few rows are worth code of their own: where they are few, or the number of
    /// rows is an operand's.
    fn may_be_few(&self, g: &Gemm) -> bool {
        let of_operand = g.m.symbols().iter().all(|s| (s.0 as usize) < self.params);
        of_operand
            && matches!(g.a, Rows::Strided { .. })
            && g.m.bounds(&self.symbols).0 <= super::few::MOST_ROWS
            && self.buffers[g.b.buffer].dtype == DType::F32
    }

    /// `whole`, or what is better for the number of rows.
    fn by_rows(
        &mut self,
        g: &Gemm,
        whole: Vec<Stmt>,
        mut few: impl FnMut(&mut Self, i64) -> Vec<Stmt>,
    ) -> Vec<Stmt> {
        if !self.may_be_few(g) {
            return whole;
        }
        let (least, most) = g.m.bounds(&self.symbols);
        let mut out = if most > super::few::MOST_ROWS { whole } else { vec![] };
        for (rows, fewer) in [(super::few::MOST_ROWS, 1), (1, 0)] {
            // Never so few, or always fewer.
            if rows < least || most <= fewer {
                continue;
            }
            let body = few(self, rows);
            out = match most <= rows {
                true => body,
                false => vec![Stmt::branch(less(g.m.clone(), (rows + 1).into()), body, out)],
            };
        }
        if least < 1 {
            out = vec![Stmt::when(less(0.into(), g.m.clone()), out)];
        }
        out
    }

    /// All rows of the columns from `column` on.
    fn tile(&mut self, g: &Gemm, shape: Shape, column: Dim) -> Vec<Stmt> {
        let sums = self.buffers[g.c.buffer].dtype;
        let dtype = if sums == DType::I32 { DType::I16 } else { DType::F32 };
        let strips = g.m.ceil_div(&ROWS.into());
        let strip = self.index("rows", &strips);
        let a = self.shared("a", dtype, A_STEP * SLICE);
        let b = self.shared("b", dtype, shape.columns * SLICE);
        let next_a = self.registers("next_a", dtype, A_BRINGS);
        let next_b = self.registers("next_b", dtype, shape.b_brings());
        let acc = self.registers("acc", sums, shape.own_rows * shape.own_columns());
        let work = self.over_threads(|m, t| {
            let (row, thread) = (Dim::sym(strip) * ROWS, Dim::sym(t));
            let ty = m.symbols.fresh("ty", 0, ROWS - 1);
            let tx = m.symbols.fresh("tx", 0, shape.columns - 1);
            let block = Block {
                g,
                shape,
                dtype,
                sums,
                column,
                row,
                thread,
                ty,
                tx,
                a,
                b,
                next_a,
                next_b,
                acc,
            };
            let mut body = block.place();
            body.push(m.zero(&block));
            body.extend(m.over_k(&block));
            body.push(m.results(&block));
            body
        });
        vec![Stmt::serial(strip, strips, vec![work])]
    }

    fn zero(&mut self, block: &Block) -> Stmt {
        let zero = Expr::Const(Scalar::from_i64(block.sums, 0));
        let [r, c] = self.own_indices(block);
        let at = Dim::sym(r) * block.shape.own_columns() + Dim::sym(c);
        let store = Stmt::store(block.acc, at, zero);
        let columns = Stmt::vector(c, block.shape.own_columns(), vec![store]);
        Stmt::vector(r, block.shape.own_rows, vec![columns])
    }

    fn own_indices(&mut self, block: &Block) -> [SymbolId; 2] {
        let shape = block.shape;
        [("r", shape.own_rows), ("c", shape.own_columns())]
            .map(|(name, n)| self.symbols.fresh(name, 0, n - 1))
    }

    /// All slices of all blocks of K.
    fn over_k(&mut self, block: &Block) -> Vec<Stmt> {
        let g = block.g;
        let length = if g.batch.is(1) { g.k_last.clone() } else { g.k.maximum(&g.k_last) };
        let slices = length.ceil_div(&SLICE.into());
        let total = g.batch.clone() * slices.clone();
        let u = self.index("u", &total);
        let mut start = self.bring(block, &Dim::from(0), &slices);
        let next = (Dim::sym(u) + 1).minimum(&(total.clone() - 1));
        let mut steps = self.put(block);
        steps.push(Stmt::Barrier);
        steps.extend(self.bring(block, &next, &slices));
        steps.push(self.multiply(block));
        steps.push(Stmt::Barrier);
        if total.bounds(&self.symbols).0 < 1 {
            start = vec![Stmt::when(less(0.into(), total.clone()), start)];
        }
        start.push(Stmt::serial(u, total, steps));
        start
    }

    /// Loads the thread's part of slice `u` into registers.
    fn bring(&mut self, block: &Block, u: &Dim, slices: &Dim) -> Vec<Stmt> {
        let g = block.g;
        let mut out = Vec::new();
        let (t, s) = if g.batch.is(1) {
            (Dim::from(0), u.clone())
        } else {
            (u.floor_div(slices), u.modulo(slices))
        };
        let t = self.bound("block", t, &g.batch, &mut out);
        let s = self.bound("slice", s, slices, &mut out);
        // 1 for the last block, 0 for the others.
        let last = (t.clone() - g.batch.clone() + 2).maximum(&0.into());
        let length = match g.batch.is(1) {
            true => g.k_last.clone(),
            false if g.k == g.k_last => g.k.clone(),
            false => g.k.clone() + last * (g.k_last.clone() - g.k.clone()),
        };
        let slice = Slice { block: t, first: s * SLICE, length };
        out.push(self.bring_a(block, &slice));
        out.push(self.bring_b(block, &slice));
        out
    }

    /// A symbol for an index that is used often.
    fn bound(&mut self, hint: &str, value: Dim, extent: &Dim, out: &mut Vec<Stmt>) -> Dim {
        if value.as_const().is_some() {
            return value;
        }
        let symbol = self.index(hint, extent);
        out.push(Stmt::bind(symbol, Expr::Index(value)));
        Dim::sym(symbol)
    }

    fn bring_a(&mut self, block: &Block, slice: &Slice) -> Stmt {
        let (g, turn) = (block.g, self.symbols.fresh("turn", 0, A_BRINGS - 1));
        let (row, k) = block.a_element(&Dim::sym(turn));
        let (row, k) = (block.row.clone() + row, slice.first.clone() + k);
        let mut inside = less(row.clone(), g.m.clone());
        let row = row.minimum(&(g.m.clone() - 1));
        let k = slice.inside(k, &mut inside);
        let mut body = Vec::new();
        let place = match &g.a {
            Rows::Strided { base, row_stride, batch_stride } => moved(
                base,
                row * row_stride.clone() + slice.block.clone() * batch_stride.clone() + k,
            ),
            Rows::Indirect { base, offsets } => {
                let at = moved(offsets, slice.block.clone() * g.m.clone() + row);
                let (bind, offset, present) = self.offset(at);
                body.push(bind);
                inside = inside.and(present);
                moved(base, offset.maximum(&0.into()) + k)
            }
        };
        let mut value = self.kept(place, block.dtype);
        if let Some(zero) = &g.a_zero {
            value = value - self.kept(zero.clone(), block.dtype);
        }
        let value = inside.select(value, block.nothing());
        body.push(Stmt::store(block.next_a, Dim::sym(turn), value));
        Stmt::vector(turn, A_BRINGS, body)
    }

    fn bring_b(&mut self, block: &Block, slice: &Slice) -> Stmt {
        let (g, brings) = (block.g, block.shape.b_brings());
        let turn = self.symbols.fresh("turn", 0, brings - 1);
        let [k, panel, lane] = block.b_element(&Dim::sym(turn));
        let k = slice.first.clone() + k;
        let panel = block.column.floor_div(&WIDTH.into()) + panel;
        let panel = panel.minimum(&(g.n.clone() - 1).floor_div(&WIDTH.into()));
        let mut inside = Expr::bool(true);
        let k = slice.inside(k, &mut inside);
        // Integers lie in groups along K.
        let in_panel = match PanelEncoding::group_of(self.buffers[g.b.buffer].dtype) as i64 {
            1 => k * WIDTH + lane,
            n => k.floor_div(&n.into()) * (n * WIDTH) + lane * n + k.modulo(&n.into()),
        };
        let at = slice.block.clone() * g.b_batch_stride.clone()
            + panel * g.b_panel_stride.clone()
            + in_panel;
        let load = self.kept(moved(&g.b, at), block.dtype);
        let value = match inside {
            Expr::Const(_) => load,
            inside => inside.select(load, block.nothing()),
        };
        Stmt::vector(turn, brings, vec![Stmt::store(block.next_b, Dim::sym(turn), value)])
    }

    /// An element of an operand as the block keeps it.
    fn kept(&self, place: Place, dtype: DType) -> Expr {
        let from = self.buffers[place.buffer].dtype;
        let load = Expr::Load(place);
        if from == dtype { load } else { load.cast(dtype) }
    }

    /// Puts what was brought where all threads find it.
    fn put(&mut self, block: &Block) -> Vec<Stmt> {
        let brings = block.shape.b_brings();
        let i = self.symbols.fresh("turn", 0, A_BRINGS - 1);
        let (row, k) = block.a_element(&Dim::sym(i));
        let a = Stmt::store(block.a, k * A_STEP + row, Expr::load(block.next_a, Dim::sym(i)));
        let j = self.symbols.fresh("turn", 0, brings - 1);
        let [k, panel, lane] = block.b_element(&Dim::sym(j));
        let at = k * block.shape.columns + panel * WIDTH + lane;
        let b = Stmt::store(block.b, at, Expr::load(block.next_b, Dim::sym(j)));
        vec![Stmt::vector(i, A_BRINGS, vec![a]), Stmt::vector(j, brings, vec![b])]
    }

    /// A slice's products, from shared memory into registers.
    fn multiply(&mut self, block: &Block) -> Stmt {
        let shape = block.shape;
        let rows = self.registers("row", block.sums, shape.own_rows);
        let columns = self.registers("column", block.sums, shape.own_columns());
        let k = self.symbols.fresh("k", 0, SLICE - 1);
        let i = self.symbols.fresh("i", 0, shape.own_rows - 1);
        let [group, j] = [("group", shape.groups), ("j", shape.neighbours)]
            .map(|(name, n)| self.symbols.fresh(name, 0, n - 1));
        let take = |to: BufferId, own: Dim, from: BufferId, at: Dim| {
            let x = Expr::load(from, at);
            Stmt::store(to, own, if block.dtype == block.sums { x } else { x.cast(block.sums) })
        };
        let from = Dim::sym(k) * A_STEP + Dim::sym(block.ty) + Dim::sym(i);
        let take_row = take(rows, Dim::sym(i), block.a, from);
        let own = Dim::sym(group) * shape.neighbours + Dim::sym(j);
        let from = Dim::sym(k) * shape.columns + block.own_column(Dim::sym(group), Dim::sym(j));
        let take_column = take(columns, own, block.b, from);
        let [r, c] = self.own_indices(block);
        let at = Dim::sym(r) * shape.own_columns() + Dim::sym(c);
        let product = Expr::load(rows, Dim::sym(r)) * Expr::load(columns, Dim::sym(c));
        let sum = Expr::load(block.acc, at.clone()) + product;
        let add = Stmt::vector(c, shape.own_columns(), vec![Stmt::store(block.acc, at, sum)]);
        let body = vec![
            Stmt::vector(i, shape.own_rows, vec![take_row]),
            Stmt::vector(
                group,
                shape.groups,
                vec![Stmt::vector(j, shape.neighbours, vec![take_column])],
            ),
            Stmt::vector(r, shape.own_rows, vec![add]),
        ];
        Stmt::serial(k, SLICE, body)
    }

    /// The way out, element by element.
    fn results(&mut self, block: &Block) -> Stmt {
        let (g, shape) = (block.g, block.shape);
        let r = self.symbols.fresh("r", 0, shape.own_rows - 1);
        let [group, j] = [("group", shape.groups), ("j", shape.neighbours)]
            .map(|(name, n)| self.symbols.fresh(name, 0, n - 1));
        let row = block.row.clone() + Dim::sym(block.ty) + Dim::sym(r);
        let column = block.column.clone() + block.own_column(Dim::sym(group), Dim::sym(j));
        let own =
            Dim::sym(r) * shape.own_columns() + Dim::sym(group) * shape.neighbours + Dim::sym(j);
        let sum = Expr::load(block.acc, own);
        let store = finished(g, block.sums, &row, &column, sum);
        let inside_row = less(row, g.m.clone());
        let inside = less(column, g.n.clone());
        let neighbours = Stmt::vector(j, shape.neighbours, vec![Stmt::when(inside, vec![store])]);
        let columns = Stmt::vector(group, shape.groups, vec![neighbours]);
        Stmt::vector(r, shape.own_rows, vec![Stmt::when(inside_row, vec![columns])])
    }
}

/// Stores element `(row, column)` of the result, whose sum of products is `value`.
pub(super) fn finished(g: &Gemm, sums: DType, row: &Dim, column: &Dim, value: Expr) -> Stmt {
    let to: Place = moved(&g.c, row.clone() * g.c_row_stride.clone() + column.clone());
    let value = match &g.bias {
        _ if g.accumulate => Expr::Load(to.clone()) + value,
        Some(bias) => value + Expr::Load(moved(bias, column.clone())),
        None => value,
    };
    let value = if sums == DType::F32 { clamped(value, &g.clamp) } else { value };
    Stmt::store(to.buffer, to.at, value)
}

impl Slice {
    /// Step `k`, or the last one there is; `inside` then says that it is not there.
    fn inside(&self, k: Dim, inside: &mut Expr) -> Dim {
        if self.length.modulo(&SLICE.into()).is(0) {
            return k;
        }
        let there = less(k.clone(), self.length.clone());
        let all = std::mem::replace(inside, Expr::bool(true));
        *inside = if matches!(all, Expr::Const(_)) { there } else { all.and(there) };
        k.minimum(&(self.length.clone() - 1))
    }
}

impl Block<'_> {
    /// Binds the thread's place. The threads of a warp are 4 × 8.
    fn place(&self) -> Vec<Stmt> {
        let warps = self.shape.across() / 8;
        let (warp, lane) = (self.thread.floor_div(&32.into()), self.thread.modulo(&32.into()));
        let down = warp.floor_div(&warps.into()) * 4 + lane.floor_div(&8.into());
        let across = warp.modulo(&warps.into()) * 8 + lane.modulo(&8.into());
        vec![
            Stmt::bind(self.ty, Expr::Index(down * self.shape.own_rows)),
            Stmt::bind(self.tx, Expr::Index(across * self.shape.neighbours)),
        ]
    }

    /// A column of the thread's own, in the block.
    fn own_column(&self, group: Dim, j: Dim) -> Dim {
        group * (self.shape.across() * self.shape.neighbours) + Dim::sym(self.tx) + j
    }

    /// Row and step of the element of A that the thread brings in a turn: neighbours along K.
    fn a_element(&self, turn: &Dim) -> (Dim, Dim) {
        let row = turn.clone() * (GEMM_THREADS / SLICE) + self.thread.floor_div(&SLICE.into());
        (row, self.thread.modulo(&SLICE.into()))
    }

    /// Step, panel and lane of the element of B that the thread brings in a turn: in the order
    /// in which they lie in panels, four neighbours at a time.
    fn b_element(&self, turn: &Dim) -> [Dim; 3] {
        /// Threads that bring a panel of a slice.
        const TOGETHER: i64 = SLICE * WIDTH / 4;
        let (four, among) = (turn.floor_div(&4.into()), turn.modulo(&4.into()));
        let panel = four * (GEMM_THREADS / TOGETHER) + self.thread.floor_div(&TOGETHER.into());
        let in_panel = self.thread.modulo(&TOGETHER.into());
        match self.dtype {
            DType::I16 => {
                let pair = in_panel.floor_div(&(WIDTH / 2).into());
                let lane = in_panel.modulo(&(WIDTH / 2).into()) * 2 + among.floor_div(&2.into());
                [pair * 2 + among.modulo(&2.into()), panel, lane]
            }
            _ => {
                let lane = in_panel.modulo(&(WIDTH / 4).into()) * 4 + among;
                [in_panel.floor_div(&(WIDTH / 4).into()), panel, lane]
            }
        }
    }

    fn nothing(&self) -> Expr {
        Expr::Const(Scalar::from_i64(self.dtype, 0))
    }
}
