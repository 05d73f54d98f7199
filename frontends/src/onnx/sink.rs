//! What follows an `If`, moved into its branches.
//!
//! Why: an `If` of the graph gives values of one dtype and rank each, while the branches of
//! an ONNX `If` may differ in both (exporters write `squeeze` this way) and only a later op
//! brings them together. The nodes that read such a value move into both branches, with
//! whatever they need that depends on the `If` too, until the branches agree: each copy
//! sees one type. How far that is shows only when the copies are imported, so the distance
//! doubles with each try.
//! Precondition: `rest` is in execution order.
//! Postcondition: so is what comes back, and it computes the same.
//! Cost: the import walks at most about four times over what is moved, per `If`.

use super::order::names_read;
use super::proto::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};
use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};

/// One node that waits to be imported.
#[derive(Clone)]
pub struct Step<'a> {
    /// The node; one that took others in is a copy.
    pub node: Cow<'a, NodeProto>,
    /// How many levels of users its branches have taken in.
    pub levels: usize,
}

impl<'a> Step<'a> {
    /// A node as the model has it.
    pub fn new(node: &'a NodeProto) -> Self {
        Step { node: Cow::Borrowed(node), levels: 0 }
    }

    fn outputs(&self) -> impl Iterator<Item = &str> {
        self.node.output.iter().map(String::as_str).filter(|n| !n.is_empty())
    }
}

/// An `If` with the users of its outputs `differing` moved into its branches, as a new list
/// of steps; `None` when nothing but `results`, the enclosing body's, reads them, or when
/// names do not allow it.
pub fn deepen<'a>(
    step: &Step<'a>,
    differing: &[String],
    rest: &VecDeque<Step<'a>>,
    results: &[String],
) -> Option<VecDeque<Step<'a>>> {
    let reads: Vec<HashSet<&str>> = rest.iter().map(|s| names_read(&s.node)).collect();
    let levels = (2 * step.levels).max(1);
    let mut plan = Plan { step, rest, reads, moved: vec![false; rest.len()] };
    plan.take_users(differing, levels);
    let earlier = plan.take_what_they_need();
    if !plan.moved.contains(&true) || plan.clashes() {
        return None;
    }
    let node = Cow::Owned(plan.joined(results));
    let mut steps: VecDeque<Step<'a>> = plan.staying(&earlier, true).collect();
    steps.push_back(Step { node, levels: step.levels + levels });
    steps.extend(plan.staying(&earlier, false));
    Some(steps)
}

/// Which of the steps after an `If` move into it.
struct Plan<'s, 'a> {
    step: &'s Step<'a>,
    rest: &'s VecDeque<Step<'a>>,
    /// Per step, the names that it reads.
    reads: Vec<HashSet<&'s str>>,
    moved: Vec<bool>,
}

