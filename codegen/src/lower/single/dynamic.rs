//! Ops that bind symbols while the entry runs: a launch leaves `i64` values in memory, the
//! host binds them, and what follows is planned anew.

use super::operand::dense;
use super::*;
use cascata_ir::kernel::LocalId;
use cascata_ir::op::{BindMode, UnaryOp};
use cascata_types::SymbolId;

/// `x: i64[n]`, one symbol per element.
pub(super) fn bind_dims(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    symbols: &[SymbolId],
    mode: &BindMode,
) -> Result<Vec<BareStep>, LowerError> {
    let first = lowering.launches.len();
    let operand = match mode {
        BindMode::Raw => bindable(lowering, group, node)?,
        BindMode::Reshape { operand, allow_zero } => {
            let temp = lowering.temp(DType::I64, (symbols.len() as i64).into());
            resolve(lowering, group, node, operand, *allow_zero, temp)?;
            temp
        }
    };
    Ok(after(lowering, first, vec![BareStep::Bind(operand, symbols.to_vec())]))
}

/// The launches since `first`, where there are any, then the given steps.
fn after(lowering: &Lowering, first: usize, then: Vec<BareStep>) -> Vec<BareStep> {
    let range = first..lowering.launches.len();
    let launches = (!range.is_empty()).then_some(BareStep::Launches(range));
    launches.into_iter().chain(then).collect()
}

/// The node's operand in memory that a launch has written or the caller gave.
fn bindable(lowering: &mut Lowering, group: &Group, node: &Node) -> Result<Operand, LowerError> {
    let operand = dense(lowering, group, node.inputs[0])?;
    if !matches!(operand, Operand::Weight(_)) {
        return Ok(operand);
    }
    let ty = lowering.graph.tensor(node.inputs[0]).clone();
    let temp = lowering.temp(ty.dtype, ty.elements());
    super::super::map::fill_temp(lowering, group, node.inputs[0], temp)?;
    Ok(temp)
}

/// Resolves 0 and −1 of an ONNX reshape target for an operand of `shape` into `to`.
/// Bound by the launch itself: a handful of integers.
fn resolve(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    shape: &[Dim],
    allow_zero: bool,
    to: Operand,
) -> Result<(), LowerError> {
    let mut body = Body::new(lowering, group);
    let n = body.shape(node.inputs[0])[0].as_const().unwrap_or(0);
    let all = shape.iter().fold(Dim::from(1), |p, d| p * d.clone());
    let (known, open) = (body.local("known", DType::I64), body.local("open", DType::I64));
    let mut stmts = vec![Stmt::declare(known, Expr::i64(1)), Stmt::declare(open, Expr::i64(0))];
    let mut given = Vec::new();
    for i in 0..n {
        let local = body.local("dim", DType::I64);
        let value = body.value_at(node.inputs[0], &[i.into()])?;
        stmts.append(&mut body.take_prelude());
        stmts.push(Stmt::declare(local, value));
        let is_zero = Expr::Local(local).equals(Expr::i64(0));
        match shape.get(i as usize) {
            _ if allow_zero => {}
            Some(d) => {
                stmts.push(Stmt::when(is_zero, vec![Stmt::assign(local, Expr::index(d.clone()))]))
            }
            None => {
                let there = Expr::Local(local).differs(Expr::i64(0));
                body.check(there, "a reshape copies an axis that is not there".into());
            }
        }
        body.check(Expr::Local(local).ge(Expr::i64(-1)), "a reshape dim is below -1".into());
        stmts.append(&mut body.take_prelude());
        let count = Stmt::assign(open, Expr::Local(open) + Expr::i64(1));
        let is_open = Expr::Local(local).equals(Expr::i64(-1));
        let join = multiply(&mut body, known, local);
        stmts.push(Stmt::branch(is_open, vec![count], join));
        given.push(local);
    }
    let all = Expr::index(all);
    stmts.extend(fits(&mut body, &all, known, open));
    let buffer = body.output(to);
    for (i, local) in given.into_iter().enumerate() {
        let is_open = Expr::Local(local).equals(Expr::i64(-1));
        let value = is_open.select(all.clone() / Expr::Local(known), Expr::Local(local));
        stmts.push(Stmt::store(buffer, i as i64, value));
    }
    let (grid, mut head) = body.grid(&[], 1);
    head.extend(stmts);
    body.finish("resolve_reshape", grid, head);
    Ok(())
}

