//! `TensorProto` to typed little-endian bytes.

use super::complexity::MAX_RANK;
use super::error::ImportError;
use super::external::ExternalFiles;
use super::narrow::Narrow;
use super::proto::{TensorProto, tensor_proto::DataLocation};
use bytes::Bytes;
use cascata_ir::types::{DType, TensorType, text};

/// A constant tensor of the model.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// What the bytes stand for, if not for numbers of the dtype.
    pub narrow: Option<Narrow>,
    /// Dims, not negative.
    pub dims: Vec<i64>,
    /// Little-endian elements, row-major.
    pub data: Bytes,
}

impl Tensor {
    /// Its type.
    pub fn ty(&self) -> TensorType {
        TensorType::fixed(self.dtype, &self.dims)
    }

    /// A vector of `i64`.
    pub fn from_i64s(dims: Vec<i64>, values: &[i64]) -> Tensor {
        let data = values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into();
        Tensor { dtype: DType::I64, narrow: None, dims, data }
    }

    /// Strings.
    ///
    /// # Errors
    /// One is longer than 4 GiB.
    pub fn from_strings(dims: Vec<i64>, texts: &[String]) -> Result<Tensor, String> {
        let packed = text::pack(texts.iter().map(String::as_str)).ok_or("a string is too long")?;
        Ok(Tensor { dtype: DType::Str, narrow: None, dims, data: packed.into() })
    }

    /// A vector of `f32`.
    pub fn from_f32s(dims: Vec<i64>, values: &[f32]) -> Tensor {
        let data = values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into();
        Tensor { dtype: DType::F32, narrow: None, dims, data }
    }
}

/// The dtype of an ONNX data type code.
///
/// # Errors
/// Names the type when it has no counterpart here.
pub fn dtype(code: i32) -> Result<DType, String> {
    use super::proto::tensor_proto::DataType as T;
    let known = T::try_from(code).map_err(|_| format!("data type code {code} does not exist"))?;
    Ok(match known {
        T::Float => DType::F32,
        T::Uint8 => DType::U8,
        T::Int8 => DType::I8,
        T::Uint16 => DType::U16,
        T::Int16 => DType::I16,
        T::Int32 => DType::I32,
        T::Int64 => DType::I64,
        T::String => DType::Str,
        T::Bool => DType::Bool,
        T::Float16 => DType::F16,
        T::Double => DType::F64,
        T::Uint32 => DType::U32,
        T::Uint64 => DType::U64,
        T::Bfloat16 => DType::BF16,
        T::Undefined => return Err("no element type is given".into()),
        other => return Err(format!("element type {} is not supported", other.as_str_name())),
    })
}

/// Reads a tensor: raw bytes, typed fields or an external file.
///
/// # Errors
/// Names `what` and what is wrong: an unsupported type, a negative or overflowing size,
/// or bytes that do not fit the dims.
pub fn read(
    tensor: &TensorProto,
    what: &str,
    external: &mut ExternalFiles,
) -> Result<Tensor, ImportError> {
    let fail = |reason: String| ImportError::model(what, reason);
    let narrow = Narrow::of_code(tensor.data_type());
    let dtype = match narrow {
        Some(narrow) => narrow.storage(),
        None => dtype(tensor.data_type()).map_err(fail)?,
    };
    if tensor.segment.is_some() {
        return Err(fail("segmented tensors are not supported".into()));
    }
    if tensor.dims.len() > MAX_RANK {
        return Err(fail(format!("{} dims, at most {MAX_RANK} are supported", tensor.dims.len())));
    }
    let Some(width) = dtype.size_bytes() else {
        return strings(tensor).map_err(fail);
    };
    let count = byte_len(&tensor.dims, width).map_err(fail)?;
    let per_byte = narrow.map_or(1, |n| (8 / n.bits()) as usize);
    let bytes = count.div_ceil(per_byte);
    let data = if tensor.data_location() == DataLocation::External {
        external.read(tensor, what)?
    } else if let Some(raw) = &tensor.raw_data {
        raw.clone()
    } else {
        typed_fields(tensor, dtype)
    };
    if data.len() != bytes {
        return Err(fail(format!(
            "{dtype}{:?} takes {bytes} bytes, but there are {}",
            tensor.dims,
            data.len()
        )));
    }
    if dtype == DType::Bool && data.iter().any(|&b| b > 1) {
        return Err(fail("a bool element is neither 0 nor 1".into()));
    }
    let data = match narrow {
        Some(narrow) if per_byte > 1 => narrow.unpack(&data, count).into(),
        _ => data,
    };
    Ok(Tensor { dtype, narrow, dims: tensor.dims.clone(), data })
}

/// Strings stand in a field of their own and nowhere else.
fn strings(tensor: &TensorProto) -> Result<Tensor, String> {
    if tensor.raw_data.is_some() || tensor.data_location() == DataLocation::External {
        return Err("a tensor of strings keeps them in string_data, not as raw bytes".into());
    }
    let (count, found) = (byte_len(&tensor.dims, 1)?, tensor.string_data.len());
    if count != found {
        return Err(format!("str{:?} has {count} elements, but there are {found}", tensor.dims));
    }
    let utf8 = |bytes: &Vec<u8>| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_string()),
        Err(_) => Err("a string is not UTF-8, which is not supported".to_string()),
    };
    let texts: Vec<String> = tensor.string_data.iter().map(utf8).collect::<Result<_, _>>()?;
    Tensor::from_strings(tensor.dims.clone(), &texts)
}

fn byte_len(dims: &[i64], width: usize) -> Result<usize, String> {
    let mut bytes = Some(width);
    for &dim in dims {
        let size = usize::try_from(dim).map_err(|_| format!("dim {dim} is negative"))?;
        bytes = bytes.and_then(|b| b.checked_mul(size));
    }
    bytes.ok_or_else(|| format!("the size of dims {dims:?} does not fit memory"))
}

/// Elements from the field that ONNX prescribes for each dtype; narrow types sit in `int32_data`.
fn typed_fields(tensor: &TensorProto, dtype: DType) -> Bytes {
    fn collect<T: Copy, const N: usize>(xs: &[T], f: impl Fn(T) -> [u8; N]) -> Bytes {
        xs.iter().flat_map(|&x| f(x)).collect::<Vec<u8>>().into()
    }
    let ints = &tensor.int32_data;
    match dtype {
        DType::F32 => collect(&tensor.float_data, f32::to_le_bytes),
        DType::F64 => collect(&tensor.double_data, f64::to_le_bytes),
        DType::I64 => collect(&tensor.int64_data, i64::to_le_bytes),
        DType::U64 => collect(&tensor.uint64_data, u64::to_le_bytes),
        DType::U32 => collect(&tensor.uint64_data, |x| (x as u32).to_le_bytes()),
        DType::I32 => collect(ints, i32::to_le_bytes),
        DType::I8 | DType::U8 => collect(ints, |x| (x as u8).to_le_bytes()),
        DType::Bool => collect(ints, |x| [(x != 0) as u8]),
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => {
            collect(ints, |x| (x as u16).to_le_bytes())
        }
        DType::Str => Bytes::new(),
    }
}
