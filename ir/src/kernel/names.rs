//! Handles: what the text form calls symbols, buffers and locals.
//!
//! A handle is the entity's name where that is unique and made of name characters;
//! otherwise the name is repaired and the declaration carries the original in quotes.

use super::{BufferId, Kernel, LocalId};
use cascata_types::{Entity as _, SymbolTable};
use std::collections::HashSet;

/// Words that mean something in statements or expressions, so no handle may be one.
const RESERVED: &[&str] = &[
    "barrier",
    "bind",
    "check",
    "dwconv",
    "else",
    "exp_sum",
    "false",
    "for",
    "gemm",
    "grid",
    "if",
    "in",
    "index",
    "input",
    "let",
    "local",
    "map_row",
    "message",
    "output",
    "pack_b",
    "reduce_row",
    "scratch",
    "select",
    "shared",
    "threads",
    "true",
    "vector",
];

/// Starts of float constants that are not digits, e.g. `inf_f32`.
const RESERVED_PREFIXES: &[&str] = &["inf_", "nan_", "bits_"];

/// May follow the first character of a handle. Symbols may be any ONNX dim_param; the
/// importer replaces other characters.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '@' | '#')
}

/// May start a handle.
pub(super) fn is_name_start(c: char) -> bool {
    is_name_char(c) && !c.is_numeric() && c != '.'
}

/// Whether `name` needs no quotes.
pub(super) fn is_plain(name: &str) -> bool {
    name.starts_with(is_name_start)
        && name.chars().all(is_name_char)
        && !RESERVED.contains(&name)
        && !RESERVED_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// The handles of one kernel.
pub(super) struct Names {
    /// The kernel's symbols under their handles, for [`cascata_types::Dim::display`].
    pub(super) symbols: SymbolTable,
    buffers: Vec<String>,
    locals: Vec<String>,
}

impl Names {
    pub(super) fn new(kernel: &Kernel) -> Self {
        let mut symbols = SymbolTable::default();
        for handle in handles(kernel.symbols.iter().map(|(_, s)| s.name.as_str()), "s") {
            symbols.intern(&handle);
        }
        Self {
            symbols,
            buffers: handles(kernel.buffers.values().map(|b| b.name.as_str()), "b"),
            locals: handles(kernel.locals.values().map(|l| l.name.as_str()), "v"),
        }
    }

    /// The buffer's handle; what no parser accepts for an id of another kernel.
    pub(super) fn buffer(&self, id: BufferId) -> String {
        self.buffers.get(id.index()).cloned().unwrap_or_else(|| format!("?{id}"))
    }

    /// As [`Names::buffer`], of a local.
    pub(super) fn local(&self, id: LocalId) -> String {
        self.locals.get(id.index()).cloned().unwrap_or_else(|| format!("?{id}"))
    }
}

fn handles<'a>(names: impl Iterator<Item = &'a str>, stem: &str) -> Vec<String> {
    let mut taken = HashSet::new();
    names.map(|name| handle(name, stem, &mut taken)).collect()
}

fn handle(name: &str, stem: &str, taken: &mut HashSet<String>) -> String {
    let repaired = if is_plain(name) { name.to_string() } else { repair(name, stem) };
    let mut unique = repaired.clone();
    let mut next = 1;
    while !taken.insert(unique.clone()) {
        unique = format!("{repaired}_{next}");
        next += 1;
    }
    unique
}

fn repair(name: &str, stem: &str) -> String {
    let body: String = name.chars().map(|c| if is_name_char(c) { c } else { '_' }).collect();
    format!("{stem}_{body}")
}
