//! Reductions over axes that are not the last ones.
//!
//! Bound by bytes: the operand once. A block of columns is accumulated in L1 while the
//! reduced axes are walked in memory order, so that every access is contiguous. On a GPU each
//! column has several threads, which walk every so-manieth step.

use super::access::{binary, cast, compare};
use super::body::{Body, dot};
use super::epilogue::bind_axes;
use super::machine::Machine;
use super::nest::{Axis, estimate, merge_axes, nest};
use super::{Group, LowerError, Lowering, Operand};
use cascata_ir::kernel::{BufferId, Expr, LoopKind, Place, Stmt};
use cascata_ir::op::{BinaryOp, Op, ReduceOp};
use cascata_types::{DType, Dim, Scalar, SymbolId};

/// Columns accumulated together.
const BLOCK_COLS: i64 = 256;
/// Columns that a block of a GPU's threads adds up together, and threads for each.
const PART_COLS: i64 = 32;
const PARTS: i64 = 8;

/// The binary op that a reduction repeats.
pub(super) fn joins(op: ReduceOp) -> BinaryOp {
    match op {
        ReduceOp::Sum | ReduceOp::Mean => BinaryOp::Add,
        ReduceOp::Max => BinaryOp::Max,
        ReduceOp::Min => BinaryOp::Min,
        ReduceOp::Prod => BinaryOp::Mul,
    }
}

/// What a reduction adds up in: the sum of a mean of integers wraps at 64 bits only,
/// and half floats would lose a digit per ten terms.
pub(super) fn sums(op: ReduceOp, dtype: DType) -> DType {
    match (op, dtype) {
        (ReduceOp::Max | ReduceOp::Min, _) => dtype,
        (_, DType::F16 | DType::BF16) => DType::F32,
        (ReduceOp::Mean, DType::U64) => DType::U64,
        (ReduceOp::Mean, d) if d.is_int() => DType::I64,
        _ => dtype,
    }
}

/// What a reduction starts from.
pub(super) fn neutral(op: ReduceOp, dtype: DType) -> Scalar {
    let extreme = |x: f64| match dtype {
        d if d.is_float() => Scalar::from_f64(d, x),
        DType::Bool => Scalar::bool(x > 0.0),
        d => Scalar { dtype: d, bits: int_extreme(d, x > 0.0) },
    };
    match op {
        ReduceOp::Sum | ReduceOp::Mean => Scalar::from_i64(dtype, 0),
        ReduceOp::Prod => Scalar::from_i64(dtype, 1),
        ReduceOp::Max => extreme(f64::NEG_INFINITY),
        ReduceOp::Min => extreme(f64::INFINITY),
    }
}

fn int_extreme(dtype: DType, largest: bool) -> u64 {
    let width = 8 * dtype.size_bytes().unwrap_or(8) as u32;
    let mask = u64::MAX >> (64 - width);
    match (dtype.is_signed_int(), largest) {
        (true, true) => mask >> 1,
        (true, false) => (mask >> 1) + 1,
        (false, true) => mask,
        (false, false) => 0,
    }
}

