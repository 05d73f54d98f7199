//! What a launch, a run and a load cost. Printed, not judged, except for correctness:
//! `cargo test --release -p cascata-runtime --test overhead -- --nocapture`.

mod common;

use cascata_runtime::{Artifact, TensorView};
use cascata_types::Dim;
use common::*;
use std::time::Instant;

const LAUNCHES: u32 = 1000;

/// A chain of `LAUNCHES` kernels that each add 1 to two numbers, a tile each.
fn chain(min_tiles: i64) -> Model {
    let mut m = Model::new();
    let two = || i64s([2.into()]);
    let mut last = m.input("x", two());
    let affine = m.kernel("affine", kernels::AFFINE_I64, 2, 2);
    for i in 0..LAUNCHES {
        let next = match i + 1 {
            LAUNCHES => m.output("y", two()),
            _ => m.arena(&format!("t{i}"), two(), i, i + 1),
        };
        let dims: [Dim; 2] = [1.into(), 1.into()];
        m.launch(affine, &[next, last], &dims, 2).variants[0].min_tiles = min_tiles.into();
        last = next;
    }
    m
}

fn median_ns(runs: usize, mut f: impl FnMut()) -> u128 {
    let mut all: Vec<u128> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_nanos()
        })
        .collect();
    all.sort_unstable();
    all[runs / 2]
}

#[test]
fn a_hundred_thousand_tiny_launches() {
    for (threads, min_tiles, what) in
        [(1, 1, "inline, 1 thread"), (2, 2, "inline, 2 threads"), (2, 1, "cut in two")]
    {
        let session = chain(min_tiles).session(threads);
        let x = [10i64, 20];
        let mut io = session.io_binding();
        io.bind_input("x", TensorView::of(&[2], &x).unwrap()).unwrap();
        let ns = median_ns(100, || io.run().unwrap());
        assert_eq!(io.output("y").unwrap().as_slice::<i64>().unwrap(), [1010, 1020]);
        println!("launch, {what}: {} ns", ns / u128::from(LAUNCHES));
    }
}

#[test]
fn one_small_run() {
    let session = triple().session(1);
    let x = [1f32; 8];
    let ns = median_ns(10_000, || {
        session.run(&[("x", TensorView::of(&[8], &x).unwrap())]).unwrap();
    });
    println!("a run of two launches: {ns} ns");
}

#[test]
fn planning_and_loading() {
    let file = chain(1).file("overhead");
    let kib = std::fs::metadata(&file.0).unwrap().len() >> 10;
    let ns = median_ns(100, || drop(Artifact::load(&file.0).unwrap()));
    println!("load, {LAUNCHES} launches, {kib} KiB: {} us", ns / 1000);
    let (artifact, rt) = (Artifact::load(&file.0).unwrap(), runtime(1));
    let ns = median_ns(20, || {
        artifact.session(&rt).unwrap().memory_plan(&[]).unwrap();
    });
    println!("session and plan, {LAUNCHES} launches: {} us", ns / 1000);
}
