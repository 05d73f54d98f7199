//! The ONNX backend tests through import, interpreter and compiled code.
//!
//! `tests/models/onnx_backend.py` writes them to `<cache>/onnx_backend`, and
//! `tests/models/contrib.py` cases with ONNX Runtime's outputs for the operators of
//! `com.microsoft` and a few others to `<cache>/contrib` (`tests/setup_env.sh` calls both). Every case is imported, run by the interpreter,
//! compiled at O2 for one level, loaded from memory and run; both results are compared
//! with the reference's. A case that cannot be compiled must be refused by name. With
//! `ONNX_BACKEND_FILTER=substring` only some run and every outcome is printed.
#![forbid(unsafe_code)]

mod run;
mod table;

use cascata_tests::onnx_backend::Case;
use run::Outcome;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Cases per kind that must pass: what was reached.
const FLOORS: &[(&str, usize)] = &[
    ("node", 1379),
    ("expanded", 480),
    ("simple", 24),
    ("pytorch-converted", 82),
    ("pytorch-operator", 35),
    ("contrib", 78),
];

/// Folders of the cache with cases.
const SOURCES: &[&str] = &["onnx_backend", "contrib"];

/// A worker's stack: inlined functions nest deeply.
const STACK: usize = 64 << 20;

#[test]
fn every_operator() {
    if std::env::var_os("CASCATA_SKIP_MODELS").is_some_and(|v| v == "1") {
        return println!("skipped: CASCATA_SKIP_MODELS=1");
    }
    let cache = cascata_tests::references::cache();
    let filter = std::env::var("ONNX_BACKEND_FILTER").ok();
    let all = SOURCES.iter().flat_map(|s| folders(&cache.join(s), filter.as_deref()));
    let results = run_all(all.collect());
    if filter.is_some() {
        results.iter().for_each(|(case, outcome)| println!("{}: {outcome}", case.name));
        return;
    }
    let failed = report(&results);
    let table_is_current = table::check(&cache.join("onnx_backend"), &results);
    assert_eq!(failed, 0, "wrong answers, panics or too few passes: see the list above");
    assert!(table_is_current, "frontends/OPERATORS.md is out of date: run with CASCATA_BLESS=1");
}

fn folders(folder: &Path, filter: Option<&str>) -> Vec<PathBuf> {
    let missing = |_| panic!("no cases in {}: run tests/setup_env.sh", folder.display());
    let entries = std::fs::read_dir(folder).unwrap_or_else(missing);
    let mut out: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    let name = |p: &PathBuf| p.file_name().map(|n| n.to_string_lossy().into_owned());
    out.retain(|p| filter.is_none_or(|f| name(p).is_some_and(|n| n.contains(f))));
    out.sort();
    out
}

/// Runs every case, a thread per CPU.
fn run_all(folders: Vec<PathBuf>) -> Vec<(Case, Outcome)> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        let runtime = run::runtime();
        while let Some(folder) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(case) = Case::read(folder) else { continue };
            let outcome = run::case(&case, &runtime);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((case, outcome));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let thread = std::thread::Builder::new().stack_size(STACK);
            thread.spawn_scoped(scope, work).expect("a thread");
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    done
}

/// Prints what came out; the number of failures.
fn report(results: &[(Case, Outcome)]) -> usize {
    let mut refused: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut failed = 0;
    for (case, outcome) in results {
        match outcome {
            Outcome::Passed => {}
            Outcome::Refused(why) => refused.entry(why).or_default().push(&case.name),
            Outcome::Wrong(_) | Outcome::Panicked(_) => {
                println!("{}: {outcome}", case.name);
                failed += 1;
            }
        }
    }
    let mut refused: Vec<_> = refused.into_iter().collect();
    refused.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    for (why, names) in &refused {
        println!("refused {}: {why} ({}…)", names.len(), names[0]);
    }
    failed + FLOORS.iter().map(|(kind, floor)| below(results, kind, *floor)).sum::<usize>()
}

/// Prints the counts of a kind; 1 if fewer than `floor` pass.
fn below(results: &[(Case, Outcome)], kind: &str, floor: usize) -> usize {
    let of_kind: Vec<_> = results.iter().filter(|(c, _)| c.kind == kind).collect();
    let passed = of_kind.iter().filter(|(_, o)| matches!(o, Outcome::Passed)).count();
    let refused = of_kind.iter().filter(|(_, o)| matches!(o, Outcome::Refused(_))).count();
    let bad = of_kind.len() - passed - refused;
    println!("{kind}: {passed} of {} passed, {refused} refused, {bad} wrong", of_kind.len());
    usize::from(passed < floor)
}
