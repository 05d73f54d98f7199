//! Values as expressions of their index: every Map op written inline.
//!
//! `value_at(v, idx)` is the scalar that `v` holds at `idx`. Element-wise ops become
//! expressions, data movement becomes arithmetic on the index, and what the group
//! does not compute becomes a load. What must run before the expression (an index
//! read from memory and its check) is appended to the body's prelude.

use super::body::{Body, dot, strides};
use super::{LowerError, Operand};
use cascata_ir::graph::{Const, Def, ValueId};
use cascata_ir::kernel::{Expr, Place};
use cascata_ir::op::{BinaryOp, Op, PadMode};
use cascata_passes::fuse::memory_owner;
use cascata_types::{DType, Dim, Scalar, Shape};

impl Body<'_, '_> {
    pub fn shape(&self, v: ValueId) -> Shape {
        self.graph.tensor(v).shape.clone()
    }

    /// The scalar that `v` holds at `idx` (one index per axis).
    pub fn value_at(&mut self, v: ValueId, idx: &[Dim]) -> Result<Expr, LowerError> {
        if let Some(expr) = self.known_at(v, idx) {
            return Ok(expr);
        }
        match self.computed_here(v) {
            Some(op) => {
                if let Some(held) = self.remembered(v, idx) {
                    return Ok(held);
                }
                let value = self.computed(v, &op, idx)?;
                Ok(self.remember(v, idx, value))
            }
            None => self.external(v, idx),
        }
    }

    /// The op behind a value that this group computes, or that is cheaper to repeat than to load.
    fn computed_here(&self, v: ValueId) -> Option<Op> {
        let node = match self.graph.values[v].def {
            Def::Node(id, _) => id,
            Def::Param(..) => return None,
        };
        let op = &self.graph.nodes[node].op;
        let leaf = matches!(op, Op::Fill { .. } | Op::DimValues { .. } | Op::Iota { .. });
        let inside = self.members().contains(&node);
        (leaf || inside && !matches!(op, Op::Const(_))).then(|| op.clone())
    }

    /// A value from outside of the group: a number, a weight, or a load.
    fn external(&mut self, v: ValueId, idx: &[Dim]) -> Result<Expr, LowerError> {
        let v = self.resolve(v);
        if self.computed_here(v).is_some() {
            return self.value_at(v, idx);
        }
        let owner = memory_owner(self.graph, v);
        if let Some(number) = self.graph.as_const(owner).and_then(single_element) {
            return Ok(Expr::Const(number));
        }
        if let Some(element) = self.narrow_element(v, &dot(idx, &strides(&self.shape(v)))) {
            return Ok(element);
        }
        let place = self.element(v, idx);
        Ok(Expr::Load(place))
    }

    /// Element number `flat` of a block-quantised matrix.
    fn narrow_element(&mut self, v: ValueId, flat: &Dim) -> Option<Expr> {
        let coded = if self.blocks_are_plain { None } else { self.coded_matrix(v) }?;
        let k = Dim::from(coded.k as i64);
        Some(self.coded_element(&coded, &flat.floor_div(&k), &flat.modulo(&k)))
    }

    /// The operand behind a value that the group does not compute.
    pub fn operand_of(&mut self, v: ValueId) -> Operand {
        let v = self.resolve(v);
        self.lowering.operand(v)
    }

    /// Element `idx` of a value that the group does not compute.
    fn element(&mut self, v: ValueId, idx: &[Dim]) -> Place {
        let operand = self.operand_of(v);
        let buffer = self.input(operand);
        Place { buffer, at: dot(idx, &strides(&self.shape(v))) }
    }

    /// Element number `flat` of a value that lies in memory.
    fn flat_element(&mut self, v: ValueId, flat: &Dim) -> Option<Expr> {
        let outside = self.resolve(v);
        let here = self.computed_here(outside).is_some() || self.is_known(v);
        let number =
            self.graph.as_const(memory_owner(self.graph, outside)).and_then(single_element);
        if here || number.is_some() {
            return None;
        }
        if let Some(element) = self.narrow_element(v, flat) {
            return Some(element);
        }
        let operand = self.operand_of(v);
        Some(Expr::Load(Place { buffer: self.input(operand), at: flat.clone() }))
    }

