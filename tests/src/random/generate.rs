//! From a seed to a graph with inputs and known results.

use super::build::Builder;
use super::fresh::Domain;
use super::rng::Rng;
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::Tensor;
use cascata_types::{DType, Dim, SymbolId};
use std::collections::HashMap;

/// A graph with values for its symbols and what it must compute with them.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where it comes from.
    pub seed: u64,
    /// The graph as a frontend would give it.
    pub graph: Graph,
    /// One or more bindings of the symbols.
    pub bindings: Vec<Binding>,
}

/// One binding of the symbols.
#[derive(Clone, Debug)]
pub struct Binding {
    /// A tensor per graph input.
    pub inputs: Vec<Tensor>,
    /// How far each value may move by rounding (see [`super`]), relative to its largest
    /// magnitude.
    pub spread: HashMap<ValueId, f64>,
}

/// A way to add a node; `None` when nothing fitted.
type Proposal = fn(&mut Builder) -> Option<ValueId>;

/// Proposals with how often they are made.
const PROPOSALS: &[(usize, Proposal)] = &[
    (14, Builder::unary),
    (20, Builder::binary),
    (5, Builder::select),
    (5, Builder::cast),
    (3, Builder::leaf),
    (9, Builder::reshape),
    (9, Builder::transpose),
    (5, Builder::broadcast),
    (6, Builder::concat),
    (8, Builder::slice),
    (5, Builder::pad),
    (4, Builder::resize),
    (5, Builder::gather),
    (3, Builder::gather_elements),
    (3, Builder::gather_nd),
    (3, Builder::scatter_elements),
    (3, Builder::scatter_nd),
    (8, Builder::reduce),
    (3, Builder::arg_reduce),
    (3, Builder::cum_sum),
    (5, Builder::softmax),
    (6, Builder::norm),
    (10, Builder::matmul),
    (8, Builder::conv),
    (4, Builder::conv_transpose),
    (6, Builder::pool),
    (5, Builder::attention),
];

/// The graph of a seed.
pub fn generate(seed: u64) -> Case {
    let mut b = start(seed);
    let target = b.rng.range(8, 20) as usize;
    let total: usize = PROPOSALS.iter().map(|(n, _)| n).sum();
    for _ in 0..target * 10 {
        if b.steps >= target {
            break;
        }
        let mut at = b.rng.below(total);
        let mut proposals = PROPOSALS.iter();
        let proposal = proposals.find(|(n, _)| {
            let hit = at < *n;
            at = at.saturating_sub(*n);
            hit
        });
        proposal.and_then(|(_, propose)| propose(&mut b));
    }
    finish(seed, b)
}

/// Symbols, bindings and the first operands.
fn start(seed: u64) -> Builder {
    let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(1));
    let mut graph = Graph::new(format!("random{seed}"));
    let count = rng.below(3);
    let empty = rng.one_in(12);
    let symbols: Vec<SymbolId> = (0..count).map(|i| graph.symbols.intern(["B", "S"][i])).collect();
    for s in &symbols {
        let symbol = graph.symbols.get_mut(*s);
        (symbol.min, symbol.max) = (i64::from(!empty), 64);
    }
    let mut bindings = vec![vec![]; if count == 0 { 1 } else { 3 }];
    for (i, binding) in bindings.iter_mut().enumerate() {
        for s in 0..count {
            binding.push(match i {
                0 => rng.pick(&[4, 5, 6, 7]) + 5 * s as i64,
                1 if empty => 0,
                1 => {
                    if rng.one_in(2) {
                        1
                    } else {
                        rng.pick(&[2, 3])
                    }
                }
                _ => rng.pick(&[1, 3, 9, 10, 15]),
            });
        }
    }
    let wide = rng.one_in(20);
    let mut b = Builder::new(rng, graph, symbols, bindings);
    if wide {
        // Large enough for several threads.
        b.largest = 150_000;
        let shape = [97, 31, 41].map(Dim::from);
        let rank = b.rng.range(2, 3) as usize;
        b.input(DType::F32, shape[..rank].to_vec(), Domain::Any);
    }
    // Every symbol is a dim of an input.
    for s in b.symbols.clone() {
        let rank = b.rng.below(3);
        let mut shape = b.any_shape(rank);
        shape.insert(0, Dim::sym(s));
        let dtype = b.rng.pick(&[DType::F32, DType::F32, DType::I64]);
        b.input(dtype, shape, Domain::Any);
    }
    for _ in 0..b.rng.range(1, 3) {
        let rank = b.rng.pick(&[0, 1, 2, 2, 3, 3, 4, 4]);
        let (dtype, shape) = (b.any_dtype(), b.any_shape(rank));
        b.input(dtype, shape, Domain::Any);
    }
    b
}

/// Outputs: what nobody uses, and some of the rest: also inputs, constants, duplicates.
fn finish(seed: u64, mut b: Builder) -> Case {
    let mut outputs: Vec<ValueId> =
        b.unused().into_iter().filter(|v| b.graph.def_node(*v).is_some()).collect();
    for _ in 0..b.rng.below(3) {
        let pool = b.pool.clone();
        outputs.push(b.rng.pick(&pool));
    }
    b.rng.shuffle(&mut outputs);
    if outputs.is_empty() {
        outputs.push(b.pool[0]);
    }
    for (i, v) in outputs.iter().enumerate() {
        b.graph.add_output(format!("y{i}"), *v);
    }
    let binding = |i: usize| Binding {
        inputs: b.graph.inputs().iter().map(|v| (*b.witnesses[v][i].base).clone()).collect(),
        spread: b.witnesses.iter().map(|(v, w)| (*v, w[i].spread())).collect(),
    };
    let bindings = (0..b.bindings.len()).map(binding).collect();
    Case { seed, graph: b.graph, bindings }
}
