//! The thread pool: one job at a time, cut into one contiguous range per thread.
//!
//! The caller is thread 0. Every worker has one state word; a launch is published by
//! setting the words of as many workers as there are ranges. A worker that sees its
//! word claims its range by a compare-and-swap; the caller, when done with its own
//! range, takes back the ranges that nobody has claimed. So a worker that is asleep or
//! descheduled delays nothing that it has not begun, and a process that has forked
//! (without its workers) still makes progress.
//!
//! A launch finds the pool busy only when another thread is launching; it then runs
//! inline, which never deadlocks and never uses more threads than there are callers
//! and workers. Idle workers spin for [`SPIN`], then park.
//!
//! PERF: a launch costs 17 ns inline (1 thread, or too few tiles to cut) and 240 ns cut
//! in two (2 threads, the worker spinning), on an AMD EPYC virtual machine with 2 CPUs;
//! with both CPUs taken by others the caller does all the work itself, at 27 ns a launch
//! (`cargo test --release -p cascata-runtime --test overhead -- --nocapture`).

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long an idle thread spins before it sleeps: about the cost of waking it.
const SPIN: Duration = Duration::from_micros(30);

/// A worker's word: nothing to do.
const IDLE: u32 = 0;
/// There is a range for this worker, unclaimed.
const READY: u32 = 1;
/// The worker sleeps and must be woken.
const PARKED: u32 = 2;
/// The worker shall end.
const STOP: u32 = 3;

/// What a launch runs: `(thread, first tile, last tile)`.
pub(crate) type Job<'a> = dyn Fn(usize, i64, i64) + Sync + 'a;

/// A thread of the pool panicked in a job.
#[derive(Debug)]
pub(crate) struct JobPanicked;

/// Worker threads that live as long as the pool.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Held while a launch uses the workers.
    busy: AtomicBool,
    job: UnsafeCell<Posted>,
    /// Ranges that are not finished.
    pending: AtomicUsize,
    panicked: AtomicBool,
    /// The caller sleeps until `pending` is 0.
    waiting: AtomicBool,
    waiter: Mutex<Option<Thread>>,
    words: Vec<Word>,
}

/// On a cache line pair of its own: neighbours are not disturbed by spinning.
#[repr(align(128))]
struct Word(AtomicU32);

/// The published job; valid while a claimed range is unfinished.
#[derive(Clone, Copy)]
struct Posted {
    job: *const Job<'static>,
    tiles: i64,
    parts: usize,
}

// SAFETY: `job` is written only by the holder of `busy` while no range is claimed, and
// read only by the claimant of a range; the words' release/acquire pairs order the two.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is to a `Sync` closure and is used as above.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` threads, the caller included; 1 starts none.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let nothing: &'static Job<'static> = &|_, _, _| ();
        let shared = Arc::new(Shared {
            busy: AtomicBool::new(false),
            job: UnsafeCell::new(Posted { job: nothing, tiles: 0, parts: 1 }),
            pending: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            waiter: Mutex::new(None),
            words: (1..threads).map(|_| Word(AtomicU32::new(IDLE))).collect(),
        });
        // Built up in place, so that an error on the way stops those already started.
        let mut pool = Self { shared, workers: Vec::new() };
        for index in 0..pool.shared.words.len() {
            let shared = pool.shared.clone();
            let name = format!("cascata-{}", index + 1);
            let body = move || shared.work(index);
            pool.workers.push(std::thread::Builder::new().name(name).spawn(body)?);
        }
        Ok(pool)
    }

    /// Number of threads, the caller included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `job` over `0..tiles`, at least `min_tiles` of them on each thread; returns
    /// when all are done. Inline, on thread 0, when there is work for only one thread or
    /// the pool is busy with another caller's launch.
    pub(crate) fn run(&self, tiles: i64, min_tiles: i64, job: &Job<'_>) -> Result<(), JobPanicked> {
        let parts = self.parts(tiles, min_tiles);
        let busy = &self.shared.busy;
        if parts == 1
            || busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            job(0, 0, tiles);
            return Ok(());
        }
        let result = self.shared.launch(job, tiles, parts, &self.workers);
        busy.store(false, Ordering::Release);
        result
    }

    fn parts(&self, tiles: i64, min_tiles: i64) -> usize {
        let most = usize::try_from(tiles / min_tiles.max(1)).unwrap_or(1);
        self.threads().min(most).max(1)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (word, worker) in self.shared.words.iter().zip(&self.workers) {
            word.0.store(STOP, Ordering::Release);
            worker.thread().unpark();
        }
        for worker in self.workers.drain(..) {
            // A worker's body cannot panic: jobs are caught.
            let _ = worker.join();
        }
    }
}

