//! Profiles as Chrome traces.

use cascata::LaunchProfile;
use serde_json::{Value, json};

/// The launches as complete events, in microseconds.
pub fn chrome_trace(launches: &[LaunchProfile]) -> Value {
    let event = |l: &LaunchProfile| {
        let rate = |n: i64| if l.ns == 0 { 0.0 } else { n as f64 / l.ns as f64 };
        json!({
            "name": l.values.first().filter(|v| !v.is_empty()).unwrap_or(&l.kernel),
            "cat": "launch",
            "ph": "X",
            "pid": 1,
            "tid": 1,
            "ts": l.start_ns as f64 / 1e3,
            "dur": l.ns as f64 / 1e3,
            "args": {
                "block": l.block,
                "step": l.step,
                "kernel": l.kernel,
                "values": l.values,
                "source": l.source,
                "flops": l.flops,
                "bytes": l.bytes,
                "tiles": l.tiles,
                "gflops_per_second": rate(l.flops),
                "gbytes_per_second": rate(l.bytes),
            },
        })
    };
    let events: Vec<Value> = launches.iter().map(event).collect();
    json!({ "traceEvents": events, "displayTimeUnit": "ns" })
}
