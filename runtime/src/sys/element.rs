//! Rust types that are elements of tensors.

use cascata_types::DType;

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is the element of a tensor: the fixed-size numbers and `bool`.
/// (`f16` and `bf16` tensors are read as bytes.)
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// The dtype of such tensors.
    const DTYPE: DType;
    /// Whether these bytes are elements of this type (all are, except for `bool`).
    #[doc(hidden)]
    fn valid(_bytes: &[u8]) -> bool {
        true
    }
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $ty {}
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;
        }
    )*};
}

elements!(i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, u32 => U32,
          i64 => I64, u64 => U64, f32 => F32, f64 => F64);

impl sealed::Sealed for bool {}
impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn valid(bytes: &[u8]) -> bool {
        bytes.iter().all(|b| *b <= 1)
    }
}

/// The bytes of a slice of elements.
pub(crate) fn bytes_of<T: Element>(slice: &[T]) -> &[u8] {
    // SAFETY: elements (a sealed set) have no padding; u8 has no alignment.
    unsafe { std::slice::from_raw_parts(slice.as_ptr().cast(), size_of_val(slice)) }
}

/// The bytes of a mutable slice of numbers; `None` for `bool`, which not all bytes are.
pub(crate) fn bytes_of_mut<T: Element>(slice: &mut [T]) -> Option<&mut [u8]> {
    if T::DTYPE == DType::Bool {
        return None;
    }
    // SAFETY: as in `bytes_of`; every bit pattern is a number.
    Some(unsafe { std::slice::from_raw_parts_mut(slice.as_mut_ptr().cast(), size_of_val(slice)) })
}

/// The elements in `bytes`; `None` if they are misaligned, of a wrong length, or invalid.
pub(crate) fn elements_of<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    let fits =
        bytes.as_ptr().cast::<T>().is_aligned() && bytes.len().is_multiple_of(size_of::<T>());
    if !fits || !T::valid(bytes) {
        return None;
    }
    // SAFETY: aligned, in bounds, and valid for `T`, all checked above.
    Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
}
