//! `cascata calibrate`.

use super::{print, print_json};
use crate::support::exit::FileError;
use crate::support::table::{Table, bytes};
use anyhow::Result;
use cascata::machine::Machine;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Measures what this machine can do at most
///
/// Rates of the GEMM micro-kernel, of reading from each cache level and from memory, and the
/// cost of a launch, with one thread and with more at once. Other commands compare kernels with
/// these ceilings and compile for them: `inspect --machine`, `bench --machine`, `compile
/// --machine`. Nothing else should run meanwhile.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Calibrate {
    /// Where the figures are kept
    #[arg(short, long, default_value = "machine.json", value_name = "F.json")]
    output: PathBuf,
    /// Numbers of threads; the default is 1 and one for each CPU
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Vec<u16>,
    /// For how long each figure is measured
    #[arg(long, default_value_t = 0.5, value_name = "S")]
    seconds: f64,
    /// Prints the figures as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  cascata calibrate
  cascata calibrate -o machine.json --threads 1,2,4 --json
  cascata bench model.casc --random 1 --launches --machine machine.json
  cascata compile model.onnx --machine machine.json

Exit codes: 3 the file cannot be written.";

impl Calibrate {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        let mut threads: Vec<usize> = self.threads.iter().map(|n| usize::from(*n)).collect();
        if threads.is_empty() {
            threads = vec![1, all];
        }
        threads.sort_unstable();
        threads.dedup();
        let time = Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        let machine = Machine::measure(&threads, time.max(Duration::from_millis(5)))?;
        let text = serde_json::to_string_pretty(&machine)? + "\n";
        std::fs::write(&self.output, text).map_err(|e| FileError::new("write", &self.output, e))?;
        if self.json {
            return print_json(&machine);
        }
        print(format!("{}, {}\n\n{}", machine.cpu, machine.isa, table(&machine)))?;
        Ok(print(format!("\nwrote {}\n", self.output.display()))?)
    }
}

fn table(m: &Machine) -> Table {
    let mut table = Table::new(&["what", ">threads", ">rate", ""]);
    for f in &m.flops {
        let what = format!("{} contraction", f.dtype);
        table.row([what, f.threads.to_string(), format!("{:.1}", f.gflops), "GFLOP/s".into()]);
    }
    for b in &m.bandwidth {
        let size = if b.level_bytes > 0 {
            format!(" ({})", bytes(b.level_bytes as u64))
        } else {
            String::new()
        };
        let what = format!("reading {}{size}", b.level);
        table.row([what, b.threads.to_string(), format!("{:.1}", b.gb_per_s), "GB/s".into()]);
    }
    for l in &m.launches {
        let what = if l.threads == 1 { "launch, inline" } else { "launch, cut and waited for" };
        table.row([what.into(), l.threads.to_string(), format!("{:.0}", l.ns), "ns".into()]);
    }
    table
}

/// Reads a machine file.
///
/// # Errors
/// The file is not readable, or not one that `calibrate` wrote.
pub fn read(path: &Path) -> Result<Machine, FileError> {
    let text = std::fs::read(path).map_err(|e| FileError::new("read", path, e))?;
    let machine: Machine =
        serde_json::from_slice(&text).map_err(|e| FileError::new("read", path, e))?;
    match machine.is_sound() {
        true => Ok(machine),
        false => Err(FileError::new("read", path, "its figures must be positive numbers")),
    }
}
