//! Shared formulas: what they are, that they lose nothing, and what is refused.

mod common;

use cascata_artifact::SectionSizes;
use cascata_artifact::manifest::{Entry, Step};
use cascata_types::{Dim, Symbol};
use common::manifest;

/// The test entry over `B` and a data-dependent `n`, with nested formulas.
fn entry() -> Entry {
    let mut entry = manifest().entries.remove(0);
    let n = Symbol { name: "n".into(), min: 0, max: 9, data_dependent: true };
    let n = Dim::sym(entry.symbols.insert(n).expect("a new name"));
    let b = Dim::sym(entry.symbols.lookup("B").expect("the batch"));
    let half = (b.clone() + 1).floor_div(&2.into());
    let quarter = (half.clone() + 1).floor_div(&2.into());
    entry.buffers[2].bytes = half.clone() * quarter.clone() * 4;
    entry.buffers[3].bytes = quarter.maximum(&n) + half.clone();
    if let Step::Launch(launch) = &mut entry.steps[0] {
        launch.variants[0].tiles = (quarter * 3 + 7).modulo(&half);
    }
    entry
}

#[test]
fn what_the_inputs_decide_is_defined_once() {
    let before = entry();
    let mut entry = before.clone();
    entry.share_formulas();
    let written: Vec<String> = entry.derived.iter().map(|d| d.display(&entry.symbols)).collect();
    assert_eq!(written, ["floordiv(B+1,2)", "floordiv(s2+1,2)", "mod(3*s3+7,s2)"]);
    // A part that data decides stays where it is, over what is shared.
    assert_eq!(entry.buffers[3].bytes.display(&entry.symbols), "max(n,s3)+s2");
    assert_eq!(entry.expanded(&entry.buffers[2].bytes), before.buffers[2].bytes);
    entry.expand_formulas();
    assert_eq!(entry, before);
}

#[test]
fn definitions_look_back_only_and_stay_short() {
    let errors = |change: &dyn Fn(&mut Entry)| -> String {
        let mut manifest = manifest();
        change(&mut manifest.entries[0]);
        let sizes = SectionSizes { code: vec![100, 100], ptx: vec![], weights: 1 << 30 };
        let errors = manifest.verify(&sizes).expect_err("a defect");
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let itself = errors(&|e| e.derived = vec![Dim::sym(e.derived_symbol(0)) + 1]);
    assert!(itself.contains("derived[0]") && itself.contains("s1"), "{itself}");
    // Each doubles the one before: written out, the last would have 2^40 factors.
    let doubling = errors(&|e| {
        let b = Dim::sym(e.symbols.lookup("B").expect("the batch"));
        e.derived.push(b.floor_div(&3.into()));
        for i in 0..40 {
            let last = Dim::sym(e.derived_symbol(i));
            e.derived.push((last.clone() + 1).maximum(&(last * 2)));
        }
    });
    assert!(doubling.contains("more than 4096 factors"), "{doubling}");
}
