//! What an operator's importer sees: its node's inputs, attributes and version.

use super::error::{R, malformed, unsupported};
use super::facts::{Elem, Facts, MAX_ELEMENTS};
use super::importer::{Frame, Importer};
use super::narrow::Narrow;
use super::proto::{AttributeProto, GraphProto, NodeProto, attribute_proto::AttributeType};
use super::scope::Slot;
use super::tensor::Tensor;
use cascata_ir::graph::ValueId;
use cascata_ir::types::{DType, Dim, Shape, SymbolTable, TensorType};
use std::rc::Rc;

/// One node being imported.
pub struct Cx<'a> {
    /// The import that it belongs to.
    pub imp: &'a mut Importer,
    /// The node.
    pub node: &'a NodeProto,
    /// Opset version in force.
    pub version: i64,
    /// Its inputs; absent optional ones are `None`.
    pub inputs: Vec<Option<Slot>>,
    /// Where nodes are added.
    pub frame: &'a Frame,
    /// Goes into [`cascata_ir::graph::Node::source`].
    pub source: String,
    /// Whether the branches of this `If` go on with what followed it.
    pub continued: bool,
}

impl Cx<'_> {
    /// The same node, whose ops go elsewhere.
    pub fn within<'b>(&'b mut self, frame: &'b Frame) -> Cx<'b> {
        Cx {
            imp: self.imp,
            node: self.node,
            version: self.version,
            inputs: self.inputs.clone(),
            frame,
            source: self.source.clone(),
            continued: false,
        }
    }

    // ---- inputs -------------------------------------------------------------

    /// Input `i` as a slot.
    pub fn slot(&self, i: usize) -> R<Slot> {
        match self.inputs.get(i).copied().flatten() {
            Some(slot) => Ok(slot),
            None => malformed!("input {i} is missing"),
        }
    }

    /// Whether input `i` is given.
    pub fn has(&self, i: usize) -> bool {
        self.inputs.get(i).copied().flatten().is_some()
    }

    /// Input `i` as a value.
    pub fn input(&mut self, i: usize) -> R<ValueId> {
        let slot = self.slot(i)?;
        let value = self.imp.value(slot)?;
        self.imp.slot_type(Slot::Value(value))?;
        Ok(value)
    }

    /// Optional input `i` as a value.
    pub fn optional(&mut self, i: usize) -> R<Option<ValueId>> {
        if self.has(i) { self.input(i).map(Some) } else { Ok(None) }
    }

    /// All inputs as values; none may be absent.
    pub fn all_inputs(&mut self) -> R<Vec<ValueId>> {
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }

    /// The type of input `i`, which does not enter the graph by this.
    pub fn input_type(&self, i: usize) -> R<TensorType> {
        self.imp.slot_type(self.slot(i)?)
    }

    /// What is known about the elements of input `i`.
    pub fn facts(&self, i: usize) -> Option<Rc<Facts>> {
        self.imp.slot_facts(self.slot(i).ok()?)
    }

    /// What input `i` is, if it is bytes of another element type.
    pub fn narrow(&self, i: usize) -> Option<Narrow> {
        self.imp.narrow.get(&self.slot(i).ok()?).copied()
    }

    /// The constant behind input `i`, if it is one.
    pub fn tensor(&self, i: usize) -> Option<Tensor> {
        self.imp.slot_tensor(self.slot(i).ok()?)
    }

    /// Input `i` as known integers.
    pub fn known_ints(&self, i: usize) -> R<Vec<i64>> {
        if self.input_type(i)?.elements().is(0) {
            return Ok(vec![]);
        }
        match self.facts(i).and_then(|f| f.as_ints()) {
            Some(ints) => Ok(ints),
            None => unsupported!("input {i} must be known when the model is compiled"),
        }
    }

    /// What is known about the ends of ranges in input `i`; `INT64_MIN` ("before the
    /// first") becomes the next number, which dims can hold and which means the same.
    pub fn range_ends(&self, i: usize) -> Option<Vec<Elem>> {
        match self.tensor(i) {
            Some(t) if t.dtype == DType::I64 && t.data.len() <= 8 * MAX_ELEMENTS => {
                let read = |b: &[u8]| b.try_into().map_or(0, i64::from_le_bytes);
                Some(t.data.chunks_exact(8).map(|b| Elem::int(read(b).max(-i64::MAX))).collect())
            }
            _ => self.facts(i).map(|f| f.elems.clone()),
        }
    }

    /// Input `i` as one known integer.
    pub fn known_int(&self, i: usize) -> R<i64> {
        match self.known_ints(i)?.as_slice() {
            [x] => Ok(*x),
            other => malformed!("input {i} has {} elements, must have one", other.len()),
        }
    }

    /// Input `i` as known floats, exactly as the model gives them.
    pub fn known_floats(&self, i: usize) -> R<Vec<f64>> {
        let Some(tensor) = self.tensor(i) else {
            return unsupported!("input {i} must be known when the model is compiled");
        };
        match floats(&tensor) {
            Some(xs) => Ok(xs),
            None => malformed!("input {i} is of type {}, must be a float", tensor.dtype),
        }
    }

    // ---- values -------------------------------------------------------------

    /// The tensor type of a value.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        self.imp.graph.tensor(value)
    }

    /// The dtype of a value.
    pub fn dtype(&self, value: ValueId) -> DType {
        self.ty(value).dtype
    }

    /// The rank of a value.
    pub fn rank(&self, value: ValueId) -> usize {
        self.ty(value).rank()
    }

    /// The shape of a value.
    pub fn shape(&self, value: ValueId) -> Shape {
        self.ty(value).shape.clone()
    }

    /// The graph's symbols.
    pub fn symbols(&self) -> &SymbolTable {
        &self.imp.graph.symbols
    }

    // ---- outputs ------------------------------------------------------------

    /// Whether output `i` is asked for.
    pub fn wants(&self, i: usize) -> bool {
        self.node.output.get(i).is_some_and(|o| !o.is_empty())
    }

    // ---- attributes ---------------------------------------------------------

    fn attribute(&self, name: &str, wanted: AttributeType) -> R<Option<&AttributeProto>> {
        let Some(a) = self.node.attribute.iter().find(|a| a.name() == name) else {
            return Ok(None);
        };
        // Files of IR version 1 leave the type out.
        if a.r#type() != wanted && a.r#type() != AttributeType::Undefined {
            let (got, wanted) = (a.r#type().as_str_name(), wanted.as_str_name());
            return malformed!("attribute '{name}' is of type {got}, must be {wanted}");
        }
        Ok(Some(a))
    }

    /// Whether the attribute is given.
    pub fn has_attribute(&self, name: &str) -> bool {
        self.node.attribute.iter().any(|a| a.name() == name)
    }

    /// An optional integer attribute.
    pub fn opt_int(&self, name: &str) -> R<Option<i64>> {
        Ok(self.attribute(name, AttributeType::Int)?.map(|a| a.i()))
    }

    /// An integer attribute.
    pub fn int(&self, name: &str, default: i64) -> R<i64> {
        Ok(self.opt_int(name)?.unwrap_or(default))
    }

    /// An integer attribute that says yes or no.
    pub fn flag(&self, name: &str, default: bool) -> R<bool> {
        Ok(self.int(name, default as i64)? != 0)
    }

    /// An optional float attribute.
    pub fn opt_float(&self, name: &str) -> R<Option<f32>> {
        Ok(self.attribute(name, AttributeType::Float)?.map(|a| a.f()))
    }

    /// A float attribute.
    pub fn float(&self, name: &str, default: f32) -> R<f32> {
        Ok(self.opt_float(name)?.unwrap_or(default))
    }

    /// An optional list of integers.
    pub fn ints(&self, name: &str) -> R<Option<Vec<i64>>> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|a| a.ints.clone()))
    }

    /// An optional list of floats.
    pub fn floats(&self, name: &str) -> R<Option<Vec<f32>>> {
        Ok(self.attribute(name, AttributeType::Floats)?.map(|a| a.floats.clone()))
    }

    /// A string attribute.
    pub fn string(&self, name: &str, default: &str) -> R<String> {
        let a = self.attribute(name, AttributeType::String)?;
        Ok(a.map_or(default.to_string(), |a| text(a.s())))
    }

    /// An optional list of strings.
    pub fn strings(&self, name: &str) -> R<Option<Vec<String>>> {
        let a = self.attribute(name, AttributeType::Strings)?;
        Ok(a.map(|a| a.strings.iter().map(|s| text(s)).collect()))
    }

    /// A tensor attribute.
    pub fn tensor_attribute(&mut self, name: &str) -> R<Option<Tensor>> {
        let Some(proto) = self.attribute(name, AttributeType::Tensor)?.and_then(|a| a.t.clone())
        else {
            return Ok(None);
        };
        let what = format!("attribute '{name}'");
        match super::tensor::read(&proto, &what, &mut self.imp.external) {
            Ok(tensor) => Ok(Some(tensor)),
            Err(e) => malformed!("{e}"),
        }
    }

    /// A body.
    pub fn body(&self, name: &str) -> R<GraphProto> {
        match self.attribute(name, AttributeType::Graph)?.and_then(|a| a.g.clone()) {
            Some(graph) => Ok(graph),
            None => malformed!("attribute '{name}' is missing"),
        }
    }

    /// An axis attribute, negative ones counted from the end.
    pub fn axis(&self, name: &str, default: i64, rank: usize) -> R<usize> {
        axis(self.int(name, default)?, rank)
    }

    /// Refuses a node that needs a newer or older definition.
    pub fn require(&self, holds: bool, what: &str) -> R<()> {
        if holds { Ok(()) } else { unsupported!("{what}") }
    }

    /// A dim in words, for messages.
    pub fn show(&self, dim: &Dim) -> String {
        dim.display(self.symbols())
    }
}

/// An axis counted from the start.
pub fn axis(axis: i64, rank: usize) -> R<usize> {
    let from_start = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_start) {
        Ok(a) if a < rank => Ok(a),
        _ => malformed!("axis {axis} is out of range for rank {rank}"),
    }
}

/// Axes counted from the start, sorted; an axis may not occur twice.
pub fn axes(list: &[i64], rank: usize) -> R<Vec<usize>> {
    let mut out = list.iter().map(|&a| axis(a, rank)).collect::<R<Vec<usize>>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return malformed!("axes {list:?} repeat an axis");
    }
    Ok(out)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The elements of a float tensor.
pub fn floats(tensor: &Tensor) -> Option<Vec<f64>> {
    let width = tensor.dtype.size_bytes().filter(|_| tensor.dtype.is_float())?;
    let number = |bytes: &[u8]| {
        let mut wide = [0u8; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        cascata_ir::types::Scalar { dtype: tensor.dtype, bits }.to_f64()
    };
    Some(tensor.data.chunks_exact(width).map(number).collect())
}
