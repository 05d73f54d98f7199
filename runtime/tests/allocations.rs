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
