//! The text forms: what parses prints, and what was printed parses to the same.

use cascata_ir::graph::Graph;
use cascata_ir::kernel::{parse_kernels, print_kernels, verify};
use cascata_ir::parse::parse;
use cascata_ir::print::{ConstText, PrintOptions, print};
use cascata_passes::isolation::{Batch, Select, check};

/// A graph's text.
///
/// # Panics
/// A defect: the printed text does not parse, or to another graph.
pub fn graph(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(graph) = parse(text) else { return false };
    let print = |graph: &Graph| print(graph, PrintOptions { consts: ConstText::Full });
    let printed = print(&graph);
    let again = parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(printed, print(&again));
    verified(&graph)
}

/// Verifies a graph and, if it is valid, analyses it.
pub(super) fn verified(graph: &Graph) -> bool {
    if cascata_ir::verify::verify(graph).is_err() {
        return false;
    }
    if let Ok(batch) = Batch::find(graph, &Select::Leading) {
        check(graph, &batch);
    }
    true
}

/// Any number of kernels' text.
///
/// # Panics
/// A defect: the printed text does not parse, or to other kernels.
pub fn kernel(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(kernels) = parse_kernels(text) else { return false };
    let printed = print_kernels(&kernels);
    let again = parse_kernels(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(printed, print_kernels(&again));
    kernels.iter().all(|k| verify(k).is_ok())
}
