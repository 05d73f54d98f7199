//! Steps, buffers and weights of an artifact's entry.

use super::facts;
use crate::lower::{BareStep, LowerError, Lowering, Operand, Variant, WeightId};
use cascata_artifact::manifest as m;
use cascata_ir::graph::{Graph, NodeId, ValueId};
use cascata_ir::op::Op;
use cascata_passes::fuse::memory_owner;
use cascata_types::{Dim, SymbolId, TensorType};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// What runs, in order.
pub(super) enum Step {
    /// Launches of one node: a group's, or a part of those of a node outside of groups.
    Launches(NodeId, Range<usize>),
    /// The host reads an operand and binds symbols.
    Bind(Operand, Vec<SymbolId>),
}

/// Lowers every group of the root region.
pub(super) fn lower(graph: &Graph) -> Result<(Lowering<'_>, Vec<Step>), Vec<LowerError>> {
    let mut lowering = Lowering::new(graph);
    let (mut steps, mut errors) = (Vec::new(), Vec::new());
    for id in &graph.root().nodes {
        let node = &graph.nodes[*id];
        match &node.op {
            Op::Const(_) | Op::Reshape { .. } => {}
            Op::Fill { .. } | Op::DimValues { .. } | Op::Iota { .. } => {}
            Op::Group { .. } => {
                let first = lowering.launches.len();
                if let Err(e) = lowering.group(*id) {
                    errors.push(e);
                }
                steps.push(Step::Launches(*id, first..lowering.launches.len()));
            }
            _ => match lowering.bare(*id) {
                Ok(parts) => steps.extend(parts.into_iter().map(|part| match part {
                    BareStep::Launches(range) => Step::Launches(*id, range),
                    BareStep::Bind(operand, symbols) => Step::Bind(operand, symbols),
                })),
                Err(e) => errors.push(e),
            },
        }
    }
    if errors.is_empty() { Ok((lowering, steps)) } else { Err(errors) }
}

/// These weights, with places in the section.
pub(super) fn weights(lowering: &Lowering, used: &[WeightId]) -> Vec<m::Weight> {
    let describe = |id: &WeightId| {
        let (_, name, dtype, _) = &lowering.weights.items[*id];
        m::Weight {
            name: name.clone(),
            dtype: *dtype,
            offset: 0,
            bytes: lowering.weights.bytes(*id),
            param: false,
        }
    };
    let mut weights: Vec<m::Weight> = used.iter().map(describe).collect();
    cascata_artifact::assign_offsets(&mut weights);
    weights
}

/// The weights that an entry's steps touch, in the order of their ids; the entry's buffers
/// are numbered after it. Lowering also registers plain forms that it then packs.
pub(super) fn number_weights(entry: &mut m::Entry) -> Vec<WeightId> {
    let weight = |b: &m::Buffer| match b.storage {
        m::Storage::Weight(id) => Some(id),
        _ => None,
    };
    let used: BTreeSet<u32> = entry.buffers.iter().filter_map(weight).collect();
    let used: Vec<u32> = used.into_iter().collect();
    for buffer in &mut entry.buffers {
        if let m::Storage::Weight(id) = &mut buffer.storage {
            *id = used.partition_point(|u| *u < *id) as u32;
        }
    }
    used.into_iter().map(WeightId).collect()
}

