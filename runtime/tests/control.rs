//! Branches and loops of artifacts put together by hand, hostile ones among them.

mod common;

use cascata_artifact::SectionSizes;
use cascata_artifact::manifest::*;
use cascata_runtime::{RunError, SessionOptions, Tensor, TensorView};
use cascata_types::{DType, Dim, SymbolId};
use common::*;

/// `y = go ? x + x : x`, which fails where an element of `x` is negative and `go` is false.
fn branches() -> Model {
    let mut m = Model::new();
    let b = Dim::sym(m.symbol("B", 1, 100));
    m.entry.blocks = vec![Block::default(), Block::default()];
    let go = m.input("go", bools());
    let x = m.input("x", f32s([b.clone()]));
    let y = m.output("y", f32s([b.clone()]));
    let then = slot(&mut m, "then", f32s([b.clone()]), 1);
    let other = slot(&mut m, "other", f32s([b.clone()]), 2);
    let chosen = slot(&mut m, "chosen", f32s([b.clone()]), 0);
    let add = m.kernel("add", kernels::ADD_F32, 3, 0);
    let copy = m.kernel("copy", kernels::NONNEG_F32, 2, 0);
    m.launch(add, &[then, x, x], &[], b.clone());
    into_block(&mut m, 1);
    m.launch(copy, &[other, x], &[], b.clone());
    into_block(&mut m, 2);
    m.entry.steps.push(Step::If(Branch {
        cond: go,
        then_block: 1,
        else_block: 2,
        results: vec![BranchResult { then, other, result: chosen }],
        dims: vec![],
        source: vec!["If_1".into()],
    }));
    m.launch(copy, &[y, chosen], &[], b);
    m
}

fn run_loop(m: &Model, trips: &[(i64, bool)]) -> Vec<Result<Vec<Tensor>, RunError>> {
    let options = SessionOptions::default().poison(true);
    let session = m.artifact().session_with(&runtime(2), &options).unwrap();
    let run = |&(n, go): &(i64, bool)| {
        session.run(&[
            ("n", TensorView::of(&[], &[n]).unwrap()),
            ("go", TensorView::of(&[], &[go]).unwrap()),
            ("x", TensorView::of(&[2], &[1f32, 2.0]).unwrap()),
            ("list", TensorView::of(&[1], &[7i64]).unwrap()),
        ])
    };
    trips.iter().map(run).collect()
}

#[test]
fn one_branch_runs() {
    let session = branches().session(2);
    let run = |go: bool, x: &[f32]| {
        let len = [x.len() as i64];
        let go = [go];
        let given =
            [("go", TensorView::of(&[], &go).unwrap()), ("x", TensorView::of(&len, x).unwrap())];
        session.run(&given).map(|y| y[0].to_vec::<f32>().unwrap())
    };
    assert_eq!(run(true, &[1.0, 2.0]).unwrap(), [2.0, 4.0]);
    assert_eq!(run(false, &[1.0, 2.0, 3.0]).unwrap(), [1.0, 2.0, 3.0]);
    let error = run(false, &[1.0, -2.0]).unwrap_err();
    assert!(error.to_string().contains("an element is negative"), "{error}");
    assert_eq!(run(true, &[5.0]).unwrap(), [10.0], "the session stays usable");
}

#[test]
fn loops_carry_collect_and_grow() {
    for (result, n) in run_loop(&loops(50), &[(3, true), (0, true), (5, false), (1, true)])
        .into_iter()
        .zip([3usize, 0, 0, 1])
    {
        let out = result.unwrap();
        let times = n as f32 + 1.0;
        assert_eq!(out[0].to_vec::<f32>().unwrap(), [times, 2.0 * times]);
        assert_eq!(out[1].dims(), [n as i64, 2]);
        let rows: Vec<f32> = (1..=n).flat_map(|i| [i as f32 + 1.0, 2.0 * i as f32 + 2.0]).collect();
        assert_eq!(out[1].to_vec::<f32>().unwrap(), rows);
        let odd: Vec<i64> = (0..n as i64).map(|i| 2 * i + 1).collect();
        assert_eq!(out[2].to_vec::<i64>().unwrap(), odd);
        let list: Vec<i64> = if n == 0 { vec![7] } else { (0..=n as i64).collect() };
        assert_eq!(out[3].to_vec::<i64>().unwrap(), list);
    }
}

/// A loop without an end stops at the count's range, a growing dim at its own.
#[test]
fn ranges_end_a_loop() {
    let results = run_loop(&loops(4), &[(i64::MAX, true), (2, true)]);
    let error = results[0].as_ref().unwrap_err().to_string();
    assert_eq!(error, "'inside' = 5, read from 'Loop_1', is outside 0..=4");
    assert!(results[1].is_ok(), "the session stays usable");
    let mut m = loops(4);
    m.entry.symbols.get_mut(SymbolId(2)).max = 100;
    m.entry.symbols.get_mut(SymbolId(3)).max = 100;
    let error = run_loop(&m, &[(i64::MAX, true)]).remove(0).unwrap_err().to_string();
    assert_eq!(error, "'trips' = 5, read from 'Loop_1', is outside 0..=4");
}

