//! Execution order of a graph's nodes.
//!
//! ONNX asks for topologically sorted nodes; files that are not sorted are accepted and
//! sorted here, stably, so that sorted files keep their order. Bodies of control flow
//! count as users of what they capture.

use super::proto::{GraphProto, NodeProto};
use std::collections::{HashMap, HashSet};

/// Indices of `nodes` in an order where definitions come before uses.
///
/// # Errors
/// The name of a node on a cycle, or a value that two nodes define.
pub fn topological(nodes: &[NodeProto]) -> Result<Vec<usize>, String> {
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            if producer.insert(name, i).is_some() {
                return Err(format!("value '{name}' is defined twice"));
            }
        }
    }
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waits: Vec<usize> = vec![0; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        for p in names_read(node).iter().filter_map(|n| producer.get(n)) {
            users[*p].push(i);
            waits[i] += 1;
        }
    }
    // A heap of ready indices keeps the file's order wherever that is possible.
    let mut ready: std::collections::BinaryHeap<_> =
        (0..nodes.len()).filter(|&i| waits[i] == 0).map(std::cmp::Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(std::cmp::Reverse(i)) = ready.pop() {
        order.push(i);
        for &user in &users[i] {
            waits[user] -= 1;
            if waits[user] == 0 {
                ready.push(std::cmp::Reverse(user));
            }
        }
    }
    match waits.iter().position(|&w| w > 0) {
        None => Ok(order),
        Some(i) => Err(format!("node '{}' is on a cycle or behind one", node_name(&nodes[i]))),
    }
}

/// A node's name, else its op and first output.
pub fn node_name(node: &NodeProto) -> String {
    match (node.name(), node.output.first()) {
        ("", Some(output)) => format!("{}:{output}", node.op_type()),
        ("", None) => node.op_type().to_string(),
        (name, _) => name.to_string(),
    }
}

/// Names that a node reads from its own graph or from an outer one.
pub fn names_read(node: &NodeProto) -> HashSet<&str> {
    let inputs = node.input.iter().map(String::as_str).filter(|n| !n.is_empty());
    let bodies = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
    inputs.chain(bodies.flat_map(captures)).collect()
}

/// Names that a body takes from outside.
fn captures(graph: &GraphProto) -> HashSet<&str> {
    let mut used: HashSet<&str> = graph.node.iter().flat_map(names_read).collect();
    used.extend(graph.output.iter().map(|o| o.name()));
    let own = graph.input.iter().map(|i| i.name());
    let own = own.chain(graph.initializer.iter().map(|t| t.name()));
    for name in own.chain(graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str))) {
        used.remove(name);
    }
    used
}
