//! Scans become loops: the slices are picked from the captured sequences, the rows are
//! stacked along the first axis and brought to their axis and order afterwards.

use crate::walk::{Renamed, rewrite};
use cascata_ir::graph::{Def, Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{BinaryOp, Op, ScanAttrs, SliceRange};
use cascata_types::{DType, Dim, Scalar, Shape, TensorType};

/// Replaces every scan.
pub(super) fn to_loops(graph: &mut Graph) -> Result<usize, InferError> {
    rewrite(graph, |graph, region, id, renamed| {
        let Op::Scan(attrs) = graph.nodes[id].op.clone() else { return Ok(false) };
        replace(graph, region, id, &attrs, renamed).map(|()| true)
    })
}

fn replace(
    graph: &mut Graph,
    region: RegionId,
    id: NodeId,
    attrs: &ScanAttrs,
    renamed: &mut Renamed,
) -> Result<(), InferError> {
    let node = graph.nodes[id].clone();
    let (states, sequences) = node.inputs.split_at(attrs.states);
    let len = graph.tensor(sequences[0]).shape[attrs.inputs[0].0].clone();
    let source = node.source.as_str();
    let trip = Op::DimValues { dims: vec![len.clone()], scalar: true };
    let yes = Op::Fill { value: Scalar::bool(true), shape: vec![] };
    let mut inputs =
        vec![graph.add1(region, trip, vec![], source)?, graph.add1(region, yes, vec![], source)?];
    inputs.extend(states);
    body(graph, attrs, sequences, &len, source, renamed)?;
    let count = graph.symbols.fresh("steps", 0, len.bounds(&graph.symbols).1.max(0));
    let op = Op::Loop { body: attrs.body, carried: attrs.states, count, dims: vec![] };
    let results = graph.add(region, op, inputs, source)?;
    for (i, (&old, &new)) in node.outputs.iter().zip(&results).enumerate() {
        let new = match i.checked_sub(attrs.states) {
            None => new,
            Some(i) => placed(graph, region, new, &len, attrs.outputs[i], source)?,
        };
        renamed.replace(graph, old, new);
    }
    Ok(())
}

/// Gives the body a loop's parameters and results.
fn body(
    graph: &mut Graph,
    attrs: &ScanAttrs,
    sequences: &[ValueId],
    len: &Dim,
    source: &str,
    renamed: &mut Renamed,
) -> Result<(), InferError> {
    let body = attrs.body;
    let old = std::mem::take(&mut graph.regions[body].params);
    let nodes = std::mem::take(&mut graph.regions[body].nodes);
    let step = graph.add_param(body, "", TensorType::fixed(DType::I64, &[]));
    let go = graph.add_param(body, "", TensorType::fixed(DType::Bool, &[]));
    let (states, slices) = old.split_at(attrs.states);
    for &state in states {
        let index = graph.regions[body].params.len() as u32;
        graph.values[state].def = Def::Param(body, index);
        graph.regions[body].params.push(state);
    }
    for ((&slice, &sequence), (axis, reverse)) in slices.iter().zip(sequences).zip(&attrs.inputs) {
        let at = if *reverse { from_end(graph, body, step, len, source)? } else { step };
        let picked = graph.add1(body, Op::Gather { axis: *axis }, vec![sequence, at], source)?;
        renamed.replace(graph, slice, picked);
    }
    graph.regions[body].nodes.extend(nodes);
    graph.regions[body].results.insert(0, go);
    Ok(())
}

/// `len − 1 − step`.
fn from_end(
    graph: &mut Graph,
    body: RegionId,
    step: ValueId,
    len: &Dim,
    source: &str,
) -> Result<ValueId, InferError> {
    let last = Op::DimValues { dims: vec![len.clone() - 1], scalar: true };
    let last = graph.add1(body, last, vec![], source)?;
    graph.add1(body, Op::Binary(BinaryOp::Sub), vec![last, step], source)
}

/// Stacked rows `[steps, …]` in the order and at the axis that the scan has them.
fn placed(
    graph: &mut Graph,
    region: RegionId,
    rows: ValueId,
    len: &Dim,
    (axis, reverse): (usize, bool),
    source: &str,
) -> Result<ValueId, InferError> {
    let mut shape: Shape = graph.tensor(rows).shape.clone();
    shape[0] = len.clone();
    let rank = shape.len();
    let mut v = graph.add1(region, Op::Reshape { shape }, vec![rows], source)?;
    if reverse {
        let start = (len.clone() - 1).maximum(&Dim::from(0));
        let range = SliceRange { axis: 0, start, len: len.clone(), step: -1 };
        v = graph.add1(region, Op::Slice { ranges: vec![range] }, vec![v], source)?;
    }
    if axis > 0 {
        let perm = (1..=axis).chain([0]).chain(axis + 1..rank).collect();
        v = graph.add1(region, Op::Transpose { perm }, vec![v], source)?;
    }
    Ok(v)
}
