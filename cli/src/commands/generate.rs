//! `cascata generate`.

use super::{print, print_json};
use crate::support::device::DeviceArgs;
use crate::support::exit::Usage;
use crate::support::table::{count, seconds};
use crate::support::trust::TrustArgs;
use anyhow::Result;
use cascata::engine::{
    Config, Engine, Event, FinishReason, Message, Output, Params, Prompt, Sampling, Speculation,
    Stats, Stream,
};
use cascata::{Runtime, engine_of};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Continues text with a compiled language model
///
/// The artifact comes from `cascata compile DIR|FILE.gguf --kv-cache`; it keeps the model's
/// tokenizer and chat template.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Generate {
    /// An artifact of a decoder
    artifact: PathBuf,
    /// The text to continue (repeatable: prompts run together and share what they begin with)
    #[arg(long, short, value_name = "TEXT", required = true)]
    prompt: Vec<String>,
    /// Each prompt is a user's message, put into the model's chat template
    #[arg(long)]
    chat: bool,
    /// With --chat: what the system says first
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// How many continuations of each prompt
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1)]
    samples: u32,
    /// New tokens of each at most
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: u32,
    /// Prints text as it comes; one prompt and one sample
    #[arg(long, conflicts_with = "json")]
    stream: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Ends a continuation; not part of the text (repeatable)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Drafts tokens by what followed the last ones before, which changes no token
    #[arg(long)]
    speculate: bool,
    /// Threads; 0 means one for each CPU
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    device: DeviceArgs,
    /// Mebibytes of keys and values
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    kv_mib: u64,
    #[command(flatten)]
    trust: TrustArgs,
    /// Prints texts, tokens, reasons and times as JSON
    #[arg(long)]
    json: bool,
}

/// How tokens are chosen.
#[derive(Args)]
struct SamplingArgs {
    /// 0 takes the likeliest token, more is wilder
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f32,
    /// Chooses among the N likeliest tokens; 0 among all
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: u32,
    /// Chooses among the fewest tokens that have this probability together
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
    /// Chooses among tokens with this share of the likeliest one's probability
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_p: f32,
    /// Above 1 avoids tokens that were there already
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// The same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

const AFTER_HELP: &str = "\
Examples:
  cascata compile model.gguf --kv-cache -o model.casc
  cascata generate model.casc -p 'Once upon a time' --stream
  cascata generate model.casc --chat -p 'Name three colours.' -n 4 --temperature 0.8 --json

Exit codes: 2 a parameter is outside of its range, 3 the artifact cannot be read or generates no
text, 5 generating failed.";

impl Generate {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        if self.stream && (self.prompt.len() > 1 || self.samples > 1) {
            return Err(Usage("--stream prints one continuation of one prompt".into()).into());
        }
        let runtime = Runtime::builder().threads(self.threads).build()?;
        let artifact = self.trust.load_options()?.load(&self.artifact)?;
        let config = Config {
            kv_budget_bytes: self.kv_mib.saturating_mul(1 << 20),
            speculation: self.speculate.then(Speculation::default),
            ..Config::default()
        };
        let engine = engine_of(&artifact, &runtime, &self.device.session_options(), config)?;
        let start = Instant::now();
        let streams: Vec<Stream> = self
            .prompt
            .iter()
            .map(|text| engine.submit_waiting(self.prompt(text), self.params()))
            .collect::<Result<_, _>>()?;
        let mut outputs = Vec::new();
        for stream in streams {
            outputs.push(if self.stream {
                vec![streamed(stream)?]
            } else {
                stream.collect_outputs()?
            });
        }
        self.report(&outputs, engine, start)
    }

    fn prompt(&self, text: &str) -> Prompt {
        if !self.chat {
            return Prompt::from(text);
        }
        let system = self.system.iter().map(|text| Message::new("system", text));
        Prompt::Chat(system.chain([Message::new("user", text)]).collect())
    }

    fn params(&self) -> Params {
        let s = &self.sampling;
        Params {
            max_tokens: self.max_tokens,
            samples: self.samples,
            sampling: Sampling {
                temperature: s.temperature,
                top_k: s.top_k,
                top_p: s.top_p,
                min_p: s.min_p,
                repetition_penalty: s.repetition_penalty,
                seed: s.seed,
                ..Sampling::default()
            },
            stop_strings: self.stop.clone(),
            ..Params::default()
        }
    }

    fn report(&self, outputs: &[Vec<Output>], engine: Engine, start: Instant) -> Result<()> {
        let (stats, took) = (engine.finish(), start.elapsed().as_secs_f64());
        if self.json {
            let texts: Vec<Vec<Value>> =
                outputs.iter().map(|samples| samples.iter().map(as_json).collect()).collect();
            let times = json!({ "seconds": took, "steps": stats.steps, "model_ns": stats.model_ns,
                "new_tokens": stats.new_tokens, "cached_tokens": stats.cached_tokens });
            return print_json(&json!({ "prompts": texts, "times": times }));
        }
        if !self.stream {
            let many = outputs.len() * self.samples as usize > 1;
            for (i, output) in outputs.iter().flatten().enumerate() {
                let head = if many { format!("--- {}\n", i + 1) } else { String::new() };
                print(format!("{head}{}\n", output.text))?;
            }
        }
        Ok(writeln!(std::io::stderr(), "{}", summary(&stats, took))?)
    }
}

/// Prints a continuation as it comes.
fn streamed(stream: Stream) -> Result<Output> {
    let mut all = Output {
        tokens: vec![],
        text: String::new(),
        reason: FinishReason::Cancelled,
        usage: Default::default(),
    };
    for event in stream {
        let event = event?;
        let (Event::Token { text, .. } | Event::Finished { text, .. }) = &event;
        print(text)?;
        all.text += text;
        match event {
            Event::Token { token, .. } => all.tokens.push(token),
            Event::Finished { reason, usage, .. } => (all.reason, all.usage) = (reason, usage),
        }
    }
    print("\n")?;
    Ok(all)
}

fn as_json(output: &Output) -> Value {
    let reason = match &output.reason {
        FinishReason::StopToken(token) => json!({ "stop_token": token }),
        FinishReason::StopString(text) => json!({ "stop_string": text }),
        FinishReason::Length => json!("length"),
        FinishReason::Cancelled => json!("cancelled"),
    };
    json!({ "text": output.text, "tokens": output.tokens, "reason": reason,
        "prompt_tokens": output.usage.prompt_tokens, "cached_tokens": output.usage.cached_tokens })
}

fn summary(stats: &Stats, took: f64) -> String {
    let rate = stats.new_tokens as f64 / took.max(1e-9);
    let (new, prefilled) = (stats.new_tokens as usize, stats.prefill_rows as usize);
    format!(
        "{} after {} of prompts ({} from the cache) in {}: {rate:.1} tokens/s",
        count(new, "token"),
        count(prefilled, "token"),
        stats.cached_tokens,
        seconds(took),
    )
}
