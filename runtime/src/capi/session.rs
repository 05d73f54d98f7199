//! Sessions for C.

use super::handles::{CascataArtifact, CascataCancel, CascataRuntime, c_text};
use super::{
    Failure, Status, borrow, borrow_mut, dtype_from, dtype_number, give, guard, take, text,
};
use crate::bind::InputSet;
use crate::cancel::RunOptions;
use crate::error::{InputError, RunError};
use crate::runtime::Runtime;
use crate::session::{Session, SessionOptions, new_output};
use crate::sys::run::OutputSet;
use crate::tensor::{Tensor, TensorView, type_text};
use cascata_artifact::manifest::{Entry, Port};
use cascata_types::{DType, Dim};
use std::ffi::{CString, c_char, c_void};

/// `CascataTensor`.
#[repr(C)]
pub(crate) struct CascataTensor {
    data: *mut c_void,
    bytes: usize,
    dims: *const i64,
    rank: usize,
    dtype: i32,
}

/// `CascataPort`.
#[repr(C)]
pub(crate) struct CascataPort {
    name: *const c_char,
    ty: *const c_char,
    dims: *const i64,
    rank: usize,
    dtype: i32,
    kind: i32,
}

/// `CascataSession`.
pub(crate) struct CascataSession {
    session: Session,
    /// Inputs, then outputs, as `CascataPortKind` counts.
    ports: [Vec<PortInfo>; 2],
    inputs: Inputs,
    outputs: Outputs,
    options: RunOptions,
}

struct PortInfo {
    name: CString,
    ty: CString,
    dims: Vec<i64>,
    dtype: DType,
}

/// The caller's memory, with dims of our own.
struct Memory {
    data: *mut u8,
    bytes: usize,
    dims: Vec<i64>,
    dtype: DType,
}

struct Inputs(Vec<Option<Memory>>);

struct Outputs {
    names: Vec<String>,
    slots: Vec<Slot>,
}

enum Slot {
    Empty,
    Owned(Tensor),
    Bound(Memory),
}

impl Memory {
    /// # Safety
    /// The tensor's dims are valid now; its data until it is unbound.
    unsafe fn new(tensor: &CascataTensor) -> Result<Self, Failure> {
        if (tensor.dims.is_null() && tensor.rank > 0) || (tensor.data.is_null() && tensor.bytes > 0)
        {
            return Err(Failure::argument("the tensor's dims or data are null"));
        }
        let dims = if tensor.rank == 0 {
            Vec::new()
        } else {
            // SAFETY: not null, hence `rank` numbers by the caller's promise.
            unsafe { std::slice::from_raw_parts(tensor.dims, tensor.rank) }.to_vec()
        };
        // An empty tensor may have no data at all, which a slice must not.
        let nothing = std::ptr::NonNull::<u64>::dangling().as_ptr().cast();
        let data = if tensor.bytes == 0 { nothing } else { tensor.data.cast() };
        let memory = Self { data, bytes: tensor.bytes, dims, dtype: dtype_from(tensor.dtype)? };
        memory.view()?;
        Ok(memory)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: not null; the caller has promised that it lives while it is bound.
        unsafe { std::slice::from_raw_parts(self.data, self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; bound as an output, so nobody else uses it during a run.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.bytes) }
    }

    fn view(&self) -> Result<TensorView<'_>, Failure> {
        Ok(TensorView::new(self.dtype, &self.dims, self.bytes())?)
    }
}

impl InputSet for Inputs {
    fn tensor(&self, port: usize, _name: &str) -> Option<TensorView<'_>> {
        self.0[port].as_ref()?.view().ok()
    }

    fn check_names(&self, _ports: &[Port], _errors: &mut Vec<InputError>) {}
}

impl Slot {
    fn view(&self) -> Option<TensorView<'_>> {
        match self {
            Slot::Empty => None,
            Slot::Owned(t) => Some(t.view()),
            Slot::Bound(m) => m.view().ok(),
        }
    }
}

