//! The vocabulary of the builders: what transformers are made of, over the core ops.
//!
//! A tensor that is missing or misshapen becomes zeros of the right shape, so that building
//! goes on and everything that is wrong is found at once.

use super::Layout;
use super::rope::Rope;
use super::weights::Weights;
use crate::error::ImportError;
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::op::{AttentionAttrs, BinaryOp, Op, SliceRange, UnaryOp};
use cascata_ir::types::{DType, Dim, Encoding, Scalar, Shape, SymbolId, TensorType};
use std::collections::HashMap;

/// The result of a step of building.
pub type R<T> = Result<T, ImportError>;

/// A graph under construction, and where its weights come from.
pub struct Net {
    /// The graph.
    pub graph: Graph,
    /// The tensors.
    pub weights: Weights,
    /// How they are stored.
    pub layout: Layout,
    /// What is being built, for the nodes' sources.
    pub scope: String,
    /// Tensors taken so far: one that is used twice (a tied embedding) is one constant.
    constants: HashMap<String, ValueId>,
}

/// Cosines and sines of the angles, `f32[S,dims/2]`.
#[derive(Clone, Copy)]
pub struct Angles {
    cos: ValueId,
    sin: ValueId,
    dims: i64,
}

/// Which keys a query sees.
#[derive(Clone, Copy)]
pub enum Reach {
    /// Its own and those before.
    Behind,
    /// Its own and those before, no more than this many.
    Last(i64),
    /// Those no further away than this.
    Around(i64),
}

/// How queries meet keys.
#[derive(Clone, Copy)]
pub struct Attend {
    /// Multiplies the scores.
    pub scale: f64,
    /// No query sees later keys.
    pub causal: bool,
    /// bool, broadcast to `[B,H,S,T]`: hidden where false.
    pub visible: Option<ValueId>,
    /// What `visible` says of a paged cache's keys: only so many before a query, its own
    /// included.
    pub window: Option<i64>,
    /// Scores become `cap·tanh(score/cap)`.
    pub cap: Option<f64>,
}

impl Attend {
    /// Everything before a query, its own key included, of heads of this size.
    pub fn causal(depth: i64) -> Self {
        let scale = 1.0 / (depth as f64).sqrt();
        Attend { scale, causal: true, visible: None, window: None, cap: None }
    }
}

impl Net {
    pub fn new(name: &str, weights: Weights, layout: Layout) -> Self {
        let graph = Graph::new(name);
        Net { graph, weights, layout, scope: name.into(), constants: HashMap::new() }
    }

    /// The finished graph.
    pub fn finish(self, architecture: &str) -> R<Graph> {
        let problems = self.weights.finish();
        let architecture = architecture.to_string();
        match problems.is_empty() {
            true => Ok(self.graph),
            false => Err(ImportError::Tensors { architecture, problems }),
        }
    }

    // ---- inputs and leaves --------------------------------------------------

    /// A symbol with its range.
    pub fn symbol(&mut self, name: &str, min: i64, max: i64) -> Dim {
        let id: SymbolId = self.graph.symbols.intern(name);
        let symbol = self.graph.symbols.get_mut(id);
        (symbol.min, symbol.max) = (min, max);
        Dim::sym(id)
    }

    /// An input of the graph.
    pub fn input(&mut self, name: &str, dtype: DType, shape: &[Dim]) -> ValueId {
        self.graph.add_param(Graph::ROOT, name, TensorType::dense(dtype, shape.to_vec()))
    }

    /// An output of the graph.
    pub fn output(&mut self, name: &str, value: ValueId) {
        if self.graph.values[value].name.is_empty() {
            self.graph.values[value].name = name.into();
        }
        self.graph.add_output(name, value);
    }

    pub fn add(&mut self, op: Op, inputs: &[ValueId]) -> R<ValueId> {
        Ok(self.graph.add1(Graph::ROOT, op, inputs.to_vec(), self.scope.clone())?)
    }

    /// Rank-0 number.
    pub fn number(&mut self, dtype: DType, x: f64) -> R<ValueId> {
        self.add(Op::Fill { value: Scalar::from_f64(dtype, x), shape: vec![] }, &[])
    }

    /// Positions of the tokens, `i64[S]`, after `past` others.
    pub fn positions(&mut self, tokens: &Dim, past: &Dim) -> R<ValueId> {
        let shape = vec![tokens.clone()];
        let line = self.add(Op::Iota { dtype: DType::I64, shape, axis: 0 }, &[])?;
        if past.is(0) {
            return Ok(line);
        }
        let dims = vec![past.clone()];
        let past = self.add(Op::DimValues { dims, scalar: true }, &[])?;
        self.binary(BinaryOp::Add, line, past)
    }

