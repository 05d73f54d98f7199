//! Cases of the ONNX backend suite on disk, and how they are imported.

mod case;

pub use case::{Case, compare};

use cascata_frontends::onnx::{
    CountOption, DimOption, Import, ImportError, ImportOptions, ValueOption, import,
};
use cascata_ir::interp::Tensor;

/// Axes, scales and the like are inputs in these tests; where they must be known they are fixed.
///
/// # Errors
/// The import's, with everything fixed that may be.
pub fn imported(case: &Case) -> Result<Import, ImportError> {
    let open = |e: &ImportError| {
        let text = e.to_string();
        ["must be known", "with --dim", "with a value option"].iter().any(|t| text.contains(t))
    };
    let described = described(case);
    let mut result = import(&case.path, &described);
    // The first input is data in most; some have nothing but parameters.
    for from in [1, 0] {
        if result.as_ref().is_err_and(open) {
            result = import(&case.path, &fixing(case, from, &described));
        }
    }
    result
}

/// What a model leaves open about its inputs: lengths of sequences, ranks of their elements,
/// which optionals hold nothing. Symbols start at 1 unless they are told to, so axes without
/// elements have options, too.
fn described(case: &Case) -> ImportOptions {
    let count =
        |(input, count): &(String, usize)| CountOption { input: input.clone(), count: *count };
    let ranks = case.inputs.iter().filter(|(name, _)| is_element(case, name));
    let mut options = ImportOptions {
        lengths: case.lengths.iter().map(count).collect(),
        ranks: ranks.map(|(name, t)| count(&(name.clone(), t.rank()))).collect(),
        absent: case.absent.clone(),
        ..ImportOptions::default()
    };
    for (name, tensor) in &case.inputs {
        for axis in (0..tensor.rank()).filter(|a| tensor.dims()[*a] == 0) {
            options.dims.push(DimOption { target: format!("{name}:{axis}"), min: 0, max: 0 });
        }
    }
    options
}

/// Whether an input is an element of a sequence.
fn is_element(case: &Case, name: &str) -> bool {
    case.lengths.iter().any(|(list, n)| (0..*n).any(|i| name == format!("{list}.{i}")))
}

/// Options that fix every small vector or number from an input on, but elements of
/// sequences, which are data.
fn fixing(case: &Case, from: usize, base: &ImportOptions) -> ImportOptions {
    let small = |t: &Tensor| t.rank() <= 1 && (1..=16).contains(&t.len());
    let mut options = base.clone();
    let inputs = case.inputs.iter().skip(from).filter(|(name, _)| !is_element(case, name));
    for (name, tensor) in inputs.filter(|(_, t)| small(t)) {
        if let Some(values) = tensor.to_f64() {
            options.values.push(ValueOption { input: name.clone(), values });
        }
    }
    options
}