    fn computed(&mut self, v: ValueId, op: &Op, idx: &[Dim]) -> Result<Expr, LowerError> {
        let Def::Node(node, result) = self.graph.values[v].def else {
            return Err(self.error("a parameter has no op"));
        };
        let inputs = self.graph.nodes[node].inputs.clone();
        match op {
            Op::Fill { value, .. } => Ok(Expr::Const(*value)),
            Op::DimValues { dims, scalar } => Ok(dim_values(dims, *scalar, idx)),
            Op::Iota { dtype, axis, .. } => {
                Ok(cast(*dtype, DType::I64, Expr::Index(idx[*axis].clone())))
            }
            Op::Unary(f) => {
                let x = self.value_at(inputs[0], idx)?;
                Ok(Expr::Unary(*f, x.into()))
            }
            Op::Binary(f) => {
                let a = self.broadcast_at(inputs[0], v, idx)?;
                let b = self.broadcast_at(inputs[1], v, idx)?;
                Ok(Expr::Binary(*f, a.into(), b.into()))
            }
            Op::Select => {
                let c = self.broadcast_at(inputs[0], v, idx)?;
                let a = self.broadcast_at(inputs[1], v, idx)?;
                let b = self.broadcast_at(inputs[2], v, idx)?;
                Ok(Expr::Select(c.into(), a.into(), b.into()))
            }
            Op::Cast { to } => {
                let from = self.graph.tensor(inputs[0]).dtype;
                Ok(cast(*to, from, self.value_at(inputs[0], idx)?))
            }
            Op::BitCast { to } => Ok(Expr::Bits(*to, self.value_at(inputs[0], idx)?.into())),
            Op::Broadcast { .. } => self.broadcast_at(inputs[0], v, idx),
            Op::Reshape { .. } => {
                let flat = dot(idx, &strides(&self.shape(v)));
                if let Some(element) = self.flat_element(inputs[0], &flat) {
                    return Ok(element);
                }
                let shape = self.shape(inputs[0]);
                let split = split_index(&shape, &self.shape(v), idx)
                    .unwrap_or_else(|| delinearise(&flat, &shape));
                self.value_at(inputs[0], &split)
            }
            Op::Transpose { perm } => {
                let mut from = vec![Dim::from(0); perm.len()];
                for (i, p) in perm.iter().enumerate() {
                    from[*p] = idx[i].clone();
                }
                self.value_at(inputs[0], &from)
            }
            Op::Slice { ranges } => {
                let mut from = idx.to_vec();
                for r in ranges {
                    from[r.axis] = r.start.clone() + idx[r.axis].clone() * r.step;
                }
                self.value_at(inputs[0], &from)
            }
            Op::Pad { pads, mode } => self.padded(&inputs, pads, *mode, idx),
            Op::Concat { axis } => self.concatenated(&inputs, *axis, idx),
            Op::Gather { axis } => self.gathered(&inputs, *axis, idx),
            Op::GatherElements { axis } => {
                let at = self.value_at(inputs[1], idx)?;
                let extent = self.shape(inputs[0])[*axis].clone();
                let mut from = idx.to_vec();
                from[*axis] = self.loaded_index(inputs[1], at, &extent);
                self.value_at(inputs[0], &from)
            }
            Op::GatherNd { batch_dims } => self.gathered_nd(&inputs, *batch_dims, idx),
            Op::Resize(attrs) => super::resize::value_at(self, inputs[0], attrs, idx),
            _ => Err(LowerError {
                node: self.graph.nodes[node].source.clone(),
                op: op.name(),
                reason: format!("result {result} cannot be computed element by element"),
            }),
        }
    }

    /// Operand `v` of an op with result `result`, broadcast to the result's index.
    pub fn broadcast_at(
        &mut self,
        v: ValueId,
        result: ValueId,
        idx: &[Dim],
    ) -> Result<Expr, LowerError> {
        let (shape, full) = (self.shape(v), self.shape(result));
        let from = broadcast_index(&shape, &full, idx);
        self.value_at(v, &from)
    }

    fn padded(
        &mut self,
        inputs: &[ValueId],
        pads: &[(Dim, Dim)],
        mode: PadMode,
        idx: &[Dim],
    ) -> Result<Expr, LowerError> {
        let shape = self.shape(inputs[0]);
        let mut from = Vec::with_capacity(idx.len());
        let mut inside: Option<Expr> = None;
        for ((i, n), (before, after)) in idx.iter().zip(&shape).zip(pads) {
            let at = i.clone() - before.clone();
            if before.is(0) && after.is(0) {
                from.push(at);
                continue;
            }
            let last = n.clone() - 1;
            let clamped = at.minimum(&last).maximum(&Dim::from(0));
            from.push(match mode {
                PadMode::Constant | PadMode::Edge => clamped,
                PadMode::Wrap => at.modulo(n),
                PadMode::Reflect => reflected(&at, n, [before, after]),
            });
            if mode == PadMode::Constant {
                let low = compare(BinaryOp::Ge, at.clone(), 0.into());
                let high = compare(BinaryOp::Lt, at, n.clone());
                let both = and(low, high);
                inside = Some(match inside {
                    Some(other) => and(other, both),
                    None => both,
                });
            }
        }
        if mode != PadMode::Constant {
            self.has_elements(&shape, pads);
        }
        let padded = |axis: &usize| !(pads[*axis].0.is(0) && pads[*axis].1.is(0));
        for axis in (0..shape.len()).filter(padded) {
            self.first_if_empty(&shape, axis, &mut from);
        }
        let x = self.value_at(inputs[0], &from)?;
        match (inside, inputs.get(1)) {
            (Some(inside), Some(value)) => {
                let value = self.value_at(*value, &[])?;
                Ok(Expr::Select(inside.into(), x.into(), value.into()))
            }
            _ => Ok(x),
        }
    }

