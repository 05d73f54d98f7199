//! `cascata inspect`.

use super::programs;
use super::sample::{SampleLaunch, launches, step_name};
use super::{calibrate, print, print_json};
use crate::support::exit::{No, Usage};
use crate::support::file::{self, ArtifactFile};
use crate::support::inputs::{Signature, Size, sizes, sizes_text};
use crate::support::table::{Table, bytes, count, flops, nanoseconds, share, short};
use crate::support::trust::TrustArgs;
use anyhow::Result;
use cascata::artifact::format;
use cascata::artifact::gpu::GpuTarget;
use cascata::artifact::manifest::{Entry, Step};
use cascata::ir::cascade::cascade_of;
use cascata::ir::cascade::textbook::AttentionForm;
use cascata::ir::graph::Graph;
use cascata::ir::op::Op;
use cascata::machine::Machine;
use cascata::{MemoryPlan, Runtime, SessionOptions, parse_gpus};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Shows what is in an artifact
///
/// Without a flag: signature, targets, memory and the launches with their share of the work at
/// sample sizes.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Inspect {
    /// The artifact
    artifact: PathBuf,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    trust: TrustArgs,
    /// The entry point, if there are several
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// With --graph: `input` (the imported model), `fuse` (what was compiled), or a pass that
    /// changed the graph (`egraph`, `layout`; a second run is `fold-2`)
    #[arg(long, default_value = "fuse", value_name = "STAGE")]
    stage: String,
    /// With --ptx and --kernels: the GPU program; --ptx shows the most demanding one by default
    #[arg(long, value_parser = gpu_target, value_name = "TARGET")]
    target: Option<GpuTarget>,
    /// With --cascade: how attention is written
    #[arg(long, value_enum, default_value_t = Form::One)]
    attention: Form,
    /// Sample size of a dim: a symbol, or INPUT:AXIS; the default is its least, but not 0
    #[arg(long, value_name = "NAME=SIZE")]
    dim: Vec<Size>,
    /// Threads that scratch memory is counted for
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Adds the least time that this machine (see `cascata calibrate`) needs for each launch
    #[arg(long, value_name = "F.json")]
    machine: Option<PathBuf>,
}

/// What is shown.
#[derive(Args)]
#[group(multiple = false)]
struct What {
    /// Each kernel as extended Einsums, with passes over each rank, live footprint, flops, bytes
    #[arg(long)]
    cascade: bool,
    /// The Kernel IR, of all kernels or of those whose name contains a text
    #[arg(long, num_args = 0..=1, default_missing_value = "", require_equals = true, value_name = "NAME")]
    kernels: Option<String>,
    /// The PTX of a GPU program, all of it or that of kernels whose name contains a text
    #[arg(long, num_args = 0..=1, default_missing_value = "", require_equals = true, value_name = "NAME")]
    ptx: Option<String>,
    /// The graph after a --stage
    #[arg(long)]
    graph: bool,
    /// Constants with type, size and place
    #[arg(long)]
    weights: bool,
    /// The manifest, with the launches and the memory plan at the sample sizes, as JSON
    #[arg(long)]
    json: bool,
}

fn gpu_target(text: &str) -> Result<GpuTarget, String> {
    match parse_gpus(text).as_deref() {
        Ok([target]) => Ok(*target),
        Ok(_) => Err("it must be one target".into()),
        Err(e) => Err(e.to_string()),
    }
}

/// Cascades of attention.
#[derive(Clone, Copy, ValueEnum)]
enum Form {
    #[value(name = "one-pass")]
    One,
    #[value(name = "two-pass")]
    Two,
    #[value(name = "three-pass")]
    Three,
}

const AFTER_HELP: &str = "\
Examples:
  cascata inspect model.casc --dim batch=8
  cascata inspect model.casc --graph --stage input | less
  cascata inspect model.casc --kernels=softmax
  cascata inspect model.casc --kernels=softmax --target sm_90a
  cascata inspect model.casc --ptx=softmax
  cascata inspect model.casc --cascade
  cascata inspect model.casc --dim batch=8 --machine machine.json
  cascata inspect model.casc --json | jq .sample.launches[0]

Exit codes: 1 the artifact was compiled without what was asked for, 2 a size, stage or entry that
does not exist, 3 the file is no artifact.";