impl<'s, 'a> Plan<'s, 'a> {
    /// Steps that stay, those before the `If` or those after it.
    fn staying(&self, earlier: &[bool], before: bool) -> impl Iterator<Item = Step<'a>> {
        let all = self.rest.iter().zip(self.moved.iter().zip(earlier));
        all.filter(move |(_, (moved, at))| !**moved && **at == before).map(|(s, _)| s.clone())
    }

    /// The users of some values, their users, and so on.
    fn take_users(&mut self, values: &'s [String], levels: usize) {
        let mut reached: HashSet<&str> = values.iter().map(String::as_str).collect();
        for _ in 0..levels {
            let uses = |i: &usize| !self.moved[*i] && !self.reads[*i].is_disjoint(&reached);
            let users: Vec<usize> = (0..self.rest.len()).filter(uses).collect();
            if users.is_empty() {
                break;
            }
            for i in users {
                self.moved[i] = true;
                reached.extend(self.rest[i].outputs());
            }
        }
    }

    /// Moves what lies between the `If` and moved steps; gives the steps that moved ones
    /// need and that do not depend on the `If`: they run before it.
    fn take_what_they_need(&mut self) -> Vec<bool> {
        let mut behind: HashSet<&str> = self.step.outputs().collect();
        let mut depends = vec![false; self.rest.len()];
        for (i, step) in self.rest.iter().enumerate() {
            depends[i] = !self.reads[i].is_disjoint(&behind);
            if depends[i] {
                behind.extend(step.outputs());
            }
        }
        let mut needed: HashSet<&str> = HashSet::new();
        let mut earlier = vec![false; self.rest.len()];
        for (i, step) in self.rest.iter().enumerate().rev() {
            let is_needed = step.outputs().any(|o| needed.contains(o));
            if self.moved[i] || is_needed {
                needed.extend(&self.reads[i]);
                self.moved[i] |= depends[i];
                earlier[i] = !depends[i];
            }
        }
        earlier
    }

    fn moved(&self) -> impl Iterator<Item = (usize, &Cow<'_, NodeProto>)> {
        self.rest.iter().enumerate().filter(|(i, _)| self.moved[*i]).map(|(i, s)| (i, &s.node))
    }

    /// Whether a branch calls something else by a name that moved nodes use.
    fn clashes(&self) -> bool {
        let mut names: HashSet<&str> = HashSet::new();
        for (i, node) in self.moved() {
            names.extend(&self.reads[i]);
            names.extend(node.output.iter().map(String::as_str));
        }
        bodies(&self.step.node).any(|body| {
            let own = body.node.iter().flat_map(|n| &n.output).map(String::as_str);
            let own = own.chain(body.initializer.iter().map(|t| t.name()));
            let is_result = |name: &str| {
                let outputs = self.step.node.output.iter().zip(&body.output);
                outputs
                    .into_iter()
                    .any(|(outside, inside)| outside == name && inside.name() == name)
            };
            own.into_iter().any(|name| names.contains(name) && !is_result(name))
        })
    }

    /// The `If` with the moved steps in its branches and whatever is still read as outputs.
    fn joined(&self, results: &[String]) -> NodeProto {
        let mut read: HashSet<&str> = results.iter().map(String::as_str).collect();
        let staying = self.reads.iter().enumerate().filter(|(i, _)| !self.moved[*i]);
        read.extend(staying.flat_map(|(_, names)| names));
        let own = self.step.outputs();
        let moved = self.moved().flat_map(|(_, n)| n.output.iter().map(String::as_str));
        let output: Vec<String> =
            own.chain(moved).filter(|o| read.contains(o)).map(str::to_string).collect();
        let continued = |a: &AttributeProto| AttributeProto {
            g: a.g.as_ref().map(|body| self.continued(body, &output)),
            ..a.clone()
        };
        let node = &self.step.node;
        NodeProto {
            attribute: node.attribute.iter().map(continued).collect(),
            output: output.clone(),
            input: node.input.clone(),
            name: node.name.clone(),
            op_type: node.op_type.clone(),
            domain: node.domain.clone(),
            ..Default::default()
        }
    }

    /// A branch that goes on with the moved steps.
    fn continued(&self, body: &GraphProto, output: &[String]) -> GraphProto {
        let mut body = body.clone();
        let outputs = self.step.node.output.iter().zip(&body.output);
        let renamed = outputs.filter(|(o, inside)| !o.is_empty() && inside.name() != o.as_str());
        let renamed: Vec<NodeProto> = renamed.map(|(o, inside)| alias(inside.name(), o)).collect();
        body.node.extend(renamed);
        body.node.extend(self.moved().map(|(_, n)| n.as_ref().clone()));
        let info =
            |name: &String| ValueInfoProto { name: Some(name.clone()), ..Default::default() };
        body.output = output.iter().map(info).collect();
        body
    }
}

fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().filter_map(|a| a.g.as_ref())
}

/// `to = Identity(from)`.
fn alias(from: &str, to: &str) -> NodeProto {
    NodeProto {
        op_type: Some("Identity".into()),
        input: vec![from.into()],
        output: vec![to.into()],
        ..Default::default()
    }
}
