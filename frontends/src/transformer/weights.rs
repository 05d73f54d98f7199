//! The tensors of a model, handed out by name; what is wrong with them is collected.

use crate::stored::Stored;
use cascata_ir::types::SymbolTable;
use std::collections::BTreeMap;

/// Tensors by Hugging Face name, and what was wrong with those asked for.
pub struct Weights {
    tensors: BTreeMap<String, (Stored, bool)>,
    problems: Vec<String>,
    files: String,
}

impl Weights {
    pub fn new(tensors: Vec<(String, Stored)>) -> Self {
        let mut files: Vec<&str> = tensors.iter().map(|(_, t)| t.file.as_str()).collect();
        files.sort_unstable();
        files.dedup();
        let files = files.join(", ");
        let mut weights = Weights { tensors: BTreeMap::new(), problems: vec![], files };
        for (name, tensor) in tensors {
            if let Some((first, _)) = weights.tensors.insert(name.clone(), (tensor, false)) {
                weights.problems.push(format!("{}: '{name}' is there twice", first.file));
            }
        }
        weights
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Drops what stands before the names of all tensors, if a tensor has `prefix + first`.
    pub fn strip(&mut self, prefix: &str, first: &str) {
        if self.has(first) || !self.has(&format!("{prefix}{first}")) {
            return;
        }
        let old = std::mem::take(&mut self.tensors);
        let stripped = |name: String| match name.strip_prefix(prefix) {
            Some(rest) => rest.to_string(),
            None => name,
        };
        self.tensors = old.into_iter().map(|(name, t)| (stripped(name), t)).collect();
    }

    /// The tensor called `name` if it has this shape and holds floats.
    pub fn take(&mut self, name: &str, dims: &[i64]) -> Option<Stored> {
        let expected = format!("{dims:?}").replace(' ', "");
        let Some((tensor, used)) = self.tensors.get_mut(name) else {
            self.problems.push(format!("{}: '{name}' is missing, expected {expected}", self.files));
            return None;
        };
        *used = true;
        let fits = tensor.ty.static_shape().is_some_and(|shape| shape == dims);
        if fits && tensor.ty.dtype.is_float() {
            return Some(tensor.clone());
        }
        let found = tensor.ty.display(&SymbolTable::default());
        let own = if tensor.name == name { String::new() } else { format!(" ({name})") };
        let Stored { name, file, .. } = tensor;
        let problem = format!("{file}: '{name}'{own} is {found}, expected floats {expected}");
        self.problems.push(problem);
        None
    }

    /// Marks tensors that carry nothing that the graph computes: those whose names end so, or
    /// begin so.
    pub fn ignore(&mut self, suffixes: &[&str], prefixes: &[&str]) {
        for (name, (_, used)) in &mut self.tensors {
            *used |= suffixes.iter().any(|s| name.ends_with(s));
            *used |= prefixes.iter().any(|p| name.starts_with(p));
        }
    }

    /// Everything that was wrong, tensors that nobody took included.
    pub fn finish(self) -> Vec<String> {
        let mut problems = self.problems;
        for (tensor, used) in self.tensors.into_values() {
            if !used {
                let ty = tensor.ty.display(&SymbolTable::default());
                let Stored { name, file, .. } = tensor;
                problems.push(format!("{file}: '{name}' {ty} has no place in the architecture"));
            }
        }
        problems
    }
}
