//! Binds an entry's symbols to the dims of the inputs.

use crate::error::InputError;
use crate::tensor::TensorView;
use cascata_artifact::manifest::{Entry, Port};
use cascata_types::{Dim, Entity, EvalError, SymbolId, SymbolTable, TensorType};

/// Values of an entry's symbols, by index; `None` while unbound.
pub(crate) type Values = [Option<i64>];

/// Evaluates a dim under the values.
pub(crate) fn eval(dim: &Dim, values: &Values) -> Result<i64, EvalError> {
    match dim.as_const() {
        Some(x) => Ok(x),
        None => dim.eval(&|s| values.get(s.index()).copied().flatten()),
    }
}

/// `B=3, S=128`, for messages.
pub(crate) fn values_text(symbols: &SymbolTable, values: &Values) -> String {
    let known = symbols
        .iter()
        .filter_map(|(id, s)| Some(format!("{}={}", s.name, (*values.get(id.index())?)?)));
    let text = known.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "no symbols".into() } else { text }
}

/// The inputs of one run, by port.
pub(crate) trait InputSet {
    /// The tensor for input `port` called `name`.
    fn tensor(&self, port: usize, name: &str) -> Option<TensorView<'_>>;
    /// Reports names that are no inputs, or occur twice.
    fn check_names(&self, ports: &[Port], errors: &mut Vec<InputError>);
}

impl InputSet for [(&str, TensorView<'_>)] {
    fn tensor(&self, port: usize, name: &str) -> Option<TensorView<'_>> {
        let in_order = self.get(port).filter(|(n, _)| *n == name);
        in_order.or_else(|| self.iter().find(|(n, _)| *n == name)).map(|(_, view)| *view)
    }

    fn check_names(&self, ports: &[Port], errors: &mut Vec<InputError>) {
        for (i, (name, _)) in self.iter().enumerate() {
            if self[..i].iter().any(|(n, _)| n == name) {
                errors.push(InputError::Duplicate { name: name.to_string() });
            } else if !ports.iter().any(|p| p.name == *name) {
                let inputs = ports.iter().map(|p| p.name.clone()).collect();
                errors.push(InputError::Unknown { name: name.to_string(), inputs });
            }
        }
    }
}

/// Checks the inputs against the entry's ports and fills `values`.
pub(crate) fn bind_symbols(
    entry: &Entry,
    inputs: &(impl InputSet + ?Sized),
    values: &mut Values,
) -> Result<(), Vec<InputError>> {
    let mut binder = Binder { entry, values, errors: Vec::new() };
    inputs.check_names(&entry.inputs, &mut binder.errors);
    for (i, port) in entry.inputs.iter().enumerate() {
        binder.bind(port, inputs.tensor(i, &port.name));
    }
    for (i, port) in entry.inputs.iter().enumerate() {
        if let (Some(view), Some(ty)) = (inputs.tensor(i, &port.name), port.ty.as_tensor()) {
            binder.compare(port, ty, &view);
        }
    }
    if !binder.errors.is_empty() {
        return Err(binder.errors);
    }
    derive(entry, values);
    Ok(())
}

/// Room for the values of an entry's symbols, its own and the derived ones.
pub(crate) fn no_values(entry: &Entry) -> Vec<Option<i64>> {
    vec![None; entry.symbols.len() + entry.derived.len()]
}

/// Evaluates the derived symbols. One without a value stays unbound: what needs it
/// reports why.
pub(crate) fn derive(entry: &Entry, values: &mut Values) {
    for (i, definition) in entry.derived.iter().enumerate() {
        let value = eval(definition, values).ok();
        values[entry.derived_symbol(i).index()] = value;
    }
}

/// Why a formula has no value: what is wrong with the derived symbol that it lacks.
pub(crate) fn cause(entry: &Entry, values: &Values, error: EvalError) -> EvalError {
    match error {
        EvalError::Unbound(s) => match entry.definition(s).map(|d| eval(d, values)) {
            Some(Err(e)) => cause(entry, values, e),
            _ => EvalError::Unbound(s),
        },
        e => e,
    }
}

struct Binder<'a> {
    entry: &'a Entry,
    values: &'a mut Values,
    errors: Vec<InputError>,
}

impl Binder<'_> {
    /// Checks dtype and rank; binds the dims that are one symbol.
    fn bind(&mut self, port: &Port, view: Option<TensorView<'_>>) {
        if view.is_none() && port.default.is_some() {
            return;
        }
        let expected = || port.ty.display(&self.entry.symbols);
        let (Some(view), Some(ty)) = (view, port.ty.as_tensor()) else {
            self.errors.push(InputError::Missing { name: port.name.clone(), expected: expected() });
            return;
        };
        let found = view.dims().len();
        if found != ty.rank() {
            let expected = format!("{} ({})", ty.rank(), expected());
            self.errors.push(InputError::Rank { name: port.name.clone(), expected, found });
        }
        if view.dtype() != ty.dtype {
            let (expected, found) = (ty.dtype, view.dtype());
            self.errors.push(InputError::DType { name: port.name.clone(), expected, found });
        }
        if found != ty.rank() {
            return;
        }
        for (axis, (dim, &found)) in ty.shape.iter().zip(view.dims()).enumerate() {
            if let Some(symbol) = dim.as_sym() {
                self.bind_symbol(port, axis, symbol, found);
            }
        }
    }

    fn bind_symbol(&mut self, port: &Port, axis: usize, id: SymbolId, found: i64) {
        let Some(slot) = self.values.get_mut(id.index()) else { return };
        if slot.is_some() {
            return; // Compared later, like a number.
        }
        *slot = Some(found);
        let (min, max) = self.entry.symbols.range(id);
        if !(min..=max).contains(&found) {
            let (name, symbol) = (port.name.clone(), self.entry.symbols.name(id));
            self.errors.push(InputError::Range { name, axis, symbol, found, min, max });
        }
    }

    /// Compares every dim with its value under the symbols.
    fn compare(&mut self, port: &Port, ty: &TensorType, view: &TensorView<'_>) {
        if view.dims().len() != ty.rank() {
            return;
        }
        for (axis, (dim, &found)) in ty.shape.iter().zip(view.dims()).enumerate() {
            let value = eval(dim, self.values);
            if value == Ok(found) {
                continue;
            }
            let text = dim.display(&self.entry.symbols);
            let expected = match value {
                Ok(v) if dim.as_const().is_some() => v.to_string(),
                Ok(v) => format!("{v} ({text} with {})", self.why(dim)),
                // A symbol of an input that is itself missing or wrong: reported there.
                Err(EvalError::Unbound(_)) => continue,
                Err(e) => format!("{text} ({e})"),
            };
            self.errors.push(InputError::Dim { name: port.name.clone(), axis, expected, found });
        }
    }

    /// `B=3 from 'x' axis 0`, for each symbol of the dim.
    fn why(&self, dim: &Dim) -> String {
        let one = |id: SymbolId| {
            let (name, value) =
                (self.entry.symbols.name(id), self.values.get(id.index()).copied().flatten());
            let bound = value.map_or("?".into(), |v| v.to_string());
            match self.origin(id) {
                Some((port, axis)) => format!("{name}={bound} from '{port}' axis {axis}"),
                None => format!("{name}={bound}"),
            }
        };
        dim.symbols().into_iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The first port and axis that is this symbol.
    fn origin(&self, id: SymbolId) -> Option<(&str, usize)> {
        self.entry.inputs.iter().find_map(|p| {
            let axis = p.ty.as_tensor()?.shape.iter().position(|d| d.as_sym() == Some(id))?;
            Some((p.name.as_str(), axis))
        })
    }
}