pub(super) fn lower(lowering: &mut Lowering, group: &Group) -> Result<(), LowerError> {
    let node = lowering.graph.nodes[lowering.root(group)].clone();
    let Op::Reduce { op, axes: reduced, keep_dims } = &node.op else {
        return Err(lowering.error(lowering.root(group), "it is not a reduction"));
    };
    let name = super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let (x, result) = (node.inputs[0], node.outputs[0]);
    let (shape, dtype) = (body.shape(x), body.graph.tensor(x).dtype);
    let split = reduced.iter().max().map_or(0, |a| a + 1);
    let all = body.axes(&shape);
    let kept_outer: Vec<Axis> =
        (0..split).filter(|i| !reduced.contains(i)).map(|i| all[i].clone()).collect();
    let walked: Vec<Axis> = reduced.iter().map(|i| all[*i].clone()).collect();
    let inner = all[split..].to_vec();
    let columns = inner.iter().fold(Dim::from(1), |n, a| n * a.extent.clone());

    let width = match body.lowering.machine {
        Machine::Cpu => BLOCK_COLS,
        Machine::Gpu => PART_COLS,
    };
    let blocks = columns.ceil_div(&width.into());
    let block = Axis { var: body.index("block", &blocks), extent: blocks };
    let col0 = Dim::sym(block.var) * width;
    let cols = (columns.clone() - col0.clone()).minimum(&width.into());
    let sums = sums(*op, dtype);
    let walk = Walk { op: *op, sums, walked: walked.clone(), inner: inner.clone(), cols, col0 };
    let idx: Vec<Dim> = all.iter().map(|a| Dim::sym(a.var)).collect();
    let value = cast(sums, dtype, body.value_at(x, &idx)?);
    let j = body.index("j", &width.into());
    let acc = body.scratch("acc", sums, width.into());
    let mut stmts = match body.lowering.machine {
        Machine::Cpu => walk.in_order(&mut body, value, acc),
        Machine::Gpu => walk.in_parts(&mut body, value, acc),
    };
    let Walk { cols, col0, .. } = walk;

    // The way out. Kept axes keep their place; reduced ones are 0 or gone.
    let count = walked.iter().fold(Dim::from(1), |n, a| n * a.extent.clone());
    let sum = Expr::load(acc, Dim::sym(j));
    let sum = match op {
        ReduceOp::Mean => {
            let count = cast(sums, DType::I64, Expr::Index(count));
            cast(dtype, sums, binary(BinaryOp::Div, sum, count))
        }
        _ => cast(dtype, sums, sum),
    };
    let out_axes: Vec<Axis> = (0..shape.len())
        .filter(|i| *keep_dims || !reduced.contains(i))
        .map(|i| all[i].clone())
        .collect();
    let vars: Vec<SymbolId> = out_axes.iter().map(|a| a.var).collect();
    body.know(result, &vars, sum);
    let (last, store) = body.store_strides(body.results()[0]);
    let is_reduced = |v: SymbolId| walked.iter().any(|a| a.var == v);
    let idx: Vec<Dim> =
        vars.iter().map(|v| if is_reduced(*v) { Dim::from(0) } else { Dim::sym(*v) }).collect();
    let value = body.value_at(last, &idx)?;
    let buffer = body.output(Operand::Value(group.outputs[0]));
    let out = vec![Stmt::Store { buffer, at: dot(&idx, &store), value }];
    let prelude = body.take_prelude();
    let (prelude, out) = along_columns(inner, &(col0 + Dim::sym(j)), prelude, out);
    stmts.extend(nest(vec![(Axis { var: j, extent: cols }, LoopKind::Vector)], prelude, out));

    let mut outer = kept_outer;
    outer.push(block);
    body.flops = shape.iter().fold(Dim::from(1), |n, d| n * d.clone());
    let depth = walked.iter().fold(Dim::from(width), |n, a| n * a.extent.clone());
    let elements = estimate(&depth, &body.symbols);
    let (grid, mut head) = body.grid(&outer, elements);
    head.extend(stmts);
    body.finish(&name, grid, head);
    Ok(())
}

/// A block of columns, and the axes that are walked for it.
struct Walk {
    op: ReduceOp,
    /// What is added up in.
    sums: DType,
    walked: Vec<Axis>,
    inner: Vec<Axis>,
    cols: Dim,
    col0: Dim,
}

impl Walk {
    fn start(&self) -> Expr {
        Expr::Const(neutral(self.op, self.sums))
    }

