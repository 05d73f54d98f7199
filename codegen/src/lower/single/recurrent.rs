//! Lstm, Gru and Rnn, f32.
//!
//! `x[S,B,I], w[D,G·H,I], r[D,G·H,H], b[D,2·G·H], lens: i32[B], h0[D,B,H] → y[S,D,B,H],
//! h[D,B,H]`; an LSTM also takes `c0[D,B,H], p[D,3H]` and gives `c[D,B,H]`.
//!
//! Versions: 1. one launch for x·Wᵀ + bias of all time steps; one launch that walks time for
//! each direction and block of batch entries: a recurrent product of the block, then the
//! gates in vector loops. Both weights are packed at compile time when constant.
//! Bound by flops, 2·S·B·D·G·H·(I + H), when a block has many entries, by the bytes of R
//! once per time step when it has few. Error: each step adds that of f32 products over I and
//! H and of the activations; states are f32 between steps.

use super::operand::{Panels, dense, dense_or_zero};
use super::*;
use crate::lower::nest::estimate;
use cascata_ir::kernel::{Gemm, Place, Rows};
use cascata_ir::op::{Direction, RecurrentAttrs};
use cascata_types::PANEL_WIDTH;

mod activation;
mod cell;
mod walk;

/// Rows of a block of the input projection.
const BLOCK_ROWS: i64 = 64;
/// Columns of a block of the input projection.
const BLOCK_COLS: i64 = 192;

/// Which recurrence.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Lstm,
    Gru,
    Rnn,
}

impl Kind {
    fn gates(self) -> i64 {
        match self {
            Kind::Lstm => 4,
            Kind::Gru => 3,
            Kind::Rnn => 1,
        }
    }

    /// Activations of one direction.
    fn functions(self) -> usize {
        match self {
            Kind::Lstm => 3,
            Kind::Gru => 2,
            Kind::Rnn => 1,
        }
    }
}

/// The sizes of a problem.
struct Sizes {
    steps: Dim,
    batch: Dim,
    input: Dim,
    hidden: Dim,
    directions: i64,
    gates: i64,
}

impl Sizes {
    /// Columns of a product: the gates' units.
    fn columns(&self) -> Dim {
        self.hidden.clone() * self.gates
    }
}

pub(super) fn lower(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    attrs: &RecurrentAttrs,
    kind: Kind,
) -> Result<(), LowerError> {
    let root = lowering.root(group);
    if lowering.graph.tensor(node.inputs[0]).dtype != DType::F32 {
        return Err(lowering.error(root, "only f32 recurrences are compiled"));
    }
    let shape = |v| &lowering.graph.tensor(v).shape;
    let (x, r) = (shape(node.inputs[0]), shape(node.inputs[2]));
    let sizes = Sizes {
        steps: x[0].clone(),
        batch: x[1].clone(),
        input: x[2].clone(),
        hidden: r[2].clone(),
        directions: if attrs.direction == Direction::Bidirectional { 2 } else { 1 },
        gates: kind.gates(),
    };
    if attrs.activations.len() != kind.functions() * sizes.directions as usize {
        return Err(lowering.error(root, "the number of activations is wrong"));
    }
    let bias = dense_or_zero(lowering, group, node.inputs[3])?;
    let projection = project(lowering, group, node, &sizes, bias)?;
    walk::walk(lowering, group, node, attrs, (kind, &sizes), bias, projection)
}

/// `x·Wᵀ + bias` for all time steps: `f32[D, S·B, G·H]`.
fn project(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    sizes: &Sizes,
    bias: Option<Operand>,
) -> Result<Operand, LowerError> {
    let x = dense(lowering, group, node.inputs[0])?;
    let n = sizes.columns();
    let shape = (sizes.directions, &n, &sizes.input);
    let w = Panels::of_transposed(lowering, group, node.inputs[1], shape)?;
    let m = sizes.steps.clone() * sizes.batch.clone();
    let out = lowering.temp(DType::F32, m.clone() * n.clone() * sizes.directions);
    let mut body = Body::new(lowering, group);
    let mut outer = Vec::new();
    for (hint, extent) in [
        ("d", Dim::from(sizes.directions)),
        ("cb", n.ceil_div(&BLOCK_COLS.into())),
        ("rb", m.ceil_div(&BLOCK_ROWS.into())),
    ] {
        outer.push(Axis { var: body.index(hint, &extent), extent });
    }
    let [d, col0, row0] =
        [(0, 1), (1, BLOCK_COLS), (2, BLOCK_ROWS)].map(|(i, scale)| Dim::sym(outer[i].var) * scale);
    let a = Place::new(body.input(x), row0.clone() * sizes.input.clone());
    let panel = col0.floor_div(&(PANEL_WIDTH as i64).into()) * w.panel.clone();
    let b = Place::new(body.input(w.operand), d.clone() * w.matrix.clone() + panel);
    let first = (d.clone() * m.clone() + row0.clone()) * n.clone() + col0.clone();
    let c = Place::new(body.output(out), first);
    let bias = bias.map(|v| Place::new(body.input(v), d * n.clone() * 2 + col0.clone()));
    let rows = (m.clone() - row0).minimum(&BLOCK_ROWS.into());
    let cols = (n.clone() - col0).minimum(&BLOCK_COLS.into());
    let stmt = product((a, &sizes.input), (b, &w), (c, &n), bias, [&rows, &cols, &sizes.input]);
    body.flops = m * n * sizes.input.clone() * (2 * sizes.directions);
    let work = estimate(&(sizes.input.clone() * (BLOCK_ROWS * 192)), &body.symbols);
    let (grid, mut stmts) = body.grid(&outer, work / 8);
    stmts.push(stmt);
    body.finish("recurrent_input", grid, stmts);
    Ok(out)
}

/// `c = a·b + bias` for rows and columns `[m, n, k]`; places come with their row strides.
fn product(
    (a, a_stride): (Place, &Dim),
    (b, panels): (Place, &Panels),
    (c, c_stride): (Place, &Dim),
    bias: Option<Place>,
    [m, n, k]: [&Dim; 3],
) -> Stmt {
    let before = (panels.blocks.clone() - 1) * panels.k_block.clone();
    Stmt::Gemm(Box::new(Gemm {
        a: Rows::Strided {
            base: a,
            row_stride: a_stride.clone(),
            batch_stride: panels.k_block.clone(),
        },
        a_zero: None,
        scales: None,
        b,
        b_panel_stride: panels.panel.clone(),
        b_batch_stride: panels.block.clone(),
        c,
        c_row_stride: c_stride.clone(),
        bias,
        m: m.clone(),
        n: n.clone(),
        k: panels.k_block.clone(),
        k_last: k.clone() - before,
        batch: panels.blocks.clone(),
        accumulate: false,
        clamp: (Scalar::f32(f32::NEG_INFINITY), Scalar::f32(f32::INFINITY)),
    }))
}
