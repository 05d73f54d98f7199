//! How far a result is from what it must be.

use crate::bundle::Tolerance;
use cascata_types::DType;

/// The distance of `got` from `want` in the tolerance's own measure, as a multiple of what is
/// allowed: at most 1 is right. Infinite where one has a NaN and the other has none.
pub fn excess(dtype: DType, got: &[u8], want: &[u8], tolerance: Tolerance) -> f64 {
    if got == want {
        return 0.0;
    }
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let (Some(got), Some(want)) = (numbers(dtype, got), numbers(dtype, want)) else {
        return f64::INFINITY;
    };
    match tolerance {
        Tolerance::Elements { rtol, atol, .. } if dtype.is_float() => {
            by_element(&got, &want, half_rtol(dtype, rtol), atol)
        }
        Tolerance::Elements { steps, .. } => {
            let largest = pairs(&got, &want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
            if largest == 0.0 { 0.0 } else { largest / steps as f64 }
        }
        Tolerance::Relative(allowed) => relative(&got, &want) / allowed,
        Tolerance::Angle(allowed) => angle(&got, &want) / allowed,
    }
}

/// Half floats are rounded at other places than in the reference: two units in the last place.
fn half_rtol(dtype: DType, rtol: f64) -> f64 {
    match dtype {
        DType::BF16 => rtol.max(1.0 / 64.0),
        DType::F16 => rtol.max(1.0 / 512.0),
        _ => rtol,
    }
}

fn pairs<'a>(got: &'a [f64], want: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    got.iter().copied().zip(want.iter().copied())
}

fn same(got: f64, want: f64) -> bool {
    got == want || (got.is_nan() && want.is_nan())
}

fn by_element(got: &[f64], want: &[f64], rtol: f64, atol: f64) -> f64 {
    let one = |(g, w): (f64, f64)| match (g - w).abs() / (atol + rtol * w.abs()) {
        _ if same(g, w) => 0.0,
        ratio if ratio.is_nan() => f64::INFINITY,
        ratio => ratio,
    };
    pairs(got, want).map(one).fold(0.0, f64::max)
}

/// The largest difference over the largest finite magnitude that is wanted.
pub fn relative(got: &[f64], want: &[f64]) -> f64 {
    let largest = want.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs()));
    let scale = if largest > 0.0 { largest } else { 1.0 };
    let one = |(g, w): (f64, f64)| match (g - w).abs() / scale {
        _ if same(g, w) => 0.0,
        apart if apart.is_nan() => f64::INFINITY,
        apart => apart,
    };
    pairs(got, want).map(one).fold(0.0, f64::max)
}

fn angle(got: &[f64], want: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| pairs(a, b).map(|(a, b)| a * b).sum::<f64>();
    1.0 - dot(got, want) / (dot(got, got) * dot(want, want)).sqrt()
}

/// Elements as `f64`; none for what is no number of whole bytes.
pub fn numbers(dtype: DType, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        let (chunks, _) = bytes.as_chunks::<N>();
        chunks.iter().map(|c| f(*c)).collect()
    }
    Some(match dtype {
        DType::F64 => each(bytes, f64::from_le_bytes),
        DType::F32 => each(bytes, |b| f32::from_le_bytes(b).into()),
        DType::F16 => each(bytes, |b| half::f16::from_le_bytes(b).into()),
        DType::BF16 => each(bytes, |b| half::bf16::from_le_bytes(b).into()),
        DType::I64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        DType::U64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
        DType::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
        DType::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
        DType::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
        DType::U16 => each(bytes, |b| u16::from_le_bytes(b).into()),
        DType::I8 => each(bytes, |b| i8::from_le_bytes(b).into()),
        DType::U8 | DType::Bool => each(bytes, |b| u8::from_le_bytes(b).into()),
        _ => return None,
    })
}
