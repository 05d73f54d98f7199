//! Hostile artifacts: manifests of real compiles, changed at random and sealed again with
//! right hashes, are refused or run without harm; so are damaged files. And no memory of a
//! process that runs models is writable and executable.

use cascata_codegen::cpu::CpuLevel;
use cascata_ir::parse::parse;
use cascata_passes::pipeline::OptLevel;
use cascata_runtime::format::{ArtifactReader, SectionKind};
use cascata_runtime::{Runtime, TensorView};
use cascata_tests::pipeline;
use cascata_tests::targets::artifact::{Outcome, file, manifest};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A small graph with a constant, symbols, several kernels and buffers that share memory.
const MODEL: &str = "graph \"g\" {
  symbol B in 1..=8
  symbol S in 1..=16
  const c0 \"w\" : f32[4,4] = splat<0.5>
  body(%0 \"x\" : f32[B,S,4]) {
    %1 = const() {value = c0} : f32[4,4]
    %2 = reshape(%0) {shape = [B*S, 4]} : f32[B*S,4]
    %3 = matmul(%2, %1) : f32[B*S,4]
    %4 = reshape(%3) {shape = [B, S, 4]} : f32[B,S,4]
    %5 = softmax(%4) {axis = 2} : f32[B,S,4]
    %6 = reduce(%5) {op = sum, axes = [1], keep_dims = false} : f32[B,4]
    return %6 \"y\", %4 \"z\"
  }
}
";

/// Sizes that the data decide, hence two segments.
const DYNAMIC: &str = "graph \"d\" {
  symbol B in 1..=8
  symbol n in 0..=64 data_dependent
  body(%0 \"x\" : f32[B,4]) {
    %1 = relu(%0) : f32[B,4]
    %2 = non_zero(%1) {count = n} : i64[2,n]
    %3 = transpose(%2) {perm = [1, 0]} : i64[n,2]
    return %3 \"y\", %1 \"z\"
  }
}
";

fn artifact(text: &str) -> Vec<u8> {
    let graph = pipeline::fused_graph(parse(text).unwrap(), OptLevel::O2).unwrap();
    pipeline::artifact(&graph, &[CpuLevel::V1]).unwrap()
}

fn json_of(bytes: &[u8]) -> Value {
    let reader = ArtifactReader::parse(bytes).unwrap();
    let section = reader.header().section(SectionKind::Manifest).unwrap();
    serde_json::from_slice(section.slice(bytes)).unwrap()
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }
}

/// Calls `f` on the node number `at`, in depth-first order; gives how many there are.
fn visit(value: &mut Value, at: usize, f: &mut dyn FnMut(&mut Value)) -> usize {
    if at == 0 {
        f(value);
        return 1;
    }
    let mut seen = 1;
    let mut children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in &mut children {
        let rest = at.checked_sub(seen).unwrap_or(usize::MAX);
        seen += visit(child, rest, f);
    }
    seen
}

fn count(value: &mut Value) -> usize {
    visit(value, usize::MAX, &mut |_| ())
}

/// Numbers at the borders of what types hold, and of what a machine has.
fn number(r: &mut Random) -> Value {
    let odd = [0, 1, 2, 3, 7, 64, 4096, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 40, i64::MAX as u64];
    match r.below(5) {
        0 => json!(-(odd[r.below(odd.len())] as i64)),
        1 => json!(u64::MAX),
        2 => json!(i64::MIN),
        _ => json!(odd[r.below(odd.len())]),
    }
}

/// One change of one node.
fn change(node: &mut Value, other: &Value, r: &mut Random) {
    match (r.below(8), &mut *node) {
        (0, Value::Array(items)) if !items.is_empty() => {
            items.remove(r.below(items.len()));
        }
        (1, Value::Array(items)) if !items.is_empty() => {
            let again = items[r.below(items.len())].clone();
            items.extend(vec![again; 1 + r.below(3)]);
        }
        (2, Value::Object(fields)) if !fields.is_empty() => {
            let key = fields.keys().nth(r.below(fields.len())).unwrap().clone();
            fields.remove(&key);
        }
        (3, _) => *node = other.clone(),
        (4, Value::Array(items)) if items.len() > 1 => {
            let (a, b) = (r.below(items.len()), r.below(items.len()));
            items.swap(a, b);
        }
        (_, Value::Number(_)) => *node = number(r),
        (_, Value::String(text)) => text.push_str(["", "x", "\u{0}", "\u{202e}"][r.below(4)]),
        (5, _) => {
            *node = [json!(null), json!([]), json!({}), json!("?"), json!(true)][r.below(5)].clone()
        }
        _ => *node = number(r),
    }
}

