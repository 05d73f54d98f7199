//! Host tensors: dense, row-major, typed.
//!
//! The interpreter keeps the *logical* elements of every tensor, whatever its
//! encoding says: `Pack` to panels is the identity here.

use super::error::OpError;
use crate::scalar::{Num, cast_value};
use crate::types::{DType, Scalar, text};
use crate::with_num;
use half::{bf16, f16};

/// The most elements that one tensor may have here (2 GiB of f64): a wrong dim
/// must give an error and not exhaust the machine.
pub const MAX_ELEMENTS: usize = 1 << 28;

/// A dense tensor: `data` holds the product of `dims` elements, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dims: Vec<usize>,
    data: Data,
}

/// The elements of a tensor, by dtype.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the dtype names are the documentation")]
pub enum Data {
    Bool(Vec<bool>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    I16(Vec<i16>),
    U16(Vec<u16>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Str(Vec<String>),
}

/// A Rust type that is the element of some [`Data`].
pub trait Element: Clone + Default + 'static {
    /// The dtype.
    const DTYPE: DType;
    /// Elements of this type as data.
    fn wrap_data(values: Vec<Self>) -> Data;
    /// The elements, if they have this type.
    fn values(data: &Data) -> Option<&[Self]>;
    /// The elements as a vector to change, if they have this type.
    fn values_mut(data: &mut Data) -> Option<&mut Vec<Self>>;
}

/// Evaluates `$body` with `$v` naming the typed vector.
macro_rules! each_data {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            Data::Bool($v) => $body,
            Data::I8($v) => $body,
            Data::U8($v) => $body,
            Data::I16($v) => $body,
            Data::U16($v) => $body,
            Data::I32($v) => $body,
            Data::U32($v) => $body,
            Data::I64($v) => $body,
            Data::U64($v) => $body,
            Data::F16($v) => $body,
            Data::BF16($v) => $body,
            Data::F32($v) => $body,
            Data::F64($v) => $body,
            Data::Str($v) => $body,
        }
    };
}

macro_rules! elements {
    ($($T:ty, $V:ident;)*) => {
        $(impl Element for $T {
            const DTYPE: DType = DType::$V;
            fn wrap_data(values: Vec<Self>) -> Data {
                Data::$V(values)
            }
            fn values(data: &Data) -> Option<&[Self]> {
                match data { Data::$V(v) => Some(v), _ => None }
            }
            fn values_mut(data: &mut Data) -> Option<&mut Vec<Self>> {
                match data { Data::$V(v) => Some(v), _ => None }
            }
        })*

        impl Data {
            /// The dtype of the elements.
            pub fn dtype(&self) -> DType {
                match self { $(Data::$V(_) => DType::$V,)* }
            }
        }
    };
}

elements! {
    bool, Bool; i8, I8; u8, U8; i16, I16; u16, U16; i32, I32; u32, U32; i64, I64; u64, U64;
    f16, F16; bf16, BF16; f32, F32; f64, F64; String, Str;
}

/// `Err(TooLarge)` unless a tensor of these dims is allowed; else its number of elements.
pub(super) fn checked_elements(dims: &[usize]) -> Result<usize, OpError> {
    let too_large = || OpError::TooLarge { dims: dims.to_vec(), limit: MAX_ELEMENTS };
    // An empty axis counts as 1 here, so that no stride or partial product overflows.
    let fold = |n: usize, &d: &usize| n.checked_mul(d.max(1)).filter(|&n| n <= MAX_ELEMENTS);
    let n = dims.iter().try_fold(1, fold).ok_or_else(too_large)?;
    Ok(if dims.contains(&0) { 0 } else { n })
}

