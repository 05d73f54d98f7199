//! `passes/ABLATION.md` is what the rules do now (`CASCATA_BLESS=1` rewrites it), and each
//! launch of a real model has the names of its values and source nodes.

use anyhow::Result;
use cascata_tests::ablation::{INTRODUCTION, MODELS, baseline};
use cascata_tests::references::cases_or_skip;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../passes/ABLATION.md")
}

/// Each model on one of two threads, in the order of the list.
fn each_model<T: Send>(run: impl Fn(&str) -> Result<T> + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = vec![];
        while let Some(id) = MODELS.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = run(id).unwrap_or_else(|e| panic!("{id}: {e:#}"));
            done.push((*id, result));
        }
        done
    };
    let mut all = thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|t| t.join().expect("a model failed")).collect::<Vec<_>>()
    });
    all.sort_by_key(|(id, _)| *id);
    all.into_iter().map(|(_, result)| result).collect()
}

fn bless() {
    let sections = each_model(|id| baseline(id)?.section(id));
    let text = format!("{INTRODUCTION}\n{}", sections.join("\n"));
    std::fs::write(page(), text).expect("the page is writable");
}

#[test]
fn the_page_is_current_and_launches_have_names() {
    if cases_or_skip(MODELS[0]).is_empty() {
        return;
    }
    if std::env::var_os("CASCATA_BLESS").is_some() {
        bless();
    }
    let kept = std::fs::read_to_string(page()).unwrap_or_default();
    let missing = each_model(|id| {
        let now = baseline(id)?;
        assert!(now.nameless.is_empty(), "{id}: steps without a name: {:?}", now.nameless);
        let rows = now.rules.keys().map(|r| now.row(r));
        let expected = rows.chain([now.head(id)]);
        let section = kept.split("\n## ").find(|s| s.lines().next() == Some(id));
        let section = format!("## {}", section.unwrap_or_default());
        let lines = section.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| rule"));
        let stale = lines.count() != now.rules.len();
        let missing = expected.filter(|e| stale || !section.contains(e.as_str()));
        Ok(missing.map(|m| format!("{id}: {m}")).collect::<Vec<_>>())
    });
    let missing = missing.concat();
    assert!(
        missing.is_empty(),
        "ABLATION.md is out of date: run this test with CASCATA_BLESS=1\n{}",
        missing.join("\n")
    );
}
