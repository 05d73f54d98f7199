//! `cascata compile`.

use super::{calibrate, print, print_json};
use crate::support::progress::{Dumps, Line};
use crate::support::subject::ShapeArgs;
use crate::support::table::{Table, bytes, count, seconds};
use crate::support::{exit, parse};
use anyhow::{Context, Result};
use cascata::artifact::gpu::GpuTarget;
use cascata::artifact::sign::SecretKey;
use cascata::onnx::{DimOption, ImportOptions, ValueOption};
use cascata::passes::egraph::cost::ProfilePoint;
use cascata::passes::egraph::witness::Checks;
use cascata::passes::pipeline::{OptLevel, Precision};
use cascata::{
    CompileOptions, CompileReport, CpuLevel, TextCache, TextOptions, compile, parse_gpus,
    parse_targets,
};
use clap::Args;
use regex::Regex;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Compiles a model file into an artifact
///
/// The artifact is one file that holds machine code, weights and signature; it runs with the
/// runtime alone (`cascata run`, the Rust crate cascata-runtime, or the C header cascata.h).
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Compile {
    /// The model: an ONNX file of opset 7 or newer (external weights are looked for beside it), a
    /// GGUF file, or a Hugging Face directory; recognised by its content
    model: PathBuf,
    /// The artifact; the default is the model's name with the extension .casc
    #[arg(short, long, value_name = "F.casc")]
    output: Option<PathBuf>,
    /// CPU levels to make code for: x86-64-v1, x86-64-v3, x86-64-v4, native; the best one
    /// that a machine has is taken when the artifact is loaded
    #[arg(long, default_value = "x86-64-v3", value_parser = targets, value_name = "LEVEL,…")]
    target: Targets,
    /// NVIDIA GPUs that the artifact runs on, too: sm_80 (compute capability 8.0 and newer), sm_90,
    /// sm_90a (9.0 only), all; the best one that a machine has is taken
    #[arg(long, value_parser = gpus, value_name = "TARGET,…")]
    gpu: Option<Gpus>,
    /// Range or value of a dim: a symbol, or INPUT:AXIS
    #[arg(long, value_name = "NAME=MIN..MAX", value_parser = parse::<DimOption>)]
    dim: Vec<DimOption>,
    /// An input that becomes a constant and leaves the signature
    #[arg(long, value_name = "INPUT=NUMBER,…", value_parser = parse::<ValueOption>)]
    set: Vec<ValueOption>,
    #[command(flatten)]
    shapes: ShapeArgs,
    /// A weight (initializer) that callers may replace: it becomes an input that need not be
    /// given (repeatable)
    #[arg(long, value_name = "NAME")]
    param: Vec<String>,
    /// Of a language model: logits of the last token of each row only
    #[arg(long)]
    last_logits: bool,
    /// Of a language model: keeps keys and values of earlier tokens, in blocks of the engine's
    /// that sequences share (`paged`, for `generate`; needs no value), or in inputs and outputs
    #[arg(long, value_name = "paged|tensors", num_args = 0..=1, require_equals = true,
        default_missing_value = "paged", value_parser = text_cache)]
    kv_cache: Option<TextCache>,
    /// How much is optimised: 0 only what code generation needs, 1 canonical form, 2 everything
    #[arg(short = 'O', default_value = "2", value_parser = level, value_name = "0|1|2")]
    level: OptLevel,
    /// What products of f32 multiply: f32, or bf16 (summed in f32), which is faster and rounds
    /// every factor to 8 bits; compare both with `cascata diff-run`
    #[arg(long, default_value = "f32", value_parser = precision, value_name = "f32|bf16")]
    precision: Precision,
    /// Sizes that the cost model looks at; symbols that are not named take a typical value.
    /// Repeatable: where another point leads to another graph, the artifact holds both and
    /// chooses when it runs
    #[arg(long, value_name = "NAME=VALUE,…", value_parser = point)]
    profile: Vec<ProfilePoint>,
    /// The cost model takes its rates from this file (see `cascata calibrate`) rather than those
    /// of a typical server CPU
    #[arg(long, value_name = "F.json")]
    machine: Option<PathBuf>,
    /// Leaves a rewrite rule out (repeatable), to measure what it is worth
    #[arg(long, value_name = "RULE")]
    without: Vec<String>,
    /// Makes a value of the source model an output too
    #[arg(long, value_name = "VALUE")]
    fetch: Vec<String>,
    /// Verifies the graph after every pass, and compares what rewriting does in the interpreter
    #[arg(long)]
    verify: bool,
    /// Writes the graph after the stages that this regular expression matches; `input` is
    /// the imported model, the others are the passes in the table
    #[arg(long, value_name = "REGEX", requires = "dump_dir")]
    dump_after: Option<Regex>,
    /// Where --dump-after writes, as NN-STAGE.txt
    #[arg(long, value_name = "DIR", requires = "dump_after")]
    dump_dir: Option<PathBuf>,
    /// Leaves the printed graphs and kernels out of the artifact; `inspect` shows less then
    #[arg(long)]
    strip: bool,
    /// Signs the artifact with the secret key in a file (see `cascata keygen`)
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