    // ---- weights ------------------------------------------------------------

    /// A tensor as it is stored.
    fn stored(&mut self, name: &str, dims: &[i64]) -> R<ValueId> {
        let shape: Shape = dims.iter().map(|d| Dim::from(*d)).collect();
        let Some(tensor) = self.weights.take(name, dims) else {
            return self.add(Op::Fill { value: Scalar::f32(0.0), shape }, &[]);
        };
        if let Some(known) = self.constants.get(name) {
            return Ok(*known);
        }
        let v = self.graph.add_const(Graph::ROOT, name, tensor.ty, tensor.data);
        self.constants.insert(name.into(), v);
        Ok(v)
    }

    /// Blocks as dense elements; others as they are.
    fn unpacked(&mut self, x: ValueId) -> R<ValueId> {
        match self.graph.tensor(x).encoding {
            Encoding::Dense => Ok(x),
            _ => self.add(Op::Pack { encoding: Encoding::Dense }, &[x]),
        }
    }

    fn in_f32(&mut self, x: ValueId) -> R<ValueId> {
        match self.graph.tensor(x).dtype {
            DType::F32 => Ok(x),
            _ => self.add(Op::Cast { to: DType::F32 }, &[x]),
        }
    }

    /// A tensor as dense f32.
    pub fn tensor(&mut self, name: &str, dims: &[i64]) -> R<ValueId> {
        let x = self.stored(name, dims)?;
        let x = self.unpacked(x)?;
        self.in_f32(x)
    }

    /// `x · Wᵀ (+ b)` with `NAME.weight: [outputs,inputs]`.
    pub fn linear(&mut self, x: ValueId, name: &str, sizes: [i64; 2], bias: bool) -> R<ValueId> {
        let [inputs, outputs] = sizes;
        self.scope = name.into();
        let w = self.stored(&format!("{name}.weight"), &[outputs, inputs])?;
        let w = self.unpacked(w)?;
        let w = self.transpose(w, &[1, 0])?;
        self.project(x, w, name, outputs, bias)
    }

    /// As [`Net::linear`] with `NAME.weight: [inputs,outputs]`.
    pub fn linear_in_out(
        &mut self,
        x: ValueId,
        name: &str,
        sizes: [i64; 2],
        bias: bool,
    ) -> R<ValueId> {
        let [inputs, outputs] = sizes;
        self.scope = name.into();
        let w = self.stored(&format!("{name}.weight"), &[inputs, outputs])?;
        let w = self.unpacked(w)?;
        self.project(x, w, name, outputs, bias)
    }

    fn project(
        &mut self,
        x: ValueId,
        w: ValueId,
        name: &str,
        outputs: i64,
        bias: bool,
    ) -> R<ValueId> {
        let w = self.in_f32(w)?;
        let y = self.add(Op::MatMul, &[x, w])?;
        if !bias {
            return Ok(y);
        }
        let b = self.tensor(&format!("{name}.bias"), &[outputs])?;
        self.binary(BinaryOp::Add, y, b)
    }

    /// Rows of `NAME.weight: [rows,width]`.
    pub fn embed(&mut self, ids: ValueId, name: &str, rows: i64, width: i64) -> R<ValueId> {
        self.scope = name.into();
        let table = self.stored(&format!("{name}.weight"), &[rows, width])?;
        let table = self.unpacked(table)?;
        let picked = self.add(Op::Gather { axis: 0 }, &[table, ids])?;
        self.in_f32(picked)
    }

    // ---- norms --------------------------------------------------------------

    /// Root-mean-square norm over the last axis; `plus_one`: the scale is 1 + w.
    pub fn rms_norm(
        &mut self,
        x: ValueId,
        name: &str,
        width: i64,
        epsilon: f64,
        plus_one: bool,
    ) -> R<ValueId> {
        self.scope = name.into();
        let mut w = self.tensor(&format!("{name}.weight"), &[width])?;
        if plus_one {
            w = self.with_number(BinaryOp::Add, w, 1.0)?;
        }
        let axis = self.graph.tensor(x).rank() - 1;
        self.add(Op::RmsNorm { axis, epsilon: Scalar::f32(epsilon as f32) }, &[x, w])
    }

    /// Layer norm over the last axis.
    pub fn layer_norm(
        &mut self,
        x: ValueId,
        name: &str,
        width: i64,
        epsilon: f64,
        bias: bool,
    ) -> R<ValueId> {
        self.scope = name.into();
        let w = self.tensor(&format!("{name}.weight"), &[width])?;
        let b = match bias {
            true => Some(self.tensor(&format!("{name}.bias"), &[width])?),
            false => None,
        };
        let axis = self.graph.tensor(x).rank() - 1;
        let operands: Vec<ValueId> = [x, w].into_iter().chain(b).collect();
        self.add(Op::LayerNorm { axis, epsilon: Scalar::f32(epsilon as f32) }, &operands)
    }

