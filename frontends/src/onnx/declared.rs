//! What a model says about its inputs, as the tensors that callers give for them.
//!
//! The graph's inputs are tensors. A sequence is as many of them as an option says it has
//! elements, called `name.0`, `name.1`, …; an optional is what it holds, unless an option
//! says that it holds nothing. Elements of a sequence may differ in size: a named dim of
//! theirs is a symbol per position, the same for all sequences that use the name.

use super::complexity::MAX_RANK;
use super::error::ImportError;
use super::form::{Form, MAX_LENGTH};
use super::narrow::Narrow;
use super::options::{CountOption, ImportOptions};
use super::proto::tensor_shape_proto::Dimension;
use super::proto::tensor_shape_proto::dimension::Value as DimValue;
use super::proto::type_proto::{Tensor, Value as TypeValue};
use super::proto::{GraphProto, ValueInfoProto};
use super::tensor;
use cascata_ir::types::DType;
use std::collections::HashSet;

/// Largest size that a dim of an input may be declared with.
const MAX_DIM: i64 = 1 << 40;

/// An input of the model.
#[derive(Debug)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub form: Form,
    /// The tensors that it is made of.
    pub tensors: Vec<Input>,
}

/// A tensor that callers give.
#[derive(Debug)]
pub struct Input {
    /// Its name in the signature.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// What the elements stand for, if not for numbers of the dtype.
    pub narrow: Option<Narrow>,
    /// Sizes before options apply.
    pub dims: Vec<Size>,
}

/// A dim of an input before options apply.
#[derive(Clone, Debug)]
pub enum Size {
    /// A number.
    Known(i64),
    /// A symbol.
    Symbol(Key),
}

/// What tells symbols apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The `dim_param`, or `input:axis` for an unnamed dim.
    pub name: String,
    /// The position in a sequence.
    pub element: Option<usize>,
}

impl Key {
    /// As options name it.
    pub fn text(&self) -> String {
        match self.element {
            Some(i) => format!("{}.{i}", self.name),
            None => self.name.clone(),
        }
    }
}

/// All inputs that callers give.
///
/// # Errors
/// Names an input that is declared twice, that is of a type that is not supported or not
/// told enough about, or an option that fits none.
pub fn read(graph: &GraphProto, options: &ImportOptions) -> Result<Vec<Declared>, ImportError> {
    // Before IR version 4 initializers were listed as inputs too.
    let initialized: HashSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    let given = graph.input.iter().filter(|i| !initialized.contains(i.name()));
    let inputs: Vec<Declared> =
        given.map(|info| Reader { info, options }.input()).collect::<Result<_, _>>()?;
    let mut names = HashSet::new();
    if let Some(twice) = inputs.iter().find(|i| !names.insert(i.name.as_str())) {
        return Err(ImportError::model(format!("input '{}'", twice.name), "it is declared twice"));
    }
    for list in inputs.iter().filter(|i| matches!(i.form, Form::List(_))) {
        if let Some(element) = list.tensors.iter().find(|t| !names.insert(t.name.as_str())) {
            let reason = format!("its element '{}' is called as another input", element.name);
            return Err(ImportError::model(format!("input '{}'", list.name), reason));
        }
    }
    all_used(&inputs, options)?;
    Ok(inputs)
}

/// Refuses options that fit no input.
fn all_used(inputs: &[Declared], options: &ImportOptions) -> Result<(), ImportError> {
    let fail = |option: String, kind: &str| {
        let reason = format!("the model has no such {kind}");
        Err(ImportError::Option { option, reason })
    };
    let is_list = |i: &Declared| matches!(i.form, Form::List(_));
    let sequence = |name: &String| inputs.iter().any(|i| i.name == *name && is_list(i));
    if let Some(o) = options.lengths.iter().find(|o| !sequence(&o.input)) {
        return fail(o.to_string(), "sequence among its inputs");
    }
    let tensor = |name: &String| {
        let element = |i: &Declared| i.tensors.iter().any(|t| t.name == *name);
        inputs.iter().any(|i| i.name == *name || element(i))
    };
    if let Some(o) = options.ranks.iter().find(|o| !tensor(&o.input)) {
        return fail(o.to_string(), "input");
    }
    match options.absent.iter().find(|a| !inputs.iter().any(|i| i.name == **a)) {
        Some(absent) => fail(absent.clone(), "input"),
        None => Ok(()),
    }
}

/// One input being read.
struct Reader<'a> {
    info: &'a ValueInfoProto,
    options: &'a ImportOptions,
}

