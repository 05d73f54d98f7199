//! The model's inputs: symbols for their unknown dims, and what options fix.
//!
//! Each distinct `dim_param` of an input is one symbol; a dim without one gets a symbol
//! of its own called `<input>_<axis>`. Names are made identifiers, distinct ones stay
//! distinct. Symbols start at 1: an empty batch is not a request, and `dim != 0` is the
//! commonest condition in exported shape arithmetic.

use super::declared::{self, Declared, Input, Key, Size};
use super::error::ImportError;
use super::importer::Importer;
use super::options::{DimOption, ImportOptions, ValueOption};
use super::proto::GraphProto;
use super::scope::Slot;
use super::tensor::Tensor;
use cascata_ir::graph::Graph;
use cascata_ir::op::Op;
use cascata_ir::types::{DType, Dim, Scalar, Shape, SymbolTable, TensorType};
use std::collections::{HashMap, HashSet};

/// What becomes of a symbol.
#[derive(Debug)]
struct Range {
    name: String,
    min: i64,
    max: i64,
}

/// Declares the graph's inputs as parameters of the root; gives the names of those that
/// an option fixed.
pub fn declare(
    imp: &mut Importer,
    graph: &GraphProto,
    options: &ImportOptions,
) -> Result<Vec<String>, ImportError> {
    let declared = declared::read(graph, options)?;
    let inputs: Vec<&Input> = declared.iter().flat_map(|d| &d.tensors).collect();
    let mut ranges = symbols(&inputs);
    for option in &options.dims {
        apply(option, &inputs, &mut ranges)?;
    }
    for value in &options.values {
        if !inputs.iter().any(|i| i.name == value.input) {
            let mut names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
            names.sort_unstable();
            let reason = format!("the model has no such input; it has {}", names.join(", "));
            return Err(ImportError::Option { option: show_value(value), reason });
        }
    }
    let mut fixed = Vec::new();
    let dims: HashMap<Key, Dim> =
        ranges.iter().map(|(key, range)| (key.clone(), make_dim(imp, range))).collect();
    for Declared { name, form, tensors } in &declared {
        let mut slots = Vec::new();
        for input in tensors {
            let shape = input.dims.iter().map(|d| match d {
                Size::Known(n) => Dim::from(*n),
                Size::Symbol(key) => dims[key].clone(),
            });
            slots.push(one(imp, input, shape.collect(), options, &mut fixed)?);
        }
        let slot = imp.formed(*form, &mut slots.into_iter());
        let slot =
            slot.map_err(|e| ImportError::model(format!("input '{name}'"), e.to_string()))?;
        imp.define(name, slot);
    }
    Ok(fixed)
}

/// One tensor: a parameter of the root, or the constant that an option makes of it.
fn one(
    imp: &mut Importer,
    input: &Input,
    shape: Shape,
    options: &ImportOptions,
    fixed: &mut Vec<String>,
) -> Result<Slot, ImportError> {
    let slot = match options.values.iter().find(|v| v.input == input.name) {
        Some(value) => {
            fixed.push(input.name.clone());
            fix(imp, input, shape, value)?
        }
        None => {
            let ty = TensorType::dense(input.dtype, shape);
            Slot::Value(imp.graph.add_param(Graph::ROOT, &input.name, ty))
        }
    };
    imp.narrow.extend(input.narrow.map(|n| (slot, n)));
    Ok(slot)
}

/// Every symbol of the inputs with its default range, in order of appearance.
fn symbols(inputs: &[&Input]) -> Vec<(Key, Range)> {
    let mut out: Vec<(Key, Range)> = Vec::new();
    let (mut seen, mut taken) = (HashSet::new(), HashSet::new());
    for key in inputs.iter().flat_map(|i| &i.dims) {
        let Size::Symbol(key) = key else { continue };
        if !seen.insert(key) {
            continue;
        }
        let base = symbol_name(&key.text().replace(':', "_"));
        let mut name = base.clone();
        for i in 2.. {
            if taken.insert(name.clone()) {
                break;
            }
            name = format!("{base}_{i}");
        }
        out.push((key.clone(), Range { name, min: 1, max: SymbolTable::DEFAULT_MAX }));
    }
    out
}

/// `raw` as an identifier that the text form accepts.
pub fn symbol_name(raw: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '.') { c } else { '_' };
    let name: String = raw.chars().map(keep).collect();
    match name.chars().next() {
        Some(c) if c.is_alphabetic() || c == '_' => name,
        _ => format!("_{name}"),
    }
}

