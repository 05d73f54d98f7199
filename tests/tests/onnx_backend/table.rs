//! `frontends/OPERATORS.md`: what the backend tests say about every operator.

use super::run::Outcome;
use cascata_frontends::onnx::operators;
use cascata_tests::onnx_backend::Case;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Names of cases that a row lists; the others are counted.
const LISTED: usize = 3;

/// What the cases of one operator came to.
#[derive(Default)]
struct Row<'a> {
    passed: usize,
    /// Names of all cases.
    cases: Vec<&'a str>,
    /// Why the others did not compile.
    refused: BTreeSet<&'a str>,
    /// Why cases with several operators did not compile, whichever of them it was.
    others: BTreeSet<&'a str>,
    /// Element types of cases that passed.
    types: BTreeSet<&'a str>,
    /// Opsets of cases that passed.
    opsets: BTreeSet<i64>,
}

/// Whether the page is as the results say; `CASCATA_BLESS=1` rewrites it.
pub fn check(folder: &Path, results: &[(Case, Outcome)]) -> bool {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../frontends/OPERATORS.md");
    let text = markdown(&known(folder), results);
    if std::env::var_os("CASCATA_BLESS").is_some() {
        std::fs::write(&page, &text).expect("OPERATORS.md is writable");
    }
    std::fs::read_to_string(&page).is_ok_and(|kept| kept == text)
}

/// `domain.name` with its versions, of every operator that is not deprecated.
fn known(folder: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder.join("operators.json")).expect("operators.json");
    let rows: Vec<Value> = serde_json::from_str(&text).expect("operators.json is JSON");
    let name = |row: &Value| {
        let part = |key: &str| row[key].as_str().unwrap_or_default().to_string();
        format!("{}.{}", part("domain"), part("name"))
    };
    let versions = |row: &Value| {
        let all: Vec<String> =
            row["versions"].as_array().into_iter().flatten().map(Value::to_string).collect();
        all.join(" ")
    };
    rows.iter()
        .filter(|r| r["deprecated"] != Value::Bool(true))
        .map(|r| (name(r), versions(r)))
        .collect()
}

fn rows(results: &[(Case, Outcome)]) -> BTreeMap<&str, Row<'_>> {
    let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    // An expanded case has no node of the operator that it is about.
    for (case, outcome) in results.iter().filter(|(c, _)| c.kind != "expanded") {
        for op in &case.ops {
            let row = rows.entry(op).or_default();
            row.cases.push(&case.name);
            match outcome {
                Outcome::Passed => {
                    row.passed += 1;
                    row.types.extend(case.types.iter().map(String::as_str));
                    row.opsets.insert(case.opset);
                }
                // Elsewhere another operator of the case may be the reason.
                Outcome::Refused(why) if case.ops.len() == 1 || names(why, op) => {
                    row.refused.insert(why);
                }
                Outcome::Refused(why) => {
                    row.others.insert(why);
                }
                Outcome::Wrong(_) | Outcome::Panicked(_) => {
                    row.refused.insert("wrong");
                }
            }
        }
    }
    rows
}

/// Whether a refusal begins with the operator's name.
fn names(why: &str, op: &str) -> bool {
    let short = op.rsplit('.').next().unwrap_or(op);
    why.strip_prefix(short).is_some_and(|rest| rest.starts_with(':'))
}

fn markdown(known: &BTreeMap<String, String>, results: &[(Case, Outcome)]) -> String {
    let rows = rows(results);
    let imported: BTreeSet<String> = operators().into_iter().collect();
    let mut out = String::from(
        "# ONNX operators\n\n\
         What the ONNX backend tests say about every operator, made by `cargo test -p cascata-tests --test onnx_backend`\n\
         (`CASCATA_BLESS=1` rewrites this page). *Cases* passed of all that have such a node: import, interpreter and\n\
         compiled code (O2, x86-64-v3) all give the reference's outputs. *Types* are element types of inputs and outputs\n\
         of cases that passed, *opsets* those of their models. Types without a dtype here are passed as bytes\n\
         (`frontends/src/onnx/narrow.rs`).\n\n\
         | operator | state | versions | opsets | cases | types | tests | refused |\n|---|---|---|---|---|---|---|---|\n",
    );
    let names: BTreeSet<&str> =
        known.keys().map(String::as_str).chain(imported.iter().map(String::as_str)).collect();
    for name in names {
        let versions = known.get(name).map_or("1", String::as_str);
        line(&mut out, name, versions, rows.get(name), imported.contains(name));
    }
    out
}

fn line(out: &mut String, name: &str, versions: &str, row: Option<&Row<'_>>, imported: bool) {
    let short = name.strip_prefix("ai.onnx.").filter(|n| !n.contains('.')).unwrap_or(name);
    let empty = Row::default();
    let row = row.unwrap_or(&empty);
    let join = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(" ");
    let opsets: Vec<String> = row.opsets.iter().map(i64::to_string).collect();
    let mut tests = row.cases.iter().take(LISTED).copied().collect::<Vec<_>>().join(" ");
    if row.cases.len() > LISTED {
        let _ = write!(tests, " +{}", row.cases.len() - LISTED);
    }
    // Where no case passes, any of them may say why.
    let reasons = match row.refused.is_empty() && row.passed == 0 {
        true => &row.others,
        false => &row.refused,
    };
    let refused: Vec<&str> = reasons.iter().copied().collect();
    let refused = refused.join("; ").replace('|', "/").replace('\n', " ");
    let state = match (row.passed, row.cases.len(), imported) {
        (0, 0, true) => "imported, no case",
        (0, _, false) => "not imported",
        (0, _, true) => "refused",
        (passed, all, _) if passed == all || refused.is_empty() => "compiled",
        _ => "compiled in part",
    };
    let (passed, all) = (row.passed, row.cases.len());
    let _ = writeln!(
        out,
        "| {short} | {state} | {versions} | {} | {passed}/{all} | {} | {tests} | {refused} |",
        opsets.join(" "),
        join(&row.types),
    );
}
