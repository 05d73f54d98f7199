//! Which axis of which input is the batch.

use cascata_ir::graph::{Graph, ValueId};
use cascata_types::{Atom, Dim, SymbolId};
use std::collections::HashSet;

/// How the batch is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// The first symbol that an input has at axis 0.
    #[default]
    Leading,
    /// A symbol, wherever inputs have it.
    Symbol(String),
    /// Axes of inputs, which must be of one size.
    Axes(Vec<(String, usize)>),
}

/// Where the entries lie in an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InputPlace {
    /// All entries share it.
    Shared,
    /// The axis is the batch.
    Axis(usize),
    /// Its shape has the batch in another form.
    Unclear(String),
}

/// The batch of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The batch's size.
    pub(super) size: Dim,
    /// As a person calls it.
    pub(super) name: String,
    /// One per input of the graph.
    pub(super) places: Vec<InputPlace>,
}

/// Why there is no batch to speak of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Nothing to prove: no run holds a second entry.
    #[error("every run holds one entry: {0}")]
    Single(String),
    /// The default finds no batch.
    #[error(
        "no input has a symbol at axis 0; name the batch with --axis INPUT:AXIS or --symbol NAME"
    )]
    None,
    /// There is no such symbol, input or axis.
    #[error("{0}")]
    Unknown(String),
}

impl Batch {
    /// Finds the batch in the graph's inputs.
    ///
    /// # Errors
    /// There is none, what was named does not exist, or it is always one entry.
    pub fn find(graph: &Graph, select: &Select) -> Result<Batch, BatchError> {
        let batch = match select {
            Select::Leading => by_symbol(graph, leading(graph)?),
            Select::Symbol(name) => {
                let id = graph.symbols.lookup(name).ok_or_else(|| unknown_symbol(graph, name))?;
                by_symbol(graph, id)
            }
            Select::Axes(axes) => by_axes(graph, axes)?,
        };
        if batch.places.iter().all(|p| *p == InputPlace::Shared) {
            return Err(BatchError::Unknown(format!("no input has '{}' in its shape", batch.name)));
        }
        if batch.size.bounds(&graph.symbols).1 <= 1 {
            return Err(BatchError::Single(format!("'{}' is at most 1", batch.name)));
        }
        Ok(batch)
    }

    /// As a person calls it: the symbol, or `INPUT:AXIS`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn shapes(graph: &Graph) -> impl Iterator<Item = &[Dim]> {
    graph.inputs().iter().map(|v| graph.ty(*v).as_tensor().map_or(&[][..], |t| &t.shape))
}

fn leading(graph: &Graph) -> Result<SymbolId, BatchError> {
    let first: Vec<&Dim> = shapes(graph).filter_map(<[Dim]>::first).collect();
    if let Some(symbol) = first.iter().find_map(|d| d.as_sym()) {
        return Ok(symbol);
    }
    if first.iter().all(|d| d.is(1)) {
        return Err(BatchError::Single("axis 0 of every input is 1".into()));
    }
    Err(BatchError::None)
}

fn unknown_symbol(graph: &Graph, name: &str) -> BatchError {
    let known: Vec<&str> = graph.symbols.iter().map(|(_, s)| s.name.as_str()).collect();
    BatchError::Unknown(format!("there is no symbol '{name}', only {}", known.join(", ")))
}

fn by_symbol(graph: &Graph, id: SymbolId) -> Batch {
    let linked = linked(graph, id);
    let places = graph.inputs().iter().map(|v| match graph.ty(*v).as_tensor() {
        Some(t) => place(graph, &t.shape, id, &linked),
        None => InputPlace::Unclear("it is no tensor".into()),
    });
    let places = places.collect();
    Batch { size: id.into(), name: graph.symbols.name(id), places }
}

