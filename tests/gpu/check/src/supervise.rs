//! The process that watches the one that runs the cases.

use crate::Options;
use crate::bundle::Bundle;
use crate::case::Outcome;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Runs the picked cases in workers; the outcome of each, in their order.
pub fn run(options: &Options, bundle: &Bundle, picked: &[usize]) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    while outcomes.len() < picked.len() {
        let (mut child, lines) = worker(options, outcomes.len())?;
        let problem = loop {
            match lines.recv_timeout(Duration::from_secs(options.limit_s)) {
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(e) => break Some(format!("the worker printed '{line}': {e}")),
                },
                Err(RecvTimeoutError::Timeout) => {
                    break Some(format!("no end after {} s", options.limit_s));
                }
                Err(RecvTimeoutError::Disconnected) => break None,
            }
        };
        // It may have ended by itself.
        let _ = child.kill();
        let status = child.wait()?;
        let reported = outcomes.last().is_some_and(Outcome::breaks_context);
        let died = (!status.success() && !reported).then(|| format!("the process died: {status}"));
        if let (Some(problem), Some(&i)) = (problem.or(died), picked.get(outcomes.len())) {
            let (group, name) = (bundle.cases[i].group.clone(), bundle.cases[i].name.clone());
            outcomes.push(Outcome { group, name, problem: Some(problem), ..Default::default() });
        }
    }
    Ok(outcomes)
}

fn worker(options: &Options, from: usize) -> Result<(Child, Receiver<String>)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(&options.folder)
        .args(["--device", &options.device.to_string(), "--only", &options.only])
        .args(["--from", &from.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().context("the worker's output")?;
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    Ok((child, lines))
}

/// Prints failures, then a line per group, then times; the number of failures.
pub fn print(outcomes: &[Outcome]) -> usize {
    let mut groups: BTreeMap<&str, (usize, usize, f64, f64)> = BTreeMap::new();
    for o in outcomes {
        let g = groups.entry(&o.group).or_default();
        match &o.problem {
            Some(problem) => {
                g.1 += 1;
                let first: String = problem.chars().take(240).collect();
                println!("FAILED {}/{}: {}", o.group, o.name, first.replace('\n', " | "));
            }
            None => {
                g.0 += 1;
                g.2 = g.2.max(o.of_tolerance);
                g.3 = g.3.max(o.from_cpu);
            }
        }
    }
    for (group, (right, wrong, worst, cpu)) in &groups {
        println!(
            "{group}: {right} right, {wrong} failed; at most {worst:.3} of the tolerance, \
             {cpu:.1e} from the CPU"
        );
    }
    for o in outcomes {
        let Some(t) = &o.times else { continue };
        println!(
            "{:<40} load {:8.1} ms, first {:8.2}, GPU {:8.3}, CPU ({} threads) {:8.3}",
            o.name, t.load_ms, t.first_ms, t.gpu_ms, t.cpu_threads, t.cpu_ms
        );
    }
    outcomes.iter().filter(|o| o.problem.is_some()).count()
}