    /// Fails where a padded axis turns out to have nothing to pad with.
    fn has_elements(&mut self, shape: &[Dim], pads: &[(Dim, Dim)]) {
        for (n, (before, after)) in shape.iter().zip(pads) {
            let unpadded = before.is(0) && after.is(0);
            if !unpadded && !n.at_least(1, &self.symbols) {
                let some = compare(BinaryOp::Ge, n.clone(), 1.into());
                let size = n.clone() + before.clone() + after.clone();
                // Symbolic pads may add nothing either.
                let fine = some.or(compare(BinaryOp::Lt, size, 1.into()));
                self.check(fine, "an empty axis has nothing to pad with".into());
            }
        }
    }

    /// The index of the first element where the operand may have none along `axis`: what
    /// is read there is dropped, but it is read.
    fn first_if_empty(&self, shape: &[Dim], axis: usize, index: &mut [Dim]) {
        if shape[axis].at_least(1, &self.symbols) {
            return;
        }
        let any = shape[axis].minimum(&1.into());
        for at in index {
            *at = at.clone() * any.clone();
        }
    }

    /// A concat read element by element; as the root of a group it becomes one loop per operand.
    fn concatenated(
        &mut self,
        inputs: &[ValueId],
        axis: usize,
        idx: &[Dim],
    ) -> Result<Expr, LowerError> {
        let mut start = Dim::from(0);
        let mut out: Option<Expr> = None;
        for v in inputs {
            let extent = self.shape(*v)[axis].clone();
            let mut from = idx.to_vec();
            let at = idx[axis].clone() - start.clone();
            from[axis] = at.minimum(&(extent.clone() - 1)).maximum(&0.into());
            let shape = self.shape(*v);
            self.first_if_empty(&shape, axis, &mut from);
            let x = self.value_at(*v, &from)?;
            out = Some(match out {
                None => x,
                Some(before) => {
                    let past = compare(BinaryOp::Ge, idx[axis].clone(), start.clone());
                    Expr::Select(past.into(), x.into(), before.into())
                }
            });
            start = start + extent;
        }
        out.ok_or_else(|| self.error("a concat needs operands"))
    }

    fn gathered(
        &mut self,
        inputs: &[ValueId],
        axis: usize,
        idx: &[Dim],
    ) -> Result<Expr, LowerError> {
        let rank = self.graph.tensor(inputs[1]).rank();
        let at = self.value_at(inputs[1], &idx[axis..axis + rank])?;
        let extent = self.shape(inputs[0])[axis].clone();
        let picked = self.loaded_index(inputs[1], at, &extent);
        let mut from = idx[..axis].to_vec();
        from.push(picked);
        from.extend_from_slice(&idx[axis + rank..]);
        self.value_at(inputs[0], &from)
    }

    fn gathered_nd(
        &mut self,
        inputs: &[ValueId],
        batch_dims: usize,
        idx: &[Dim],
    ) -> Result<Expr, LowerError> {
        let (data, index) = (self.shape(inputs[0]), self.shape(inputs[1]));
        let Some(depth) = index.last().and_then(Dim::as_const) else {
            return Err(self.error("the last dim of a GatherNd index must be a known number"));
        };
        let lead = index.len() - 1;
        let mut from = idx[..batch_dims].to_vec();
        for k in 0..depth {
            let mut at = idx[..lead].to_vec();
            at.push(k.into());
            let at = self.value_at(inputs[1], &at)?;
            let extent = data[batch_dims + k as usize].clone();
            from.push(self.loaded_index(inputs[1], at, &extent));
        }
        from.extend_from_slice(&idx[lead..]);
        self.value_at(inputs[0], &from)
    }