impl Data {
    /// Number of elements.
    pub fn len(&self) -> usize {
        each_data!(self, v => v.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements at `indices`, in that order; the indices are in range.
    pub(super) fn take(&self, indices: &[usize]) -> Data {
        fn pick<T: Element>(v: &[T], indices: &[usize]) -> Data {
            T::wrap_data(indices.iter().map(|&i| v[i].clone()).collect())
        }
        each_data!(self, v => pick(v, indices))
    }

    /// As `take`, with the one element of `fill` where there is no index.
    /// `None` if `fill` has another dtype or no element.
    pub(super) fn take_or(&self, indices: &[Option<usize>], fill: &Data) -> Option<Data> {
        fn pick<T: Element>(v: &[T], indices: &[Option<usize>], fill: &Data) -> Option<Data> {
            let fill = T::values(fill)?.first()?;
            let at = |i: &Option<usize>| i.map_or(fill, |i| &v[i]).clone();
            Some(T::wrap_data(indices.iter().map(at).collect()))
        }
        each_data!(self, v => pick(v, indices, fill))
    }

    /// Appends elements of the same dtype; `false` if it differs.
    pub(super) fn append(&mut self, other: &Data) -> bool {
        fn join<T: Element>(v: &mut Vec<T>, other: &Data) -> bool {
            T::values(other).map(|o| v.extend_from_slice(o)).is_some()
        }
        each_data!(self, v => join(v, other))
    }

    /// `n` default elements (0, false or "").
    pub(super) fn zeros(dtype: DType, n: usize) -> Data {
        macro_rules! by_dtype {
            ($($V:ident)*) => { match dtype { $(DType::$V => Data::$V(vec![Default::default(); n]),)* } };
        }
        by_dtype!(Bool I8 U8 I16 U16 I32 U32 I64 U64 F16 BF16 F32 F64 Str)
    }
}

impl Tensor {
    /// A tensor of typed elements.
    ///
    /// # Errors
    /// The number of elements is not the product of `dims`, or is over [`MAX_ELEMENTS`].
    pub fn new<T: Element>(dims: &[usize], values: Vec<T>) -> Result<Self, OpError> {
        Self::from_data(dims, T::wrap_data(values))
    }

    /// A tensor of elements of any dtype.
    ///
    /// # Errors
    /// The number of elements is not the product of `dims`, or is over [`MAX_ELEMENTS`].
    pub fn from_data(dims: &[usize], data: Data) -> Result<Self, OpError> {
        let expected = checked_elements(dims)?;
        if data.len() != expected {
            return Err(OpError::ElementCount { dims: dims.to_vec(), found: data.len() });
        }
        Ok(Self { dims: dims.to_vec(), data })
    }

    /// A rank-0 tensor.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self { dims: vec![], data: T::wrap_data(vec![value]) }
    }

    /// A rank-1 tensor.
    pub fn vector<T: Element>(values: Vec<T>) -> Self {
        Self { dims: vec![values.len()], data: T::wrap_data(values) }
    }

    /// The same number everywhere.
    pub(super) fn full(dims: &[usize], value: Scalar) -> Result<Self, OpError> {
        let n = checked_elements(dims)?;
        let data = with_num!(value.dtype, T => {
            T::wrap_data(vec![<T as Num>::of_bits(value.bits); n])
        }, str => Data::zeros(DType::Str, n));
        Ok(Self { dims: dims.to_vec(), data })
    }

    /// Elements 0, false or "".
    pub(super) fn zeros(dtype: DType, dims: &[usize]) -> Result<Self, OpError> {
        Ok(Self { dims: dims.to_vec(), data: Data::zeros(dtype, checked_elements(dims)?) })
    }

    /// Floats computed in `f64`, rounded once to `dtype`; integers saturate.
    ///
    /// # Errors
    /// As [`Tensor::new`]; also when `dtype` is a string.
    pub fn from_f64(dtype: DType, dims: &[usize], values: Vec<f64>) -> Result<Self, OpError> {
        let data = with_num!(dtype, T => {
            T::wrap_data(values.into_iter().map(<T as Num>::of_f64).collect())
        }, str => return Err(OpError::Unsupported("numbers as strings".into())));
        Self::from_data(dims, data)
    }

    /// Integers wrapped to `dtype`; floats round.
    ///
    /// # Errors
    /// As [`Tensor::from_f64`].
    pub fn from_i128(dtype: DType, dims: &[usize], values: &[i128]) -> Result<Self, OpError> {
        let data = with_num!(dtype, T => {
            T::wrap_data(values.iter().map(|&x| <T as Num>::wrap(x)).collect())
        }, str => return Err(OpError::Unsupported("numbers as strings".into())));
        Self::from_data(dims, data)
    }

    /// Elements from little-endian bytes (bool: one byte, non-zero is true; strings: the
    /// length in bytes as u32, then UTF-8).
    ///
    /// # Errors
    /// The bytes do not fit the dims, the tensor is too large, or a string is not UTF-8.
    pub fn from_le_bytes(dtype: DType, dims: &[usize], bytes: &[u8]) -> Result<Self, OpError> {
        let Some(size) = dtype.size_bytes() else {
            return Self::new(dims, strings_from_bytes(bytes)?);
        };
        if !bytes.len().is_multiple_of(size) {
            return Err(OpError::ElementCount { dims: dims.to_vec(), found: bytes.len() / size });
        }
        let word = |chunk: &[u8]| {
            let mut le = [0u8; 8];
            le[..size].copy_from_slice(chunk);
            u64::from_le_bytes(le)
        };
        let data = with_num!(dtype, T => {
            T::wrap_data(bytes.chunks_exact(size).map(|c| <T as Num>::of_bits(word(c))).collect())
        }, str => Data::Str(vec![]));
        Self::from_data(dims, data)
    }

    /// The elements as little-endian bytes; see [`Tensor::from_le_bytes`].
    pub fn to_le_bytes(&self) -> Vec<u8> {
        fn bytes<T: Num + Element>(data: &Data) -> Vec<u8> {
            let values = T::values(data).unwrap_or_default();
            let size = <T as Num>::DTYPE.size_bytes().unwrap_or(0);
            values.iter().flat_map(|x| x.bits().to_le_bytes().into_iter().take(size)).collect()
        }
        with_num!(self.dtype(), T => bytes::<T>(&self.data), str => strings_to_bytes(&self.data))
    }

    /// Sizes, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of dims.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, if they have this type.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        T::values(&self.data)
    }

