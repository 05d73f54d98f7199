//! Left factors as bytes less a zero point: `cast_i32(u8) − cast_i32(zero)`.
//!
//! They are found in two ways: as what they are, with any zero point of 8 bits, behind views;
//! or by their range, which then gives a zero point, so that i8 become u8 too.

use super::Ranges;
use crate::known::{MAX_DEPTH, constant};
use crate::narrow::Narrow;
use cascata_ir::graph::{Def, Graph, NodeId, ValueId};
use cascata_ir::infer::InferError;
use cascata_ir::op::{BinaryOp, Op};
use cascata_types::{DType, Scalar, TensorType};
use std::collections::HashMap;

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

impl Centred {
    /// A left factor of contraction `id` as bytes; `None` if it is none. `made` holds those
    /// that there are.
    pub(super) fn of(
        narrow: &mut Narrow<'_>,
        made: &mut HashMap<ValueId, Centred>,
        v: ValueId,
        id: NodeId,
    ) -> Result<Option<Centred>, InferError> {
        if let Some(known) = made.get(&v) {
            return Ok(Some(*known));
        }
        let centred = match found(narrow.graph, v) {
            Some(found) => found.viewed(narrow, id)?,
            None => match Ranges::new(narrow.graph).zero_of_bytes(v) {
                Some(zero) => Self::moved(narrow, v, zero, id)?,
                None => return Ok(None),
            },
        };
        made.insert(v, centred);
        Ok(Some(centred))
    }

    /// `cast_u8(v + zero)`.
    fn moved(
        narrow: &mut Narrow<'_>,
        v: ValueId,
        zero: u8,
        id: NodeId,
    ) -> Result<Self, InferError> {
        let cast = Op::Cast { to: DType::U8 };
        if zero == 0 {
            return Ok(Self { bytes: narrow.add(cast, &[v], id)?, zero: None });
        }
        let value = Scalar::from_i64(DType::I32, zero.into());
        let wide = narrow.add(Op::Fill { value, shape: vec![] }, &[], id)?;
        let sum = narrow.add(Op::Binary(BinaryOp::Add), &[v, wide], id)?;
        let bytes = narrow.add(cast, &[sum], id)?;
        Ok(Self { bytes, zero: Some(stored_byte(narrow, v, zero)) })
    }

    /// The factor again, of casts of its own.
    pub(super) fn subtracted(
        self,
        narrow: &mut Narrow<'_>,
        id: NodeId,
    ) -> Result<ValueId, InferError> {
        let widen = Op::Cast { to: DType::I32 };
        let bytes = narrow.add(widen.clone(), &[self.bytes], id)?;
        let Some(zero) = self.zero else { return Ok(bytes) };
        let zero = narrow.add(widen, &[zero], id)?;
        narrow.add(Op::Binary(BinaryOp::Sub), &[bytes, zero], id)
    }
}

impl Found {
    /// The views, of bytes.
    fn viewed(self, narrow: &mut Narrow<'_>, id: NodeId) -> Result<Centred, InferError> {
        let mut bytes = self.bytes;
        for view in self.views.into_iter().rev() {
            let op = narrow.graph.nodes[view].op.clone();
            bytes = narrow.add(op, &[bytes], view)?;
        }
        let zero = self.zero.map(|zero| byte(narrow, zero, id)).transpose()?;
        Ok(Centred { bytes, zero })
    }
}

/// One i32 that fits u8, as a scalar of that.
fn byte(narrow: &mut Narrow<'_>, v: ValueId, id: NodeId) -> Result<ValueId, InferError> {
    let known = constant(narrow.graph, v, DType::U8);
    if let Some([value]) = known.as_ref().and_then(|x| x.as_slice::<u8>()) {
        return Ok(stored_byte(narrow, v, *value));
    }
    let byte = match widened_u8(narrow.graph, v) {
        Some(byte) => byte,
        None => narrow.add(Op::Cast { to: DType::U8 }, &[v], id)?,
    };
    match narrow.graph.tensor(byte).rank() {
        0 => Ok(byte),
        _ => narrow.add(Op::Reshape { shape: vec![] }, &[byte], id),
    }
}

fn stored_byte(narrow: &mut Narrow<'_>, like: ValueId, value: u8) -> ValueId {
    let name = format!("{}.u8", narrow.graph.values[like].name);
    let ty = TensorType::fixed(DType::U8, &[]);
    narrow.graph.add_const(narrow.region, name, ty, vec![value].into())
}

/// What a value is a cast of, if it is one of u8 to i32.
fn widened_u8(graph: &Graph, v: ValueId) -> Option<ValueId> {
    let node = graph.def_node(v).filter(|n| n.op == Op::Cast { to: DType::I32 })?;
    let from = graph.ty(node.inputs[0]).as_tensor()?.dtype;
    (from == DType::U8).then_some(node.inputs[0])
}

/// Bytes behind views, with one zero point that fits a byte or none.
fn found(graph: &Graph, v: ValueId) -> Option<Found> {
    let (mut at, mut zero, mut views) = (v, None, vec![]);
    for _ in 0..MAX_DEPTH {
        if let Some(bytes) = widened_u8(graph, at) {
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
