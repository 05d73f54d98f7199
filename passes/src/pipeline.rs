//! The pipeline on one page: which passes run, in which order, and the manager that
//! runs them.

use crate::canonicalise::{canonicalise, compact};
use crate::egraph::{self, EGraphOptions, EGraphReport};
use crate::error::PassError;
use crate::fold::fold;
use crate::fuse::fuse;
use crate::integer_contractions::integer_contractions;
use crate::layout::channels_last;
use crate::narrow_floats::narrow_floats;
use crate::narrow_integers::narrow_integers;
use crate::pad_columns::pad_columns;
use crate::report::{Phase, Report};
use crate::rules::Exactness;
use crate::{control, dims, horizontal, names, rules, walk, widen};
use cascata_ir::graph::Graph;
use cascata_ir::verify::VerifyError;
use std::time::Instant;

/// How much is optimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptLevel {
    /// Only what code generation needs.
    O0,
    /// Folding and canonical form.
    O1,
    /// Everything.
    #[default]
    O2,
}

/// What contractions of f32 multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32.
    #[default]
    F32,
    /// bf16, summed in f32.
    Bf16,
}

/// What the pipeline is asked to do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How much is optimised.
    pub level: OptLevel,
    /// What contractions of f32 multiply.
    pub precision: Precision,
    /// Verify the graph after every pass, and every rewritten slice in the interpreter.
    pub verify: bool,
    /// Options of the e-graph stage, with the fold budget.
    pub egraph: EGraphOptions,
}

/// One entry of the pipeline.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Shown in reports and by `--dump-after`.
    pub name: &'static str,
    /// Changes the graph; returns how much it changed, in its own unit.
    pub run: fn(&mut Graph, &Options, &mut Report) -> Result<usize, PassError>,
}

/// The passes for these options, in order.
pub fn pipeline(options: &Options) -> Vec<Pass> {
    let clean = [
        Pass { name: "canonicalise", run: |g, _, _| Ok(canonicalise(g)) },
        Pass { name: "fold", run: |g, o, _| Ok(fold(g, o.egraph.budget)) },
        Pass { name: "canonicalise", run: |g, _, _| Ok(canonicalise(g)) },
    ];
    let rewrite = [
        Pass { name: "egraph", run: |g, o, r| rewrite(g, o, r, 0) },
        Pass { name: "egraph-second", run: |g, o, r| rewrite(g, o, r, 1) },
    ];
    let mut passes = vec![];
    // Code generation knows branches and loops only.
    passes.push(Pass { name: "control", run: |g, _, _| Ok(control::lower(g)?) });
    passes.push(Pass { name: "dims", run: |g, _, _| Ok(dims::simplify(g)) });
    let [canonical, folded, again] = clean;
    passes.push(canonical);
    if options.level >= OptLevel::O2 {
        // Before `fold` makes floats of quantised weights.
        passes.push(Pass { name: "integer-contractions", run: |g, o, _| in_integers(g, o) });
    }
    // Code generation needs constants where exporters compute them.
    passes.extend([folded, again]);
    passes.push(Pass { name: "branches", run: |g, _, _| Ok(control::inline(g)?) });
    passes.push(Pass { name: "canonicalise", run: |g, _, _| Ok(canonicalise(g)) });
    if options.level >= OptLevel::O2 {
        for pass in rewrite {
            passes.push(pass);
            passes.extend(clean);
        }
    }
    if options.level >= OptLevel::O2 {
        passes.push(Pass { name: "horizontal", run: |g, _, _| Ok(horizontal::merge(g)) });
        passes.push(Pass { name: "canonicalise", run: |g, _, _| Ok(canonicalise(g)) });
    }
    // From here on the graph is shaped for code generation.
    passes.extend([
        Pass { name: "widen", run: |g, _, _| Ok(widen::widen(g)?) },
        Pass { name: "layout", run: |g, _, _| Ok(channels_last(g).map(|()| 0)?) },
        Pass { name: "pad-columns", run: |g, _, _| Ok(pad_columns(g)?) },
        Pass { name: "canonicalise", run: |g, _, _| Ok(canonicalise(g)) },
        Pass { name: "narrow-integers", run: |g, _, _| Ok(narrow_integers(g)?) },
    ]);
    if options.precision == Precision::Bf16 {
        passes.push(Pass { name: "narrow-floats", run: |g, _, _| Ok(narrow_floats(g)?) });
    }
    passes.extend([
        Pass { name: "compact", run: |g, _, _| compacted(g) },
        Pass { name: "names", run: |g, _, _| Ok(names::complete(g)) },
        Pass { name: "fuse", run: |g, _, _| Ok(fuse(g)) },
    ]);
    passes
}

