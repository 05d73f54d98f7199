//! What each launch costs, over many runs.

use crate::support::table::{Table, nanoseconds, share, short};
use cascata::LaunchProfile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One launch, measured in every profiled run. In loops a launch is each of its iterations.
#[derive(Debug, Serialize, Deserialize)]
pub struct LaunchTime {
    value: String,
    kernel: String,
    tiles: i64,
    median_ns: u64,
    p10_ns: u64,
    flops: i64,
    bytes: i64,
}

/// Collects profiled runs.
#[derive(Default)]
pub struct Launches(BTreeMap<(usize, u32, usize), (LaunchProfile, Vec<u64>)>);

impl Launches {
    /// Adds the launches of one run.
    pub fn add(&mut self, run: Vec<LaunchProfile>) {
        for (i, launch) in run.into_iter().enumerate() {
            let key = (i, launch.block, launch.step);
            self.0.entry(key).or_insert_with(|| (launch.clone(), Vec::new())).1.push(launch.ns);
        }
    }

    /// Their medians, the longest first.
    pub fn medians(self) -> Vec<LaunchTime> {
        let median = |(launch, mut times): (LaunchProfile, Vec<u64>)| {
            times.sort_unstable();
            LaunchTime {
                value: launch.values.into_iter().next().unwrap_or_default(),
                kernel: launch.kernel,
                tiles: launch.tiles,
                median_ns: times[times.len() / 2],
                p10_ns: times[times.len() / 10],
                flops: launch.flops,
                bytes: launch.bytes,
            }
        };
        let mut all: Vec<LaunchTime> = self.0.into_values().map(median).collect();
        all.sort_by_key(|l| std::cmp::Reverse(l.median_ns));
        all
    }
}

/// One row a launch; rates are of the flops and bytes that the artifact states.
pub fn table(launches: &[LaunchTime]) -> Table {
    let total: u64 = launches.iter().map(|l| l.median_ns).sum();
    let mut table = Table::new(&[
        "value", "kernel", ">tiles", ">median", ">p10", ">share", ">GFLOP/s", ">GB/s",
    ]);
    let rate =
        |n: i64, ns: u64| if ns == 0 { "-".into() } else { format!("{:.1}", n as f64 / ns as f64) };
    for l in launches {
        table.row([
            short(&l.value, 40),
            short(&l.kernel, 28),
            l.tiles.to_string(),
            nanoseconds(l.median_ns),
            nanoseconds(l.p10_ns),
            share(l.median_ns as i64, total as i64),
            rate(l.flops, l.median_ns),
            rate(l.bytes, l.median_ns),
        ]);
    }
    table
}
