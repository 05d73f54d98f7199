//! Fused groups to Kernel IR.
//!
//! [`Lowering::group`] turns one group of the graph into launches: a Kernel IR kernel each,
//! with the values, temporaries and packed weights that it touches. A template
//! per group kind lives in a file of its own; all of them read operands through
//! `Body::value_at`, which writes any chain of element-wise ops and data movement
//! as one expression of the result's index.

mod access;
mod attention;
mod body;
mod codes;
mod columns;
mod conv;
mod epilogue;
mod machine;
mod map;
mod matmul;
mod nest;
mod pool;
mod resize;
mod rows;
mod single;
mod strings;
mod tile_attention;
mod visit;
mod weights;

use cascata_ir::graph::{Graph, NodeId, ValueId};
use cascata_ir::kernel::Kernel;
use cascata_ir::op::{GroupKind, Op};
use cascata_types::{DType, Dim, PrimaryMap, SymbolId, entity};

pub use machine::Machine;
pub(crate) use visit::for_each_dim;
pub use weights::{Weight, WeightData, WeightTable};

entity! {
    /// A buffer that lives inside one group's launches.
    TempId, "t"
}
entity! {
    /// A constant as the kernels want it.
    WeightId, "w"
}

/// What a launch touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A value of the graph.
    Value(ValueId),
    /// A temporary of the group.
    Temp(TempId),
    /// A constant, maybe packed.
    Weight(WeightId),
}

/// A temporary buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Temp {
    /// Element type.
    pub dtype: DType,
    /// Number of elements.
    pub len: Dim,
}

/// One step of computation: kernels that do the same, of which one runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Candidates in order; the first whose guard holds runs, the last always may.
    pub variants: Vec<Variant>,
    /// Operands in the order of the kernels' input and output buffers.
    pub operands: Vec<Operand>,
    /// Arithmetic operations.
    pub flops: Dim,
    /// Bytes that must be read or written at least once.
    pub bytes: Dim,
}

/// A kernel and when it is the right one.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Holds when every dim is ≥ 0; empty means always.
    pub guard: Vec<Dim>,
    /// The kernel.
    pub kernel: Kernel,
    /// Fewest tiles worth handing to another thread.
    pub min_tiles: i64,
}

/// What a node outside of groups does, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum BareStep {
    /// Launches, by their place in [`Lowering::launches`].
    Launches(std::ops::Range<usize>),
    /// The host reads an `i64` operand and binds its elements.
    Bind(Operand, Vec<SymbolId>),
}

/// Why a group has no kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node}: {op} has no CPU kernel: {reason}")]
pub struct LowerError {
    /// The source node.
    pub node: String,
    /// The op's printed name.
    pub op: &'static str,
    /// What is missing.
    pub reason: String,
}

/// Everything that lowering collects.
#[derive(Debug)]
pub struct Lowering<'g> {
    graph: &'g Graph,
    /// What runs the kernels.
    pub(crate) machine: Machine,
    /// Temporaries of all groups.
    pub temps: PrimaryMap<TempId, Temp>,
    /// Packed and plain constants, each once.
    pub weights: WeightTable,
    /// Launches in order.
    pub launches: Vec<Launch>,
}

impl<'g> Lowering<'g> {
    /// Nothing lowered yet.
    pub fn new(graph: &'g Graph, machine: Machine) -> Self {
        let (temps, weights) = (PrimaryMap::new(), WeightTable::default());
        Self { graph, machine, temps, weights, launches: Vec::new() }
    }

