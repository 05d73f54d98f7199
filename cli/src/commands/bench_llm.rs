//! `cascata bench-llm`.

use super::{print, print_json};
use crate::support::device::DeviceArgs;
use crate::support::exit::Usage;
use crate::support::parse;
use crate::support::progress::Line;
use crate::support::table::Table;
use crate::support::trust::TrustArgs;
use anyhow::Result;
use cascata::engine::{Config, Core, Model, Params, Stream};
use cascata::kv::KvElement;
use cascata::{Progress, Runtime, model_of};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Measures tokens per second of a language model
///
/// Every combination of the lists is a case: a batch of requests of random tokens, whose
/// prompts begin alike as far as `--shared` says. The first phase is over when every sequence
/// has a token, the second one when all have theirs; the engine schedules as it does for a
/// service.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct BenchLlm {
    /// An artifact that was compiled with --kv-cache
    artifact: PathBuf,
    /// Tokens of each prompt, the shared ones included
    #[arg(long, default_value = "512", value_delimiter = ',', value_name = "N,…")]
    prompt: Vec<u32>,
    /// Tokens that each sequence gets
    #[arg(long, default_value = "64", value_delimiter = ',', value_name = "N,…")]
    generate: Vec<u32>,
    /// Sequences at once
    #[arg(long, default_value = "1", value_delimiter = ',', value_name = "N,…")]
    batch: Vec<u32>,
    /// Tokens with which all prompts of a batch begin; a case with shorter prompts is left out
    #[arg(long, default_value = "0", value_delimiter = ',', value_name = "N,…")]
    shared: Vec<u32>,
    /// How often each case is measured, after a first time that does not count
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Threads; 0 means one for each CPU
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// How keys and values are stored
    #[arg(long, default_value_t = Config::default().kv_element, value_parser = parse::<KvElement>, value_name = "f32|f16|bf16|i8")]
    kv: KvElement,
    /// MiB of keys and values
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    kv_mib: u64,
    /// Tokens of a block of keys and values
    #[arg(long, default_value_t = Config::default().block_tokens, value_name = "N")]
    block_tokens: u32,
    /// Rows of one step at most
    #[arg(long, default_value_t = Config::default().step_tokens, value_name = "N")]
    step_tokens: usize,
    /// Gives every sequence keys and values of its own
    #[arg(long)]
    no_sharing: bool,
    /// Lets sequences be longer than the model was trained for
    #[arg(long, value_name = "TOKENS")]
    max_context: Option<u32>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Prints a list of JSON objects
    #[arg(long)]
    json: bool,
    /// Prints a table in Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

const AFTER_HELP: &str = "\
Examples:
  cascata bench-llm model.casc --prompt 512 --generate 128 --threads 2
  cascata bench-llm model.casc --prompt 1088 --shared 1024 --batch 1,8,32 --kv bf16 --markdown

JSON fields: prompt, generate, batch, shared, threads, kv; of each phase, prefill and decode:
tokens (computed in a repetition), tokens_per_second and its sd, steps, ms_per_step;
host_share (of the decode time that is not the model's); tiles_read and tiles_unshared (blocks
that attention read, and would have read without sharing).

Exit codes: 2 a case that cannot be, 3 the artifact cannot be read or generates no text.";

/// One combination.
#[derive(Clone, Copy, Debug, Serialize)]
struct Case {
    prompt: u32,
    generate: u32,
    batch: u32,
    shared: u32,
}

/// One phase of all repetitions.
#[derive(Debug, Serialize)]
struct Phase {
    tokens: u64,
    tokens_per_second: f64,
    sd: f64,
    steps: u64,
    ms_per_step: f64,
}

/// What came of a case.
#[derive(Debug, Serialize)]
struct Measured {
    #[serde(flatten)]
    case: Case,
    threads: usize,
    kv: String,
    prefill: Phase,
    decode: Phase,
    host_share: f64,
    tiles_read: u64,
    tiles_unshared: u64,
}

/// One phase of one repetition.
#[derive(Clone, Copy, Debug, Default)]
struct Lap {
    tokens: u64,
    steps: u64,
    seconds: f64,
    host_seconds: f64,
    tiles: [u64; 2],
}

