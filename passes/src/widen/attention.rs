//! Attention of `f64`, which has no kernel of its own, written out in products and softmax.

use cascata_ir::graph::{Graph, RegionId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{AttentionAttrs, BinaryOp, Op, ReduceOp};
use cascata_types::{DType, Dim, Scalar, Shape};

type R<T> = Result<T, InferError>;

/// Adds nodes of one source to a region.
struct Emit<'g> {
    graph: &'g mut Graph,
    region: RegionId,
    source: &'g str,
}

impl Emit<'_> {
    fn op(&mut self, op: Op, inputs: &[ValueId]) -> R<ValueId> {
        self.graph.add1(self.region, op, inputs.to_vec(), self.source)
    }

    fn number(&mut self, x: f64) -> R<ValueId> {
        let value = Scalar::from_f64(DType::F64, x);
        self.op(Op::Fill { value, shape: vec![] }, &[])
    }

    fn iota(&mut self, shape: Shape, axis: usize) -> R<ValueId> {
        self.op(Op::Iota { dtype: DType::I64, shape, axis }, &[])
    }

    /// Scores, −∞ where `seen` is false.
    fn hidden(&mut self, seen: ValueId, scores: ValueId) -> R<ValueId> {
        let low = self.number(f64::NEG_INFINITY)?;
        self.op(Op::Select, &[seen, scores, low])
    }

    /// Query `s` of S sees keys up to `s + T − S` of T.
    fn causal(&mut self, scores: ValueId) -> R<ValueId> {
        let shape = self.graph.tensor(scores).shape.clone();
        let (rows, columns) = (shape[2].clone(), shape[3].clone());
        let past = vec![columns.clone() - rows.clone()];
        let past = self.op(Op::DimValues { dims: past, scalar: true }, &[])?;
        let row = self.iota(vec![rows, Dim::from(1)], 0)?;
        let row = self.op(Op::Binary(BinaryOp::Add), &[row, past])?;
        let column = self.iota(vec![Dim::from(1), columns], 1)?;
        let seen = self.op(Op::Binary(BinaryOp::Le), &[column, row])?;
        self.hidden(seen, scores)
    }
}

/// The result of an attention whose queries and keys have the same heads; `None` for others.
pub(super) fn written_out(
    graph: &mut Graph,
    region: RegionId,
    attrs: &AttentionAttrs,
    inputs: &[ValueId],
    source: &str,
) -> Option<ValueId> {
    let heads = |v: ValueId| graph.tensor(v).shape.get(1).cloned();
    if heads(inputs[0]) != heads(inputs[1]) {
        return None;
    }
    parts(&mut Emit { graph, region, source }, attrs, inputs).ok()
}

fn parts(e: &mut Emit<'_>, attrs: &AttentionAttrs, inputs: &[ValueId]) -> R<ValueId> {
    let keys = e.op(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[inputs[1]])?;
    let scores = e.op(Op::MatMul, &[inputs[0], keys])?;
    let scale = e.number(attrs.scale.to_f64())?;
    let mut scores = e.op(Op::Binary(BinaryOp::Mul), &[scores, scale])?;
    if attrs.causal {
        scores = e.causal(scores)?;
    }
    if let Some(&mask) = inputs.get(3) {
        scores = match e.graph.tensor(mask).dtype {
            DType::Bool => e.hidden(mask, scores)?,
            _ => e.op(Op::Binary(BinaryOp::Add), &[scores, mask])?,
        };
    }
    let mut p = e.op(Op::Softmax { axis: 3 }, &[scores])?;
    if attrs.zero_masked_rows {
        let max = Op::Reduce { op: ReduceOp::Max, axes: vec![3], keep_dims: true };
        let largest = e.op(max, &[scores])?;
        let (low, zero) = (e.number(f64::NEG_INFINITY)?, e.number(0.0)?);
        let empty = e.op(Op::Binary(BinaryOp::Eq), &[largest, low])?;
        p = e.op(Op::Select, &[empty, zero, p])?;
    }
    e.op(Op::MatMul, &[p, inputs[2]])
}
