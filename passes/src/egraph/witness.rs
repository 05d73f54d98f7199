//! `--verify`: each distinct slice before and after rewriting, in the interpreter.
//!
//! Symbols take small values that the graph's checks allow, leaves random data; constants
//! keep theirs, because rules read them. Results are compared in the exactness class of
//! the rules that fired. Slices that would take too long are listed, not guessed at.

use super::optimise::{NewNode, Optimised, Setting};
use super::slice::{Place, Ref, Slice, SliceNode};
use crate::error::PassError;
use crate::rules::{CompiledRule, Exactness};
use cascata_ir::graph::{DimCheck, Graph, Node, ValueId};
use cascata_ir::interp::{self, Tensor};
use cascata_ir::op::{BinaryOp, ChannelLayout, Op, UnaryOp};
use cascata_types::{DType, Dim, SymbolId, TensorType};
use serde::Serialize;
use std::time::Instant;

/// What one slice may cost: scalar operations of the interpreter, each way.
const OPERATIONS: f64 = 3e8;
/// Elements of one tensor.
const ELEMENTS: f64 = 4e6;
/// A fail-safe for all slices of one round together.
const SECONDS: f64 = 60.0;
/// Sums of f32 in another order, relative to a result's largest element.
const REASSOCIATED: f64 = 1e-4;
/// Values of half precision are rounded at other places, about so many on each way.
const HALF_ROUNDINGS: f64 = 8.0;
/// Beside a jump (rounding, comparison) another order of rounding may land on the other
/// side: this many elements may differ, each by a step.
const JUMPS: (f64, f64) = (0.02, 0.05);

/// What was compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Checks {
    /// Distinct slices that were compared and agree.
    pub compared: usize,
    /// Distinct slices in which no rule fired.
    pub unchanged: usize,
    /// Distinct slices that were not compared.
    pub skipped: Vec<Skipped>,
}

/// A slice that was not compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Skipped {
    /// Names of its results.
    pub values: Vec<String>,
    /// Why.
    pub reason: String,
}

impl Checks {
    /// Adds another round's.
    pub fn add(&mut self, other: Checks) {
        self.compared += other.compared;
        self.unchanged += other.unchanged;
        self.skipped.extend(other.skipped);
    }
}

/// Compares slices; one per round.
pub struct Witness {
    started: Instant,
    /// What was compared so far.
    pub checks: Checks,
}

impl Default for Witness {
    /// Nothing compared yet.
    fn default() -> Self {
        Self { started: Instant::now(), checks: Checks::default() }
    }
}

impl Witness {
    /// Compares a slice of `graph` with what it became.
    ///
    /// # Errors
    /// They differ: [`PassError::Extraction`].
    pub fn compare(
        &mut self,
        graph: &Graph,
        (slice, place): (&Slice, &Place),
        new: &Optimised,
        setting: &Setting,
    ) -> Result<(), PassError> {
        let fired = |r: &&CompiledRule| new.counts.get(r.rule.name).is_some_and(|c| c.fired > 0);
        let fired: Vec<&CompiledRule> = setting.rules.iter().filter(fired).collect();
        if fired.is_empty() || new.kept_source {
            self.checks.unchanged += 1;
            return Ok(());
        }
        let name = |v: &ValueId| match graph.values[*v].name.as_str() {
            "" => graph.def_node(*v).map(|n| n.source.clone()).unwrap_or_default(),
            name => name.to_string(),
        };
        let values = || place.outputs.iter().map(name).collect::<Vec<String>>();
        let outcome = match self.started.elapsed().as_secs_f64() > SECONDS {
            true => Outcome::Skipped(format!("the checks took {SECONDS} s already")),
            false => both_ways((graph, &setting.checks), slice, place, new, bound(&fired)),
        };
        match outcome {
            Outcome::Equal => self.checks.compared += 1,
            Outcome::Skipped(reason) => {
                self.checks.skipped.push(Skipped { values: values(), reason });
            }
            Outcome::Differs(what) => {
                let names: Vec<&str> = fired.iter().map(|r| r.rule.name).collect();
                let (values, rules) = (values().join(", "), names.join(", "));
                return Err(PassError::Extraction { values, rules, what });
            }
        }
        Ok(())
    }
}