/// Checks that a target with `open` inferred dims holds `all` elements.
fn fits(body: &mut Body, all: &Expr, known: LocalId, open: LocalId) -> Vec<Stmt> {
    let one = Expr::i64(1);
    body.check(Expr::Local(open).le(one), "a reshape has two dims of -1".into());
    let nothing = Expr::Local(known).equals(Expr::i64(0));
    let closed = Expr::Local(open).equals(Expr::i64(0));
    let whole = all.clone().binary(BinaryOp::Rem, Expr::Local(known)).equals(Expr::i64(0));
    let dividable = and(nothing.unary(UnaryOp::Not), whole);
    let fits = closed.select(Expr::Local(known).equals(all.clone()), dividable);
    body.check(fits, "a reshape changes the number of elements".into());
    body.take_prelude()
}

/// `product = product·dim` of numbers ≥ 0; fails where that does not fit.
fn multiply(body: &mut Body, product: LocalId, dim: LocalId) -> Vec<Stmt> {
    let joined = body.local("joined", DType::I64);
    // Wrapped, the quotient is smaller.
    let exact = (Expr::Local(joined) / Expr::Local(dim)).equals(product.into());
    let zero = Expr::Local(dim).equals(Expr::i64(0));
    body.check(zero.or(exact), "a reshape target is too large".into());
    let mut stmts = vec![Stmt::declare(joined, Expr::Local(product) * Expr::Local(dim))];
    stmts.append(&mut body.take_prelude());
    stmts.push(Stmt::assign(product, joined.into()));
    stmts
}

/// `x → i64[rank, n]`: one serial pass counts, a second one after the binding fills.
/// Bound by bytes: the operand twice, the result once.
pub(super) fn non_zero(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    count: SymbolId,
) -> Result<Vec<BareStep>, LowerError> {
    let first = lowering.launches.len();
    let total = lowering.temp(DType::I64, 1.into());
    scan(lowering, group, node, "non_zero_count", |body, found, _| {
        let buffer = body.output(total);
        (vec![], vec![Stmt::store(buffer, 0, Expr::Local(found))])
    })?;
    let bind = BareStep::Bind(total, vec![count]);
    let middle = lowering.launches.len();
    scan(lowering, group, node, "non_zero_fill", |body, found, idx| {
        let buffer = body.output(Operand::Value(group.outputs[0]));
        let column = body.index("column", &Dim::sym(count));
        let mut stmts = vec![Stmt::bind(column, Expr::Local(found))];
        for (axis, i) in idx.iter().enumerate() {
            let at = Dim::sym(count) * axis as i64 + Dim::sym(column);
            stmts.push(Stmt::store(buffer, at, Expr::index(i.clone())));
        }
        (stmts, vec![])
    })?;
    let mut steps = vec![BareStep::Launches(first..middle), bind];
    steps.push(BareStep::Launches(middle..lowering.launches.len()));
    Ok(steps)
}

/// Walks the operand in row-major order; `act(body, number found so far, index)` gives what
/// is done at each non-zero element and at the end.
fn scan(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    name: &str,
    act: impl Fn(&mut Body, LocalId, &[Dim]) -> (Vec<Stmt>, Vec<Stmt>),
) -> Result<(), LowerError> {
    let x = node.inputs[0];
    let mut body = Body::new(lowering, group);
    let (shape, dtype) = (body.shape(x), body.graph.tensor(x).dtype);
    let axes = body.axes(&shape);
    let idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    let value = body.value_at(x, &idx)?;
    let prelude = body.take_prelude();
    let found = body.local("found", DType::I64);
    let (mut each, end) = act(&mut body, found, &idx);
    each.push(Stmt::assign(found, Expr::Local(found) + Expr::i64(1)));
    let hit = match dtype {
        DType::Bool => value,
        _ => value.differs(Expr::Const(Scalar::from_i64(dtype, 0))),
    };
    body.flops = shape.iter().fold(Dim::from(1), |n, d| n * d.clone());
    let loops = axes.into_iter().map(|a| (a, LoopKind::Serial)).collect();
    let mut stmts = vec![Stmt::declare(found, Expr::i64(0))];
    stmts.extend(super::super::nest::nest(loops, prelude, vec![Stmt::when(hit, each)]));
    stmts.extend(end);
    let (grid, mut head) = body.grid(&[], 1);
    head.extend(stmts);
    body.finish(name, grid, head);
    Ok(())
}
