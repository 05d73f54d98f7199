//! The launch that walks time.

use super::cell::Step;
use super::*;
use cascata_ir::kernel::BufferId;
use cascata_types::SymbolId;

/// Most batch entries of a block: one pass over R serves them all.
const BLOCK_ENTRIES: i64 = 16;

/// What a step touches.
pub(super) struct Walk<'a> {
    pub kind: Kind,
    pub attrs: &'a RecurrentAttrs,
    pub sizes: &'a Sizes,
    pub direction: Dim,
    /// First entry of the block and their number.
    block: (Dim, Dim),
    r: Panels,
    r_buffer: BufferId,
    bias: Option<BufferId>,
    lens: BufferId,
    /// x·Wᵀ + bias.
    pub projection: BufferId,
    /// h·Rᵀ + bias of the block.
    pub products: BufferId,
    /// `r ⊙ h` of the block.
    pub kept: Option<BufferId>,
    pub peepholes: Option<BufferId>,
    pub y: BufferId,
    pub h: BufferId,
    pub c: Option<BufferId>,
}

/// The operands that only the walk reads.
struct Operands {
    r: Panels,
    lens: Operand,
    h0: Option<Operand>,
    c0: Option<Operand>,
    peepholes: Option<Operand>,
}

impl Operands {
    /// `parts` matrices of R per direction.
    fn new(
        lowering: &mut Lowering,
        group: &Group,
        node: &Node,
        (kind, sizes): (Kind, &Sizes),
        parts: i64,
    ) -> Result<Self, LowerError> {
        let n = sizes.hidden.clone() * (sizes.gates / parts);
        let shape = (sizes.directions * parts, &n, &sizes.hidden);
        let mut state = |i: usize| match kind {
            Kind::Gru | Kind::Rnn if i > 5 => Ok(None),
            _ => dense_or_zero(lowering, group, node.inputs[i]),
        };
        let (h0, c0, peepholes) = (state(5)?, state(6)?, state(7)?);
        let r = Panels::of_transposed(lowering, group, node.inputs[2], shape)?;
        Ok(Self { r, lens: dense(lowering, group, node.inputs[4])?, h0, c0, peepholes })
    }
}

pub(super) fn walk(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    attrs: &RecurrentAttrs,
    (kind, sizes): (Kind, &Sizes),
    bias: Option<Operand>,
    projection: Operand,
) -> Result<(), LowerError> {
    let two_products = kind == Kind::Gru && !attrs.linear_before_reset;
    let parts = if two_products { 3 } else { 1 };
    let operands = Operands::new(lowering, group, node, (kind, sizes), parts)?;
    let name = crate::lower::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let entries = sizes.batch.as_const().map_or(BLOCK_ENTRIES, |b| b.clamp(1, BLOCK_ENTRIES));
    let blocks = sizes.batch.ceil_div(&entries.into());
    let outer: Vec<Axis> = [("d", sizes.directions.into()), ("bb", blocks)]
        .map(|(hint, extent)| Axis { var: body.index(hint, &extent), extent })
        .into();
    let first = Dim::sym(outer[1].var) * entries;
    let count = (sizes.batch.clone() - first.clone()).minimum(&entries.into());
    let kept = sizes.hidden.clone() * entries;
    let walk = Walk {
        kind,
        attrs,
        sizes,
        direction: Dim::sym(outer[0].var),
        block: (first, count),
        r_buffer: body.input(operands.r.operand),
        r: operands.r,
        bias: bias.map(|v| body.input(v)),
        lens: body.input(operands.lens),
        projection: body.input(projection),
        products: body.scratch("products", DType::F32, sizes.columns() * entries),
        kept: two_products.then(|| body.scratch("kept", DType::F32, kept)),
        peepholes: operands.peepholes.map(|v| body.input(v)),
        y: body.output(Operand::Value(group.outputs[0])),
        h: body.output(Operand::Value(group.outputs[1])),
        c: (kind == Kind::Lstm).then(|| body.output(Operand::Value(group.outputs[2]))),
    };
    let mut stmts = walk.start(&mut body, walk.h, operands.h0);
    if let Some(c) = walk.c {
        stmts.extend(walk.start(&mut body, c, operands.c0));
    }
    stmts.push(walk.check_lens(&mut body));
    stmts.push(walk.time(&mut body));
    let work = sizes.columns() * sizes.hidden.clone() * 2 * sizes.steps.clone();
    body.flops = work.clone() * sizes.batch.clone() * sizes.directions;
    let per_tile = estimate(&work, &body.symbols).saturating_mul(entries);
    let (grid, mut head) = body.grid(&outer, per_tile / 8);
    head.extend(stmts);
    body.finish(&name, grid, head);
    Ok(())
}

