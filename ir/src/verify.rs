//! The graph verifier: reports everything that is wrong, not the first thing.
//!
//! # What holds for a verified graph
//! * every value has one definition, which agrees with [`Value::def`], and is used
//!   only where it is visible;
//! * every node and region has one owner;
//! * result types equal the inferred types;
//! * symbols exist and data-dependent ones are bound before they are used, once;
//! * resources are used linearly: one use consumes, nothing reads afterwards;
//! * constants have the bytes that their types say;
//! * output names go with the results and are unique; symbol names and resource
//!   kinds can be printed.

use crate::graph::{Def, Graph, Node, NodeId, RegionId, Value, ValueId};
use crate::op::Op;
use crate::print::MAX_DEPTH;
use cascata_types::{Dim, SymbolId, SymbolTable, ValueType};
use std::collections::{HashMap, HashSet};

mod linear;
mod state;
mod tables;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct VerifyError {
    /// The op and its source node, or the part of the graph.
    pub place: String,
    /// What is wrong, with the values by id and name.
    pub message: String,
}

/// Checks a graph; see the module text for what it guarantees.
///
/// # Errors
/// All problems, in the order in which they are met.
pub fn verify(graph: &Graph) -> Result<(), Vec<VerifyError>> {
    let mut v = Verifier {
        graph,
        errors: Vec::new(),
        place: String::new(),
        defined: HashSet::new(),
        visible: HashMap::new(),
        scope: Vec::new(),
        depth: 0,
        bound: HashSet::new(),
        ever_bound: HashSet::new(),
        nodes: HashSet::new(),
        owners: HashMap::new(),
        used_up: HashMap::new(),
        loop_depth: 0,
    };
    v.symbol_table();
    v.constants();
    v.output_names();
    if graph.regions.get(Graph::ROOT).is_some() {
        v.region(Graph::ROOT, &[]);
    } else {
        v.report("the graph has no body; create it with Graph::new");
    }
    if v.errors.is_empty() { Ok(()) } else { Err(v.errors) }
}

struct Verifier<'g> {
    graph: &'g Graph,
    errors: Vec<VerifyError>,
    /// Where the walk stands, for the error text.
    place: String,
    defined: HashSet<ValueId>,
    /// Visible values and the depth of the region that defines them.
    visible: HashMap<ValueId, usize>,
    /// Values and symbols in order of definition, to end scopes.
    scope: Vec<Scoped>,
    depth: usize,
    /// Data-dependent symbols with a value here.
    bound: HashSet<SymbolId>,
    ever_bound: HashSet<SymbolId>,
    nodes: HashSet<NodeId>,
    /// Which node owns a region.
    owners: HashMap<RegionId, NodeId>,
    /// Resources that are used up, and by what.
    used_up: HashMap<ValueId, String>,
    /// Depth of the innermost region that runs more than once, or 0.
    loop_depth: usize,
}

/// What a region's end takes out of scope.
enum Scoped {
    Value(ValueId),
    Symbol(SymbolId),
}

impl<'g> Verifier<'g> {
    fn report(&mut self, message: impl Into<String>) {
        self.errors.push(VerifyError { place: self.place.clone(), message: message.into() });
    }

    fn named(&self, v: ValueId) -> String {
        match self.graph.values.get(v) {
            Some(value) if !value.name.is_empty() => format!("{v} \"{}\"", value.name),
            _ => v.to_string(),
        }
    }

    fn show(&self, ty: &ValueType) -> String {
        ty.display(&self.graph.symbols)
    }

