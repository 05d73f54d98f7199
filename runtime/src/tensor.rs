//! Tensors that callers hand in and get back: dtype, dims, bytes; row-major.

use crate::error::TensorError;
use crate::sys::element::{bytes_of, bytes_of_mut, elements_of};
use crate::sys::memory::{AlignedBuf, OutOfMemory};
use cascata_types::{DType, text};
use std::fmt;

pub use crate::sys::element::Element;

/// An owned tensor; its memory is 64-byte aligned.
pub struct Tensor {
    dtype: DType,
    dims: Vec<i64>,
    data: AlignedBuf,
}

impl Tensor {
    /// A copy of a slice.
    ///
    /// # Errors
    /// The dims do not multiply to the slice's length, or memory is short.
    pub fn from_slice<T: Element>(dims: &[i64], data: &[T]) -> Result<Self, TensorError> {
        TensorView::of(dims, data)?.to_tensor()
    }

    /// A tensor of zeros (`false`).
    ///
    /// # Errors
    /// Negative or too large dims, a dtype of no fixed size, or memory is short.
    pub fn zeros(dtype: DType, dims: &[i64]) -> Result<Self, TensorError> {
        let data = AlignedBuf::zeroed(size_bytes(dtype, dims)?)?;
        Ok(Self { dtype, dims: dims.to_vec(), data })
    }

    /// A tensor of strings.
    ///
    /// # Errors
    /// The dims do not multiply to the number of strings, a string is longer than 4 GiB, or
    /// memory is short.
    pub fn from_strings<T: AsRef<str>>(dims: &[i64], texts: &[T]) -> Result<Self, TensorError> {
        let packed = text::pack(texts.iter().map(AsRef::as_ref));
        let packed = packed.ok_or_else(|| not_strings(dims))?;
        TensorView::new(DType::Str, dims, &packed)?.to_tensor()
    }

    /// The strings of a tensor of strings.
    ///
    /// # Errors
    /// The dtype is another one.
    pub fn strings(&self) -> Result<Vec<&str>, TensorError> {
        self.view().strings()
    }

    /// Stands where a tensor will come; allocates nothing.
    pub(crate) fn empty() -> Self {
        Self { dtype: DType::U8, dims: Vec::new(), data: AlignedBuf::empty() }
    }

    /// A tensor that a kernel will fill.
    pub(crate) fn for_kernel(dtype: DType, dims: &[i64]) -> Result<Self, TensorError> {
        let data = AlignedBuf::for_kernel(size_bytes(dtype, dims)?)?;
        Ok(Self { dtype, dims: dims.to_vec(), data })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dims, outermost first.
    pub fn dims(&self) -> &[i64] {
        &self.dims
    }

    /// The elements' bytes, row-major.
    pub fn bytes(&self) -> &[u8] {
        self.data.as_slice()
    }

    /// The elements' bytes, row-major.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.data.as_mut_slice()
    }

    /// The elements.
    ///
    /// # Errors
    /// The dtype is another one.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        self.view().as_slice()
    }

    /// The elements, copied.
    ///
    /// # Errors
    /// The dtype is another one.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, TensorError> {
        Ok(self.as_slice()?.to_vec())
    }

    /// The tensor, borrowed.
    pub fn view(&self) -> TensorView<'_> {
        TensorView { dtype: self.dtype, dims: &self.dims, bytes: self.bytes() }
    }

    /// The tensor, borrowed to be written.
    pub fn view_mut(&mut self) -> TensorViewMut<'_> {
        TensorViewMut { dtype: self.dtype, dims: &self.dims, bytes: self.data.as_mut_slice() }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor {}", type_text(self.dtype, &self.dims))
    }
}

