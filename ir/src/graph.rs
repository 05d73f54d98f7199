//! The tensor-level form: SSA values, nodes and regions over typed ids.
//!
//! # Semantics
//! A region's nodes run in order. A node reads values defined earlier in its own
//! region, the region's parameters, or (captured) anything visible where the node
//! that owns the region stands. Ops are pure unless [`Op::effect`] says otherwise.
//! Dims are expressions over the graph's symbols; a data-dependent symbol is bound
//! by the node that produces it and may be used by later nodes only, in its region and
//! the regions inside; each run of the region binds it anew. Every tensor is immutable.

use crate::op::Op;
use bytes::Bytes;
use cascata_types::{Dim, PrimaryMap, SymbolTable, TensorType, ValueType, entity};

entity! {
    /// An SSA value.
    ValueId, "%"
}
entity! {
    /// A node: one op with operands and results.
    NodeId, "n"
}
entity! {
    /// A list of nodes with parameters and results.
    RegionId, "r"
}
entity! {
    /// A constant tensor.
    ConstId, "c"
}

/// One model, or one entry point of it.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// Symbolic dims and their ranges.
    pub symbols: SymbolTable,
    /// All values.
    pub values: PrimaryMap<ValueId, Value>,
    /// All nodes; those that no region lists are dead.
    pub nodes: PrimaryMap<NodeId, Node>,
    /// All regions; [`Graph::ROOT`] is the body.
    pub regions: PrimaryMap<RegionId, Region>,
    /// Constant tensors.
    pub consts: PrimaryMap<ConstId, Const>,
    /// Names of the root region's results, in order.
    pub output_names: Vec<String>,
}

/// A value: the result of a node or a parameter of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The source model's name, kept through rewrites; may be empty.
    pub name: String,
    /// Its type.
    pub ty: ValueType,
    /// Who defines it.
    pub def: Def,
}

/// Who defines a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Def {
    /// The n-th result of a node.
    Node(NodeId, u32),
    /// The n-th parameter of a region.
    Param(RegionId, u32),
}

/// One op with operands and results.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes, with attributes and regions.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<ValueId>,
    /// Results.
    pub outputs: Vec<ValueId>,
    /// Where it comes from: the source node's name, else its op and first output.
    pub source: String,
}

/// A list of nodes with parameters and results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Region {
    /// Values that the owner passes in.
    pub params: Vec<ValueId>,
    /// Nodes in execution order.
    pub nodes: Vec<NodeId>,
    /// Values handed to the owner.
    pub results: Vec<ValueId>,
    /// What must hold between dims whenever the region runs, once their symbols are bound.
    pub checks: Vec<DimCheck>,
}

/// A constant tensor; its bytes usually lie in a mapped weight file.
#[derive(Clone, Debug, PartialEq)]
pub struct Const {
    /// The source model's name for it; may be empty.
    pub name: String,
    /// Its type; all dims are numbers.
    pub ty: TensorType,
    /// Little-endian elements in the type's encoding.
    pub data: Bytes,
}

/// `lhs == rhs` must hold once symbols are bound.
#[derive(Clone, Debug, PartialEq)]
pub struct DimCheck {
    /// Left side.
    pub lhs: Dim,
    /// Right side.
    pub rhs: Dim,
    /// The node and operands that need it, for the error text.
    pub what: String,
}

impl Graph {
    /// The body.
    pub const ROOT: RegionId = RegionId(0);

    /// A graph with an empty body.
    pub fn new(name: impl Into<String>) -> Self {
        let mut graph = Graph { name: name.into(), ..Graph::default() };
        graph.regions.push(Region::default());
        graph
    }

    /// The body.
    pub fn root(&self) -> &Region {
        &self.regions[Self::ROOT]
    }

    /// Values that the caller passes in.
    pub fn inputs(&self) -> &[ValueId] {
        &self.root().params
    }

    /// Values that the caller gets back.
    pub fn outputs(&self) -> &[ValueId] {
        &self.root().results
    }

    /// The type of a value.
    pub fn ty(&self, value: ValueId) -> &ValueType {
        &self.values[value].ty
    }

    /// The tensor type of a value.
    ///
    /// # Panics
    /// If the value is not a tensor; callers that read user input check first.
    pub fn tensor(&self, value: ValueId) -> &TensorType {
        self.ty(value).as_tensor().expect("a tensor value")
    }

    /// The node that defines a value, if a node does.
    pub fn def_node(&self, value: ValueId) -> Option<&Node> {
        match self.values[value].def {
            Def::Node(id, _) => Some(&self.nodes[id]),
            Def::Param(..) => None,
        }
    }

    /// The constant behind a value, if it is one.
    pub fn as_const(&self, value: ValueId) -> Option<&Const> {
        match self.def_node(value)?.op {
            Op::Const(id) => Some(&self.consts[id]),
            _ => None,
        }
    }

    /// A new empty region.
    pub fn add_region(&mut self) -> RegionId {
        self.regions.push(Region::default())
    }

    /// Adds a parameter to a region (to the root: a graph input).
    pub fn add_param(
        &mut self,
        region: RegionId,
        name: impl Into<String>,
        ty: impl Into<ValueType>,
    ) -> ValueId {
        let index = self.regions[region].params.len() as u32;
        let def = Def::Param(region, index);
        let value = self.values.push(Value { name: name.into(), ty: ty.into(), def });
        self.regions[region].params.push(value);
        value
    }

    /// Appends a node with known result types; returns its results.
    /// Use `infer::add` to have the types computed.
    pub fn add_node_typed(
        &mut self,
        region: RegionId,
        op: Op,
        inputs: Vec<ValueId>,
        types: Vec<ValueType>,
        source: impl Into<String>,
    ) -> Vec<ValueId> {
        let id = self.nodes.next_id();
        let outputs: Vec<ValueId> = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| {
                let def = Def::Node(id, i as u32);
                self.values.push(Value { name: String::new(), ty, def })
            })
            .collect();
        self.nodes.push(Node { op, inputs, outputs: outputs.clone(), source: source.into() });
        self.regions[region].nodes.push(id);
        outputs
    }

    /// Appends a `Const` node for `data`; returns its value.
    pub fn add_const(
        &mut self,
        region: RegionId,
        name: impl Into<String>,
        ty: TensorType,
        data: Bytes,
    ) -> ValueId {
        let name = name.into();
        let id = self.consts.push(Const { name: name.clone(), ty: ty.clone(), data });
        let value = self.add_node_typed(region, Op::Const(id), vec![], vec![ty.into()], "")[0];
        self.values[value].name = name;
        value
    }

    /// Makes a value a result of the body under `name`.
    pub fn add_output(&mut self, name: impl Into<String>, value: ValueId) {
        self.regions[Self::ROOT].results.push(value);
        self.output_names.push(name.into());
    }
}