/// How far results may be apart, relative to the largest.
fn bound(fired: &[&CompiledRule]) -> f64 {
    let one = |r: &&CompiledRule| match r.rule.class {
        Exactness::Bitwise => 0.0,
        Exactness::Reassociates => REASSOCIATED,
        Exactness::Approx(bound) => REASSOCIATED.max(bound),
    };
    fired.iter().map(one).fold(0.0, f64::max)
}

/// What rounding to the half floats of a program may add up to, relative to the largest
/// element.
fn half_rounding(program: &Graph) -> f64 {
    let unit = |dtype: DType| match dtype {
        DType::F16 => (-11f64).exp2(),
        DType::BF16 => (-8f64).exp2(),
        _ => 0.0,
    };
    let types = program.values.values().filter_map(|v| v.ty.as_tensor());
    HALF_ROUNDINGS * types.map(|t| unit(t.dtype)).fold(0.0, f64::max)
}

enum Outcome {
    Equal,
    Skipped(String),
    Differs(String),
}

fn both_ways(
    (graph, checks): (&Graph, &[DimCheck]),
    slice: &Slice,
    place: &Place,
    new: &Optimised,
    bound: f64,
) -> Outcome {
    let old: Vec<&SliceNode> = slice.nodes.iter().collect();
    let rewritten: Vec<&SliceNode> = new.nodes.iter().map(|n: &NewNode| &n.node).collect();
    let before = program(graph, place, &old, &slice.outputs);
    let after = program(graph, place, &rewritten, &new.outputs);
    let bound = if bound > 0.0 { bound.max(half_rounding(&before)) } else { bound };
    let mut reason = "no small sizes satisfy the graph's checks".to_string();
    let sizes = SIZES.iter().find_map(|values| {
        let sizes = fitting(&before, checks, values)?;
        match too_large(&before, &sizes).or_else(|| too_large(&after, &sizes)) {
            Some(large) => reason = large,
            None => return Some(sizes),
        }
        None
    });
    let Some(sizes) = sizes else { return Outcome::Skipped(reason) };
    let jumps = slice.nodes.iter().any(|n| jumps(&n.op));
    let mut refused = String::new();
    let mut compared = 0;
    for draw in 0..DRAWS.len() {
        let Some(inputs) = inputs(&before, &sizes, draw) else { continue };
        let expected = match interp::run(&before, &inputs) {
            Ok(expected) => expected,
            Err(e) => {
                refused = e.to_string();
                continue;
            }
        };
        let differs = match interp::run(&after, &inputs) {
            Ok(got) => expected.iter().zip(&got).enumerate().find_map(|(i, (a, b))| {
                Some(format!("result {i}: {}", differs(a, b, bound, jumps)?))
            }),
            Err(e) => Some(format!("it fails: {e}")),
        };
        if let Some(what) = differs {
            return Outcome::Differs(what);
        }
        compared += 1;
    }
    match compared {
        0 => Outcome::Skipped(format!("it runs on none of the data drawn: {refused}")),
        _ => Outcome::Equal,
    }
}

/// Nodes as a graph of their own. Its inputs are `u8[0,S]` for each symbol S, which binds
/// it, and then the leaves that are no constants.
fn program(graph: &Graph, place: &Place, nodes: &[&SliceNode], outputs: &[Ref]) -> Graph {
    let mut out = Graph::new("slice");
    out.symbols = graph.symbols.clone();
    for (id, symbol) in graph.symbols.iter() {
        let ty = TensorType::dense(DType::U8, vec![Dim::from(0), Dim::sym(id)]);
        out.add_param(Graph::ROOT, symbol.name.clone(), ty);
    }
    let mut leaves: Vec<ValueId> = vec![];
    for &v in &place.leaves {
        leaves.push(match graph.as_const(v) {
            Some(c) => out.add_const(Graph::ROOT, "", c.ty.clone(), c.data.clone()),
            None => out.add_param(Graph::ROOT, "", graph.ty(v).clone()),
        });
    }
    let mut results: Vec<Vec<ValueId>> = vec![];
    let value = |results: &[Vec<ValueId>], r: &Ref| match r {
        Ref::Leaf(i) => leaves[*i as usize],
        Ref::Node(n, i) => results[*n as usize][*i as usize],
    };
    for n in nodes {
        let inputs = n.inputs.iter().map(|r| value(&results, r)).collect();
        let made = out.add_node_typed(Graph::ROOT, n.op.clone(), inputs, n.types.clone(), "");
        results.push(made);
    }
    for (i, r) in outputs.iter().enumerate() {
        let v = value(&results, r);
        out.add_output(i.to_string(), v);
    }
    out
}

