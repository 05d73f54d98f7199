//! Scalar walks along one axis: argmin/argmax and running sums.

use super::*;

/// Index of the extreme element; NaN wins over everything, as in ONNX Runtime's max.
pub(super) fn arg_reduce(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
) -> Result<(), LowerError> {
    let Op::ArgReduce { max, axis, keep_dims, select_last } = node.op else {
        return Err(lowering.error(lowering.root(group), "it is not an argmin or argmax"));
    };
    let name = super::super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let x = node.inputs[0];
    let (shape, dtype) = (body.shape(x), body.graph.tensor(x).dtype);
    let axes = body.axes(&shape);
    let mut idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    idx[axis] = Dim::from(0);
    let first = body.value_at(x, &idx)?;
    idx[axis] = Dim::sym(axes[axis].var);
    let value = body.value_at(x, &idx)?;
    let (best, at) = (body.local("best", dtype), body.local("at", DType::I64));
    let candidate = body.local("x", dtype);
    let wins = match (max, select_last) {
        (true, false) => BinaryOp::Gt,
        (true, true) => BinaryOp::Ge,
        (false, false) => BinaryOp::Lt,
        (false, true) => BinaryOp::Le,
    };
    let won = binary(wins, Expr::Local(candidate), Expr::Local(best));
    let step = vec![
        Stmt::declare(candidate, value),
        Stmt::when(
            won,
            vec![
                Stmt::assign(best, Expr::Local(candidate)),
                Stmt::assign(at, Expr::Index(idx[axis].clone())),
            ],
        ),
    ];
    let mut out: Vec<Dim> = idx.clone();
    if keep_dims {
        out[axis] = Dim::from(0);
    } else {
        out.remove(axis);
    }
    let strides = super::super::body::strides(&body.shape(node.outputs[0]));
    let buffer = body.output(Operand::Value(group.outputs[0]));
    let stmts = vec![
        Stmt::declare(best, first),
        Stmt::declare(at, Expr::i64(0)),
        Stmt::serial(axes[axis].var, shape[axis].clone(), step),
        Stmt::store(buffer, dot(&out, &strides), Expr::Local(at)),
    ];
    walk(body, &name, axes, axis, stmts)
}

/// Running sums.
pub(super) fn cum_sum(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
) -> Result<(), LowerError> {
    let Op::CumSum { axis, exclusive, reverse } = node.op else {
        return Err(lowering.error(lowering.root(group), "it is not a running sum"));
    };
    let name = super::super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let x = node.inputs[0];
    let (shape, dtype) = (body.shape(x), body.graph.tensor(x).dtype);
    let axes = body.axes(&shape);
    let mut idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    if reverse {
        idx[axis] = shape[axis].clone() - 1 - idx[axis].clone();
    }
    let value = body.value_at(x, &idx)?;
    let sum = body.local("sum", dtype);
    let strides = super::super::body::strides(&shape);
    let buffer = body.output(Operand::Value(group.outputs[0]));
    let store = Stmt::store(buffer, dot(&idx, &strides), Expr::Local(sum));
    let add = Stmt::assign(sum, binary(BinaryOp::Add, Expr::Local(sum), value));
    let step = if exclusive { vec![store, add] } else { vec![add, store] };
    let stmts = vec![
        Stmt::declare(sum, Expr::Const(Scalar::from_i64(dtype, 0))),
        Stmt::serial(axes[axis].var, shape[axis].clone(), step),
    ];
    walk(body, &name, axes, axis, stmts)
}

/// Runs `stmts` for every index of the other axes.
pub(super) fn walk(
    mut body: Body,
    name: &str,
    mut axes: Vec<Axis>,
    axis: usize,
    stmts: Vec<Stmt>,
) -> Result<(), LowerError> {
    if !body.prelude.is_empty() {
        return Err(body.error("an operand read through an index"));
    }
    let walked = axes.remove(axis);
    let depth = super::super::nest::estimate(&walked.extent, &body.symbols);
    body.flops = axes.iter().fold(walked.extent, |n, a| n * a.extent.clone());
    let (grid, mut head) = body.grid(&axes, depth);
    head.extend(stmts);
    body.finish(name, grid, head);
    Ok(())
}
