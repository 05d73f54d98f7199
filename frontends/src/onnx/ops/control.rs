//! Loop and Scan.

use super::super::cx::{Cx, axis};
use super::super::emit::many;
use super::super::error::{R, malformed, unsupported};
use super::super::form::Form;
use super::super::proto::tensor_shape_proto::Dimension;
use super::super::proto::tensor_shape_proto::dimension::Value as DimValue;
use super::super::proto::type_proto::Value as TypeValue;
use super::super::proto::{GraphProto, ValueInfoProto};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::unroll;
use cascata_ir::graph::{DimCheck, RegionId, ValueId};
use cascata_ir::op::{Op, ScanAttrs};
use cascata_ir::types::{DType, Dim, Entity, Scalar, SymbolId, TensorType, ValueType};

pub const OPS: Table = &[("Loop", Many(repeat)), ("Scan", Many(scan))];

/// What a body is given.
#[derive(Clone, Default)]
pub(super) struct Params {
    /// What each of its inputs is made of.
    forms: Vec<Form>,
    /// The tensors that they are made of.
    types: Vec<ValueType>,
}

impl Params {
    /// Tensors.
    fn tensors(types: Vec<ValueType>) -> Params {
        Params { forms: vec![Form::Tensor; types.len()], types }
    }
}

impl Cx<'_> {
    /// Imports a body into a new region with these parameters; gives region and results,
    /// the tensors of which become the region's where they are values.
    pub(super) fn region(
        &mut self,
        graph: &GraphProto,
        params: &Params,
    ) -> R<(RegionId, Vec<Slot>)> {
        if graph.input.len() != params.forms.len() {
            let (got, wanted) = (graph.input.len(), params.forms.len());
            return malformed!("the body has {got} inputs, needs {wanted}");
        }
        let region = self.imp.graph.add_region();
        let frame = self.frame.nested(region, self.frame.opsets.clone())?;
        self.imp.scopes.push(false);
        let results = self.define_params(graph, params, region);
        let results = results.and_then(|()| self.imp.body(graph, &frame));
        // Lazy results enter the graph while their names are in scope.
        let results = results
            .and_then(|slots| slots.into_iter().map(|s| self.entered(s)).collect::<R<Vec<Slot>>>());
        self.imp.scopes.pop();
        let results = results?;
        let tensors = results.iter().flat_map(|s| self.imp.tensors(*s));
        let value = |s: Slot| match s {
            Slot::Value(v) => Some(v),
            _ => None,
        };
        let values: Vec<ValueId> = tensors.filter_map(value).collect();
        self.imp.graph.regions[region].results = values;
        Ok((region, results))
    }

    fn define_params(&mut self, graph: &GraphProto, params: &Params, region: RegionId) -> R<()> {
        let mut types = params.types.iter();
        for (info, &form) in graph.input.iter().zip(&params.forms) {
            let mut values = Vec::new();
            for ty in types.by_ref().take(form.tensors()) {
                let value = self.imp.graph.add_param(region, info.name(), ty.clone());
                values.push(Slot::Value(value));
            }
            let slot = self.imp.formed(form, &mut values.into_iter())?;
            self.imp.define(info.name(), slot);
        }
        Ok(())
    }

    /// A slot whose tensors are values, but where branches differ.
    fn entered(&mut self, slot: Slot) -> R<Slot> {
        let mut tensors = self.imp.tensors(slot);
        for tensor in tensors.iter_mut().filter(|t| !matches!(t, Slot::Differs(_))) {
            *tensor = Slot::Value(self.imp.value(*tensor)?);
        }
        let form = self.imp.form(slot);
        self.imp.formed(form, &mut tensors.into_iter())
    }

    /// [`Cx::region`], all of whose results must be tensors.
    fn whole_region(&mut self, graph: &GraphProto, params: &Params) -> R<(RegionId, usize)> {
        let (region, results) = self.region(graph, params)?;
        for slot in &results {
            self.imp.value(*slot)?;
        }
        Ok((region, results.len()))
    }

    fn results_of(&self, region: RegionId) -> Vec<ValueId> {
        self.imp.graph.regions[region].results.clone()
    }
}

/// What it takes to unroll a loop.
fn unrolling() -> String {
    format!(
        "its trip count and condition must be known when the model is compiled (fix the inputs \
         that decide them with value options), for at most {} iterations",
        unroll::MAX_TRIPS
    )
}

/// The type of a value that a body is given.
fn type_of(cx: &Cx<'_>, value: ValueId) -> ValueType {
    cx.imp.graph.ty(value).clone()
}