    /// An index read from memory: checked, negative ones counted from the end.
    pub fn loaded_index(&mut self, index: ValueId, at: Expr, extent: &Dim) -> Dim {
        let dtype = self.graph.tensor(index).dtype;
        let raw = self.hoist("index", DType::I64, cast(DType::I64, dtype, at));
        let n = Expr::Index(extent.clone());
        let negative = binary(BinaryOp::Lt, raw.clone(), Expr::Const(Scalar::i64(0)));
        let wrapped = binary(BinaryOp::Add, raw.clone(), n.clone());
        let value = Expr::Select(Box::new(negative), Box::new(wrapped), Box::new(raw));
        let value = self.hoist("index", DType::I64, value);
        let low = binary(BinaryOp::Ge, value.clone(), Expr::Const(Scalar::i64(0)));
        let high = binary(BinaryOp::Lt, value.clone(), n);
        let name = self.graph.values[self.resolve(index)].name.clone();
        self.check(and(low, high), format!("an index in '{name}' is out of range"));
        let symbol = self.index("g", extent);
        self.prelude.push(cascata_ir::kernel::Stmt::Bind { symbol, value });
        Dim::sym(symbol)
    }
}

/// The index into an operand of `shape` of an element of the broadcast result.
pub(super) fn broadcast_index(shape: &[Dim], full: &[Dim], idx: &[Dim]) -> Vec<Dim> {
    let lead = full.len() - shape.len();
    let axes = shape.iter().zip(full[lead..].iter().zip(&idx[lead..]));
    axes.map(|(d, (o, i))| {
        if d.is(1) {
            Dim::from(0)
        } else if d == o || d.as_const().is_some() {
            i.clone()
        } else {
            // The dim may turn out to be 1: the stride is then 0.
            i.clone() * (d.clone() - 1).minimum(&Dim::from(1))
        }
    })
    .collect()
}

/// The index of the same element in a shape that `to` was made from by splitting
/// axes (several axes of `to` for one of `shape`), unit axes aside.
fn split_index(shape: &[Dim], to: &[Dim], idx: &[Dim]) -> Option<Vec<Dim>> {
    let mut out = Vec::with_capacity(shape.len());
    let mut j = 0;
    for d in shape {
        let (mut product, mut at) = (Dim::from(1), Dim::from(0));
        while product != *d {
            let next = to.get(j)?;
            product = product * next.clone();
            at = at * next.clone() + idx[j].clone();
            j += 1;
        }
        out.push(at);
    }
    to[j..].iter().all(|d| d.is(1)).then_some(out)
}

/// The index of flat element `flat` in `shape`.
pub(super) fn delinearise(flat: &Dim, shape: &[Dim]) -> Vec<Dim> {
    let strides = strides(shape);
    let parts = strides.iter().zip(shape).enumerate();
    parts
        .map(|(i, (stride, d))| {
            let at = flat.floor_div(stride);
            if i == 0 { at } else { at.modulo(d) }
        })
        .collect()
}

pub(super) fn binary(op: BinaryOp, a: Expr, b: Expr) -> Expr {
    Expr::Binary(op, a.into(), b.into())
}

/// Mirrored at both ends, which are not repeated; as often as the pads need.
fn reflected(at: &Dim, n: &Dim, pads: [&Dim; 2]) -> Dim {
    let last = n.clone() - 1;
    let once = |pad: &Dim| matches!((pad.as_const(), n.as_const()), (Some(p), Some(n)) if p < n);
    if pads.into_iter().all(once) {
        let mirrored = at.maximum(&-at.clone());
        return mirrored.minimum(&(last * 2 - mirrored.clone()));
    }
    let period = (last.clone() * 2).maximum(&1.into());
    let folded = at.modulo(&period);
    folded.minimum(&(period - folded.clone())).minimum(&last)
}

pub(super) fn compare(op: BinaryOp, a: Dim, b: Dim) -> Expr {
    binary(op, Expr::Index(a), Expr::Index(b))
}

pub(super) fn and(a: Expr, b: Expr) -> Expr {
    binary(BinaryOp::And, a, b)
}

/// A conversion where one is needed.
pub(super) fn cast(to: DType, from: DType, x: Expr) -> Expr {
    if to == from { x } else { Expr::Cast(to, x.into()) }
}

/// The element of a one-element constant.
pub(super) fn single_element(c: &Const) -> Option<Scalar> {
    let size = c.ty.dtype.size_bytes()?;
    if !c.ty.elements().is(1) || c.data.len() != size {
        return None;
    }
    let mut bits = [0u8; 8];
    bits[..size].copy_from_slice(&c.data);
    Some(Scalar { dtype: c.ty.dtype, bits: u64::from_le_bytes(bits) })
}

fn dim_values(dims: &[Dim], scalar: bool, idx: &[Dim]) -> Expr {
    if scalar {
        return Expr::Index(dims[0].clone());
    }
    let mut out = Expr::Index(dims.last().cloned().unwrap_or_default());
    for (k, d) in dims.iter().enumerate().rev().skip(1) {
        let here = compare(BinaryOp::Le, idx[0].clone(), (k as i64).into());
        out = Expr::Select(here.into(), Expr::Index(d.clone()).into(), out.into());
    }
    out
}
