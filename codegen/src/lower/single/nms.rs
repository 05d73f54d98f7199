//! Non-maximum suppression.
//!
//! `boxes: f32[B,N,4], scores: f32[B,C,N], max_per_class: i64[], iou: f32[], score: f32[] →
//! i64[n,3]`. A launch with a tile per (entry, class) picks the best box that is left and
//! drops those that overlap it, until none is left; a second one counts; after the binding
//! a third one writes the rows. Overlaps are f64, as in the interpreter: exact selection.
//! Bound by compares: 2·N per selected box.

use super::*;
use cascata_ir::graph::ValueId;
use cascata_ir::kernel::{BufferId, LocalId};
use cascata_ir::op::UnaryOp;
use cascata_types::SymbolId;

/// What a selection leaves for the next launches.
#[derive(Clone, Copy)]
struct Picked {
    /// `i64[B·C, N]`: the selected boxes of each class, best first.
    boxes: Operand,
    /// `i64[B·C]`: how many.
    counts: Operand,
}

pub(super) fn lower(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    center_point_box: bool,
    count: SymbolId,
) -> Result<Vec<BareStep>, LowerError> {
    let first = lowering.launches.len();
    let shape = lowering.graph.tensor(node.inputs[1]).shape.clone();
    let classes = shape[0].clone() * shape[1].clone();
    let picked = Picked {
        boxes: lowering.temp(DType::I64, classes.clone() * shape[2].clone()),
        counts: lowering.temp(DType::I64, classes),
    };
    select(lowering, group, node, center_point_box, picked)?;
    let total = lowering.temp(DType::I64, 1.into());
    add_up(lowering, group, &shape, picked, total);
    let middle = lowering.launches.len();
    write_rows(lowering, group, &shape, picked, count);
    Ok(vec![
        BareStep::Launches(first..middle),
        BareStep::Bind(total, vec![count]),
        BareStep::Launches(middle..lowering.launches.len()),
    ])
}

/// The selection of one class under construction.
struct Class<'a> {
    node: &'a Node,
    center_point_box: bool,
    /// Batch entry and class.
    at: [Dim; 2],
    n: Dim,
    /// 1 for boxes that may still be selected.
    alive: BufferId,
}

fn select(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    center_point_box: bool,
    picked: Picked,
) -> Result<(), LowerError> {
    let mut body = Body::new(lowering, group);
    let shape = body.shape(node.inputs[1]);
    let outer = body.axes(&shape[..2]);
    let n = shape[2].clone();
    let at = [Dim::sym(outer[0].var), Dim::sym(outer[1].var)];
    let line = at[0].clone() * shape[1].clone() + at[1].clone();
    let alive = body.scratch("alive", DType::I32, n.clone());
    let class = Class { node, center_point_box, at, n: n.clone(), alive };
    let mut stmts = vec![];
    let most = class.single(&mut body, 2, &mut stmts)?;
    let score_limit = class.single(&mut body, 4, &mut stmts)?;
    let iou_limit = class.single(&mut body, 3, &mut stmts)?;
    stmts.push(class.candidates(&mut body, score_limit)?);
    let limit = body.index("limit", &(n.clone() + 1));
    let within = Expr::Local(most).max(Expr::i64(0)).min(Expr::index(n.clone()));
    stmts.push(Stmt::bind(limit, within));
    let (count, going) = (body.local("count", DType::I64), body.local("going", DType::Bool));
    let pick = body.index("pick", &n);
    let step = body.index("step", &n);
    let (best, find) = class.best(&mut body)?;
    let to = body.output(picked.boxes);
    let mut take = vec![
        Stmt::bind(pick, best.into()),
        // Each step before the last selects one box.
        Stmt::store(to, line.clone() * n + Dim::sym(step), best.into()),
        Stmt::assign(count, Expr::index(Dim::sym(step) + 1)),
    ];
    take.extend(class.suppress(&mut body, pick, iou_limit)?);
    let stop = vec![Stmt::assign(going, Expr::bool(false))];
    let mut turn = find;
    turn.push(Stmt::branch(Expr::Local(best).ge(Expr::i64(0)), take, stop));
    let counts = body.output(picked.counts);
    stmts.extend([
        Stmt::declare(count, Expr::i64(0)),
        Stmt::declare(going, Expr::bool(true)),
        Stmt::serial(step, Dim::sym(limit), vec![Stmt::when(going.into(), turn)]),
        Stmt::store(counts, line, count.into()),
    ]);
    let work = crate::lower::nest::estimate(&class.n, &body.symbols);
    let (grid, mut head) = body.grid(&outer, work.saturating_mul(16));
    head.extend(stmts);
    body.finish("nms_select", grid, head);
    Ok(())
}

