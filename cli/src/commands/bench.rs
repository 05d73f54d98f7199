//! `cascata bench`.
//!
//! Each number of threads is measured in a process of its own, so that loading, the first
//! run and the peak of memory belong to it alone and no compiler runs beside it.

use super::launches::{self, LaunchTime, Launches};
use super::{calibrate, print, print_json};
use crate::support::arrays::{Arrays, views};
use crate::support::device::DeviceArgs;
use crate::support::exit::{FileError, Said, Usage};
use crate::support::inputs::{InputArgs, Signature};
use crate::support::parse;
use crate::support::progress::Line;
use crate::support::subject::{How, ModelArgs, Subject};
use crate::support::table::{Table, bytes, nanoseconds};
use crate::support::trust::TrustArgs;
use anyhow::{Context, Result};
use cascata::{CompileOptions, RunError, Runtime, Session, compile, native_level};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Measures the time of a run
///
/// The artifact is loaded and run in a process of its own for each number of threads. After a
/// warm-up of 3 runs and 0.2 s at least, runs are measured one by one, their outputs in memory
/// that is used again, as a service would.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Bench {
    /// An artifact, or a model (MODEL, O0:MODEL), which is compiled first
    #[arg(value_parser = parse::<Subject>)]
    subject: Subject,
    #[command(flatten)]
    inputs: InputArgs,
    /// Threads; several numbers are measured one after the other; 0 means one for each CPU
    #[arg(long, default_value = "0", value_delimiter = ',', value_name = "N,…")]
    threads: Vec<usize>,
    #[command(flatten)]
    device: DeviceArgs,
    /// How many runs are measured
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    runs: Option<u64>,
    /// For how long runs are measured
    #[arg(long, default_value_t = 3.0, value_name = "S")]
    seconds: f64,
    /// Uses only the first N of the CPUs that the process may use, N being the threads
    #[arg(long)]
    pin: bool,
    /// Measures every launch too, in further runs, and prints them, the longest first
    #[arg(long)]
    launches: bool,
    /// Shows how much of this machine's ceiling (see `cascata calibrate`) each launch reaches
    #[arg(long, value_name = "F.json", requires = "launches", conflicts_with = "json")]
    machine: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Prints one JSON object, or a list of them when there are several numbers of threads
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  cascata bench model.casc --random 1 --dim batch=8
  cascata bench model.casc --input in.npz --threads 1,2,4 --json
  cascata bench model.onnx --random 1 --runs 100 --threads 1 --pin
  cascata bench model.casc --input in.npz --threads 1 --launches --machine machine.json

JSON fields: median_ns, p10_ns, p90_ns, load_ns (runtime, file and session), first_run_ns,
peak_rss_bytes (of the process), runs, threads; with --launches also launches: value, kernel,
tiles, median_ns, p10_ns, flops, bytes.

Exit codes: 2 a size or range that does not exist, 3 a file is not readable, 5 running failed.";

/// What is measured.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    median_ns: u64,
    p10_ns: u64,
    p90_ns: u64,
    load_ns: u64,
    first_run_ns: u64,
    peak_rss_bytes: u64,
    runs: u64,
    threads: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    launches: Vec<LaunchTime>,
}

