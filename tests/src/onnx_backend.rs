//! Cases of the ONNX backend suite on disk, and how they are imported.

mod case;

pub use case::{Case, compare};

use cascata_frontends::onnx::{DimOption, Import, ImportError, ImportOptions, ValueOption, import};
use cascata_ir::interp::Tensor;

/// Axes, scales and the like are inputs in these tests; where they must be known they are fixed.
///
/// # Errors
/// The import's, with everything fixed that may be.
pub fn imported(case: &Case) -> Result<Import, ImportError> {
    let open = |e: &ImportError| {
        let text = e.to_string();
        text.contains("must be known") || text.contains("with --dim")
    };
    let empty = empty_dims(&case.inputs);
    let mut result = import(&case.path, &empty);
    // The first input is data in most; some have nothing but parameters.
    for inputs in [case.inputs.get(1..).unwrap_or_default(), &case.inputs] {
        if result.as_ref().is_err_and(open) {
            result = import(&case.path, &fixing(inputs, &empty));
        }
    }
    result
}

/// Symbols start at 1 unless they are told to: options for axes without elements.
fn empty_dims(inputs: &[(String, Tensor)]) -> ImportOptions {
    let mut options = ImportOptions::default();
    for (name, tensor) in inputs {
        for axis in (0..tensor.rank()).filter(|a| tensor.dims()[*a] == 0) {
            options.dims.push(DimOption { target: format!("{name}:{axis}"), min: 0, max: 0 });
        }
    }
    options
}

/// Options that fix every small vector or number.
fn fixing(inputs: &[(String, Tensor)], base: &ImportOptions) -> ImportOptions {
    let small = |t: &Tensor| t.rank() <= 1 && (1..=16).contains(&t.len());
    let mut options = base.clone();
    for (name, tensor) in inputs.iter().filter(|(_, t)| small(t)) {
        if let Some(values) = tensor.to_f64() {
            options.values.push(ValueOption { input: name.clone(), values });
        }
    }
    options
}
