//! How far two tensors are apart.

use anyhow::{Context, Result, ensure};
use cascata_ir::interp::Tensor;

/// The largest difference between two tensors, relative to the largest magnitude of the
/// expected one (absolute where that is 0); infinite when shapes or types differ or one has
/// a NaN where the other has none.
pub fn relative_difference(actual: &Tensor, expected: &Tensor) -> f64 {
    if actual.dims() != expected.dims() || actual.dtype() != expected.dtype() {
        return f64::INFINITY;
    }
    let (Some(a), Some(e)) = (actual.to_f64(), expected.to_f64()) else { return f64::INFINITY };
    let largest = e.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs()));
    let scale = if largest > 0.0 { largest } else { 1.0 };
    let apart = |(a, e): (&f64, &f64)| match (a == e, a.is_nan(), e.is_nan()) {
        (true, ..) | (_, true, true) => 0.0,
        (_, false, false) if a.is_finite() && e.is_finite() => (a - e).abs() / scale,
        _ => f64::INFINITY,
    };
    a.iter().zip(&e).map(apart).fold(0.0, f64::max)
}

/// One minus the cosine between two float tensors; infinite when shapes or types differ.
pub fn angle(actual: &Tensor, expected: &Tensor) -> f64 {
    if actual.dims() != expected.dims() || actual.dtype() != expected.dtype() {
        return f64::INFINITY;
    }
    let (Some(a), Some(e)) = (actual.to_f64(), expected.to_f64()) else { return f64::INFINITY };
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    1.0 - dot(&a, &e) / (dot(&a, &a) * dot(&e, &e)).sqrt()
}

/// The largest [`relative_difference`] over a run's outputs.
///
/// # Errors
/// Outputs that are missing, too many, of another shape or of another dtype; they are named.
pub fn worst(names: &[String], actual: &[Tensor], expected: &[(String, Tensor)]) -> Result<f64> {
    worst_by(relative_difference, names, actual, expected)
}

/// The largest distance over a run's outputs, by the given measure.
///
/// # Errors
/// As [`worst`].
pub fn worst_by(
    distance: fn(&Tensor, &Tensor) -> f64,
    names: &[String],
    actual: &[Tensor],
    expected: &[(String, Tensor)],
) -> Result<f64> {
    ensure!(names.len() == expected.len(), "outputs {names:?}, expected {}", expected.len());
    let mut worst = 0.0f64;
    for (name, want) in expected {
        let at = names.iter().position(|n| n == name);
        let got = at.and_then(|i| actual.get(i)).with_context(|| format!("no output '{name}'"))?;
        let show = |t: &Tensor| format!("{}{:?}", t.dtype(), t.dims());
        let same = got.dims() == want.dims() && got.dtype() == want.dtype();
        ensure!(same, "'{name}' is {}, expected {}", show(got), show(want));
        worst = worst.max(distance(got, want));
    }
    Ok(worst)
}
