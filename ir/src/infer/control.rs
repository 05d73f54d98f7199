//! Control flow, state and data-dependent dims.
//!
//! Types of values that cross a region's border must be equal as they stand, but for the
//! dims that an `if` or a loop names: there the value outside of the region has a symbol
//! that the op binds to whatever size there is.

use super::{Ctx, InferError, Types};
use crate::graph::{Region, RegionId, ValueId};
use crate::op::{BindMode, ScanAttrs};
use cascata_types::{DType, Dim, Shape, SymbolId, TensorType, ValueType};

/// The kind of the resources that the state ops make and take.
pub(crate) const STATE: &str = "state";

impl<'a> Ctx<'a> {
    fn region(&self, id: RegionId) -> Result<&'a Region, InferError> {
        self.graph.regions.get(id).ok_or_else(|| {
            self.error(format!("region {id} does not exist"), "create it with Graph::add_region")
        })
    }

    fn types_of(&self, values: &[ValueId]) -> Result<Vec<&'a ValueType>, InferError> {
        let missing =
            |v: &ValueId| self.error(format!("value {v} does not exist"), "define it first");
        values
            .iter()
            .map(|v| self.graph.values.get(*v).map(|v| &v.ty).ok_or_else(|| missing(v)))
            .collect()
    }

    fn same_count(&self, what: &str, got: usize, wanted: usize) -> Result<(), InferError> {
        let rule = format!("{what}: {got}, must be {wanted}");
        self.require(got == wanted, &rule, "make the region match the operands")
    }

    fn same_types(&self, what: &str, a: &[&ValueType], b: &[&ValueType]) -> Result<(), InferError> {
        self.same_count(what, a.len(), b.len())?;
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            if a != b {
                let (a, b) = (a.display(self.symbols), b.display(self.symbols));
                let rule = format!("{what}: number {i} is {a} on one side and {b} on the other");
                return Err(self
                    .error(rule, "make the types equal, or name the dims that differ in `dims`"));
            }
        }
        Ok(())
    }

    pub(super) fn if_(
        &self,
        then_region: RegionId,
        else_region: RegionId,
        dims: &[((usize, usize), SymbolId)],
    ) -> Types {
        self.arity(1, 1)?;
        self.exactly(0, DType::Bool, 0)?;
        let (then, other) = (self.region(then_region)?, self.region(else_region)?);
        let params = then.params.len() + other.params.len();
        self.same_count("parameters of the branches", params, 0)?;
        let (a, b) = (self.types_of(&then.results)?, self.types_of(&other.results)?);
        let (mut a, mut b) = (owned(&a), owned(&b));
        for ((result, axis), symbol) in dims {
            let dim = self.bound(*symbol)?;
            for types in [&mut a, &mut b] {
                match types.get_mut(*result).and_then(|t| axis_of(t, *axis)) {
                    Some(slot) => *slot = dim.clone(),
                    None => {
                        let rule = format!("result {result} has no axis {axis}");
                        return Err(self.error(rule, "name the results' dims that differ"));
                    }
                }
            }
        }
        let (x, y): (Vec<_>, Vec<_>) = (a.iter().collect(), b.iter().collect());
        self.same_types("results of the branches", &x, &y)?;
        Ok(a)
    }

    pub(super) fn loop_(
        &self,
        body: RegionId,
        carried: usize,
        count: SymbolId,
        dims: &[(SymbolId, SymbolId)],
    ) -> Types {
        self.arity(2, usize::MAX)?;
        self.exactly(0, DType::I64, 0)?;
        self.exactly(1, DType::Bool, 0)?;
        self.same_count("carried operands", self.inputs.len() - 2, carried)?;
        let body = self.region(body)?;
        let params = self.types_of(&body.params)?;
        let results = self.types_of(&body.results)?;
        let iteration = ValueType::from(TensorType::fixed(DType::I64, &[]));
        let cond = ValueType::from(TensorType::fixed(DType::Bool, &[]));
        let places = self.changing(&params, dims)?;
        let operands = self.inside(&owned(&self.inputs[2..]), &places);
        let wanted: Vec<&ValueType> = [&iteration, &cond].into_iter().chain(&operands).collect();
        self.same_types("parameters of the body and operands", &params, &wanted)?;
        let rule = format!(
            "the body gives {} results, needs cond and {carried} carried ones",
            results.len()
        );
        self.require(results.len() > carried, &rule, "return every carried value")?;
        let (state, scanned) = results.split_at(carried + 1);
        let given = self.inside(&owned(&state[1..]), &places);
        let given: Vec<&ValueType> = state[..1].iter().copied().chain(&given).collect();
        self.same_types("carried results of the body and operands", &given, &wanted[1..])?;
        let mut types = operands.clone();
        for (index, axis, _, after) in &places {
            if let Some(slot) = types.get_mut(*index).and_then(|t| axis_of(t, *axis)) {
                *slot = after.clone();
            }
        }
        for t in scanned {
            types.push(self.stacked(t, 0, &self.bound(count)?)?);
        }
        Ok(types)
    }

    /// Where carried parameters have a dim that changes: carried index, axis, the dims
    /// inside and after. Each symbol stands at one place.
    fn changing(
        &self,
        params: &[&ValueType],
        dims: &[(SymbolId, SymbolId)],
    ) -> Result<Vec<(usize, usize, Dim, Dim)>, InferError> {
        let mut places = Vec::with_capacity(dims.len());
        for (inside, after) in dims {
            let (symbol, after) = (self.bound(*inside)?, self.bound(*after)?);
            let mut found = params.iter().skip(2).enumerate().flat_map(|(i, t)| {
                let shape = t.as_tensor().map_or(&[][..], |t| &t.shape);
                let axes = shape.iter().enumerate().filter(|(_, d)| **d == symbol);
                axes.map(move |(axis, _)| (i, axis)).collect::<Vec<_>>()
            });
            let (Some((index, axis)), None) = (found.next(), found.next()) else {
                let rule =
                    format!("{} is not one dim of one carried parameter", self.show(&symbol));
                return Err(self.error(rule, "give every changing dim a symbol of its own"));
            };
            places.push((index, axis, symbol, after));
        }
        Ok(places)
    }

    /// Carried types with the symbols of the body where dims change.
    fn inside(&self, carried: &[ValueType], places: &[(usize, usize, Dim, Dim)]) -> Vec<ValueType> {
        let mut types = carried.to_vec();
        for (index, axis, symbol, _) in places {
            if let Some(slot) = types.get_mut(*index).and_then(|t| axis_of(t, *axis)) {
                *slot = symbol.clone();
            }
        }
        types
    }

    /// `t` with a new axis of `len` elements.
    fn stacked(&self, t: &ValueType, axis: usize, len: &Dim) -> Result<ValueType, InferError> {
        let t = t.as_tensor().ok_or_else(|| {
            self.error("a scanned result of the body is not a tensor", "carry it instead")
        })?;
        self.axis(axis, t.rank() + 1)?;
        let mut shape = t.shape.clone();
        shape.insert(axis, len.clone());
        Ok(TensorType::dense(t.dtype, shape).into())
    }

    pub(super) fn scan(&mut self, attrs: &ScanAttrs) -> Types {
        self.arity(1, usize::MAX)?;
        let scanned = attrs.inputs.len();
        self.require(scanned > 0, "nothing is scanned", "use a loop")?;
        self.same_count("operands", self.inputs.len(), attrs.states.saturating_add(scanned))?;
        let body = self.region(attrs.body)?;
        let (params, results) = (self.types_of(&body.params)?, self.types_of(&body.results)?);
        let (len, slices) = self.scanned_slices(attrs)?;
        let states = &self.inputs[..attrs.states];
        let wanted: Vec<&ValueType> = states.iter().copied().chain(&slices).collect();
        self.same_types("parameters of the body and operands", &params, &wanted)?;
        let stacked = attrs.outputs.len();
        self.same_count(
            "results of the body",
            results.len(),
            attrs.states.saturating_add(stacked),
        )?;
        let (state, scanned) = results.split_at(attrs.states);
        self.same_types("state results of the body and operands", state, states)?;
        let mut types: Vec<ValueType> = state.iter().map(|t| (*t).clone()).collect();
        for (t, (axis, _)) in scanned.iter().zip(&attrs.outputs) {
            types.push(self.stacked(t, *axis, &len)?);
        }
        Ok(types)
    }

    /// The common length of the scanned axes and the types without them.
    fn scanned_slices(&mut self, attrs: &ScanAttrs) -> Result<(Dim, Vec<ValueType>), InferError> {
        let mut len: Option<Dim> = None;
        let mut slices = Vec::new();
        for (i, (axis, _)) in attrs.inputs.iter().enumerate() {
            let t = self.tensor(attrs.states + i)?;
            self.axis(*axis, t.rank())?;
            let mut shape: Shape = t.shape.clone();
            let dim = shape.remove(*axis);
            slices.push(TensorType::dense(t.dtype, shape).into());
            len = Some(match len {
                None => dim,
                Some(l) => self.equal(&l, &dim, "lengths of the scanned axes")?,
            });
        }
        Ok((len.unwrap_or_default(), slices))
    }

    pub(super) fn bind_dims(&mut self, symbols: &[SymbolId], mode: &BindMode) -> Types {
        self.arity(1, 1)?;
        let x = self.exactly(0, DType::I64, 1)?;
        for s in symbols {
            self.bound(*s)?;
        }
        self.equal(&x.shape[0], &(symbols.len() as i64).into(), "elements and symbols")?;
        if let BindMode::Reshape { operand, .. } = mode {
            for d in operand {
                self.not_negative(d, "a dim of the reshaped operand")?;
            }
        }
        Ok(vec![])
    }

    pub(super) fn state_empty(&self, ty: &TensorType, axis: usize) -> Types {
        self.arity(0, 0)?;
        self.axis(axis, ty.rank())?;
        let empty = ty.shape[axis].is(0);
        self.require(empty, "the dim at the growing axis must be 0", "it counts what is there")?;
        Ok(vec![ValueType::Resource(STATE.into())])
    }

    fn state(&self) -> Result<(), InferError> {
        let ok = matches!(self.inputs.first(), Some(ValueType::Resource(kind)) if kind == STATE);
        self.require(ok, "operand 0 must be resource<state>", "make one with state_empty")
    }

    pub(super) fn state_append(&self) -> Types {
        self.arity(2, 2)?;
        self.state()?;
        self.tensor(1)?;
        Ok(vec![ValueType::Resource(STATE.into())])
    }

    pub(super) fn state_read(&self, ty: &TensorType, length: SymbolId) -> Types {
        self.arity(1, 1)?;
        self.state()?;
        let length = self.bound(length)?;
        let grows = ty.shape.contains(&length);
        self.require(
            grows,
            "no dim of the result is the length",
            "put the length at the state's axis",
        )?;
        Ok(vec![ty.clone().into()])
    }

    pub(super) fn group(&self, body: RegionId) -> Types {
        let body = self.region(body)?;
        let params = self.types_of(&body.params)?;
        self.same_types("parameters of the body and operands", &params, self.inputs)?;
        Ok(self.types_of(&body.results)?.into_iter().cloned().collect())
    }
}

fn owned(types: &[&ValueType]) -> Vec<ValueType> {
    types.iter().map(|t| (*t).clone()).collect()
}

/// A dim of a tensor type, to be replaced.
fn axis_of(ty: &mut ValueType, axis: usize) -> Option<&mut Dim> {
    match ty {
        ValueType::Tensor(t) => t.shape.get_mut(axis),
        _ => None,
    }
}
