//! The `cascata` command: compile, run, measure, generate, look inside, compare.
#![forbid(unsafe_code)]

mod commands;
mod support;

use clap::{Parser, Subcommand};
use std::io::IsTerminal;
use std::process::ExitCode;
use support::exit;

/// Compiles models ahead of time into one artifact file, and runs, measures and inspects it.
#[derive(Parser)]
#[command(version, after_help = after_help(), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compile(commands::compile::Compile),
    Run(commands::run::Run),
    Bench(commands::bench::Bench),
    #[command(name = "bench-llm")]
    BenchLlm(commands::bench_llm::BenchLlm),
    Generate(commands::generate::Generate),
    Inspect(commands::inspect::Inspect),
    Explain(commands::explain::Explain),
    DiffRun(commands::diff_run::DiffRun),
    Check(commands::check::Check),
    Calibrate(commands::calibrate::Calibrate),
    Keygen(commands::keygen::Keygen),
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit::HELP)
}

const EXAMPLES: &str = "\
Examples:
  cascata compile model.onnx -o model.casc --dim batch=1..64
  cascata run model.casc --input in.npz --output out.npz
  cascata bench model.casc --random 1 --dim batch=8 --threads 1,2
  cascata inspect model.casc --dim batch=8
  cascata diff-run interp:model.onnx model.casc --random 1
  cascata check model.onnx --isolation batch
  cascata generate model.casc -p 'Once upon a time' --stream

`cascata COMMAND --help` has more of them for each command.";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Compile(c) => c.run(),
        Command::Run(c) => c.run(),
        Command::Bench(c) => c.run(),
        Command::BenchLlm(c) => c.run(),
        Command::Generate(c) => c.run(),
        Command::Inspect(c) => c.run(),
        Command::Explain(c) => c.run(),
        Command::DiffRun(c) => c.run(),
        Command::Check(c) => c.run(),
        Command::Calibrate(c) => c.run(),
        Command::Keygen(c) => c.run(),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    // A reader that has seen enough (`| head`) is no failure.
    if error.chain().any(|e| e.downcast_ref::<std::io::Error>().is_some_and(is_closed_pipe)) {
        return ExitCode::SUCCESS;
    }
    if error.is::<exit::Said>() {
        return exit::code(&error);
    }
    let label = if std::io::stderr().is_terminal() { "\x1b[1;31merror\x1b[0m" } else { "error" };
    eprintln!("{label}: {error:#}");
    exit::code(&error)
}

fn is_closed_pipe(e: &std::io::Error) -> bool {
    e.kind() == std::io::ErrorKind::BrokenPipe
}