impl Reader<'_> {
    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, ImportError> {
        Err(ImportError::model(format!("input '{}'", self.info.name()), reason))
    }

    fn input(&self) -> Result<Declared, ImportError> {
        let name = self.info.name().to_string();
        let Some(ty) = self.info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
            return self.fail("it has no type");
        };
        let held = match ty {
            TypeValue::OptionalType(o) => o.elem_type.as_ref().and_then(|t| t.value.as_ref()),
            _ => None,
        };
        if self.options.absent.contains(&name) {
            return match ty {
                TypeValue::OptionalType(_) => {
                    Ok(Declared { name, form: Form::Absent, tensors: vec![] })
                }
                _ => Err(ImportError::Option {
                    option: name,
                    reason: "the input is not optional".into(),
                }),
            };
        }
        let (form, tensors) = match held.unwrap_or(ty) {
            TypeValue::TensorType(t) => (Form::Tensor, vec![self.tensor(t, None)?]),
            TypeValue::SequenceType(s) => {
                match s.elem_type.as_ref().and_then(|t| t.value.as_ref()) {
                    Some(TypeValue::TensorType(t)) => self.sequence(t, held.is_some())?,
                    Some(other) => {
                        return self.fail(format!(
                            "it is a sequence, each element {}; {ONLY}",
                            kind(other)
                        ));
                    }
                    None => return self.fail("it is a sequence of no type"),
                }
            }
            other => return self.fail(format!("it is {}; {ONLY}", kind(other))),
        };
        Ok(Declared { name, form, tensors })
    }

    /// The elements of a sequence.
    fn sequence(&self, ty: &Tensor, optional: bool) -> Result<(Form, Vec<Input>), ImportError> {
        let name = self.info.name();
        let Some(length) = self.options.lengths.iter().rev().find(|o| o.input == name) else {
            let or = if optional { format!(", --absent {name} leaves it out") } else { "".into() };
            return self.fail(format!(
                "it is a sequence, whose length must be known when the model is compiled \
                 (--length {name}=NUMBER gives it{or})"
            ));
        };
        if length.count > MAX_LENGTH {
            let reason = format!("at most {MAX_LENGTH} elements are supported");
            return Err(ImportError::Option { option: length.to_string(), reason });
        }
        let elements = (0..length.count).map(|i| self.tensor(ty, Some(i)));
        Ok((Form::List(length.count), elements.collect::<Result<_, _>>()?))
    }

    fn tensor(&self, ty: &Tensor, element: Option<usize>) -> Result<Input, ImportError> {
        let narrow = Narrow::of_code(ty.elem_type());
        let dtype = match narrow {
            Some(narrow) => narrow.storage(),
            None => tensor::dtype(ty.elem_type()).or_else(|reason| self.fail(reason))?,
        };
        let name = match element {
            Some(i) => format!("{}.{i}", self.info.name()),
            None => self.info.name().to_string(),
        };
        let dims = self.dims(ty, &name, element)?;
        Ok(Input { name, dtype, narrow, dims })
    }

    fn dims(
        &self,
        ty: &Tensor,
        name: &str,
        element: Option<usize>,
    ) -> Result<Vec<Size>, ImportError> {
        let told = self.rank(name);
        let Some(shape) = &ty.shape else {
            let Some(option) = told else {
                let of = if element.is_some() { "its elements have" } else { "it has" };
                let name = self.info.name();
                return self.fail(format!(
                    "{of} no shape: its rank must be known (--rank {name}=NUMBER gives it)"
                ));
            };
            if option.count > MAX_RANK {
                let reason = format!("at most {MAX_RANK} dims are supported");
                return Err(ImportError::Option { option: option.to_string(), reason });
            }
            return Ok((0..option.count).map(|axis| self.unnamed(axis, element)).collect());
        };
        if let Some(option) = told.filter(|o| o.count != shape.dim.len()) {
            let reason = format!("the model declares rank {}", shape.dim.len());
            return Err(ImportError::Option { option: option.to_string(), reason });
        }
        if shape.dim.len() > MAX_RANK {
            let n = shape.dim.len();
            return self.fail(format!("{n} dims, at most {MAX_RANK} are supported"));
        }
        shape.dim.iter().enumerate().map(|(axis, d)| self.dim(d, axis, element)).collect()
    }

    /// The option for the rank of a tensor: its own, else that of its sequence.
    fn rank(&self, name: &str) -> Option<&CountOption> {
        let of = |name: &str| self.options.ranks.iter().rev().find(|o| o.input == name);
        of(name).or_else(|| of(self.info.name()))
    }

    fn dim(
        &self,
        dim: &Dimension,
        axis: usize,
        element: Option<usize>,
    ) -> Result<Size, ImportError> {
        match &dim.value {
            Some(DimValue::DimParam(p)) if is_name(p) => {
                Ok(Size::Symbol(Key { name: p.clone(), element }))
            }
            Some(DimValue::DimValue(n)) if (0..=MAX_DIM).contains(n) => Ok(Size::Known(*n)),
            // Some exporters write −1 for "any".
            None | Some(DimValue::DimParam(_) | DimValue::DimValue(-1)) => {
                Ok(self.unnamed(axis, element))
            }
            Some(DimValue::DimValue(n)) => {
                self.fail(format!("dim {axis} is {n}, outside 0..={MAX_DIM}"))
            }
        }
    }

    fn unnamed(&self, axis: usize, element: Option<usize>) -> Size {
        Size::Symbol(Key { name: format!("{}:{axis}", self.info.name()), element })
    }
}

const ONLY: &str = "only tensors, sequences of tensors and optionals of both are supported";

/// A type in words.
fn kind(ty: &TypeValue) -> &'static str {
    match ty {
        TypeValue::TensorType(_) => "a tensor",
        TypeValue::SequenceType(_) => "a sequence",
        TypeValue::OptionalType(_) => "an optional",
        TypeValue::MapType(_) => "a map",
        TypeValue::SparseTensorType(_) => "a sparse tensor",
        _ => "an opaque value",
    }
}

/// Whether a `dim_param` names a dim: some exporters write "?" or "-1" for "any".
fn is_name(dim_param: &str) -> bool {
    dim_param.chars().any(char::is_alphabetic)
}