/// Symbols that the model makes equal to the batch, or broadcasts with it: their inputs most
/// likely hold entries, and are not taken for shared.
fn linked(graph: &Graph, id: SymbolId) -> HashSet<SymbolId> {
    let mut pairs: Vec<(SymbolId, SymbolId)> = Vec::new();
    let mut pair = |a: &Dim, b: &Dim| pairs.extend(a.as_sym().zip(b.as_sym()));
    let checks = graph.regions.values().flat_map(|r| &r.checks);
    checks.for_each(|c| pair(&c.lhs, &c.rhs));
    let types = graph.values.iter().filter_map(|(_, v)| v.ty.as_tensor());
    for (monomial, _) in types.flat_map(|t| &t.shape).flat_map(Dim::terms) {
        for (atom, _) in &monomial.0 {
            if let Atom::Bcast(a, b) = atom {
                let all: Vec<Dim> =
                    a.symbols().into_iter().chain(b.symbols()).map(Dim::sym).collect();
                all.windows(2).for_each(|w| pair(&w[0], &w[1]));
            }
        }
    }
    let mut linked = HashSet::from([id]);
    while let Some(new) = pairs.iter().find_map(|(a, b)| match linked.contains(a) {
        true => (!linked.contains(b)).then_some(*b),
        false => linked.contains(b).then_some(*a),
    }) {
        linked.insert(new);
    }
    linked.remove(&id);
    linked
}

fn place(graph: &Graph, shape: &[Dim], id: SymbolId, linked: &HashSet<SymbolId>) -> InputPlace {
    if let Some(other) = shape.iter().flat_map(Dim::symbols).find(|s| linked.contains(s)) {
        let (other, batch) = (graph.symbols.name(other), graph.symbols.name(id));
        return InputPlace::Unclear(format!(
            "the model matches its '{other}' with the batch '{batch}'; give both one name"
        ));
    }
    let with: Vec<usize> = (0..shape.len()).filter(|&i| shape[i].symbols().contains(&id)).collect();
    match with.as_slice() {
        [] => InputPlace::Shared,
        [axis] if shape[*axis].as_sym() == Some(id) => InputPlace::Axis(*axis),
        [axis] => InputPlace::Unclear(format!("axis {axis} is the batch in another form")),
        _ => InputPlace::Unclear("two axes have the size of the batch".into()),
    }
}

fn by_axes(graph: &Graph, axes: &[(String, usize)]) -> Result<Batch, BatchError> {
    let name: Vec<String> = axes.iter().map(|(input, axis)| format!("{input}:{axis}")).collect();
    let mut batch: Option<Batch> = None;
    for (input, axis) in axes {
        let (index, size) = axis_of(graph, input, *axis)?;
        let known = batch.get_or_insert_with(|| match size.as_sym() {
            Some(id) => by_symbol(graph, id),
            None => Batch {
                size: size.clone(),
                name: String::new(),
                places: graph.inputs().iter().map(|v| fixed(graph, *v)).collect(),
            },
        });
        if known.size != size {
            let text = format!("{} are of different sizes", name.join(" and "));
            return Err(BatchError::Unknown(text));
        }
        known.places[index] = InputPlace::Axis(*axis);
    }
    let batch = batch.ok_or_else(|| BatchError::Unknown("no axis is given".into()))?;
    Ok(Batch { name: name.join(", "), ..batch })
}

/// The place of an input that is not named when the batch has a fixed size.
fn fixed(graph: &Graph, v: ValueId) -> InputPlace {
    match graph.ty(v).as_tensor() {
        Some(_) => InputPlace::Shared,
        None => InputPlace::Unclear("it is no tensor".into()),
    }
}

/// The index of an input and the size of its axis.
fn axis_of(graph: &Graph, input: &str, axis: usize) -> Result<(usize, Dim), BatchError> {
    let named = |v: &ValueId| graph.values[*v].name == input;
    let index = graph.inputs().iter().position(named).ok_or_else(|| {
        let names: Vec<&str> =
            graph.inputs().iter().map(|v| graph.values[*v].name.as_str()).collect();
        BatchError::Unknown(format!("there is no input '{input}', only {}", names.join(", ")))
    })?;
    let size = shapes(graph).nth(index).and_then(|s| s.get(axis)).cloned();
    let size =
        size.ok_or_else(|| BatchError::Unknown(format!("input '{input}' has no axis {axis}")))?;
    Ok((index, size))
}
