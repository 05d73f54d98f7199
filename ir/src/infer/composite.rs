//! Normalisations, attention and recurrent layers.

use super::{Ctx, InferError, Types, one};
use crate::op::{AttentionAttrs, CacheAttentionAttrs, Direction, LrnAttrs, RecurrentAttrs};
use cascata_types::{DType, Dim, Encoding, Scalar, Shape, TensorType};

/// What tells the recurrent layers apart.
#[derive(Clone, Copy)]
pub(super) struct RecurrentKind {
    gates: i64,
    activations: usize,
    /// Cell state and peepholes.
    cell: bool,
}

pub(super) const LSTM: RecurrentKind = RecurrentKind { gates: 4, activations: 3, cell: true };
pub(super) const GRU: RecurrentKind = RecurrentKind { gates: 3, activations: 2, cell: false };
pub(super) const RNN: RecurrentKind = RecurrentKind { gates: 1, activations: 1, cell: false };

impl Ctx<'_> {
    pub(super) fn softmax(&self, axis: usize) -> Types {
        self.arity(1, 1)?;
        let x = self.float(0)?;
        self.axis(axis, x.rank())?;
        one(x.clone())
    }

    pub(super) fn norm(&mut self, axis: usize, epsilon: Scalar, bias: bool) -> Types {
        self.arity(2, if bias { 3 } else { 2 })?;
        let x = self.float(0)?;
        self.axis(axis, x.rank())?;
        self.is_f32(epsilon, "epsilon")?;
        for i in 1..self.inputs.len() {
            let t = self.tensor(i)?;
            self.same_dtype(0, i)?;
            self.equal_shapes(&t.shape, &x.shape[axis..], "scale, bias and the normalised axes")?;
        }
        one(x.clone())
    }

    fn is_f32(&self, value: Scalar, what: &str) -> Result<(), InferError> {
        self.require(
            value.dtype == DType::F32,
            &format!("{what} must be f32"),
            "convert the attribute",
        )
    }

    pub(super) fn attention(&mut self, attrs: &AttentionAttrs) -> Types {
        self.arity(3, 4)?;
        let (q, k, v) = (self.float(0)?, self.float(1)?, self.float(2)?);
        for i in 0..3 {
            self.rank(i, 4)?;
            self.same_dtype(0, i)?;
        }
        self.is_f32(attrs.scale, "scale")?;
        self.equal(&q.shape[0], &k.shape[0], "batch of q and k")?;
        self.equal(&q.shape[0], &v.shape[0], "batch of q and v")?;
        self.equal(&q.shape[3], &k.shape[3], "head size of q and k")?;
        self.equal(&k.shape[1], &v.shape[1], "heads of k and v")?;
        self.equal(&k.shape[2], &v.shape[2], "lengths of k and v")?;
        let groups = &k.shape[1];
        self.require(
            !groups.is(0) || q.shape[1].is(0),
            "k and v have no heads",
            "give them heads",
        )?;
        if !groups.is(0) {
            self.equal(&q.shape[1].modulo(groups), &0.into(), "heads of q modulo heads of k")?;
        }
        if self.inputs.len() == 4 {
            let mask = self.tensor(3)?;
            let ok = mask.dtype == DType::Bool || mask.dtype == q.dtype;
            self.require(ok, "the mask must be bool or of q's dtype", "cast it")?;
            let scores = [&q.shape[0], &q.shape[1], &q.shape[2], &k.shape[2]].map(Clone::clone);
            self.broadcasts_to(&mask.shape, &scores)?;
        }
        let mut shape = q.shape[..3].to_vec();
        shape.push(v.shape[3].clone());
        one(TensorType::dense(q.dtype, shape))
    }

    pub(super) fn cache_attention(&mut self, attrs: &CacheAttentionAttrs) -> Types {
        self.arity(4, 4)?;
        let [q, k, v] = [0, 1, 2].map(|i| self.exactly(i, DType::F32, 3));
        let (q, k, v) = (q?, k?, v?);
        let positions = self.exactly(3, DType::I64, 1)?;
        self.equal_shapes(&k.shape, &v.shape, "k and v")?;
        self.equal(&q.shape[0], &k.shape[0], "rows of q and k")?;
        self.equal(&q.shape[0], &positions.shape[0], "rows of q and positions")?;
        self.equal(&q.shape[2], &k.shape[2], "head size of q and k")?;
        // What the cache is made of is known before anything runs.
        let fixed = |d: &Dim| d.as_const().filter(|n| *n > 0);
        let sizes = (fixed(&q.shape[1]), fixed(&k.shape[1]), fixed(&q.shape[2]));
        let whole = matches!(sizes, (Some(h), Some(g), Some(_)) if h % g == 0);
        let rule = "heads and head size must be numbers above 0, heads of q a multiple of k's";
        self.require(whole, rule, "give them numbers")?;
        let counts =
            attrs.layer >= 0 && attrs.max_positions > 0 && attrs.window.is_none_or(|w| w > 0);
        self.require(counts, "layer, max_positions and window must be counts", "fix them")?;
        self.is_f32(attrs.scale, "scale")?;
        if let Some(cap) = attrs.soft_cap {
            self.is_f32(cap, "soft_cap")?;
        }
        one(TensorType::dense(DType::F32, q.shape.clone()))
    }

    pub(super) fn lrn(&self, attrs: &LrnAttrs) -> Types {
        self.arity(1, 1)?;
        let x = self.float(0)?;
        self.require(x.rank() >= 2, "the operand needs a channel axis 1", "reshape it")?;
        self.require(attrs.size >= 1, "size must be 1 or more", "fix it")?;
        for (value, name) in [(attrs.alpha, "alpha"), (attrs.beta, "beta"), (attrs.bias, "bias")] {
            self.is_f32(value, name)?;
        }
        one(x.clone())
    }

    pub(super) fn recurrent(&mut self, attrs: &RecurrentAttrs, kind: RecurrentKind) -> Types {
        let operands = if kind.cell { 8 } else { 6 };
        self.arity(operands, operands)?;
        let directions = if attrs.direction == Direction::Bidirectional { 2 } else { 1 };
        let wanted = kind.activations * directions;
        let rule = format!("needs {wanted} activations, got {}", attrs.activations.len());
        self.require(attrs.activations.len() == wanted, &rule, "list them per direction")?;
        if let Some(clip) = attrs.clip {
            self.is_f32(clip, "clip")?;
        }
        let x = self.float(0)?;
        self.rank(0, 3)?;
        self.rank(2, 3)?;
        let d = Dim::from(directions as i64);
        let (s, b, i) = (&x.shape[0], &x.shape[1], &x.shape[2]);
        let h = self.encoded(2)?.shape[2].clone();
        let gates = h.clone() * kind.gates;
        self.shaped(1, &[d.clone(), gates.clone(), i.clone()])?;
        self.shaped(2, &[d.clone(), gates.clone(), h.clone()])?;
        self.shaped(3, &[d.clone(), gates * 2])?;
        self.exactly(4, DType::I32, 1)?;
        let lens = self.tensor(4)?;
        self.equal(&lens.shape[0], b, "lens and batch")?;
        let state = [d.clone(), b.clone(), h.clone()];
        self.shaped(5, &state)?;
        if kind.cell {
            self.shaped(6, &state)?;
            self.shaped(7, &[d.clone(), h.clone() * 3])?;
        }
        let y: Shape = vec![s.clone(), d, b.clone(), h];
        let state = TensorType::dense(x.dtype, state.to_vec());
        let mut types = vec![TensorType::dense(x.dtype, y).into(), state.clone().into()];
        if kind.cell {
            types.push(state.into());
        }
        Ok(types)
    }

    /// Operand `i` has operand 0's dtype and this shape; weights may be packed.
    fn shaped(&mut self, i: usize, shape: &[Dim]) -> Result<(), InferError> {
        let t = self.encoded(i)?;
        let weights = matches!(i, 1 | 2);
        let dense = weights || t.encoding == Encoding::Dense;
        self.require(dense, &format!("operand {i} must be dense"), "unpack it")?;
        self.same_dtype(0, i)?;
        self.equal_shapes(&t.shape, shape, &format!("shape of operand {i}"))?;
        Ok(())
    }
}
