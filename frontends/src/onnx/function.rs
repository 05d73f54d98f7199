//! Model-local functions, inlined at each call.

use super::error::{R, Refusal, malformed};
use super::importer::{Frame, Importer, Opsets, domain};
use super::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};
use super::scope::Slot;
use prost::Message;
use std::collections::HashMap;
use std::rc::Rc;

/// What a node costs in bytes when a body is copied.
const BYTES_PER_NODE: usize = 4096;

/// Functions by domain, name and overload.
#[derive(Debug, Default)]
pub struct Functions(HashMap<(String, String, String), Rc<FunctionProto>>);

impl Functions {
    /// Indexes a model's functions.
    pub fn new(functions: Vec<FunctionProto>) -> Self {
        let key = |f: &FunctionProto| {
            let domain = if f.domain() == "ai.onnx" { "" } else { f.domain() };
            (domain.to_string(), f.name().to_string(), f.overload().to_string())
        };
        Functions(functions.into_iter().map(|f| (key(&f), Rc::new(f))).collect())
    }

    /// The function that a node calls, if it calls one.
    pub fn find(&self, node: &NodeProto) -> Option<Rc<FunctionProto>> {
        if self.0.is_empty() {
            return None;
        }
        let key = (domain(node).into(), node.op_type().into(), node.overload().into());
        self.0.get(&key).cloned()
    }
}

impl Importer {
    /// Imports a function's body in place of a node that calls it.
    pub(super) fn call(
        &mut self,
        node: &NodeProto,
        function: &FunctionProto,
        frame: &Frame,
    ) -> R<Vec<Slot>> {
        let arguments = self.inputs(node)?;
        if arguments.len() > function.input.len() {
            return malformed!(
                "{} inputs, the function has {}",
                arguments.len(),
                function.input.len()
            );
        }
        let frame = frame.nested(frame.region, Rc::new(opsets(function, frame)))?;
        // Each call copies the body: large ones cost more than their number of nodes.
        self.spend(function.encoded_len() / BYTES_PER_NODE).map_err(Refusal::Unsupported)?;
        let nodes = substitute(function, node);
        self.scopes.push(true);
        for (name, slot) in function.input.iter().zip(&arguments) {
            if let Some(slot) = slot {
                self.scopes.define(name, *slot);
            }
        }
        // Parameters without an argument are absent optional inputs: nodes see ''.
        let absent: Vec<&str> = function
            .input
            .iter()
            .enumerate()
            .filter(|(i, _)| arguments.get(*i).is_none_or(Option::is_none))
            .map(|(_, name)| name.as_str())
            .collect();
        let nodes = without_inputs(nodes, &absent);
        let seen = self.problems.len();
        let results = self
            .nodes(&nodes, &function.output, &frame)
            .map_err(Refusal::Malformed)
            .and_then(|()| {
                if self.problems.len() > seen {
                    return Err(Refusal::Reported);
                }
                let result = |name: &String| match self.scopes.lookup(name) {
                    Some(slot) => Ok(slot),
                    None => malformed!("the function's output '{name}' is not defined"),
                };
                function.output.iter().take(node.output.len()).map(result).collect()
            });
        self.scopes.pop();
        results
    }
}

fn opsets(function: &FunctionProto, frame: &Frame) -> Opsets {
    if function.opset_import.is_empty() {
        return frame.opsets.as_ref().clone();
    }
    let entry = |domain: &str| if domain == "ai.onnx" { String::new() } else { domain.to_string() };
    function.opset_import.iter().map(|o| (entry(o.domain()), o.version())).collect()
}

/// The function's nodes with references to its attributes replaced by the call's.
fn substitute(function: &FunctionProto, call: &NodeProto) -> Vec<NodeProto> {
    let defaults = function.attribute_proto.iter();
    let values: Vec<&AttributeProto> = call.attribute.iter().chain(defaults).collect();
    let mut nodes = function.node.clone();
    for node in &mut nodes {
        bind_attributes(node, &values);
    }
    nodes
}

fn bind_attributes(node: &mut NodeProto, values: &[&AttributeProto]) {
    let bind = |mut attribute: AttributeProto| {
        if attribute.ref_attr_name().is_empty() {
            if let Some(body) = &mut attribute.g {
                bind_graph(body, values);
            }
            return Some(attribute);
        }
        // An attribute that refers to an optional one that is absent is absent itself.
        let value = values.iter().find(|v| v.name() == attribute.ref_attr_name())?;
        Some(AttributeProto { name: attribute.name, ..(*value).clone() })
    };
    node.attribute = std::mem::take(&mut node.attribute).into_iter().filter_map(bind).collect();
}

fn bind_graph(graph: &mut GraphProto, values: &[&AttributeProto]) {
    for node in &mut graph.node {
        bind_attributes(node, values);
    }
}

fn without_inputs(mut nodes: Vec<NodeProto>, absent: &[&str]) -> Vec<NodeProto> {
    for name in nodes.iter_mut().flat_map(|n| &mut n.input) {
        if absent.contains(&name.as_str()) {
            name.clear();
        }
    }
    nodes
}
