//! Pooling, channels last: `y[N, o…, C]` from `x[N, s…, C]`.
//!
//! Bound by bytes: the operand once per kernel row. Channels are the vector axis; one
//! output pixel's channels are accumulated in L1 over the window's pixels.

use super::access::{and, binary, cast, compare};
use super::body::{Body, dot};
use super::columns::{joins, neutral};
use super::epilogue::bind_axes;
use super::nest::{Axis, estimate, nest};
use super::{Group, LowerError, Lowering, Operand};
use cascata_ir::kernel::{Expr, LoopKind, Stmt};
use cascata_ir::op::{BinaryOp, PoolAttrs, PoolKind, ReduceOp, UnaryOp};
use cascata_types::{DType, Dim, Scalar, SymbolId};

/// One pooled pixel under construction.
struct Window<'a> {
    attrs: &'a PoolAttrs,
    x: Vec<Dim>,
    pixel: Vec<Dim>,
}

pub(super) fn lower(
    lowering: &mut Lowering,
    group: &Group,
    attrs: &PoolAttrs,
) -> Result<(), LowerError> {
    let node = lowering.graph.nodes[lowering.root(group)].clone();
    let name = super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let (x, y) = (body.shape(node.inputs[0]), body.shape(node.outputs[0]));
    let dtype = body.graph.tensor(node.outputs[0]).dtype;
    let channels = x.last().cloned().expect("channels are the last axis");
    let pixels = body.axes(&y[..y.len() - 1]);
    let window = Window { attrs, x, pixel: pixels.iter().map(|a| Dim::sym(a.var)).collect() };
    let acc = body.scratch("acc", dtype, channels.clone());
    let count = body.local("count", DType::I64);
    let op = match attrs.kind {
        PoolKind::Max { .. } => ReduceOp::Max,
        PoolKind::Average { .. } | PoolKind::Lp { .. } => ReduceOp::Sum,
    };
    let c = body.index("c", &channels);
    let start = Expr::Const(neutral(op, dtype));
    let mut stmts = vec![
        Stmt::declare(count, Expr::i64(0)),
        Stmt::vector(c, channels.clone(), vec![Stmt::store(acc, Dim::sym(c), start)]),
    ];
    stmts.extend(window.accumulate(&mut body, node.inputs[0], acc, count, op, &channels)?);

    let c = body.index("c", &channels);
    let divisor = cast(dtype, DType::I64, Expr::Local(count));
    let sum = Expr::load(acc, Dim::sym(c));
    let value = match attrs.kind {
        PoolKind::Max { .. } => sum,
        PoolKind::Average { .. } => binary(BinaryOp::Div, sum, divisor),
        PoolKind::Lp { p } => {
            let root = Expr::Const(Scalar::from_f64(dtype, 1.0 / p as f64));
            binary(BinaryOp::Pow, sum, root)
        }
    };
    let vars: Vec<SymbolId> = pixels.iter().map(|a| a.var).chain([c]).collect();
    body.know(node.outputs[0], &vars, value);
    let (last, store) = body.store_strides(body.results()[0]);
    let idx: Vec<Dim> = vars.iter().map(|v| Dim::sym(*v)).collect();
    let value = body.value_at(last, &idx)?;
    let buffer = body.output(Operand::Value(group.outputs[0]));
    let out = vec![Stmt::store(buffer, dot(&idx, &store), value)];
    let prelude = body.take_prelude();
    let columns = Axis { var: c, extent: channels.clone() };
    stmts.extend(nest(vec![(columns, LoopKind::Vector)], prelude, out));
    finish(body, &name, pixels, &channels, attrs, stmts);
    Ok(())
}

fn finish(
    mut body: Body,
    name: &str,
    pixels: Vec<Axis>,
    channels: &Dim,
    attrs: &PoolAttrs,
    stmts: Vec<Stmt>,
) {
    let taps: i64 = attrs.kernel.iter().product();
    let per_pixel = estimate(channels, &body.symbols).saturating_mul(taps).max(1);
    let chunk = (body.lowering.machine.row_tile() / per_pixel).max(1);
    let total = pixels.iter().fold(Dim::from(1), |n, a| n * a.extent.clone());
    let tiles = total.ceil_div(&chunk.into());
    let tile = Axis { var: body.index("tile", &tiles), extent: tiles };
    let first = Dim::sym(tile.var) * chunk;
    let extent = (total.clone() - first.clone()).minimum(&chunk.into());
    let r = body.index("r", &chunk.into());
    let mut row = bind_axes(&pixels, &(first + Dim::sym(r)));
    row.extend(stmts);
    let (grid, mut head) = body.grid(&[tile], chunk * per_pixel);
    head.push(Stmt::serial(r, extent, row));
    body.flops = total * channels.clone() * taps;
    body.finish(name, grid, head);
}

impl Window<'_> {
    /// Joins every pixel of the window that lies inside of the operand.
    fn accumulate(
        &self,
        body: &mut Body,
        x: cascata_ir::graph::ValueId,
        acc: cascata_ir::kernel::BufferId,
        count: cascata_ir::kernel::LocalId,
        op: ReduceOp,
        channels: &Dim,
    ) -> Result<Vec<Stmt>, LowerError> {
        let taps: Vec<Axis> = self
            .attrs
            .kernel
            .iter()
            .map(|k| Axis { var: body.index("tap", &(*k).into()), extent: (*k).into() })
            .collect();
        let mut idx = vec![self.pixel[0].clone()];
        let (mut inside, mut padded) = (Expr::bool(true), Expr::bool(true));
        for (d, tap) in taps.iter().enumerate() {
            let n = self.x[d + 1].clone();
            let at = self.pixel[d + 1].clone() * self.attrs.strides[d] - self.attrs.pads[d].0
                + Dim::sym(tap.var) * self.attrs.dilations[d];
            let within = |low: i64, high: Dim| {
                let low = compare(BinaryOp::Ge, at.clone(), low.into());
                and(low, compare(BinaryOp::Lt, at.clone(), high))
            };
            inside = and(inside, within(0, n.clone()));
            padded = and(padded, within(-self.attrs.pads[d].0, n + self.attrs.pads[d].1));
            idx.push(at);
        }
        let c = body.index("c", channels);
        idx.push(Dim::sym(c));
        let value = body.value_at(x, &idx)?;
        let value = match self.attrs.kind {
            PoolKind::Lp { p } => {
                let dtype = body.graph.tensor(x).dtype;
                let power = Expr::Const(Scalar::from_f64(dtype, p as f64));
                binary(BinaryOp::Pow, Expr::Unary(UnaryOp::Abs, value.into()), power)
            }
            _ => value,
        };
        if !body.prelude.is_empty() {
            return Err(body.error("pooling of values read through an index"));
        }
        let joined = binary(joins(op), Expr::load(acc, Dim::sym(c)), value);
        let step = Stmt::vector(c, channels.clone(), vec![Stmt::store(acc, Dim::sym(c), joined)]);
        let add = binary(BinaryOp::Add, Expr::Local(count), Expr::i64(1));
        let counted = Stmt::assign(count, add);
        let mut stmts = match self.attrs.kind {
            PoolKind::Average { count_pad: true } => {
                vec![Stmt::when(padded, vec![counted]), Stmt::when(inside, vec![step])]
            }
            _ => vec![Stmt::when(inside, vec![counted, step])],
        };
        for tap in taps.into_iter().rev() {
            stmts = vec![Stmt::serial(tap.var, tap.extent, stmts)];
        }
        Ok(stmts)
    }
}
