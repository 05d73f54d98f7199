//! Sessions: results, symbols, segments, variants, errors, threads.

mod common;

use cascata_artifact::manifest::{Check, Storage};
use cascata_runtime::{RunError, SessionOptions, Tensor, TensorView, TensorViewMut};
use cascata_types::{DType, Dim, SymbolId};
use common::*;

fn f32_input(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32 * 0.5 - 3.0).collect()
}

fn run_triple(session: &cascata_runtime::Session, n: usize) {
    let x = f32_input(n);
    let out = session.run(&[("x", TensorView::of(&[n as i64], &x).unwrap())]).unwrap();
    let expected: Vec<f32> = x.iter().map(|v| v * 3.0).collect();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].dims(), [n as i64]);
    assert_eq!(out[0].as_slice::<f32>().unwrap(), expected);
}

#[test]
fn runs_launches_for_many_sizes_and_threads() {
    for threads in [1, 2, 5] {
        let session = triple().session(threads);
        for n in [1, 2, 3, 7, 64, 999, 1000, 2, 64] {
            run_triple(&session, n);
        }
        assert_eq!(session.cached_plans(), 7);
    }
}

#[test]
fn the_plan_cache_is_bounded() {
    let options = SessionOptions::default().cached_plans(3);
    let session = triple().artifact().session_with(&runtime(1), &options).unwrap();
    for n in 1..20 {
        run_triple(&session, n);
        assert!(session.cached_plans() <= 3);
    }
}

#[test]
fn four_threads_share_one_session() {
    let session = triple().session(2);
    std::thread::scope(|s| {
        for t in 0..4 {
            let session = &session;
            s.spawn(move || (0..500).for_each(|i| run_triple(session, 1 + (i * 7 + t * 13) % 300)));
        }
    });
    session.trim();
    run_triple(&session, 5);
}

#[test]
fn many_sessions_share_one_artifact_and_runtime() {
    let (artifact, rt) = (triple().artifact(), runtime(2));
    let sessions: Vec<_> = (0..20).map(|_| artifact.session(&rt).unwrap()).collect();
    std::thread::scope(|s| {
        for session in &sessions {
            s.spawn(|| (1..50).for_each(|n| run_triple(session, n)));
        }
    });
}

