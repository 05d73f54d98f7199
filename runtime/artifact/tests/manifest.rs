//! The manifest's verifier: each kind of inconsistency, many at once, hostile JSON.

mod common;

use cascata_artifact::manifest::*;
use cascata_artifact::{CacheAttentionStep, Manifest, SectionSizes};
use cascata_types::text::Dfa;
use cascata_types::{DType, Dim, SymbolId, TensorType};
use common::manifest;

fn sizes(m: &Manifest) -> SectionSizes {
    let weights = m.weights.iter().map(|w| w.offset.saturating_add(w.bytes)).max().unwrap_or(0);
    SectionSizes { code: vec![100, 100], ptx: vec![], weights }
}

/// The verifier's complaints after a change, one line each.
fn complaints(change: impl FnOnce(&mut Manifest)) -> Vec<String> {
    let mut m = manifest();
    let sizes = sizes(&m);
    change(&mut m);
    m.verify(&sizes).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn one(part: &str, change: impl FnOnce(&mut Manifest)) {
    let all = complaints(change);
    assert!(
        all.len() == 1 && all[0].contains(part),
        "expected one complaint with '{part}', got {all:#?}"
    );
}

fn launch(m: &mut Manifest, step: usize) -> &mut Launch {
    match &mut m.entries[0].steps[step] {
        Step::Launch(l) => l,
        _ => panic!("a launch"),
    }
}

#[test]
fn the_unchanged_manifest_passes() {
    assert_eq!(complaints(|_| ()), Vec::<String>::new());
}

#[test]
fn global_parts() {
    one("kernel ABI 1", |m| m.abi = 2);
    one("over the limit", |m| m.zeros_bytes = 1 << 40);
    one("no entry point", |m| m.entries.clear());
    one("1 variants are listed and the file has 2", |m| m.code.truncate(1));
    one("1 functions for 2 kernels", |m| m.code[0].functions.truncate(1));
    one("not inside the section", |m| m.code[1].functions[1] = (64, 37));
    one("not inside the section", |m| m.code[1].functions[1] = (u64::MAX, 2));
    one("not inside the section", |m| m.code[1].functions[0].1 = 0);
    one("multiple of 64", |m| m.weights[0].offset = 1);
    one("not inside the weight section", |m| m.weights[2].bytes = u64::MAX);
    one("'k0' occurs twice", |m| m.kernels[1].name = "k0".into());
    one("buffer 3 is out of range", |m| m.kernels[0].writes = vec![0, 3]);
}

#[test]
fn indices_and_arities() {
    one("kernel 9 is out of range", |m| launch(m, 0).variants[0].kernel = 9);
    one("buffer 9 is out of range", |m| launch(m, 0).buffers[1] = 9);
    one("2 buffers for 'k0', which takes 3", |m| launch(m, 0).buffers.truncate(2));
    one("0 dims for 'k1', which takes 1", |m| launch(m, 1).variants[0].dims.clear());
    one("no variant", |m| launch(m, 0).variants.clear());
    one("has a guard", |m| launch(m, 0).variants[0].guard.push(1.into()));
    one("input 1 is out of range", |m| m.entries[0].buffers[0].storage = Storage::Input(1));
    one("weight 3 is out of range", |m| m.entries[0].buffers[1].storage = Storage::Weight(3));
    one("of 2 steps", |m| m.entries[0].buffers[2].storage = Storage::Arena { first: 0, last: 2 });
    one("of 2 steps", |m| m.entries[0].buffers[2].storage = Storage::Arena { first: 1, last: 0 });
}

#[test]
fn aliases() {
    let alias = |of| Storage::Alias { of, offset_bytes: 0.into() };
    one("is an alias itself", |m| m.entries[0].buffers[0].storage = alias(0));
    one("buffer 9 is out of range", |m| m.entries[0].buffers[0].storage = alias(9));
    one("it writes 'x', which is read-only", |m| m.entries[0].buffers[2].storage = alias(0));
}

#[test]
fn lifetimes() {
    one("lives from step 0 to 0", |m| {
        m.entries[0].buffers[2].storage = Storage::Arena { first: 0, last: 0 };
    });
    one("it reads 't', which no step has written", |m| m.kernels[0].writes.clear());
    one("no step writes it", |m| {
        let extra =
            Port { name: "z".into(), ty: m.entries[0].outputs[0].ty.clone(), default: None };
        m.entries[0].outputs.push(extra);
    });
    one("it writes 'w', which is read-only", |m| m.kernels[0].writes = vec![0, 2]);
}

#[test]
fn symbols() {
    one("no param of its type", |m| m.entries[0].inputs[0].default = Some(0));
    one("weight 9 is out of range", |m| m.entries[0].inputs[0].default = Some(9));
    one("symbol s7 is not among", |m| launch(m, 0).flops = Dim::sym(SymbolId(7)));
    one("empty range 65..=64", |m| {
        m.entries[0].symbols.get_mut(SymbolId(0)).min = 65;
    });
    let all = complaints(|m| {
        let n = m.entries[0].symbols.fresh("n", 0, 9);
        launch(m, 0).variants[0].tiles = Dim::sym(n);
    });
    assert!(
        all.len() == 1 && all[0].contains("'n' needs 'n', which has no value there"),
        "{all:?}"
    );
    one("factors", |m| {
        let text = r#"[[[[{"sym":0},4000000000]],1]]"#;
        launch(m, 0).flops = serde_json::from_str(text).unwrap();
    });
}

/// Step 0 writes a count that step 1 binds; step 2 uses it.
fn with_bind(m: &mut Manifest) {
    let e = &mut m.entries[0];
    let n = e.symbols.fresh("n", 0, 64);
    e.buffers[2].ty = TensorType::fixed(DType::I64, &[1]);
    e.buffers[2].bytes = 8.into();
    e.buffers[2].storage = Storage::Arena { first: 0, last: 2 };
    e.steps.insert(1, Step::Bind { buffer: 2, symbols: vec![n] });
    e.outputs[0].ty = TensorType::dense(DType::F32, vec![Dim::sym(n)]).into();
    launch(m, 2).variants[0].tiles = Dim::sym(n);
}

#[test]
fn data_dependent_symbols() {
    assert_eq!(complaints(with_bind), Vec::<String>::new());
    one("is not data-dependent", |m| {
        with_bind(m);
        m.entries[0].symbols.get_mut(SymbolId(1)).data_dependent = false;
    });
    one("not dense i64", |m| {
        with_bind(m);
        m.entries[0].buffers[2].ty.dtype = DType::I32;
    });
    one("which is smaller", |m| {
        with_bind(m);
        m.entries[0].buffers[2].bytes = 4.into();
    });
    one("no value there", |m| {
        with_bind(m);
        launch(m, 0).variants[0].tiles = Dim::sym(SymbolId(1));
    });
    one("bound already", |m| {
        with_bind(m);
        m.entries[0].steps.insert(2, Step::Bind { buffer: 2, symbols: vec![SymbolId(1)] });
        m.entries[0].buffers[2].storage = Storage::Arena { first: 0, last: 3 };
    });
    let all = complaints(|m| {
        with_bind(m);
        m.entries[0].steps.remove(1);
        m.entries[0].buffers[2].storage = Storage::Arena { first: 0, last: 1 };
    });
    assert!(!all.is_empty() && all.iter().all(|c| c.contains("no value there")), "{all:?}");
}

/// Step 0 attends over a cache: four inputs' rows of two heads of three numbers each.
fn with_attention(m: &mut Manifest, change: impl FnOnce(&mut CacheAttentionStep)) {
    let e = &mut m.entries[0];
    for buffer in [0, 2] {
        let rows = e.buffers[buffer].ty.shape[0].clone();
        e.buffers[buffer].bytes = rows.clone() * 24;
        e.buffers[buffer].ty = TensorType::dense(DType::F32, vec![rows, 2.into(), 3.into()]);
    }
    let mut step = CacheAttentionStep {
        layer: 0,
        heads: 2,
        kv_heads: 2,
        head_dim: 3,
        max_positions: 9,
        scale: 0.5,
        window: None,
        soft_cap: None,
        operands: [0, 0, 0],
        result: 2,
        value: "t".into(),
        source: vec!["node".into()],
    };
    change(&mut step);
    e.steps[0] = Step::CacheAttention(step);
}

#[test]
fn attention_over_a_cache() {
    assert_eq!(complaints(|m| with_attention(m, |_| ())), Vec::<String>::new());
    one("no counts that go together", |m| with_attention(m, |s| s.window = Some(0)));
    one("buffer 9 is out of range", |m| with_attention(m, |s| s.operands[1] = 9));
    one("'t' is not dense f32[rows,6]", |m| {
        with_attention(m, |_| ());
        m.entries[0].buffers[2].ty.dtype = DType::I32;
    });
    let all = complaints(|m| with_attention(m, |s| s.head_dim = u32::MAX));
    assert!(all.iter().any(|c| c.contains("'x' is not dense f32[rows,8589934590]")), "{all:?}");
    let all = complaints(|m| with_attention(m, |s| s.heads = 3));
    assert!(all.iter().any(|c| c.contains("no counts that go together")), "{all:?}");
    let all = complaints(|m| with_attention(m, |s| s.result = 0));
    assert!(all.iter().any(|c| c.contains("it writes 'x', which is read-only")), "{all:?}");
}

/// Step 0 computes strings of the input.
fn with_text(m: &mut Manifest, op: TextOp, operands: &[u32]) {
    let e = &mut m.entries[0];
    let ty = TensorType { dtype: DType::Str, ..e.buffers[0].ty.clone() };
    e.inputs[0].ty = ty.clone().into();
    e.buffers[0].ty = ty.clone();
    e.buffers[2].ty = TensorType { dtype: op.result(), ..ty };
    let source = vec!["node".into()];
    e.steps[0] = Step::Text(TextStep { op, operands: operands.to_vec(), result: 2, source });
}

#[test]
fn strings() {
    let upper = || TextOp::Case { upper: true };
    assert_eq!(complaints(|m| with_text(m, upper(), &[0])), Vec::<String>::new());
    one("1 operands of strings, must be 2", |m| with_text(m, TextOp::Concat, &[0]));
    one("buffer 9 is out of range", |m| with_text(m, upper(), &[9]));
    one("'t' is not dense str", |m| {
        with_text(m, upper(), &[0]);
        m.entries[0].buffers[2].ty.dtype = DType::I64;
    });
    one("that do not exist", |m| {
        let dfa = Dfa { classes: vec![0; 256], next: vec![1], accepts: vec![true] };
        with_text(m, TextOp::Match { dfa }, &[0]);
    });
    one("those of the port f32", |m| {
        let port = m.entries[0].inputs[0].ty.clone();
        with_text(m, upper(), &[0]);
        m.entries[0].inputs[0].ty = port;
    });
    let all = complaints(|m| {
        with_text(m, upper(), &[0]);
        let Step::Text(text) = &mut m.entries[0].steps[0] else { return };
        text.result = 0;
    });
    assert!(all.iter().any(|c| c.contains("it writes 'x', which is read-only")), "{all:?}");
    one("'a' occurs twice", |m| m.strings = vec!["a".into(), "a".into()]);
    one("'' occurs twice", |m| m.strings = vec![String::new()]);
}

#[test]
fn all_errors_at_once() {
    let all = complaints(|m| {
        m.abi = 9;
        m.weights[0].offset = 3;
        m.code[0].functions[0] = (99, 99);
        launch(m, 0).variants[0].kernel = 8;
        launch(m, 1).buffers[0] = 77;
    });
    assert_eq!(all.len(), 5, "{all:#?}");
}

#[test]
fn hostile_numbers_never_panic() {
    let text = serde_json::to_string(&manifest()).unwrap();
    let sizes = sizes(&manifest());
    let digits: Vec<usize> =
        text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(i, _)| i).collect();
    for at in digits {
        for with in [
            "18446744073709551615",
            "9223372036854775807",
            "-9223372036854775808",
            "4294967295",
            "-1",
            "null",
        ] {
            let forged = format!("{}{with}{}", &text[..at], &text[at + 1..]);
            if let Ok(m) = serde_json::from_str::<Manifest>(&forged) {
                let _ = m.verify(&sizes);
            }
        }
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(serde_json::from_str::<Manifest>(&deep).is_err());
}
