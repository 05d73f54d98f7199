//! Ops with a kernel of their own, mostly bound by bytes and rarely hot: plain loops.

use super::access::{and, binary, cast, compare};
use super::body::{Body, dot};
use super::nest::Axis;
use super::{BareStep, Group, LowerError, Lowering, Operand};
use cascata_ir::graph::Node;
use cascata_ir::kernel::{Expr, LoopKind, Stmt};
use cascata_ir::op::{BinaryOp, Op};
use cascata_types::{DType, Dim, Scalar};

mod contraction;
mod dynamic;
mod lrn;
mod max_pool;
mod nms;
mod operand;
mod random;
mod recurrent;
mod scan;
mod scatter;
mod top_k;

pub(super) use contraction::{naive_conv, naive_matmul};

pub(super) fn lower(lowering: &mut Lowering, group: &Group) -> Result<(), LowerError> {
    let root = lowering.root(group);
    let node: Node = lowering.graph.nodes[root].clone();
    match &node.op {
        Op::Pool(attrs) if node.outputs.len() > 1 => max_pool::lower(lowering, group, &node, attrs),
        Op::Pool(attrs) => super::pool::lower(lowering, group, attrs),
        Op::ArgReduce { .. } => scan::arg_reduce(lowering, group, &node),
        Op::CumSum { .. } => scan::cum_sum(lowering, group, &node),
        Op::ScatterElements { .. } | Op::ScatterNd { .. } => scatter::lower(lowering, group, &node),
        Op::TopK { .. } => top_k::lower(lowering, group, &node),
        Op::Lrn(attrs) => lrn::lower(lowering, group, &node, attrs),
        Op::Lstm(attrs) => recurrent::lower(lowering, group, &node, attrs, recurrent::Kind::Lstm),
        Op::Gru(attrs) => recurrent::lower(lowering, group, &node, attrs, recurrent::Kind::Gru),
        Op::Rnn(attrs) => recurrent::lower(lowering, group, &node, attrs, recurrent::Kind::Rnn),
        _ => Err(lowering.error(root, "no kernel is written for it yet")),
    }
}

/// Lowers a node outside of groups.
pub(super) fn bare(lowering: &mut Lowering, group: &Group) -> Result<Vec<BareStep>, LowerError> {
    let node: Node = lowering.graph.nodes[group.node].clone();
    match &node.op {
        Op::BindDims { symbols, mode } => dynamic::bind_dims(lowering, group, &node, symbols, mode),
        Op::NonMaxSuppression { center_point_box, count } => {
            nms::lower(lowering, group, &node, *center_point_box, *count)
        }
        Op::Random(attrs) => random::lower(lowering, group, attrs),
        Op::NonZero { count } => dynamic::non_zero(lowering, group, &node, *count),
        _ => Err(lowering.error(group.node, "no kernel is written for it yet")),
    }
}
