//! What follows a contraction inside its group: first what the micro-kernel does
//! itself (bias, clamp), then the rest as a loop over the block in cache.

use super::access::single_element;
use super::body::Body;
use super::body::{dot, strides};
use super::nest::{Axis, merge_axes, nest};
use super::{LowerError, Operand};
use cascata_ir::graph::{NodeId, ValueId};
use cascata_ir::kernel::{BufferId, Expr, LoopKind, Place, Stmt};
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_types::{DType, Dim, Scalar, SymbolId};

/// The part of an epilogue that a GEMM micro-kernel applies.
pub(super) struct Fused {
    /// A vector over the last axis, added.
    pub bias: Option<ValueId>,
    /// Bounds of the result.
    pub clamp: (Scalar, Scalar),
    /// The value as the micro-kernel leaves it.
    pub value: ValueId,
}

impl Body<'_, '_> {
    /// Takes `+ bias[N]` (unless the op has one of its own) and clamps off the chain that
    /// starts at `value`.
    pub fn fused_epilogue(&self, mut value: ValueId, channels: &Dim, has_bias: bool) -> Fused {
        let unbounded = (Scalar::f32(f32::NEG_INFINITY), Scalar::f32(f32::INFINITY));
        let mut fused = Fused { bias: None, clamp: unbounded, value };
        if !has_bias
            && let Some((next, other)) = self.next_binary(value, BinaryOp::Add)
            && self.is_row_vector(other, channels)
        {
            fused.bias = Some(other);
            value = next;
        }
        while let Some((next, clamp)) = self.next_clamp(value, fused.clamp) {
            fused.clamp = clamp;
            value = next;
        }
        fused.value = value;
        fused
    }

    /// The only user of a value inside the group.
    pub fn only_user(&self, value: ValueId) -> Option<NodeId> {
        if self.results().contains(&value) {
            return None;
        }
        let uses = |id: &&NodeId| self.graph.nodes[**id].inputs.contains(&value);
        let mut users = self.members().iter().filter(uses);
        let first = users.next().copied();
        if users.next().is_some() { None } else { first }
    }

    fn next_binary(&self, value: ValueId, op: BinaryOp) -> Option<(ValueId, ValueId)> {
        let node = &self.graph.nodes[self.only_user(value)?];
        let same_shape = self.graph.tensor(node.outputs[0]).shape == self.graph.tensor(value).shape;
        match (&node.op, node.inputs.as_slice()) {
            (Op::Binary(f), [a, b]) if *f == op && same_shape && a != b => {
                Some((node.outputs[0], if *a == value { *b } else { *a }))
            }
            _ => None,
        }
    }

    fn is_row_vector(&self, v: ValueId, channels: &Dim) -> bool {
        let outside = self.resolve(v);
        let computed = self.member_of(outside).is_some();
        let leaf = self.graph.def_node(outside).is_some_and(|n| {
            matches!(n.op, Op::Fill { .. } | Op::Iota { .. } | Op::DimValues { .. })
        });
        let shape = &self.graph.tensor(v).shape;
        let (last, lead) = match shape.split_last() {
            Some(parts) => parts,
            None => return false,
        };
        // A one-element constant is an immediate: there is no vector in memory to add.
        !computed && !leaf && last == channels && lead.iter().all(|d| d.is(1)) && !last.is(1)
    }

    fn next_clamp(
        &self,
        value: ValueId,
        (low, high): (Scalar, Scalar),
    ) -> Option<(ValueId, (Scalar, Scalar))> {
        if self.graph.tensor(value).dtype != DType::F32 {
            return None;
        }
        let node = &self.graph.nodes[self.only_user(value)?];
        let zero = Scalar::f32(0.0);
        let raise = |to: Scalar| (Scalar::f32((low.to_f64() as f32).max(to.to_f64() as f32)), high);
        match &node.op {
            Op::Unary(UnaryOp::Relu) if high.to_f64() >= 0.0 => {
                Some((node.outputs[0], raise(zero)))
            }
            Op::Binary(f @ (BinaryOp::Max | BinaryOp::Min)) => {
                let other = *node.inputs.iter().find(|v| **v != value)?;
                let other = self.resolve(other);
                let bound = match self.graph.def_node(other).map(|n| &n.op) {
                    Some(Op::Fill { value, .. }) => *value,
                    _ => single_element(self.graph.as_const(other)?)?,
                };
                let x = bound.to_f64() as f32;
                if x.is_nan() || node.outputs.len() != 1 {
                    return None;
                }
                if self.graph.tensor(node.outputs[0]).shape != self.graph.tensor(value).shape {
                    return None;
                }
                // max(min(x, h), l) and min(max(x, l), h) agree while l ≤ h.
                let clamp = match f {
                    BinaryOp::Max if x <= high.to_f64() as f32 => raise(bound),
                    BinaryOp::Min if x >= low.to_f64() as f32 => {
                        (low, Scalar::f32((high.to_f64() as f32).min(x)))
                    }
                    _ => return None,
                };
                Some((node.outputs[0], clamp))
            }
            _ => None,
        }
    }
}

