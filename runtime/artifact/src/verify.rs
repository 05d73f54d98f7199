//! The manifest's verifier: reports everything that is wrong, never panics.
//!
//! What it promises to the runtime, once passed: every index is in range, arities
//! match, nothing writes to inputs or weights, every tensor is touched only while it
//! lives and written before it is read, and every dim is over symbols that are bound
//! where it is evaluated. Values of dims are checked when symbols are bound.

mod entry;
mod flow;
mod gpu;

use crate::abi::ABI_VERSION;
use crate::error::ManifestError;
use crate::manifest::{Entry, KernelInfo, Manifest, Weight};
use crate::weights::WEIGHT_ALIGN;
use cascata_types::{Atom, Dim, SymbolId, TensorType, ValueType};
use std::collections::HashSet;
use std::fmt::Display;

/// More zeros than this are not asked for by any real kernel.
const MAX_ZEROS_BYTES: u64 = 1 << 30;
/// A dim with more factors is hostile: evaluating and printing it takes that many steps.
const MAX_DIM_SIZE: u64 = 4096;

/// Lengths of the sections that the manifest speaks about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SectionSizes {
    /// Of each code section.
    pub code: Vec<u64>,
    /// Of each PTX section.
    pub ptx: Vec<u64>,
    /// Of the weight section.
    pub weights: u64,
}

impl Manifest {
    /// Checks the manifest against itself and against the sections' sizes.
    ///
    /// # Errors
    /// Everything that is wrong, in the manifest's order.
    pub fn verify(&self, sections: &SectionSizes) -> Result<(), Vec<ManifestError>> {
        let mut errors = Errors::default();
        if self.abi != ABI_VERSION {
            errors.push(
                "abi",
                format!(
                    "{} is not this runtime's kernel ABI {ABI_VERSION}; recompile the model",
                    self.abi
                ),
            );
        }
        if self.zeros_bytes > MAX_ZEROS_BYTES {
            errors.push(
                "zeros_bytes",
                format!("{} is over the limit of {MAX_ZEROS_BYTES}", self.zeros_bytes),
            );
        }
        unique(&mut errors, "imports", self.imports.iter().map(|i| format!("{i:?}")));
        self.verify_code(&mut errors, sections);
        self.verify_weights(&mut errors, sections);
        unique(&mut errors, "strings", self.strings.iter().chain([&String::new()]));
        if self.entries.is_empty() {
            errors.push("entries", "there is no entry point");
        }
        let kernels = self.kernels.iter().collect();
        let program = Program { kernels, entries: &self.entries, weights: &self.weights };
        program.verify(&mut errors, "");
        self.verify_gpu(&mut errors, sections);
        if errors.0.is_empty() { Ok(()) } else { Err(errors.0) }
    }

    fn verify_code(&self, errors: &mut Errors, sections: &SectionSizes) {
        if self.code.is_empty() {
            errors.push("code", "there is no code for any target");
        }
        if self.code.len() != sections.code.len() {
            let (a, b) = (self.code.len(), sections.code.len());
            errors.push(
                "code",
                format!("{a} variants are listed and the file has {b} code sections"),
            );
        }
        for (i, variant) in self.code.iter().enumerate() {
            let at = format!("code[{i}].functions");
            if variant.functions.len() != self.kernels.len() {
                let (a, b) = (variant.functions.len(), self.kernels.len());
                errors.push(&at, format!("{a} functions for {b} kernels"));
            }
            let Some(&size) = sections.code.get(i) else { continue };
            for (k, &(offset, length)) in variant.functions.iter().enumerate() {
                if length == 0 || offset.checked_add(length).is_none_or(|end| end > size) {
                    let what = format!(
                        "{length} bytes at {offset} are not inside the section's {size} bytes"
                    );
                    errors.push(format!("{at}[{k}]"), what);
                }
            }
        }
    }

    fn verify_weights(&self, errors: &mut Errors, sections: &SectionSizes) {
        for (i, w) in self.weights.iter().enumerate() {
            let at = format!("weights[{i}] ('{}')", w.name);
            if !w.offset.is_multiple_of(WEIGHT_ALIGN) {
                errors.push(
                    &at,
                    format!("its offset {} is not a multiple of {WEIGHT_ALIGN}", w.offset),
                );
            }
            if w.offset.checked_add(w.bytes).is_none_or(|end| end > sections.weights) {
                let (b, o, s) = (w.bytes, w.offset, sections.weights);
                errors.push(
                    &at,
                    format!("{b} bytes at {o} are not inside the weight section's {s} bytes"),
                );
            }
        }
    }
}

