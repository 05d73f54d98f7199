//! Values that become outputs because somebody wants to see them.

use crate::CompileError;
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::op::Op;

/// Makes values outputs, by name.
///
/// # Errors
/// [`CompileError::NoSuchValue`]: a name that no node of the body has given to a result.
pub fn fetch_values(graph: &mut Graph, names: &[String]) -> Result<(), CompileError> {
    for name in names {
        let value = find(graph, name).ok_or_else(|| CompileError::NoSuchValue(name.clone()))?;
        expose(graph, value);
    }
    Ok(())
}

/// Makes every named result of a group an output.
pub(crate) fn groups(graph: &mut Graph) {
    let is_group =
        |v: &ValueId| graph.def_node(*v).is_some_and(|n| matches!(n.op, Op::Group { .. }));
    let results: Vec<ValueId> = computed(graph).filter(is_group).collect();
    for value in results {
        expose(graph, value);
    }
}

/// Values that the body's nodes compute, in order.
fn computed(graph: &Graph) -> impl Iterator<Item = ValueId> {
    graph.root().nodes.iter().flat_map(|n| graph.nodes[*n].outputs.iter().copied())
}

fn find(graph: &Graph, name: &str) -> Option<ValueId> {
    computed(graph).find(|v| graph.values[*v].name == name)
}

fn expose(graph: &mut Graph, value: ValueId) {
    let name = graph.values[value].name.clone();
    let tensor = graph.ty(value).as_tensor().is_some();
    let known = graph.outputs().contains(&value) || graph.output_names.contains(&name);
    if tensor && !known && !name.is_empty() {
        graph.add_output(name, value);
    }
}
