//! Models built in memory, through import and interpreter.

use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use super::{Import, ImportError, ImportOptions, import_bytes};
use cascata_ir::interp::{self, Tensor};
use prost::Message;

mod control;
mod files;
mod fuzz;
mod hostile;
mod random;
mod recurrent;
mod sequences;
mod shapes;
mod values;

const FLOAT: i32 = 1;
const INT64: i32 = 7;
const BOOL: i32 = 9;

/// A graph under construction.
#[derive(Clone, Default)]
struct Build(GraphProto);

impl Build {
    /// Dims are numbers, names, or "?" for neither.
    fn input(mut self, name: &str, dtype: i32, dims: &[&str]) -> Self {
        self.0.input.push(info(name, dtype, Some(dims)));
        self
    }

    fn output(mut self, name: &str) -> Self {
        self.0.output.push(ValueInfoProto { name: Some(name.into()), ..Default::default() });
        self
    }

    fn i64s(mut self, name: &str, dims: &[i64], values: &[i64]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.0.initializer.push(raw_tensor(name, INT64, dims, raw));
        self
    }

    fn f32s(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.0.initializer.push(raw_tensor(name, FLOAT, dims, raw));
        self
    }

    /// Inputs and outputs are comma-separated; "" is an absent input.
    fn node(self, op: &str, inputs: &str, outputs: &str) -> Self {
        self.node_with(op, inputs, outputs, vec![])
    }

    fn node_with(
        mut self,
        op: &str,
        inputs: &str,
        outputs: &str,
        attribute: Vec<AttributeProto>,
    ) -> Self {
        let names = |list: &str| match list {
            "" => vec![],
            list => list.split(',').map(str::to_string).collect(),
        };
        self.0.node.push(NodeProto {
            op_type: Some(op.into()),
            input: names(inputs),
            output: names(outputs),
            attribute,
            ..Default::default()
        });
        self
    }

    fn model(self, opset: i64) -> ModelProto {
        let graph = GraphProto { name: Some("test".into()), ..self.0 };
        let version = OperatorSetIdProto { domain: None, version: Some(opset) };
        ModelProto { graph: Some(graph), opset_import: vec![version], ..Default::default() }
    }

    fn import(self, opset: i64) -> Result<Import, ImportError> {
        self.import_with(opset, &ImportOptions::default())
    }

    fn import_with(self, opset: i64, options: &ImportOptions) -> Result<Import, ImportError> {
        load(&self.model(opset), options)
    }

    /// Imports, verifies and runs.
    fn run(self, opset: i64, inputs: &[Tensor]) -> Vec<Tensor> {
        let imported = self.import(opset).expect("the model is imported");
        cascata_ir::verify::verify(&imported.graph).expect("the graph is valid");
        interp::run(&imported.graph, inputs).expect("the graph runs")
    }

    /// The text of the error.
    fn refused(self, opset: i64) -> String {
        self.import(opset).expect_err("the model is refused").to_string()
    }
}

fn load(model: &ModelProto, options: &ImportOptions) -> Result<Import, ImportError> {
    import_bytes(model.encode_to_vec().into(), options)
}

fn info(name: &str, dtype: i32, dims: Option<&[&str]>) -> ValueInfoProto {
    let dim = |text: &&str| Dimension {
        value: match (text.parse(), *text) {
            (Ok(n), _) => Some(dimension::Value::DimValue(n)),
            (_, "?") => None,
            (_, name) => Some(dimension::Value::DimParam(name.into())),
        },
        denotation: None,
    };
    let shape = dims.map(|d| TensorShapeProto { dim: d.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(dtype), shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    let ty = TypeProto { value, denotation: None };
    ValueInfoProto { name: Some(name.into()), r#type: Some(ty), ..Default::default() }
}

fn raw_tensor(name: &str, dtype: i32, dims: &[i64], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        data_type: Some(dtype),
        dims: dims.to_vec(),
        raw_data: Some(raw.into()),
        ..Default::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(kind.into()), ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i: Some(i), ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: Some(s.into()), ..attribute(name, AttributeType::String) }
}

fn body(name: &str, graph: Build) -> AttributeProto {
    AttributeProto { g: Some(graph.0), ..attribute(name, AttributeType::Graph) }
}

/// The types of the outputs as text.
fn output_types(import: &Import) -> Vec<String> {
    let graph = &import.graph;
    graph.outputs().iter().map(|v| graph.ty(*v).display(&graph.symbols)).collect()
}

fn op_names(import: &Import) -> Vec<&'static str> {
    let graph = &import.graph;
    graph.root().nodes.iter().map(|n| graph.nodes[*n].op.name()).collect()
}
