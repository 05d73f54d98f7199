//! Faults at run time: each is an error of its own, and the session works afterwards.
//!
//! There are no callbacks of the host's in the runtime, hence none that could panic.

mod common;

use cascata_artifact::manifest::Storage;
use cascata_runtime::{
    CancelToken, InputError, IoBinding, RunError, RunOptions, Session, TensorError, TensorView,
};
use cascata_types::{DType, Dim};
use common::*;
use std::time::{Duration, Instant};

fn works(session: &Session) {
    let x = [1f32, 2.0, -3.0];
    let out = session.run(&[("x", TensorView::of(&[3], &x).unwrap())]).unwrap();
    assert_eq!(out[0].to_vec::<f32>().unwrap(), [3.0, 6.0, -9.0]);
}

/// `y[B] = x + x` again and again.
fn long(steps: u32) -> Model {
    let mut m = Model::new();
    let b = Dim::sym(m.symbol("B", 1, 1 << 20));
    let x = m.input("x", f32s([b.clone()]));
    let y = m.output("y", f32s([b.clone()]));
    let add = m.kernel("add", kernels::ADD_F32, 3, 0);
    for _ in 0..steps {
        m.launch(add, &[y, x, x], &[], b.clone());
    }
    m
}

#[test]
fn a_cancelled_run_ends_before_its_next_launch() {
    let session = long(10_000).session(1);
    let x = vec![1f32; 1 << 16];
    let input = [("x", TensorView::of(&[1 << 16], &x).unwrap())];
    let start = Instant::now();
    session.run(&input).unwrap();
    let whole = start.elapsed();
    let token = CancelToken::new();
    let options = RunOptions::default().cancel(&token);
    let start = Instant::now();
    let result = std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(whole / 20);
            token.cancel();
        });
        session.run_with(&input, &options)
    });
    let Err(RunError::Cancelled { step }) = result else { panic!("{result:?}") };
    println!("cancelled before step {step}, after {:?} of {whole:?}", start.elapsed());
    assert!(step > 0 && start.elapsed() < whole / 2 + Duration::from_millis(20));
    // The token still says so; a run without it, or after a reset, is whole.
    assert!(matches!(session.run_with(&input, &options), Err(RunError::Cancelled { step: 0 })));
    session.run(&[("x", TensorView::of(&[1], &[2f32]).unwrap())]).unwrap();
    token.reset();
    assert!(!token.is_cancelled());
    session.run_with(&[("x", TensorView::of(&[1], &[2f32]).unwrap())], &options).unwrap();
}

#[test]
fn a_cancelled_run_of_bound_memory_leaves_the_binding_usable() {
    let session = triple().session(2);
    let x = [1f32, 2.0];
    let token = CancelToken::new();
    let options = RunOptions::default().cancel(&token);
    let mut binding: IoBinding<'_> = session.io_binding();
    binding.bind_input("x", TensorView::of(&[2], &x).unwrap()).unwrap();
    token.cancel();
    assert!(matches!(binding.run_with(&options), Err(RunError::Cancelled { .. })));
    token.reset();
    binding.run_with(&options).unwrap();
    assert_eq!(binding.output("y").unwrap().as_slice::<f32>().unwrap(), [3.0, 6.0]);
    works(&session);
}

#[test]
fn numbers_that_are_none_stay_in_their_run() {
    let session = triple().session(2);
    let x = [f32::NAN, f32::INFINITY, f32::MAX];
    let out = session.run(&[("x", TensorView::of(&[3], &x).unwrap())]).unwrap();
    let y = out[0].to_vec::<f32>().unwrap();
    assert!(y[0].is_nan() && y[1].is_infinite() && y[2].is_infinite());
    works(&session);
}

