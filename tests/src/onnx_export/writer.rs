//! Names, nodes and initializers of an ONNX graph under construction.

use anyhow::{Context, Result};
use cascata_frontends::onnx::proto::attribute_proto::AttributeType;
use cascata_frontends::onnx::proto::tensor_proto::DataType;
use cascata_frontends::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use cascata_frontends::onnx::proto::{
    AttributeProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use cascata_ir::interp::Tensor;
use cascata_types::DType;

/// What has been written so far.
#[derive(Default)]
pub(super) struct Writer {
    pub nodes: Vec<NodeProto>,
    pub initializers: Vec<TensorProto>,
    /// Names nodes after the graph's node that they stand for.
    pub source: String,
    /// Names given so far.
    names: usize,
}

impl Writer {
    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    /// Adds a node with one result and gives the result's name.
    pub fn node<S: AsRef<str>>(
        &mut self,
        op: &str,
        inputs: &[S],
        attribute: Vec<AttributeProto>,
    ) -> String {
        let result = self.name("t");
        self.nodes.push(NodeProto {
            name: Some(format!("{}_{}", self.source, self.nodes.len())),
            op_type: Some(op.into()),
            input: inputs.iter().map(|s| s.as_ref().into()).collect(),
            output: vec![result.clone()],
            attribute,
            ..Default::default()
        });
        result
    }

    /// Adds an initializer and gives its name.
    pub fn constant(&mut self, tensor: &Tensor) -> String {
        let name = self.name("k");
        self.initializers.push(tensor_proto(&name, tensor));
        name
    }

    /// An `i64[n]` initializer.
    pub fn ints(&mut self, values: &[i64]) -> String {
        self.constant(&Tensor::vector(values.to_vec()))
    }
}

/// The number that ONNX gives the dtype.
fn data_type(dtype: DType) -> i32 {
    let kind = match dtype {
        DType::Bool => DataType::Bool,
        DType::I8 => DataType::Int8,
        DType::U8 => DataType::Uint8,
        DType::I16 => DataType::Int16,
        DType::U16 => DataType::Uint16,
        DType::I32 => DataType::Int32,
        DType::U32 => DataType::Uint32,
        DType::I64 => DataType::Int64,
        DType::U64 => DataType::Uint64,
        DType::F16 => DataType::Float16,
        DType::BF16 => DataType::Bfloat16,
        DType::F32 => DataType::Float,
        DType::F64 => DataType::Double,
        DType::Str => DataType::String,
    };
    kind as i32
}

/// A tensor with a name.
pub(super) fn tensor_proto(name: &str, tensor: &Tensor) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: tensor.dims().iter().map(|d| *d as i64).collect(),
        data_type: Some(data_type(tensor.dtype())),
        raw_data: Some(tensor.to_le_bytes().into()),
        ..Default::default()
    }
}

/// The tensor again.
pub(super) fn read_tensor(proto: &TensorProto) -> Result<Tensor> {
    let kind = proto.data_type.context("tensors have a type")?;
    let dtype = DType::ALL.into_iter().find(|d| data_type(*d) == kind).context("a known type")?;
    let dims: Vec<usize> = proto.dims.iter().map(|d| *d as usize).collect();
    let bytes = proto.raw_data.as_ref().context("tensors have bytes")?;
    Ok(Tensor::from_le_bytes(dtype, &dims, bytes)?)
}

/// The declaration of an input or output of this tensor's type.
pub(super) fn value_info(name: &str, tensor: &Tensor) -> ValueInfoProto {
    let dim = |d: &usize| Dimension {
        value: Some(dimension::Value::DimValue(*d as i64)),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: tensor.dims().iter().map(dim).collect() };
    let ty = type_proto::Tensor { elem_type: Some(data_type(tensor.dtype())), shape: Some(shape) };
    let value = Some(type_proto::Value::TensorType(ty));
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value, ..Default::default() }),
        ..Default::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(kind as i32), ..Default::default() }
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i: Some(i), ..attribute(name, AttributeType::Int) }
}

pub(super) fn flag(name: &str, on: bool) -> AttributeProto {
    int(name, i64::from(on))
}

pub(super) fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto { ints, ..attribute(name, AttributeType::Ints) }
}

pub(super) fn float(name: &str, f: f64) -> AttributeProto {
    AttributeProto { f: Some(f as f32), ..attribute(name, AttributeType::Float) }
}

pub(super) fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: Some(s.into()), ..attribute(name, AttributeType::String) }
}

pub(super) fn tensor(name: &str, t: &Tensor) -> AttributeProto {
    AttributeProto { t: Some(tensor_proto("", t)), ..attribute(name, AttributeType::Tensor) }
}

pub(super) fn dtype(name: &str, dtype: DType) -> AttributeProto {
    int(name, i64::from(data_type(dtype)))
}
