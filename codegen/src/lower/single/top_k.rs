//! TopK: values and indices of the k best along an axis, best first, equal ones by lowest
//! index; NaN is above every number.
//!
//! `x[.., N, ..] → values[.., k, ..], indices: i64[.., k, ..]`, any number dtype, exact. The
//! results themselves hold the k best so far: an element that beats the last is moved up to
//! its place. Bound by bytes (N per line) for k ≪ N and elements in no order; by N·k moves
//! at worst.

use super::*;
use cascata_ir::kernel::{BufferId, LocalId};
use cascata_ir::op::UnaryOp;

/// One line of the results.
struct Line {
    values: BufferId,
    indices: BufferId,
    base: Dim,
    stride: Dim,
}

impl Line {
    fn at(&self, position: Dim) -> Dim {
        self.base.clone() + position * self.stride.clone()
    }
}

pub(super) fn lower(lowering: &mut Lowering, group: &Group, node: &Node) -> Result<(), LowerError> {
    let Op::TopK { k, axis, largest, .. } = &node.op else {
        return Err(lowering.error(lowering.root(group), "it is not a TopK"));
    };
    let (axis, name) = (*axis, crate::lower::map::name(lowering, group));
    let mut body = Body::new(lowering, group);
    let x = node.inputs[0];
    let (shape, dtype) = (body.shape(x), body.graph.tensor(x).dtype);
    let axes = body.axes(&shape);
    let mut idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    let value = body.value_at(x, &idx)?;
    let j = std::mem::take(&mut idx[axis]);
    let strides = crate::lower::body::strides(&body.shape(node.outputs[0]));
    let line = Line {
        values: body.output(Operand::Value(group.outputs[0])),
        indices: body.output(Operand::Value(group.outputs[1])),
        base: dot(&idx, &strides),
        stride: strides[axis].clone(),
    };
    let (candidate, count) = (body.local("x", dtype), body.local("count", DType::I64));
    let wins = body.local("wins", DType::Bool);
    let beats = |other: Expr| beats(*largest, dtype, candidate.into(), other);
    let last = beats(Expr::load(line.values, line.at(k.clone() - 1)));
    let full = Expr::Local(count).ge(Expr::index(k.clone()));
    let mut step = vec![
        Stmt::declare(candidate, value),
        Stmt::declare(wins, Expr::bool(true)),
        Stmt::when(full, vec![Stmt::assign(wins, last)]),
    ];
    let place = insert(&mut body, &line, (candidate, count, &j), k, &beats);
    step.push(Stmt::when(wins.into(), place));
    let fits = compare(BinaryOp::Le, k.clone(), shape[axis].clone());
    body.check(fits, "TopK asks for more elements than there are".into());
    let mut stmts = body.take_prelude();
    // Nothing to do for k = 0.
    let extent = shape[axis].clone() * k.minimum(&1.into());
    stmts.push(Stmt::declare(count, Expr::i64(0)));
    stmts.push(Stmt::serial(axes[axis].var, extent, step));
    scan::walk(body, &name, axes, axis, stmts)
}

/// Whether `a` comes before `b` of a lower index.
fn beats(largest: bool, dtype: DType, a: Expr, b: Expr) -> Expr {
    let op = if largest { BinaryOp::Gt } else { BinaryOp::Lt };
    let ordered = binary(op, a.clone(), b.clone());
    if !dtype.is_float() {
        return ordered;
    }
    let (nan, number) = if largest { (a, b) } else { (b, a) };
    let number = number.unary(UnaryOp::IsNan).unary(UnaryOp::Not);
    ordered.or(and(nan.unary(UnaryOp::IsNan), number))
}

/// Moves what the candidate beats one place down and writes it above.
fn insert(
    body: &mut Body,
    line: &Line,
    (candidate, count, index): (LocalId, LocalId, &Dim),
    k: &Dim,
    beats: &dyn Fn(Expr) -> Expr,
) -> Vec<Stmt> {
    let kept = body.index("kept", k);
    let (place, moving) = (body.local("place", DType::I64), body.local("moving", DType::Bool));
    let s = body.index("s", k);
    let from = Dim::sym(kept) - Dim::sym(s) - 1;
    let above = Expr::load(line.values, line.at(from.clone()));
    let down = vec![
        Stmt::store(line.values, line.at(from.clone() + 1), above.clone()),
        Stmt::store(
            line.indices,
            line.at(from.clone() + 1),
            Expr::load(line.indices, line.at(from.clone())),
        ),
        Stmt::assign(place, Expr::index(from)),
    ];
    let stop = vec![Stmt::assign(moving, Expr::bool(false))];
    let shift = Stmt::when(moving.into(), vec![Stmt::branch(beats(above), down, stop)]);
    let to = body.index("place", k);
    let most = Expr::index(k.clone() - 1);
    vec![
        // What is kept besides the candidate.
        Stmt::bind(kept, Expr::Local(count).min(most)),
        Stmt::declare(place, Expr::index(kept)),
        Stmt::declare(moving, Expr::bool(true)),
        Stmt::serial(s, Dim::sym(kept), vec![shift]),
        Stmt::bind(to, place.into()),
        Stmt::store(line.values, line.at(Dim::sym(to)), candidate.into()),
        Stmt::store(line.indices, line.at(Dim::sym(to)), Expr::index(index.clone())),
        Stmt::assign(count, Expr::index(kept) + Expr::i64(1)),
    ]
}
