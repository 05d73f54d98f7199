//! Column padding: convolutions of few channels read padded rows.
//!
//! **Why.** Channels last, the pixels that one row of a kernel reads lie together, so a
//! convolution without column padding sums them as one block of `kernel width × channels`
//! terms. With the three channels of a picture that is the difference between sums of
//! three and sums of 9 to 21 terms; the copy that pads joins the one that makes the picture
//! channels-last.
//! **Precondition.** Channels-last convolutions (after `layout`).
//! **Postcondition.** The same function bitwise: zeros are added where they were implied.
//! A convolution of at most `FEW_CHANNELS` channels in one group pads its last spatial
//! axis by an explicit `Pad`.
//! **Cost.** Linear in nodes; at run time one write of the padded operand.

use crate::walk;
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{ChannelLayout, Op, PadMode};
use cascata_types::{Dim, Scalar};

/// From here on a block of one tap is long enough by itself.
const FEW_CHANNELS: i64 = 8;

/// Pads in every region; returns the number of convolutions changed.
///
/// # Errors
/// An op that breaks its typing rule: a defect of this pass.
pub fn pad_columns(graph: &mut Graph) -> Result<usize, InferError> {
    let mut changed = 0;
    for region in walk::regions(graph) {
        for id in std::mem::take(&mut graph.regions[region].nodes) {
            if let Some(columns) = columns_to_pad(graph, id) {
                pad(graph, region, id, columns)?;
                changed += 1;
            }
            graph.regions[region].nodes.push(id);
        }
    }
    Ok(changed)
}

/// The padding of the last spatial axis, where it is worth a copy.
fn columns_to_pad(graph: &Graph, id: NodeId) -> Option<(i64, i64)> {
    let node = &graph.nodes[id];
    let Op::Conv(attrs) = &node.op else { return None };
    let shape = &graph.ty(node.inputs[0]).as_tensor()?.shape;
    let channels = shape.last()?.as_const()?;
    let few = attrs.layout == ChannelLayout::Last && channels <= FEW_CHANNELS;
    let whole_rows = attrs.groups == 1 && attrs.dilations.last() == Some(&1);
    let (begin, end) = *attrs.pads.last()?;
    (few && whole_rows && begin + end > 0).then_some((begin, end))
}

fn pad(
    graph: &mut Graph,
    region: RegionId,
    id: NodeId,
    (begin, end): (i64, i64),
) -> Result<(), InferError> {
    let (operand, source) = (graph.nodes[id].inputs[0], graph.nodes[id].source.clone());
    let (rank, dtype) = (graph.tensor(operand).rank(), graph.tensor(operand).dtype);
    let mut pads: Vec<(Dim, Dim)> = vec![(0.into(), 0.into()); rank];
    pads[rank - 2] = (begin.into(), end.into());
    let zero = Op::Fill { value: Scalar::from_f64(dtype, 0.0), shape: vec![] };
    let zero: ValueId = graph.add1(region, zero, vec![], source.as_str())?;
    let op = Op::Pad { pads, mode: PadMode::Constant };
    let padded = graph.add1(region, op, vec![operand, zero], source.as_str())?;
    graph.values[padded].name = format!("{}.padded", graph.values[operand].name);
    let node = &mut graph.nodes[id];
    node.inputs[0] = padded;
    if let Op::Conv(attrs) = &mut node.op
        && let Some(last) = attrs.pads.last_mut()
    {
        *last = (0, 0);
    }
    Ok(())
}
