//! Compiled models and what they must give, in two files that need nothing of ours to be read:
//! `bundle.json` says what lies where in `bundle.bin` (`tests/gpu/check` reads them, on a
//! machine that has a GPU and no compiler).

use anyhow::{Context, Result};
use cascata_ir::interp::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// Tensors are used where they lie.
const ALIGN: usize = 64;

/// How far a result may be from what it must be.
#[derive(Clone, Copy, Debug)]
pub enum Tolerance {
    /// `|got − want| ≤ atol + rtol·|want|`; integers at most `steps` apart.
    Elements {
        /// Relative.
        rtol: f64,
        /// Absolute.
        atol: f64,
        /// Of integers.
        steps: i64,
    },
    /// The largest difference over the largest magnitude.
    Relative(f64),
    /// One minus the cosine.
    Angle(f64),
}

impl Tolerance {
    fn json(self) -> Value {
        match self {
            Tolerance::Elements { rtol, atol, steps } => {
                json!({ "elements": { "rtol": rtol, "atol": atol, "steps": steps } })
            }
            Tolerance::Relative(t) => json!({ "relative": t }),
            Tolerance::Angle(t) => json!({ "angle": t }),
        }
    }
}

/// A bundle in the making.
#[derive(Default)]
pub struct Bundle {
    artifacts: Vec<Value>,
    cases: Vec<Value>,
    data: Vec<u8>,
}

impl Bundle {
    /// Adds an artifact; its number.
    pub fn artifact(&mut self, bytes: &[u8]) -> usize {
        let span = self.span(bytes);
        self.artifacts.push(span);
        self.artifacts.len() - 1
    }

    /// Adds a run of an artifact: its inputs by name, its results by name or in order, each
    /// with how far it may be off.
    pub fn case(
        &mut self,
        (group, name): (&str, &str),
        artifact: usize,
        inputs: &[(String, Tensor)],
        outputs: &[(String, Tensor, Tolerance)],
    ) {
        let inputs: Vec<Value> = inputs.iter().map(|(name, t)| self.tensor(name, t)).collect();
        let outputs: Vec<Value> = outputs
            .iter()
            .map(|(name, t, tolerance)| {
                let mut value = self.tensor(name, t);
                value["tolerance"] = tolerance.json();
                value
            })
            .collect();
        self.cases.push(json!({
            "group": group, "name": name, "artifact": artifact, "inputs": inputs, "outputs": outputs,
        }));
    }

    /// How many cases there are.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is no case.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Writes both files.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let index = json!({ "artifacts": self.artifacts, "cases": self.cases });
        std::fs::write(folder.join("bundle.json"), serde_json::to_vec(&index)?)?;
        std::fs::write(folder.join("bundle.bin"), &self.data)?;
        Ok(())
    }

    fn tensor(&mut self, name: &str, tensor: &Tensor) -> Value {
        let mut value = self.span(&tensor.to_le_bytes());
        value["name"] = json!(name);
        value["dtype"] = json!(tensor.dtype());
        value["dims"] = json!(tensor.dims());
        value
    }

    fn span(&mut self, bytes: &[u8]) -> Value {
        let offset = self.data.len().next_multiple_of(ALIGN);
        self.data.resize(offset, 0);
        self.data.extend_from_slice(bytes);
        json!({ "offset": offset, "bytes": bytes.len() })
    }
}