impl Class<'_> {
    /// Operand `i`, one element, in a variable.
    fn single(
        &self,
        body: &mut Body,
        i: usize,
        stmts: &mut Vec<Stmt>,
    ) -> Result<LocalId, LowerError> {
        let v: ValueId = self.node.inputs[i];
        let ty = body.graph.tensor(v);
        let (rank, dtype) = (ty.rank(), ty.dtype);
        let value = body.value_at(v, &vec![Dim::from(0); rank])?;
        let local = body.local("operand", dtype);
        stmts.append(&mut body.take_prelude());
        stmts.push(Stmt::declare(local, value));
        Ok(local)
    }

    fn score(&self, body: &mut Body, j: SymbolId) -> Result<Expr, LowerError> {
        let [b, c] = self.at.clone();
        body.value_at(self.node.inputs[1], &[b, c, Dim::sym(j)])
    }

    /// Marks the boxes whose score is above the limit.
    fn candidates(&self, body: &mut Body, limit: LocalId) -> Result<Stmt, LowerError> {
        let j = body.index("j", &self.n);
        let above = self.score(body, j)?.gt(limit.into()).cast(DType::I32);
        Ok(Stmt::serial(j, self.n.clone(), vec![Stmt::store(self.alive, Dim::sym(j), above)]))
    }

    /// The first of the best boxes left, or −1.
    fn best(&self, body: &mut Body) -> Result<(LocalId, Vec<Stmt>), LowerError> {
        let (best, top) = (body.local("best", DType::I64), body.local("top", DType::F32));
        let score = body.local("score", DType::F32);
        let j = body.index("j", &self.n);
        let none = Expr::Local(best).lt(Expr::i64(0));
        let wins = none.or(Expr::Local(score).gt(top.into()));
        let take =
            vec![Stmt::assign(best, Expr::index(Dim::sym(j))), Stmt::assign(top, score.into())];
        let look = vec![Stmt::declare(score, self.score(body, j)?), Stmt::when(wins, take)];
        let walk = vec![Stmt::when(self.is_alive(j), look)];
        let stmts = vec![
            Stmt::declare(best, Expr::i64(-1)),
            Stmt::declare(top, Expr::f32(0.0)),
            Stmt::serial(j, self.n.clone(), walk),
        ];
        Ok((best, stmts))
    }

    fn is_alive(&self, j: SymbolId) -> Expr {
        let zero = Expr::Const(Scalar::from_i64(DType::I32, 0));
        Expr::load(self.alive, Dim::sym(j)).differs(zero)
    }

    /// Drops the picked box and those that overlap it by more than the limit.
    fn suppress(
        &self,
        body: &mut Body,
        pick: SymbolId,
        limit: LocalId,
    ) -> Result<Vec<Stmt>, LowerError> {
        let zero = || Expr::Const(Scalar::from_i64(DType::I32, 0));
        let mut stmts = vec![Stmt::store(self.alive, Dim::sym(pick), zero())];
        let chosen = self.corners(body, pick, &mut stmts)?;
        let j = body.index("j", &self.n);
        let mut look = Vec::new();
        let other = self.corners(body, j, &mut look)?;
        let number = |x: f64| Expr::number(DType::F64, x);
        let side = |i: usize| {
            let high = Expr::Local(other[i + 2]).min(chosen[i + 2].into());
            let low = Expr::Local(other[i]).max(chosen[i].into());
            (high - low).max(number(0.0))
        };
        let area = |c: &[LocalId; 4]| {
            (Expr::Local(c[2]) - Expr::Local(c[0])) * (Expr::Local(c[3]) - Expr::Local(c[1]))
        };
        let (shared, union) = (body.local("shared", DType::F64), body.local("union", DType::F64));
        look.push(Stmt::declare(shared, side(0) * side(1)));
        look.push(Stmt::declare(union, area(&other) + area(&chosen) - Expr::Local(shared)));
        let positive = |x: LocalId| Expr::Local(x).gt(number(0.0));
        let ratio = Expr::Local(shared) / Expr::Local(union);
        let iou = and(positive(shared), positive(union)).select(ratio, number(0.0));
        let kept = iou.le(Expr::Local(limit).cast(DType::F64));
        let drop = vec![Stmt::store(self.alive, Dim::sym(j), zero())];
        look.push(Stmt::when(kept.unary(UnaryOp::Not), drop));
        let walk = vec![Stmt::when(self.is_alive(j), look)];
        stmts.push(Stmt::serial(j, self.n.clone(), walk));
        Ok(stmts)
    }

    /// The low, then the high coordinates of a box, f64.
    fn corners(
        &self,
        body: &mut Body,
        j: SymbolId,
        stmts: &mut Vec<Stmt>,
    ) -> Result<[LocalId; 4], LowerError> {
        let mut name = |body: &mut Body, value: Expr| {
            let local = body.local("corner", DType::F64);
            stmts.push(Stmt::declare(local, value));
            local
        };
        let mut raw = Vec::new();
        for i in 0..4 {
            let at = [self.at[0].clone(), Dim::sym(j), Dim::from(i)];
            let value = body.value_at(self.node.inputs[0], &at)?.cast(DType::F64);
            raw.push(Expr::Local(name(body, value)));
        }
        let mut ends = Vec::new();
        for i in 0..2 {
            let (a, b) = (raw[i].clone(), raw[i + 2].clone());
            ends.push(match self.center_point_box {
                true => {
                    let half = b * Expr::number(DType::F64, 0.5);
                    (a.clone() - half.clone(), a + half)
                }
                false => (a, b),
            });
        }
        let [(p0, q0), (p1, q1)] = [ends[0].clone(), ends[1].clone()];
        Ok([
            name(body, p0.clone().min(q0.clone())),
            name(body, p1.clone().min(q1.clone())),
            name(body, p0.max(q0)),
            name(body, p1.max(q1)),
        ])
    }
}

