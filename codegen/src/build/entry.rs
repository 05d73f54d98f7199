//! Steps, buffers and weights of an artifact's entry.

use super::facts;
use crate::lower::{BareStep, LowerError, Lowering, Machine, Operand, Variant};
use cascata_artifact::manifest as m;
use cascata_ir::graph::{DimCheck, Graph, NodeId, RegionId, ValueId};
use cascata_ir::op::{Effect, Op};
use cascata_ir::regex::full_match;
use cascata_types::{Dim, SymbolId};
use std::ops::Range;

mod buffers;
mod cache_attention;
mod control;

use buffers::Buffers;

/// What runs, in order.
pub(super) enum Step {
    /// Launches of one node: a group's, or a part of those of a node outside of groups.
    Launches(NodeId, Range<usize>),
    /// The host computes strings: what of which operands.
    Text(NodeId, m::TextOp, Vec<Operand>),
    /// Attention over the caller's cache, of which operands.
    CacheAttention(NodeId, Vec<Operand>),
    /// The host reads an operand and binds symbols.
    Bind(Operand, Vec<SymbolId>),
    /// A branch or a loop.
    Control(Control),
}

/// A node with regions and what its regions do.
pub(super) struct Control {
    node: NodeId,
    /// Where its operands are.
    inputs: Vec<Operand>,
    bodies: Vec<Body>,
}

/// A region of a branch or a loop.
struct Body {
    region: RegionId,
    steps: Vec<Step>,
    /// Where its results are.
    results: Vec<Operand>,
}

/// Lowers every group, in the body and in the regions of branches and loops.
pub(super) fn lower(
    graph: &Graph,
    machine: Machine,
) -> Result<(Lowering<'_>, Vec<Step>), Vec<LowerError>> {
    let mut lowering = Lowering::new(graph, machine);
    let mut errors = Vec::new();
    let steps = lower_region(&mut lowering, graph, Graph::ROOT, &mut errors);
    if errors.is_empty() { Ok((lowering, steps)) } else { Err(errors) }
}

fn lower_region(
    lowering: &mut Lowering,
    graph: &Graph,
    region: RegionId,
    errors: &mut Vec<LowerError>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for id in &graph.regions[region].nodes {
        let node = &graph.nodes[*id];
        match &node.op {
            Op::Const(_) | Op::Reshape { .. } => {}
            Op::Pack { .. } if cascata_passes::fuse::unpacks_constant(graph, *id) => {}
            Op::Fill { .. } | Op::DimValues { .. } | Op::Iota { .. } => {}
            Op::Group { .. } => {
                let first = lowering.launches.len();
                if let Err(e) = lowering.group(*id) {
                    errors.push(e);
                }
                steps.push(Step::Launches(*id, first..lowering.launches.len()));
            }
            Op::CacheAttention(_) => match cache_attention::lower(lowering, graph, *id) {
                Ok(step) => steps.push(step),
                Err(e) => errors.push(e),
            },
            op if op.effect() == Effect::Host => {
                let operands = node.inputs.iter().map(|v| lowering.operand(*v)).collect();
                match text_op(op) {
                    Ok(op) => steps.push(Step::Text(*id, op, operands)),
                    Err(reason) => errors.push(lowering.unsupported(*id, reason)),
                }
            }
            Op::If { .. } | Op::Loop { .. } => match control::lower(lowering, graph, *id, errors) {
                Ok(control) => steps.push(Step::Control(control)),
                Err(e) => errors.push(e),
            },
            _ => match lowering.bare(*id) {
                Ok(parts) => steps.extend(parts.into_iter().map(|part| match part {
                    BareStep::Launches(range) => Step::Launches(*id, range),
                    BareStep::Bind(operand, symbols) => Step::Bind(operand, symbols),
                })),
                Err(e) => errors.push(e),
            },
        }
    }
    steps
}

/// The entry: signature, buffers with live ranges, steps.
pub(super) fn describe(
    graph: &Graph,
    lowering: &Lowering,
    steps: &[Step],
    kernels_of: &[Vec<u32>],
    scratch: &[Dim],
) -> m::Entry {
    let buffers = Buffers::new(graph, lowering);
    let mut builder = Builder { graph, lowering, kernels_of, scratch, buffers, blocks: vec![] };
    let steps = builder.steps(Graph::ROOT, steps, 0);
    builder.buffers.leave();
    let port = |name: &str, v: ValueId| m::Port {
        name: name.into(),
        ty: graph.ty(v).clone(),
        default: None,
    };
    let outputs = graph.output_names.iter().zip(graph.outputs());
    let mut entry = m::Entry {
        name: "main".into(),
        symbols: graph.symbols.clone(),
        derived: vec![],
        variants: vec![],
        inputs: graph.inputs().iter().map(|v| port(&graph.values[*v].name, *v)).collect(),
        outputs: outputs.map(|(name, v)| port(name, *v)).collect(),
        checks: checks(&graph.root().checks),
        buffers: builder.buffers.items,
        steps,
        blocks: builder.blocks,
    };
    entry.share_formulas();
    entry
}