/// A list of levels as one argument.
#[derive(Clone)]
struct Targets(Vec<CpuLevel>);

fn targets(text: &str) -> Result<Targets, String> {
    parse_targets(text).map(Targets).map_err(|e| e.to_string())
}

/// A list of GPU targets as one argument.
#[derive(Clone)]
struct Gpus(Vec<GpuTarget>);

fn gpus(text: &str) -> Result<Gpus, String> {
    parse_gpus(text).map(Gpus).map_err(|e| e.to_string())
}

fn level(text: &str) -> Result<OptLevel, String> {
    match text {
        "0" => Ok(OptLevel::O0),
        "1" => Ok(OptLevel::O1),
        "2" => Ok(OptLevel::O2),
        _ => Err("it must be 0, 1 or 2".into()),
    }
}

fn text_cache(text: &str) -> Result<TextCache, String> {
    match text {
        "paged" => Ok(TextCache::Paged),
        "tensors" => Ok(TextCache::Tensors),
        _ => Err("it must be paged or tensors".into()),
    }
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("it must be f32 or bf16".into()),
    }
}

/// `batch=1,seq=128`.
fn point(text: &str) -> Result<ProfilePoint, String> {
    let one = |part: &str| {
        let (name, value) = part.split_once('=').ok_or("it must be NAME=VALUE,…")?;
        let value: i64 = value.parse().map_err(|_| format!("'{value}' is not a whole number"))?;
        match value {
            0.. => Ok((name.to_string(), value)),
            _ => Err(format!("'{name}' is negative")),
        }
    };
    text.split(',').map(one).collect()
}

const AFTER_HELP: &str = "\
Examples:
  cascata compile model.onnx
  cascata compile model.onnx -o model.casc --dim batch=1..64 --dim seq=1..512
  cascata compile model.onnx --target x86-64-v3,x86-64-v4     one file for both kinds of CPU
  cascata compile model.onnx --gpu sm_80,sm_90a               runs on GPUs, too
  cascata compile model.onnx --profile batch=1 --profile batch=64   good for both sizes
  cascata compile model.gguf --last-logits --kv-cache         a language model, token by token
  cascata compile vad.onnx --set sr=16000                     an input that never changes
  cascata compile detector.onnx --length images=2             a sequence of two tensors
  cascata compile model.onnx -O0 --verify --dump-after 'fold|fuse' --dump-dir dumps

Exit codes: 2 an option does not fit the model, 3 a file is no model or no machine file, 4 ops that cannot be
compiled (all are listed), 6 a defect of the compiler.";

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    artifact: PathBuf,
    artifact_bytes: u64,
    write_seconds: f64,
    #[serde(flatten)]
    report: &'a CompileReport,
}

impl Compile {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let output = self.output.clone().unwrap_or_else(|| beside(&self.model));
        let key = self.sign.as_deref().map(secret_key).transpose()?;
        let options = self.options()?;
        let dumps = self.dump_after.clone().zip(self.dump_dir.clone());
        let mut line = Line::new(dumps.map(|(after, folder)| Dumps::new(after, folder)));
        let compiled = compile(&self.model, &options, &mut line)
            .with_context(|| self.model.display().to_string());
        line.finish()?;
        let compiled = compiled?;
        let start = Instant::now();
        match &key {
            Some(key) => compiled.write_signed(&output, key)?,
            None => compiled.write(&output)?,
        }
        let write_seconds = start.elapsed().as_secs_f64();
        let size =
            std::fs::metadata(&output).map_err(|e| exit::FileError::new("read", &output, e))?;
        let result = Output {
            artifact: output,
            artifact_bytes: size.len(),
            write_seconds,
            report: compiled.report(),
        };
        if self.json { print_json(&result) } else { Ok(print(text(&result))?) }
    }

    fn options(&self) -> Result<CompileOptions, exit::FileError> {
        let mut options = CompileOptions {
            import: ImportOptions {
                dims: self.dim.clone(),
                values: self.set.clone(),
                params: self.param.clone(),
                ..self.shapes.import_options()
            },
            text: TextOptions {
                last_logits: self.last_logits,
                cache: self.kv_cache.unwrap_or_default(),
            },
            targets: self.target.0.clone(),
            gpu: self.gpu.clone().map(|g| g.0).unwrap_or_default(),
            fetch: self.fetch.clone(),
            keep_text: !self.strip,
            ..CompileOptions::default()
        };
        options.passes.level = self.level;
        options.passes.precision = self.precision;
        options.passes.verify = self.verify;
        options.passes.egraph.without = self.without.clone();
        options.passes.egraph.profile = self.profile.clone();
        if let Some(path) = &self.machine {
            options.passes.egraph.machine = calibrate::read(path)?.costs();
        }
        Ok(options)
    }
}

