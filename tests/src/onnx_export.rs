//! A random case as an ONNX model, for ONNX Runtime (`tests/models/random_onnx.py`).
//!
//! Dims are numbers here: one model per binding of the symbols. A node that ONNX cannot say, or
//! on whose operands the standard leaves the result open, is *cut*: its result becomes an input
//! of the model that holds what the interpreter computed, so that the rest of the graph is
//! compared all the same. Beside the model lies every value that the interpreter computed,
//! with the tolerance of the random graphs.

mod batch;
mod elementwise;
mod ops;
mod round_trip;
mod undefined;
mod window;
mod writer;

pub use batch::{Written, write_seeds};

use crate::random::{Case, tolerance_of};
use anyhow::{Context, Result};
use cascata_frontends::onnx::proto::{
    GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::{Recorded, Tensor, run_recorded};
use cascata_ir::op::Op;
use cascata_types::{Dim, SymbolId};
use ops::Operand;
use prost::Message;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use writer::{Writer, tensor_proto, value_info};

/// Newest opset of which ONNX Runtime implements most.
const OPSET: i64 = 23;

/// What a case became.
pub struct Exported {
    /// The model.
    pub model: ModelProto,
    /// Its initializers are all values of the model by name, its notes their tolerances.
    pub values: ModelProto,
    /// Nodes of the graph that the model has.
    pub written: usize,
    /// Nodes that it has not: the op and the reason.
    pub cut: Vec<(String, String)>,
}

/// Writes one binding of a case. `None` when no node could be written.
///
/// # Errors
/// The interpreter refuses the case.
pub fn export(case: &Case, binding: usize) -> Result<Option<Exported>> {
    let inputs = &case.bindings[binding].inputs;
    let recorded = run_recorded(&case.graph, inputs)
        .with_context(|| format!("the interpreter refuses seed {}", case.seed))?;
    let mut e = Export {
        graph: &case.graph,
        symbols: symbols(&case.graph, inputs),
        recorded,
        writer: Writer::default(),
        names: HashMap::new(),
        given: vec![],
        cut: vec![],
        written: vec![],
    };
    for v in case.graph.inputs() {
        e.give(*v)?;
    }
    for id in &case.graph.root().nodes {
        e.node(case.graph.nodes[*id].outputs[0])?;
    }
    Ok((!e.written.is_empty()).then(|| e.finish(case, binding)))
}

/// The sizes that the inputs give the symbols.
fn symbols(graph: &Graph, inputs: &[Tensor]) -> HashMap<SymbolId, i64> {
    let of = |(v, t): (&ValueId, &Tensor)| {
        let shape = graph.tensor(*v).shape.clone();
        let dims: Vec<i64> = t.dims().iter().map(|d| *d as i64).collect();
        shape.into_iter().zip(dims).filter_map(|(d, n)| Some((d.as_sym()?, n))).collect::<Vec<_>>()
    };
    graph.inputs().iter().zip(inputs).flat_map(of).collect()
}

struct Export<'a> {
    graph: &'a Graph,
    symbols: HashMap<SymbolId, i64>,
    recorded: Recorded,
    writer: Writer,
    names: HashMap<ValueId, String>,
    /// Inputs of the model.
    given: Vec<ValueId>,
    cut: Vec<(String, String)>,
    /// Results of written nodes.
    written: Vec<ValueId>,
}

