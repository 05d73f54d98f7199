//! `cascata explain`.

use super::sample::{computed, step_name};
use super::{print, print_json};
use crate::support::exit::No;
use crate::support::file::{self, ArtifactFile};
use anyhow::Result;
use cascata::artifact::manifest::{Launch, Step};
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Tells which rewrite rules led to a value, and which kernel computes it
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Explain {
    /// The artifact
    artifact: PathBuf,
    /// The value's name, as `inspect` shows it
    value: String,
    /// Prints the answer as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  cascata explain model.casc target_label
  cascata explain model.casc /encoder/layer.0/attention/MatMul_1 --json

Exit codes: 1 nothing is known of the value; similar names are listed.";

impl Explain {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let file = file::read(&self.artifact)?;
        let rules = file.manifest.provenance.explanations.get(&self.value);
        let (launches, source) = (self.launches(&file), self.in_graph(&file, "input"));
        if rules.is_none() && launches.is_empty() && source.is_none() {
            return Err(No(self.unknown(&file)).into());
        }
        let rules = rules.cloned().unwrap_or_default();
        if self.json {
            let launches: Vec<_> = launches
                .iter()
                .map(|(step, kernel, l)| json!({ "step": step, "kernel": kernel, "source": l.source }))
                .collect();
            return print_json(
                &json!({ "value": self.value, "rules": rules, "launches": launches, "source": source }),
            );
        }
        let mut out = String::new();
        if let Some(line) = source {
            let _ = writeln!(out, "in the model  {line}");
        }
        if rules.is_empty() {
            let _ = writeln!(out, "rules         none: it is computed as the model says");
        }
        for (i, rule) in rules.iter().enumerate() {
            let _ =
                writeln!(out, "{}{rule}", if i == 0 { "rules         " } else { "              " });
        }
        for (step, kernel, launch) in &launches {
            let _ = writeln!(out, "computed by   step {step}, kernel {kernel}");
            let _ = writeln!(out, "  from        {}", launch.source.join(", "));
        }
        if launches.is_empty() {
            let _ = writeln!(
                out,
                "computed by   no step of its own: it was folded, or is inside of a fused kernel"
            );
        }
        Ok(print(out)?)
    }

    /// The launches that compute the value: step, kernel, launch.
    fn launches<'f>(&self, file: &'f ArtifactFile) -> Vec<(String, &'f str, &'f Launch)> {
        let steps = file
            .manifest
            .entries
            .iter()
            .flat_map(|e| e.all_steps().map(move |(block, i, s)| (e, step_name(block, i), s)));
        let launch = steps
            .filter_map(|(e, i, s)| if let Step::Launch(l) = s { Some((e, i, l)) } else { None });
        let ours = launch.filter(|(e, _, l)| computed(&file.manifest, e, l).contains(&self.value));
        ours.map(|(_, i, l)| {
            let kernel =
                l.variants.last().and_then(|v| file.manifest.kernels.get(v.kernel as usize));
            (i, kernel.map_or("", |k| k.name.as_str()), l)
        })
        .collect()
    }

    /// The line that defines the value in a kept graph.
    fn in_graph(&self, file: &ArtifactFile, stage: &str) -> Option<String> {
        let text = file.manifest.provenance.graph(stage)?;
        let name = format!("\"{}\"", self.value);
        let defines = |l: &&str| {
            l.trim_start().starts_with('%')
                && l.split(" = ").next().is_some_and(|d| d.contains(&name))
        };
        text.lines().find(defines).map(|l| l.trim().to_string())
    }

    fn unknown(&self, file: &ArtifactFile) -> String {
        let explained = file.manifest.provenance.explanations.keys();
        let computed = file.manifest.entries.iter().flat_map(|e| &e.buffers).map(|b| &b.name);
        let mut names: Vec<&String> = explained.chain(computed).filter(|n| !n.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        let lower = self.value.to_lowercase();
        let near: Vec<&str> = names
            .iter()
            .filter(|n| n.to_lowercase().contains(&lower))
            .map(|n| n.as_str())
            .take(10)
            .collect();
        let hint = if near.is_empty() {
            "`cascata inspect` lists the values that are computed".to_string()
        } else {
            format!("similar: {}", near.join(", "))
        };
        format!("nothing is known of a value '{}'; {hint}", self.value)
    }
}
