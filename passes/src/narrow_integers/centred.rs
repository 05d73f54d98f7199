//! Left factors as bytes less a zero point: `cast_i32(u8) − cast_i32(zero)`.
//!
//! They are found in two ways: as what they are, with any zero point of 8 bits, behind views;
//! or by their range, which then gives a zero point, so that i8 become u8 too.

use super::{Narrow, Ranges};
use crate::known::{MAX_DEPTH, constant};
use cascata_ir::graph::{Def, Graph, Node, NodeId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{BinaryOp, Op};
use cascata_types::{DType, Scalar, TensorType};

/// `cast_i32(bytes) − cast_i32(zero)`.
#[derive(Clone, Copy)]
pub(super) struct Centred {
    bytes: ValueId,
    zero: Option<ValueId>,
}

/// Bytes, and what is subtracted from them as i32, behind views.
struct Found {
    bytes: ValueId,
    zero: Option<ValueId>,
    /// Nodes of views, last first.
    views: Vec<NodeId>,
}

impl Narrow<'_> {
    /// A left factor as bytes; `None` if it is none.
    pub(super) fn centred(
        &mut self,
        v: ValueId,
        id: NodeId,
    ) -> Result<Option<Centred>, InferError> {
        if let Some(known) = self.centred.get(&v) {
            return Ok(Some(*known));
        }
        let made = match found(self.graph, v) {
            Some(found) => self.viewed(found, id)?,
            None => match Ranges::new(self.graph).zero_of_bytes(v) {
                Some(zero) => self.moved(v, zero, id)?,
                None => return Ok(None),
            },
        };
        self.centred.insert(v, made);
        Ok(Some(made))
    }

    /// The views, of bytes.
    fn viewed(&mut self, found: Found, id: NodeId) -> Result<Centred, InferError> {
        let mut bytes = found.bytes;
        for view in found.views.into_iter().rev() {
            let node = self.graph.nodes[view].clone();
            bytes = self.graph.add1(self.region, node.op, vec![bytes], node.source.as_str())?;
        }
        let zero = found.zero.map(|zero| self.byte(zero, id)).transpose()?;
        Ok(Centred { bytes, zero })
    }

    /// One i32 that fits u8, as a scalar of that.
    fn byte(&mut self, v: ValueId, id: NodeId) -> Result<ValueId, InferError> {
        let known = constant(self.graph, v, DType::U8);
        if let Some([value]) = known.as_ref().and_then(|x| x.as_slice::<u8>()) {
            return Ok(self.stored_byte(v, *value));
        }
        let byte = match self.graph.def_node(v) {
            Some(n) if is_widened_u8(self.graph, v) => n.inputs[0],
            _ => self.add(Op::Cast { to: DType::U8 }, &[v], id)?,
        };
        match self.graph.tensor(byte).rank() {
            0 => Ok(byte),
            _ => self.add(Op::Reshape { shape: vec![] }, &[byte], id),
        }
    }

    fn stored_byte(&mut self, like: ValueId, value: u8) -> ValueId {
        let name = format!("{}.u8", self.graph.values[like].name);
        let ty = TensorType::fixed(DType::U8, &[]);
        self.graph.add_const(self.region, name, ty, vec![value].into())
    }

    /// `cast_u8(v + zero)`.
    fn moved(&mut self, v: ValueId, zero: u8, id: NodeId) -> Result<Centred, InferError> {
        let cast = Op::Cast { to: DType::U8 };
        if zero == 0 {
            return Ok(Centred { bytes: self.add(cast, &[v], id)?, zero: None });
        }
        let value = Scalar::from_i64(DType::I32, zero.into());
        let wide = self.add(Op::Fill { value, shape: vec![] }, &[], id)?;
        let sum = self.add(Op::Binary(BinaryOp::Add), &[v, wide], id)?;
        let bytes = self.add(cast, &[sum], id)?;
        let zero = self.stored_byte(v, zero);
        Ok(Centred { bytes, zero: Some(zero) })
    }

    /// The factor again, of casts of its own.
    pub(super) fn subtracted(
        &mut self,
        centred: Centred,
        id: NodeId,
    ) -> Result<ValueId, InferError> {
        let widen = Op::Cast { to: DType::I32 };
        let bytes = self.add(widen.clone(), &[centred.bytes], id)?;
        let Some(zero) = centred.zero else { return Ok(bytes) };
        let zero = self.add(widen, &[zero], id)?;
        self.add(Op::Binary(BinaryOp::Sub), &[bytes, zero], id)
    }
}

fn is_widened_u8(graph: &Graph, v: ValueId) -> bool {
    let widens = |n: &Node| {
        let from = graph.ty(n.inputs[0]).as_tensor().map(|t| t.dtype);
        n.op == Op::Cast { to: DType::I32 } && from == Some(DType::U8)
    };
    graph.def_node(v).is_some_and(|n| !n.inputs.is_empty() && widens(n))
}

/// Bytes behind views, with one zero point that fits a byte or none.
fn found(graph: &Graph, v: ValueId) -> Option<Found> {
    let (mut at, mut zero, mut views) = (v, None, vec![]);
    for _ in 0..MAX_DEPTH {
        if is_widened_u8(graph, at) {
            let bytes = graph.def_node(at)?.inputs[0];
            return Some(Found { bytes, zero, views });
        }
        let Def::Node(id, _) = graph.values[at].def else { return None };
        let node = &graph.nodes[id];
        match &node.op {
            Op::Reshape { .. } | Op::Transpose { .. } => views.push(id),
            Op::Binary(BinaryOp::Sub) if zero.is_none() => {
                let subtracted = node.inputs[1];
                let one = graph.tensor(subtracted).elements().is(1);
                let whole = graph.tensor(node.inputs[0]).shape == graph.tensor(at).shape;
                if !(one && whole && Ranges::new(graph).fits(subtracted, DType::U8)) {
                    return None;
                }
                zero = Some(subtracted);
            }
            _ => return None,
        }
        at = node.inputs[0];
    }
    None
}