/// The tiles of one of `parts` ranges.
fn range(tiles: i64, parts: usize, part: usize) -> Range<i64> {
    let (parts, part) = (parts as i64, part as i64);
    let (base, rest) = (tiles / parts, tiles % parts);
    let start = part * base + part.min(rest);
    start..start + base + i64::from(part < rest)
}

impl Shared {
    /// The caller's side; `busy` is held.
    fn launch(
        &self,
        job: &Job<'_>,
        tiles: i64,
        parts: usize,
        workers: &[JoinHandle<()>],
    ) -> Result<(), JobPanicked> {
        // SAFETY: only the lifetime changes. The pointer is used by claimants of ranges,
        // and this function returns only after all ranges are finished.
        let job = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
        // SAFETY: `busy` is held and no range is claimed, so nobody reads the job now.
        unsafe { *self.job.get() = Posted { job, tiles, parts } };
        self.pending.store(parts - 1, Ordering::Relaxed);
        for (word, worker) in self.words.iter().zip(workers).take(parts - 1) {
            if word.0.swap(READY, Ordering::AcqRel) == PARKED {
                worker.thread().unpark();
            }
        }
        self.run_part(0);
        for (index, word) in self.words.iter().enumerate().take(parts - 1).rev() {
            if word.0.compare_exchange(READY, IDLE, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                self.run_part(index + 1);
                self.pending.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.wait();
        if self.panicked.swap(false, Ordering::Relaxed) { Err(JobPanicked) } else { Ok(()) }
    }

    /// Runs a range that this thread has claimed (or owns, as the caller owns 0).
    fn run_part(&self, part: usize) {
        // SAFETY: the range is claimed and unfinished, so the caller waits in `launch`:
        // the job is published, alive, and not overwritten.
        let (posted, job) = unsafe {
            let posted = *self.job.get();
            (posted, &*posted.job)
        };
        let tiles = range(posted.tiles, posted.parts, part);
        let run = AssertUnwindSafe(|| job(part, tiles.start, tiles.end));
        if let Err(panic) = catch_unwind(run) {
            self.panicked.store(true, Ordering::Relaxed);
            discard(panic);
        }
    }

    /// Waits for claimed ranges: spins, then sleeps.
    fn wait(&self) {
        if spin_until(|| self.pending.load(Ordering::Acquire) == 0) {
            return;
        }
        *self.lock_waiter() = Some(std::thread::current());
        // Either the last worker sees `waiting`, or this thread sees its decrement.
        self.waiting.store(true, Ordering::SeqCst);
        while self.pending.load(Ordering::SeqCst) != 0 {
            std::thread::park();
        }
        self.waiting.store(false, Ordering::Relaxed);
    }

    fn lock_waiter(&self) -> std::sync::MutexGuard<'_, Option<Thread>> {
        self.waiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    fn work(&self, index: usize) {
        let word = &self.words[index].0;
        loop {
            if !spin_until(|| word.load(Ordering::Relaxed) != IDLE) {
                let sleep =
                    word.compare_exchange(IDLE, PARKED, Ordering::Relaxed, Ordering::Relaxed);
                while sleep.is_ok() && word.load(Ordering::Relaxed) == PARKED {
                    std::thread::park();
                }
            }
            match word.compare_exchange(READY, IDLE, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    self.run_part(index + 1);
                    self.finish();
                }
                Err(STOP) => return,
                Err(_) => {} // The caller took the range back.
            }
        }
    }

    fn finish(&self) {
        let last = self.pending.fetch_sub(1, Ordering::SeqCst) == 1;
        // The waiter stays in its place: this may be a late look at the next launch's
        // waiter, whose own last worker must still find it.
        if last
            && self.waiting.load(Ordering::SeqCst)
            && let Some(thread) = self.lock_waiter().as_ref()
        {
            thread.unpark();
        }
    }
}

/// Drops a panic's payload; a payload that panics in its drop is leaked.
fn discard(panic: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(second);
    }
}

/// Spins until `done`, for at most [`SPIN`]; whether it is done.
fn spin_until(done: impl Fn() -> bool) -> bool {
    if done() {
        return true;
    }
    let start = Instant::now();
    loop {
        for _ in 0..32 {
            std::hint::spin_loop();
            if done() {
                return true;
            }
        }
        if start.elapsed() > SPIN {
            return false;
        }
    }
}

#[cfg(test)]
mod tests;