fn repeat(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let body = cx.body("body")?;
    let seen = cx.imp.problems.len();
    match (as_loop(cx, &body), unroll::trips(cx)) {
        (Err(_), Some(trips)) => {
            cx.imp.problems.truncate(seen);
            unroll::unrolled(cx, body, trips)
        }
        (result, _) => result,
    }
}

/// A loop of the graph.
fn as_loop(cx: &mut Cx<'_>, body: &GraphProto) -> R<Vec<Slot>> {
    let trip = match cx.optional(0)? {
        Some(trip) => cx.reshape(trip, vec![])?,
        None => cx.fill(Scalar::i64(i64::MAX), vec![])?,
    };
    let start = match cx.optional(1)? {
        Some(condition) => cx.reshape(condition, vec![])?,
        None => cx.fill(Scalar::bool(true), vec![])?,
    };
    let mut operands = vec![trip, start];
    let mut params = Params::tensors(vec![
        TensorType::fixed(DType::I64, &[]).into(),
        TensorType::fixed(DType::Bool, &[]).into(),
    ]);
    for i in 2..cx.inputs.len() {
        let slot = cx.slot(i)?;
        params.forms.push(cx.imp.form(slot));
        operands.extend(cx.imp.values(slot)?);
    }
    params.types.extend(operands[2..].iter().map(|&v| type_of(cx, v)));
    let carried = operands.len() - 2;
    let (region, changing) = loop_body(cx, body, &mut params)?;
    let dims = changing.into_iter().map(|inside| (inside, cx.fresh("dim"))).collect();
    let count = cx.fresh("count");
    let results = cx.emit_all(Op::Loop { body: region, carried, count, dims }, &operands)?;
    let mut results = results.into_iter().map(Slot::Value);
    let mut slots = Vec::new();
    for form in &params.forms[2..] {
        slots.push(cx.imp.formed(*form, &mut results)?);
    }
    slots.extend(results);
    Ok(slots)
}

/// Imports a loop's body. Where a carried value leaves it with another dim than it enters
/// with, the parameter gets a symbol there and the body is imported again, until all dims
/// agree; gives the symbols.
fn loop_body(
    cx: &mut Cx<'_>,
    body: &GraphProto,
    params: &mut Params,
) -> R<(RegionId, Vec<SymbolId>)> {
    let carried = params.types.len() - 2;
    let mut changing = Vec::new();
    loop {
        let before = cx.symbols().len();
        let (region, results) = cx.region(body, params)?;
        let owners = same_forms(cx, &params.forms, &results)?;
        keep_declared(cx, region, body, &owners)?;
        let changes = changed_dims(cx, region, &params.types[2..], &changing)?;
        if changes.is_empty() {
            condition_as_number(cx, region)?;
            rows_have_one_shape(cx, region, carried, before, &changing)?;
            return Ok((region, changing));
        }
        for (i, axis) in changes {
            let inside = cx.fresh("dim");
            if let ValueType::Tensor(t) = &mut params.types[2 + i] {
                t.shape[axis] = Dim::sym(inside);
            }
            changing.push(inside);
        }
    }
}

/// Requires that what a loop carries leaves the body in the form in which it entered, and
/// that all else are tensors; gives the result that each tensor of the region belongs to.
fn same_forms(cx: &mut Cx<'_>, params: &[Form], results: &[Slot]) -> R<Vec<usize>> {
    let (got, carried) = (results.len(), params.len() - 2);
    if got <= carried {
        return malformed!("the body gives {got} values, carries {carried}");
    }
    let mut owners = Vec::new();
    for (i, slot) in results.iter().enumerate() {
        let form = cx.imp.form(*slot);
        let wanted = match i {
            0 => Form::Tensor,
            _ => params.get(i + 1).copied().unwrap_or(Form::Tensor),
        };
        if form != wanted {
            let (a, b) = (wanted.words(), form.words());
            return unsupported!(
                "result {i} of the body is {b} where {a} is needed; such a loop is unrolled, \
                 for which {}",
                unrolling()
            );
        }
        cx.imp.values(*slot)?;
        owners.extend(vec![i; form.tensors()]);
    }
    Ok(owners)
}

