//! A failing case made small: fewer outputs, bindings and nodes.

use super::diff::{Config, Differ, Mismatch, Outcome};
use super::edit::{Instead, rebuild};
use super::generate::Case;
use anyhow::Result;
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::run_recorded;
use cascata_ir::op::Op;
use cascata_ir::print::{ConstText, PrintOptions, print};
use std::collections::HashMap;
use std::path::PathBuf;

/// Compilations at most.
const TRIES: usize = 150;

struct Shrinker<'a> {
    differ: &'a Differ,
    config: Config,
    case: Case,
    last: Mismatch,
    tries: usize,
}

/// The smallest case found that still fails, and how.
pub fn shrink(differ: &Differ, case: &Case, mismatch: &Mismatch) -> (Case, Mismatch) {
    let (case, last) = (case.clone(), mismatch.clone());
    let mut s = Shrinker { differ, config: mismatch.config, case, last, tries: 0 };
    s.bindings();
    while s.tries < TRIES && (s.one_output() || s.earlier_output() || s.fewer_nodes()) {}
    (s.case, s.last)
}

impl Shrinker<'_> {
    /// Takes a candidate if it fails too.
    fn accept(&mut self, candidate: Option<Case>) -> bool {
        let Some(candidate) = candidate else { return false };
        self.tries += 1;
        if self.tries > TRIES {
            return false;
        }
        match self.differ.check(&candidate, &candidate.graph, &[self.config]) {
            Ok(Outcome::Differs(mismatch)) => {
                (self.case, self.last) = (candidate, mismatch);
                true
            }
            _ => false,
        }
    }

    fn bindings(&mut self) {
        for i in 0..self.case.bindings.len() {
            if self.case.bindings.len() > 1 {
                let one =
                    Case { bindings: vec![self.case.bindings[i].clone()], ..self.case.clone() };
                if self.accept(Some(one)) {
                    return;
                }
            }
        }
    }

    fn edited(&self, outputs: &[ValueId], instead: &[(ValueId, Instead)]) -> Option<Case> {
        let runs = self.case.bindings.iter().map(|b| run_recorded(&self.case.graph, &b.inputs));
        let recorded: Vec<_> = runs.collect::<Result<_, _>>().ok()?;
        let instead: HashMap<_, _> = instead.iter().copied().collect();
        rebuild(&self.case, &recorded, outputs, &instead)
    }

    fn one_output(&mut self) -> bool {
        let outputs = self.case.graph.outputs().to_vec();
        outputs.len() > 1 && outputs.iter().any(|v| self.accept(self.edited(&[*v], &[])))
    }

    /// An operand of the last node fails already.
    fn earlier_output(&mut self) -> bool {
        let [v] = self.case.graph.outputs()[..] else { return false };
        let Some(node) = self.case.graph.def_node(v) else { return false };
        let inputs = node.inputs.clone();
        inputs.iter().any(|v| self.accept(self.edited(&[*v], &[])))
    }

    /// A node is replaced by an operand or an input.
    fn fewer_nodes(&mut self) -> bool {
        let graph = self.case.graph.clone();
        let outputs = graph.outputs().to_vec();
        graph.root().nodes.iter().rev().any(|id| {
            let node = &graph.nodes[*id];
            let [v] = node.outputs[..] else { return false };
            let twin = node.inputs.iter().find(|o| graph.ty(**o) == graph.ty(v));
            twin.is_some_and(|o| self.accept(self.edited(&outputs, &[(v, Instead::Value(*o))])))
                || (!matches!(node.op, Op::Const(_))
                    && !outputs.contains(&v)
                    && self.accept(self.edited(&outputs, &[(v, Instead::Input)])))
        })
    }
}

/// Writes the case to `target/random-failures`: the reason and the graph's text.
///
/// # Errors
/// The file cannot be written.
pub fn write(case: &Case, mismatch: &Mismatch) -> Result<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/random-failures"));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}.txt", case.seed));
    let mut text = format!("; seed {}\n", case.seed);
    for line in mismatch.what.lines() {
        text += &format!("; {line}\n");
    }
    for (i, binding) in case.bindings.iter().enumerate() {
        let dims: Vec<_> = binding.inputs.iter().map(|t| t.dims()).collect();
        text += &format!("; binding {i}: {dims:?}\n");
    }
    text += &text_of(&case.graph);
    std::fs::write(&path, text)?;
    Ok(path)
}

/// The text of a graph, without large constants.
pub fn text_of(graph: &Graph) -> String {
    let bytes: usize = graph.consts.values().map(|c| c.data.len()).sum();
    let consts = if bytes < 2000 { ConstText::Full } else { ConstText::Elided };
    print(graph, PrintOptions { consts })
}