    /// Adds the columns up in `acc`: the reduced axes outside, the columns inside.
    fn in_order(&self, body: &mut Body, value: Expr, acc: BufferId) -> Vec<Stmt> {
        let at = |j: SymbolId| Place { buffer: acc, at: Dim::sym(j) };
        let prelude = body.take_prelude();
        let j = body.index("j", &BLOCK_COLS.into());
        let init = Stmt::Store { buffer: acc, at: Dim::sym(j), value: self.start() };
        let mut stmts = vec![vector(j, &self.cols, vec![init])];
        let j = body.index("j", &BLOCK_COLS.into());
        let joined = binary(joins(self.op), Expr::Load(at(j)), value);
        let step = vec![Stmt::Store { buffer: acc, at: Dim::sym(j), value: joined }];
        let column = self.col0.clone() + Dim::sym(j);
        let (prelude, step) = along_columns(self.inner.clone(), &column, prelude, step);
        let mut loops: Vec<(Axis, LoopKind)> =
            self.walked.iter().map(|a| (a.clone(), LoopKind::Serial)).collect();
        loops.push((Axis { var: j, extent: self.cols.clone() }, LoopKind::Vector));
        stmts.extend(nest(loops, prelude, step));
        stmts
    }

    /// Adds the columns up in `acc`: [`PARTS`] sums of each, over every `PARTS`-th step of the
    /// walk, then those.
    fn in_parts(&self, body: &mut Body, value: Expr, acc: BufferId) -> Vec<Stmt> {
        let partial = body.scratch("part", self.sums, (PARTS * PART_COLS).into());
        let prelude = body.take_prelude();
        let steps = self.walked.iter().fold(Dim::from(1), |n, a| n * a.extent.clone());
        let all = Dim::from(PARTS * PART_COLS);
        let (q, j) = (body.index("q", &all), body.index("j", &PART_COLS.into()));
        let (part, turns) = (body.index("p", &PARTS.into()), steps.ceil_div(&PARTS.into()));
        let turn = body.index("turn", &turns);
        let own = body.local("own", self.sums);
        let step = Dim::sym(turn) * PARTS + Dim::sym(part);
        let column = self.col0.clone() + Dim::sym(j);
        let add = vec![Stmt::reduce(own, joins(self.op), value)];
        let (prelude, add) = along_columns(self.inner.clone(), &column, prelude, add);
        let mut walk = bind_axes(&self.walked, &step);
        walk.extend(prelude.into_iter().chain(add));
        let count = (steps - Dim::sym(part)).ceil_div(&PARTS.into());
        let column_of_part = vec![
            Stmt::declare(own, self.start()),
            Stmt::serial(turn, count, walk),
            Stmt::store(partial, Dim::sym(q), Expr::Local(own)),
        ];
        let there = compare(BinaryOp::Lt, Dim::sym(j), self.cols.clone());
        let parts = vec![
            Stmt::bind(j, Expr::Index(Dim::sym(q).modulo(&PART_COLS.into()))),
            Stmt::bind(part, Expr::Index(Dim::sym(q).floor_div(&PART_COLS.into()))),
            Stmt::when(there, column_of_part),
        ];
        let (j, p) = (body.index("j", &PART_COLS.into()), body.index("p", &PARTS.into()));
        let sum = body.local("sum", self.sums);
        let from = Expr::load(partial, Dim::sym(p) * PART_COLS + Dim::sym(j));
        let add = Stmt::reduce(sum, joins(self.op), from);
        let joined = vec![
            Stmt::declare(sum, self.start()),
            Stmt::serial(p, Dim::from(PARTS), vec![add]),
            Stmt::store(acc, Dim::sym(j), Expr::Local(sum)),
        ];
        vec![vector(q, &all, parts), vector(j, &self.cols, joined)]
    }
}

fn vector(var: SymbolId, extent: &Dim, body: Vec<Stmt>) -> Stmt {
    Stmt::For { var, extent: extent.clone(), kind: LoopKind::Vector, body }
}

/// Replaces the inner axes by one column number: merged where memory allows, else bound.
fn along_columns(
    mut inner: Vec<Axis>,
    column: &Dim,
    mut prelude: Vec<Stmt>,
    mut stmts: Vec<Stmt>,
) -> (Vec<Stmt>, Vec<Stmt>) {
    merge_axes(&mut inner, &mut prelude, &mut stmts);
    if let [axis] = inner.as_slice() {
        super::epilogue::replace(&mut prelude, &mut stmts, axis.var, column);
        return (prelude, stmts);
    }
    let mut binds = super::epilogue::bind_axes(&inner, column);
    binds.extend(prelude);
    (binds, stmts)
}
