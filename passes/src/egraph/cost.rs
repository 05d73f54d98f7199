//! The cost of an e-node: a roofline over flops, bytes and launches.
//!
//! The numbers describe one core of a server CPU, or of the machine that was measured
//! ([`Machine`]), and only have to rank alternatives:
//! * contractions run near peak; element-wise work is 128-bit code (`SIMD_FLOPS`);
//! * element-wise ops will be fused, so their operands and results mostly stay in
//!   cache, while transposes, gathers and concatenations really move their bytes;
//! * what can be folded while compiling is free, within the fold pass's byte budget.
//!
//! Symbols take the values of the profile points; the costs of all points are added.

use crate::fold::Budget;
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::op::{BinaryOp, Effect, Op, ReduceOp, UnaryOp};
use cascata_types::{Dim, SymbolId, SymbolTable, TensorType};
use std::collections::BTreeMap;

/// Element-wise operations per nanosecond.
const SIMD_FLOPS: f64 = 8.0;
/// The share of an element-wise op's bytes that fusion does not save.
const UNFUSED: f64 = 0.25;
/// An op inside of a fused kernel, in nanoseconds.
const FUSED: f64 = 20.0;
/// How often the bytes of a weight move that is computed each time: written, packed and
/// read again, where a constant (or a converted constant) is packed while compiling.
const UNPACKED: f64 = 16.0;
/// Breaks ties among free things in favour of fewer.
pub const TIE: f64 = 1e-3;
/// A symbol without a profile value.
const TYPICAL: i64 = 24;

/// What the costs take of the machine that will run the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Contraction flops per nanosecond.
    pub peak_flops: f64,
    /// Bytes per nanosecond to and from memory.
    pub bytes: f64,
    /// A kernel of its own, in nanoseconds.
    pub launch: f64,
}

impl Default for Machine {
    /// One core of a server CPU.
    fn default() -> Self {
        Self { peak_flops: 60.0, bytes: 12.0, launch: 400.0 }
    }
}

/// Values of symbols by name at which costs are taken.
pub type ProfilePoint = BTreeMap<String, i64>;

/// Costs under some profile points.
#[derive(Clone, Debug)]
pub struct CostModel {
    points: Vec<Vec<i64>>,
    machine: Machine,
    /// What the fold pass will materialise.
    pub budget: Budget,
}

impl CostModel {
    /// A model for the symbols of a graph; without points, one typical point.
    pub fn new(
        symbols: &SymbolTable,
        points: &[ProfilePoint],
        machine: Machine,
        budget: Budget,
    ) -> Self {
        let bind = |point: Option<&ProfilePoint>| -> Vec<i64> {
            symbols
                .iter()
                .map(|(_, s)| {
                    let value = point.and_then(|p| p.get(&s.name)).copied();
                    value.unwrap_or(TYPICAL.clamp(s.min, s.max.max(s.min)))
                })
                .collect()
        };
        let points = match points {
            [] => vec![bind(None)],
            points => points.iter().map(|p| bind(Some(p))).collect(),
        };
        Self { points, machine, budget }
    }

    /// Nanoseconds of a node on constants that is too large to fold, over all profile
    /// points. A conversion stays with the reader, which can take the narrow constant.
    pub fn unfolded_time(&self, op: &Op, operands: &[&TensorType], results: &[&TensorType]) -> f64 {
        let run = self.run_time(op, operands, results);
        if matches!(op, Op::Cast { .. } | Op::DimValues { .. }) {
            return run;
        }
        let at = |point: &Vec<i64>| -> f64 {
            let at = self.at(point);
            let written = results.iter().map(|t| at.bytes(t)).sum::<f64>();
            at.machine.launch + UNPACKED * written / at.machine.bytes
        };
        run + self.points.iter().map(at).sum::<f64>()
    }

    fn at<'a>(&self, point: &'a [i64]) -> At<'a> {
        At { point, machine: self.machine }
    }

    /// Nanoseconds of a node that runs, over all profile points.
    pub fn run_time(&self, op: &Op, operands: &[&TensorType], results: &[&TensorType]) -> f64 {
        let at = |point: &Vec<i64>| self.at(point).node(op, operands, results);
        self.points.iter().map(at).sum()
    }
}

/// What a symbol without a stated maximum is taken to reach.
const LARGE: i64 = 1024;