    /// Walks a region whose owner has been recorded and binds `symbols` when it starts;
    /// scopes end with it.
    fn region(&mut self, id: RegionId, symbols: &[SymbolId]) {
        if self.depth == MAX_DEPTH {
            return self.report(format!("regions are nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let region = &self.graph.regions[id];
        let scope = self.scope.len();
        symbols.iter().for_each(|s| self.bind(*s));
        for (i, &p) in region.params.iter().enumerate() {
            self.define(p, Def::Param(id, i as u32));
        }
        for &node in &region.nodes {
            self.node(node);
        }
        self.place = if id == Graph::ROOT { "body".into() } else { format!("region {id}") };
        for check in &region.checks {
            self.dim(&check.lhs, "a check");
            self.dim(&check.rhs, "a check");
        }
        for &v in &region.results {
            if self.usable(v) && self.is_resource(v) {
                self.consume(v);
            }
        }
        self.end_scope(scope);
        self.depth -= 1;
    }

    fn end_scope(&mut self, start: usize) {
        for scoped in self.scope.drain(start..) {
            match scoped {
                Scoped::Value(v) => drop(self.visible.remove(&v)),
                Scoped::Symbol(s) => drop(self.bound.remove(&s)),
            }
        }
    }

    fn node(&mut self, id: NodeId) {
        let Some(node) = self.graph.nodes.get(id) else {
            return self.report(format!("node {id} does not exist"));
        };
        self.place = place(id, node);
        if !self.nodes.insert(id) {
            return self.report("the node is listed twice");
        }
        let mut usable = true;
        for &v in &node.inputs {
            usable &= self.usable(v);
        }
        self.attribute_dims(&node.op);
        let owned = self.own_regions(id, &node.op);
        self.consume_operands(node);
        self.check_state(node);
        let regions = node.op.regions().into_iter().zip(&owned).filter(|(_, fresh)| **fresh);
        self.inner_regions(&node.op, regions.map(|(region, _)| region).collect());
        self.place = place(id, node);
        for s in node.op.binds() {
            self.bind(s);
        }
        if usable && owned.iter().all(|o| *o) {
            self.check_types(id, node);
        }
        for (i, &v) in node.outputs.iter().enumerate() {
            self.define(v, Def::Node(id, i as u32));
        }
    }

    /// Whether a use of `v` is right; reports if not.
    fn usable(&mut self, v: ValueId) -> bool {
        if self.visible.contains_key(&v) {
            return true;
        }
        let name = self.named(v);
        let message = match (self.graph.values.get(v), self.defined.contains(&v)) {
            (None, _) => format!("uses {v}, which does not exist"),
            (_, true) => format!("uses {name}, which is defined in a region that has ended"),
            (_, false) => format!("uses {name} before it is defined"),
        };
        self.report(message);
        false
    }

    fn define(&mut self, v: ValueId, def: Def) {
        let Some(Value { ty, def: recorded, .. }) = self.graph.values.get(v) else {
            return self.report(format!("defines {v}, which does not exist"));
        };
        let name = self.named(v);
        if *recorded != def {
            self.report(format!("defines {name} as {def:?}, but the value says {recorded:?}"));
        }
        if !self.defined.insert(v) {
            self.report(format!("defines {name} again"));
        }
        self.type_is_printable(ty, &name);
        for dim in dims_of(ty) {
            self.dim(dim, &format!("the type of {name}"));
        }
        self.visible.insert(v, self.depth);
        self.scope.push(Scoped::Value(v));
    }

    /// Records the owner of each region; false for one that cannot be entered.
    fn own_regions(&mut self, id: NodeId, op: &Op) -> Vec<bool> {
        let mut fresh = Vec::new();
        for region in op.regions() {
            let ok = if self.graph.regions.get(region).is_none() {
                self.report(format!("owns region {region}, which does not exist"));
                false
            } else if region == Graph::ROOT {
                self.report("owns the body of the graph");
                false
            } else if let Some(other) = self.owners.insert(region, id) {
                self.report(format!("owns region {region}, which {other} owns"));
                false
            } else {
                true
            };
            fresh.push(ok);
        }
        fresh
    }

    fn check_types(&mut self, id: NodeId, node: &Node) {
        let inferred = match self.graph.infer_node(id) {
            Ok(inferred) => inferred.types,
            Err(e) => return self.report(format!("{}; {}", e.rule, e.fix)),
        };
        if inferred.len() != node.outputs.len() {
            let (want, got) = (inferred.len(), node.outputs.len());
            return self.report(format!("has {want} results, the node lists {got}"));
        }
        for (ty, &v) in inferred.iter().zip(&node.outputs) {
            let Some(value) = self.graph.values.get(v) else { continue };
            if value.ty != *ty {
                let (name, got, want) = (self.named(v), self.show(&value.ty), self.show(ty));
                self.report(format!("{name} has type {got}, inferred is {want}"));
            }
        }
    }

    fn attribute_dims(&mut self, op: &Op) {
        let mut dims = Vec::new();
        op.for_each_dim(&mut |d| dims.push(d.clone()));
        // A state's type mentions the length that the read itself binds.
        let own = op.binds();
        for dim in &dims {
            if !dim.symbols().iter().any(|s| own.contains(s)) {
                self.dim(dim, "an attribute");
            }
        }
    }

    /// Every symbol of a dim exists and has a value here.
    fn dim(&mut self, dim: &Dim, what: &str) {
        for s in dim.symbols() {
            match self.graph.symbols.get(s) {
                None => self.report(format!("{what} uses symbol {s}, which is not in the table")),
                Some(symbol) if symbol.data_dependent && !self.bound.contains(&s) => {
                    let name = &symbol.name;
                    self.report(format!("{what} uses symbol {name}, which is not bound here"));
                }
                Some(_) => {}
            }
        }
    }

    fn bind(&mut self, s: SymbolId) {
        if !self.ever_bound.insert(s) {
            let name = self.graph.symbols.name(s);
            self.report(format!("binds symbol {name}, which is bound already"));
        }
        self.bound.insert(s);
        self.scope.push(Scoped::Symbol(s));
    }
}

fn place(id: NodeId, node: &Node) -> String {
    format!("{} {id} '{}'", node.op.name(), node.source)
}

fn dims_of(ty: &ValueType) -> &[Dim] {
    match ty {
        ValueType::Tensor(t) => &t.shape,
        ValueType::Optional(inner) => dims_of(inner),
        ValueType::Sequence(_) | ValueType::Resource(_) => &[],
    }
}

fn printable_kind(kind: &str) -> bool {
    SymbolTable::is_valid_name(kind) && kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