    /// The elements as `f64`; `None` for strings. Large 64-bit integers round.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        fn view<T: Num + Element>(data: &Data) -> Option<Vec<f64>> {
            Some(T::values(data)?.iter().map(|x| x.to_f64()).collect())
        }
        with_num!(self.dtype(), T => view::<T>(&self.data), str => None)
    }

    /// The elements as integers (floats truncate); `None` for strings.
    pub fn to_i128(&self) -> Option<Vec<i128>> {
        fn view<T: Num + Element>(data: &Data) -> Option<Vec<i128>> {
            Some(T::values(data)?.iter().map(|x| x.to_i128()).collect())
        }
        with_num!(self.dtype(), T => view::<T>(&self.data), str => None)
    }

    /// The elements converted to another dtype as `Op::Cast` does; `None` if exactly one
    /// side is a string.
    pub fn cast(&self, to: DType) -> Option<Tensor> {
        if self.dtype() == to {
            return Some(self.clone());
        }
        fn convert<T: Num + Element, U: Num + Element>(data: &Data) -> Option<Data> {
            let values = T::values(data)?;
            Some(U::wrap_data(values.iter().map(|&x| cast_value::<T, U>(x)).collect()))
        }
        let data = with_num!(self.dtype(), T => {
            with_num!(to, U => convert::<T, U>(&self.data), str => None)
        }, str => None)?;
        Some(Self { dims: self.dims.clone(), data })
    }

    /// The same elements under other dims.
    ///
    /// # Errors
    /// The number of elements differs.
    pub fn with_dims(&self, dims: &[usize]) -> Result<Tensor, OpError> {
        Self::from_data(dims, self.data.clone())
    }
}

fn strings_from_bytes(bytes: &[u8]) -> Result<Vec<String>, OpError> {
    let broken = || OpError::Shape("the bytes of a string constant are broken".into());
    let texts = text::unpack(bytes).ok_or_else(broken)?;
    Ok(texts.into_iter().map(str::to_string).collect())
}

fn strings_to_bytes(data: &Data) -> Vec<u8> {
    let texts = String::values(data).unwrap_or_default().iter().map(String::as_str);
    text::pack(texts).expect("strings of less than 4 GiB")
}