#[test]
fn data_dependent_sizes_cut_the_run_into_segments() {
    let options = SessionOptions::default().poison(true);
    for threads in [1, 2] {
        let session =
            data_dependent().artifact().session_with(&runtime(threads), &options).unwrap();
        for (k, b) in [(0i64, 3usize), (5, 8), (24, 100), (5, 8), (1, 1)] {
            let x = f32_input(b);
            let dims = [b as i64];
            let out = session
                .run(&[
                    ("k", TensorView::of(&[1], &[k]).unwrap()),
                    ("x", TensorView::of(&dims, &x).unwrap()),
                ])
                .unwrap();
            let n = 2 * k + 1;
            assert_eq!(out[0].dims(), [n]);
            assert_eq!(out[0].to_vec::<i64>().unwrap(), (0..n).map(|i| i * 3).collect::<Vec<_>>());
            assert_eq!(
                out[1].to_vec::<f32>().unwrap(),
                x.iter().map(|v| v * 3.0).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_data_dependent_size_out_of_range_is_an_error() {
    let session = data_dependent().session(1);
    let run = |k: i64| {
        session.run(&[
            ("k", TensorView::of(&[1], &[k]).unwrap()),
            ("x", TensorView::of(&[1], &[1f32]).unwrap()),
        ])
    };
    let error = run(25).unwrap_err();
    assert_eq!(error.to_string(), "'n' = 51, read from 'count', is outside 0..=50");
    assert!(matches!(run(-1), Err(RunError::DataDependent { value: -1, .. })));
    assert_eq!(run(2).unwrap()[0].dims(), [5]);
}

#[test]
fn everything_wrong_with_the_inputs_is_reported_at_once() {
    let mut m = Model::new();
    let b = Dim::sym(m.symbol("B", 1, 64));
    let s = Dim::sym(m.symbol("S", 1, 64));
    let x = m.input("x", f32s([b.clone(), s.clone()]));
    m.input("mask", i64s([b.clone(), s.clone() * 2]));
    m.input("bias", f32s([4.into()]));
    let y = m.output("y", f32s([b.clone(), s.clone()]));
    let add = m.kernel("add", kernels::ADD_F32, 3, 0);
    m.launch(add, &[y, x, x], &[], b * s);
    let session = m.session(1);
    let errors = |inputs: &[(&str, TensorView<'_>)]| match session.run(inputs) {
        Err(RunError::Inputs(errors)) => errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let zeros = |dtype, dims: &[i64]| Tensor::zeros(dtype, dims).unwrap();
    let (x, mask, bias) =
        (zeros(DType::F32, &[2, 3]), zeros(DType::I64, &[2, 6]), zeros(DType::F32, &[4]));
    session.run(&[("x", x.view()), ("mask", mask.view()), ("bias", bias.view())]).unwrap();
    session.run(&[("bias", bias.view()), ("x", x.view()), ("mask", mask.view())]).unwrap();
    assert_eq!(
        errors(&[("x", x.view()), ("maks", mask.view()), ("x", x.view())]),
        [
            "there is no input 'maks'; the inputs are x, mask, bias",
            "input 'x' is given twice",
            "input 'mask' is missing; it is i64[B,2*S]",
            "input 'bias' is missing; it is f32[4]",
        ]
    );
    let (x, mask, bias) =
        (zeros(DType::F32, &[2, 3]), zeros(DType::I32, &[5, 7]), zeros(DType::F32, &[4, 1]));
    assert_eq!(
        errors(&[("x", x.view()), ("mask", mask.view()), ("bias", bias.view())]),
        [
            "input 'mask' has dtype i32, expected i64",
            "input 'bias' has 2 dims, expected 1 (f32[4])",
            "input 'mask', axis 0: the size is 5, expected 2 (B with B=2 from 'x' axis 0)",
            "input 'mask', axis 1: the size is 7, expected 6 (2*S with S=3 from 'x' axis 1)",
        ]
    );
    let (x, mask, bias) =
        (zeros(DType::F32, &[0, 65]), zeros(DType::I64, &[0, 130]), zeros(DType::F32, &[5]));
    assert_eq!(
        errors(&[("x", x.view()), ("mask", mask.view()), ("bias", bias.view())]),
        [
            "input 'x', axis 0: B = 0 is outside 1..=64",
            "input 'x', axis 1: S = 65 is outside 1..=64",
            "input 'bias', axis 0: the size is 5, expected 4",
        ]
    );
}

#[test]
fn checks_are_evaluated_when_their_symbols_are_bound() {
    let mut m = data_dependent();
    let (b, n) = (Dim::sym(SymbolId(0)), Dim::sym(SymbolId(1)));
    m.entry.checks.push(Check { lhs: b.clone(), rhs: 3.into(), what: "MatMul 'mm'".into() });
    m.entry.checks.push(Check { lhs: n, rhs: b * 3, what: "Reshape 'r'".into() });
    let session = m.session(1);
    let run = |k: i64, b: usize| {
        let (x, dims) = (f32_input(b), [b as i64]);
        session.run(&[
            ("k", TensorView::of(&[1], &[k]).unwrap()),
            ("x", TensorView::of(&dims, &x).unwrap()),
        ])
    };
    assert_eq!(run(4, 2).unwrap_err().to_string(), "MatMul 'mm': B = 2 must equal 3");
    assert_eq!(run(3, 3).unwrap_err().to_string(), "Reshape 'r': n = 7 must equal 3*B = 9");
    assert_eq!(run(4, 3).unwrap()[0].dims(), [9]);
}

#[test]
fn variants_are_chosen_by_guard() {
    let mut m = Model::new();
    let b = Dim::sym(m.symbol("B", 0, 100));
    let x = m.input("x", i64s([b.clone()]));
    let y = m.output("y", i64s([b.clone()]));
    let affine = m.kernel("affine", kernels::AFFINE_I64, 2, 2);
    let launch = m.launch(affine, &[y, x], &[1.into(), 300.into()], b.clone());
    // B = 1: +100; 2 <= B <= 10: +200; else +300.
    let mut one = variant(affine, &[1.into(), 100.into()], b.clone());
    one.guard = vec![b.clone() - 1, -b.clone() + 1];
    let mut few = variant(affine, &[1.into(), 200.into()], b.clone());
    few.guard = vec![b.clone() - 2, -b + 10];
    launch.variants.splice(0..0, [one, few]);
    let session = m.session(1);
    for (n, plus) in [(1, 100), (2, 200), (10, 200), (11, 300), (100, 300)] {
        let x: Vec<i64> = (0..n).collect();
        let out = session.run(&[("x", TensorView::of(&[n], &x).unwrap())]).unwrap();
        assert_eq!(out[0].to_vec::<i64>().unwrap(), x.iter().map(|v| v + plus).collect::<Vec<_>>());
    }
    let nothing: [i64; 0] = [];
    let out = session.run(&[("x", TensorView::of(&[0], &nothing).unwrap())]).unwrap();
    assert_eq!((out[0].dims(), out[0].bytes().len()), (&[0][..], 0));
}

#[test]
fn a_kernels_failure_names_what_it_computed() {
    let mut m = Model::new();
    let x = m.input("x", f32s([100.into()]));
    let y = m.output("y", f32s([100.into()]));
    let nonneg = m.kernel("nonneg", kernels::NONNEG_F32, 2, 0);
    m.launch(nonneg, &[y, x], &[], 100);
    let session = m.session(2);
    let mut x = vec![1f32; 100];
    for bad in [0, 50, 99] {
        x[bad] = -1.0;
        let error = session.run(&[("x", TensorView::of(&[100], &x).unwrap())]).unwrap_err();
        let text = "an element is negative (kernel 'nonneg', computing y, from node of y)";
        assert_eq!(error.to_string(), text);
        x[bad] = 1.0;
        session.run(&[("x", TensorView::of(&[100], &x).unwrap())]).unwrap();
    }
}

#[test]
fn weights_aliases_scratch_zeros_and_imports() {
    let mut m = Model::new();
    let x = m.input("x", f32s([8.into()]));
    let w = m.weight("w", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let e = m.output("e", f32s([8.into()]));
    let z = m.output("z", f32s([8.into()]));
    let whole = m.arena("whole", f32s([24.into()]), 0, 2);
    let part =
        m.buffer("part", f32s([8.into()]), Storage::Alias { of: whole, offset_bytes: 64.into() });
    let add = m.kernel("add", kernels::ADD_F32, 3, 0);
    let scratch = m.kernel("scratch", kernels::SCRATCH_F32, 2, 1);
    let exp = m.kernel("exp", kernels::EXP_F32, 2, 0);
    let zeros = m.kernel("zeros", kernels::ZEROS_F32, 1, 0);
    let copy = m.arena("copy", f32s([8.into()]), 1, 2);
    m.launch(add, &[part, x, w], &[], 8);
    m.launch(scratch, &[copy, part], &[996.into()], 8).variants[0].scratch_bytes = 1000.into();
    m.launch(exp, &[e, copy], &[], 8);
    m.launch(zeros, &[z], &[], 8);
    for threads in [1, 3] {
        let options = SessionOptions::default().poison(true);
        let session = m.artifact().session_with(&runtime(threads), &options).unwrap();
        let x: Vec<f32> = (0..8).map(|i| i as f32 * -1.5).collect();
        let out = session.run(&[("x", TensorView::of(&[8], &x).unwrap())]).unwrap();
        for (i, y) in out[0].to_vec::<f32>().unwrap().into_iter().enumerate() {
            let expected = (x[i] + i as f32).exp();
            assert!((y - expected).abs() <= 1e-6 * expected, "{y} {expected}");
        }
        assert_eq!(out[1].to_vec::<f32>().unwrap(), [0.0; 8]);
    }
}

#[test]
fn bound_memory_is_used_in_place() {
    let session = triple().session(2);
    let (x, mut y) = (f32_input(6), [0f32; 6]);
    let mut io = session.io_binding();
    io.bind_input("x", TensorView::of(&[6], &x).unwrap()).unwrap();
    io.bind_output("y", TensorViewMut::of(&[6], &mut y).unwrap()).unwrap();
    io.run().unwrap();
    io.run().unwrap();
    drop(io);
    assert_eq!(y.to_vec(), x.iter().map(|v| v * 3.0).collect::<Vec<_>>());

    let mut io = session.io_binding();
    io.bind_input("x", TensorView::of(&[6], &x).unwrap()).unwrap();
    assert!(io.output("y").is_none());
    io.run().unwrap();
    let first = io.output("y").unwrap().bytes().as_ptr();
    assert_eq!(first as usize % 64, 0);
    io.run().unwrap();
    assert_eq!(io.output("y").unwrap().bytes().as_ptr(), first, "the tensor is reused");
    assert_eq!(io.output("y").unwrap().as_slice::<f32>().unwrap()[1], x[1] * 3.0);
    io.bind_input("x", TensorView::of(&[3], &x[..3]).unwrap()).unwrap();
    io.run().unwrap();
    assert_eq!(io.output("y").unwrap().dims(), [3]);
}

#[test]
fn wrong_bindings_are_errors() {
    let session = triple().session(1);
    let (x, mut y) = (f32_input(6), [0f32; 5]);
    let mut io = session.io_binding();
    let error = io.bind_input("u", TensorView::of(&[6], &x).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "there is no input 'u', only x");
    assert!(matches!(io.run(), Err(RunError::Inputs(_))), "x is missing");
    io.bind_input("x", TensorView::of(&[6], &x).unwrap()).unwrap();
    io.bind_output("y", TensorViewMut::of(&[5], &mut y).unwrap()).unwrap();
    let error = io.run().unwrap_err();
    assert_eq!(error.to_string(), "output 'y' is f32[6], the memory bound for it is f32[5]");
}

#[test]
fn memory_that_cannot_be_had_is_an_error_and_the_session_lives_on() {
    let mut m = triple();
    // The arena buffer grows with B^6 until no machine has that much.
    let b = Dim::sym(SymbolId(0));
    m.entry.buffers[2].bytes = (0..6).fold(Dim::from(4), |n, _| n * b.clone());
    let session = m.session(1);
    run_triple(&session, 5);
    let x = f32_input(1000);
    let error = session.run(&[("x", TensorView::of(&[1000], &x).unwrap())]).unwrap_err();
    assert_eq!(error.to_string(), "out of memory: 4000000000000000000 bytes for the arena");
    run_triple(&session, 5);
}

#[test]
fn formulas_that_contradict_the_ports_are_errors() {
    let mut m = triple();
    m.entry.buffers[0].bytes = 4004.into();
    let error =
        m.session(1).run(&[("x", TensorView::of(&[2], &[1f32, 2.0]).unwrap())]).unwrap_err();
    assert!(
        matches!(&error, RunError::Plan { buffer, needs: 4004, has: 8 } if buffer == "x"),
        "{error}"
    );
    let mut m = triple();
    m.entry.buffers[2].bytes = Dim::sym(SymbolId(0)) - 5;
    let error =
        m.session(1).run(&[("x", TensorView::of(&[2], &[1f32, 2.0]).unwrap())]).unwrap_err();
    assert_eq!(error.to_string(), "size of buffer 't': B-5 is negative (-3); with B=2");
}

#[test]
fn profiles_name_values_sources_and_costs() {
    let session = triple().session(1);
    let x = f32_input(10);
    let (out, profile) =
        session.run_profiled(&[("x", TensorView::of(&[10], &x).unwrap())]).unwrap();
    assert_eq!(out[0].dims(), [10]);
    assert_eq!(profile.len(), 2);
    assert_eq!((profile[1].values[0].as_str(), profile[1].source[0].as_str()), ("y", "node of y"));
    assert_eq!(
        (profile[0].kernel.as_str(), profile[0].flops, profile[0].bytes, profile[0].tiles),
        ("add", 10, 40, 10)
    );
    assert!(profile[1].start_ns >= profile[0].start_ns + profile[0].ns);
}

#[test]
fn memory_plans_report_arenas() {
    let session = data_dependent().session(2);
    let plan = session.memory_plan(&[("B", 100), ("n", 50)]).unwrap();
    assert_eq!(plan.segments.len(), 2);
    assert_eq!(plan.segments[0].arena_bytes, 64 + 448);
    assert_eq!(plan.arena_bytes(), plan.lower_bound_bytes());
    assert_eq!(plan.segments[1].buffers[0].name, "iota");
    assert_eq!(session.memory_plan(&[("B", 100)]).unwrap().segments.len(), 1);
    let error = session.memory_plan(&[("b", 1)]).unwrap_err();
    assert_eq!(error.to_string(), "there is no symbol 'b', only B, n");
}
