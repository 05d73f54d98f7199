//! Operands and results of a run.

use crate::scalar::Num;
use crate::with_num;
use cascata_types::{DType, Scalar};

/// An operand or result of a launch: elements of one dtype, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBuffer {
    /// Element type; never `Str`.
    pub dtype: DType,
    /// The elements.
    pub bytes: Vec<u8>,
    /// The first element that holds nothing yet: [`HostBuffer::undefined`] starts with
    /// 0, a run moves it to the first element that it did not write. A kernel must write
    /// before it reads unless everything is defined.
    pub first_undefined: Option<usize>,
}

/// What undefined elements hold, so that a back end's use of them shows.
const POISON: u8 = 0xa5;

impl HostBuffer {
    /// Holds these elements.
    pub fn of<T: Num>(values: &[T]) -> Self {
        let size = T::DTYPE.size_bytes().unwrap_or(0);
        let bytes = values.iter().flat_map(|x| x.bits().to_le_bytes().into_iter().take(size));
        Self { dtype: T::DTYPE, bytes: bytes.collect(), first_undefined: None }
    }

    /// Holds these values rounded to `dtype`, as [`Scalar::from_f64`].
    pub fn rounded(dtype: DType, values: &[f64]) -> Self {
        with_num!(dtype, T => {
            let values: Vec<T> =
                values.iter().map(|x| T::of_bits(Scalar::from_f64(dtype, *x).bits)).collect();
            Self::of(&values)
        }, str => Self::undefined(dtype, 0))
    }

    /// Has room for `len` elements.
    pub fn undefined(dtype: DType, len: usize) -> Self {
        let bytes = vec![POISON; len * dtype.size_bytes().unwrap_or(0)];
        Self { dtype, bytes, first_undefined: (len > 0).then_some(0) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size_bytes().unwrap_or(1)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements, when they are of type `T`; empty otherwise.
    pub fn values<T: Num>(&self) -> Vec<T> {
        let size = T::DTYPE.size_bytes().unwrap_or(1);
        if T::DTYPE != self.dtype {
            return Vec::new();
        }
        self.bytes.chunks_exact(size).map(|c| T::of_bits(little_endian(c))).collect()
    }

    /// The elements as scalars.
    pub fn scalars(&self) -> Vec<Scalar> {
        let size = self.dtype.size_bytes().unwrap_or(1);
        let scalar = |c| Scalar { dtype: self.dtype, bits: little_endian(c) };
        self.bytes.chunks_exact(size).map(scalar).collect()
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}