/// The entry: signature, buffers with live ranges, steps.
pub(super) fn describe(
    graph: &Graph,
    lowering: &Lowering,
    steps: &[Step],
    kernels_of: &[Vec<u32>],
    scratch: &[Dim],
) -> m::Entry {
    let mut buffers = Buffers { graph, lowering, ids: HashMap::new(), items: Vec::new() };
    let mut out = Vec::new();
    for step in steps {
        match step {
            Step::Bind(operand, symbols) => {
                let buffer = buffers.id(*operand, out.len());
                out.push(m::Step::Bind { buffer, symbols: symbols.clone() });
            }
            Step::Launches(group, range) => {
                for i in range.clone() {
                    let at = out.len();
                    let launch = &lowering.launches[i];
                    let kernels = launch.variants.iter().zip(&kernels_of[i]);
                    let node = &graph.nodes[*group];
                    out.push(m::Step::Launch(m::Launch {
                        variants: kernels.map(|(v, k)| variant(v, *k, scratch)).collect(),
                        buffers: launch.operands.iter().map(|o| buffers.id(*o, at)).collect(),
                        values: node
                            .outputs
                            .iter()
                            .map(|v| graph.values[*v].name.clone())
                            .collect(),
                        source: sources(graph, *group),
                        flops: launch.flops.clone(),
                        bytes: launch.bytes.clone(),
                    }));
                }
            }
        }
    }
    let port = |name: &str, v: ValueId| m::Port { name: name.into(), ty: graph.ty(v).clone() };
    let outputs = graph.output_names.iter().zip(graph.outputs());
    let checks = graph.checks.iter();
    m::Entry {
        name: "main".into(),
        symbols: graph.symbols.clone(),
        inputs: graph.inputs().iter().map(|v| port(&graph.values[*v].name, *v)).collect(),
        outputs: outputs.map(|(name, v)| port(name, *v)).collect(),
        checks: checks
            .map(|c| m::Check { lhs: c.lhs.clone(), rhs: c.rhs.clone(), what: c.what.clone() })
            .collect(),
        buffers: buffers.items,
        steps: out,
    }
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

/// The entry's buffers, one for each distinct piece of memory.
struct Buffers<'a> {
    graph: &'a Graph,
    lowering: &'a Lowering<'a>,
    ids: HashMap<Operand, u32>,
    items: Vec<m::Buffer>,
}

impl Buffers<'_> {
    /// The buffer of an operand that step `at` touches.
    fn id(&mut self, operand: Operand, at: usize) -> u32 {
        let operand = match operand {
            Operand::Value(v) => Operand::Value(memory_owner(self.graph, v)),
            other => other,
        };
        let at = at as u32;
        if let Some(id) = self.ids.get(&operand) {
            if let m::Storage::Arena { last, .. } = &mut self.items[*id as usize].storage {
                *last = at;
            }
            return *id;
        }
        let id = self.items.len() as u32;
        let buffer = self.describe(operand, at);
        self.items.push(buffer);
        self.ids.insert(operand, id);
        id
    }

    fn describe(&self, operand: Operand, at: u32) -> m::Buffer {
        let arena = m::Storage::Arena { first: at, last: at };
        match operand {
            Operand::Value(v) => {
                let ty = self.graph.tensor(v).clone();
                let name = self.graph.values[v].name.clone();
                m::Buffer { name, bytes: bytes(&ty), ty, storage: self.storage(v).unwrap_or(arena) }
            }
            Operand::Temp(t) => {
                let temp = &self.lowering.temps[t];
                let ty = TensorType::dense(temp.dtype, vec![temp.len.clone()]);
                m::Buffer { name: t.to_string(), bytes: bytes(&ty), ty, storage: arena }
            }
            Operand::Weight(w) => {
                let (_, name, dtype, elements) = &self.lowering.weights.items[w];
                let ty = TensorType::fixed(*dtype, &[*elements as i64]);
                let storage = m::Storage::Weight(w.0);
                m::Buffer { name: name.clone(), bytes: bytes(&ty), ty, storage }
            }
        }
    }

    /// Inputs and results of the graph are the caller's memory.
    fn storage(&self, v: ValueId) -> Option<m::Storage> {
        let input = self.graph.inputs().iter().position(|i| *i == v);
        let owner = |o: &ValueId| memory_owner(self.graph, *o) == v;
        let output = self.graph.outputs().iter().position(owner);
        input.map(|i| m::Storage::Input(i as u32)).or(output.map(|i| m::Storage::Output(i as u32)))
    }
}

fn bytes(ty: &TensorType) -> Dim {
    ty.elements() * ty.dtype.size_bytes().unwrap_or(0) as i64
}