fn apply(
    option: &DimOption,
    inputs: &[&Input],
    ranges: &mut [(Key, Range)],
) -> Result<(), ImportError> {
    let DimOption { target, min, max } = option;
    let fail = |reason: String| ImportError::Option { option: show_dim(option), reason };
    let known = || {
        let known: Vec<&str> = ranges.iter().map(|(_, r)| r.name.as_str()).collect();
        if known.is_empty() { "none".into() } else { known.join(", ") }
    };
    let at = match meant(target, ranges) {
        found if !found.is_empty() => found,
        _ => match find_axis(target, inputs) {
            Some(Size::Symbol(key)) => (0..ranges.len()).filter(|i| ranges[*i].0 == *key).collect(),
            Some(Size::Known(n)) if min <= n && n <= max => return Ok(()),
            Some(Size::Known(n)) => {
                return Err(fail(format!("the model fixes this dim to {n}")));
            }
            None => {
                return Err(fail(format!(
                    "no such dim; the model's symbols are {}; INPUT:AXIS names a dim too",
                    known()
                )));
            }
        },
    };
    for i in at {
        let range = &mut ranges[i].1;
        (range.min, range.max) = (*min, *max);
    }
    Ok(())
}

/// Symbols of a name; if there is none, those of all elements of sequences whose dim has it.
fn meant(target: &str, ranges: &[(Key, Range)]) -> Vec<usize> {
    match ranges.iter().position(|(key, r)| key.text() == target || r.name == target) {
        Some(i) => vec![i],
        None => {
            let of_elements = |key: &Key| key.element.is_some() && key.name == target;
            (0..ranges.len()).filter(|i| of_elements(&ranges[*i].0)).collect()
        }
    }
}

fn find_axis<'a>(target: &str, inputs: &[&'a Input]) -> Option<&'a Size> {
    let (name, axis) = target.rsplit_once(':')?;
    inputs.iter().find(|i| i.name == name)?.dims.get(axis.parse::<usize>().ok()?)
}

fn make_dim(imp: &mut Importer, range: &Range) -> Dim {
    if range.min == range.max {
        return range.min.into();
    }
    let id = imp.graph.symbols.intern(&range.name);
    let symbol = imp.graph.symbols.get_mut(id);
    (symbol.min, symbol.max) = (range.min, range.max);
    id.into()
}

/// The constant that stands for a fixed input.
fn fix(
    imp: &mut Importer,
    input: &Input,
    shape: Shape,
    option: &ValueOption,
) -> Result<Slot, ImportError> {
    let fail = |reason: String| ImportError::Option { option: show_value(option), reason };
    let inexact = |x: &f64| Scalar::from_f64(input.dtype, *x).to_f64() != *x;
    if input.dtype == DType::Str || option.values.iter().any(inexact) {
        return Err(fail(format!("a number is not exact as {}", input.dtype)));
    }
    let width = input.dtype.size_bytes().unwrap_or(0);
    let scalars: Vec<Scalar> =
        option.values.iter().map(|x| Scalar::from_f64(input.dtype, *x)).collect();
    let count = shape.iter().try_fold(1i64, |n, d| n.checked_mul(d.as_const()?));
    let elements = match (scalars.as_slice(), count) {
        ([one], Some(n)) if n <= super::facts::MAX_ELEMENTS as i64 => vec![*one; n as usize],
        ([one], _) => {
            let op = Op::Fill { value: *one, shape };
            let value = imp.graph.add1(Graph::ROOT, op, vec![], input.name.as_str());
            return value.map(Slot::Value).map_err(|e| fail(e.to_string()));
        }
        (list, Some(n)) if n == list.len() as i64 => list.to_vec(),
        (list, _) => return Err(fail(format!("{} numbers do not fill the input", list.len()))),
    };
    let data: Vec<u8> =
        elements.iter().flat_map(|s| s.bits.to_le_bytes()[..width].to_vec()).collect();
    let dims = shape.iter().filter_map(Dim::as_const).collect();
    Ok(imp.weight(
        Tensor { dtype: input.dtype, narrow: input.narrow, dims, data: data.into() },
        &input.name,
    ))
}

fn show_dim(option: &DimOption) -> String {
    let DimOption { target, min, max } = option;
    if min == max { format!("{target}={min}") } else { format!("{target}={min}..{max}") }
}

fn show_value(option: &ValueOption) -> String {
    let values: Vec<String> = option.values.iter().map(f64::to_string).collect();
    format!("{}={}", option.input, values.join(","))
}