    /// Lowers one group node; its launches are appended.
    ///
    /// # Errors
    /// An op without a CPU kernel, by name.
    pub fn group(&mut self, node: NodeId) -> Result<(), LowerError> {
        let data = &self.graph.nodes[node];
        let Op::Group { kind, body } = data.op else {
            return Err(self.error(node, "only fused groups are lowered"));
        };
        self.strings_are_moved(node)?;
        let group = Group { node, region: body, outputs: &data.outputs };
        match kind {
            GroupKind::Map => map::lower(self, &group),
            GroupKind::RowReduce => rows::lower(self, &group),
            GroupKind::Contraction => match self.graph.nodes[self.root(&group)].op {
                Op::MatMul => matmul::lower(self, &group),
                _ => conv::lower(self, &group),
            },
            GroupKind::Attention => attention::lower(self, &group),
            GroupKind::Single => single::lower(self, &group),
        }
    }

    /// Lowers a node that stays outside of groups because it binds symbols.
    ///
    /// # Errors
    /// An op without a CPU kernel, by name.
    pub fn bare(&mut self, node: NodeId) -> Result<Vec<BareStep>, LowerError> {
        self.strings_are_moved(node)?;
        let outputs = &self.graph.nodes[node].outputs;
        single::bare(self, &Group { node, region: Graph::ROOT, outputs })
    }

    /// Members of a group; a node outside of groups has none beside it.
    fn members(&self, group: &Group) -> &'g [NodeId] {
        if group.region == Graph::ROOT { &[] } else { &self.graph.regions[group.region].nodes }
    }

    /// Makes the last launch the general variant of the one before, which then runs only
    /// where `guard` is not negative.
    ///
    /// Both must compute the same results from the same operands.
    fn join_variants(&mut self, guard: Dim) {
        let mut general = self.launches.pop().expect("two launches were just made");
        let special = self.launches.last_mut().expect("two launches were just made");
        assert_eq!(special.operands, general.operands, "variants differ in their operands");
        for variant in &mut special.variants {
            variant.guard.push(guard.clone());
        }
        for (i, variant) in general.variants.iter_mut().enumerate() {
            variant.kernel.name = format!("{}_v{}", special.variants[0].kernel.name, i + 1);
        }
        special.variants.append(&mut general.variants);
    }

    /// Where a value outside of groups lies: a constant, or the value whose memory it is in.
    pub fn operand(&mut self, v: ValueId) -> Operand {
        let owner = cascata_passes::fuse::memory_owner(self.graph, v);
        match self.graph.def_node(owner).map(|n| &n.op) {
            Some(Op::Const(id)) => {
                let weight = Weight { source: *id, data: WeightData::Plain };
                Operand::Weight(self.weights.add(self.graph, weight))
            }
            _ => Operand::Value(owner),
        }
    }

    /// The error of a node that cannot be lowered.
    pub fn unsupported(&self, node: NodeId, reason: impl Into<String>) -> LowerError {
        self.error(node, reason)
    }

    fn error(&self, node: NodeId, reason: impl Into<String>) -> LowerError {
        let data = &self.graph.nodes[node];
        LowerError { node: data.source.clone(), op: data.op.name(), reason: reason.into() }
    }

    fn dtype(&self, operand: Operand) -> DType {
        match operand {
            Operand::Value(v) => self.graph.tensor(v).dtype,
            Operand::Temp(t) => self.temps[t].dtype,
            Operand::Weight(w) => self.weights.describe(w).1,
        }
    }

    fn temp(&mut self, dtype: DType, len: Dim) -> Operand {
        Operand::Temp(self.temps.push(Temp { dtype, len }))
    }

    /// The node that gave the group its kind: the first that is not a Map op.
    fn root(&self, group: &Group) -> NodeId {
        let nodes = self.members(group);
        let anchor = |id: &&NodeId| !cascata_passes::fuse::is_map_op(&self.graph.nodes[**id].op);
        nodes.iter().find(anchor).or(nodes.last()).copied().unwrap_or(group.node)
    }
}

/// The group being lowered.
#[derive(Clone, Copy)]
struct Group<'g> {
    node: NodeId,
    region: cascata_ir::graph::RegionId,
    /// Values of the enclosing region that the group defines.
    outputs: &'g [ValueId],
}
