//! The C API; `include/cascata.h` documents it and says what callers promise.
//!
//! Safety, for every function here: pointers are null or as the header says, handles
//! come from this library and are not freed, text ends with a zero byte. Null pointers
//! are reported, not followed. Nothing unwinds: [`guard`] catches.
#![allow(unsafe_code, reason = "the border to C")]

mod handles;
mod session;

use crate::error::{LoadError, RunError, TensorError};
use cascata_types::DType;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `CascataStatus`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0,
    InvalidArgument = 1,
    LoadFailed = 2,
    InvalidTensor = 3,
    RunFailed = 4,
    OutOfMemory = 5,
    Internal = 6,
    Cancelled = 7,
}

/// A failure on its way to the caller.
pub(crate) struct Failure {
    status: Status,
    text: String,
}

impl Failure {
    fn argument(text: impl Into<String>) -> Self {
        Self { status: Status::InvalidArgument, text: text.into() }
    }
}

impl From<LoadError> for Failure {
    fn from(e: LoadError) -> Self {
        Self { status: Status::LoadFailed, text: e.to_string() }
    }
}

impl From<RunError> for Failure {
    fn from(e: RunError) -> Self {
        let status = match &e {
            RunError::Inputs(_) | RunError::Output { .. } | RunError::BoundText { .. } => {
                Status::InvalidTensor
            }
            RunError::NoSuchPort { .. } => Status::InvalidArgument,
            RunError::OutOfMemory { .. } => Status::OutOfMemory,
            RunError::Cancelled { .. } => Status::Cancelled,
            RunError::Panicked { .. } | RunError::Plan { .. } => Status::Internal,
            RunError::Check { .. }
            | RunError::DataDependent { .. }
            | RunError::Device(_)
            | RunError::Formula { .. }
            | RunError::NotComputed { .. }
            | RunError::Text { .. }
            | RunError::Cache { .. }
            | RunError::Kernel { .. } => Status::RunFailed,
        };
        Self { status, text: e.to_string() }
    }
}

impl From<TensorError> for Failure {
    fn from(e: TensorError) -> Self {
        Self { status: Status::InvalidTensor, text: e.to_string() }
    }
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Runs a function's body; keeps what it says when it fails, or panics.
fn guard(body: impl FnOnce() -> Result<(), Failure>) -> Status {
    let result = catch_unwind(AssertUnwindSafe(body));
    let failure = match result {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(failure)) => failure,
        Err(_) => Failure {
            status: Status::Internal,
            text: "a bug of Cascata (it panicked); please report it".into(),
        },
    };
    let text = CString::new(failure.text.replace('\0', "?")).unwrap_or_default();
    // A thread that is ending has no last error any more.
    let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = text);
    failure.status
}

/// Text of the caller's.
///
/// # Safety
/// Null, or text that ends with a zero byte and lives while it is used.
unsafe fn text<'a>(what: &str, text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::argument(format!("{what} is null")));
    }
    // SAFETY: not null, hence text by the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::argument(format!("{what} is not UTF-8")))
}

/// A reference to what the caller points at.
///
/// # Safety
/// Null, or valid while it is used.
unsafe fn borrow<'a, T>(what: &str, pointer: *const T) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::argument(format!("{what} is null")))
}

/// A mutable reference to what the caller points at.
///
/// # Safety
/// Null, or valid and not used by anyone else while it is used.
unsafe fn borrow_mut<'a, T>(what: &str, pointer: *mut T) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| Failure::argument(format!("{what} is null")))
}

/// Hands a new object to the caller.
///
/// # Safety
/// `out` is null or valid for a write.
unsafe fn give<T>(
    out: *mut *mut T,
    make: impl FnOnce() -> Result<T, Failure>,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let out = unsafe { borrow_mut("out", out)? };
    *out = std::ptr::null_mut();
    *out = Box::into_raw(Box::new(make()?));
    Ok(())
}

/// Takes an object back from the caller and drops it.
///
/// # Safety
/// Null, or what [`give`] gave, once.
unsafe fn take<T>(object: *mut T) {
    if !object.is_null() {
        // SAFETY: the caller's promise.
        let object = unsafe { Box::from_raw(object) };
        guard(|| {
            drop(object);
            Ok(())
        });
    }
}

/// The number of a dtype: its place in [`DType::ALL`], which only grows at its end.
fn dtype_number(dtype: DType) -> i32 {
    DType::ALL.iter().position(|d| *d == dtype).map_or(-1, |i| i as i32)
}

fn dtype_from(number: i32) -> Result<DType, Failure> {
    let found = usize::try_from(number).ok().and_then(|n| DType::ALL.get(n));
    found.copied().ok_or_else(|| Failure::argument(format!("there is no dtype {number}")))
}

#[unsafe(no_mangle)]
extern "C" fn cascata_api_version() -> u32 {
    2
}

#[unsafe(no_mangle)]
extern "C" fn cascata_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

#[unsafe(no_mangle)]
extern "C" fn cascata_last_error() -> *const c_char {
    LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}