    // ---- element-wise and movement ------------------------------------------

    pub fn unary(&mut self, op: UnaryOp, x: ValueId) -> R<ValueId> {
        self.add(Op::Unary(op), &[x])
    }

    pub fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> R<ValueId> {
        self.add(Op::Binary(op), &[a, b])
    }

    pub fn with_number(&mut self, op: BinaryOp, x: ValueId, number: f64) -> R<ValueId> {
        let dtype = self.graph.tensor(x).dtype;
        let number = self.number(dtype, number)?;
        self.binary(op, x, number)
    }

    /// `cap · tanh(x/cap)`.
    pub fn soft_cap(&mut self, x: ValueId, cap: f64) -> R<ValueId> {
        let y = self.with_number(BinaryOp::Div, x, cap)?;
        let y = self.unary(UnaryOp::Tanh, y)?;
        self.with_number(BinaryOp::Mul, y, cap)
    }

    pub fn shape(&self, x: ValueId) -> Shape {
        self.graph.tensor(x).shape.clone()
    }

    pub fn reshape(&mut self, x: ValueId, shape: Shape) -> R<ValueId> {
        self.add(Op::Reshape { shape }, &[x])
    }

    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> R<ValueId> {
        self.add(Op::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// `len` elements of an axis from `start`.
    pub fn slice(
        &mut self,
        x: ValueId,
        axis: usize,
        start: impl Into<Dim>,
        len: impl Into<Dim>,
    ) -> R<ValueId> {
        let range = SliceRange { axis, start: start.into(), len: len.into(), step: 1 };
        self.add(Op::Slice { ranges: vec![range] }, &[x])
    }

    /// `[B,S,heads·D]` as `[B,heads,S,D]`; flat rows `[T,heads·D]` as `[T,heads,D]`.
    pub fn split_heads(&mut self, x: ValueId, heads: i64, depth: i64) -> R<ValueId> {
        let mut s = self.shape(x);
        s.pop();
        let flat = s.len() == 1;
        s.extend([heads.into(), depth.into()]);
        let x = self.reshape(x, s)?;
        if flat { Ok(x) } else { self.transpose(x, &[0, 2, 1, 3]) }
    }

    /// The other way round.
    pub fn join_heads(&mut self, x: ValueId) -> R<ValueId> {
        let s = self.shape(x);
        if let [rows, heads, depth] = &s[..] {
            return self.reshape(x, vec![rows.clone(), heads.clone() * depth.clone()]);
        }
        let x = self.transpose(x, &[0, 2, 1, 3])?;
        self.reshape(x, vec![s[0].clone(), s[2].clone(), s[1].clone() * s[3].clone()])
    }

    // ---- attention ----------------------------------------------------------

    /// The angles of tokens at `positions: i64[S]`.
    pub fn angles(&mut self, rope: &Rope, positions: ValueId) -> R<Angles> {
        self.scope = "rotary".into();
        let (frequencies, length) = rope.frequencies();
        let data: Vec<u8> = frequencies.iter().flat_map(|f| (*f as f32).to_le_bytes()).collect();
        let ty = TensorType::fixed(DType::F32, &[1, rope.dims / 2]);
        let frequencies = self.graph.add_const(Graph::ROOT, "frequencies", ty, data.into());
        let at = self.add(Op::Cast { to: DType::F32 }, &[positions])?;
        let shape = self.shape(at);
        let at = self.reshape(at, vec![shape[0].clone(), 1.into()])?;
        let turns = self.binary(BinaryOp::Mul, at, frequencies)?;
        let (mut cos, mut sin) =
            (self.unary(UnaryOp::Cos, turns)?, self.unary(UnaryOp::Sin, turns)?);
        if length != 1.0 {
            cos = self.with_number(BinaryOp::Mul, cos, length)?;
            sin = self.with_number(BinaryOp::Mul, sin, length)?;
        }
        Ok(Angles { cos, sin, dims: rope.dims })
    }

    /// Turns the first elements of heads `[B,H,S,D]`, or of flat rows' `[T,H,D]`; pairs are
    /// element `i` of each half.
    pub fn rotate(&mut self, x: ValueId, angles: Angles) -> R<ValueId> {
        let Angles { mut cos, mut sin, dims } = angles;
        let s = self.shape(x);
        let last = s.len() - 1;
        if last == 2 {
            let each_head = vec![s[0].clone(), 1.into(), (dims / 2).into()];
            cos = self.reshape(cos, each_head.clone())?;
            sin = self.reshape(sin, each_head)?;
        }
        let (a, b) = (self.slice(x, last, 0, dims / 2)?, self.slice(x, last, dims / 2, dims / 2)?);
        let (a_cos, b_sin) =
            (self.binary(BinaryOp::Mul, a, cos)?, self.binary(BinaryOp::Mul, b, sin)?);
        let (b_cos, a_sin) =
            (self.binary(BinaryOp::Mul, b, cos)?, self.binary(BinaryOp::Mul, a, sin)?);
        let mut parts = vec![
            self.binary(BinaryOp::Sub, a_cos, b_sin)?,
            self.binary(BinaryOp::Add, b_cos, a_sin)?,
        ];
        if !s[last].is(dims) {
            parts.push(self.slice(x, last, dims, s[last].clone() - dims)?);
        }
        self.add(Op::Concat { axis: last }, &parts)
    }

    /// bool`[S,T]`: whether query `s`, which stands at `past + s`, may see key `t`.
    pub fn visible(&mut self, tokens: &Dim, past: &Dim, reach: Reach) -> R<ValueId> {
        self.scope = "mask".into();
        let row = self.positions(tokens, past)?;
        let row = self.reshape(row, vec![tokens.clone(), 1.into()])?;
        let shape = vec![1.into(), tokens.clone() + past.clone()];
        let column = self.add(Op::Iota { dtype: DType::I64, shape, axis: 1 }, &[])?;
        let behind = self.binary(BinaryOp::Sub, row, column)?;
        match reach {
            Reach::Behind => self.with_number(BinaryOp::Ge, behind, 0.0),
            Reach::Last(window) => {
                let seen = self.with_number(BinaryOp::Ge, behind, 0.0)?;
                let near = self.with_number(BinaryOp::Lt, behind, window as f64)?;
                self.binary(BinaryOp::And, seen, near)
            }
            Reach::Around(distance) => {
                let away = self.unary(UnaryOp::Abs, behind)?;
                self.with_number(BinaryOp::Le, away, distance as f64)
            }
        }
    }

    /// `q[B,H,S,D], k[B,G,T,D], v[B,G,T,D] → [B,S,H·D]`. A soft cap is not part of the core op:
    /// there, `visible` must say everything.
    pub fn attend(&mut self, [q, k, v]: [ValueId; 3], how: Attend) -> R<ValueId> {
        let y = match how.cap {
            Some(cap) => self.attend_capped([q, k, v], how, cap)?,
            None => {
                let attrs = AttentionAttrs {
                    scale: Scalar::f32(how.scale as f32),
                    causal: how.causal,
                    zero_masked_rows: how.visible.is_some(),
                };
                let operands: Vec<ValueId> = [q, k, v].into_iter().chain(how.visible).collect();
                self.add(Op::Attention(attrs), &operands)?
            }
        };
        self.join_heads(y)
    }

    /// Queries of the heads that share a key head are rows of one product.
    fn attend_capped(&mut self, [q, k, v]: [ValueId; 3], how: Attend, cap: f64) -> R<ValueId> {
        let (s, t) = (self.shape(q), self.shape(k));
        let (batch, groups, keys) = (t[0].clone(), t[1].clone(), t[2].clone());
        let shared = Dim::from(match (s[1].as_const(), groups.as_const()) {
            (Some(heads), Some(groups)) if groups > 0 => heads / groups,
            _ => 1,
        });
        let rows = shared.clone() * s[2].clone();
        let flat = |last: &Dim| vec![batch.clone(), groups.clone(), rows.clone(), last.clone()];
        let q = self.reshape(q, flat(&s[3]))?;
        let kt = self.transpose(k, &[0, 1, 3, 2])?;
        let scores = self.add(Op::MatMul, &[q, kt])?;
        let scores = self.with_number(BinaryOp::Mul, scores, how.scale)?;
        let scores = self.soft_cap(scores, cap)?;
        let wide = vec![batch.clone(), groups.clone(), shared, s[2].clone(), keys.clone()];
        let mut scores = self.reshape(scores, wide)?;
        if let Some(visible) = how.visible {
            let hidden = self.number(DType::F32, f64::NEG_INFINITY)?;
            scores = self.add(Op::Select, &[visible, scores, hidden])?;
        }
        let p = self.add(Op::Softmax { axis: 4 }, &[scores])?;
        let p = self.reshape(p, flat(&keys))?;
        let y = self.add(Op::MatMul, &[p, v])?;
        let depth = self.shape(v)[3].clone();
        self.reshape(y, vec![batch, s[1].clone(), s[2].clone(), depth])
    }
}
