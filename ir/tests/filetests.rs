//! Every file under `filetests/graph` parses, verifies, and prints back to itself.
//!
//! `CASCATA_BLESS=1 cargo test -p cascata-ir --test filetests` rewrites the files in
//! printed form (review the diff); it does not touch a file that fails to verify.

use cascata_ir::compare::difference;
use cascata_ir::graph::Graph;
use cascata_ir::op::op_table;
use cascata_ir::parse::parse;
use cascata_ir::print::{ConstText, PrintOptions, print};
use cascata_ir::verify::verify;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn files() -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/graph");
    let entries = std::fs::read_dir(dir).expect("the filetests folder");
    let mut files: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The comment lines at the top and the rest.
fn split_header(text: &str) -> (&str, &str) {
    let body = text.find("graph ").expect("a graph");
    text.split_at(body)
}

fn full(graph: &Graph) -> String {
    print(graph, PrintOptions { consts: ConstText::Full })
}

#[test]
fn files_verify_and_print_to_themselves() {
    let mut failures = Vec::new();
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("a file");
        let (header, body) = split_header(&text);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let graph = match parse(&text) {
            Ok(g) => g,
            Err(e) => {
                failures.push(format!("{name}:{e}"));
                continue;
            }
        };
        if let Err(errors) = verify(&graph) {
            failures.extend(errors.iter().map(|e| format!("{name}: {e}")));
            continue;
        }
        let printed = full(&graph);
        let again = parse(&printed).expect("printed text parses");
        assert_eq!(difference(&graph, &again), None, "{name}");
        if printed != body {
            if std::env::var_os("CASCATA_BLESS").is_some() {
                std::fs::write(&path, format!("{header}{printed}")).expect("the file is writable");
            } else {
                failures.push(format!("{name}: prints as\n{printed}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The corpus has every op of the table (scalar functions by a sample).
#[test]
fn the_corpus_covers_the_table() {
    let mut seen = BTreeSet::new();
    for path in files() {
        let graph = parse(&std::fs::read_to_string(path).expect("a file")).expect("it parses");
        seen.extend(graph.nodes.values().map(|n| n.op.name()));
    }
    let scalar = |name: &str| {
        use cascata_ir::op::{BinaryOp, UnaryOp};
        UnaryOp::from_name(name).is_some() || BinaryOp::from_name(name).is_some()
    };
    let missing: Vec<_> =
        op_table().iter().map(|r| r.name).filter(|n| !scalar(n) && !seen.contains(n)).collect();
    assert!(missing.is_empty(), "ops without a filetest: {missing:?}");
}
