//! Cuts a run of nodes into slices so that equal layers give equal slices.
//!
//! Cuts are *content-defined*, as in rsync: a position is a candidate when its key (values
//! alive across it, how badly a cut there would hurt the rules, a hash of the nodes
//! around it) is the least in its neighbourhood. Repeated layers have the same content,
//! so they are cut at the same places whatever stands before them. Small pieces are then
//! joined until they are worth an e-graph, starting anew where a piece repeats.
//! Linear in the number of nodes.

use cascata_ir::graph::{Def, Graph, Node, NodeId, ValueId};
use cascata_ir::op::Op;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Sizes in nodes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Pieces are joined until they have as many nodes.
    pub least: usize,
    /// No slice has more.
    pub most: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { least: 60, most: 200 }
    }
}

/// Cut candidates are minima among this many positions on each side.
const NEIGHBOURHOOD: usize = 28;
/// Nodes on each side of a position that make up its content.
const CONTENT: usize = 6;
/// Operands further back than this count as "far" in a node's token.
const NEAR: usize = 40;

/// Cuts a run; `last_use` gives a value's last reader in the run (its length when
/// something after the run reads it). `seed` moves cuts among equally good places.
pub fn partition(
    graph: &Graph,
    run: &[NodeId],
    last_use: &dyn Fn(ValueId) -> Option<usize>,
    sizes: Sizes,
    seed: u64,
) -> Vec<Vec<NodeId>> {
    let tokens = tokens(graph, run);
    let alive = alive(graph, run, last_use);
    let key = |p: usize| {
        let mut hash = DefaultHasher::new();
        seed.hash(&mut hash);
        tokens[p.saturating_sub(CONTENT)..(p + CONTENT).min(run.len())].hash(&mut hash);
        let closes = alive[p + 1] <= alive[p];
        (alive[p], harm(graph, run[p - 1], run[p], closes), hash.finish())
    };
    let keys: Vec<_> = (1..run.len()).map(key).collect();
    let mut cuts = vec![0];
    for p in 1..run.len() {
        let near = p.saturating_sub(NEIGHBOURHOOD + 1)..(p + NEIGHBOURHOOD).min(keys.len());
        if keys[near].iter().all(|k| *k >= keys[p - 1]) {
            cuts.push(p);
        }
    }
    cuts.push(run.len());
    let starts = join(&cuts, &tokens, sizes, seed);
    let mut out = vec![];
    for pair in starts.windows(2) {
        split(&run[pair[0]..pair[1]], pair[0], &keys, sizes.most, &mut out);
    }
    out
}

/// A hash per node of what it computes from what, with distances for operands.
fn tokens(graph: &Graph, run: &[NodeId]) -> Vec<u64> {
    let position: HashMap<NodeId, usize> = run.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let token = |(i, id): (usize, &NodeId)| {
        let node = &graph.nodes[*id];
        let mut hash = DefaultHasher::new();
        node.op.hash(&mut hash);
        for &v in &node.inputs {
            graph.ty(v).hash(&mut hash);
            match graph.values[v].def {
                Def::Node(n, r) => match position.get(&n) {
                    Some(p) if i - p <= NEAR => (i - p, r).hash(&mut hash),
                    _ => graph.as_const(v).is_some().hash(&mut hash),
                },
                Def::Param(..) => false.hash(&mut hash),
            }
        }
        hash.finish()
    };
    run.iter().enumerate().map(token).collect()
}

/// Values alive across each position `0..=len`.
fn alive(graph: &Graph, run: &[NodeId], last_use: &dyn Fn(ValueId) -> Option<usize>) -> Vec<i64> {
    let mut delta = vec![0i64; run.len() + 2];
    for (i, id) in run.iter().enumerate() {
        for &v in &graph.nodes[*id].outputs {
            if let Some(last) = last_use(v)
                && last > i
            {
                delta[i + 1] += 1;
                delta[last + 1] -= 1;
            }
        }
    }
    let mut sum = 0;
    delta.truncate(run.len() + 1);
    delta
        .iter()
        .map(|d| {
            sum += d;
            sum
        })
        .collect()
}

/// How much a cut between two nodes would hide from the rules; 0 is best. `closes` says
/// that `after` is the last reader of what it reads.
fn harm(graph: &Graph, before: NodeId, after: NodeId, closes: bool) -> u8 {
    let (a, b) = (&graph.nodes[before], &graph.nodes[after]);
    let moves = |op: &Op| {
        matches!(op, Op::Transpose { .. } | Op::Reshape { .. } | Op::Cast { .. } | Op::Slice { .. })
    };
    let contracts = |op: &Op| matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul);
    let affine =
        |n: &Node| matches!(n.op, Op::Binary(_)) && n.inputs.iter().any(|&v| is_known(graph, v));
    // `x − mean`, `x − max`: the middle of a norm or of a softmax, though one value is alive.
    let meets_its_reduction = |n: &Node| {
        let reduced =
            |v: &ValueId| graph.def_node(*v).is_some_and(|d| matches!(d.op, Op::Reduce { .. }));
        matches!(n.op, Op::Binary(_)) && n.inputs.iter().any(reduced)
    };
    match () {
        _ if contracts(&a.op) => 3,
        _ if meets_its_reduction(a) => 2,
        _ if moves(&a.op) || moves(&b.op) => 2,
        _ if affine(a) && contracts(&b.op) || closes && affine(b) => 2,
        _ if matches!(a.op, Op::Reduce { .. } | Op::Unary(_)) && !contracts(&b.op) => 2,
        _ => 0,
    }
}

fn is_known(graph: &Graph, value: ValueId) -> bool {
    graph.def_node(value).is_some_and(|n| matches!(n.op, Op::Const(_) | Op::Fill { .. }))
}

/// Joins pieces between `cuts` into groups of at least `sizes.least` nodes.
/// (odd seeds: half as many in the first, so that the borders lie elsewhere).
fn join(cuts: &[usize], tokens: &[u64], sizes: Sizes, seed: u64) -> Vec<usize> {
    let mut starts = vec![0];
    let mut start = 0;
    let mut least = if seed % 2 == 1 { sizes.least / 2 } else { sizes.least };
    for pair in cuts.windows(2).skip(1) {
        let [at, end] = [pair[0], pair[1]];
        let size = at - start;
        let repeats = size >= sizes.least / 3 && same_piece(tokens, start, at, end);
        if size >= least || repeats || end - start > sizes.most {
            starts.push(at);
            start = at;
            least = sizes.least;
        }
    }
    starts.push(*cuts.last().expect("cuts end with the length"));
    starts
}

/// Whether the piece `at..end` equals the tokens that begin at `start`.
fn same_piece(tokens: &[u64], start: usize, at: usize, end: usize) -> bool {
    // The first tokens of a piece name operands before it, which may differ for the
    // first layer; the middle tells.
    let length = (end - at).min(at - start);
    length > 4 && tokens[start + 2..start + length] == tokens[at + 2..at + length]
}

/// Splits a piece that is too long at the best positions in its second half.
fn split(
    piece: &[NodeId],
    offset: usize,
    keys: &[(i64, u8, u64)],
    most: usize,
    out: &mut Vec<Vec<NodeId>>,
) {
    let (mut rest, mut offset) = (piece, offset);
    while rest.len() > most {
        let best = (most / 2..most).min_by_key(|p| &keys[offset + p - 1]).unwrap_or(most);
        out.push(rest[..best].to_vec());
        rest = &rest[best..];
        offset += best;
    }
    if !rest.is_empty() {
        out.push(rest.to_vec());
    }
}