/// Points that stand for a graph's inputs: typical sizes, and for each symbol of an input
/// its minimum and its maximum with the others typical.
pub fn default_points(graph: &Graph) -> Vec<ProfilePoint> {
    let shapes = graph.inputs().iter().filter_map(|v| graph.ty(*v).as_tensor());
    let mut symbols: Vec<SymbolId> =
        shapes.flat_map(|t| &t.shape).flat_map(|d| d.symbols()).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let range = |s: SymbolId| {
        let (min, max) = graph.symbols.range(s);
        let max = if max >= SymbolTable::DEFAULT_MAX { LARGE.max(min) } else { max };
        // A tensor without elements costs nothing, whatever is done to it.
        (min.max(1).min(max.max(min)), max)
    };
    let name = |s: &SymbolId| graph.symbols.name(*s);
    let typical: ProfilePoint = symbols
        .iter()
        .map(|s| (name(s), TYPICAL.clamp(range(*s).0, range(*s).1.max(range(*s).0))))
        .collect();
    let mut points = vec![typical.clone()];
    for s in &symbols {
        for value in [range(*s).0, range(*s).1] {
            let point = ProfilePoint::from_iter([(name(s), value)]);
            let point: ProfilePoint = typical.clone().into_iter().chain(point).collect();
            if !points.contains(&point) {
                points.push(point);
            }
        }
    }
    points
}

/// Estimated nanoseconds of a graph's body at a point; what depends on constants only is free.
pub fn graph_time(graph: &Graph, point: &ProfilePoint, machine: Machine, budget: Budget) -> f64 {
    let model = CostModel::new(&graph.symbols, std::slice::from_ref(point), machine, budget);
    let mut known: std::collections::HashSet<ValueId> = Default::default();
    let mut sum = 0.0;
    for id in &graph.root().nodes {
        let node = &graph.nodes[*id];
        if node.op.effect() == Effect::Pure && node.inputs.iter().all(|v| known.contains(v)) {
            known.extend(&node.outputs);
            continue;
        }
        let types = |values: &[ValueId]| -> Vec<&TensorType> {
            values.iter().filter_map(|v| graph.ty(*v).as_tensor()).collect()
        };
        sum += model.run_time(&node.op, &types(&node.inputs), &types(&node.outputs));
    }
    sum
}

/// One profile point.
struct At<'a> {
    point: &'a [i64],
    machine: Machine,
}

impl At<'_> {
    fn dim(&self, dim: &Dim) -> f64 {
        let bind = |id: SymbolId| self.point.get(id.0 as usize).copied();
        dim.eval(&bind).map_or(TYPICAL as f64, |x| x.max(0) as f64)
    }

    fn elements(&self, ty: &TensorType) -> f64 {
        ty.shape.iter().map(|d| self.dim(d)).product()
    }

    fn bytes(&self, ty: &TensorType) -> f64 {
        self.elements(ty) * ty.dtype.size_bytes().unwrap_or(16) as f64
    }

    fn node(&self, op: &Op, operands: &[&TensorType], results: &[&TensorType]) -> f64 {
        let Machine { bytes, launch, .. } = self.machine;
        let moved: f64 = operands.iter().chain(results).map(|t| self.bytes(t)).sum();
        let written: f64 = results.iter().map(|t| self.bytes(t)).sum();
        let size: f64 = results.iter().map(|t| self.elements(t)).sum();
        let read = operands.first().map_or(0.0, |t| self.elements(t));
        let fused = |flops: f64| FUSED + flops / SIMD_FLOPS + UNFUSED * moved / bytes;
        match op {
            Op::Const(_) | Op::Fill { .. } | Op::Iota { .. } | Op::DimValues { .. } => TIE,
            Op::Unary(u) => fused(size * unary_flops(*u)),
            Op::Binary(b) => fused(size * binary_flops(*b)),
            Op::Select | Op::Cast { .. } | Op::BitCast { .. } | Op::Broadcast { .. } => fused(size),
            Op::Reshape { .. } => FUSED / 2.0,
            Op::Transpose { perm } if moves_ones_only(perm, operands[0]) => FUSED / 2.0,
            Op::Slice { .. } => FUSED + 2.0 * UNFUSED * written / bytes,
            Op::Gather { .. } => launch / 2.0 + 2.0 * written / bytes,
            Op::Transpose { .. } | Op::Concat { .. } | Op::Pad { .. } => {
                launch + 1.5 * moved / bytes
            }
            Op::Reduce { op, axes, .. } => {
                let each = if *op == ReduceOp::Prod { 2.0 } else { 1.0 };
                let rows = trailing(axes, operands[0].rank());
                launch / 2.0 + read * each / SIMD_FLOPS + self.row_bytes(rows, moved)
            }
            Op::Softmax { axis } => {
                let rows = trailing(&[*axis], operands[0].rank());
                launch + 12.0 * size / SIMD_FLOPS + self.row_bytes(rows, moved)
            }
            Op::LayerNorm { .. } | Op::RmsNorm { .. } => {
                launch + 4.0 * size / SIMD_FLOPS + 0.5 * moved / bytes
            }
            Op::MatMul => launch + self.matmul(operands) + moved / bytes,
            Op::Conv(_) | Op::ConvTranspose(_) => {
                launch + self.conv(operands, size) + moved / bytes
            }
            Op::Attention(_) => launch + self.attention(operands) + moved / bytes,
            _ => launch + moved / bytes,
        }
    }

    fn matmul(&self, operands: &[&TensorType]) -> f64 {
        let k = operands[0].shape.last().map_or(1.0, |d| self.dim(d));
        let n = operands[1].shape.last().map_or(1.0, |d| self.dim(d));
        let rows = self.elements(operands[0]) / k.max(1.0);
        2.0 * rows * k * n / self.machine.peak_flops
    }

    fn conv(&self, operands: &[&TensorType], size: f64) -> f64 {
        let weights = self.elements(operands[1]);
        let channels = operands[1].shape.first().map_or(1.0, |d| self.dim(d));
        2.0 * size * weights / channels.max(1.0) / self.machine.peak_flops
    }

    fn attention(&self, operands: &[&TensorType]) -> f64 {
        let keys = self.dim(&operands[1].shape[2]);
        let values = self.dim(&operands[2].shape[3]);
        let rows = self.elements(operands[0]) / self.dim(&operands[0].shape[3]).max(1.0);
        let head = self.dim(&operands[0].shape[3]);
        2.0 * rows * keys * (head + values) / self.machine.peak_flops
            + 10.0 * rows * keys / SIMD_FLOPS
    }

    /// Time for the bytes of a reduction: rows fuse with their neighbours, columns do not.
    fn row_bytes(&self, rows: bool, moved: f64) -> f64 {
        let Machine { bytes, launch, .. } = self.machine;
        if rows { 0.5 * moved / bytes } else { launch / 2.0 + moved / bytes }
    }
}

