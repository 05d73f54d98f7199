//! Weights that a caller may replace when the model runs.
//!
//! Such an initializer is an input of the graph, so that nothing is folded into it or packed;
//! what the file holds is its default.

use super::error::ImportError;
use super::importer::Importer;
use super::options::ImportOptions;
use super::proto::GraphProto;
use super::scope::Slot;
use super::tensor;
use bytes::Bytes;
use cascata_ir::graph::Graph;

/// An initializer that became an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// The input's name.
    pub name: String,
    /// Its value in the model file: dense little-endian elements.
    pub data: Bytes,
}

/// Declares the initializers that the options name as parameters of the root.
///
/// # Errors
/// A name that no initializer of the main graph has, or a type that is no plain tensor of
/// numbers.
pub(super) fn declare(
    imp: &mut Importer,
    graph: &GraphProto,
    options: &ImportOptions,
) -> Result<Vec<Param>, ImportError> {
    let one = |name: &String| {
        let fail = |reason: String| ImportError::Option { option: name.clone(), reason };
        let found = graph.initializer.iter().find(|t| t.name() == name);
        let proto = found.ok_or_else(|| {
            fail("the main graph has no initializer of that name (a Constant node is none)".into())
        })?;
        if imp.graph.inputs().iter().any(|v| imp.graph.values[*v].name == *name) {
            return Err(fail("an element of a sequence input has that name".into()));
        }
        let what = format!("initializer '{name}'");
        let tensor = tensor::read(proto, &what, &mut imp.external)?;
        if let Some(narrow) = tensor.narrow {
            return Err(fail(format!("its type {narrow:?} cannot be replaced at run time")));
        }
        let value = imp.graph.add_param(Graph::ROOT, name, tensor.ty());
        imp.scopes.define(name, Slot::Value(value));
        Ok(Param { name: name.clone(), data: tensor.data })
    };
    options.params.iter().map(one).collect()
}