impl Bench {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let machine = self.machine.as_deref().map(calibrate::read).transpose()?;
        let ready = self.subject.is_artifact()?;
        if ready {
            self.model.refuse()?;
        } else {
            self.trust.refuse()?;
        }
        let all = match (ready, self.threads.as_slice()) {
            (true, [threads]) => vec![self.measure(*threads)?],
            (true, _) => self.in_processes(&self.subject.path)?,
            (false, _) => {
                let artifact = Temporary::new();
                self.compile(&artifact.0)?;
                self.in_processes(&artifact.0)?
            }
        };
        match (self.json, all.as_slice()) {
            (true, [one]) => print_json(one),
            (true, all) => print_json(&all),
            (false, all) => {
                print(table(all))?;
                let machine = machine.as_ref();
                for m in all.iter().filter(|m| self.launches && !m.launches.is_empty()) {
                    let table = launches::table(&m.launches, m.threads, machine);
                    print(format!("\n{} threads:\n{table}", m.threads))?;
                }
                Ok(())
            }
        }
    }

    fn compile(&self, to: &Path) -> Result<()> {
        let level = match self.subject.how {
            Some(How::Interpret) => {
                return Err(Usage("the interpreter is not measured".into()).into());
            }
            Some(How::Compile(level)) => level,
            None => Default::default(),
        };
        let import = self.model.import_options();
        let mut options =
            CompileOptions { import, targets: vec![native_level()], ..CompileOptions::default() };
        options.passes.level = level;
        let mut line = Line::new(None);
        let compiled = compile(&self.subject.path, &options, &mut line);
        line.finish()?;
        Ok(compiled?.write(to)?)
    }

    fn in_processes(&self, artifact: &Path) -> Result<Vec<Measured>> {
        self.threads.iter().map(|threads| self.in_process(artifact, *threads)).collect()
    }

    /// Measures in a child that runs this command for one number of threads.
    fn in_process(&self, artifact: &Path, threads: usize) -> Result<Measured> {
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let mut command = Command::new(program);
        command.arg("bench").arg(artifact).args(["--json", "--threads", &threads.to_string()]);
        for arg in self.child_args() {
            command.arg(arg);
        }
        let child = command
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start the measuring process")?;
        if !child.status.success() {
            let code = child.status.code().and_then(|c| u8::try_from(c).ok());
            return Err(Said(code.unwrap_or(6)).into());
        }
        serde_json::from_slice(&child.stdout).context("the measuring process answered nonsense")
    }

    /// The arguments that a child needs too.
    fn child_args(&self) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |flag: &str, value: String| args.extend([flag.to_string(), value]);
        if let Some(path) = &self.inputs.source.input {
            add("--input", path.display().to_string());
        }
        if let Some(seed) = self.inputs.source.random {
            add("--random", seed.to_string());
        }
        self.inputs.dim.iter().for_each(|d| add("--dim", d.to_string()));
        self.inputs.range.iter().for_each(|r| add("--range", r.to_string()));
        match self.runs {
            Some(runs) => add("--runs", runs.to_string()),
            None => add("--seconds", self.seconds.to_string()),
        }
        add("--device", self.device.device.to_string());
        self.trust.trust.iter().for_each(|key| add("--trust", key.clone()));
        args.extend(self.pin.then(|| "--pin".into()));
        args.extend(self.launches.then(|| "--launches".into()));
        args
    }

    fn measure(&self, threads: usize) -> Result<Measured> {
        if self.pin {
            pin(threads)?;
        }
        let start = Instant::now();
        let runtime = Runtime::builder().threads(threads).build()?;
        let artifact = self.trust.load_options()?.load(&self.subject.path)?;
        let session = artifact.session_with(&runtime, &self.device.session_options())?;
        let load_ns = nanos(start);
        let signature =
            Signature { inputs: session.inputs().to_vec(), symbols: &session.entry().symbols };
        let inputs = self.inputs.arrays(&signature)?;
        let (first_run_ns, mut times) = self.times(&session, &inputs)?;
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        Ok(Measured {
            median_ns: at(50),
            p10_ns: at(10),
            p90_ns: at(90),
            load_ns,
            first_run_ns,
            peak_rss_bytes: peak_rss_bytes()?,
            runs: times.len() as u64,
            threads: runtime.threads(),
            launches: if self.launches {
                launch_times(&session, &inputs, times.len())?
            } else {
                vec![]
            },
        })
    }

    /// The first run's time, and those of the measured runs.
    fn times(&self, session: &Session, inputs: &Arrays) -> Result<(u64, Vec<u64>)> {
        let start = Instant::now();
        session.run(&views(inputs))?; // Says all that is wrong with the inputs.
        let first = nanos(start);
        let mut binding = session.io_binding();
        for (name, tensor) in inputs {
            binding.bind_input(name, tensor.view())?;
        }
        let mut once = || {
            let start = Instant::now();
            binding.run()?;
            Ok::<u64, RunError>(nanos(start))
        };
        let (warm, mut runs) = (Instant::now(), 0);
        while runs < 3 || warm.elapsed() < Duration::from_millis(200) {
            once()?;
            runs += 1;
        }
        let (begin, mut times) = (Instant::now(), Vec::new());
        let enough = |done: usize| match self.runs {
            Some(runs) => done as u64 >= runs,
            None => done > 0 && begin.elapsed().as_secs_f64() >= self.seconds,
        };
        while !enough(times.len()) {
            times.push(once()?);
        }
        Ok((first, times))
    }
}

/// The median of every launch over as many runs as were measured, 200 at most.
fn launch_times(session: &Session, inputs: &Arrays, runs: usize) -> Result<Vec<LaunchTime>> {
    let mut launches = Launches::default();
    for _ in 0..runs.min(200) {
        launches.add(session.run_profiled(&views(inputs))?.1);
    }
    Ok(launches.medians())
}

fn nanos(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}

fn table(all: &[Measured]) -> Table {
    let mut table = Table::new(&[
        ">threads",
        ">median",
        ">p10",
        ">p90",
        ">load",
        ">first run",
        ">peak memory",
        ">runs",
    ]);
    for m in all {
        let times = [m.median_ns, m.p10_ns, m.p90_ns, m.load_ns, m.first_run_ns].map(nanoseconds);
        let rest = [bytes(m.peak_rss_bytes), m.runs.to_string()];
        table.row([m.threads.to_string()].into_iter().chain(times).chain(rest));
    }
    table
}

/// Keeps this process, and the threads that it will start, on the first `threads` CPUs.
fn pin(threads: usize) -> Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None).context("cannot read which CPUs may be used")?;
    let wanted = if threads == 0 { CpuSet::MAX_CPU } else { threads };
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .take(wanted)
        .for_each(|cpu| set.set(cpu));
    sched_setaffinity(None, &set).context("cannot pin to CPUs")
}

/// The most physical memory that this process has had.
fn peak_rss_bytes() -> Result<u64, FileError> {
    let path = Path::new("/proc/self/status");
    let status = std::fs::read_to_string(path).map_err(|e| FileError::new("read", path, e))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map(|n| n * 1024).ok_or_else(|| FileError::new("read", path, "it has no VmHWM"))
}

/// A file that goes away.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        let name = format!("cascata-bench-{}.casc", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone or never written: nothing to do about either.
        let _ = std::fs::remove_file(&self.0);
    }
}
