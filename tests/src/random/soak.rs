//! Many seeds on a few threads, counted.

use super::diff::{Differ, Mismatch, Outcome};
use super::generate::{Case, generate};
use super::shrink::{shrink, write};
use anyhow::Result;
use cascata_ir::op::{Op, PoolKind};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a soak came to.
#[derive(Debug, Default)]
pub struct Counts {
    /// Graphs whose compiled results were all right.
    pub same: usize,
    /// Runs that were compared.
    pub runs: usize,
    /// Nodes without constants, in all graphs.
    pub nodes: usize,
    /// Nodes per op, e.g. `unary exp`.
    pub ops: BTreeMap<String, usize>,
    /// Graphs that the compiler refused.
    pub refused: usize,
    /// How often each refusal was met.
    pub refusals: BTreeMap<String, usize>,
    /// Seed and description of each failure.
    pub mismatches: Vec<(u64, String)>,
}

/// Checks every seed; `progress` sees the counts after each.
///
/// # Errors
/// A defect of the generator, or a failure that cannot be written.
pub fn soak(
    seeds: Range<u64>,
    threads: usize,
    progress: &(dyn Fn(&Counts) + Sync),
) -> Result<Counts> {
    let counts = Mutex::new(Counts::default());
    let next = AtomicU64::new(seeds.start);
    let work = || -> Result<()> {
        let differ = Differ::new()?;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(());
            }
            let case = generate(seed);
            // What a crash of the whole process leaves behind.
            let running = Mismatch { what: "was running".into(), config: Differ::configs(seed)[0] };
            let running = write(&case, &running)?;
            let outcome = differ.check(&case, &case.graph, &Differ::configs(seed))?;
            let failure = match &outcome {
                Outcome::Differs(mismatch) => {
                    // A crash here is the original's: shrinking runs parts of it.
                    let (small, mismatch) = shrink(&differ, &case, mismatch);
                    let path = write(&small, &mismatch)?;
                    Some(format!("{}\n  {}", mismatch.what, path.display()))
                }
                _ => {
                    std::fs::remove_file(running)?;
                    None
                }
            };
            let mut counts = counts.lock().expect("no worker panics while it counts");
            counts.add(&case, outcome);
            counts.mismatches.extend(failure.map(|f| (seed, f)));
            progress(&counts);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().expect("a worker ends with a result"))
    })?;
    Ok(counts.into_inner().expect("no worker panics while it counts"))
}

impl Counts {
    fn add(&mut self, case: &Case, outcome: Outcome) {
        match outcome {
            Outcome::Same(runs) => {
                self.same += 1;
                self.runs += runs;
                self.count_ops(case);
            }
            Outcome::Refused(reasons) => {
                self.refused += 1;
                for reason in reasons {
                    *self.refusals.entry(reason).or_default() += 1;
                }
            }
            Outcome::Differs(_) => {}
        }
    }

    fn count_ops(&mut self, case: &Case) {
        for id in &case.graph.root().nodes {
            let op = &case.graph.nodes[*id].op;
            if !matches!(op, Op::Const(_)) {
                self.nodes += 1;
                *self.ops.entry(key(op)).or_default() += 1;
            }
        }
    }

    /// All graphs that were tried.
    pub fn graphs(&self) -> usize {
        self.same + self.refused + self.mismatches.len()
    }
}

/// An op with the attribute that chooses what it computes.
fn key(op: &Op) -> String {
    let name = op.name();
    match op {
        Op::Reduce { op, .. } => format!("{name} {op:?}"),
        Op::Pad { mode, .. } => format!("{name} {mode:?}"),
        Op::Resize(a) => format!("{name} {:?}", a.mode),
        Op::ScatterElements { reduce, .. } | Op::ScatterNd { reduce } => {
            format!("{name} {reduce:?}")
        }
        Op::Conv(a) => format!("{name} {} axes", a.strides.len()),
        Op::Pool(a) => match a.kind {
            PoolKind::Max { .. } => format!("{name} max"),
            PoolKind::Average { .. } => format!("{name} average"),
            PoolKind::Lp { .. } => format!("{name} lp"),
        },
        _ => name.into(),
    }
}
