//! What the proof says, for people and as data.

use super::batch::InputPlace;
use super::state::State;
use super::walk::Walk;
use cascata_ir::graph::ValueId;
use serde::Serialize;

/// How sure the analysis is of a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakKind {
    /// The op combines entries.
    Mixes,
    /// It cannot be proven that the op keeps them apart.
    Unproven,
}

/// Where entries meet, and how they get there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// How sure it is.
    pub kind: LeakKind,
    /// The op.
    pub op: String,
    /// The source node, or what stands for it.
    pub source: String,
    /// The first value that holds more than one entry's data.
    pub value: String,
    /// What happens there.
    pub reason: String,
    /// Values from the input through that value to the output.
    pub path: Vec<String>,
}

/// Where the entries lie in a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The axis.
    pub axis: usize,
    /// The axis' size with the batch as one factor, outermost first: `1·B·S`.
    pub size: [String; 3],
}

/// What is proven of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Each entry's part depends on that entry alone.
    Isolated(Place),
    /// No entry's data is in it.
    Shared,
    /// Entries meet, or may.
    Leak(Leak),
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutputReport {
    /// Its name.
    pub name: String,
    /// What is proven.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The result of the analysis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The batch, as a person calls it.
    pub batch: String,
    /// Inputs with the axis of their entries; `None` for those that all entries share.
    pub inputs: Vec<(String, Option<usize>)>,
    /// Outputs in order.
    pub outputs: Vec<OutputReport>,
}

impl Report {
    /// Whether no output holds data of another entry.
    pub fn isolated(&self) -> bool {
        self.leaks().next().is_none()
    }

    /// The outputs that are not isolated, with their leaks.
    pub fn leaks(&self) -> impl Iterator<Item = (&str, &Leak)> {
        self.outputs.iter().filter_map(|o| match &o.verdict {
            Verdict::Leak(leak) => Some((o.name.as_str(), leak)),
            Verdict::Isolated(_) | Verdict::Shared => None,
        })
    }
}

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let from =
            if self.source.is_empty() { String::new() } else { format!(" of '{}'", self.source) };
        let sure = match self.kind {
            LeakKind::Mixes => "entries mix",
            LeakKind::Unproven => "isolation cannot be proven",
        };
        write!(f, "{sure} at {}, {}{from}: {}", self.value, self.op, self.reason)
    }
}

/// The report of a finished walk.
pub(super) fn report(walk: &Walk<'_>) -> Report {
    let graph = walk.graph;
    let inputs = graph.inputs().iter().zip(&walk.batch.places);
    let inputs = inputs.map(|(v, place)| {
        let axis = if let InputPlace::Axis(axis) = place { Some(*axis) } else { None };
        (graph.values[*v].name.clone(), axis)
    });
    let outputs = graph.outputs().iter().zip(&graph.output_names);
    let outputs =
        outputs.map(|(v, name)| OutputReport { name: name.clone(), verdict: verdict(walk, *v) });
    Report { batch: walk.batch.name.clone(), inputs: inputs.collect(), outputs: outputs.collect() }
}

fn verdict(walk: &Walk<'_>, output: ValueId) -> Verdict {
    match walk.state(output) {
        State::Shared => Verdict::Shared,
        State::Entries(e) => {
            let size = [&e.outer, &walk.batch.size, &e.inner];
            Verdict::Isolated(Place {
                axis: e.axis,
                size: size.map(|d| d.display(&walk.graph.symbols).to_string()),
            })
        }
        State::Mixed(origin) => Verdict::Leak(leak(walk, *origin, output)),
    }
}

fn leak(walk: &Walk<'_>, origin: usize, output: ValueId) -> Leak {
    let origin = &walk.origins[origin];
    let node = origin.node.map(|n| &walk.graph.nodes[n]);
    let mut path = walk.entries_path(origin.operand);
    path.extend(walk.mixed_path(output, origin.value));
    Leak {
        kind: origin.problem.kind,
        op: node.map_or("input".into(), |n| n.op.name().to_string()),
        source: node.map_or(String::new(), |n| n.source.clone()),
        value: walk.name(origin.value),
        reason: origin.problem.reason.clone(),
        path: path.into_iter().map(|v| walk.name(v)).collect(),
    }
}
