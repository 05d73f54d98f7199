//! A `config.json`, read value by value; what is wrong is collected.

use crate::error::ImportError;
use cascata_ir::op::UnaryOp;
use serde_json::{Map, Value};

/// Largest size that a configuration may name: products of three fit an `i64`.
const MAX_SIZE: u64 = 1 << 20;

/// Most layers: each is built before a missing tensor is noticed.
const MAX_LAYERS: i64 = 1000;

/// A configuration and what is wrong with it.
pub struct Config {
    values: Map<String, Value>,
    problems: Vec<String>,
}

impl Config {
    pub fn new(values: Map<String, Value>) -> Self {
        Config { values, problems: vec![] }
    }

    /// The value of `name`; null counts as absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).filter(|v| !v.is_null())
    }

    /// Whether the value of `name` is null.
    pub fn is_null(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(Value::is_null)
    }

    /// Records what is wrong, once.
    pub fn problem(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    fn read<T>(&mut self, name: &str, what: &str, f: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.get(name)?;
        let read = f(value);
        if read.is_none() {
            self.problem(format!("'{name}' must be {what}, not {value}"));
        }
        read
    }

    /// A positive integer.
    pub fn size(&mut self, name: &str) -> i64 {
        if self.get(name).is_none() {
            self.problem(format!("'{name}' is missing"));
        }
        self.size_or(name, 1)
    }

    /// A positive integer, or what it is when nothing is said.
    pub fn size_or(&mut self, name: &str, default: i64) -> i64 {
        self.optional_size(name).unwrap_or(default)
    }

    /// A positive integer, if given.
    pub fn optional_size(&mut self, name: &str) -> Option<i64> {
        let size = |v: &Value| v.as_u64().filter(|n| (1..=MAX_SIZE).contains(n)).map(|n| n as i64);
        self.read(name, &format!("an integer in 1..={MAX_SIZE}"), size)
    }

    /// A number of layers.
    pub fn layers(&mut self, name: &str) -> i64 {
        let layers = self.size(name);
        if layers > MAX_LAYERS {
            self.problem(format!("'{name}' is {layers}, more than {MAX_LAYERS}"));
            return 1;
        }
        layers
    }

    /// An integer that is not negative.
    pub fn index_or(&mut self, name: &str, default: i64) -> i64 {
        let index = |v: &Value| v.as_u64().filter(|n| *n <= MAX_SIZE).map(|n| n as i64);
        self.read(name, &format!("an integer in 0..={MAX_SIZE}"), index).unwrap_or(default)
    }

    /// A finite number, or what it is when nothing is said.
    pub fn number_or(&mut self, name: &str, default: f64) -> f64 {
        self.optional_number(name).unwrap_or(default)
    }

    /// A finite number, if given.
    pub fn optional_number(&mut self, name: &str) -> Option<f64> {
        self.read(name, "a number", |v| v.as_f64().filter(|x| x.is_finite()))
    }

    /// Finite numbers; none where nothing is said.
    pub fn numbers(&mut self, name: &str) -> Vec<f64> {
        let numbers = |v: &Value| v.as_array()?.iter().map(Value::as_f64).collect();
        self.read(name, "numbers", numbers).unwrap_or_default()
    }

    /// A bool, or what it is when nothing is said.
    pub fn flag_or(&mut self, name: &str, default: bool) -> bool {
        self.read(name, "true or false", Value::as_bool).unwrap_or(default)
    }

    /// A string, or what it is when nothing is said.
    pub fn text_or(&mut self, name: &str, default: &str) -> String {
        let text = self.read(name, "a string", |v| v.as_str().map(str::to_string));
        text.unwrap_or_else(|| default.to_string())
    }

    /// An object, if given.
    pub fn object(&mut self, name: &str) -> Option<Config> {
        let object = self.read(name, "an object", |v| v.as_object().cloned())?;
        Some(Config::new(object))
    }

    /// Takes over what was wrong with a part.
    pub fn absorb(&mut self, name: &str, part: Config) {
        part.problems.into_iter().for_each(|p| self.problem(format!("in '{name}': {p}")));
    }

    /// Reports an option that changes results and is not supported.
    pub fn refuse_unless(&mut self, name: &str, supported: &Value) {
        if self.get(name).is_some_and(|v| v != supported) {
            let value = &self.values[name];
            self.problems.push(format!("'{name}' is {value}; only {supported} is supported"));
        }
    }

    /// The activation called `name`.
    pub fn activation(&mut self, name: &str, default: &str) -> UnaryOp {
        match self.text_or(name, default).as_str() {
            "silu" | "swish" => UnaryOp::Silu,
            "gelu" => UnaryOp::GeluErf,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => UnaryOp::GeluTanh,
            "relu" => UnaryOp::Relu,
            other => {
                self.problem(format!("activation '{other}' is not supported"));
                UnaryOp::Relu
            }
        }
    }

    /// Checks that `whole` divides into `parts` and gives the share.
    pub fn share(&mut self, what: &str, whole: i64, parts: i64) -> i64 {
        if whole % parts != 0 {
            self.problem(format!("{what}: {whole} does not divide by {parts}"));
        }
        (whole / parts).max(1)
    }

    /// Fails with everything that was wrong.
    pub fn finish(self, file: &str) -> Result<(), ImportError> {
        match self.problems.is_empty() {
            true => Ok(()),
            false => Err(ImportError::File { file: file.into(), problems: self.problems }),
        }
    }
}
