//! What the caller may fix about a model when it is imported.

use super::error::ImportError;
use std::fmt;
use std::str::FromStr;

/// What the caller may fix about a model when it is imported.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Ranges or values of dims.
    pub dims: Vec<DimOption>,
    /// Inputs that become constants and leave the signature.
    pub values: Vec<ValueOption>,
    /// Numbers of elements of sequence inputs, each of which becomes as many inputs.
    pub lengths: Vec<CountOption>,
    /// Ranks of inputs, or of elements of sequences, that are declared without a shape.
    pub ranks: Vec<CountOption>,
    /// Optional inputs that hold nothing and leave the signature.
    pub absent: Vec<String>,
    /// Initializers that become inputs with a default, for callers to replace.
    pub params: Vec<String>,
    /// Largest model file, and largest sum of external weight files, in bytes.
    pub max_bytes: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            dims: Vec::new(),
            values: Vec::new(),
            lengths: Vec::new(),
            ranks: Vec::new(),
            absent: Vec::new(),
            params: Vec::new(),
            max_bytes: 64 << 30,
        }
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

    /// Adds the length of a sequence input in its text form, `images=3`.
    ///
    /// # Errors
    /// The text is not of that form.
    pub fn length(mut self, text: &str) -> Result<Self, ImportError> {
        self.lengths.push(text.parse()?);
        Ok(self)
    }

    /// Adds the rank of an input in its text form, `x=2`.
    ///
    /// # Errors
    /// The text is not of that form.
    pub fn rank(mut self, text: &str) -> Result<Self, ImportError> {
        self.ranks.push(text.parse()?);
        Ok(self)
    }

    /// Adds an optional input that holds nothing.
    #[must_use]
    pub fn without(mut self, input: &str) -> Self {
        self.absent.push(input.to_string());
        self
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

/// A number for an input: the length of a sequence, or a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountOption {
    /// The input's name.
    pub input: String,
    /// How many elements, or axes, it has.
    pub count: usize,
}

impl FromStr for CountOption {
    type Err = ImportError;

    fn from_str(text: &str) -> Result<Self, ImportError> {
        let fail =
            |reason: &str| ImportError::Option { option: text.into(), reason: reason.into() };
        let (input, count) = text.rsplit_once('=').ok_or_else(|| fail("expected INPUT=NUMBER"))?;
        let count = count.trim().parse().map_err(|_| fail("it must be a number from 0 up"))?;
        Ok(CountOption { input: input.trim().to_string(), count })
    }
}

impl fmt::Display for CountOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.input, self.count)
    }
}