/// A block of a contraction's result: rows `row0..row0+rows`, columns `col0..col0+cols`
/// of the result seen as a matrix whose rows are all axes but the last.
pub(super) struct Block {
    pub row0: Dim,
    pub rows: Dim,
    pub col0: Dim,
    pub cols: Dim,
}

/// Where a block is computed.
pub(super) struct Target {
    pub buffer: BufferId,
    pub at: Dim,
    pub row_stride: Dim,
    /// Where the block goes from there, unless it is in place.
    pub finish: Vec<Stmt>,
}

/// How a block leaves scratch.
#[derive(Clone, Copy)]
struct Moves<'a> {
    /// The last value before movement.
    last: ValueId,
    /// Strides by which its elements are stored.
    store: &'a [Dim],
    out: BufferId,
    scratch: BufferId,
    /// Elements between the block's rows in scratch.
    pitch: &'a Dim,
}

impl Body<'_, '_> {
    /// Walks back over movement at the end of the group: the value before it, and the
    /// strides by which its elements are stored in the result's buffer.
    pub fn store_strides(&self, result: ValueId) -> (ValueId, Vec<Dim>) {
        let (mut value, mut out) = (result, strides(&self.shape(result)));
        while let Some(id) = self.member_of(value) {
            let node = &self.graph.nodes[id];
            let dense = out == strides(&self.shape(value));
            match &node.op {
                Op::Reshape { .. } if dense => out = strides(&self.shape(node.inputs[0])),
                Op::Transpose { perm } => {
                    let mut from = vec![Dim::from(0); perm.len()];
                    perm.iter().zip(&out).for_each(|(p, s)| from[*p] = s.clone());
                    out = from;
                }
                _ => break,
            }
            value = node.inputs[0];
        }
        (value, out)
    }

    /// Chooses where a block of `fused.value` is computed: in the result itself when
    /// nothing follows, else in scratch, with the loop that finishes it from there.
    /// `max` bounds the block's rows and columns.
    pub fn target(
        &mut self,
        fused: &Fused,
        output: ValueId,
        block: &Block,
        max: (Dim, Dim),
    ) -> Result<Target, LowerError> {
        let result = self.results()[0];
        let (last, strides_out) = self.store_strides(result);
        let shape = self.shape(fused.value);
        let out = self.output(Operand::Value(output));
        if last == fused.value && strides_out == strides(&shape) {
            let row_stride = shape.last().cloned().unwrap_or_else(|| Dim::from(1));
            let at = block.row0.clone() * row_stride.clone() + block.col0.clone();
            return Ok(Target { buffer: out, at, row_stride, finish: vec![] });
        }
        if strides_out == strides(&shape)
            && let Some(op) = self.row_primitive(last, fused.value)
        {
            return Ok(self.target_in_place(op, out, &shape, block));
        }
        let (max_rows, max_cols) = max;
        let dtype = self.graph.tensor(fused.value).dtype;
        let buffer = self.scratch("block", dtype, max_rows * max_cols.clone());
        let moves = Moves { last, store: &strides_out, out, scratch: buffer, pitch: &max_cols };
        let finish = self.finish_block(fused.value, &moves, block)?;
        Ok(Target { buffer, at: Dim::from(0), row_stride: max_cols, finish })
    }

    /// The row primitive by which `value` is computed from `operand`, if that is all.
    fn row_primitive(&self, value: ValueId, operand: ValueId) -> Option<UnaryOp> {
        use UnaryOp::{Erf, Exp, GeluErf, GeluTanh, Log, Sigmoid, Silu, Tanh};
        let node = &self.graph.nodes[self.member_of(value)?];
        match node.op {
            Op::Unary(op @ (Exp | Erf | Tanh | Sigmoid | Silu | GeluErf | GeluTanh | Log))
                if node.inputs[0] == operand && self.graph.tensor(value).dtype == DType::F32 =>
            {
                Some(op)
            }
            _ => None,
        }
    }

