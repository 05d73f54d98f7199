//! Many seeds on a few threads, written and checked by our own importer.

use super::{export, round_trip};
use crate::random::{Case, generate};
use anyhow::Result;
use cascata_runtime::Runtime;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a run of seeds became.
#[derive(Debug, Default)]
pub struct Written {
    /// Models.
    pub models: usize,
    /// Nodes of the graphs that the models have.
    pub nodes: usize,
    /// Nodes that they have not: how often, by op and reason.
    pub cut: BTreeMap<(String, String), usize>,
    /// Models that our importer or compiler got wrong.
    pub failures: Vec<String>,
}

/// Writes every binding of every seed to `folder/SEED_BINDING`, and runs it through the
/// importer and the compiler.
///
/// # Errors
/// The interpreter refuses a graph, or a file cannot be written.
pub fn write_seeds(seeds: Range<u64>, threads: usize, folder: &Path) -> Result<Written> {
    let written = Mutex::new(Written::default());
    let next = AtomicU64::new(seeds.start);
    let work = || -> Result<()> {
        let runtime = Runtime::builder().threads(1).build()?;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(());
            }
            let case = generate(seed);
            for binding in 0..case.bindings.len() {
                one(&case, binding, folder, &runtime, &written)?;
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().expect("a worker ends with a result"))
    })?;
    Ok(written.into_inner().expect("no worker panics while it counts"))
}

fn one(
    case: &Case,
    binding: usize,
    folder: &Path,
    runtime: &Runtime,
    written: &Mutex<Written>,
) -> Result<()> {
    let Some(exported) = export(case, binding)? else { return Ok(()) };
    let folder = folder.join(format!("{}_{binding}", case.seed));
    exported.save(&folder)?;
    let model = folder.join("model.onnx");
    let check = AssertUnwindSafe(|| round_trip::check(&exported, &model, runtime));
    let failure = match catch_unwind(check) {
        Ok(Ok(())) => None,
        Ok(Err(e)) => Some(format!("{e:#}")),
        Err(_) => Some("panic".into()),
    };
    let mut written = written.lock().expect("no worker panics while it counts");
    written.models += 1;
    written.nodes += exported.written;
    for cut in exported.cut {
        *written.cut.entry(cut).or_default() += 1;
    }
    let name = |f| format!("seed {} binding {binding}: {f}", case.seed);
    written.failures.extend(failure.map(name));
    Ok(())
}
