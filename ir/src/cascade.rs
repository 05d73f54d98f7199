//! Cascades of extended Einsums: the view of a region on which passes, live
//! footprints and algorithmic costs are computed (FuseMax, arXiv 2406.10491).
//!
//! An [`Einsum`] computes every element of one tensor from elements of others: a
//! *map* over the points of its ranks and a *reduce* over some of them. A rank may
//! be iterative: an access to the previous or the last coordinate.
//!
//! # Passes
//! A pass over a rank is one traversal of its coordinates. What reduces a rank is
//! known only when the traversal is complete, so whatever reads both the reduced
//! value and elements along the rank needs another one, under every mapping: N such
//! dependencies on a path make N + 1 passes, and no fusion crosses their borders.
//! The view is of algebra as written: reassociation (a running maximum, a deferred
//! division) gives another cascade with other passes, see [`textbook`].

use crate::graph::{NodeId, ValueId};
use cascata_types::{Dim, PrimaryMap, entity};

mod build;
mod text;
pub mod textbook;

pub use build::cascade_of;

entity! {
    /// A rank of a cascade: one axis, by whatever tensors it is shared.
    RankId, "k"
}
entity! {
    /// A tensor of a cascade.
    TensorId, "t"
}

/// A DAG of Einsums, in an order that respects it.
#[derive(Clone, Debug, Default)]
pub struct Cascade {
    /// Ranks; those that nothing uses were merged into others.
    pub ranks: PrimaryMap<RankId, Rank>,
    /// Tensors.
    pub tensors: PrimaryMap<TensorId, Tensor>,
    /// Einsums in order.
    pub einsums: Vec<Einsum>,
}

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Rank {
    /// Printed name.
    pub name: String,
    /// Number of coordinates.
    pub size: Dim,
}

/// A tensor; axes of size 1 have no rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Printed name.
    pub name: String,
    /// Ranks, outermost first.
    pub ranks: Vec<RankId>,
    /// Bytes per element.
    pub element_bytes: i64,
    /// Bytes in all when they differ from elements × element bytes (packed weights).
    pub stored_bytes: Option<Dim>,
    /// Where it stands.
    pub role: Role,
    /// The graph value, if it is one.
    pub value: Option<ValueId>,
}

/// Where a tensor of a cascade comes from and goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read from memory.
    Input,
    /// Made and used inside.
    Inner,
    /// Written to memory.
    Output,
}

/// Which coordinate of a tensor's rank is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// The current one.
    At(RankId),
    /// The one before the current one (an iterative rank).
    Previous(RankId),
    /// The last one: known when the traversal is complete.
    Last(RankId),
    /// Any: the coordinate depends on data or on several loops (gather, windows, reshape).
    Any(RankId),
}

impl Index {
    /// The rank that is indexed.
    pub fn rank(self) -> RankId {
        match self {
            Index::At(r) | Index::Previous(r) | Index::Last(r) | Index::Any(r) => r,
        }
    }
}

/// A read of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The tensor.
    pub tensor: TensorId,
    /// One index per rank of it.
    pub at: Vec<Index>,
}

/// One statement: `output = reduce over ranks of map(inputs)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Einsum {
    /// What it defines; its ranks are iterated.
    pub output: TensorId,
    /// What it reads; a read of its own output at the previous coordinate is a recurrence.
    pub inputs: Vec<Access>,
    /// The map operator, by name.
    pub map: String,
    /// Scalar operations of one application of the map.
    pub map_ops: i64,
    /// The reduce operator and the ranks it runs over.
    pub reduce: Option<(String, Vec<RankId>)>,
    /// The graph node.
    pub node: Option<NodeId>,
}

/// What has to be done over one rank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RankPasses {
    /// Number of traversals that no mapping can save.
    pub passes: usize,
    /// The pass in which each Einsum runs; 0 for one that does not traverse the rank.
    pub pass_of: Vec<usize>,
    /// Tensors with the rank whose elements are read in a later pass than the one that
    /// first has them: kept, spilled, or computed again.
    pub crossing: Vec<TensorId>,
}

impl Einsum {
    /// Ranks that the Einsum iterates over: those of its output, then the reduced ones.
    pub fn iteration(&self, cascade: &Cascade) -> Vec<RankId> {
        let mut ranks = cascade.tensors[self.output].ranks.clone();
        ranks.extend(self.reduce.iter().flat_map(|(_, r)| r));
        ranks
    }

    fn reduces(&self, rank: RankId) -> bool {
        self.reduce.as_ref().is_some_and(|(_, r)| r.contains(&rank))
    }