/// The stage after which the graph is rewritten and not yet shaped for code generation.
pub(crate) fn rewritten(options: &Options) -> &'static str {
    if options.level >= OptLevel::O2 { "egraph-second" } else { "fold" }
}

/// Called with the name of a stage and the graph after it; first with `input`.
pub type DumpHook<'a> = &'a mut dyn FnMut(&'static str, &Graph);

/// Runs the pipeline.
///
/// # Errors
/// A bug in a pass or a rule: see [`PassError`].
pub fn optimise(graph: &mut Graph, options: &Options, dump: DumpHook) -> Result<Report, PassError> {
    let mut report = Report::default();
    dump("input", graph);
    for pass in pipeline(options) {
        let start = Instant::now();
        let changes = (pass.run)(graph, options, &mut report)?;
        let seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        if options.verify {
            verify(graph, pass.name)?;
        }
        let verify_seconds = if options.verify { start.elapsed().as_secs_f64() } else { 0.0 };
        let nodes = walk::regions(graph).iter().map(|r| graph.regions[*r].nodes.len()).sum();
        report.phases.push(Phase { name: pass.name, seconds, verify_seconds, nodes, changes });
        dump(pass.name, graph);
    }
    Ok(report)
}

fn rewrite(
    graph: &mut Graph,
    options: &Options,
    report: &mut Report,
    round: u64,
) -> Result<usize, PassError> {
    let stage = egraph::run(graph, rules::ALL, &options.egraph, round, options.verify)?;
    let used = stage.rules.values().map(|c| c.used).sum();
    add(report, stage, round == 0);
    Ok(used)
}

/// Quantised contractions in integers, where another rounding of f32 is allowed.
fn in_integers(graph: &mut Graph, options: &Options) -> Result<usize, PassError> {
    match options.egraph.exactness {
        Exactness::Bitwise => Ok(0),
        _ => Ok(integer_contractions(graph)?),
    }
}

fn add(report: &mut Report, stage: EGraphReport, first: bool) {
    let sum = &mut report.rewriting;
    sum.slices += stage.slices;
    sum.distinct += stage.distinct;
    sum.kept += stage.kept;
    sum.enodes += stage.enodes;
    sum.checks.add(stage.checks);
    for (stop, n) in stage.stops {
        *sum.stops.entry(stop).or_default() += n;
    }
    for (rule, count) in stage.rules {
        let total = sum.rules.entry(rule).or_default();
        total.matched += count.matched;
        total.fired += count.fired;
        total.used += count.used;
        total.seconds += count.seconds;
    }
    if first {
        sum.cost_before = stage.cost_before;
    }
    sum.cost_after = stage.cost_after;
    for (value, rules) in stage.provenance {
        let all = report.provenance.entry(value).or_default();
        for rule in rules {
            if !all.contains(&rule) {
                all.push(rule);
            }
        }
    }
}

fn compacted(graph: &mut Graph) -> Result<usize, PassError> {
    let before = graph.nodes.len();
    *graph = compact(graph);
    Ok(before - graph.nodes.len())
}

fn verify(graph: &Graph, pass: &'static str) -> Result<(), PassError> {
    let listed = |errors: Vec<VerifyError>| {
        errors.iter().map(|e| e.to_string()).collect::<Vec<_>>().join("\n")
    };
    cascata_ir::verify::verify(graph)
        .map_err(|errors| PassError::Verify { pass, errors: listed(errors) })
}