impl OutputSet for Outputs {
    fn memory(&mut self, port: usize, dtype: DType, dims: &[i64]) -> Result<&mut [u8], RunError> {
        let slot = &mut self.slots[port];
        if !slot.view().is_some_and(|t| t.dtype() == dtype && t.dims() == dims) {
            if let Slot::Bound(m) = slot {
                let (expected, found) = (type_text(dtype, dims), type_text(m.dtype, &m.dims));
                return Err(RunError::Output { name: self.names[port].clone(), expected, found });
            }
            *slot = Slot::Owned(new_output(dtype, dims)?);
        }
        Ok(match slot {
            Slot::Empty => &mut [],
            Slot::Owned(t) => t.bytes_mut(),
            Slot::Bound(m) => m.bytes_mut(),
        })
    }

    fn give(&mut self, port: usize, strings: Tensor) -> Result<(), RunError> {
        if let Slot::Bound(_) = self.slots[port] {
            return Err(RunError::BoundText { name: self.names[port].clone() });
        }
        self.slots[port] = Slot::Owned(strings);
        Ok(())
    }
}

fn port_infos(entry: &Entry, ports: &[Port]) -> Vec<PortInfo> {
    let info = |p: &Port| {
        let shape = p.ty.as_tensor().map_or(&[][..], |t| &t.shape);
        PortInfo {
            name: c_text(&p.name),
            ty: c_text(&p.ty.display(&entry.symbols)),
            dims: shape.iter().map(|d: &Dim| d.as_const().unwrap_or(-1)).collect(),
            dtype: p.ty.as_tensor().map_or(DType::U8, |t| t.dtype),
        }
    };
    ports.iter().map(info).collect()
}

impl CascataSession {
    fn new(session: Session) -> Self {
        let entry = session.entry();
        let ports = [port_infos(entry, session.inputs()), port_infos(entry, session.outputs())];
        let inputs = Inputs(session.inputs().iter().map(|_| None).collect());
        let outputs = Outputs {
            names: session.outputs().iter().map(|p| p.name.clone()).collect(),
            slots: session.outputs().iter().map(|_| Slot::Empty).collect(),
        };
        Self { session, ports, inputs, outputs, options: RunOptions::default() }
    }

    fn ports(&self, kind: i32) -> Result<&[PortInfo], Failure> {
        let ports = usize::try_from(kind).ok().and_then(|k| self.ports.get(k));
        ports
            .map(Vec::as_slice)
            .ok_or_else(|| Failure::argument(format!("there is no port kind {kind}")))
    }
}

