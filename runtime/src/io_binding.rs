//! Inputs and outputs in the caller's memory, bound once and run often.

use crate::bind::InputSet;
use crate::cancel::RunOptions;
use crate::error::{InputError, RunError};
use crate::session::{Session, new_output};
use crate::sys::run::OutputSet;
use crate::tensor::{Tensor, TensorView, TensorViewMut, type_text};
use cascata_artifact::manifest::Port;
use cascata_types::DType;

/// Tensors bound to a session's inputs and outputs by name. Runs read and write them in
/// place; an output that is not bound gets a tensor of the binding's own, which the next
/// run of the same size reuses. A run with sizes seen before then allocates nothing.
pub struct IoBinding<'a> {
    session: &'a Session,
    inputs: Bound<'a>,
    outputs: Slots<'a>,
}

impl Session {
    /// An empty binding of this session's inputs and outputs.
    pub fn io_binding(&self) -> IoBinding<'_> {
        IoBinding {
            session: self,
            inputs: Bound(vec![None; self.inputs().len()]),
            outputs: Slots {
                names: self.outputs(),
                slots: self.outputs().iter().map(|_| Slot::Empty).collect(),
            },
        }
    }
}

impl<'a> IoBinding<'a> {
    /// Binds an input; a second call replaces the first.
    ///
    /// # Errors
    /// There is no such input. Types are checked when it runs.
    pub fn bind_input(&mut self, name: &str, tensor: TensorView<'a>) -> Result<(), RunError> {
        let port = find("input", self.session.inputs(), name)?;
        self.inputs.0[port] = Some(tensor);
        Ok(())
    }

    /// Binds memory for an output; its dims must be those that the run computes.
    ///
    /// # Errors
    /// There is no such output. Types are checked when it runs.
    pub fn bind_output(&mut self, name: &str, memory: TensorViewMut<'a>) -> Result<(), RunError> {
        let port = find("output", self.session.outputs(), name)?;
        self.outputs.slots[port] = Slot::Bound(memory);
        Ok(())
    }

    /// Runs once.
    ///
    /// # Errors
    /// As [`Session::run`], or an output's bound memory has another type.
    pub fn run(&mut self) -> Result<(), RunError> {
        self.run_with(&RunOptions::default())
    }

    /// As [`IoBinding::run`], with options.
    ///
    /// # Errors
    /// As [`IoBinding::run`], or the run was cancelled.
    pub fn run_with(&mut self, options: &RunOptions) -> Result<(), RunError> {
        let (session, inputs, outputs) = (self.session, &self.inputs, &mut self.outputs);
        session.execute(options, inputs, outputs, None)
    }

    /// An output of the last run, wherever it lies; `None` before the first.
    pub fn output(&self, name: &str) -> Option<TensorView<'_>> {
        let port = self.session.outputs().iter().position(|p| p.name == name)?;
        self.outputs.slots[port].view()
    }
}

fn find(kind: &'static str, ports: &[Port], name: &str) -> Result<usize, RunError> {
    ports.iter().position(|p| p.name == name).ok_or_else(|| RunError::NoSuchPort {
        kind,
        name: name.into(),
        names: ports.iter().map(|p| p.name.clone()).collect(),
    })
}

struct Bound<'a>(Vec<Option<TensorView<'a>>>);

impl InputSet for Bound<'_> {
    fn tensor(&self, port: usize, _name: &str) -> Option<TensorView<'_>> {
        self.0[port]
    }

    fn check_names(&self, _ports: &[Port], _errors: &mut Vec<InputError>) {}
}

/// Memory of the outputs of one binding.
struct Slots<'a> {
    names: &'a [Port],
    slots: Vec<Slot<'a>>,
}

/// Memory of one output.
enum Slot<'a> {
    /// None yet.
    Empty,
    /// The binding's own.
    Owned(Tensor),
    /// The caller's.
    Bound(TensorViewMut<'a>),
}

impl Slot<'_> {
    fn view(&self) -> Option<TensorView<'_>> {
        match self {
            Slot::Empty => None,
            Slot::Owned(t) => Some(t.view()),
            Slot::Bound(t) => TensorView::new(t.dtype(), t.dims(), t.bytes()).ok(),
        }
    }

    fn has_type(&self, dtype: DType, dims: &[i64]) -> bool {
        self.view().is_some_and(|t| t.dtype() == dtype && t.dims() == dims)
    }
}

impl OutputSet for Slots<'_> {
    fn memory(&mut self, port: usize, dtype: DType, dims: &[i64]) -> Result<&mut [u8], RunError> {
        let slot = &mut self.slots[port];
        if !slot.has_type(dtype, dims) {
            if let Slot::Bound(t) = slot {
                let (expected, found) = (type_text(dtype, dims), type_text(t.dtype(), t.dims()));
                return Err(RunError::Output {
                    name: self.names[port].name.clone(),
                    expected,
                    found,
                });
            }
            *slot = Slot::Empty; // Free first: the two need not exist together.
            *slot = Slot::Owned(new_output(dtype, dims)?);
        }
        Ok(match slot {
            Slot::Empty => &mut [],
            Slot::Owned(t) => t.bytes_mut(),
            Slot::Bound(t) => t.bytes_mut(),
        })
    }

    fn give(&mut self, port: usize, strings: Tensor) -> Result<(), RunError> {
        if let Slot::Bound(_) = self.slots[port] {
            return Err(RunError::BoundText { name: self.names[port].name.clone() });
        }
        self.slots[port] = Slot::Owned(strings);
        Ok(())
    }
}
