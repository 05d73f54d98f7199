//! Formulas that an entry's other formulas share.
//!
//! The sizes of a model's tensors are deeply nested where dims are dynamic: each strided
//! layer divides once more. Written out at every use they would be most of the manifest,
//! most of loading it and most of planning a run. So each quotient, remainder, maximum and
//! so on that depends on the inputs' symbols alone is a *derived symbol*, defined once over
//! the symbols before it and evaluated once when the inputs bind theirs. A derived
//! symbol's number follows those of [`Entry::symbols`], which people see.

use crate::manifest::{Buffer, Check, Entry, Launch, Step, Storage};
use cascata_types::{Dim, SymbolId};
use std::collections::HashMap;

impl Entry {
    /// The symbol that [`Entry::derived`]`[i]` defines.
    pub fn derived_symbol(&self, i: usize) -> SymbolId {
        SymbolId((self.symbols.len() + i) as u32)
    }

    /// The definition of a derived symbol; `None` for any other.
    pub fn definition(&self, symbol: SymbolId) -> Option<&Dim> {
        self.derived.get((symbol.0 as usize).checked_sub(self.symbols.len())?)
    }

    /// Defines what formulas share; the types of inputs and outputs stay as they are.
    pub fn share_formulas(&mut self) {
        let mut shared = Shared {
            first: self.symbols.len(),
            fixed: self.symbols.iter().map(|(_, s)| !s.data_dependent).collect(),
            of: HashMap::new(),
            definitions: std::mem::take(&mut self.derived),
        };
        self.for_each_dim(&mut |dim| *dim = dim.replace_atoms(&mut |atom| shared.name(atom)));
        self.derived = shared.definitions;
    }

    /// Writes every formula out again.
    pub fn expand_formulas(&mut self) {
        let written: Vec<Dim> = self.derived.iter().map(|d| self.expanded(d)).collect();
        let first = self.symbols.len();
        let definition = |s: SymbolId| written.get((s.0 as usize).checked_sub(first)?).cloned();
        self.for_each_dim(&mut |dim| *dim = dim.substitute(&definition));
        self.derived.clear();
    }

    /// One formula, written out.
    pub fn expanded(&self, dim: &Dim) -> Dim {
        let definition = |s| self.definition(s).map(|d| self.expanded(d));
        dim.substitute(&definition)
    }

    fn for_each_dim(&mut self, f: &mut dyn FnMut(&mut Dim)) {
        self.buffers.iter_mut().for_each(|b| buffer(b, f));
        checks(&mut self.checks, f);
        self.steps.iter_mut().for_each(|s| step(s, f));
        for block in &mut self.blocks {
            checks(&mut block.checks, f);
            block.steps.iter_mut().for_each(|s| step(s, f));
        }
    }
}

struct Shared {
    /// Number of the entry's own symbols.
    first: usize,
    /// Which of them the inputs bind.
    fixed: Vec<bool>,
    of: HashMap<Dim, SymbolId>,
    definitions: Vec<Dim>,
}

impl Shared {
    /// The derived symbol of an atom, if the inputs decide it.
    fn name(&mut self, atom: Dim) -> Dim {
        let decided = |s: &SymbolId| self.fixed.get(s.0 as usize).copied().unwrap_or(true);
        if !atom.symbols().iter().all(decided) {
            return atom;
        }
        let (first, definitions) = (self.first, &mut self.definitions);
        let symbol = self.of.entry(atom).or_insert_with_key(|atom| {
            definitions.push(atom.clone());
            SymbolId((first + definitions.len() - 1) as u32)
        });
        Dim::sym(*symbol)
    }
}

fn checks(checks: &mut [Check], f: &mut dyn FnMut(&mut Dim)) {
    for check in checks {
        f(&mut check.lhs);
        f(&mut check.rhs);
    }
}

fn buffer(buffer: &mut Buffer, f: &mut dyn FnMut(&mut Dim)) {
    buffer.ty.shape.iter_mut().for_each(&mut *f);
    f(&mut buffer.bytes);
    if let Storage::Alias { offset_bytes, .. } = &mut buffer.storage {
        f(offset_bytes);
    }
}

fn step(step: &mut Step, f: &mut dyn FnMut(&mut Dim)) {
    match step {
        Step::Launch(l) => launch(l, f),
        Step::Bind { .. } | Step::Text(_) | Step::CacheAttention(_) => {}
        Step::If(branch) => {
            for dim in &mut branch.dims {
                f(&mut dim.then);
                f(&mut dim.other);
            }
        }
        Step::Loop(l) => {
            for dim in &mut l.dims {
                f(&mut dim.initial);
                f(&mut dim.next);
            }
        }
    }
}

fn launch(launch: &mut Launch, f: &mut dyn FnMut(&mut Dim)) {
    f(&mut launch.flops);
    f(&mut launch.bytes);
    for variant in &mut launch.variants {
        variant.guard.iter_mut().chain(&mut variant.dims).for_each(&mut *f);
        f(&mut variant.tiles);
        f(&mut variant.scratch_bytes);
        f(&mut variant.min_tiles);
    }
}
