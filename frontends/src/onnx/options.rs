//! What the caller may fix about a model when it is imported.

use super::error::ImportError;
use std::str::FromStr;

/// What the caller may fix about a model when it is imported.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Ranges or values of dims.
    pub dims: Vec<DimOption>,
    /// Inputs that become constants and leave the signature.
    pub values: Vec<ValueOption>,
    /// Initializers that become inputs with a default, for callers to replace.
    pub params: Vec<String>,
    /// Largest model file, and largest sum of external weight files, in bytes.
    pub max_bytes: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { dims: Vec::new(), values: Vec::new(), params: Vec::new(), max_bytes: 64 << 30 }
    }
}

impl ImportOptions {
    /// Adds a dim option in its text form, `batch=1..64`, `batch=3` or `input:axis=8`.
    ///
    /// # Errors
    /// The text is not of that form.
    pub fn dim(mut self, text: &str) -> Result<Self, ImportError> {
        self.dims.push(text.parse()?);
        Ok(self)
    }

    /// Adds a value option in its text form, `sr=16000` or `axes=1,2`.
    ///
    /// # Errors
    /// The text is not of that form.
    pub fn value(mut self, text: &str) -> Result<Self, ImportError> {
        self.values.push(text.parse()?);
        Ok(self)
    }
}

/// A range, or a value, for one symbolic dim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DimOption {
    /// A symbol's name, or `input:axis`.
    pub target: String,
    /// Smallest value.
    pub min: i64,
    /// Largest value; equal to `min` it makes the dim a number.
    pub max: i64,
}

impl FromStr for DimOption {
    type Err = ImportError;

    fn from_str(text: &str) -> Result<Self, ImportError> {
        let fail =
            |reason: &str| ImportError::Option { option: text.into(), reason: reason.into() };
        let (target, range) =
            text.rsplit_once('=').ok_or_else(|| fail("expected NAME=SIZE or NAME=MIN..MAX"))?;
        let number = |s: &str| {
            s.trim().parse::<i64>().map_err(|_| fail(&format!("'{s}' is not an integer")))
        };
        let (min, max) = match range.split_once("..") {
            Some((min, max)) => (number(min)?, number(max)?),
            None => (number(range)?, number(range)?),
        };
        if min < 0 || max < min || max > cascata_ir::types::SymbolTable::DEFAULT_MAX {
            return Err(fail("sizes run from 0 to 2147483647, MIN not above MAX (both included)"));
        }
        Ok(DimOption { target: target.trim().to_string(), min, max })
    }
}

/// A constant for an input.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueOption {
    /// The input's name.
    pub input: String,
    /// One number for all elements, or one per element in row-major order; each must be
    /// exact in the input's dtype.
    pub values: Vec<f64>,
}

impl FromStr for ValueOption {
    type Err = ImportError;

    fn from_str(text: &str) -> Result<Self, ImportError> {
        let fail =
            |reason: &str| ImportError::Option { option: text.into(), reason: reason.into() };
        let (input, value) =
            text.rsplit_once('=').ok_or_else(|| fail("expected INPUT=NUMBER,…"))?;
        let number =
            |s: &str| s.trim().parse::<f64>().map_err(|_| fail(&format!("'{s}' is not a number")));
        let values = value.split(',').map(number).collect::<Result<_, _>>()?;
        Ok(ValueOption { input: input.trim().to_string(), values })
    }
}