/// The artifact's name where none is given: a directory keeps all of its own.
fn beside(model: &Path) -> PathBuf {
    match model.is_dir() {
        true => {
            PathBuf::from(format!("{}.casc", model.display().to_string().trim_end_matches('/')))
        }
        false => model.with_extension("casc"),
    }
}

fn secret_key(path: &Path) -> Result<SecretKey, exit::FileError> {
    let fail = |e: &dyn std::fmt::Display| exit::FileError::new("read", path, e);
    let text = std::fs::read_to_string(path).map_err(|e| fail(&e))?;
    text.parse().map_err(|e| fail(&e))
}

/// The summary.
fn text(o: &Output<'_>) -> String {
    let r = o.report;
    let mut out = String::new();
    let verified = r.phases.iter().any(|p| p.verify_seconds > 0.0);
    let mut header = vec!["phase", ">time", ">nodes", ">changes"];
    header.extend(verified.then_some(">verify"));
    let mut phases = Table::new(&header);
    for p in &r.phases {
        let changes = if p.changes == 0 { String::new() } else { p.changes.to_string() };
        let after_passes = ["build", "ptx"].contains(&p.name);
        let nodes = if after_passes { String::new() } else { p.nodes.to_string() };
        let mut row = vec![p.name.to_string(), seconds(p.seconds), nodes, changes];
        row.extend(verified.then(|| seconds(p.verify_seconds)));
        phases.row(row);
    }
    phases.row(["write".to_string(), seconds(o.write_seconds)]);
    let _ = write!(out, "{phases}");
    rules(r, &mut out);
    let code: Vec<String> =
        r.code.iter().map(|c| format!("{} {}", c.target, bytes(c.bytes))).collect();
    let _ = writeln!(
        out,
        "\n{}, {} a run; code {}",
        count(r.kernels, "kernel"),
        count(r.launches, "step"),
        code.join(", ")
    );
    for g in &r.gpu {
        let (kernels, size) = (count(g.kernels, "kernel"), bytes(g.ptx_bytes));
        let _ = writeln!(out, "GPU {}: {kernels}, PTX {size}", g.target.name());
    }
    let _ = writeln!(out, "weights {}", bytes(r.weight_bytes));
    if let Some(isolation) = &r.isolation {
        let verdict = isolation.leak.as_deref().unwrap_or("proven");
        let _ = writeln!(out, "isolation of batch {}: {verdict}", isolation.batch);
    }
    let _ = writeln!(out, "wrote {} ({})", o.artifact.display(), bytes(o.artifact_bytes));
    out
}

/// What `--verify` compared.
fn checks(checks: &Checks, out: &mut String) {
    if *checks == Checks::default() {
        return;
    }
    let _ = writeln!(
        out,
        "compared in the interpreter: {}; {} unchanged, {} not compared",
        count(checks.compared, "slice"),
        checks.unchanged,
        checks.skipped.len(),
    );
    for skipped in &checks.skipped {
        let _ = writeln!(out, "  {}: {}", skipped.values.join(", "), skipped.reason);
    }
}

/// Rules that fired, why saturation stopped, what it gained.
fn rules(r: &CompileReport, out: &mut String) {
    let rewriting = &r.rewriting;
    if rewriting.slices == 0 {
        return;
    }
    let mut table = Table::new(&["rule", ">matched", ">fired", ">used", ">time"]);
    for (name, c) in rewriting.rules.iter().filter(|(_, c)| c.fired > 0) {
        let numbers = [c.matched, c.fired, c.used].map(|n| n.to_string());
        table.row([name.to_string()].into_iter().chain(numbers).chain([seconds(c.seconds)]));
    }
    let _ = write!(out, "\n{table}");
    let stops: Vec<String> = rewriting
        .stops
        .iter()
        .map(|(stop, n)| format!("{n} {}", format!("{stop:?}").to_lowercase()))
        .collect();
    let (before, after) = (rewriting.cost_before / 1e9, rewriting.cost_after / 1e9);
    let _ = writeln!(
        out,
        "\n{} ({} distinct, {} kept as they were), {} e-nodes; stopped: {}",
        count(rewriting.slices, "slice"),
        rewriting.distinct,
        rewriting.kept,
        rewriting.enodes,
        stops.join(", "),
    );
    let _ = writeln!(out, "estimated cost {} -> {}", seconds(before), seconds(after));
    checks(&rewriting.checks, out);
}