/// Whether the axes are the last ones, so that what is reduced lies together.
fn trailing(axes: &[usize], rank: usize) -> bool {
    axes.iter().rev().enumerate().all(|(i, &a)| a + i + 1 == rank)
}

/// A transpose that only moves dims of 1 is a view.
fn moves_ones_only(perm: &[usize], ty: &TensorType) -> bool {
    let kept: Vec<usize> = perm.iter().copied().filter(|&p| !ty.shape[p].is(1)).collect();
    kept.is_sorted()
}

fn unary_flops(op: UnaryOp) -> f64 {
    use UnaryOp::*;
    match op {
        Neg | Abs | Sign | Floor | Ceil | Round | Trunc | Relu | Not | BitNot | IsNan | IsInf => {
            1.0
        }
        Sqrt | Rsqrt | Recip => 4.0,
        HardSwish => 4.0,
        Exp | Sigmoid | Silu => 10.0,
        _ => 16.0,
    }
}

fn binary_flops(op: BinaryOp) -> f64 {
    match op {
        BinaryOp::Div => 4.0,
        BinaryOp::Mod | BinaryOp::Rem => 8.0,
        BinaryOp::Pow | BinaryOp::Atan2 => 30.0,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cascata_types::DType;

    /// The time of `f32[8,16] · f32[16,4]` on a machine.
    fn product(machine: Machine) -> f64 {
        let model = CostModel::new(&SymbolTable::default(), &[], machine, Budget::default());
        let [a, b, y] = [[8, 16], [16, 4], [8, 4]].map(|d| TensorType::fixed(DType::F32, &d));
        model.run_time(&Op::MatMul, &[&a, &b], &[&y])
    }

    #[test]
    fn each_rate_of_the_machine_counts() {
        let machine = Machine { peak_flops: 64.0, bytes: 8.0, launch: 100.0 };
        // 2·8·4·16 operations, 4·(128 + 64 + 32) bytes.
        assert_eq!(product(machine), 100.0 + 16.0 + 112.0);
        assert_eq!(product(Machine { peak_flops: 128.0, ..machine }), 100.0 + 8.0 + 112.0);
        assert_eq!(product(Machine { bytes: 16.0, ..machine }), 100.0 + 16.0 + 56.0);
        assert_eq!(product(Machine { launch: 0.0, ..machine }), 16.0 + 112.0);
    }
}
