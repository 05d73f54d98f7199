//! Short ways to add core ops; each gives the result's value.
//!
//! What would change nothing (a cast to the same dtype, a reshape to the same shape, an
//! identity transpose…) adds no node.

use super::complexity::is_simple_shape;
use super::cx::Cx;
use super::error::{R, malformed, unsupported};
use super::facts::{Elem, Facts};
use super::scope::{Content, Slot};
use super::tensor::Tensor;
use cascata_ir::graph::{DimCheck, ValueId};
use cascata_ir::op::{BinaryOp, BindMode, Op, ReduceOp, SliceRange, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar, Shape, SymbolTable};
use std::rc::Rc;

impl Cx<'_> {
    /// Adds an op; gives all results.
    pub fn emit_all(&mut self, op: Op, inputs: &[ValueId]) -> R<Vec<ValueId>> {
        // Before inference multiplies the dims out.
        if let Some(shape) = given_shape(&op) {
            simple(shape)?;
        }
        let source = self.source.as_str();
        let results = self.imp.graph.add(self.frame.region, op, inputs.to_vec(), source)?;
        for ty in results.iter().filter_map(|v| self.imp.graph.ty(*v).as_tensor()) {
            simple(&ty.shape)?;
        }
        Ok(results)
    }

    /// Adds an op with one result.
    pub fn emit(&mut self, op: Op, inputs: &[ValueId]) -> R<ValueId> {
        match self.emit_all(op, inputs)?.as_slice() {
            [value, ..] => Ok(*value),
            [] => unsupported!("an op without results"),
        }
    }

    // ---- leaves -------------------------------------------------------------

    /// One number everywhere.
    pub fn fill(&mut self, value: Scalar, shape: Shape) -> R<ValueId> {
        self.emit(Op::Fill { value, shape }, &[])
    }

    /// A rank-0 number.
    pub fn number(&mut self, dtype: DType, x: f64) -> R<ValueId> {
        self.fill(Scalar::from_f64(dtype, x), vec![])
    }

    /// A rank-0 number of the dtype of `like`.
    pub fn number_like(&mut self, like: ValueId, x: f64) -> R<ValueId> {
        self.number(self.dtype(like), x)
    }

    /// A tensor of floats.
    pub fn constant(&mut self, dtype: DType, dims: Vec<i64>, numbers: &[f64]) -> R<ValueId> {
        let width = dtype.size_bytes().unwrap_or(0);
        let bits = |x: &f64| Scalar::from_f64(dtype, *x).bits.to_le_bytes();
        let data: Vec<u8> = numbers.iter().flat_map(|x| bits(x).into_iter().take(width)).collect();
        let slot = self.imp.weight(Tensor { dtype, narrow: None, dims, data: data.into() }, "");
        self.imp.value(slot)
    }

    /// A tensor of strings.
    pub fn strings_value(&mut self, dims: Vec<i64>, texts: &[String]) -> R<ValueId> {
        match Tensor::from_strings(dims, texts) {
            Ok(tensor) => {
                let slot = self.imp.weight(tensor, "");
                self.imp.value(slot)
            }
            Err(reason) => malformed!("{reason}"),
        }
    }

    /// Dims as an `i64` vector.
    pub fn dim_vector(&mut self, dims: Vec<Dim>) -> R<ValueId> {
        let content = Content::Known(Rc::new(Facts::vector(dims)));
        let slot = self.imp.lazy(content, "", self.frame.region);
        self.imp.value(slot)
    }

    /// A dim as a rank-0 tensor of `dtype`.
    pub fn dim_scalar(&mut self, dim: Dim, dtype: DType) -> R<ValueId> {
        let content = Content::Known(Rc::new(Facts::scalar(dtype, Elem::int(dim))));
        let slot = self.imp.lazy(content, "", self.frame.region);
        self.imp.value(slot)
    }

    /// Indices along `axis` of a tensor of `shape`.
    pub fn iota(&mut self, dtype: DType, shape: Shape, axis: usize) -> R<ValueId> {
        self.emit(Op::Iota { dtype, shape, axis }, &[])
    }

    // ---- element-wise -------------------------------------------------------

    /// `op(x)`.
    pub fn unary(&mut self, op: UnaryOp, x: ValueId) -> R<ValueId> {
        self.emit(Op::Unary(op), &[x])
    }

    /// `op(a, b)`, broadcast.
    pub fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> R<ValueId> {
        self.emit(Op::Binary(op), &[a, b])
    }

    /// `op(a, number)`.
    pub fn with_number(&mut self, op: BinaryOp, a: ValueId, x: f64) -> R<ValueId> {
        let b = self.number_like(a, x)?;
        self.binary(op, a, b)
    }

    /// `cond ? a : b`.
    pub fn select(&mut self, cond: ValueId, a: ValueId, b: ValueId) -> R<ValueId> {
        self.emit(Op::Select, &[cond, a, b])
    }

    /// `x` as `to`.
    pub fn cast(&mut self, x: ValueId, to: DType) -> R<ValueId> {
        if self.dtype(x) == to { Ok(x) } else { self.emit(Op::Cast { to }, &[x]) }
    }

    /// `x` as `dtype`, no smaller than `low` and no larger than `high`.
    pub fn clamp(&mut self, x: ValueId, low: f64, high: f64) -> R<ValueId> {
        let x = self.with_number(BinaryOp::Max, x, low)?;
        self.with_number(BinaryOp::Min, x, high)
    }

    // ---- movement -----------------------------------------------------------

    /// `x` in another shape.
    pub fn reshape(&mut self, x: ValueId, shape: Shape) -> R<ValueId> {
        if self.ty(x).shape == shape { Ok(x) } else { self.emit(Op::Reshape { shape }, &[x]) }
    }

    /// `x` with dims of 1 inserted so that they stand at `axes` of the result.
    pub fn unsqueeze(&mut self, x: ValueId, axes: &[usize]) -> R<ValueId> {
        let mut shape = self.shape(x);
        for &a in axes {
            if a > shape.len() {
                return malformed!("axis {a} is out of range for rank {}", shape.len() + 1);
            }
            shape.insert(a, 1.into());
        }
        self.reshape(x, shape)
    }

    /// `x` without the axes, whose dims must be 1.
    pub fn squeeze(&mut self, x: ValueId, axes: &[usize]) -> R<ValueId> {
        let old = self.shape(x);
        for &a in axes {
            self.check(&old[a], &Dim::from(1), &format!("squeezed axis {a}"))?;
        }
        let kept = old.into_iter().enumerate().filter(|(a, _)| !axes.contains(a));
        self.reshape(x, kept.map(|(_, d)| d).collect())
    }

    /// `x` as a vector.
    pub fn flatten(&mut self, x: ValueId) -> R<ValueId> {
        let n = self.ty(x).elements();
        self.reshape(x, vec![n])
    }

    /// `x` with its axes permuted.
    pub fn transpose(&mut self, x: ValueId, perm: Vec<usize>) -> R<ValueId> {
        if perm.iter().copied().eq(0..perm.len()) && perm.len() == self.rank(x) {
            return Ok(x);
        }
        self.emit(Op::Transpose { perm }, &[x])
    }

    /// `x` broadcast to exactly `shape`.
    pub fn broadcast(&mut self, x: ValueId, shape: Shape) -> R<ValueId> {
        if self.ty(x).shape == shape { Ok(x) } else { self.emit(Op::Broadcast { shape }, &[x]) }
    }

    /// Parts joined along `axis`.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> R<ValueId> {
        match parts {
            [one] => Ok(*one),
            _ => self.emit(Op::Concat { axis }, parts),
        }
    }

    /// `len` elements of `axis` from `start`.
    pub fn slice_axis(&mut self, x: ValueId, axis: usize, start: Dim, len: Dim) -> R<ValueId> {
        if start.is(0) && self.ty(x).shape.get(axis) == Some(&len) {
            return Ok(x);
        }
        self.emit(Op::Slice { ranges: vec![SliceRange { axis, start, len, step: 1 }] }, &[x])
    }

    // ---- reductions and contractions ----------------------------------------

    /// A reduction; over no axes it is `x` itself.
    pub fn reduce(&mut self, op: ReduceOp, x: ValueId, axes: &[usize], keep: bool) -> R<ValueId> {
        if axes.is_empty() {
            return Ok(x);
        }
        self.emit(Op::Reduce { op, axes: axes.to_vec(), keep_dims: keep }, &[x])
    }

    // ---- dims ---------------------------------------------------------------

    /// Requires `a == b`: proved, refuted or recorded in the graph.
    pub fn check(&mut self, a: &Dim, b: &Dim, what: &str) -> R<()> {
        if a == b {
            return Ok(());
        }
        let (low, high) = (a.clone() - b.clone()).bounds(self.symbols());
        if low > 0 || high < 0 {
            return malformed!("{what}: {} and {} must be equal", self.show(a), self.show(b));
        }
        let what = format!("{}: {what}", self.source);
        let region = self.frame.region;
        self.imp.graph.add_check(region, DimCheck { lhs: a.clone(), rhs: b.clone(), what });
        Ok(())
    }

    /// A new data-dependent symbol called after the node's first output.
    pub fn fresh(&mut self, hint: &str) -> cascata_ir::types::SymbolId {
        let output = self.node.output.first().map_or("", String::as_str);
        let name = super::inputs::symbol_name(&format!("{output}.{hint}"));
        self.imp.graph.symbols.fresh(&name, 0, SymbolTable::DEFAULT_MAX)
    }

    /// The elements of input `i` as dims; what is not known is bound to data-dependent
    /// symbols where this node stands.
    pub fn dims(&mut self, i: usize, mode: BindMode) -> R<Vec<Elem>> {
        let facts = self.facts(i);
        if let Some(facts) = &facts
            && facts.as_dims().is_some()
        {
            return Ok(facts.elems.clone());
        }
        let value = self.input(i)?;
        let Some(count) = self.ty(value).elements().as_const() else {
            return unsupported!("input {i} has a number of elements that is not known");
        };
        if count > super::facts::MAX_ELEMENTS as i64 {
            return unsupported!("input {i} has {count} elements");
        }
        let symbols: Vec<_> = (0..count).map(|k| self.fresh(&format!("dim{k}"))).collect();
        let value = self.cast(value, DType::I64)?;
        let value = self.reshape(value, vec![count.into()])?;
        self.emit_all(Op::BindDims { symbols: symbols.clone(), mode }, &[value])?;
        let known = |k: usize| facts.as_ref()?.elems.get(k)?.as_dim().cloned();
        let elem = |(k, s): (usize, &_)| Elem::int(known(k).unwrap_or_else(|| Dim::sym(*s)));
        Ok(symbols.iter().enumerate().map(elem).collect())
    }

    /// The elements of input `i` as dims that are used as they are.
    pub fn raw_dims(&mut self, i: usize) -> R<Vec<Dim>> {
        let elems = self.dims(i, BindMode::Raw)?;
        Ok(elems.iter().filter_map(|e| e.as_dim().cloned()).collect())
    }

    /// The elements of a computed `i64` vector of `n` elements as dims.
    pub fn bind_vector(&mut self, value: ValueId, n: usize) -> R<Vec<Dim>> {
        let symbols: Vec<_> = (0..n).map(|k| self.fresh(&format!("dim{k}"))).collect();
        let dims = symbols.iter().map(|s| Dim::sym(*s)).collect();
        self.emit_all(Op::BindDims { symbols, mode: BindMode::Raw }, &[value])?;
        Ok(dims)
    }
}

/// The shape that an op carries as an attribute.
fn given_shape(op: &Op) -> Option<&Shape> {
    match op {
        Op::Fill { shape, .. }
        | Op::Iota { shape, .. }
        | Op::Reshape { shape }
        | Op::Broadcast { shape } => Some(shape),
        Op::Resize(attrs) => Some(&attrs.shape),
        Op::Random(attrs) => Some(&attrs.shape),
        _ => None,
    }
}

/// Refuses shapes whose expressions have grown out of bounds.
pub fn simple(shape: &[Dim]) -> R<()> {
    if is_simple_shape(shape) {
        return Ok(());
    }
    unsupported!("a shape of {} dims whose expressions are too complex; bind dims", shape.len())
}

/// One result.
pub fn one(value: ValueId) -> R<Vec<Slot>> {
    Ok(vec![Slot::Value(value)])
}

/// Several results.
pub fn many(values: impl IntoIterator<Item = ValueId>) -> R<Vec<Slot>> {
    Ok(values.into_iter().map(Slot::Value).collect())
}
