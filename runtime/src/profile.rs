//! Time per launch.

use crate::bind::{Values, eval};
use crate::fetch::Fetch;
use crate::plan::PlannedLaunch;
use cascata_artifact::manifest::Launch;
use std::time::Instant;

/// One launch of a profiled run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchProfile {
    /// The block whose step it is: 0 for the entry itself, else a branch or a loop's body.
    pub block: u32,
    /// The step of the block.
    pub step: usize,
    /// Graph values that it computed.
    pub values: Vec<String>,
    /// Source nodes that it comes from.
    pub source: Vec<String>,
    /// The kernel that ran.
    pub kernel: String,
    /// Start, since the run began.
    pub start_ns: u64,
    /// Duration.
    pub ns: u64,
    /// Floating-point operations, 0 if unknown.
    pub flops: i64,
    /// Bytes read and written at least once, 0 if unknown.
    pub bytes: i64,
    /// Tiles of its grid.
    pub tiles: i64,
}

/// What watches a run.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) profiler: Option<Profiler>,
    pub(crate) fetch: Option<Fetch>,
}

/// Collects the profile of one run.
pub(crate) struct Profiler {
    begin: Instant,
    pub(crate) launches: Vec<LaunchProfile>,
}

impl Profiler {
    pub(crate) fn new() -> Self {
        Self { begin: Instant::now(), launches: Vec::new() }
    }

    /// Adds a launch that began at `started` and has just ended.
    pub(crate) fn record(
        &mut self,
        started: Instant,
        kernel: &str,
        (block, launch): (u32, &Launch),
        planned: &PlannedLaunch,
        values: &Values,
    ) {
        let ns = started.elapsed().as_nanos() as u64;
        self.launches.push(LaunchProfile {
            block,
            step: planned.step,
            values: launch.values.clone(),
            source: launch.source.clone(),
            kernel: kernel.into(),
            start_ns: started.duration_since(self.begin).as_nanos() as u64,
            ns,
            flops: eval(&launch.flops, values).unwrap_or(0),
            bytes: eval(&launch.bytes, values).unwrap_or(0),
            tiles: planned.tiles,
        });
    }
}