/// Entries with the kernels that they launch.
struct Program<'a> {
    kernels: Vec<&'a KernelInfo>,
    entries: &'a [Entry],
    weights: &'a [Weight],
}

impl Program<'_> {
    /// Checks kernels and entries; paths start with `at`.
    fn verify(&self, errors: &mut Errors, at: &str) {
        unique(errors, &format!("{at}kernels"), self.kernels.iter().map(|k| &k.name));
        for (i, kernel) in self.kernels.iter().enumerate() {
            verify_kernel(errors, &format!("{at}kernels[{i}].writes"), kernel);
        }
        unique(errors, &format!("{at}entries"), self.entries.iter().map(|e| &e.name));
        for (i, e) in self.entries.iter().enumerate() {
            entry::verify(errors, self, &format!("{at}entries[{i}]"), e);
        }
    }
}

fn verify_kernel(errors: &mut Errors, at: &str, kernel: &KernelInfo) {
    unique(errors, at, kernel.writes.iter());
    for w in kernel.writes.iter().filter(|w| **w >= kernel.buffers) {
        errors.push(
            at,
            format!("buffer {w} is out of range: '{}' takes {}", kernel.name, kernel.buffers),
        );
    }
}

/// The errors found so far.
#[derive(Default)]
struct Errors(Vec<ManifestError>);

impl Errors {
    fn push(&mut self, at: impl Into<String>, problem: impl Into<String>) {
        self.0.push(ManifestError { at: at.into(), problem: problem.into() });
    }

    /// Reports an index that is not below `count`; says whether it is fine.
    fn index(&mut self, at: &str, what: &str, index: u32, count: usize) -> bool {
        let fine = (index as usize) < count;
        if !fine {
            self.push(at, format!("{what} {index} is out of range: there are {count}"));
        }
        fine
    }
}

fn unique<T: Display + Eq + std::hash::Hash>(
    errors: &mut Errors,
    at: &str,
    names: impl Iterator<Item = T>,
) {
    let mut seen = HashSet::new();
    for name in names {
        if seen.contains(&name) {
            errors.push(at, format!("'{name}' occurs twice"));
        }
        seen.insert(name);
    }
}

/// A dim over existing symbols that can be evaluated and printed in bounded time.
/// Gives its size when written out; `sizes` has those of the symbols.
fn verify_dim(errors: &mut Errors, at: &str, dim: &Dim, sizes: &[u64]) -> u64 {
    match printed_size(dim, sizes) {
        Err(unknown) => {
            let known = sizes.len();
            errors.push(at, format!("symbol {unknown} is not among the entry's {known}"));
            0
        }
        Ok(size) if size > MAX_DIM_SIZE => {
            errors.push(at, format!("a dim of more than {MAX_DIM_SIZE} factors"));
            0
        }
        Ok(size) => size,
    }
}

/// How many factors the dim has when printed; the first unknown symbol as an error.
fn printed_size(dim: &Dim, sizes: &[u64]) -> Result<u64, SymbolId> {
    let mut size = 0u64;
    for (monomial, _) in dim.terms() {
        for (atom, power) in &monomial.0 {
            let factor = match atom {
                Atom::Sym(id) => sizes.get(id.0 as usize).copied().ok_or(*id)?,
                Atom::FloorDiv(a, b)
                | Atom::Mod(a, b)
                | Atom::Max(a, b)
                | Atom::Min(a, b)
                | Atom::Bcast(a, b) => printed_size(a, sizes)?
                    .saturating_add(printed_size(b, sizes)?)
                    .saturating_add(1),
            };
            size = size.saturating_add(factor.saturating_mul(u64::from(*power)));
        }
    }
    Ok(size)
}

/// The tensor types inside a value type.
fn tensor_type(ty: &ValueType) -> Option<&TensorType> {
    match ty {
        ValueType::Tensor(t) => Some(t),
        ValueType::Optional(inner) => tensor_type(inner),
        ValueType::Sequence(_) | ValueType::Resource(_) => None,
    }
}