#[test]
fn changed_manifests_are_refused_or_do_no_harm() {
    let mut outcomes = BTreeMap::new();
    for (model, text) in [MODEL, DYNAMIC].into_iter().enumerate() {
        let good = json_of(&artifact(text));
        assert_eq!(manifest(good.to_string().as_bytes()), Outcome::Ran, "the unchanged one runs");
        for seed in 0..1500u64 {
            let mut r = Random(0x9e37_79b9_7f4a_7c15 ^ (seed << 1 | model as u64));
            let mut bad = good.clone();
            // Provenance is not used by the runtime: changes go elsewhere.
            bad["provenance"] = json!({ "source": "", "source_hash": "", "compiler": "", "options": [], "rules": [] });
            let nodes = count(&mut bad);
            for _ in 0..1 + r.below(3) {
                let mut other = Value::Null;
                visit(&mut bad, r.below(nodes), &mut |v| other = v.clone());
                let at = r.below(nodes);
                visit(&mut bad, at, &mut |v| change(v, &other, &mut r));
            }
            *outcomes.entry(manifest(bad.to_string().as_bytes())).or_insert(0) += 1;
        }
    }
    println!("{outcomes:?}");
    assert!(outcomes[&Outcome::Ran] > 100, "changes that pass are tested as well: {outcomes:?}");
    assert!(outcomes[&Outcome::Refused] > 1000, "{outcomes:?}");
}

#[test]
fn deep_nesting_and_huge_counts_are_refused() {
    let mut good = json_of(&artifact(MODEL));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(manifest(deep.as_bytes()), Outcome::Refused);
    let text = good.to_string();
    let nested =
        (0..200).fold("0".to_string(), |d, _| format!("[[[[{{\"floor_div\":[{d},[]]}},1]],1]]"));
    for field in ["\"tiles\":", "\"bytes\":", "\"scratch_bytes\":"] {
        let bad = text.replacen(field, &format!("{field}{nested},\"old\":"), 1);
        assert_eq!(manifest(bad.as_bytes()), Outcome::Refused, "{field}");
    }
    good["kernels"][0]["buffers"] = json!(u32::MAX);
    assert_eq!(manifest(good.to_string().as_bytes()), Outcome::Refused);
    good["kernels"][0]["dims"] = json!(u32::MAX);
    assert_eq!(manifest(good.to_string().as_bytes()), Outcome::Refused);
}

#[test]
fn formulas_that_overflow_are_errors_of_the_run() {
    let good = json_of(&artifact(MODEL));
    let huge = json!([[[[{ "sym": 0 }, 1]], i64::MAX], [[], i64::MAX]]);
    for path in [
        "/entries/0/steps/0/launch/variants/0/tiles",
        "/entries/0/steps/0/launch/variants/0/scratch_bytes",
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = huge.clone();
        assert_eq!(manifest(bad.to_string().as_bytes()), Outcome::Loaded, "{path}");
    }
    for buffer in 0..good["entries"][0]["buffers"].as_array().unwrap().len() {
        let mut bad = good.clone();
        bad["entries"][0]["buffers"][buffer]["bytes"] = huge.clone();
        assert!(manifest(bad.to_string().as_bytes()) < Outcome::Ran, "buffer {buffer}");
    }
}

#[test]
fn damaged_files_with_a_right_header_hash_are_refused_or_whole() {
    let good = artifact(MODEL);
    let header = ArtifactReader::parse(&good).unwrap().header().clone();
    let covered = |at: u64| {
        let read = |s: &&cascata_runtime::format::Section| {
            !matches!(
                s.kind,
                SectionKind::Weights | SectionKind::WeightHashes | SectionKind::Provenance
            )
        };
        header.sections.iter().filter(read).any(|s| (s.offset..s.end()).contains(&at))
    };
    let mut bytes = good.clone();
    for at in (0..good.len()).filter(|at| *at < 1024 || at % 97 == 0) {
        bytes[at] ^= 0x5a;
        let outcome = file(&bytes);
        assert!(outcome == Outcome::Refused || !covered(at as u64), "byte {at}");
        bytes[at] = good[at];
    }
    assert_eq!(file(&bytes), Outcome::Loaded);
}

#[test]
fn no_memory_is_writable_and_executable_while_models_run() {
    let session =
        pipeline::session(&artifact(MODEL), &Runtime::builder().threads(2).build().unwrap());
    let session = session.unwrap();
    let x = [0.5f32; 32];
    for _ in 0..3 {
        session.run(&[("x", TensorView::of(&[2, 4, 4], &x).unwrap())]).unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let rights = |l: &str| l.split_whitespace().nth(1).unwrap_or("").to_string();
        let both = maps.lines().filter(|l| rights(l).contains('w') && rights(l).contains('x'));
        assert_eq!(both.count(), 0, "{maps}");
        let anonymous =
            |l: &&str| rights(l).starts_with("r-x") && l.split_whitespace().count() == 5;
        assert!(maps.lines().any(|l| anonymous(&l)), "the code is in memory of its own\n{maps}");
    }
}