#[test]
fn wrong_inputs_are_named() {
    let session = triple().session(1);
    let wrong = |view: TensorView<'_>| match session.run(&[("x", view)]) {
        Err(RunError::Inputs(errors)) => errors,
        other => panic!("{other:?}"),
    };
    let errors = wrong(TensorView::of(&[3], &[1i32, 2, 3]).unwrap());
    assert!(matches!(errors[0], InputError::DType { found: DType::I32, .. }));
    let errors = wrong(TensorView::of(&[1, 3], &[1f32, 2.0, 3.0]).unwrap());
    assert!(matches!(errors[0], InputError::Rank { found: 2, .. }));
    let errors = wrong(TensorView::of(&[0], &[] as &[f32]).unwrap());
    assert!(matches!(errors[0], InputError::Range { found: 0, .. }));
    works(&session);
}

#[test]
fn memory_that_is_not_a_dense_aligned_tensor_is_refused() {
    // There are no strides: a view is contiguous, or it is the wrong number of bytes.
    let bytes = [0u8; 64];
    let odd = bytes.as_ptr().align_offset(4) + 1;
    assert!(matches!(
        TensorView::new(DType::F32, &[3], &bytes[odd..][..12]),
        Err(TensorError::Misaligned { .. })
    ));
    assert!(matches!(
        TensorView::new(DType::F32, &[3], &bytes[..24]),
        Err(TensorError::Length { expected: 12, found: 24, .. })
    ));
}

/// `y[B] = x + x` with an arena of a MiB for each element of x.
fn hungry() -> Model {
    let mut m = Model::new();
    let b = Dim::sym(m.symbol("B", 1, 1 << 40));
    let x = m.input("x", f32s([b.clone()]));
    let y = m.output("y", f32s([b.clone()]));
    let t = m.arena("t", f32s([b.clone() * (1 << 18)]), 0, 1);
    assert!(matches!(m.entry.buffers[t as usize].storage, Storage::Arena { .. }));
    let add = m.kernel("add", kernels::ADD_F32, 3, 0);
    m.launch(add, &[t, x, x], &[], b.clone());
    m.launch(add, &[y, t, x], &[], b);
    m
}

const CHILD: &str = "CASCATA_FAULTS_CHILD";

#[test]
fn an_allocation_that_fails_is_an_error_of_the_run() {
    if std::env::var_os(CHILD).is_some() {
        let session = hungry().session(1);
        let x = vec![1f32; 4096];
        for _ in 0..3 {
            let error = session.run(&[("x", TensorView::of(&[4096], &x).unwrap())]).unwrap_err();
            assert!(matches!(error, RunError::OutOfMemory { bytes: 4_294_967_296, .. }), "{error}");
            works(&session);
        }
        return;
    }
    // The child may use 1 GiB of addresses; its run asks for 4.
    let this = std::env::current_exe().unwrap();
    let script = "ulimit -v 1048576 && exec \"$0\" --exact an_allocation_that_fails_is_an_error_of_the_run --nocapture";
    let child = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(this)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success() && text.contains("1 passed"), "{text}\n{child:?}");
}

#[test]
fn threads_with_good_bad_and_cancelled_runs_share_a_session() {
    let session = triple().session(2);
    let token = CancelToken::new();
    token.cancel();
    let cancelled = RunOptions::default().cancel(&token);
    std::thread::scope(|s| {
        for thread in 0..8usize {
            let (session, cancelled) = (&session, &cancelled);
            s.spawn(move || {
                for i in 0..200usize {
                    let x = vec![thread as f32; 1 + (i * 7 + thread) % 1000];
                    let dims = [x.len() as i64];
                    let view = TensorView::of(&dims, &x).unwrap();
                    match (i + thread) % 4 {
                        0 => {
                            let many = vec![0f32; 1001];
                            let view = TensorView::of(&[1001], &many).unwrap();
                            assert!(matches!(
                                session.run(&[("x", view)]),
                                Err(RunError::Inputs(_))
                            ));
                        }
                        1 => assert!(matches!(
                            session.run_with(&[("x", view)], cancelled),
                            Err(RunError::Cancelled { .. })
                        )),
                        _ => {
                            let out = session.run(&[("x", view)]).unwrap();
                            let y = out[0].to_vec::<f32>().unwrap();
                            assert!(
                                y.len() == x.len() && y.iter().all(|y| *y == 3.0 * thread as f32)
                            );
                        }
                    }
                }
            });
        }
    });
    works(&session);
}
