//! Exit codes, and which error ends in which.

use cascata::engine::{GenerateError, RequestError, SubmitError};
use cascata::onnx;
use cascata::passes::error::PassError;
use cascata::{CompileError, ImportError, LoadError, RunError, TensorError, TextError};
use std::path::Path;
use std::process::ExitCode;

/// Shown at the end of `--help`.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  the answer is no: outputs differ (diff-run), nothing is known of the value (explain),
     the artifact was compiled with --strip (inspect), entries are not isolated (check)
  2  wrong usage: a flag, a size, a target or a value that does not exist
  3  a file cannot be read or written, is damaged or not signed with a trusted key, or this CPU
     cannot run it
  4  the model has ops that cannot be imported or compiled; all are listed
  5  running failed: the inputs do not fit, a check of the model does not hold, memory
  6  a defect of Cascata; please report it";

/// The answer to what was asked is no.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct No(pub String);

/// The command line asks for what does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A child process has failed with this code and said why.
#[derive(Debug, thiserror::Error)]
#[error("see above")]
pub struct Said(pub u8);

/// A file that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {reason}")]
pub struct FileError {
    action: &'static str,
    path: String,
    reason: String,
}

impl FileError {
    /// `action` is `read` or `write`.
    pub fn new(action: &'static str, path: &Path, reason: impl ToString) -> Self {
        Self { action, path: path.display().to_string(), reason: reason.to_string() }
    }
}

/// The exit code of an error.
pub fn code(error: &anyhow::Error) -> ExitCode {
    error.chain().find_map(of_cause).unwrap_or(6).into()
}

fn of_cause(e: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(e) = e.downcast_ref::<CompileError>() {
        return Some(of_compile(e));
    }
    if let Some(e) = e.downcast_ref::<ImportError>() {
        return Some(of_import(e));
    }
    if let Some(e) = e.downcast_ref::<onnx::ImportError>() {
        return Some(of_onnx(e));
    }
    if let Some(Said(code)) = e.downcast_ref() {
        return Some(*code);
    }
    // A value to fetch, a symbol: options name them.
    let names_nothing = matches!(e.downcast_ref(), Some(RunError::NoSuchPort { .. }));
    let is_run =
        e.is::<RunError>() || e.is::<TensorError>() || e.is::<cascata::ir::interp::RunError>();
    let is_run = is_run || e.is::<GenerateError>();
    let is_request = e.is::<RequestError>() || e.is::<SubmitError>();
    let is_usage =
        e.is::<Usage>() || e.is::<cascata::UnknownTarget>() || names_nothing || is_request;
    [
        (e.is::<No>(), 1),
        (is_usage, 2),
        (e.is::<FileError>() || e.is::<LoadError>() || e.is::<TextError>(), 3),
        (is_run, 5),
        (e.is::<PassError>(), 6),
    ]
    .into_iter()
    .find_map(|(is, code)| is.then_some(code))
}

fn of_import(e: &ImportError) -> u8 {
    match e {
        ImportError::Onnx(e) => of_onnx(e),
        ImportError::Option { .. } => 2,
        ImportError::Io { .. }
        | ImportError::TooLarge { .. }
        | ImportError::File { .. }
        | ImportError::Tensors { .. }
        | ImportError::Infer(_) => 3,
    }
}

fn of_onnx(e: &onnx::ImportError) -> u8 {
    use onnx::ImportError;
    match e {
        ImportError::Option { .. } => 2,
        ImportError::Nodes(_) => 4,
        ImportError::Io { .. }
        | ImportError::TooLarge { .. }
        | ImportError::Decode(_)
        | ImportError::Model { .. } => 3,
    }
}

fn of_compile(e: &CompileError) -> u8 {
    use cascata::BuildError;
    match e {
        CompileError::Import(e) => of_import(e),
        CompileError::NoSuchValue(_) | CompileError::NoSuchSymbol { .. } => 2,
        CompileError::Hash { .. } | CompileError::Write(_) | CompileError::Load(_) => 3,
        CompileError::Build(BuildError::Unsupported(_)) => 4,
        CompileError::Pass(_) | CompileError::Target(_) | CompileError::Build(_) => 6,
    }
}
