//! A run with a cached plan allocates its outputs and nothing else; with bound memory
//! it allocates nothing.

mod common;

use cascata_runtime::TensorView;
use common::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread in `f`.
fn count(f: impl FnOnce()) -> usize {
    let before = COUNT.with(Cell::get);
    f();
    COUNT.with(Cell::get) - before
}

#[test]
fn runs_with_cached_plans_do_not_allocate() {
    for threads in [1, 2] {
        let session = data_dependent().session(threads);
        let (k, x) = ([3i64], [1f32; 4]);
        let inputs =
            [("k", TensorView::of(&[1], &k).unwrap()), ("x", TensorView::of(&[4], &x).unwrap())];
        drop(session.run(&inputs).unwrap());
        let allocations = count(|| drop(session.run(&inputs).unwrap()));
        // The list of outputs, and for both outputs their dims and their data.
        assert_eq!(allocations, 5, "{threads} threads");
        let mut io = session.io_binding();
        io.bind_input("k", inputs[0].1).unwrap();
        io.bind_input("x", inputs[1].1).unwrap();
        io.run().unwrap();
        assert_eq!(count(|| io.run().unwrap()), 0, "{threads} threads");
    }
}

/// Slots change places, so that it takes a few runs until each is large enough.
#[test]
fn loops_do_not_allocate() {
    let session = loops(50).session(1);
    let (n, go, x, list) = ([4i64], [true], [1f32; 3], [0i64]);
    let inputs = [
        ("n", TensorView::of(&[], &n).unwrap()),
        ("go", TensorView::of(&[], &go).unwrap()),
        ("x", TensorView::of(&[3], &x).unwrap()),
        ("list", TensorView::of(&[1], &list).unwrap()),
    ];
    for _ in 0..8 {
        session.run(&inputs).unwrap();
    }
    // The list of outputs, and for all four their dims and their data.
    assert_eq!(count(|| drop(session.run(&inputs).unwrap())), 9);
}
