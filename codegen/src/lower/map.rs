//! Map groups: every result element is an expression of operand elements.
//!
//! Bound by bytes: each operand and result once. One vector loop over merged axes;
//! a concat at the root becomes one loop per operand, a reshape at the root only
//! changes how the result is addressed.

use super::body::{Body, dot, strides};
use super::{Group, LowerError, Lowering, Operand};
use cascata_ir::graph::{Def, ValueId};
use cascata_ir::kernel::Stmt;
use cascata_ir::op::Op;
use cascata_types::Dim;

pub(super) fn lower(lowering: &mut Lowering, group: &Group) -> Result<(), LowerError> {
    let results = Body::new(lowering, group).results();
    for (result, output) in results.iter().zip(group.outputs) {
        write(lowering, group, *result, *output)?;
    }
    Ok(())
}

/// Writes a value that the group computes into the buffer of `output`.
fn write(
    lowering: &mut Lowering,
    group: &Group,
    result: ValueId,
    output: ValueId,
) -> Result<(), LowerError> {
    let graph = lowering.graph;
    let mut source = result;
    let mut concat = None;
    while let Def::Node(id, _) = graph.values[source].def {
        let node = &graph.nodes[id];
        match node.op {
            Op::Reshape { .. } if lowering.members(group).contains(&id) => {
                source = node.inputs[0];
            }
            Op::Concat { axis } if lowering.members(group).contains(&id) => {
                concat = Some((node.inputs.clone(), axis));
                break;
            }
            _ => break,
        }
    }
    let full = strides(&graph.tensor(source).shape);
    let Some((pieces, axis)) = concat else {
        return piece(lowering, group, source, output, &full, Dim::from(0));
    };
    let mut start = Dim::from(0);
    for v in pieces {
        piece(lowering, group, v, output, &full, start.clone() * full[axis].clone())?;
        start = start + graph.tensor(v).shape[axis].clone();
    }
    Ok(())
}

/// Writes `v` to `base + Σ idx·stride` of the output's buffer.
pub(super) fn piece(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
    output: ValueId,
    stride: &[Dim],
    base: Dim,
) -> Result<(), LowerError> {
    piece_into(lowering, group, v, Operand::Value(output), stride, base)
}

fn piece_into(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
    output: Operand,
    stride: &[Dim],
    base: Dim,
) -> Result<(), LowerError> {
    let name = name(lowering, group);
    let mut body = Body::new(lowering, group);
    let shape = body.shape(v);
    let axes = body.axes(&shape);
    let idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    let value = body.value_at(v, &idx)?;
    let buffer = body.output(output);
    let store = Stmt::Store { buffer, at: base + dot(&idx, stride), value };
    body.flops = shape.iter().fold(Dim::from(1), |n, d| n * d.clone());
    body.finish_nest(&name, axes, vec![store]);
    Ok(())
}

/// Writes `v` to a dense temporary.
pub(super) fn fill_temp(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
    temp: Operand,
) -> Result<(), LowerError> {
    let full = strides(&lowering.graph.tensor(v).shape);
    piece_into(lowering, group, v, temp, &full, Dim::from(0))
}

/// `map_mul_add`: the kind and the first ops of the group.
pub(super) fn name(lowering: &Lowering, group: &Group) -> String {
    let graph = lowering.graph;
    let nodes = lowering.members(group);
    let ops = nodes.iter().map(|n| match &graph.nodes[*n].op {
        Op::Unary(f) => f.name(),
        Op::Binary(f) => f.name(),
        op => op.name(),
    });
    let ops: Vec<&str> = ops.filter(|n| *n != "const").take(4).collect();
    if ops.is_empty() { "copy".into() } else { ops.join("_") }
}
