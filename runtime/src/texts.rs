//! The strings of one run: a table in which equal strings have one id.
//!
//! Why: kernels move and compare 8-byte ids; only a few ops, here, look at characters. Id 0
//! is the empty string, then come the artifact's constants, then what inputs and ops bring;
//! the next run forgets the latter. An id that is not in the table is an error: a file can
//! hold any number.

use crate::error::RunError;
use crate::sys::memory::AlignedBuf;
use crate::tensor::TensorView;
use cascata_artifact::manifest::{Entry, TextOp};
use cascata_types::text;
use std::collections::HashMap;
use std::sync::Arc;

/// Most bytes of all strings of a run.
const MOST_BYTES: u64 = 1 << 32;

/// Bytes of an id.
const ID: usize = 8;

/// All strings of a run, and the ids of its inputs and outputs.
pub(crate) struct Texts {
    list: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u64>,
    /// How many are the artifact's.
    constants: usize,
    bytes: u64,
    inputs: Vec<AlignedBuf>,
    outputs: Vec<(Vec<i64>, AlignedBuf)>,
}

fn problem(problem: impl Into<String>) -> RunError {
    RunError::Text { problem: problem.into(), source_nodes: vec![] }
}

impl Texts {
    /// The table that a run of an entry starts with.
    pub(crate) fn new(constants: &[String], entry: &Entry) -> Self {
        let all = std::iter::once("").chain(constants.iter().map(String::as_str));
        let list: Vec<Arc<str>> = all.map(Arc::from).collect();
        Self {
            ids: list.iter().zip(0..).map(|(text, id)| (text.clone(), id)).collect(),
            constants: list.len(),
            bytes: 0,
            inputs: entry.inputs.iter().map(|_| AlignedBuf::empty()).collect(),
            outputs: entry.outputs.iter().map(|_| (vec![], AlignedBuf::empty())).collect(),
            list,
        }
    }

    /// Forgets what the run before brought.
    pub(crate) fn reset(&mut self) {
        for text in self.list.drain(self.constants..) {
            self.ids.remove(&text);
        }
        self.bytes = 0;
    }

    fn id(&mut self, text: &str) -> Result<u64, RunError> {
        if let Some(id) = self.ids.get(text) {
            return Ok(*id);
        }
        self.bytes += text.len() as u64;
        if self.bytes > MOST_BYTES {
            return Err(problem(format!("the strings of a run have more than {MOST_BYTES} bytes")));
        }
        let (text, id) = (Arc::<str>::from(text), self.list.len() as u64);
        self.list.push(text.clone());
        self.ids.insert(text, id);
        Ok(id)
    }

    fn text(&self, id: &[u8]) -> Result<&Arc<str>, RunError> {
        let id = id.try_into().map_or(u64::MAX, u64::from_ne_bytes);
        usize::try_from(id).ok().and_then(|i| self.list.get(i)).ok_or_else(|| {
            problem(format!("there is no string {id} among {}: the artifact is inconsistent, recompile the model and report this", self.list.len()))
        })
    }

    fn all(&self, ids: &[u8]) -> Result<Vec<Arc<str>>, RunError> {
        ids.chunks_exact(ID).map(|id| self.text(id).cloned()).collect()
    }

    /// Takes an input's strings in.
    pub(crate) fn take(&mut self, port: usize, view: &TensorView<'_>) -> Result<(), RunError> {
        let texts = view.strings().map_err(|e| problem(e.to_string()))?;
        let mut memory = std::mem::replace(&mut self.inputs[port], AlignedBuf::empty());
        reserve(&mut memory, (texts.len() * ID) as u64, "the ids of strings")?;
        for (slot, text) in memory.as_mut_slice().chunks_exact_mut(ID).zip(texts) {
            slot.copy_from_slice(&self.id(text)?.to_ne_bytes());
        }
        self.inputs[port] = memory;
        Ok(())
    }

    /// The ids of an input.
    pub(crate) fn input(&self, port: usize) -> &[u8] {
        self.inputs[port].as_slice()
    }

    /// Memory for the ids of an output.
    pub(crate) fn output(&mut self, port: usize, dims: &[i64]) -> Result<&mut [u8], RunError> {
        let elements = crate::tensor::size_bytes(cascata_types::DType::I64, dims);
        let bytes = elements.map_err(|e| problem(e.to_string()))?;
        let (kept, memory) = &mut self.outputs[port];
        kept.clear();
        kept.extend(dims);
        reserve(memory, bytes, "the ids of strings")?;
        Ok(&mut memory.as_mut_slice()[..bytes as usize])
    }

    /// The dims and strings of an output.
    pub(crate) fn finished(&self, port: usize) -> Result<(&[i64], Vec<Arc<str>>), RunError> {
        let (dims, memory) = &self.outputs[port];
        let count = dims.iter().product::<i64>() as usize;
        Ok((dims, self.all(&memory.as_slice()[..count * ID])?))
    }

    /// Computes a step: the bytes of its result, `len` of them.
    pub(crate) fn compute(
        &mut self,
        op: &TextOp,
        operands: &[Vec<u8>],
        len: usize,
    ) -> Result<Vec<u8>, RunError> {
        let first = self.all(operands.first().map_or(&[], Vec::as_slice))?;
        match op {
            TextOp::Concat => {
                let second = self.all(operands.get(1).map_or(&[], Vec::as_slice))?;
                let pairs = first.iter().zip(&second);
                self.made(pairs.map(|(a, b)| joined(a, b)))
            }
            TextOp::Case { upper } => self.made(first.iter().map(|t| Ok(text::cased(t, *upper)))),
            TextOp::Match { dfa } => Ok(first.iter().map(|t| u8::from(dfa.accepts(t))).collect()),
            TextOp::Count { delimiter, at_most } => {
                let count = |t: &Arc<str>| text::parts(t, delimiter, *at_most).len() as i64;
                Ok(first.iter().flat_map(|t| count(t).to_ne_bytes()).collect())
            }
            TextOp::Split { delimiter, at_most } => {
                let room = (len / ID).checked_div(first.len()).unwrap_or(0);
                let mut out = Vec::with_capacity(len);
                for text in &first {
                    let parts = text::parts(text, delimiter, *at_most);
                    for part in parts.into_iter().chain(std::iter::repeat("")).take(room) {
                        out.extend(self.id(part)?.to_ne_bytes());
                    }
                }
                Ok(out)
            }
        }
    }

    fn made(
        &mut self,
        texts: impl Iterator<Item = Result<String, RunError>>,
    ) -> Result<Vec<u8>, RunError> {
        let mut out = Vec::new();
        for text in texts {
            out.extend(self.id(&text?)?.to_ne_bytes());
        }
        Ok(out)
    }
}

fn joined(a: &str, b: &str) -> Result<String, RunError> {
    match a.len().saturating_add(b.len()) {
        n if n > text::MAX_BYTES => Err(problem(format!("a string of {n} bytes"))),
        _ => Ok(format!("{a}{b}")),
    }
}

fn reserve(memory: &mut AlignedBuf, bytes: u64, what: &str) -> Result<(), RunError> {
    memory.reserve(bytes).map_err(|e| RunError::OutOfMemory { what: what.into(), bytes: e.bytes })
}
