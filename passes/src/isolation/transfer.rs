//! What an op does with entries: one exhaustive match, the rules by family beside it.
//!
//! Operands are shared or have entries; mixed ones are dealt with before. Each rule tells
//! where entries lie in the results, given where they lie in the operands, and must hold for
//! every binding: what it does not see, it refuses.

use super::number::Number;
use super::state::{Entries, Known, Problem, join, mixes, unproven};
use cascata_ir::graph::{Graph, Node};
use cascata_ir::op::Op;
use cascata_types::{Dim, TensorType};

/// The operands of one node.
pub(super) struct Operands<'a> {
    pub(super) graph: &'a Graph,
    pub(super) node: &'a Node,
    pub(super) batch: &'a Dim,
    pub(super) places: Vec<Option<Entries>>,
    pub(super) numbers: Vec<Option<Number>>,
}

impl Operands<'_> {
    /// Where entries lie in each result.
    pub(super) fn results(&self) -> Result<Vec<Option<Entries>>, Problem> {
        let all = match &self.node.op {
            Op::Lstm(_) | Op::Gru(_) | Op::Rnn(_) => self.recurrent()?,
            op => vec![self.result(op)?; self.node.outputs.len()],
        };
        for (v, place) in self.node.outputs.iter().zip(&all) {
            if let (Some(t), Some(place)) = (self.graph.ty(*v).as_tensor(), place) {
                self.fits(t, place)?;
            }
        }
        Ok(all)
    }

    /// The invariant of [`Entries`].
    fn fits(&self, t: &TensorType, place: &Entries) -> Result<(), Problem> {
        let wanted = place.size(self.batch);
        match t.shape.get(place.axis) {
            Some(size) if *size == wanted => Ok(()),
            Some(size) => {
                let symbols = &self.graph.symbols;
                let (size, wanted) = (size.display(symbols), wanted.display(symbols));
                unproven(format!(
                    "axis {} of the result is {size}, the entries would make it {wanted}",
                    place.axis
                ))
            }
            None => unproven(format!("the result has no axis {}", place.axis)),
        }
    }

    /// Where entries lie in every result of an op whose results agree in that.
    fn result(&self, op: &Op) -> Known {
        match op {
            Op::Const(_)
            | Op::Fill { .. }
            | Op::DimValues { .. }
            | Op::Iota { .. }
            | Op::Random(_)
            | Op::StateEmpty { .. } => Ok(None),
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Cast { .. }
            | Op::BitCast { .. }
            | Op::Broadcast { .. }
            | Op::Pack { .. }
            | Op::TextConcat
            | Op::TextCase { .. }
            | Op::TextMatch { .. }
            | Op::TextCount { .. } => self.aligned(),
            Op::TextSplit { .. } => Ok(self.place(0).cloned()),
            Op::Reshape { shape } => self.reshape(shape),
            Op::Transpose { perm } => self.transpose(perm),
            Op::Concat { axis } => self.concat(*axis),
            Op::Slice { ranges } => self.slice(ranges),
            Op::Pad { pads, .. } => self.pad(pads),
            Op::Gather { axis } => self.gather(*axis),
            Op::GatherElements { axis } => self.gather_elements(*axis),
            Op::GatherNd { batch_dims } => self.gather_nd(*batch_dims),
            Op::ScatterElements { axis, .. } => self.scatter_elements(*axis),
            Op::ScatterNd { .. } => self.scatter_nd(),
            Op::Resize(attrs) => self.resize(attrs),
            Op::Reduce { axes, keep_dims, .. } => self.reduce(axes, *keep_dims),
            Op::ArgReduce { axis, keep_dims, .. } => self.reduce(&[*axis], *keep_dims),
            Op::CumSum { axis, .. } => self.along(*axis, "the running sum goes"),
            Op::TopK { axis, .. } => self.along(*axis, "elements are ranked"),
            Op::Softmax { axis } => self.along(*axis, "the softmax is taken"),
            Op::Lrn(_) => self.along(1, "neighbours are summed"),
            Op::LayerNorm { axis, .. } | Op::RmsNorm { axis, .. } => self.norm(*axis),
            Op::NonZero { .. } => mixes("the indices of all entries make one list"),
            Op::NonMaxSuppression { .. } => mixes("the boxes of all entries make one list"),
            Op::MatMul => self.matmul(),
            Op::Conv(attrs) => self.conv(attrs),
            Op::ConvTranspose(attrs) => self.conv_transpose(attrs),
            Op::Pool(attrs) => self.pool(attrs),
            Op::Attention(_) => self.attention(),
            Op::CacheAttention(_) => mixes("rows of one sequence see each other"),
            Op::BindDims { .. } => mixes("elements of entries become sizes that all share"),
            // The verifier has checked that both fit the state, `fits` sees to the axis.
            Op::StateAppend | Op::StateRead { .. } => join(self.places.iter().cloned()),
            Op::Lstm(_) | Op::Gru(_) | Op::Rnn(_) => unproven("its results differ"),
            Op::If { .. } | Op::Loop { .. } | Op::Scan(_) | Op::Group { .. } => {
                unproven("it owns regions")
            }
        }
    }

    pub(super) fn place(&self, operand: usize) -> Option<&Entries> {
        self.places.get(operand)?.as_ref()
    }

    pub(super) fn shape(&self, operand: usize) -> &[Dim] {
        let value = self.node.inputs.get(operand);
        value.and_then(|v| self.graph.ty(*v).as_tensor()).map_or(&[], |t| &t.shape)
    }

    pub(super) fn rank(&self, operand: usize) -> usize {
        self.shape(operand).len()
    }

    /// The shape of the first result.
    pub(super) fn result_shape(&self) -> &[Dim] {
        let value = self.node.outputs.first();
        value.and_then(|v| self.graph.ty(*v).as_tensor()).map_or(&[], |t| &t.shape)
    }

    /// Operands are broadcast to the result, last axis to last axis.
    fn aligned(&self) -> Known {
        let rank = self.result_shape().len();
        let shifted = |i: usize| {
            let place = self.place(i)?;
            Some(place.at(place.axis + rank.saturating_sub(self.rank(i))))
        };
        join((0..self.places.len()).map(shifted))
    }
}