impl Inspect {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let file = file::read_trusted(&self.artifact, &self.trust.keys()?)?;
        let entry = self.entry(&file)?;
        if let Some(name) = &self.what.kernels {
            return self.kernels(&file, name);
        }
        if let Some(name) = &self.what.ptx {
            return Ok(print(programs::ptx(&file, self.target, name)?)?);
        }
        if self.what.graph {
            return Ok(print(self.graph_text(&file)?)?);
        }
        if self.what.cascade {
            return self.cascade(&file);
        }
        if self.what.weights {
            return Ok(print(weights(&file))?);
        }
        let signature = Signature { inputs: entry.inputs.clone(), symbols: &entry.symbols };
        let sizes = sizes(&self.dim, &signature)?;
        let sample = launches(&file.manifest, entry, &sizes);
        let plan = self.memory(entry, &sizes);
        if self.what.json {
            return self.json(&file, entry, &sizes, &sample, plan.as_ref().ok());
        }
        let mut out = overview(&file, entry);
        memory(&plan, &sizes_text(&sizes, &entry.symbols), self.threads, &mut out);
        let machine = self.machine.as_deref().map(calibrate::read).transpose()?;
        work(&sample, machine.as_ref().map(|m| (m, self.threads)), &mut out);
        programs::kernels(&file, &mut out);
        Ok(print(out)?)
    }

    fn entry<'f>(&self, file: &'f ArtifactFile) -> Result<&'f Entry, Usage> {
        let entries = &file.manifest.entries;
        let wanted = self.entry.as_deref().or((entries.len() > 1).then_some("main"));
        let found = entries.iter().find(|e| wanted.is_none_or(|name| e.name == name));
        found.ok_or_else(|| {
            let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
            Usage(format!(
                "there is no entry point '{}', only {}",
                wanted.unwrap_or("main"),
                names.join(", ")
            ))
        })
    }

    /// The memory plan; an error if this machine cannot load the artifact.
    fn memory(&self, entry: &Entry, sizes: &[i64]) -> Result<MemoryPlan> {
        let runtime = Runtime::builder().threads(self.threads.max(1)).build()?;
        let options = SessionOptions::default().entry(&entry.name);
        let session =
            self.trust.load_options()?.load(&self.artifact)?.session_with(&runtime, &options)?;
        let known = entry.symbols.iter().zip(sizes).filter(|((_, s), _)| !s.data_dependent);
        let known: Vec<(&str, i64)> = known.map(|((_, s), n)| (s.name.as_str(), *n)).collect();
        Ok(session.memory_plan(&known)?)
    }

    fn graph_text<'f>(&self, file: &'f ArtifactFile) -> Result<&'f str> {
        let provenance = &file.manifest.provenance;
        match provenance.graph(&self.stage) {
            Some(text) => Ok(text),
            None if provenance.stages.is_empty() => Err(stripped("graphs")),
            None => {
                let stages: Vec<&str> =
                    provenance.stages.iter().map(|(name, _)| name.as_str()).collect();
                let text = format!(
                    "no graph of stage '{}' is kept, only {}",
                    self.stage,
                    stages.join(", ")
                );
                Err(Usage(text).into())
            }
        }
    }

    /// The Kernel IR for the CPU or, with a target, for a GPU.
    fn kernels(&self, file: &ArtifactFile, name: &str) -> Result<()> {
        let provenance = &file.manifest.provenance;
        let all = match self.target {
            None => Some(&provenance.kernel_ir),
            Some(target) => {
                programs::find(file, Some(target))?;
                provenance.gpu_kernel_ir.get(&target)
            }
        };
        let Some(all) = all.filter(|all| !all.is_empty()) else {
            return Err(stripped("Kernel IR"));
        };
        let found: Vec<&str> =
            all.iter().filter(|(n, _)| n.contains(name)).map(|(_, text)| text.as_str()).collect();
        if found.is_empty() {
            return Err(Usage(format!("no kernel's name contains '{name}'")).into());
        }
        Ok(print(found.join("\n"))?)
    }

    /// The cascade of each group.
    fn cascade(&self, file: &ArtifactFile) -> Result<()> {
        let graph = cascata::ir::parse::parse(&without_data(self.graph_text(file)?))?;
        let form = match self.attention {
            Form::One => AttentionForm::OnePass,
            Form::Two => AttentionForm::TwoPass,
            Form::Three => AttentionForm::ThreePass,
        };
        let mut regions = Vec::new();
        // A parsed graph has no dead regions.
        for id in graph.regions.values().flat_map(|r| &r.nodes) {
            let node = &graph.nodes[*id];
            let names: Vec<&str> =
                node.outputs.iter().map(|v| graph.values[*v].name.as_str()).collect();
            if let Op::Group { .. } = node.op {
                regions.extend(node.op.regions().into_iter().map(|r| (names.join(", "), r)));
            }
        }
        if regions.is_empty() {
            regions.push((graph.name.clone(), Graph::ROOT));
        }
        for (title, region) in regions {
            let text = cascade_of(&graph, region, form).display(&graph.symbols);
            print(format!("// {title}\n{text}\n"))?;
        }
        Ok(())
    }

    fn json(
        &self,
        file: &ArtifactFile,
        entry: &Entry,
        sizes: &[i64],
        sample: &[SampleLaunch],
        plan: Option<&MemoryPlan>,
    ) -> Result<()> {
        let sizes: BTreeMap<&str, i64> =
            entry.symbols.iter().zip(sizes).map(|((_, s), n)| (s.name.as_str(), *n)).collect();
        let memory = plan.map(|p| {
            json!({
                "threads": self.threads,
                "arena_bytes": p.arena_bytes(),
                "lower_bound_bytes": p.lower_bound_bytes(),
                "scratch_bytes": p.segments.iter().map(|s| s.scratch_bytes).max().unwrap_or(0),
            })
        });
        print_json(&json!({
            "bytes": file.bytes,
            "format": format!("{}.{}", format::MAJOR, file.header.minor),
            "manifest": file.manifest,
            "gpu": programs::json(file),
            "sample": { "sizes": sizes, "memory": memory, "launches": sample },
        }))
    }
}