fn checks(checks: &[DimCheck]) -> Vec<m::Check> {
    let check =
        |c: &DimCheck| m::Check { lhs: c.lhs.clone(), rhs: c.rhs.clone(), what: c.what.clone() };
    checks.iter().map(check).collect()
}

/// An entry under construction.
struct Builder<'a> {
    graph: &'a Graph,
    lowering: &'a Lowering<'a>,
    kernels_of: &'a [Vec<u32>],
    scratch: &'a [Dim],
    buffers: Buffers<'a>,
    blocks: Vec<m::Block>,
}

impl Builder<'_> {
    /// The steps of a region as those of a block, which is left open: what its owner reads
    /// of it is touched by its last step.
    fn steps(&mut self, region: RegionId, steps: &[Step], block: u32) -> Vec<m::Step> {
        self.buffers.enter(region, block);
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Bind(operand, symbols) => {
                    self.buffers.at(out.len());
                    let buffer = self.buffers.id(*operand);
                    out.push(m::Step::Bind { buffer, symbols: symbols.clone() });
                }
                Step::Text(node, op, operands) => {
                    self.buffers.at(out.len());
                    out.push(m::Step::Text(self.text(*node, op, operands)));
                }
                Step::CacheAttention(node, operands) => {
                    self.buffers.at(out.len());
                    let step = self.cache_attention(*node, operands);
                    out.extend(step.map(m::Step::CacheAttention));
                }
                Step::Launches(group, range) => {
                    for i in range.clone() {
                        self.buffers.at(out.len());
                        out.push(m::Step::Launch(self.launch(*group, i)));
                    }
                }
                Step::Control(control) => {
                    self.buffers.at(out.len());
                    out.push(self.control(control));
                }
            }
        }
        out
    }

    fn text(&mut self, id: NodeId, op: &m::TextOp, operands: &[Operand]) -> m::TextStep {
        let node = &self.graph.nodes[id];
        m::TextStep {
            op: op.clone(),
            operands: operands.iter().map(|o| self.buffers.id(*o)).collect(),
            result: self.buffers.id(Operand::Value(node.outputs[0])),
            source: sources(self.graph, id),
        }
    }

    fn launch(&mut self, group: NodeId, i: usize) -> m::Launch {
        let launch = &self.lowering.launches[i];
        let kernels = launch.variants.iter().zip(&self.kernels_of[i]);
        let outputs = &self.graph.nodes[group].outputs;
        m::Launch {
            variants: kernels.map(|(v, k)| variant(v, *k, self.scratch)).collect(),
            buffers: launch.operands.iter().map(|o| self.buffers.id(*o)).collect(),
            values: outputs.iter().map(|v| self.graph.values[*v].name.clone()).collect(),
            source: sources(self.graph, group),
            flops: launch.flops.clone(),
            bytes: launch.bytes.clone(),
        }
    }
}

/// What the host computes; the error is the reason.
fn text_op(op: &Op) -> Result<m::TextOp, String> {
    Ok(match op {
        Op::TextConcat => m::TextOp::Concat,
        Op::TextCase { upper } => m::TextOp::Case { upper: *upper },
        Op::TextMatch { pattern } => m::TextOp::Match { dfa: full_match(pattern)? },
        Op::TextCount { delimiter, at_most } => {
            m::TextOp::Count { delimiter: delimiter.clone(), at_most: *at_most }
        }
        Op::TextSplit { delimiter, at_most, .. } => {
            m::TextOp::Split { delimiter: delimiter.clone(), at_most: *at_most }
        }
        op => return Err(format!("{} is no op of the host", op.name())),
    })
}

fn variant(variant: &Variant, kernel: u32, scratch: &[Dim]) -> m::Variant {
    let used = facts::used_params(&variant.kernel);
    // A parameter that the kernel does not use may not be bound yet: pass anything.
    let value = |i: usize| {
        let id = SymbolId(i as u32);
        if used.contains(&id) { Dim::sym(id) } else { Dim::from(0) }
    };
    m::Variant {
        guard: variant.guard.clone(),
        kernel,
        dims: (0..variant.kernel.params).map(value).collect(),
        tiles: variant.kernel.grid.clone(),
        scratch_bytes: scratch.get(kernel as usize).cloned().unwrap_or_default(),
        min_tiles: variant.min_tiles.into(),
    }
}

/// The source nodes of a group, in order, each once.
fn sources(graph: &Graph, group: NodeId) -> Vec<String> {
    let regions = graph.nodes[group].op.regions();
    let nodes = regions.iter().flat_map(|r| &graph.regions[*r].nodes).chain([&group]);
    let mut names: Vec<String> = Vec::new();
    for id in nodes {
        let source = &graph.nodes[*id].source;
        if !source.is_empty() && !names.contains(source) {
            names.push(source.clone());
        }
    }
    names
}