/// Carried values and axes whose dim is another one when they leave the body; those that
/// are known to change are left out.
fn changed_dims(
    cx: &Cx<'_>,
    region: RegionId,
    params: &[ValueType],
    known: &[SymbolId],
) -> R<Vec<(usize, usize)>> {
    let mut changes = Vec::new();
    for (i, (param, &result)) in params.iter().zip(&cx.results_of(region)[1..]).enumerate() {
        let result = cx.imp.graph.ty(result);
        let (Some(a), Some(b)) = (param.as_tensor(), result.as_tensor()) else { continue };
        if a.rank() != b.rank() {
            let (a, b) = (param.display(cx.symbols()), result.display(cx.symbols()));
            return unsupported!(
                "carried value {i} changes its rank: {a} becomes {b}; such a loop is unrolled, \
                 for which {}",
                unrolling()
            );
        }
        for (axis, (a, b)) in a.shape.iter().zip(&b.shape).enumerate() {
            let changes_anyway = a.as_sym().is_some_and(|s| known.contains(&s));
            if a != b && !changes_anyway {
                changes.push((i, axis));
            }
        }
    }
    Ok(changes)
}

/// Gives results the sizes that the body declares for them where their dims depend on the
/// data; they are checked in each iteration. `owners` are the outputs of the body that the
/// region's results belong to.
fn keep_declared(cx: &mut Cx<'_>, region: RegionId, body: &GraphProto, owners: &[usize]) -> R<()> {
    for (at, &i) in owners.iter().enumerate().skip(1) {
        let (value, info) = (cx.results_of(region)[at], &body.output[i]);
        let Some(own) = cx.imp.graph.ty(value).as_tensor().map(|t| t.shape.clone()) else {
            continue;
        };
        let wanted = declared(cx, info, &own);
        if wanted == own {
            continue;
        }
        let op = Op::Reshape { shape: wanted.clone() };
        let same = cx.imp.graph.add1(region, op, vec![value], cx.source.as_str())?;
        for (a, b) in own.iter().zip(&wanted).filter(|(a, b)| a != b) {
            let what = format!("{}: result {i} of the body is declared so", cx.source);
            let check = DimCheck { lhs: a.clone(), rhs: b.clone(), what };
            cx.imp.graph.add_check(region, check);
        }
        // The same value may be carried and scanned.
        for result in cx.imp.graph.regions[region].results.iter_mut().filter(|r| **r == value) {
            *result = same;
        }
    }
    Ok(())
}

/// A shape with the numbers that `info` declares in place of dims that depend on the data.
fn declared(cx: &Cx<'_>, info: &ValueInfoProto, own: &[Dim]) -> Vec<Dim> {
    let Some(TypeValue::TensorType(ty)) = info.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return own.to_vec();
    };
    let dims = ty.shape.as_ref().map_or(&[][..], |s| &s.dim);
    if dims.len() != own.len() {
        return own.to_vec();
    }
    let open = |d: &Dim, n: i64| {
        let late = |s: &SymbolId| cx.symbols().get(*s).is_some_and(|s| s.data_dependent);
        let (low, high) = d.bounds(cx.symbols());
        d.symbols().iter().any(late) && (low..=high).contains(&n)
    };
    let dim = |(d, declared): (&Dim, &Dimension)| match declared.value {
        Some(DimValue::DimValue(n)) if open(d, n) => n.into(),
        _ => d.clone(),
    };
    own.iter().zip(dims).map(dim).collect()
}

/// Some exporters give the condition as a vector of one element.
fn condition_as_number(cx: &mut Cx<'_>, region: RegionId) -> R<()> {
    let value = cx.results_of(region)[0];
    if cx.rank(value) == 0 {
        return Ok(());
    }
    let op = Op::Reshape { shape: vec![] };
    let number = cx.imp.graph.add1(region, op, vec![value], cx.source.as_str())?;
    cx.imp.graph.regions[region].results[0] = number;
    Ok(())
}

/// Refuses scanned values with a dim that each iteration decides: symbols since `before`
/// are the body's.
fn rows_have_one_shape(
    cx: &Cx<'_>,
    region: RegionId,
    carried: usize,
    before: usize,
    changing: &[SymbolId],
) -> R<()> {
    for (i, &row) in cx.results_of(region)[1 + carried..].iter().enumerate() {
        let ty = cx.imp.graph.ty(row);
        let mut symbols = ty.as_tensor().into_iter().flat_map(|t| &t.shape).flat_map(Dim::symbols);
        if symbols.any(|s| s.index() >= before || changing.contains(&s)) {
            let ty = ty.display(cx.symbols());
            return unsupported!("scanned output {i} has a dim that each iteration decides: {ty}");
        }
    }
    Ok(())
}