fn out_of_range(what: &str, index: usize, count: usize) -> Failure {
    Failure::argument(format!("{what} {index} is out of range: there are {count}"))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_session_create(
    artifact: *const CascataArtifact,
    runtime: *const CascataRuntime,
    entry: *const c_char,
    out: *mut *mut CascataSession,
) -> Status {
    let make = || {
        // SAFETY: see the module text of `capi`.
        let artifact = unsafe { borrow("artifact", artifact)? };
        // SAFETY: as above; null means the default.
        let runtime = match unsafe { runtime.as_ref() } {
            Some(runtime) => runtime.0.clone(),
            None => Runtime::global()?,
        };
        let mut options = SessionOptions::default();
        if !entry.is_null() {
            // SAFETY: as above.
            options = options.entry(unsafe { text("entry", entry)? });
        }
        Ok(CascataSession::new(artifact.artifact.session_with(&runtime, &options)?))
    };
    // SAFETY: see the module text of `capi`.
    guard(|| unsafe { give(out, make) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_session_free(session: *mut CascataSession) {
    // SAFETY: see the module text of `capi`.
    unsafe { take(session) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_session_port_count(
    session: *const CascataSession,
    kind: i32,
) -> usize {
    // SAFETY: see the module text of `capi`.
    let session = unsafe { borrow("session", session) };
    session.and_then(|s| s.ports(kind)).map_or(0, <[_]>::len)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_session_port(
    session: *const CascataSession,
    kind: i32,
    index: usize,
    out: *mut CascataPort,
) -> Status {
    guard(|| {
        // SAFETY: see the module text of `capi`.
        let (session, out) = unsafe { (borrow("session", session)?, borrow_mut("out", out)?) };
        let ports = session.ports(kind)?;
        let port = ports.get(index).ok_or_else(|| out_of_range("port", index, ports.len()))?;
        *out = CascataPort {
            name: port.name.as_ptr(),
            ty: port.ty.as_ptr(),
            dims: port.dims.as_ptr(),
            rank: port.dims.len(),
            dtype: dtype_number(port.dtype),
            kind: 0, // A tensor: `Session` takes no other ports.
        };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_session_find_port(
    session: *const CascataSession,
    kind: i32,
    name: *const c_char,
    index: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: see the module text of `capi`.
        let (session, index) =
            unsafe { (borrow("session", session)?, borrow_mut("index", index)?) };
        // SAFETY: as above.
        let name = unsafe { text("name", name)? };
        let ports = session.ports(kind)?;
        let found = ports.iter().position(|p| p.name.as_bytes() == name.as_bytes());
        *index = found.ok_or_else(|| {
            let names: Vec<_> = ports.iter().map(|p| p.name.to_string_lossy()).collect();
            Failure::argument(format!("there is no port '{name}', only {}", names.join(", ")))
        })?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_session_set_input(
    session: *mut CascataSession,
    index: usize,
    tensor: *const CascataTensor,
) -> Status {
    guard(|| {
        // SAFETY: see the module text of `capi`.
        let (session, tensor) =
            unsafe { (borrow_mut("session", session)?, borrow("tensor", tensor)?) };
        let count = session.inputs.0.len();
        let slot =
            session.inputs.0.get_mut(index).ok_or_else(|| out_of_range("input", index, count))?;
        // SAFETY: as above.
        *slot = Some(unsafe { Memory::new(tensor)? });
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_session_set_output(
    session: *mut CascataSession,
    index: usize,
    tensor: *const CascataTensor,
) -> Status {
    guard(|| {
        // SAFETY: see the module text of `capi`.
        let session = unsafe { borrow_mut("session", session)? };
        let count = session.outputs.slots.len();
        let slot = session
            .outputs
            .slots
            .get_mut(index)
            .ok_or_else(|| out_of_range("output", index, count))?;
        // SAFETY: as above; null unbinds.
        *slot = match unsafe { tensor.as_ref() } {
            // SAFETY: as above.
            Some(tensor) => Slot::Bound(unsafe { Memory::new(tensor)? }),
            None => Slot::Empty,
        };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_session_set_cancel(
    session: *mut CascataSession,
    cancel: *const CascataCancel,
) -> Status {
    guard(|| {
        // SAFETY: see the module text of `capi`; null means none.
        let (session, cancel) = unsafe { (borrow_mut("session", session)?, cancel.as_ref()) };
        session.options = match cancel {
            Some(cancel) => RunOptions::default().cancel(&cancel.0),
            None => RunOptions::default(),
        };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_session_run(session: *mut CascataSession) -> Status {
    guard(|| {
        // SAFETY: see the module text of `capi`.
        let CascataSession { session, inputs, outputs, options, .. } =
            unsafe { borrow_mut("session", session)? };
        session.execute(options, inputs, outputs, None)?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_session_get_output(
    session: *const CascataSession,
    index: usize,
    out: *mut CascataTensor,
) -> Status {
    guard(|| {
        // SAFETY: see the module text of `capi`.
        let (session, out) = unsafe { (borrow("session", session)?, borrow_mut("out", out)?) };
        let slots = &session.outputs.slots;
        let slot = slots.get(index).ok_or_else(|| out_of_range("output", index, slots.len()))?;
        let tensor = slot
            .view()
            .ok_or_else(|| Failure::argument("there is no output before the first run"))?;
        *out = CascataTensor {
            data: tensor.bytes().as_ptr().cast_mut().cast(),
            bytes: tensor.bytes().len(),
            dims: tensor.dims().as_ptr(),
            rank: tensor.dims().len(),
            dtype: dtype_number(tensor.dtype()),
        };
        Ok(())
    })
}
