//! Several optimised graphs for one source graph, each for the sizes at which it is best.
//!
//! **Why.** `(A·B)·C` is cheap in this order for one row of A and in the other for 512; no
//! single extraction serves both.
//! **Precondition.** As for [`optimise`].
//! **Postcondition.** Every graph computes the source's function for *all* sizes; a guard
//! says only where it is worth taking. The last one has no guard. Graphs that came out
//! equal were made one.
//! **Cost.** One pipeline per profile point: `1 + 2·symbols` unless points are given.

use crate::egraph::cost::{ProfilePoint, default_points, graph_time};
use crate::error::PassError;
use crate::pipeline::{Options, optimise, rewritten};
use cascata_ir::graph::Graph;
use cascata_ir::print::{PrintOptions, print};
use cascata_types::{Dim, SymbolId};

/// A graph and where it is worth taking: where every dim is ≥ 0.
pub type Variant = (Vec<Dim>, Graph);

/// Optimises at every profile point; the first guard that holds says which graph to run.
///
/// The points are those of `options.egraph.profile`, else [`default_points`]; the first is
/// the typical one, whose graph runs where no other's guard holds. Another point's graph is
/// guarded by one threshold per symbol that differs there: where its estimated time falls
/// below the typical graph's, the other symbols staying as they are.
///
/// # Errors
/// As [`optimise`].
pub fn variants(graph: &Graph, options: &Options) -> Result<Vec<Variant>, PassError> {
    let points = match &options.egraph.profile[..] {
        [] => default_points(graph),
        points => points.to_vec(),
    };
    let mut found: Vec<Candidate> = vec![];
    for point in &points {
        found.push(Candidate::at(graph, options, point)?);
    }
    let Some((typical, others)) = found.split_first() else { return Ok(vec![]) };
    let mut out: Vec<Variant> = vec![];
    for other in others.iter().filter(|o| o.text != typical.text) {
        let Some(guard) = guard(graph, options, typical, other) else { continue };
        if !out.iter().any(|(g, _)| *g == guard) {
            out.push((guard, other.fused.clone()));
        }
    }
    out.push((vec![], typical.fused.clone()));
    Ok(out)
}

/// What extraction at one point gives.
struct Candidate {
    point: ProfilePoint,
    /// Before fusion, where costs are defined.
    flat: Graph,
    fused: Graph,
    text: String,
}

impl Candidate {
    fn at(graph: &Graph, options: &Options, point: &ProfilePoint) -> Result<Self, PassError> {
        let mut options = options.clone();
        options.egraph.profile = vec![point.clone()];
        let mut flat = None;
        let mut fused = graph.clone();
        optimise(&mut fused, &options, &mut |stage, g| {
            if stage == rewritten(&options) {
                flat = Some(g.clone());
            }
        })?;
        let text = print(&fused, PrintOptions::default());
        let flat = flat.unwrap_or_else(|| fused.clone());
        Ok(Self { point: point.clone(), flat, fused, text })
    }
}

/// One dim per symbol in which the points differ; `None` where the other graph is not
/// cheaper at its own point either (extraction is a heuristic).
fn guard(
    graph: &Graph,
    options: &Options,
    typical: &Candidate,
    other: &Candidate,
) -> Option<Vec<Dim>> {
    let gain = |point: &ProfilePoint| {
        let time = |g: &Graph| graph_time(g, point, options.egraph.machine, options.egraph.budget);
        time(&typical.flat) - time(&other.flat)
    };
    if gain(&other.point) <= 0.0 {
        return None;
    }
    let differing = other
        .point
        .iter()
        .filter(|(name, value)| typical.point.get(*name).is_some_and(|t| t != *value));
    let mut dims = vec![];
    for (name, value) in differing {
        let symbol = graph.symbols.lookup(name)?;
        let at = |x: i64| {
            let mut point = other.point.clone();
            point.insert(name.clone(), x);
            gain(&point)
        };
        dims.push(threshold(symbol, *value, typical.point[name], at));
    }
    (!dims.is_empty()).then_some(dims)
}

/// From `good` towards `other`, the last value up to which `gain` stays positive, as a dim
/// that is ≥ 0 on this side of it.
fn threshold(symbol: SymbolId, good: i64, other: i64, gain: impl Fn(i64) -> f64) -> Dim {
    let (mut good, mut bad) = (good, other);
    let below = good < bad;
    while (good - bad).abs() > 1 {
        let middle = good + (bad - good) / 2;
        if gain(middle) > 0.0 { good = middle } else { bad = middle }
    }
    match below {
        true => Dim::from(good) - Dim::sym(symbol),
        false => Dim::sym(symbol) - Dim::from(good),
    }
}
