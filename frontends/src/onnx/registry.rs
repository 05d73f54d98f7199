//! Which operators are imported, and by what.

use super::cx::Cx;
use super::error::R;
use super::ops;
use super::scope::Slot;
use cascata_ir::graph::ValueId;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Imports one node.
#[derive(Clone, Copy)]
pub enum Importer {
    /// Gives the only result.
    One(fn(&mut Cx<'_>) -> R<ValueId>),
    /// Gives all results; trailing ones that nobody asks for may be left out.
    Many(fn(&mut Cx<'_>) -> R<Vec<Slot>>),
}

/// Operators of one family by name.
pub type Table = &'static [(&'static str, Importer)];

/// The importer for an operator of a domain (`""` is the default one).
pub fn find(domain: &str, op: &str) -> Option<Importer> {
    static INDEX: OnceLock<HashMap<&'static str, Importer>> = OnceLock::new();
    if !domain.is_empty() {
        return None;
    }
    INDEX
        .get_or_init(|| ops::FAMILIES.iter().flat_map(|t| t.iter().copied()).collect())
        .get(op)
        .copied()
}

/// Names of all operators of the default domain that are imported, sorted.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = ops::FAMILIES.iter().flat_map(|t| t.iter().map(|(n, _)| *n)).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_operator_is_listed_twice() {
        let names = super::names();
        let twice = names.windows(2).find(|w| w[0] == w[1]);
        assert_eq!(twice, None);
    }
}
