//! What each rewrite rule is worth on each real model: `passes/ABLATION.md`.
//!
//! Counts, launches and modelled cost are functions of the model and the compiler, so the
//! page is the same on every machine; times are in the speed table instead.

use crate::references::cache;
use anyhow::{Context, Result};
use cascata_codegen::build::{BuildOptions, build};
use cascata_frontends::onnx::{ImportOptions, import};
use cascata_ir::graph::Graph;
use cascata_passes::egraph::runner::RuleCount;
use cascata_passes::pipeline::{Options, optimise};
use cascata_runtime::format::manifest::Step;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Models of `models/models.toml`.
pub const MODELS: [&str; 10] = [
    "magika",
    "minilm_int8",
    "minilm_l3",
    "nsfw",
    "nudenet",
    "ocr_cls",
    "ocr_det",
    "ocr_rec",
    "silero",
    "silero_ifless",
];

/// What a compile gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Launches of one run; `None` where code generation refuses the model.
    pub launches: Option<usize>,
    /// Modelled microseconds at the typical point.
    pub cost: f64,
}

/// One compile and the rules that fired in it.
pub struct Baseline {
    graph: Graph,
    /// With all rules.
    pub size: Size,
    /// Rules that fired.
    pub rules: BTreeMap<&'static str, RuleCount>,
    /// Steps whose values or source nodes nobody could name.
    pub nameless: Vec<usize>,
}

/// What one compile says.
struct Outcome {
    size: Size,
    rules: BTreeMap<&'static str, RuleCount>,
    nameless: Vec<usize>,
}

/// Compiles a model of the cache with all rules.
///
/// # Errors
/// It cannot be read or optimised.
pub fn baseline(id: &str) -> Result<Baseline> {
    let path = cache().join("models").join(id).join("model.onnx");
    let graph = import(&path, &options(id)?).with_context(|| path.display().to_string())?.graph;
    let Outcome { size, mut rules, nameless } = compile(&graph, &[])?;
    rules.retain(|_, c| c.fired > 0);
    Ok(Baseline { graph, size, rules, nameless })
}

/// silero decides its branches on its dims and its sample rate.
fn options(id: &str) -> Result<ImportOptions> {
    let options = ImportOptions::default();
    match id {
        "silero" => Ok(options.dim("input:1=576")?.value("sr=16000")?),
        _ => Ok(options),
    }
}

fn compile(graph: &Graph, without: &[&str]) -> Result<Outcome> {
    let mut graph = graph.clone();
    let mut options = Options::default();
    options.egraph.without = without.iter().map(ToString::to_string).collect();
    let report = optimise(&mut graph, &options, &mut |_, _| ())?;
    let build_options = BuildOptions {
        targets: vec![],
        gpu: vec![],
        keep_kernel_ir: false,
        provenance: Default::default(),
    };
    let entries = build(&graph, &build_options).ok().map(|b| b.manifest.entries);
    let steps: Option<Vec<Step>> = entries.map(|e| e.into_iter().flat_map(|e| e.steps).collect());
    let nameless = steps.iter().flatten().enumerate().filter(|(_, s)| is_nameless(s));
    Ok(Outcome {
        nameless: nameless.map(|(i, _)| i).collect(),
        size: Size {
            launches: steps.as_ref().map(Vec::len),
            cost: report.rewriting.cost_after / 1e3,
        },
        rules: report.rewriting.rules,
    })
}

fn is_nameless(step: &Step) -> bool {
    let named = |names: &[String]| !names.is_empty() && names.iter().all(|n| !n.is_empty());
    matches!(step, Step::Launch(l) if !named(&l.values) || !named(&l.source))
}

impl Baseline {
    /// The section of a model, as it is without the measurements of removed rules.
    pub fn head(&self, id: &str) -> String {
        let Size { launches, cost } = self.size;
        format!("## {id}\n\n{} steps, modelled {cost:.1} µs with all rules.\n", shown(launches))
    }

    /// The columns of a rule that need no other compile.
    pub fn row(&self, rule: &str) -> String {
        let count = &self.rules[rule];
        format!("| {rule} | {} | {} | {} |", count.matched, count.fired, count.used)
    }

    /// The section of a model; compiles once for each rule.
    ///
    /// # Errors
    /// A compile failed.
    pub fn section(&self, id: &str) -> Result<String> {
        let mut out = self.head(id);
        out.push_str("\n| rule | matched | fired | used | steps without | cost without |\n");
        out.push_str("|---|---:|---:|---:|---:|---:|\n");
        for rule in self.rules.keys() {
            let size = compile(&self.graph, &[rule])?.size;
            let _ = writeln!(out, "{} {} |", self.row(rule), self.change(size));
        }
        Ok(out)
    }

    fn change(&self, without: Size) -> String {
        let steps = match (self.size.launches, without.launches) {
            (Some(a), Some(b)) if a != b => format!("{:+}", b as i64 - a as i64),
            (Some(_), Some(_)) => String::new(),
            (_, b) => shown(b),
        };
        let percent = 100.0 * (without.cost / self.size.cost - 1.0);
        let cost = if percent.abs() < 0.05 { String::new() } else { format!("{percent:+.1} %") };
        format!("{steps} | {cost}")
    }
}

fn shown(launches: Option<usize>) -> String {
    launches.map_or("—".into(), |n| n.to_string())
}

/// What the page says first.
pub const INTRODUCTION: &str = "\
# What each rewrite rule is worth

For every real model and every rule that fired on it: new matches, matches that changed the
e-graph, values of the result that the rule led to; and what one run would take with the rule
left out (`--without RULE`), as a difference: steps (kernel launches, mostly) and the cost
model's time at typical sizes. An empty cell means no difference: another rule does the same,
or what it gives is not chosen. — stands for a model that code generation refuses.

Made by `CASCATA_BLESS=1 cargo test -p cascata-tests --test ablation`, and checked by the
same test without the variable: counts, steps and cost with all rules.
";
