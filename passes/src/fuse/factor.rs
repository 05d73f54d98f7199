//! Factors of contractions in narrow types, as micro-kernels read them.
//!
//! *Why*: products of 16 or 8 bits are summed in 32. In the graph that is a contraction of
//! i32 or f32, whose factors are widened inside of its group and lie narrow in memory.

use cascata_ir::graph::{Def, Graph, Node, NodeId, ValueId};
use cascata_ir::op::{BinaryOp, Op};
use cascata_types::DType;

/// `cast_f32(memory)`, `cast_i32(memory)`, or `cast_i32(memory) − cast_i32(zero)` of u8.
#[derive(Clone, Debug)]
pub struct NarrowFactor {
    /// What lies in memory: bf16, i16, u8 or i8.
    pub memory: ValueId,
    /// The element, u8, that stands for 0.
    pub zero: Option<ValueId>,
    /// The casts.
    pub casts: Vec<NodeId>,
}

impl NarrowFactor {
    /// The factor that `v` is, if it is one.
    fn of(graph: &Graph, v: ValueId) -> Option<Self> {
        let narrow = [DType::BF16, DType::I16, DType::U8, DType::I8];
        if let Some((cast, memory)) = widened(graph, v, &narrow) {
            return Some(Self { memory, zero: None, casts: vec![cast] });
        }
        let node = graph.def_node(v).filter(|n| n.op == Op::Binary(BinaryOp::Sub))?;
        let (left, memory) = widened(graph, node.inputs[0], &[DType::U8])?;
        let (right, zero) = widened(graph, node.inputs[1], &[DType::U8])?;
        let one = graph.tensor(zero).elements().is(1);
        let whole = graph.tensor(memory).shape == graph.tensor(v).shape;
        (one && whole).then(|| Self { memory, zero: Some(zero), casts: vec![left, right] })
    }

    /// Both factors of a contraction, where a micro-kernel multiplies the like: bf16, i16, or u8
    /// on the left and i8 on the right.
    pub fn pair(graph: &Graph, node: &Node) -> Option<[Self; 2]> {
        if !matches!(node.op, Op::MatMul | Op::Conv(_)) {
            return None;
        }
        let (left, right) = (Self::of(graph, node.inputs[0])?, Self::of(graph, node.inputs[1])?);
        let multiplied = match left.dtype(graph) {
            DType::U8 => DType::I8,
            DType::I8 => return None,
            same => same,
        };
        let read = right.zero.is_none() && right.dtype(graph) == multiplied;
        read.then_some([left, right])
    }

    /// Type of what lies in memory.
    pub fn dtype(&self, graph: &Graph) -> DType {
        graph.tensor(self.memory).dtype
    }
}

/// The cast to i32 (to f32 of bf16), and its operand of one of some dtypes, that a value is.
fn widened(graph: &Graph, v: ValueId, from: &[DType]) -> Option<(NodeId, ValueId)> {
    let Def::Node(id, _) = graph.values[v].def else { return None };
    let node = &graph.nodes[id];
    let operand = *node.inputs.first()?;
    let dtype = graph.ty(operand).as_tensor()?.dtype;
    let to = if dtype == DType::BF16 { DType::F32 } else { DType::I32 };
    (node.op == Op::Cast { to } && from.contains(&dtype)).then_some((id, operand))
}

/// Whether a node is a cast by which a contraction reads a factor.
pub(super) fn is_read_by(graph: &Graph, cast: NodeId, anchor: NodeId) -> bool {
    let pair = NarrowFactor::pair(graph, &graph.nodes[anchor]);
    pair.iter().flatten().any(|f| f.casts.contains(&cast))
}
