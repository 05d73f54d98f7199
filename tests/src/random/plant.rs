//! Planted miscompiles: proof that the differential run can fail.

use super::diff::{expected, tolerance};
use super::generate::Case;
use super::rng::Rng;
use crate::compare::relative_difference;
use cascata_ir::graph::{Graph, Node, NodeId};
use cascata_ir::interp;
use cascata_ir::op::{BinaryOp, Op, PadMode, PoolKind, ReduceOp, ScatterReduce, UnaryOp};
use cascata_types::ValueType;

/// Changes a node so that its types stay; false when it does not apply.
type Fault = fn(&mut Node, &[ValueType]) -> bool;

/// Named faults that compilers are known for.
pub const PLANTS: &[(&str, Fault)] = &[
    ("wrong binary op", binary),
    ("wrong unary op", unary),
    ("slice off by one", slice),
    ("transpose dropped", transpose),
    ("wrong reduction", reduce),
    ("operands swapped", swap),
    ("padding at the wrong end", pad),
    ("flag of a scan", scan),
    ("window padding", window),
    ("causal mask", attention),
    ("scatter mode", scatter),
    ("index axis", axis),
];

/// A copy of the case's graph with one fault that the interpreter sees in an output; `None`
/// when a few tries found none.
pub fn plant(case: &Case, rng: &mut Rng) -> Option<(Graph, &'static str)> {
    let want = expected(case).ok()?;
    let visible = |graph: &Graph| {
        case.bindings.iter().enumerate().any(|(i, b)| {
            let Ok(got) = interp::run(graph, &b.inputs) else { return false };
            let apart =
                |j: usize| relative_difference(&got[j], &want[i][j]) > 3.0 * tolerance(case, i, j);
            (0..got.len()).any(apart)
        })
    };
    let (mut faults, mut nodes) = (PLANTS.to_vec(), case.graph.root().nodes.clone());
    rng.shuffle(&mut faults);
    rng.shuffle(&mut nodes);
    for (name, fault) in faults {
        let graphs = nodes.iter().filter_map(|id| faulty(&case.graph, *id, fault));
        if let Some(graph) = graphs.take(4).find(visible) {
            return Some((graph, name));
        }
    }
    None
}

fn faulty(graph: &Graph, id: NodeId, fault: Fault) -> Option<Graph> {
    let mut graph = graph.clone();
    let types: Vec<ValueType> =
        graph.nodes[id].inputs.iter().map(|v| graph.ty(*v).clone()).collect();
    if !fault(&mut graph.nodes[id], &types) {
        return None;
    }
    let inferred = graph.infer_node(id).ok()?;
    let node = &graph.nodes[id];
    let same = node.outputs.iter().zip(&inferred.types).all(|(v, t)| graph.ty(*v) == t);
    (same && inferred.checks.is_empty()).then_some(graph)
}

fn binary(node: &mut Node, _: &[ValueType]) -> bool {
    use BinaryOp::*;
    let Op::Binary(op) = &mut node.op else { return false };
    *op = match *op {
        Add => Sub,
        Sub => Add,
        Mul => Add,
        Div => Mul,
        Max => Min,
        Min => Max,
        Mod => Rem,
        Lt => Le,
        Le => Gt,
        Eq => Ne,
        And => Or,
        BitAnd => BitXor,
        Shl => Shr,
        _ => return false,
    };
    true
}

fn unary(node: &mut Node, _: &[ValueType]) -> bool {
    use UnaryOp::*;
    let Op::Unary(op) = &mut node.op else { return false };
    *op = match *op {
        Neg => Abs,
        Abs => Neg,
        Floor => Ceil,
        Ceil => Floor,
        Round => Trunc,
        Sin => Cos,
        Sqrt => Rsqrt,
        Relu => Abs,
        GeluErf => GeluTanh,
        Silu => Relu,
        Tanh => Erf,
        Sigmoid => Tanh,
        _ => return false,
    };
    true
}

fn slice(node: &mut Node, _: &[ValueType]) -> bool {
    let Op::Slice { ranges } = &mut node.op else { return false };
    let Some(range) = ranges.iter_mut().find(|r| r.start.as_const().is_none_or(|s| s > 0)) else {
        return false;
    };
    range.start = range.start.clone() - 1;
    true
}

fn transpose(node: &mut Node, types: &[ValueType]) -> bool {
    let Op::Transpose { perm } = &node.op else { return false };
    let Some(ty) = types[0].as_tensor() else { return false };
    node.op = Op::Reshape { shape: perm.iter().map(|p| ty.shape[*p].clone()).collect() };
    true
}

fn reduce(node: &mut Node, _: &[ValueType]) -> bool {
    use ReduceOp::*;
    let Op::Reduce { op, .. } = &mut node.op else { return false };
    *op = match *op {
        Sum => Mean,
        Mean => Sum,
        Max => Min,
        Min => Max,
        Prod => Sum,
    };
    true
}

fn swap(node: &mut Node, _: &[ValueType]) -> bool {
    let n = node.inputs.len();
    let swaps = matches!(node.op, Op::Select | Op::Concat { .. })
        || matches!(node.op, Op::Binary(op) if !op.is_commutative());
    if swaps && n > 1 {
        node.inputs.swap(n - 1, n - 2);
    }
    swaps && n > 1
}

fn pad(node: &mut Node, _: &[ValueType]) -> bool {
    let Op::Pad { pads, mode } = &mut node.op else { return false };
    match mode {
        PadMode::Reflect => *mode = PadMode::Wrap,
        _ => pads.iter_mut().for_each(|(a, b)| std::mem::swap(a, b)),
    }
    true
}

fn scan(node: &mut Node, _: &[ValueType]) -> bool {
    match &mut node.op {
        Op::CumSum { reverse, .. } => *reverse = !*reverse,
        Op::ArgReduce { max, .. } => *max = !*max,
        Op::Softmax { axis } if *axis > 0 => *axis -= 1,
        _ => return false,
    }
    true
}

fn window(node: &mut Node, _: &[ValueType]) -> bool {
    let pads = match &mut node.op {
        Op::Conv(a) => &mut a.pads,
        Op::ConvTranspose(a) => &mut a.pads,
        Op::Pool(a) => {
            if let PoolKind::Average { count_pad } = &mut a.kind {
                *count_pad = !*count_pad;
                return true;
            }
            &mut a.pads
        }
        _ => return false,
    };
    pads.iter_mut().for_each(|p| *p = (p.1, p.0));
    true
}

fn attention(node: &mut Node, _: &[ValueType]) -> bool {
    let Op::Attention(a) = &mut node.op else { return false };
    a.causal = !a.causal;
    true
}

fn scatter(node: &mut Node, _: &[ValueType]) -> bool {
    let (Op::ScatterElements { reduce, .. } | Op::ScatterNd { reduce }) = &mut node.op else {
        return false;
    };
    *reduce = if *reduce == ScatterReduce::None { ScatterReduce::Max } else { ScatterReduce::None };
    true
}

fn axis(node: &mut Node, _: &[ValueType]) -> bool {
    let (Op::Iota { axis, .. } | Op::GatherElements { axis }) = &mut node.op else { return false };
    *axis ^= 1;
    true
}