fn scan(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    if cx.version < 9 {
        return scan_of_batch(cx);
    }
    let body = cx.body("body")?;
    let operands = cx.all_inputs()?;
    let (states, scanned) = states_and_scanned(cx, operands.len())?;
    let stacked = body.output.len().saturating_sub(states);
    let inputs = directions(cx, "scan_input", scanned)?;
    let outputs = directions(cx, "scan_output", stacked)?;
    let mut params: Vec<ValueType> = operands[..states].iter().map(|&v| type_of(cx, v)).collect();
    let mut scanned_axes = Vec::new();
    for (&v, (at, backwards)) in operands[states..].iter().zip(inputs) {
        let mut ty = cx.ty(v).clone();
        let at = axis(at, ty.rank())?;
        ty.shape.remove(at);
        params.push(ty.into());
        scanned_axes.push((at, backwards));
    }
    let (region, results) = cx.whole_region(&body, &Params::tensors(params))?;
    let mut stacked_axes = Vec::new();
    for (&v, (at, backwards)) in cx.results_of(region)[states.min(results)..].iter().zip(outputs) {
        stacked_axes.push((axis(at, cx.rank(v) + 1)?, backwards));
    }
    let attrs = ScanAttrs { body: region, states, inputs: scanned_axes, outputs: stacked_axes };
    many(cx.emit_all(Op::Scan(attrs), &operands)?)
}

/// How many of `n` operands are states, and how many are scanned.
fn states_and_scanned(cx: &Cx<'_>, n: usize) -> R<(usize, usize)> {
    let Ok(scanned) = usize::try_from(cx.int("num_scan_inputs", 0)?) else {
        return malformed!("num_scan_inputs is negative");
    };
    match n.checked_sub(scanned) {
        Some(states) => Ok((states, scanned)),
        None => malformed!("{scanned} scan inputs of {n}"),
    }
}

/// Opset 8: a scan for each entry of a batch, which is axis 0 of everything.
fn scan_of_batch(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    cx.require(!cx.has(0), "sequence_lens")?;
    let body = cx.body("body")?;
    let operands = (1..cx.inputs.len()).map(|i| cx.input(i)).collect::<R<Vec<ValueId>>>()?;
    let (states, scanned) = states_and_scanned(cx, operands.len())?;
    let backwards = cx.ints("directions")?.unwrap_or(vec![0; scanned]);
    if backwards.len() != scanned || scanned == 0 {
        return malformed!("{} directions of {scanned} scan inputs", backwards.len());
    }
    let mut entries: Vec<ValueType> = Vec::new();
    for &v in &operands {
        entries.push(without_first_axis(cx.ty(v))?.into());
    }
    let entry = cx.imp.graph.add_region();
    let params: Vec<ValueId> =
        entries.iter().map(|ty| cx.imp.graph.add_param(entry, "", ty.clone())).collect();
    let mut inner = entries[..states].to_vec();
    for ty in entries[states..].iter().filter_map(ValueType::as_tensor) {
        inner.push(without_first_axis(ty)?.into());
    }
    let frame = cx.frame.nested(entry, cx.frame.opsets.clone())?;
    let mut within = cx.within(&frame);
    let (region, results) = within.whole_region(&body, &Params::tensors(inner))?;
    let outputs = vec![(0, false); results.saturating_sub(states)];
    let inputs = backwards.iter().map(|d| (0, *d != 0)).collect();
    let step = ScanAttrs { body: region, states, inputs, outputs };
    let results = within.emit_all(Op::Scan(step), &params)?;
    let outputs = vec![(0, false); results.len()];
    cx.imp.graph.regions[entry].results = results;
    let inputs = vec![(0, false); operands.len()];
    let each = ScanAttrs { body: entry, states: 0, inputs, outputs };
    many(cx.emit_all(Op::Scan(each), &operands)?)
}

fn without_first_axis(ty: &TensorType) -> R<TensorType> {
    if ty.rank() == 0 {
        return malformed!("an operand of rank 0");
    }
    let mut ty = ty.clone();
    ty.shape.remove(0);
    Ok(ty)
}

/// `(axis, backwards)` per scanned input or output.
fn directions(cx: &Cx<'_>, prefix: &str, n: usize) -> R<Vec<(i64, bool)>> {
    let axes = cx.ints(&format!("{prefix}_axes"))?.unwrap_or(vec![0; n]);
    let directions = cx.ints(&format!("{prefix}_directions"))?.unwrap_or(vec![0; n]);
    if axes.len() != n || directions.len() != n {
        return malformed!("{prefix}_axes and {prefix}_directions need {n} entries");
    }
    Ok(axes.into_iter().zip(directions.into_iter().map(|d| d != 0)).collect())
}
