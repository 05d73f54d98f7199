//! The walk over a model's nodes.
//!
//! Per node: inputs are looked up, symbolic evaluation ([`super::symbolic`]) is tried,
//! else the operator's importer from the [`super::registry`] emits core ops. A refused
//! node is recorded and poisons its results, so that one import reports every problem
//! and none twice.

use super::cx::Cx;
use super::error::{ImportError, Problem, R, Refusal, malformed, unsupported};
use super::external::ExternalFiles;
use super::facts::{Elem, Facts};
use super::form::{self, Form};
use super::function::Functions;
use super::narrow::Narrow;
use super::order;
use super::proto::{GraphProto, NodeProto};
use super::registry::{self, Importer as OpImporter};
use super::scope::{Content, DifferenceId, Lazy, LazyId, ListId, Scopes, Slot};
use super::sink::{self, Step};
use super::symbolic;
use super::tensor::{self, Tensor};
use cascata_ir::graph::{Graph, RegionId, ValueId};
use cascata_ir::op::{BinaryOp, Op};
use cascata_ir::types::{DType, Dim, Scalar, TensorType, ValueType};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// Most nodes that one import may walk over, inlined bodies counted each time.
const MAX_NODES: usize = 1 << 20;

/// Deepest nesting of bodies and calls; each level takes some of the stack.
const MAX_DEPTH: usize = 64;

/// Opset version per domain (`""` is the default one).
pub type Opsets = HashMap<String, i64>;

/// Where nodes are being added.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The region that receives nodes.
    pub region: RegionId,
    /// Versions in force.
    pub opsets: Rc<Opsets>,
    /// Nesting of bodies and function calls.
    pub depth: usize,
}

impl Frame {
    /// A body or a called function's body inside of this one.
    ///
    /// # Errors
    /// Nested too deeply: recursion, or a hostile model.
    pub fn nested(&self, region: RegionId, opsets: Rc<Opsets>) -> R<Frame> {
        if self.depth >= MAX_DEPTH {
            return unsupported!("bodies or calls nested more than {MAX_DEPTH} deep (recursion?)");
        }
        Ok(Frame { region, opsets, depth: self.depth + 1 })
    }
}

/// The state of one import.
pub struct Importer {
    /// What has been built.
    pub graph: Graph,
    /// Facts about values of the graph.
    pub facts: HashMap<ValueId, Rc<Facts>>,
    /// Names in scope.
    pub scopes: Scopes,
    /// Refused nodes.
    pub problems: Vec<Problem>,
    /// Model-local functions.
    pub functions: Rc<Functions>,
    /// Values that are bytes of another element type.
    pub narrow: HashMap<Slot, Narrow>,
    /// Weight files.
    pub external: ExternalFiles,
    lazies: Vec<Lazy>,
    lists: Vec<Rc<[Slot]>>,
    differences: Vec<String>,
    walked: usize,
    /// Random ops so far; gives each its own seed.
    pub seeds: u64,
}

impl Importer {
    /// An empty import.
    pub fn new(name: &str, functions: Rc<Functions>, external: ExternalFiles) -> Self {
        let mut scopes = Scopes::default();
        scopes.push(true);
        Importer {
            graph: Graph::new(name),
            facts: HashMap::new(),
            scopes,
            problems: Vec::new(),
            functions,
            narrow: HashMap::new(),
            external,
            lazies: Vec::new(),
            lists: Vec::new(),
            differences: Vec::new(),
            walked: 0,
            seeds: 0,
        }
    }

    // ---- bodies -------------------------------------------------------------

    /// Reads a graph's initializers into the innermost scope.
    pub fn initializers(&mut self, graph: &GraphProto) -> Result<(), ImportError> {
        if let Some(sparse) = graph.sparse_initializer.first() {
            let name = sparse.values.as_ref().map_or("", |v| v.name());
            let what = format!("initializer '{name}'");
            return Err(ImportError::model(what, "sparse initializers are not supported"));
        }
        for proto in &graph.initializer {
            let what = format!("initializer '{}'", proto.name());
            let tensor = tensor::read(proto, &what, &mut self.external)?;
            let slot = self.weight(tensor, proto.name());
            self.scopes.define(proto.name(), slot);
        }
        Ok(())
    }

