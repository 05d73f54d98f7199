//! The process that watches the one that runs the cases.

use crate::Options;
use crate::bundle::Bundle;
use crate::case::Outcome;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Cases that a worker is given at once: as many as an argument list may well have.
const BATCH: usize = 200;

/// Runs the picked cases in workers; the outcome of each that there was time for.
pub fn run(options: &Options, bundle: &Bundle, picked: &[usize]) -> Result<Vec<Outcome>> {
    let (start, budget) = (Instant::now(), Duration::from_secs(options.budget_s));
    let workers = options.workers.max(1);
    let (next, outcomes) = (Mutex::new(picked.iter()), Mutex::new(Vec::new()));
    let work = || -> Result<()> {
        loop {
            let size = BATCH.min(picked.len().div_ceil(4 * workers).max(1));
            let mut queue = next.lock().unwrap_or_else(PoisonError::into_inner);
            let batch: Vec<usize> = queue.by_ref().take(size).copied().collect();
            drop(queue);
            if batch.is_empty() {
                return Ok(());
            }
            let of_batch = run_batch(options, bundle, &batch, || start.elapsed() < budget)?;
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.extend(of_batch);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().expect("a supervisor does not panic"))
    })?;
    let mut outcomes: Vec<(usize, Outcome)> =
        outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(i, _)| *i);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// The outcomes of some cases, run one after the other in a process that is replaced when it
/// dies or hangs.
fn run_batch(
    options: &Options,
    bundle: &Bundle,
    batch: &[usize],
    time_left: impl Fn() -> bool,
) -> Result<Vec<(usize, Outcome)>> {
    let mut outcomes: Vec<(usize, Outcome)> = Vec::new();
    while outcomes.len() < batch.len() && time_left() {
        let (mut child, lines) = worker(options, &batch[outcomes.len()..])?;
        let problem = loop {
            if !time_left() {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(outcomes);
            }
            match lines.recv_timeout(Duration::from_secs(options.limit_s)) {
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(outcome) => outcomes.push((batch[outcomes.len()], outcome)),
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
        let reported = outcomes.last().is_some_and(|(_, o)| o.breaks_context());
        let died = (!status.success() && !reported).then(|| format!("the process died: {status}"));
        if let (Some(problem), Some(&i)) = (problem.or(died), batch.get(outcomes.len())) {
            let (group, name) = (bundle.cases[i].group.clone(), bundle.cases[i].name.clone());
            let problem = Some(problem);
            outcomes.push((i, Outcome { group, name, problem, ..Default::default() }));
        }
    }
    Ok(outcomes)
}

fn worker(options: &Options, cases: &[usize]) -> Result<(Child, Receiver<String>)> {
    let cases: Vec<String> = cases.iter().map(usize::to_string).collect();
    let mut child = Command::new(std::env::current_exe()?)
        .arg(&options.folder)
        .args(["--device", &options.device.to_string(), "--cases", &cases.join(",")])
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
        for k in &t.kernels {
            println!("    {:8.3} ms in {:3} launches of {}", k.ms, k.launches, k.name);
        }
    }
    outcomes.iter().filter(|o| o.problem.is_some()).count()
}