/// Values that symbols take in turn, the best first: different and odd, then what models
/// with strides can take, then what is small.
const SIZES: [&[i64]; 8] = [&[3, 5, 2, 7, 4, 6], &[2, 3], &[4], &[8], &[16], &[32], &[2], &[1]];

/// Values of all symbols with which every shape and check agrees.
fn fitting(program: &Graph, checks: &[DimCheck], values: &[i64]) -> Option<Vec<i64>> {
    let pick = |(i, s): (usize, &cascata_types::Symbol)| {
        values[i % values.len()].clamp(s.min, s.max.max(s.min))
    };
    let sizes: Vec<i64> = program.symbols.iter().map(|(_, s)| s).enumerate().map(pick).collect();
    let at = |d: &Dim| eval(d, &sizes);
    let shapes = program.values.values().filter_map(|v| v.ty.as_tensor());
    let fits = shapes.flat_map(|t| &t.shape).all(|d| at(d).is_some_and(|n| n >= 0))
        && checks.iter().all(|c| at(&c.lhs).is_some() && at(&c.lhs) == at(&c.rhs));
    fits.then_some(sizes)
}

fn eval(dim: &Dim, sizes: &[i64]) -> Option<i64> {
    dim.eval(&|s: SymbolId| sizes.get(s.0 as usize).copied()).ok()
}

fn elements(ty: &TensorType, sizes: &[i64]) -> f64 {
    ty.shape.iter().map(|d| eval(d, sizes).map_or(f64::INFINITY, |n| n as f64)).product()
}

/// Why a program is not run, if it is too large.
fn too_large(program: &Graph, sizes: &[i64]) -> Option<String> {
    let mut sum = 0.0;
    for id in &program.root().nodes {
        let node = &program.nodes[*id];
        let largest = node.outputs.iter().map(|v| size(program, *v, sizes)).fold(0.0, f64::max);
        if matches!(node.op, Op::Const(_)) {
            continue;
        }
        if largest > ELEMENTS {
            return Some(format!("a result of '{}' has {largest:.1e} elements", node.op.name()));
        }
        sum += operations(program, node, sizes);
    }
    (sum > OPERATIONS).then(|| format!("it takes {sum:.1e} operations"))
}

fn size(program: &Graph, v: ValueId, sizes: &[i64]) -> f64 {
    program.ty(v).as_tensor().map_or(0.0, |t| elements(t, sizes))
}

/// Scalar operations of the interpreter, roughly.
fn operations(program: &Graph, node: &Node, sizes: &[i64]) -> f64 {
    let result: f64 = node.outputs.iter().map(|v| size(program, *v, sizes)).sum();
    let read = |i: usize| size(program, node.inputs[i], sizes);
    let dim = |i: usize, axis: usize| {
        let shape = &program.tensor(node.inputs[i]).shape;
        shape.get(axis).and_then(|d| eval(d, sizes)).unwrap_or(1).max(1) as f64
    };
    let rank = |i: usize| program.tensor(node.inputs[i]).rank();
    match &node.op {
        Op::MatMul => result * dim(0, rank(0) - 1),
        // A filter of each output channel meets each result element of that channel.
        Op::Conv(a) if a.layout == ChannelLayout::First => result * read(1) / dim(1, 0),
        Op::Conv(_) => result * read(1) / dim(1, rank(1) - 1),
        Op::ConvTranspose(a) if a.layout == ChannelLayout::First => read(0) * read(1) / dim(1, 0),
        Op::ConvTranspose(_) => read(0) * read(1) / dim(1, rank(1) - 2),
        Op::Attention(_) => (result + read(0)) * dim(1, 2),
        Op::Pool(a) => result * a.kernel.iter().product::<i64>() as f64,
        _ => result + (0..node.inputs.len()).map(read).sum::<f64>(),
    }
}

