//! What each launch costs, over many runs.

use crate::support::table::{Table, nanoseconds, share, short};
use cascata::LaunchProfile;
use cascata::machine::Machine;
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

/// One row a launch; rates are of the flops and bytes that the artifact states. With the
/// machine's ceilings also how much of the one that binds is reached, and which it is.
pub fn table(launches: &[LaunchTime], threads: usize, machine: Option<&Machine>) -> Table {
    let total: u64 = launches.iter().map(|l| l.median_ns).sum();
    let mut header =
        vec!["value", "kernel", ">tiles", ">median", ">p10", ">share", ">GFLOP/s", ">GB/s"];
    header.extend(machine.map(|_| ">of ceiling"));
    let mut table = Table::new(&header);
    let rate =
        |n: i64, ns: u64| if ns == 0 { "-".into() } else { format!("{:.1}", n as f64 / ns as f64) };
    for l in launches {
        let mut row = vec![
            short(&l.value, 40),
            short(&l.kernel, 28),
            l.tiles.to_string(),
            nanoseconds(l.median_ns),
            nanoseconds(l.p10_ns),
            share(l.median_ns as i64, total as i64),
            rate(l.flops, l.median_ns),
            rate(l.bytes, l.median_ns),
        ];
        row.extend(machine.map(|m| of_ceiling(l, threads, m)));
        table.row(row);
    }
    table
}

/// `62.0% flops`: the least time that the machine would need, of the time that was needed.
fn of_ceiling(l: &LaunchTime, threads: usize, machine: &Machine) -> String {
    match machine.ceiling_ns(threads, l.flops, l.bytes) {
        Some((ns, compute)) if ns > 0.0 && l.median_ns > 0 => {
            let what = if compute { "flops" } else { "bytes" };
            format!("{} {what}", share(ns as i64, l.median_ns as i64))
        }
        _ => "-".into(),
    }
}
