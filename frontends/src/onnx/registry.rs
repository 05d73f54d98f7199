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
    type Index = HashMap<(&'static str, &'static str), Importer>;
    static INDEX: OnceLock<Index> = OnceLock::new();
    let rows = || all().map(|(domain, name, importer)| ((domain, name), importer));
    INDEX.get_or_init(|| rows().collect()).get(&(domain, op)).copied()
}

const STRINGS: &str = "map strings outside of the model, or export a LabelEncoder";
const TRAINING: &str = "it trains: export the model for inference";

/// Operators that are known and not imported, with the reason.
const REFUSED: &[(&str, &str, &str)] = &[
    ("", "ImageDecoder", "image files are decoded outside of the model"),
    ("ai.onnx.ml", "CategoryMapper", STRINGS),
    ("ai.onnx.ml", "TreeEnsemble", "decision trees are not tensor algebra"),
    ("ai.onnx.ml", "TreeEnsembleClassifier", "decision trees are not tensor algebra"),
    ("ai.onnx.ml", "TreeEnsembleRegressor", "decision trees are not tensor algebra"),
    ("ai.onnx.preview.training", "Adagrad", TRAINING),
    ("ai.onnx.preview.training", "Adam", TRAINING),
    ("ai.onnx.preview.training", "Gradient", TRAINING),
    ("ai.onnx.preview.training", "Momentum", TRAINING),
];

/// Why an operator is not imported.
pub fn reason(domain: &str, op: &str) -> &'static str {
    let known = REFUSED.iter().find(|(d, name, _)| *d == domain && *name == op);
    known.map_or("there is no such operator here", |(_, _, why)| why)
}

/// Domain, name and importer of every operator.
fn all() -> impl Iterator<Item = (&'static str, &'static str, Importer)> {
    let domains = ops::DOMAINS.iter();
    domains.flat_map(|(domain, families)| {
        families.iter().flat_map(|t| t.iter().map(|(name, importer)| (*domain, *name, *importer)))
    })
}

/// `domain.name` of all operators that are imported, sorted; the default domain is `ai.onnx`.
pub fn names() -> Vec<String> {
    let shown = |domain: &'static str| if domain.is_empty() { "ai.onnx" } else { domain };
    let mut names: Vec<_> = all().map(|(d, name, _)| format!("{}.{name}", shown(d))).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_operator_is_listed_twice() {
        let names = super::names();
        let twice = names.windows(2).find(|w| w[0] == w[1]);
        assert!(twice.is_none(), "{twice:?}");
    }
}