/// Lowest and highest number of floats and of integers, per draw: signed, positive, and
/// integers that are valid indices of anything.
const DRAWS: [[(f64, f64); 2]; 3] =
    [[(-2.0, 2.0), (0.0, 3.0)], [(0.1, 2.0), (0.0, 1.0)], [(-1.0, 1.0), (0.0, 0.0)]];

fn inputs(program: &Graph, sizes: &[i64], draw: usize) -> Option<Vec<Tensor>> {
    let [floats, integers] = DRAWS[draw];
    let mut state = 0x9E37_79B9_7F4A_7C15u64.wrapping_mul(draw as u64 + 1);
    let mut random = move |(low, high): (f64, f64)| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        low + (high - low) * ((state >> 11) as f64 / (1u64 << 53) as f64)
    };
    let tensor = |v: &ValueId| {
        let ty = program.tensor(*v);
        let dims = ty.shape.iter().map(|d| eval(d, sizes).and_then(|n| usize::try_from(n).ok()));
        let dims: Vec<usize> = dims.collect::<Option<_>>()?;
        let n: usize = dims.iter().product();
        match ty.dtype.is_float() {
            true => Tensor::from_f64(ty.dtype, &dims, (0..n).map(|_| random(floats)).collect()),
            false => {
                let values: Vec<i128> = (0..n).map(|_| random(integers).round() as i128).collect();
                Tensor::from_i128(ty.dtype, &dims, &values)
            }
        }
        .ok()
    };
    program.inputs().iter().map(tensor).collect()
}

/// Whether a small change of an operand may change the result by a step.
fn jumps(op: &Op) -> bool {
    use UnaryOp::{Ceil, Floor, Round, Sign, Trunc};
    match op {
        Op::Unary(u) => matches!(u, Ceil | Floor | Round | Sign | Trunc),
        Op::Binary(b) => b.is_comparison() || matches!(b, BinaryOp::Mod | BinaryOp::Rem),
        Op::Cast { to } => !to.is_float(),
        Op::ArgReduce { .. } | Op::TopK { .. } => true,
        _ => false,
    }
}

/// How two results differ, if they do. Elements that were NaN or infinite before are
/// compared only where the bits must agree.
fn differs(a: &Tensor, b: &Tensor, bound: f64, jumps: bool) -> Option<String> {
    if (a.dims(), a.dtype()) != (b.dims(), b.dtype()) {
        return Some(format!("{} {:?} and {} {:?}", a.dtype(), a.dims(), b.dtype(), b.dims()));
    }
    let (x, y) = (a.to_f64()?, b.to_f64()?);
    let largest = x.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    let same = |p: f64, q: f64, bound: f64| {
        p == q
            || p.is_nan() && q.is_nan()
            || bound > 0.0 && !p.is_finite()
            || (p - q).abs() <= bound * largest.max(1e-3)
    };
    let wrong = |bound: f64| {
        let pairs = x.iter().zip(&y).enumerate();
        pairs.filter(move |(_, (p, q))| !same(**p, **q, bound))
    };
    let tolerated = if jumps && bound > 0.0 { 1 + (JUMPS.0 * x.len() as f64) as usize } else { 0 };
    let bound = if jumps && bound > 0.0 { bound.max(JUMPS.1) } else { bound };
    let count = wrong(bound).count();
    let (i, (p, q)) = wrong(bound).next()?;
    (count > tolerated)
        .then(|| format!("{count} of {} elements differ, the first at {i}: {p} and {q}", x.len()))
}