fn stripped(what: &str) -> anyhow::Error {
    No(format!("the artifact was compiled with --strip: it keeps no {what}")).into()
}

/// Constants' data is left out of kept graphs, and no analysis here reads it: an empty
/// constant parses.
fn without_data(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once(" = elided<") {
        Some((start, _)) if line.trim_start().starts_with("const c") => {
            format!("{start} = hex<>\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn overview(file: &ArtifactFile, entry: &Entry) -> String {
    let (m, p) = (&file.manifest, &file.manifest.provenance);
    let mut out = String::new();
    let weight_bytes = m.weights.iter().map(|w| w.bytes).sum();
    let _ = writeln!(
        out,
        "artifact  {}, format {}.{}, kernel ABI {}; {} in {}",
        bytes(file.bytes),
        format::MAJOR,
        file.header.minor,
        m.abi,
        bytes(weight_bytes),
        count(m.weights.len(), "weight"),
    );
    let hash = p.source_hash.get(..16).unwrap_or(&p.source_hash);
    let _ = writeln!(out, "source    {} (blake3 {hash})", p.source);
    let _ = writeln!(out, "compiler  {} {}", p.compiler, p.options.join(" "));
    let rules: Vec<String> = p.rules.iter().map(|(rule, n)| format!("{rule} {n}")).collect();
    let _ = writeln!(
        out,
        "rules     {}",
        if rules.is_empty() { "none".into() } else { rules.join(", ") }
    );
    security(file, &mut out);
    for code in &m.code {
        let size = code.functions.iter().map(|(_, n)| n).sum();
        let needs =
            if code.features.is_empty() { "nothing more".into() } else { code.features.join(" ") };
        let _ = writeln!(
            out,
            "target    {} {}: {} of code; needs {needs}",
            code.triple,
            code.level,
            bytes(size)
        );
    }
    programs::overview(file, &mut out);
    for (name, text) in &m.metadata {
        let _ = writeln!(out, "metadata  {name} = {}", short(&text.replace('\n', " "), 60));
    }
    let _ = writeln!(out, "\nentry {}", entry.name);
    for (what, ports) in [("input", &entry.inputs), ("output", &entry.outputs)] {
        for port in ports {
            let ty = port.ty.display(&entry.symbols);
            let given = if port.default.is_some() { ", the model's own if not given" } else { "" };
            let _ = writeln!(out, "  {what:6} {}: {ty}{given}", port.name);
        }
    }
    for (_, s) in entry.symbols.iter() {
        let bound = if s.data_dependent { ", by the data" } else { "" };
        let _ = writeln!(out, "  symbol {} in {}..={}{bound}", s.name, s.min, s.max);
    }
    for c in &entry.checks {
        let (lhs, rhs) = (c.lhs.display(&entry.symbols), c.rhs.display(&entry.symbols));
        let _ = writeln!(out, "  check  {lhs} == {rhs} ({})", c.what);
    }
    variants(file, entry, &mut out);
    blocks(entry, &mut out);
    out
}

/// Which entries run in this one's place.
fn variants(file: &ArtifactFile, entry: &Entry, out: &mut String) {
    for v in &entry.variants {
        let guard: Vec<String> =
            v.guard.iter().map(|d| format!("{} >= 0", d.display(&entry.symbols))).collect();
        let other = file.manifest.entries.get(v.entry as usize).map_or("?", |e| e.name.as_str());
        let _ = writeln!(out, "  where {} it runs as '{other}' (--entry)", guard.join(" and "));
    }
}

/// Signature and isolation.
fn security(file: &ArtifactFile, out: &mut String) {
    let _ = writeln!(out, "signature {}", if file.signed { "yes" } else { "none" });
    if let Some(isolation) = &file.manifest.provenance.isolation {
        let verdict = match &isolation.leak {
            None => "isolated, proven for every size".into(),
            Some(leak) => format!("NOT ISOLATED: {leak}"),
        };
        let _ = writeln!(out, "batch     {}: {verdict}", isolation.batch);
    }
}

/// The steps that run other blocks.
fn blocks(entry: &Entry, out: &mut String) {
    for (block, i, step) in entry.all_steps() {
        let at = step_name(block, i);
        let _ = match step {
            Step::If(b) => writeln!(
                out,
                "  step {at} runs block {} or {} (if, {})",
                b.then_block,
                b.else_block,
                b.source.join(", ")
            ),
            Step::Loop(l) => writeln!(
                out,
                "  step {at} runs block {} {} times (loop, {})",
                l.body,
                entry.symbols.name(l.count),
                l.source.join(", ")
            ),
            Step::Text(t) => {
                writeln!(out, "  step {at} computes strings ({})", t.source.join(", "))
            }
            Step::CacheAttention(a) => writeln!(
                out,
                "  step {at} attends over the KV cache, layer {}, {} x {} of {} ({})",
                a.layer,
                a.heads,
                a.head_dim,
                a.kv_heads,
                a.source.join(", ")
            ),
            Step::Launch(_) | Step::Bind { .. } => Ok(()),
        };
    }
}

fn memory(plan: &Result<MemoryPlan>, sizes: &str, threads: usize, out: &mut String) {
    let at = if sizes.is_empty() { String::new() } else { format!(" at {sizes}") };
    match plan {
        Ok(plan) => {
            let scratch = plan.segments.iter().map(|s| s.scratch_bytes).max().unwrap_or(0);
            let _ = writeln!(
                out,
                "\nmemory{at}: arena {} (no packing needs less than {}), scratch {} of {}",
                bytes(plan.arena_bytes()),
                bytes(plan.lower_bound_bytes()),
                bytes(scratch),
                count(threads, "thread"),
            );
        }
        Err(e) => {
            let _ = writeln!(out, "\nmemory{at}: not known here: {e:#}");
        }
    }
}

/// Launches with their share of the work.
/// The launches; with a machine and a number of threads also the least time of each.
fn work(sample: &[SampleLaunch], machine: Option<(&Machine, usize)>, out: &mut String) {
    let sum = |f: fn(&SampleLaunch) -> Option<i64>| sample.iter().filter_map(f).sum::<i64>();
    let (all_flops, all_bytes) = (sum(|l| l.flops), sum(|l| l.bytes));
    let mut header =
        vec![">step", "kernel", "computes", ">flops", ">share", ">bytes", ">share", ">tiles"];
    header.extend(machine.map(|_| ">at least"));
    let mut table = Table::new(&header);
    let least = |l: &SampleLaunch| {
        let (machine, threads) = machine?;
        Some(machine.ceiling_ns(threads, l.flops?, l.bytes?)?.0)
    };
    for l in sample {
        let text = |x: Option<String>| x.unwrap_or_else(|| "?".into());
        let mut row = vec![
            step_name(l.block, l.step),
            short(&l.kernel, 40),
            short(&l.values.join(", "), 40),
            text(l.flops.map(flops)),
            text(l.flops.map(|x| share(x, all_flops))),
            text(l.bytes.map(|x| bytes(x.max(0) as u64))),
            text(l.bytes.map(|x| share(x, all_bytes))),
            text(l.tiles.map(|t| t.to_string())),
        ];
        row.extend(machine.map(|_| text(least(l).map(|ns| nanoseconds(ns as u64)))));
        table.row(row);
    }
    let _ = write!(out, "\n{table}");
    let _ = write!(out, "\nin all {}, {}", flops(all_flops), bytes(all_bytes.max(0) as u64));
    let at_least = sample.iter().filter_map(least).sum::<f64>() as u64;
    let _ = writeln!(
        out,
        "{}",
        machine.map_or(String::new(), |_| format!(", {} at least", nanoseconds(at_least)))
    );
}

fn weights(file: &ArtifactFile) -> Table {
    let mut table = Table::new(&["weight", "dtype", ">bytes", ">offset", ""]);
    for w in &file.manifest.weights {
        let kind = if w.param { "param" } else { "" };
        table.row([
            w.name.clone(),
            w.dtype.to_string(),
            w.bytes.to_string(),
            w.offset.to_string(),
            kind.into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::without_data;

    #[test]
    fn only_constants_lose_their_data() {
        let text = "const c0 \"a\" : f32[99] = elided<99>\n%1 \" = elided<\"\n";
        assert_eq!(without_data(text), "const c0 \"a\" : f32[99] = hex<>\n%1 \" = elided<\"\n");
    }
}
