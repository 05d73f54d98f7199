//! ScatterElements and ScatterND: a copy, then the updates in order.

use super::*;
use cascata_ir::op::ScatterReduce;

pub(super) fn lower(lowering: &mut Lowering, group: &Group, node: &Node) -> Result<(), LowerError> {
    let output = Operand::Value(group.outputs[0]);
    let strides = super::super::body::strides(&lowering.graph.tensor(node.inputs[0]).shape);
    let out = group.outputs[0];
    super::super::map::piece(lowering, group, node.inputs[0], out, &strides, Dim::from(0))?;
    let name = super::super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let (data, updates) = (body.shape(node.inputs[0]), body.shape(node.inputs[2]));
    let axes = body.axes(&updates);
    let idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    let (target, reduce) = match node.op {
        Op::ScatterElements { axis, reduce } => {
            let at = body.value_at(node.inputs[1], &idx)?;
            let mut target = idx.clone();
            target[axis] = body.loaded_index(node.inputs[1], at, &data[axis]);
            (target, reduce)
        }
        Op::ScatterNd { reduce } => {
            let index = body.shape(node.inputs[1]);
            let lead = index.len() - 1;
            let Some(depth) = index[lead].as_const() else {
                return Err(body.error("the last dim of a ScatterND index must be a known number"));
            };
            let mut target = Vec::new();
            for k in 0..depth {
                let mut from = idx[..lead].to_vec();
                from.push(k.into());
                let at = body.value_at(node.inputs[1], &from)?;
                target.push(body.loaded_index(node.inputs[1], at, &data[k as usize]));
            }
            target.extend_from_slice(&idx[lead..]);
            (target, reduce)
        }
        _ => return Err(body.error("it is not a scatter")),
    };
    let update = body.value_at(node.inputs[2], &idx)?;
    let buffer = body.output(output);
    let at = dot(&target, &strides);
    let join = |op| binary(op, Expr::load(buffer, at.clone()), update.clone());
    let value = match reduce {
        ScatterReduce::None => update.clone(),
        ScatterReduce::Add => join(BinaryOp::Add),
        ScatterReduce::Mul => join(BinaryOp::Mul),
        ScatterReduce::Max => join(BinaryOp::Max),
        ScatterReduce::Min => join(BinaryOp::Min),
    };
    let prelude = body.take_prelude();
    let loops = axes.into_iter().map(|a| (a, LoopKind::Serial)).collect();
    let stmts = super::super::nest::nest(loops, prelude, vec![Stmt::store(buffer, at, value)]);
    // Updates may meet in one element: they run in order, on one thread.
    let (grid, mut head) = body.grid(&[], 1);
    head.extend(stmts);
    body.finish(&name, grid, head);
    Ok(())
}