    /// Computes the block in the result itself and maps its rows there.
    // PERF: row primitives are 512 bits wide where the CPU is; generated code is 128:
    // silu 3.4 Gelem/s (`cascata-kernels --example ceilings`) against 1.45 ns an element of
    // generated silu × gate (`cascata-codegen --example cpu_speed`).
    fn target_in_place(
        &mut self,
        op: UnaryOp,
        out: BufferId,
        shape: &[Dim],
        block: &Block,
    ) -> Target {
        let pitch = shape.last().cloned().unwrap_or_else(|| Dim::from(1));
        let at = block.row0.clone() * pitch.clone() + block.col0.clone();
        let i = self.index("row", &block.rows);
        let row = Place { buffer: out, at: at.clone() + Dim::sym(i) * pitch.clone() };
        let map = |place: Place, n: Dim| Stmt::MapRow { op, dst: place.clone(), src: place, n };
        let finish = if block.cols == pitch {
            vec![map(Place { buffer: out, at: at.clone() }, block.rows.clone() * pitch.clone())]
        } else {
            vec![Stmt::serial(i, block.rows.clone(), vec![map(row, block.cols.clone())])]
        };
        Target { buffer: out, at, row_stride: pitch, finish }
    }

    /// Loops over a computed block in scratch: the rest of the epilogue, stored to the result.
    fn finish_block(
        &mut self,
        computed: ValueId,
        moves: &Moves,
        block: &Block,
    ) -> Result<Vec<Stmt>, LowerError> {
        let Moves { last, store, out, scratch, pitch } = *moves;
        let shape = self.shape(computed);
        if self.shape(last) != shape {
            return Err(self.error("the epilogue changes the shape before its last op"));
        }
        let mut axes = self.axes(&shape);
        let idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
        let mut pitches: Vec<Dim> = strides(&shape[..shape.len() - 1]);
        pitches.iter_mut().for_each(|p| *p = p.clone() * pitch.clone());
        pitches.push(Dim::from(1));
        let base = -(block.row0.clone() * pitch.clone()) - block.col0.clone();
        let vars: Vec<SymbolId> = axes.iter().map(|a| a.var).collect();
        let at = base + dot(&idx, &pitches);
        self.know(computed, &vars, Expr::Load(Place { buffer: scratch, at }));
        let value = self.value_at(last, &idx)?;
        let mut prelude = self.take_prelude();
        let mut inner = vec![Stmt::Store { buffer: out, at: dot(&idx, store), value }];
        let col = axes.pop().expect("a contraction has at least two axes");
        merge_axes(&mut axes, &mut prelude, &mut inner);
        let i = Axis { var: self.index("row", &block.rows), extent: block.rows.clone() };
        let j = Axis { var: self.index("col", &block.cols), extent: block.cols.clone() };
        let row = block.row0.clone() + Dim::sym(i.var);
        let mut binds = bind_axes(&axes, &row);
        replace(&mut prelude, &mut inner, col.var, &(block.col0.clone() + Dim::sym(j.var)));
        if let [Stmt::Bind { symbol, .. }] = binds.as_slice() {
            replace(&mut prelude, &mut inner, *symbol, &row);
            binds.clear();
        }
        binds.extend(prelude);
        Ok(nest(vec![(i, LoopKind::Serial), (j, LoopKind::Vector)], binds, inner))
    }
}

/// Binds the variables of `axes` to the index of flat element `flat`.
pub(super) fn bind_axes(axes: &[Axis], flat: &Dim) -> Vec<Stmt> {
    let shape: Vec<Dim> = axes.iter().map(|a| a.extent.clone()).collect();
    let idx = super::access::delinearise(flat, &shape);
    let pairs = axes.iter().zip(idx);
    pairs.map(|(a, at)| Stmt::Bind { symbol: a.var, value: Expr::Index(at) }).collect()
}

pub(super) fn replace(prelude: &mut [Stmt], inner: &mut [Stmt], var: SymbolId, with: &Dim) {
    let mut f = |d: &mut Dim| *d = d.substitute(&|s| (s == var).then(|| with.clone()));
    super::visit::for_each_dim(prelude, &mut f);
    super::visit::for_each_dim(inner, &mut f);
}