fn add_up(lowering: &mut Lowering, group: &Group, shape: &[Dim], picked: Picked, to: Operand) {
    let mut body = Body::new(lowering, group);
    let classes = shape[0].clone() * shape[1].clone();
    let (line, sum) = (body.index("line", &classes), body.local("sum", DType::I64));
    let (counts, to) = (body.input(picked.counts), body.output(to));
    let add = Expr::Local(sum) + Expr::load(counts, Dim::sym(line));
    let (grid, mut stmts) = body.grid(&[], 1);
    stmts.extend([
        Stmt::declare(sum, Expr::i64(0)),
        Stmt::serial(line, classes, vec![Stmt::assign(sum, add)]),
        Stmt::store(to, 0, sum.into()),
    ]);
    body.finish("nms_count", grid, stmts);
}

/// `(entry, class, box)` of every selected box, in order.
fn write_rows(
    lowering: &mut Lowering,
    group: &Group,
    shape: &[Dim],
    picked: Picked,
    count: SymbolId,
) {
    let mut body = Body::new(lowering, group);
    let outer = body.axes(&shape[..2]);
    let [b, c] = [Dim::sym(outer[0].var), Dim::sym(outer[1].var)];
    let line = b.clone() * shape[1].clone() + c.clone();
    let (boxes, counts) = (body.input(picked.boxes), body.input(picked.counts));
    let out = body.output(Operand::Value(group.outputs[0]));
    let done = body.local("done", DType::I64);
    let row = body.index("row", &Dim::sym(count));
    let s = body.index("s", &shape[2]);
    let selected = body.index("selected", &(shape[2].clone() + 1));
    let found = Expr::load(boxes, line.clone() * shape[2].clone() + Dim::sym(s));
    let at = |k: i64| Dim::sym(row) * 3 + k;
    let write = vec![
        Stmt::bind(row, done.into()),
        Stmt::store(out, at(0), Expr::index(b)),
        Stmt::store(out, at(1), Expr::index(c)),
        Stmt::store(out, at(2), found),
        Stmt::assign(done, Expr::Local(done) + Expr::i64(1)),
    ];
    let mut walk = vec![
        Stmt::bind(selected, Expr::load(counts, line)),
        Stmt::serial(s, Dim::sym(selected), write),
    ];
    for axis in outer.into_iter().rev() {
        walk = vec![Stmt::serial(axis.var, axis.extent, walk)];
    }
    let (grid, mut stmts) = body.grid(&[], 1);
    stmts.push(Stmt::declare(done, Expr::i64(0)));
    stmts.extend(walk);
    body.finish("nms_rows", grid, stmts);
}
