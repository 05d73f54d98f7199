//! What can be checked without walking the regions.

use super::{Verifier, printable_kind};
use cascata_types::{SymbolTable, ValueType};
use std::collections::HashSet;

impl Verifier<'_> {
    pub(super) fn symbol_table(&mut self) {
        self.place = "symbols".into();
        for (_, s) in self.graph.symbols.iter() {
            if !SymbolTable::is_valid_name(&s.name) {
                self.report(format!(
                    "'{}' is not a symbol name: use letters, digits and _.$@#",
                    s.name
                ));
            }
            if s.min > s.max {
                self.report(format!("the range {}..={} of {} is empty", s.min, s.max, s.name));
            }
        }
    }

    pub(super) fn constants(&mut self) {
        for (id, c) in self.graph.consts.iter() {
            self.place = format!("constant {id} '{}'", c.name);
            let ty = c.ty.display(&self.graph.symbols);
            if c.ty.static_shape().is_none_or(|dims| dims.iter().any(|d| *d < 0)) {
                self.report(format!("{ty}: every dim must be a known number"));
                continue;
            }
            if let Some(problem) = c.ty.encoding_problem() {
                self.report(format!("{ty}: {problem}"));
            }
            match c.ty.stored_bytes() {
                Some(want) if want != c.data.len() as u64 => {
                    self.report(format!("{ty} takes {want} bytes, the data has {}", c.data.len()));
                }
                _ => {}
            }
        }
    }

    pub(super) fn output_names(&mut self) {
        self.place = "outputs".into();
        let names = &self.graph.output_names;
        let results = self.graph.regions.values().next().map_or(0, |root| root.results.len());
        if names.len() != results {
            self.report(format!("{} names for {results} results", names.len()));
        }
        let mut seen = HashSet::new();
        for name in names {
            if !seen.insert(name) {
                self.report(format!("the name '{name}' is used twice"));
            }
        }
    }

    pub(super) fn type_is_printable(&mut self, ty: &ValueType, name: &str) {
        match ty {
            ValueType::Optional(inner) => self.type_is_printable(inner, name),
            ValueType::Resource(kind) if !printable_kind(kind) => {
                self.report(format!("the resource kind '{kind}' of {name} is not a word"));
            }
            _ => {}
        }
    }
}
