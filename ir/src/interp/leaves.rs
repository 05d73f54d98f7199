//! Ops without operands: constants, dims as values, counting, random numbers.

use super::bind::Dims;
use super::error::OpError;
use super::index::{around, no_axis};
use super::tensor::{Tensor, checked_elements};
use crate::graph::Const;
use crate::op::{Distribution, RandomAttrs};
use crate::types::{DType, Dim, Encoding, PanelEncoding};
use std::f64::consts::TAU;

/// The logical elements of a constant.
///
/// # Errors
/// Its dims are no numbers, its bytes do not fit them, or nothing reads its encoding.
pub fn constant(constant: &Const) -> Result<Tensor, OpError> {
    let ty = &constant.ty;
    let dims = Dims::new(&|_| None).shape(&ty.shape)?;
    match &ty.encoding {
        Encoding::Dense => Tensor::from_le_bytes(ty.dtype, &dims, &constant.data),
        Encoding::Panels(p) => unpack(ty.dtype, &dims, p, &constant.data),
        Encoding::Quant(format) if ty.dtype == DType::F32 => {
            Tensor::new(&dims, format.dequantise(&constant.data))
        }
        other => {
            Err(OpError::Unsupported(format!("a constant of {} in encoding {other}", ty.dtype)))
        }
    }
}

/// Takes the logical elements, row-major one K×N matrix after the other, out of
/// packed panels.
fn unpack(dtype: DType, dims: &[usize], p: &PanelEncoding, data: &[u8]) -> Result<Tensor, OpError> {
    let misfit = || OpError::Shape(format!("dims {dims:?} are not whole packed matrices of {p:?}"));
    let n = checked_elements(dims)? as u64;
    let cut = Some(p).filter(|p| p.is_cut());
    let stored = cut.and_then(PanelEncoding::checked_elements).ok_or_else(misfit)?;
    let size = p.k.checked_mul(p.n).ok_or_else(misfit)?;
    if size == 0 || !n.is_multiple_of(size) {
        return if n == 0 { Tensor::zeros(dtype, dims) } else { Err(misfit()) };
    }
    let all = usize::try_from(stored).ok().and_then(|s| s.checked_mul((n / size) as usize));
    let packed = Tensor::from_le_bytes(dtype, &[all.ok_or_else(misfit)?], data)?;
    let offset = |i: u64| {
        let (matrix, at) = (i / size, i % size);
        (matrix * stored + p.offset(at / p.n, at % p.n)) as usize
    };
    let offsets: Vec<usize> = (0..n).map(offset).collect();
    Tensor::from_data(dims, packed.data().take(&offsets))
}

/// The values of dims as `i64`.
pub(super) fn dim_values(list: &[Dim], scalar: bool, dims: &Dims) -> Result<Tensor, OpError> {
    let values = list.iter().map(|d| dims.value(d)).collect::<Result<Vec<i64>, _>>()?;
    if scalar { Tensor::new(&[], values) } else { Tensor::new(&[values.len()], values) }
}

/// Each element's index along `axis`.
pub(super) fn iota(dtype: DType, dims: &[usize], axis: usize) -> Result<Tensor, OpError> {
    let n = checked_elements(dims)?;
    if axis >= dims.len() {
        return Err(no_axis(axis, dims));
    }
    let (_, len, inner) = around(dims, axis)?;
    let values: Vec<i128> = (0..n).map(|flat| (flat / inner % len) as i128).collect();
    Tensor::from_i128(dtype, dims, &values)
}

/// Pseudo-random numbers. Element `i` depends on the seed and `i` only, so that any
/// loop order gives the same tensor: `uniform` takes word `i` of the seed's stream,
/// `normal` words `2i` and `2i + 1` (Box and Muller 1958).
pub(super) fn random(attrs: &RandomAttrs, dims: &[usize]) -> Result<Tensor, OpError> {
    let n = checked_elements(dims)? as u64;
    let unit = |i: u64| (stream_word(attrs.seed, i) >> 11) as f64 / (1u64 << 53) as f64;
    let values = match attrs.distribution {
        Distribution::Uniform { low, high } => {
            let (low, high) = (low.to_f64(), high.to_f64());
            (0..n).map(|i| low + (high - low) * unit(i)).collect()
        }
        Distribution::Normal { mean, scale } => {
            let (mean, scale) = (mean.to_f64(), scale.to_f64());
            let normal = |i: u64| {
                // 1 − u is never 0, so the logarithm is finite.
                let radius = (-2.0 * libm::log(1.0 - unit(2 * i))).sqrt();
                radius * libm::cos(TAU * unit(2 * i + 1))
            };
            (0..n).map(|i| mean + scale * normal(i)).collect()
        }
    };
    Tensor::from_f64(attrs.dtype, dims, values)
}

/// Word `i` of a stream: SplitMix64 (Steele et al. 2014), whose state is `seed + i·γ`.
fn stream_word(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