impl Export<'_> {
    fn tensor(&self, v: ValueId) -> Result<&Tensor> {
        let value = self.recorded.values[v].as_ref().context("a value that was never computed")?;
        Ok(value.tensor())
    }

    fn give(&mut self, v: ValueId) -> Result<()> {
        self.names.insert(v, format!("x{}", v.0));
        self.given.push(v);
        Ok(())
    }

    /// Writes or cuts the node of a value.
    fn node(&mut self, v: ValueId) -> Result<()> {
        let node = self.graph.def_node(v).context("a result has a node")?;
        if let Op::Const(_) = node.op {
            let tensor = self.tensor(v)?.clone();
            self.names.insert(v, self.writer.constant(&tensor));
            return Ok(());
        }
        let mut op = node.op.clone();
        let known = |s: SymbolId| self.symbols.get(&s).copied();
        op.for_each_dim_mut(&mut |d: &mut Dim| *d = d.eval(&known).unwrap_or(0).into());
        let mut writer = std::mem::take(&mut self.writer);
        let operand =
            |v: &ValueId| Ok(Operand { name: self.names[v].clone(), tensor: self.tensor(*v)? });
        let operands: Vec<Operand<'_>> = node.inputs.iter().map(operand).collect::<Result<_>>()?;
        writer.source = format!("v{}", v.0);
        let before = (writer.nodes.len(), writer.initializers.len());
        let written = match undefined::undefined(&op, &operands) {
            Some(reason) => Err(reason.to_string()),
            None => ops::write(&mut writer, &op, &operands),
        };
        drop(operands);
        match written {
            Ok(name) => {
                self.names.insert(v, name);
                self.written.push(v);
            }
            Err(reason) => {
                writer.nodes.truncate(before.0);
                writer.initializers.truncate(before.1);
                self.cut.push((op.name().into(), reason));
                self.give(v)?;
            }
        }
        self.writer = writer;
        Ok(())
    }

    /// Results: those of the graph, and what a cut left without a reader.
    fn outputs(&self) -> Vec<ValueId> {
        let used: BTreeSet<&str> =
            self.writer.nodes.iter().flat_map(|n| n.input.iter().map(String::as_str)).collect();
        let wanted = |v: &&ValueId| {
            self.graph.outputs().contains(v) || !used.contains(self.names[*v].as_str())
        };
        self.written.iter().filter(wanted).copied().collect()
    }

    fn finish(self, case: &Case, binding: usize) -> Exported {
        let outputs = self.outputs();
        let info = |v: &ValueId| -> ValueInfoProto {
            value_info(&self.names[v], self.tensor(*v).expect("every node ran"))
        };
        let used: BTreeSet<&String> = self.writer.nodes.iter().flat_map(|n| &n.input).collect();
        let given = self.given.iter().filter(|v| used.contains(&self.names[v]));
        let graph = GraphProto {
            name: Some(case.graph.name.clone()),
            input: given.clone().map(info).collect(),
            output: outputs.iter().map(info).collect(),
            // With their types all values can be outputs: that localises a mismatch.
            value_info: self.written.iter().filter(|v| !outputs.contains(v)).map(info).collect(),
            node: self.writer.nodes.clone(),
            initializer: self.writer.initializers.clone(),
            ..Default::default()
        };
        let known: Vec<&ValueId> = given.chain(&self.written).collect();
        let tensor =
            |v: &&ValueId| tensor_proto(&self.names[v], self.tensor(**v).expect("every node ran"));
        let tolerance = |v: &&ValueId| StringStringEntryProto {
            key: Some(self.names[v].clone()),
            value: Some(tolerance_of(case, binding, **v).to_string()),
        };
        let values = GraphProto {
            name: Some("values".into()),
            initializer: known.iter().map(tensor).collect(),
            ..Default::default()
        };
        let notes = known.iter().map(tolerance).collect();
        let written = self.written.len();
        Exported {
            model: model(graph, vec![]),
            values: model(values, notes),
            written,
            cut: self.cut,
        }
    }
}

fn model(graph: GraphProto, metadata_props: Vec<StringStringEntryProto>) -> ModelProto {
    let opset = OperatorSetIdProto { domain: None, version: Some(OPSET) };
    ModelProto {
        ir_version: Some(11),
        opset_import: vec![opset],
        producer_name: Some("cascata-tests".into()),
        graph: Some(graph),
        metadata_props,
        ..Default::default()
    }
}

impl Exported {
    /// Every value by name, with its tolerance.
    fn values(&self) -> Result<HashMap<String, (Tensor, f64)>> {
        let graph = self.values.graph.as_ref().context("values have a graph")?;
        let notes = &self.values.metadata_props;
        let tolerances = notes.iter().filter_map(|n| n.value.as_ref()?.parse::<f64>().ok());
        let read = |(t, tolerance): (&TensorProto, f64)| {
            let name = t.name.clone().context("values have names")?;
            Ok((name, (writer::read_tensor(t)?, tolerance)))
        };
        graph.initializer.iter().zip(tolerances).map(read).collect()
    }

    /// Writes `model.onnx` and `values.onnx` into a folder, which is made.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("model.onnx"), self.model.encode_to_vec())?;
        std::fs::write(folder.join("values.onnx"), self.values.encode_to_vec())?;
        Ok(())
    }
}
