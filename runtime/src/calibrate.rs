//! What this machine can do at most with the runtime's own micro-kernels and threads: the
//! ceilings that profiles are compared with.
//!
//! Rates are the best of several short trials, because what disturbs a measurement on a
//! shared machine only ever makes it slower. A launch's cost is the median of them: where
//! another process has a worker's CPU the caller does its part itself, which looks cheap.

use crate::Runtime;
use cascata_kernels::measure::{GemmBlock, sum};
use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A block of whole register tiles at every level (rows by 6, 8 and 12, columns by 16 to 64):
/// the rows and one panel of columns are 20 KB, so that L1 holds what a tile reads.
const BLOCK: (usize, usize, usize) = (24, 64, 128);

/// Launches per trial when their cost is measured.
const LAUNCHES: u32 = 2000;

/// Trials of each figure.
const TRIALS: u32 = 5;

impl Runtime {
    /// f32 operations per nanosecond of the GEMM micro-kernel, all threads running.
    pub fn peak_f32_gflops(&self, time: Duration) -> f64 {
        let (rows, columns, depth) = BLOCK;
        let new = || Mutex::new(GemmBlock::new(self.isa(), rows, columns, depth));
        let blocks: Vec<_> = (0..self.threads()).map(|_| new()).collect();
        self.best_rate(time, &|thread| {
            let mut block = blocks[thread].lock().unwrap_or_else(|e| e.into_inner());
            block.run();
            block.flops() as f64
        })
    }

    /// Bytes per nanosecond that all threads together read from buffers of `bytes` each,
    /// again and again: from the cache level that holds them, else from memory.
    pub fn read_gb_per_s(&self, bytes: usize, time: Duration) -> f64 {
        let buffers: Vec<Vec<f32>> =
            (0..self.threads()).map(|_| vec![1.0; (bytes / 4).max(1)]).collect();
        self.best_rate(time, &|thread| {
            black_box(sum(self.isa(), black_box(&buffers[thread])));
            (buffers[thread].len() * 4) as f64
        })
    }

    /// Nanoseconds that a launch costs besides its work: with a tile for each thread it is
    /// cut and waited for (a barrier), with one thread it runs inline.
    pub fn launch_ns(&self) -> f64 {
        let tiles = self.threads() as i64;
        let once = |_: usize, begin: i64, _: i64| {
            black_box(begin);
        };
        let mut trials: Vec<f64> = (0..TRIALS)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..LAUNCHES {
                    // Nothing in the job panics.
                    let _ = self.pool().run(tiles, 1, &once);
                }
                start.elapsed().as_nanos() as f64 / f64::from(LAUNCHES)
            })
            .collect();
        trials.sort_unstable_by(f64::total_cmp);
        trials[trials.len() / 2]
    }

    /// The best of several trials of all threads together, in units per nanosecond.
    fn best_rate(&self, time: Duration, work: &(dyn Fn(usize) -> f64 + Sync)) -> f64 {
        (0..TRIALS).map(|_| self.rate(time / TRIALS, work)).fold(0.0, f64::max)
    }

    fn rate(&self, time: Duration, work: &(dyn Fn(usize) -> f64 + Sync)) -> f64 {
        let done = Mutex::new(0.0);
        let job = |thread: usize, _: i64, _: i64| {
            // The caches and the clock get used to it.
            work(thread);
            let (start, mut units) = (Instant::now(), 0.0);
            while start.elapsed() < time {
                units += work(thread);
            }
            let rate = units / start.elapsed().as_nanos() as f64;
            *done.lock().unwrap_or_else(|e| e.into_inner()) += rate;
        };
        let start = Instant::now();
        // Nothing in the job panics.
        let _ = self.pool().run(self.threads() as i64, 1, &job);
        // Threads that could not run at the same time did not do so at that rate.
        let share = time.as_secs_f64() / start.elapsed().as_secs_f64().max(time.as_secs_f64());
        let done = done.into_inner().unwrap_or_else(|e| e.into_inner());
        if share > 0.5 { done } else { done * share }
    }
}

/// Bytes of the data caches that one core sees, level by level, as the system tells; empty
/// where it does not.
pub fn cache_bytes() -> Vec<usize> {
    let folder = std::path::Path::new("/sys/devices/system/cpu/cpu0/cache");
    let read = |i: usize, name: &str| {
        let text = std::fs::read_to_string(folder.join(format!("index{i}/{name}"))).ok()?;
        Some(text.trim().to_string())
    };
    let level = |i: usize| {
        let data = read(i, "type")? != "Instruction";
        let kib = read(i, "size")?.strip_suffix('K')?.parse::<usize>().ok()?;
        Some((data, kib << 10))
    };
    let all = (0..8).map_while(level);
    all.filter(|(data, _)| *data).map(|(_, bytes)| bytes).collect()
}