impl Walk<'_> {
    /// First element of the block's states.
    fn states(&self) -> Dim {
        let entry = self.direction.clone() * self.sizes.batch.clone() + self.block.0.clone();
        entry * self.sizes.hidden.clone()
    }

    /// Copies the block's initial states.
    fn start(&self, body: &mut Body, to: BufferId, from: Option<Operand>) -> Vec<Stmt> {
        let extent = self.block.1.clone() * self.sizes.hidden.clone();
        let j = body.index("j", &extent);
        let at = self.states() + Dim::sym(j);
        let value = operand::element(body, from, at.clone());
        vec![Stmt::vector(j, extent, vec![Stmt::store(to, at, value)])]
    }

    fn check_lens(&self, body: &mut Body) -> Stmt {
        let e = body.index("e", &self.block.1);
        let len = Expr::load(self.lens, self.block.0.clone() + Dim::sym(e)).cast(DType::I64);
        let fits = and(len.clone().ge(Expr::i64(0)), len.le(Expr::index(self.sizes.steps.clone())));
        body.check(fits, "a sequence length is out of range".into());
        Stmt::serial(e, self.block.1.clone(), body.take_prelude())
    }

    fn time(&self, body: &mut Body) -> Stmt {
        let i = body.index("i", &self.sizes.steps);
        let mut stmts = Vec::new();
        match self.kept {
            None => stmts.push(self.recurrent_product(self.h, 0, self.sizes.columns())),
            Some(kept) => {
                let hidden = &self.sizes.hidden;
                stmts.push(self.recurrent_product(self.h, 0, hidden.clone()));
                stmts.push(self.recurrent_product(self.h, 1, hidden.clone()));
                let clear = |body: &mut Body, row: &Dim, _: &Dim| {
                    zeros(body, kept, row.clone() * hidden.clone(), hidden)
                };
                stmts.push(self.entries(body, i, &|body, at| self.reset(body, at), &clear));
                stmts.push(self.recurrent_product(kept, 2, hidden.clone()));
            }
        }
        let clear =
            |body: &mut Body, _: &Dim, y: &Dim| zeros(body, self.y, y.clone(), &self.sizes.hidden);
        stmts.push(self.entries(body, i, &|body, at| self.step(body, at), &clear));
        Stmt::serial(i, self.sizes.steps.clone(), stmts)
    }

    /// `products[.., part·n..][..n] = from·Rᵀ + bias` for the block.
    fn recurrent_product(&self, from: BufferId, part: i64, n: Dim) -> Stmt {
        let (hidden, columns) = (&self.sizes.hidden, self.sizes.columns());
        let parts = if self.kept.is_some() { 3 } else { 1 };
        let a = match self.kept {
            Some(kept) if kept == from => Place::new(from, 0),
            _ => Place::new(from, self.states()),
        };
        let matrix = self.direction.clone() * parts + part;
        let b = Place::new(self.r_buffer, matrix * self.r.matrix.clone());
        let column = n.clone() * part;
        let bias = self.bias.map(|v| {
            Place::new(v, (self.direction.clone() * 2 + 1) * columns.clone() + column.clone())
        });
        let c = Place::new(self.products, column);
        product((a, hidden), (b, &self.r), (c, &columns), bias, [&self.block.1, &n, hidden])
    }

    /// For each entry of the block: `run` where time step `i` is within its length,
    /// `clear(row, first element of y)` elsewhere.
    fn entries(
        &self,
        body: &mut Body,
        i: SymbolId,
        run: &dyn Fn(&mut Body, &Step) -> Vec<Stmt>,
        clear: &dyn Fn(&mut Body, &Dim, &Dim) -> Vec<Stmt>,
    ) -> Stmt {
        let row = body.index("row", &self.block.1);
        let entry = self.block.0.clone() + Dim::sym(row);
        let len = body.index("len", &(self.sizes.steps.clone() + 1));
        let loaded = Expr::load(self.lens, entry.clone()).cast(DType::I64);
        let t = body.index("t", &self.sizes.steps);
        let (forward, last) = (Dim::sym(i), Dim::sym(len) - 1);
        let backward = last - forward.clone();
        let time = match self.attrs.direction {
            Direction::Forward => Expr::index(forward.clone()),
            Direction::Reverse => Expr::index(backward),
            Direction::Bidirectional => compare(BinaryOp::Eq, self.direction.clone(), 0.into())
                .select(Expr::index(forward.clone()), Expr::index(backward)),
        };
        let mut active = vec![Stmt::bind(t, time)];
        active.extend(self.directions(body, (Dim::sym(row), &entry, &Dim::sym(t)), run));
        let inactive = clear(body, &Dim::sym(row), &self.y_row(&forward, &entry));
        let within = compare(BinaryOp::Lt, forward, Dim::sym(len));
        let stmts = vec![Stmt::bind(len, loaded), Stmt::branch(within, active, inactive)];
        Stmt::serial(row, self.block.1.clone(), stmts)
    }

    /// `run` with the activations of the direction: two versions where they differ.
    fn directions(
        &self,
        body: &mut Body,
        (row, entry, t): (Dim, &Dim, &Dim),
        run: &dyn Fn(&mut Body, &Step) -> Vec<Stmt>,
    ) -> Vec<Stmt> {
        let sizes = self.sizes;
        let line = self.direction.clone() * sizes.steps.clone() + t.clone();
        let state = self.direction.clone() * sizes.batch.clone() + entry.clone();
        let step = |activations: &[cascata_ir::op::Activation]| Step {
            activations: activations.to_vec(),
            row: row.clone(),
            projected: (line.clone() * sizes.batch.clone() + entry.clone()) * sizes.columns(),
            state: state.clone() * sizes.hidden.clone(),
            y: self.y_row(t, entry),
        };
        let (first, second) = self.attrs.activations.split_at(self.kind.functions());
        let forward = run(body, &step(first));
        if second.is_empty() || second == first {
            return forward;
        }
        let backward = run(body, &step(second));
        let is_forward = compare(BinaryOp::Eq, self.direction.clone(), 0.into());
        vec![Stmt::branch(is_forward, forward, backward)]
    }

    /// First element of an entry's row of y.
    fn y_row(&self, t: &Dim, entry: &Dim) -> Dim {
        let line = t.clone() * self.sizes.directions + self.direction.clone();
        (line * self.sizes.batch.clone() + entry.clone()) * self.sizes.hidden.clone()
    }
}

fn zeros(body: &mut Body, buffer: BufferId, at: Dim, n: &Dim) -> Vec<Stmt> {
    let j = body.index("j", n);
    vec![Stmt::vector(j, n.clone(), vec![Stmt::store(buffer, at + Dim::sym(j), Expr::f32(0.0))])]
}
