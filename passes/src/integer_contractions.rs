//! Contractions of dequantised 8-bit integers as contractions of integers.
//!
//! **Why.** Quantised models are exported as `Conv(Dequantize(x), Dequantize(w))`, imported as
//! f32 products of `cast(x − zero) · scale`. The scales do not vary along what is summed, so they
//! are applied once to sums of integers, which have faster micro-kernels (`narrow_integers`) and
//! smaller operands: Jacob et al. 2018 (arXiv 1712.05877), §2.2.
//! **Precondition.** Types are recorded, and `fold` has not made floats of quantised weights yet.
//! Scales are finite: an infinite one gives NaN for another set of elements.
//! **Postcondition.** The same function up to rounding in f32: sums are exact. A `MatMul` or `Conv`
//! of f32 whose factors both are integers in −255 … 255 (what 8 bits minus 8 bits leave) times
//! a scale is one of i32, whose sums cannot leave i32; then come the scales and a bias. A scale is
//! one number, or one per row of a left factor, per column of a right one or per output channel.
//! Depthwise convolutions stay (their micro-kernel is of f32), and grouped ones with weights that
//! are not known at compile time.
//! **Cost.** Linear in nodes and constants.

mod dequantised;

use crate::canonicalise::remove_dead;
use crate::known::is_known;
use crate::walk::rewrite;
use cascata_ir::graph::{Graph, NodeId, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{BinaryOp, ChannelLayout, ConvAttrs, Op};
use cascata_types::{DType, Dim, Shape};
use dequantised::Dequantised;

/// The longest chain of ops on constants that counts as known; with the moves after it,
/// `narrow_integers` still computes it.
const MAX_DEPTH: usize = 6;

/// Rewrites in every region; returns the number of contractions changed.
///
/// # Errors
/// An op that breaks its typing rule: a defect of this pass.
pub fn integer_contractions(graph: &mut Graph) -> Result<usize, InferError> {
    let changed = rewrite(graph, |graph, region, id, renamed| {
        let Some(found) = Contraction::of(graph, id) else { return Ok(false) };
        let y = found.of_integers(graph, region, id)?;
        let old = graph.nodes[id].outputs[0];
        renamed.replace(graph, old, y);
        Ok(true)
    })?;
    if changed > 0 {
        remove_dead(graph);
    }
    Ok(changed)
}

/// A contraction of two dequantised factors.
struct Contraction {
    factors: [Dequantised; 2],
    /// The axis of each factor that its scale may vary along, and that axis in the result.
    free: [Option<Free>; 2],
}

/// An axis of a factor that is not summed over.
#[derive(Clone, Copy)]
struct Free {
    axis: usize,
    result: usize,
}

impl Contraction {
    /// What a node contracts, if it may be done in integers.
    fn of(graph: &Graph, id: NodeId) -> Option<Self> {
        let node = &graph.nodes[id];
        let [x, w] = *node.inputs.get(..2)? else { return None };
        let y = graph.ty(*node.outputs.first()?).as_tensor()?;
        let (free, terms) = match &node.op {
            Op::MatMul => matmul(graph, [x, w], y.rank())?,
            Op::Conv(attrs) => conv(graph, attrs, w, y.rank())?,
            _ => return None,
        };
        if y.dtype != DType::F32 {
            return None;
        }
        let factors = [Dequantised::of(graph, x)?, Dequantised::of(graph, w)?];
        let constant_over_sums = factors.iter().zip(&free).all(|(factor, free)| {
            factor.axis().is_none_or(|axis| free.is_some_and(|f| f.axis == axis))
        });
        let grouped = matches!(&node.op, Op::Conv(attrs) if attrs.groups != 1);
        let packs = !grouped || is_known(graph, factors[1].integers, MAX_DEPTH);
        let found = Self { factors, free };
        (constant_over_sums && packs && found.fits_i32(graph, &terms)).then_some(found)
    }

    /// Whether no sum of so many products leaves i32.
    fn fits_i32(&self, graph: &Graph, terms: &Dim) -> bool {
        let most = i128::from(terms.bounds(&graph.symbols).1);
        let [a, b] = [0, 1].map(|i| self.factors[i].magnitude(graph));
        matches!((a, b), (Some(a), Some(b)) if most * a * b <= i32::MAX.into())
    }

    /// The contraction in i32, scaled, with its bias; the node's new result.
    fn of_integers(
        self,
        graph: &mut Graph,
        region: RegionId,
        id: NodeId,
    ) -> Result<ValueId, InferError> {
        let node = graph.nodes[id].clone();
        let source = node.source.as_str();
        let rank = graph.tensor(node.outputs[0]).rank();
        let add = |graph: &mut Graph, op, inputs| graph.add1(region, op, inputs, source);
        let mut operands = vec![];
        for factor in &self.factors {
            operands.push(factor.emit_integers(graph, region, source)?);
        }
        let sums = add(graph, node.op.clone(), operands)?;
        let mut y = add(graph, Op::Cast { to: DType::F32 }, vec![sums])?;
        let mut scale = None;
        for (factor, free) in self.factors.iter().zip(self.free) {
            let Some(own) = &factor.scale else { continue };
            let shape = match (own.axis, free) {
                (Some(_), Some(free)) => along(graph, own.value, free.result, rank),
                _ => vec![],
            };
            let own = add(graph, Op::Reshape { shape }, vec![own.value])?;
            scale = Some(match scale {
                Some(other) => add(graph, Op::Binary(BinaryOp::Mul), vec![other, own])?,
                None => own,
            });
        }
        if let Some(scale) = scale {
            y = add(graph, Op::Binary(BinaryOp::Mul), vec![y, scale])?;
        }
        if let (Some(&bias), Op::Conv(attrs)) = (node.inputs.get(2), &node.op) {
            let shape = along(graph, bias, channel_axis(attrs.layout, rank), rank);
            let bias = add(graph, Op::Reshape { shape }, vec![bias])?;
            y = add(graph, Op::Binary(BinaryOp::Add), vec![y, bias])?;
        }
        Ok(y)
    }
}

/// Rows of the left and columns of the right factor are free; a sum has K products.
fn matmul(graph: &Graph, factors: [ValueId; 2], rank: usize) -> Option<([Option<Free>; 2], Dim)> {
    let [a, b] = factors.map(|v| &graph.tensor(v).shape);
    let rows = Free { axis: a.len().checked_sub(2)?, result: rank.checked_sub(2)? };
    let columns = Free { axis: b.len().checked_sub(1)?, result: rank - 1 };
    Some(([Some(rows), Some(columns)], a.last()?.clone()))
}

/// Output channels are free; a sum has a product per tap and channel of a group. `None` for
/// depthwise convolutions.
fn conv(
    graph: &Graph,
    attrs: &ConvAttrs,
    w: ValueId,
    rank: usize,
) -> Option<([Option<Free>; 2], Dim)> {
    let shape = &graph.tensor(w).shape;
    let (outputs, channels) = match attrs.layout {
        ChannelLayout::First => (0, 1),
        ChannelLayout::Last => (shape.len() - 1, shape.len() - 2),
    };
    if attrs.groups > 1 && shape[channels].is(1) {
        return None;
    }
    let summed = shape.iter().enumerate().filter(|(axis, _)| *axis != outputs);
    let terms = summed.fold(Dim::from(1), |n, (_, d)| n * d.clone());
    let free = Free { axis: outputs, result: channel_axis(attrs.layout, rank) };
    Some(([None, Some(free)], terms))
}

fn channel_axis(layout: ChannelLayout, rank: usize) -> usize {
    match layout {
        ChannelLayout::First => 1,
        ChannelLayout::Last => rank - 1,
    }
}

/// The shape of a vector that broadcasts along one axis of a tensor.
fn along(graph: &Graph, vector: ValueId, axis: usize, rank: usize) -> Shape {
    let mut shape = vec![Dim::from(1); rank - axis];
    shape[0] = graph.tensor(vector).elements();
    shape
}
