//! The model's inputs: types, symbols for their unknown dims, and what options fix.
//!
//! Each distinct `dim_param` of an input is one symbol; a dim without one gets a symbol
//! of its own called `<input>_<axis>`. Names are made identifiers, distinct ones stay
//! distinct. Symbols start at 1: an empty batch is not a request, and `dim != 0` is the
//! commonest condition in exported shape arithmetic.

use super::complexity::MAX_RANK;
use super::error::ImportError;
use super::importer::Importer;
use super::narrow::Narrow;
use super::options::{DimOption, ImportOptions, ValueOption};
use super::proto::tensor_shape_proto::dimension::Value as DimValue;
use super::proto::type_proto::Value as TypeValue;
use super::proto::{GraphProto, ValueInfoProto};
use super::scope::Slot;
use super::tensor::{self, Tensor};
use cascata_ir::graph::Graph;
use cascata_ir::op::Op;
use cascata_ir::types::{DType, Dim, Scalar, Shape, SymbolTable, TensorType};
use std::collections::{HashMap, HashSet};

/// Largest size that a dim of an input may be declared with.
const MAX_DIM: i64 = 1 << 40;

/// A dim of an input before options apply.
#[derive(Clone, Debug)]
enum Declared {
    Known(i64),
    /// Key of the symbol: the `dim_param`, or `input:axis` for an unnamed dim.
    Symbol(String),
}

#[derive(Debug)]
struct Input {
    name: String,
    dtype: DType,
    narrow: Option<Narrow>,
    dims: Vec<Declared>,
}

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
    // Before IR version 4 initializers were listed as inputs too.
    let initialized: HashSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    let constant = |i: &&ValueInfoProto| !initialized.contains(i.name());
    let inputs: Vec<Input> =
        graph.input.iter().filter(constant).map(read).collect::<Result<_, _>>()?;
    let mut names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
    names.sort_unstable();
    if let Some(w) = names.windows(2).find(|w| w[0] == w[1]) {
        return Err(ImportError::model(format!("input '{}'", w[0]), "it is declared twice"));
    }
    let mut ranges = symbols(&inputs);
    for option in &options.dims {
        apply(option, &inputs, &mut ranges)?;
    }
    for value in &options.values {
        if !inputs.iter().any(|i| i.name == value.input) {
            let reason = format!("the model has no such input; it has {}", names.join(", "));
            return Err(ImportError::Option { option: show_value(value), reason });
        }
    }
    let mut fixed = Vec::new();
    let dims: HashMap<&str, Dim> =
        ranges.iter().map(|(key, range)| (key.as_str(), make_dim(imp, range))).collect();
    for input in &inputs {
        let shape: Shape = input
            .dims
            .iter()
            .map(|d| match d {
                Declared::Known(n) => Dim::from(*n),
                Declared::Symbol(key) => dims[key.as_str()].clone(),
            })
            .collect();
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
        imp.define(&input.name, slot);
    }
    Ok(fixed)
}

/// Callers give every input, so an optional tensor is a tensor.
fn held(ty: &TypeValue) -> &TypeValue {
    let inner = match ty {
        TypeValue::OptionalType(o) => o.elem_type.as_ref().and_then(|t| t.value.as_ref()),
        _ => None,
    };
    inner.filter(|t| matches!(t, TypeValue::TensorType(_))).unwrap_or(ty)
}

fn read(info: &ValueInfoProto) -> Result<Input, ImportError> {
    let fail = |reason: String| ImportError::model(format!("input '{}'", info.name()), reason);
    let ty = info.r#type.as_ref().and_then(|t| t.value.as_ref()).map(held);
    let tensor = match ty {
        Some(TypeValue::TensorType(t)) => t,
        Some(other) => {
            let kind = match other {
                TypeValue::SequenceType(_) => "a sequence",
                TypeValue::OptionalType(_) => "an optional",
                TypeValue::MapType(_) => "a map",
                TypeValue::SparseTensorType(_) => "a sparse tensor",
                _ => "an opaque value",
            };
            return Err(fail(format!("it is {kind}; only dense tensors are supported")));
        }
        None => return Err(fail("it has no type".into())),
    };
    let narrow = Narrow::of_code(tensor.elem_type());
    let dtype = match narrow {
        Some(narrow) => narrow.storage(),
        None => tensor::dtype(tensor.elem_type()).map_err(fail)?,
    };
    let Some(shape) = &tensor.shape else {
        return Err(fail("it has no shape: its rank must be known".into()));
    };
    if shape.dim.len() > MAX_RANK {
        return Err(fail(format!("{} dims, at most {MAX_RANK} are supported", shape.dim.len())));
    }
    let dim = |(axis, d): (usize, &super::proto::tensor_shape_proto::Dimension)| {
        Ok(match &d.value {
            Some(DimValue::DimParam(p)) if is_name(p) => Declared::Symbol(p.clone()),
            Some(DimValue::DimValue(n)) if (0..=MAX_DIM).contains(n) => Declared::Known(*n),
            // Some exporters write −1 for "any".
            None | Some(DimValue::DimParam(_) | DimValue::DimValue(-1)) => {
                Declared::Symbol(format!("{}:{axis}", info.name()))
            }
            Some(DimValue::DimValue(n)) => {
                return Err(fail(format!("dim {axis} is {n}, outside 0..={MAX_DIM}")));
            }
        })
    };
    let dims = shape.dim.iter().enumerate().map(dim).collect::<Result<_, _>>()?;
    Ok(Input { name: info.name().to_string(), dtype, narrow, dims })
}

/// Whether a `dim_param` names a dim: some exporters write "?" or "-1" for "any".
fn is_name(dim_param: &str) -> bool {
    dim_param.chars().any(char::is_alphabetic)
}

/// Every symbol of the inputs with its default range, in order of appearance.
fn symbols(inputs: &[Input]) -> Vec<(String, Range)> {
    let mut out: Vec<(String, Range)> = Vec::new();
    let (mut seen, mut taken) = (HashSet::new(), HashSet::new());
    for key in inputs.iter().flat_map(|i| &i.dims) {
        let Declared::Symbol(key) = key else { continue };
        if !seen.insert(key) {
            continue;
        }
        let base = symbol_name(&key.replace(':', "_"));
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
    inputs: &[Input],
    ranges: &mut [(String, Range)],
) -> Result<(), ImportError> {
    let DimOption { target, min, max } = option;
    let fail = |reason: String| ImportError::Option { option: show_dim(option), reason };
    let by_name = ranges.iter().position(|(key, r)| key == target || r.name == *target);
    let at = match by_name {
        Some(i) => i,
        None => match find_axis(target, inputs) {
            Some(Declared::Symbol(key)) => {
                ranges.iter().position(|(k, _)| k == key).unwrap_or_default()
            }
            Some(Declared::Known(n)) if min <= n && n <= max => return Ok(()),
            Some(Declared::Known(n)) => {
                return Err(fail(format!("the model fixes this dim to {n}")));
            }
            None => {
                let known: Vec<&str> = ranges.iter().map(|(_, r)| r.name.as_str()).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                return Err(fail(format!(
                    "no such dim; the model's symbols are {known}; INPUT:AXIS names a dim too"
                )));
            }
        },
    };
    let range = &mut ranges[at].1;
    (range.min, range.max) = (*min, *max);
    Ok(())
}

fn find_axis<'a>(target: &str, inputs: &'a [Input]) -> Option<&'a Declared> {
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