/// Formulas that say other sizes than there are end in an error, not in wrong memory.
#[test]
fn contradicting_sizes_are_errors() {
    let contradicting = |change: &dyn Fn(&mut Loop)| {
        let mut m = loops(50);
        let Step::Loop(l) = &mut m.entry.steps[0] else { panic!("a loop") };
        change(l);
        let error = run_loop(&m, &[(2, true)]).remove(0).unwrap_err();
        assert!(matches!(error, RunError::Plan { .. }), "{error}");
    };
    contradicting(&|l| l.dims[0].next = l.dims[0].next.clone() + 1);
    contradicting(&|l| l.dims[0].initial = 2.into());
    let mut m = loops(50);
    let rows = m
        .entry
        .buffers
        .iter()
        .position(|b| b.name == "rows" && b.block == 0 && b.storage == Storage::Slot);
    m.entry.buffers[rows.unwrap()].bytes = 8.into();
    let error = run_loop(&m, &[(2, true)]).remove(0).unwrap_err();
    assert!(matches!(error, RunError::Plan { .. }), "{error}");
}

#[test]
fn profiles_and_memory_plans_name_blocks() {
    let session = loops(50).session(1);
    let given = [
        ("n", TensorView::of(&[], &[2i64]).unwrap()),
        ("go", TensorView::of(&[], &[true]).unwrap()),
        ("x", TensorView::of(&[2], &[1f32, 2.0]).unwrap()),
        ("list", TensorView::of(&[1], &[7i64]).unwrap()),
    ];
    let (_, profile) = session.run_profiled(&given).unwrap();
    let places: Vec<(u32, usize)> = profile.iter().map(|l| (l.block, l.step)).collect();
    let body = [(1, 0), (1, 1), (1, 2)];
    let rest = [(0, 1), (0, 2), (0, 3), (0, 4)];
    assert_eq!(places, [&body[..], &body, &rest].concat());
    // Known are the entry's first segment, the body once its dim is, and the rest.
    let plan = session.memory_plan(&[("B", 2)]).unwrap();
    assert_eq!(plan.segments.iter().map(|s| s.block).collect::<Vec<_>>(), [0]);
    let plan = session.memory_plan(&[("B", 2), ("inside", 3)]).unwrap();
    assert_eq!(plan.segments.iter().map(|s| s.block).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(plan.segments[1].buffers[0].name, "odd");
}

/// Plans of a body are found again though other symbols have changed.
#[test]
fn plans_are_cached_by_what_they_depend_on() {
    let session = branches().session(1);
    for go in [[true], [false], [true], [false]] {
        let given = [
            ("go", TensorView::of(&[], &go).unwrap()),
            ("x", TensorView::of(&[1], &[1f32]).unwrap()),
        ];
        session.run(&given).unwrap();
    }
    assert_eq!(session.cached_plans(), 4, "two segments of the entry, one of each block");
}

fn complaints(m: &Model) -> Vec<String> {
    let sizes = SectionSizes { code: vec![1 << 20; 2], ptx: vec![], weights: 1 << 20 };
    m.manifest().verify(&sizes).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[track_caller]
fn one(m: &Model, part: &str) {
    let all = complaints(m);
    assert!(all.len() == 1 && all[0].contains(part), "expected '{part}', got {all:#?}");
}

#[track_caller]
fn some(m: &Model, part: &str) {
    let all = complaints(m);
    assert!(all.iter().any(|c| c.contains(part)), "expected '{part}', got {all:#?}");
}

fn changed_branch(change: impl FnOnce(&mut Branch, &mut Vec<Buffer>)) -> Model {
    let mut m = branches();
    let Step::If(b) = &mut m.entry.steps[0] else { panic!("a branch") };
    change(b, &mut m.entry.buffers);
    m
}

#[test]
fn hostile_branches_are_refused() {
    assert_eq!(complaints(&branches()), Vec::<String>::new());
    one(&changed_branch(|b, _| b.cond = 99), "buffer 99 is out of range");
    one(&changed_branch(|b, _| b.cond = 1), "is not one bool");
    some(&changed_branch(|b, _| b.then_block = 9), "there is no block 9");
    some(&changed_branch(|b, _| b.then_block = 0), "it runs block 0 from block 0");
    some(&changed_branch(|b, _| b.then_block = 2), "another step runs block 2, too");
    some(&changed_branch(|b, _| b.results[0].then = b.results[0].other), "occurs twice");
    one(&changed_branch(|b, _| b.results[0].result = 1), "is not a slot");
    some(&changed_branch(|b, all| all[b.results[0].then as usize].block = 2), "of another block");
    some(
        &changed_branch(|b, all| all[b.results[0].result as usize].block = 1),
        "belongs to block 1",
    );
    some(&changed_branch(|b, all| all[b.results[0].then as usize].ty.dtype = DType::I32), "is f32");
    one(
        &changed_branch(|b, all| all[b.results[0].then as usize].block = 7),
        "block 7 is out of range",
    );
    one(&changed_branch(|b, _| b.results.clear()), "which no step has written");
    let mut m = branches();
    m.entry.blocks[0].steps.clear();
    one(&m, "it reads 'then', which no step has written");
    let mut m = branches();
    m.entry.blocks.push(Block::default());
    one(&m, "no step runs it");
    // What only one branch writes is not there afterwards.
    let mut m = branches();
    let Step::Launch(l) = &mut m.entry.steps[1] else { panic!("a launch") };
    l.buffers[1] = 3;
    some(&m, "of a block that does not run");
    let mut m = branches();
    let Step::Launch(l) = &mut m.entry.blocks[0].steps[0] else { panic!("a launch") };
    l.buffers[0] = 2;
    some(&m, "it writes 'y', of another block");
}

#[test]
fn hostile_nesting_is_refused() {
    let mut m = branches();
    let depth = 70;
    m.entry.blocks = (0..2 * depth).map(|_| Block::default()).collect();
    for level in 0..depth {
        let [then_block, else_block] = [2 * level + 1, 2 * level + 2].map(|b| b as u32);
        let step = Step::If(Branch {
            cond: 0,
            then_block,
            else_block,
            results: vec![],
            dims: vec![],
            source: vec![],
        });
        match level {
            0 => m.entry.steps[0] = step,
            _ => m.entry.blocks[2 * level - 2].steps.push(step),
        }
    }
    some(&m, "blocks nest more than 64 deep");
}

fn changed_loop(change: impl FnOnce(&mut Loop, &mut Vec<Buffer>)) -> Model {
    let mut m = loops(50);
    let Step::Loop(l) = &mut m.entry.steps[0] else { panic!("a loop") };
    change(l, &mut m.entry.buffers);
    m
}

#[test]
fn hostile_loops_are_refused() {
    assert_eq!(complaints(&loops(50)), Vec::<String>::new());
    one(&changed_loop(|l, _| l.trip = l.cond), "is not one i64");
    one(&changed_loop(|l, _| l.next_cond = l.trip), "is not one bool");
    some(&changed_loop(|l, _| l.carried[0].next = Some(l.carried[0].param)), "occurs twice");
    some(&changed_loop(|l, _| l.going = None), "it reads 'going', which no step has written");
    some(&changed_loop(|l, _| l.iteration = None), "it reads 'i', which no step has written");
    some(&changed_loop(|l, _| l.carried[1].initial = l.carried[0].initial), "'x' is f32");
    some(&changed_loop(|l, _| l.scanned[0].row = l.scanned[1].row), "'odd' is i64");
    some(&changed_loop(|l, _| l.dims.clear()), "needs 'inside', which has no value there");
    one(&changed_loop(|l, _| l.count = SymbolId(0)), "which is not data-dependent");
    one(&changed_loop(|l, _| l.count = SymbolId(40)), "is not in the entry's table");
    some(&changed_loop(|l, _| l.dims[0].inside = l.count), "has no value there");
    some(&changed_loop(|l, _| l.dims[0].after = l.count), "'trips' is bound already");
    let after = |l: &mut Loop| l.dims[0].initial = Dim::sym(l.dims[0].after);
    one(&changed_loop(|l, _| after(l)), "needs 'after', which has no value there");
    let odd =
        |all: &mut Vec<Buffer>| all.iter().position(|b| b.name == "odd" && b.block == 1).unwrap();
    let early = |_: &mut Loop, all: &mut Vec<Buffer>| {
        let at = odd(all);
        all[at].storage = Storage::Arena { first: 1, last: 1 };
    };
    one(&changed_loop(early), "it touches 'odd', which lives from step 1 to 1");
    let outside = |_: &mut Loop, all: &mut Vec<Buffer>| {
        let at = odd(all);
        all[at].block = 0;
    };
    some(&changed_loop(outside), "it writes 'odd', of another block");
    // A launch that writes what the loop hands out: it has no memory then.
    let mut m = loops(50);
    let copy = m.entry.steps.remove(1);
    m.entry.steps.insert(0, copy);
    let Step::Launch(l) = &mut m.entry.steps[0] else { panic!("a launch") };
    l.buffers.swap(0, 1);
    some(&m, "which no step has written");
}

#[test]
fn hostile_numbers_never_panic() {
    let text = serde_json::to_string(&loops(50).manifest()).unwrap();
    let sizes = SectionSizes { code: vec![1 << 20; 2], ptx: vec![], weights: 1 << 20 };
    let digits: Vec<usize> =
        text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(i, _)| i).collect();
    for at in digits {
        for with in ["18446744073709551615", "4294967295", "7", "-1", "null"] {
            let forged = format!("{}{with}{}", &text[..at], &text[at + 1..]);
            if let Ok(m) = serde_json::from_str::<Manifest>(&forged) {
                let _ = m.verify(&sizes);
            }
        }
    }
}