impl BenchLlm {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let cases = self.cases()?;
        let runtime = Runtime::builder().threads(self.threads).build()?;
        let artifact = self.trust.load_options()?.load(&self.artifact)?;
        let options = self.device.session_options();
        let model = model_of(&artifact, &runtime, &options, self.max_context)?;
        let mut core = Core::new(model, self.config(&cases))?;
        let mut line = Line::new(None);
        let mut all = Vec::new();
        for case in cases {
            line.phase(&format!("{case:?}"));
            all.push(self.measure(&mut core, case, runtime.threads())?);
        }
        line.finish()?;
        if self.json {
            return print_json(&all);
        }
        let table = table(&all);
        Ok(print(if self.markdown { table.markdown() } else { table.to_string() })?)
    }

    fn cases(&self) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for &prompt in &self.prompt {
            for &generate in &self.generate {
                for &batch in &self.batch {
                    let shared = self.shared.iter().filter(|s| **s < prompt.max(1));
                    cases.extend(shared.map(|&shared| Case { prompt, generate, batch, shared }));
                }
            }
        }
        let good = |c: &Case| c.prompt > 0 && c.generate > 1 && c.batch > 0;
        if cases.is_empty() || !cases.iter().all(good) {
            let text = "prompts and batches must be above 0, --generate above 1, and --shared below some prompt";
            return Err(Usage(text.into()).into());
        }
        Ok(cases)
    }

    fn config(&self, cases: &[Case]) -> Config {
        let most = cases.iter().map(|c| c.batch as usize).max().unwrap_or(1);
        Config {
            kv_budget_bytes: self.kv_mib.saturating_mul(1 << 20),
            kv_element: self.kv,
            block_tokens: self.block_tokens,
            step_tokens: self.step_tokens.max(most),
            max_sequences: most,
            prefix_sharing: !self.no_sharing,
            ..Config::default()
        }
    }

    fn measure(
        &self,
        core: &mut Core<Box<dyn Model>>,
        case: Case,
        threads: usize,
    ) -> Result<Measured> {
        once(core, case)?;
        let laps = (0..self.repeat).map(|_| once(core, case)).collect::<Result<Vec<_>>>()?;
        let [prefill, decode] = [0, 1].map(|i| laps.iter().map(|l| l[i]).collect::<Vec<Lap>>());
        let host: f64 = decode.iter().map(|l| l.host_seconds).sum();
        let tiles = |i: usize| decode.iter().map(|l| l.tiles[i]).sum::<u64>() / decode.len() as u64;
        Ok(Measured {
            case,
            threads,
            kv: self.kv.to_string(),
            host_share: host / decode.iter().map(|l| l.seconds).sum::<f64>(),
            tiles_read: tiles(0),
            tiles_unshared: tiles(1),
            prefill: Phase::of(&prefill),
            decode: Phase::of(&decode),
        })
    }
}

impl Phase {
    fn of(laps: &[Lap]) -> Self {
        let n = laps.len() as f64;
        let rates: Vec<f64> = laps.iter().map(|l| l.tokens as f64 / l.seconds).collect();
        let mean = rates.iter().sum::<f64>() / n;
        let variance = rates.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let (seconds, steps) = laps.iter().fold((0.0, 0), |(s, n), l| (s + l.seconds, n + l.steps));
        Phase {
            tokens: laps[0].tokens,
            tokens_per_second: mean,
            sd: variance.sqrt(),
            steps: laps[0].steps,
            ms_per_step: 1e3 * seconds / steps.max(1) as f64,
        }
    }
}

/// Runs a case once: its two phases.
fn once(core: &mut Core<Box<dyn Model>>, case: Case) -> Result<[Lap; 2]> {
    core.clear_cache();
    let start = core.stats().new_tokens;
    let params = Params { max_tokens: case.generate, ..Params::default() };
    let vocabulary = core.spec().vocab;
    let streams: Vec<Stream> = (0..case.batch)
        .map(|i| core.submit(prompt(case, i, vocabulary), params.clone()))
        .collect::<Result<_, _>>()?;
    let first = start + u64::from(case.batch);
    let prefill = lap(core, |core| core.stats().new_tokens < first);
    let decode = lap(core, |core| !core.is_idle());
    for stream in streams {
        stream.collect_outputs()?;
    }
    Ok([prefill, decode])
}

fn lap(core: &mut Core<Box<dyn Model>>, more: impl Fn(&Core<Box<dyn Model>>) -> bool) -> Lap {
    let (before, start) = (core.stats(), Instant::now());
    while more(core) && !core.is_idle() {
        core.step();
    }
    let after = core.stats();
    Lap {
        tokens: after.rows - before.rows,
        steps: after.steps - before.steps,
        seconds: start.elapsed().as_secs_f64(),
        host_seconds: (after.host_ns - before.host_ns) as f64 / 1e9,
        tiles: [after.tiles_read - before.tiles_read, after.tiles_unshared - before.tiles_unshared],
    }
}

/// Random tokens, the first of them those of every sequence of the batch.
fn prompt(case: Case, sequence: u32, vocabulary: u32) -> Vec<u32> {
    let mut state = 1u64;
    let mut next = |salt: u64| {
        state = (state ^ salt).wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) % u64::from(vocabulary.max(1))) as u32
    };
    let own = u64::from(sequence) + 1;
    (0..case.prompt).map(|i| next(if i < case.shared { 0 } else { own << 32 })).collect()
}

fn table(all: &[Measured]) -> Table {
    let mut table = Table::new(&[
        ">prompt",
        ">shared",
        ">generate",
        ">batch",
        ">threads",
        "kv",
        ">prefill tokens/s",
        ">decode tokens/s",
        ">ms a step",
        ">host",
    ]);
    let rate = |p: &Phase| format!("{:.1} ± {:.1}", p.tokens_per_second, p.sd);
    for m in all {
        let c = m.case;
        let sizes = [c.prompt, c.shared, c.generate, c.batch].map(|n| n.to_string());
        let rest = [
            m.threads.to_string(),
            m.kv.clone(),
            rate(&m.prefill),
            rate(&m.decode),
            format!("{:.2}", m.decode.ms_per_step),
            format!("{:.1} %", 100.0 * m.host_share),
        ];
        table.row(sizes.into_iter().chain(rest));
    }
    table
}