    /// Imports nodes in dependency order; refused ones are recorded. What follows an `If`
    /// moves into its branches where they give different types ([`super::sink`]); `results`
    /// are the names that the body hands out.
    ///
    /// # Errors
    /// Only what concerns the body as a whole: a cycle, a value defined twice.
    pub fn nodes(
        &mut self,
        nodes: &[NodeProto],
        results: &[String],
        frame: &Frame,
    ) -> Result<(), String> {
        let order = order::topological(nodes)?;
        let mut steps: VecDeque<Step<'_>> = order.iter().map(|&i| Step::new(&nodes[i])).collect();
        while let Some(step) = steps.pop_front() {
            self.spend(1)?;
            self.node(&step, frame);
            let differing = self.differing(&step.node);
            if let Some(deeper) = sink::deepen(&step, &differing, &steps, results) {
                steps = deeper;
            }
        }
        Ok(())
    }

    /// Outputs of an `If` whose branches give different types.
    fn differing(&self, node: &NodeProto) -> Vec<String> {
        let differs = |n: &&String| matches!(self.scopes.lookup(n), Some(Slot::Differs(_)));
        match node.op_type() {
            "If" => node.output.iter().filter(differs).cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Counts work against the limit of an import.
    pub fn spend(&mut self, nodes: usize) -> Result<(), String> {
        self.walked = self.walked.saturating_add(nodes);
        if self.walked > MAX_NODES {
            return Err(format!("more than {MAX_NODES} nodes, inlined bodies included"));
        }
        Ok(())
    }

    /// Imports a body without parameters (or with its parameters defined already) and
    /// gives its results.
    pub fn body(&mut self, graph: &GraphProto, frame: &Frame) -> R<Vec<Slot>> {
        let seen = self.problems.len();
        self.initializers(graph).map_err(|e| Refusal::Malformed(e.to_string()))?;
        let results: Vec<String> = graph.output.iter().map(|o| o.name().to_string()).collect();
        self.nodes(&graph.node, &results, frame).map_err(Refusal::Malformed)?;
        if self.problems.len() > seen {
            return Err(Refusal::Reported);
        }
        let result = |name: &str| match self.scopes.lookup(name) {
            Some(Slot::Poison) => Err(Refusal::Poisoned),
            Some(slot) => match self.tensors(slot).iter().find_map(|t| self.narrow.get(t)) {
                Some(narrow) => unsupported!("a body that gives {}", narrow.name()),
                None => Ok(slot),
            },
            None => malformed!("the body's output '{name}' is not defined"),
        };
        graph.output.iter().map(|o| result(o.name())).collect()
    }

    fn node(&mut self, step: &Step<'_>, frame: &Frame) {
        let node = step.node.as_ref();
        let results = self.try_node(step, frame).and_then(|slots| {
            let wanted = node.output.iter().rposition(|o| !o.is_empty()).map_or(0, |i| i + 1);
            match slots.len() >= wanted {
                true => Ok(slots),
                false => unsupported!("output {} of {wanted}", slots.len() + 1),
            }
        });
        match results {
            Ok(slots) => {
                for (name, slot) in node.output.iter().zip(slots).filter(|(n, _)| !n.is_empty()) {
                    self.define(name, slot);
                }
            }
            Err(refusal) => {
                if !matches!(refusal, Refusal::Poisoned | Refusal::Reported) {
                    self.report(node, frame, refusal);
                }
                for name in node.output.iter().filter(|n| !n.is_empty()) {
                    self.scopes.define(name, Slot::Poison);
                }
            }
        }
    }

    fn report(&mut self, node: &NodeProto, frame: &Frame, refusal: Refusal) {
        let domain = domain(node);
        self.problems.push(Problem {
            node: order::node_name(node),
            op: node.op_type().to_string(),
            domain: if domain.is_empty() { "ai.onnx".into() } else { domain.to_string() },
            opset: frame.opsets.get(domain).copied().unwrap_or(0),
            reason: refusal.to_string(),
            invalid: refusal.is_invalid(),
        });
    }

    fn try_node(&mut self, step: &Step<'_>, frame: &Frame) -> R<Vec<Slot>> {
        let node = step.node.as_ref();
        if let Some(function) = self.functions.find(node) {
            return self.call(node, &function, frame);
        }
        let domain = domain(node);
        let Some(&version) = frame.opsets.get(domain) else {
            return malformed!("the model imports no opset for this domain");
        };
        let Some(import) = registry::find(domain, node.op_type()) else {
            return unsupported!("{}", registry::reason(domain, node.op_type()));
        };
        let inputs = self.inputs(node)?;
        let (source, continued) = (order::node_name(node), step.levels > 0);
        let mut cx = Cx { imp: self, node, version, inputs, frame, source, continued };
        let narrow = narrow_operands(&cx)?;
        let known = if narrow.is_some() { None } else { symbolic::evaluate(&cx) };
        if let Some(results) = &known
            && results.iter().all(Facts::is_complete)
        {
            let contents = results.iter().map(|f| Content::Known(Rc::new(f.clone())));
            return Ok(contents.map(|c| self.lazy(c, "", frame.region)).collect());
        }
        let slots = match import {
            OpImporter::One(f) => vec![Slot::Value(f(&mut cx)?)],
            OpImporter::Many(f) => f(&mut cx)?,
        };
        if let Some(Some(narrow)) = narrow {
            self.narrow.extend(slots.iter().map(|s| (*s, narrow)));
        }
        for (slot, facts) in slots.iter().zip(known.into_iter().flatten()) {
            if let Slot::Value(value) = slot {
                self.facts.insert(*value, Rc::new(facts));
            }
        }
        Ok(slots)
    }

    /// Slots of a node's inputs; absent optional ones are `None`.
    pub fn inputs(&self, node: &NodeProto) -> R<Vec<Option<Slot>>> {
        let find = |name: &String| match self.scopes.lookup(name) {
            _ if name.is_empty() => Ok(None),
            Some(slot) => Ok(Some(slot)),
            None => malformed!("input '{name}' is not defined"),
        };
        let inputs: Vec<Option<Slot>> = node.input.iter().map(find).collect::<R<_>>()?;
        if inputs.contains(&Some(Slot::Poison)) {
            return Err(Refusal::Poisoned);
        }
        Ok(inputs)
    }

    // ---- slots --------------------------------------------------------------

    /// Gives a slot a name, and the value or constant behind it too if it has none.
    pub fn define(&mut self, name: &str, slot: Slot) {
        match slot {
            Slot::Value(value) => {
                let value = &mut self.graph.values[value];
                if value.name.is_empty() {
                    value.name = name.to_string();
                }
            }
            Slot::Lazy(id) => {
                let lazy = &mut self.lazies[id.0 as usize];
                if lazy.name.is_empty() {
                    lazy.name = name.to_string();
                }
            }
            Slot::List(_) | Slot::Absent | Slot::Differs(_) | Slot::Poison => {}
        }
        self.scopes.define(name, slot);
    }

    /// A slot for a sequence of tensors.
    ///
    /// # Errors
    /// It is too long, or an element is a sequence itself or an empty optional.
    pub fn list(&mut self, elements: Vec<Slot>) -> R<Slot> {
        self.spend(form::list_cost(elements.len())?).map_err(Refusal::Unsupported)?;
        let other = elements.iter().map(|e| self.form(*e)).find(|f| *f != Form::Tensor);
        if let Some(form) = other {
            return malformed!("{} as an element of a sequence of tensors", form.words());
        }
        self.lists.push(elements.into());
        Ok(Slot::List(ListId(self.lists.len() as u32 - 1)))
    }

    /// The elements of a sequence; `None` for something else.
    pub fn elements(&self, slot: Slot) -> Option<Rc<[Slot]>> {
        match slot {
            Slot::List(id) => self.lists.get(id.0 as usize).cloned(),
            _ => None,
        }
    }

    /// A slot for a value whose type the branches of an `If` do not agree on, with words
    /// for it.
    pub fn difference(&mut self, words: String) -> Slot {
        self.differences.push(words);
        Slot::Differs(DifferenceId(self.differences.len() as u32 - 1))
    }

    /// A slot for something known; it enters the graph when it is read.
    pub fn lazy(&mut self, content: Content, name: &str, region: RegionId) -> Slot {
        let id = LazyId(self.lazies.len() as u32);
        self.lazies.push(Lazy { content, name: name.to_string(), region, value: None });
        Slot::Lazy(id)
    }

    /// A slot for a constant of the model.
    pub fn weight(&mut self, tensor: Tensor, name: &str) -> Slot {
        let narrow = tensor.narrow;
        // Facts are about numbers.
        let facts = narrow.is_none().then(|| Facts::of_tensor(&tensor).map(Rc::new)).flatten();
        let slot = self.lazy(Content::Weight(tensor, facts), name, Graph::ROOT);
        self.narrow.extend(narrow.map(|n| (slot, n)));
        slot
    }

    /// The type of a slot that is a tensor.
    pub fn slot_type(&self, slot: Slot) -> R<TensorType> {
        match slot {
            Slot::Value(value) => match self.graph.ty(value) {
                ValueType::Tensor(t) => Ok(t.clone()),
                other => unsupported!("an operand of type {}", other.display(&self.graph.symbols)),
            },
            Slot::Lazy(id) => Ok(match &self.lazies[id.0 as usize].content {
                Content::Weight(tensor, _) => tensor.ty(),
                Content::Known(facts) => facts.ty(),
            }),
            Slot::List(_) => unsupported!("a sequence where a tensor is needed"),
            Slot::Absent => unsupported!("an empty optional where a tensor is needed"),
            Slot::Differs(id) => unsupported!("{}", self.differences[id.0 as usize]),
            Slot::Poison => Err(Refusal::Poisoned),
        }
    }

    /// What is known about a slot's elements.
    pub fn slot_facts(&self, slot: Slot) -> Option<Rc<Facts>> {
        match slot {
            Slot::Value(value) => self.facts.get(&value).cloned(),
            Slot::Lazy(id) => self.lazies[id.0 as usize].content.facts(),
            Slot::List(_) | Slot::Absent | Slot::Differs(_) | Slot::Poison => None,
        }
    }

    /// The constant behind a slot, if it is one.
    pub fn slot_tensor(&self, slot: Slot) -> Option<Tensor> {
        let Slot::Lazy(id) = slot else { return None };
        match &self.lazies[id.0 as usize].content {
            Content::Weight(tensor, _) => Some(tensor.clone()),
            Content::Known(facts) => facts.to_tensor(),
        }
    }

    /// The value of a slot; something lazy enters the graph now, in its own region.
    pub fn value(&mut self, slot: Slot) -> R<ValueId> {
        let id = match slot {
            Slot::Value(value) => return Ok(value),
            Slot::Lazy(id) => id.0 as usize,
            other => return self.slot_type(other).and(Err(Refusal::Poisoned)),
        };
        if let Some(value) = self.lazies[id].value {
            return Ok(value);
        }
        let Lazy { content, name, region, .. } = self.lazies[id].clone();
        let facts = content.facts();
        let value = match content {
            Content::Weight(tensor, _) => self.constant(tensor, &name),
            Content::Known(facts) => match facts.to_tensor() {
                Some(tensor) => self.constant(tensor, &name),
                None => self.dims_as_tensor(&facts, &name, region)?,
            },
        };
        if let Some(facts) = facts {
            self.facts.insert(value, facts);
        }
        self.lazies[id].value = Some(value);
        if let Some(narrow) = self.narrow.get(&slot).copied() {
            self.mark_narrow(value, narrow);
        }
        Ok(value)
    }

    /// Notes that a value is bytes of another element type.
    pub fn mark_narrow(&mut self, value: ValueId, narrow: Narrow) {
        self.narrow.insert(Slot::Value(value), narrow);
    }

    fn constant(&mut self, tensor: Tensor, name: &str) -> ValueId {
        self.graph.add_const(Graph::ROOT, name, tensor.ty(), tensor.data)
    }

    /// Symbolic elements as a tensor: their numerators as `i64`, then dtype, scale and shape.
    fn dims_as_tensor(&mut self, facts: &Facts, name: &str, region: RegionId) -> R<ValueId> {
        let part = |e: &Elem| match e {
            Elem::Exact { num, den } => Ok((num.clone(), *den)),
            Elem::Unknown(_) => unsupported!("an element of '{name}' is not known"),
        };
        let parts: Vec<(Dim, i64)> = facts.elems.iter().map(part).collect::<R<_>>()?;
        let dims = parts.iter().map(|(num, _)| num.clone()).collect();
        let scalar = facts.dims.is_empty();
        let mut value = self.graph.add1(region, Op::DimValues { dims, scalar }, vec![], name)?;
        if facts.dtype != DType::I64 {
            value = self.graph.add1(region, Op::Cast { to: facts.dtype }, vec![value], name)?;
        }
        if parts.iter().any(|(_, den)| *den != 1) {
            let factors: Vec<f64> = parts.iter().map(|(_, den)| 1.0 / *den as f64).collect();
            let factors = self.float_vector(facts.dtype, &factors, scalar);
            let mul = Op::Binary(BinaryOp::Mul);
            value = self.graph.add1(region, mul, vec![value, factors], name)?;
        }
        if facts.dims.len() > 1 {
            let shape = facts.dims.iter().map(|&d| d.into()).collect();
            value = self.graph.add1(region, Op::Reshape { shape }, vec![value], name)?;
        }
        self.graph.values[value].name = name.to_string();
        Ok(value)
    }

    fn float_vector(&mut self, dtype: DType, xs: &[f64], scalar: bool) -> ValueId {
        let width = dtype.size_bytes().unwrap_or(0);
        let bits = |x: &f64| Scalar::from_f64(dtype, *x).bits.to_le_bytes();
        let data: Vec<u8> = xs.iter().flat_map(|x| bits(x)[..width].to_vec()).collect();
        let dims = if scalar { vec![] } else { vec![xs.len() as i64] };
        self.constant(Tensor { dtype, narrow: None, dims, data: data.into() }, "")
    }
}

/// Ops that move elements whatever they stand for.
const MOVES: &[&str] = &[
    "Compress",
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "Reshape",
    "ReverseSequence",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Ops that know such elements, or read none.
const CONVERTS: &[&str] =
    &["Cast", "CastLike", "DequantizeLinear", "QuantizeLinear", "Shape", "Size"];

/// For a node with operands that are bytes of another element type: what its results are.
///
/// # Errors
/// The op computes with elements.
fn narrow_operands(cx: &Cx<'_>) -> R<Option<Option<Narrow>>> {
    let Some(narrow) = (0..cx.inputs.len()).find_map(|i| cx.narrow(i)) else { return Ok(None) };
    match cx.node.op_type() {
        op if MOVES.contains(&op) => Ok(Some(Some(narrow))),
        op if CONVERTS.contains(&op) => Ok(Some(None)),
        _ => unsupported!("operands of type {}", narrow.name()),
    }
}

/// A node's domain; the default one is `""`.
pub fn domain(node: &NodeProto) -> &str {
    match node.domain() {
        "ai.onnx" => "",
        other => other,
    }
}