/// A borrowed tensor: the caller's memory, read in place.
#[derive(Clone, Copy)]
pub struct TensorView<'a> {
    dtype: DType,
    dims: &'a [i64],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// A view of raw little-endian, row-major bytes; each string is its length in bytes (u32)
    /// and UTF-8.
    ///
    /// # Errors
    /// The dims and dtype do not give the number of bytes, the bytes are not aligned to the
    /// element, or they are not as many strings.
    pub fn new(dtype: DType, dims: &'a [i64], bytes: &'a [u8]) -> Result<Self, TensorError> {
        check(dtype, dims, bytes)?;
        Ok(Self { dtype, dims, bytes })
    }

    /// A view of a slice.
    ///
    /// # Errors
    /// The dims do not multiply to the slice's length.
    pub fn of<T: Element>(dims: &'a [i64], data: &'a [T]) -> Result<Self, TensorError> {
        Self::new(T::DTYPE, dims, bytes_of(data))
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dims, outermost first.
    pub fn dims(&self) -> &'a [i64] {
        self.dims
    }

    /// The elements' bytes, row-major.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements.
    ///
    /// # Errors
    /// The dtype is another one, or a `bool` is neither 0 nor 1.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], TensorError> {
        let wrong = TensorError::DType { asked: T::DTYPE, found: self.dtype };
        if T::DTYPE != self.dtype {
            return Err(wrong);
        }
        elements_of(self.bytes).ok_or(wrong)
    }

    /// The strings of a tensor of strings.
    ///
    /// # Errors
    /// The dtype is another one.
    pub fn strings(&self) -> Result<Vec<&'a str>, TensorError> {
        match self.dtype {
            DType::Str => text::unpack(self.bytes).ok_or_else(|| not_strings(self.dims)),
            found => Err(TensorError::DType { asked: DType::Str, found }),
        }
    }

    /// An owned copy.
    ///
    /// # Errors
    /// Memory is short.
    pub fn to_tensor(&self) -> Result<Tensor, TensorError> {
        let data = AlignedBuf::copy_of(self.bytes)?;
        Ok(Tensor { dtype: self.dtype, dims: self.dims.to_vec(), data })
    }
}

impl fmt::Debug for TensorView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorView {}", type_text(self.dtype, self.dims))
    }
}

impl<'a> From<&'a Tensor> for TensorView<'a> {
    fn from(t: &'a Tensor) -> Self {
        t.view()
    }
}

/// A borrowed tensor to be written: the caller's memory, filled in place.
pub struct TensorViewMut<'a> {
    dtype: DType,
    dims: &'a [i64],
    bytes: &'a mut [u8],
}

impl<'a> TensorViewMut<'a> {
    /// A view of raw bytes.
    ///
    /// # Errors
    /// As [`TensorView::new`].
    pub fn new(dtype: DType, dims: &'a [i64], bytes: &'a mut [u8]) -> Result<Self, TensorError> {
        check(dtype, dims, bytes)?;
        Ok(Self { dtype, dims, bytes })
    }

    /// A view of a slice of numbers (not of `bool`).
    ///
    /// # Errors
    /// The dims do not multiply to the slice's length.
    pub fn of<T: Element>(dims: &'a [i64], data: &'a mut [T]) -> Result<Self, TensorError> {
        let bytes =
            bytes_of_mut(data).ok_or(TensorError::DType { asked: T::DTYPE, found: DType::U8 })?;
        Self::new(T::DTYPE, dims, bytes)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dims, outermost first.
    pub fn dims(&self) -> &[i64] {
        self.dims
    }

    /// The elements' bytes, row-major.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The elements' bytes, row-major.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }
}

impl fmt::Debug for TensorViewMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorViewMut {}", type_text(self.dtype, self.dims))
    }
}

/// `f32[2,3]`.
pub(crate) fn type_text(dtype: DType, dims: &[i64]) -> String {
    let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
    format!("{dtype}[{}]", dims.join(","))
}

/// Bytes of a dense tensor.
pub(crate) fn size_bytes(dtype: DType, dims: &[i64]) -> Result<u64, TensorError> {
    let bad = || TensorError::Dims { text: type_text(dtype, dims) };
    let element = dtype.size_bytes().ok_or_else(bad)? as u64;
    let mut bytes = element;
    let mut empty = false;
    for d in dims {
        let d = u64::try_from(*d).map_err(|_| bad())?;
        empty |= d == 0;
        bytes = bytes.checked_mul(d.max(1)).filter(|b| *b <= isize::MAX as u64).ok_or_else(bad)?;
    }
    Ok(if empty { 0 } else { bytes })
}

fn not_strings(dims: &[i64]) -> TensorError {
    TensorError::NotStrings { text: type_text(DType::Str, dims) }
}

fn check(dtype: DType, dims: &[i64], bytes: &[u8]) -> Result<(), TensorError> {
    if dtype == DType::Str {
        // As many bytes as there are strings, for the sake of its checks.
        let count = size_bytes(DType::U8, dims)?;
        let texts = text::unpack(bytes).filter(|t| t.len() as u64 == count);
        return texts.map(|_| ()).ok_or_else(|| not_strings(dims));
    }
    let expected = size_bytes(dtype, dims)?;
    if expected != bytes.len() as u64 {
        let text = type_text(dtype, dims);
        return Err(TensorError::Length { text, expected, found: bytes.len() as u64 });
    }
    let align = dtype.size_bytes().unwrap_or(1);
    if !bytes.is_empty() && !(bytes.as_ptr() as usize).is_multiple_of(align) {
        return Err(TensorError::Misaligned { dtype, align });
    }
    Ok(())
}

impl From<OutOfMemory> for TensorError {
    fn from(e: OutOfMemory) -> Self {
        TensorError::OutOfMemory { bytes: e.bytes }
    }
}
