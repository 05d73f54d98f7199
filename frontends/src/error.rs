//! Why a model cannot be imported, whatever its format.

use crate::onnx;
use cascata_ir::infer::InferError;
use std::path::PathBuf;

/// Why a model cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An ONNX model cannot be imported.
    #[error(transparent)]
    Onnx(#[from] onnx::ImportError),
    /// A file or folder cannot be opened, listed or mapped.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The files are larger than the option allows.
    #[error("{what} has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        bytes: u64,
        /// [`onnx::ImportOptions::max_bytes`].
        limit: u64,
    },
    /// A file is not what its format says, or describes a model that is not known: everything
    /// that is wrong with it.
    #[error("{file}: {}", list(.problems))]
    File {
        /// The file's name.
        file: String,
        /// What is wrong.
        problems: Vec<String>,
    },
    /// Tensors that are missing, misshapen or that the architecture has no use for: all of them.
    #[error("the tensors do not fit the configuration ({architecture}): {}", list(.problems))]
    Tensors {
        /// The architecture that the configuration names.
        architecture: String,
        /// What is wrong, each with its file and the shape expected.
        problems: Vec<String>,
    },
    /// An option does not fit the model.
    #[error("option '{option}': {reason}")]
    Option {
        /// The option as given.
        option: String,
        /// Why it does not fit, and what would.
        reason: String,
    },
    /// The configuration asks for what the ops cannot express.
    #[error(transparent)]
    Infer(#[from] InferError),
}

fn list(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        many => {
            let lines: Vec<String> = many.iter().map(|p| format!("\n  {p}")).collect();
            format!("{} problems{}", many.len(), lines.concat())
        }
    }
}

impl ImportError {
    /// One problem of a file.
    pub(crate) fn file(file: impl Into<String>, problem: impl Into<String>) -> Self {
        ImportError::File { file: file.into(), problems: vec![problem.into()] }
    }
}