    /// Scalar operations: points × (map + 1 for the reduction).
    pub fn flops(&self, cascade: &Cascade) -> Dim {
        let ops = self.map_ops + i64::from(self.reduce.is_some());
        cascade.points(&self.iteration(cascade)) * ops
    }
}

impl Cascade {
    /// Number of points of a list of ranks.
    pub fn points(&self, ranks: &[RankId]) -> Dim {
        ranks.iter().fold(Dim::from(1), |n, r| n * self.ranks[*r].size.clone())
    }

    /// Ranks that some tensor has.
    pub fn used_ranks(&self) -> Vec<RankId> {
        let used = |r: &RankId| {
            self.tensors.values().any(|t| t.ranks.contains(r))
                || self.einsums.iter().any(|e| e.reduces(*r))
        };
        self.ranks.ids().filter(used).collect()
    }

    /// Algorithmic scalar operations of all Einsums.
    pub fn flops(&self) -> Dim {
        self.einsums.iter().fold(Dim::from(0), |n, e| n + e.flops(self))
    }

    /// Algorithmic bytes: every input read once and every output written once.
    pub fn bytes(&self) -> Dim {
        let outside = self.tensors.values().filter(|t| t.role != Role::Inner);
        outside.fold(Dim::from(0), |n, t| n + self.tensor_bytes(t))
    }

    fn tensor_bytes(&self, t: &Tensor) -> Dim {
        t.stored_bytes.clone().unwrap_or_else(|| self.points(&t.ranks) * t.element_bytes)
    }

    /// Elements per fibre of `rank` that are alive across its pass borders: 0 for one pass,
    /// else proportional to the rank.
    pub fn live_footprint(&self, rank: RankId) -> Dim {
        let crossing = self.passes(rank).crossing.len() as i64;
        self.ranks[rank].size.clone() * crossing
    }

    /// The passes over one rank.
    pub fn passes(&self, rank: RankId) -> RankPasses {
        // For a tensor with the rank: the pass that first has its elements. For one
        // without: how many passes must be complete before it is known.
        let has = |t: TensorId| self.tensors[t].ranks.contains(&rank);
        let mut level: Vec<usize> = self.tensors.ids().map(|t| usize::from(has(t))).collect();
        let mut out = RankPasses::default();
        for e in &self.einsums {
            let (mut stream, mut complete) = (0, 0);
            let iterates = has(e.output) || e.reduces(rank);
            let mut touches = iterates;
            for access in e.inputs.iter().filter(|a| a.tensor != e.output) {
                let known = level[access.tensor.0 as usize];
                // Out of order, an input is read from memory and needs no traversal.
                let whole = if self.tensors[access.tensor].role == Role::Input { 0 } else { known };
                match access.at.iter().find(|i| i.rank() == rank) {
                    None => complete = complete.max(known),
                    Some(Index::Last(_)) => complete = complete.max(whole),
                    // Any coordinate while iterating over the rank: the whole fibre must be there.
                    Some(Index::Any(_)) if iterates => complete = complete.max(whole),
                    Some(_) => {
                        stream = stream.max(known);
                        touches = true;
                    }
                }
            }
            let pass = if touches { stream.max(complete + 1) } else { 0 };
            level[e.output.0 as usize] = if touches { pass } else { complete };
            out.passes = out.passes.max(pass);
            out.pass_of.push(pass);
        }
        out.crossing = self.crossing(rank, &out.pass_of, &level);
        out
    }

    fn crossing(&self, rank: RankId, pass_of: &[usize], level: &[usize]) -> Vec<TensorId> {
        let mut first: Vec<usize> = level.to_vec();
        // An input counts from the first pass that reads it.
        for (t, tensor) in self.tensors.iter().filter(|(_, t)| t.role == Role::Input) {
            let reads = self.streamed_in(t, rank, pass_of);
            if tensor.ranks.contains(&rank) {
                first[t.0 as usize] = reads.min().unwrap_or(1);
            }
        }
        let crosses = |t: &TensorId| {
            self.streamed_in(*t, rank, pass_of).any(|pass| pass > first[t.0 as usize])
        };
        self.tensors.ids().filter(crosses).collect()
    }

    /// The passes in which the elements of `t` along `rank` are read.
    fn streamed_in<'a>(
        &'a self,
        t: TensorId,
        rank: RankId,
        pass_of: &'a [usize],
    ) -> impl Iterator<Item = usize> + 'a {
        let reads = move |e: &Einsum| {
            e.inputs.iter().any(|a| {
                let along = |i: &Index| i.rank() == rank && !matches!(i, Index::Last(_));
                a.tensor == t && a.at.iter().any(along)
            })
        };
        self.einsums.iter().zip(pass_of).filter(move |(e, _)| reads(e)).map(|(_, p)| *p)
    }
}
