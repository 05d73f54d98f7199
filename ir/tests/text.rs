//! Errors of the parser, and the spellings that files seldom show.

use cascata_ir::compare::difference;
use cascata_ir::graph::Graph;
use cascata_ir::op::*;
use cascata_ir::parse::{parse, parse_with};
use cascata_ir::print::{ConstText, PrintOptions, print};
use cascata_ir::types::*;

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", "1:1: expected 'graph', got the end"),
        ("graph \"a\" {\n  body(%0 : f32[Q]) {\n", "2:17: 'Q' uses a symbol that is not declared"),
        ("graph \"a\" {\n  symbol B in 1..=x", "2:19: expected an integer in range"),
        ("graph \"a\" { symbol B in 1..=2 symbol B", "expected 'in'"),
        ("graph \"a\" { body() { %0 = frob() : f32[] return } }", "there is no op 'frob'"),
        ("graph \"a\" { body() { %0 = exp(%7) : f32[] return } }", "%7 is not defined before this"),
        ("graph \"a\" { body(%0 : f32[], %0 : f32[]) { return } }", "%0 is already defined"),
        ("graph \"a\" { body(%0 : f33[]) { return } }", "'f33' is not an element type"),
        ("graph \"a\" { body(%0 : f32[2]:q9) { return } }", "'q9' is not an encoding"),
        (
            "graph \"a\" { body(%0 : f32[2]) { %1 = softmax(%0) {axes = 1} : f32[2] return } }",
            "expected 'axis', got 'axes = 1} : '",
        ),
        (
            "graph \"a\" { body(%0 : f32[2]) { %1 = reduce(%0) {op = median",
            "'median' is not one of sum|mean|max|min|prod",
        ),
        ("graph \"a\" { const c0 \"w\" : f32[99] = elided<396>", "the constant was elided"),
        ("graph \"a\" { const c0 \"w\" : f32[99] = hash<0123>", "no constant with hash 0123"),
        (
            "graph \"a\" { const c0 \"w\" : f32[1] = dense<1.5.2>",
            "'1.5.2' is not a number of dtype f32",
        ),
        ("graph \"a\" { const c0 \"w\" : i8[1] = dense<128>", "'128' is not a number of dtype i8"),
        ("graph \"a\" { const c0 \"w\" : f32[99999999999] = splat<0.0>", "a splat is limited"),
        ("graph \"a\" { const c0 \"w\" : u8[1] = hex<abc>", "odd number of hex digits"),
        ("graph \"a", "the string does not end"),
        ("graph \"\\q\"", "bad escape"),
        ("graph \"a\" { body() { return } } x", "text after the graph"),
    ];
    for (text, want) in cases {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(want), "'{want}' is not in '{error}' for {text}");
    }
}

#[test]
fn depth_is_limited() {
    let deep = |open: &str| format!("graph \"a\" {{ body(%0 : {}", open.repeat(10_000));
    assert!(parse(&deep("opt<")).is_err());
    assert!(parse(&deep("f32[max(")).is_err());
    let nested = "graph \"a\" { body() {".to_string()
        + &" group() {kind = map, body = region() {".repeat(10_000);
    assert!(parse(&nested).expect_err("too deep").message.contains("deep"));
    // As deep as is allowed prints and reads back.
    let close = " return }}".repeat(63);
    let text = format!(
        "graph \"a\" {{ body() {{{}{close} return }} }}",
        " group() {kind = map, body = region() {".repeat(63)
    );
    let g = parse(&text).expect("it parses");
    let again = parse(&print(&g, PrintOptions::default())).expect("it prints in full");
    assert_eq!(difference(&g, &again), None);
}

#[test]
fn numbers_keep_their_bits() {
    let mut g = Graph::new("bits");
    for dtype in DType::ALL.into_iter().filter(|d| *d != DType::Str) {
        let size = dtype.size_bytes().expect("a number");
        for byte in [0x00u8, 0x01, 0x7f, 0x80, 0xff, 0x7e] {
            // Bools of other bits than 0 and 1 survive as well.
            g.consts.push(cascata_ir::graph::Const {
                name: String::new(),
                ty: TensorType::fixed(dtype, &[1]),
                data: vec![byte; size].into(),
            });
        }
    }
    let again = parse(&print(&g, PrintOptions::default())).expect("small constants are inline");
    let data = |g: &Graph| g.consts.values().map(|c| c.data.clone()).collect::<Vec<_>>();
    assert_eq!(data(&g), data(&again));
}

#[test]
fn large_constants_by_hash_and_in_full() {
    let mut g = Graph::new("large");
    let bytes: Vec<u8> = (0..4 * 1000u32).map(|i| (i * 7 % 251) as u8).collect();
    let ty = TensorType::fixed(DType::F32, &[10, 100]);
    let v = g.add_const(Graph::ROOT, "w", ty, bytes.clone().into());
    g.add_output("y", v);
    let text = |consts| print(&g, PrintOptions { consts });
    assert!(text(ConstText::Elided).contains("elided<4000>"));
    assert!(parse(&text(ConstText::Elided)).is_err());
    assert!(text(ConstText::Hashed).len() < 400);
    let again = parse_with(&text(ConstText::Hashed), &|_| Some(bytes.clone().into()));
    assert_eq!(difference(&g, &again.expect("resolved")), None);
    assert_eq!(difference(&g, &parse(&text(ConstText::Full)).expect("in full")), None);
}

#[test]
fn the_comparison_sees_differences() {
    let a = parse("graph \"a\" { symbol B in 1..=4 body(%0 : f32[B]) { %1 = exp(%0) : f32[B] from \"e\" return %1 \"y\" } }").expect("a graph");
    let text = print(&a, PrintOptions::default());
    for (from, to) in [
        ("exp", "neg"),
        ("..=4", "..=5"),
        ("\"e\"", "\"f\""),
        ("\"y\"", "\"z\""),
        ("f32", "f64"),
        ("return %1", "return %0"),
    ] {
        let b = parse(&text.replace(from, to)).expect("a graph");
        assert!(difference(&a, &b).is_some(), "{from} -> {to}");
    }
}

#[test]
fn the_op_table_is_complete_and_names_are_unique() {
    let table = op_table();
    let names: std::collections::BTreeSet<_> = table.iter().map(|r| r.name).collect();
    assert_eq!(names.len(), table.len());
    let markdown = op_table_markdown();
    for row in table {
        assert!(!row.doc.trim().is_empty(), "{} has no doc", row.name);
        assert!(markdown.contains(&format!("| `{}` |", row.name)));
    }
    assert!(markdown.contains("`axis`: integer, `epsilon`: dtype(number)"));
}
