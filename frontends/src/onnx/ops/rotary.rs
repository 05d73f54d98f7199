//! Rotary position embedding of opset 23, decomposed.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::attention::{join_heads, split_heads};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op};

pub const OPS: Table = &[("RotaryEmbedding", One(rotary))];

fn rotary(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let by_head = split_heads(cx, x, "num_heads")?;
    let (cos, sin) = (angles(cx, 1)?, angles(cx, 2)?);
    let dim = cx.int("rotary_embedding_dim", 0)?;
    let interleaved = cx.flag("interleaved", false)?;
    let y = rotate(cx, by_head, &Rotation { cos, sin, dim, interleaved })?;
    if cx.rank(x) == 3 { join_heads(cx, y) } else { Ok(y) }
}

/// How heads are rotated.
pub struct Rotation {
    /// `[B, 1, S, dim/2]`, broadcast.
    pub cos: ValueId,
    /// As `cos`.
    pub sin: ValueId,
    /// Elements of each head that are rotated; 0 for all.
    pub dim: i64,
    /// Pairs are neighbours rather than halves.
    pub interleaved: bool,
}

/// Rotates pairs of the first elements of each head of `[B, heads, S, D]`.
pub fn rotate(cx: &mut Cx<'_>, by_head: ValueId, rotation: &Rotation) -> R<ValueId> {
    let s = cx.shape(by_head);
    if s.len() != 4 {
        return malformed!("heads of rank {}, must be 4", s.len());
    }
    let Some(size) = s[3].as_const() else {
        return unsupported!("a head size that is not known");
    };
    let rotated = match rotation.dim {
        0 => size,
        d => d,
    };
    if rotated < 2 || rotated % 2 != 0 || rotated > size {
        return malformed!("{rotated} elements of heads of {size} are to be rotated");
    }
    let half = rotated / 2;
    let (cos, sin) = (rotation.cos, rotation.sin);
    let head = cx.slice_axis(by_head, 3, 0.into(), rotated.into())?;
    let rest = cx.slice_axis(by_head, 3, rotated.into(), (size - rotated).into())?;
    let lead = || s[..3].to_vec();
    let (pairs, part) = match rotation.interleaved {
        true => ([lead(), vec![half.into(), 2.into()]].concat(), 4),
        false => ([lead(), vec![2.into(), half.into()]].concat(), 3),
    };
    let split = cx.reshape(head, pairs)?;
    let mut side = |i: i64| -> R<ValueId> {
        let one = cx.slice_axis(split, part, i.into(), 1.into())?;
        cx.reshape(one, [lead(), vec![half.into()]].concat())
    };
    let (a, b) = (side(0)?, side(1)?);
    let (a_cos, b_sin) = (cx.binary(BinaryOp::Mul, a, cos)?, cx.binary(BinaryOp::Mul, b, sin)?);
    let (a_sin, b_cos) = (cx.binary(BinaryOp::Mul, a, sin)?, cx.binary(BinaryOp::Mul, b, cos)?);
    let real = cx.binary(BinaryOp::Sub, a_cos, b_sin)?;
    let imaginary = cx.binary(BinaryOp::Add, a_sin, b_cos)?;
    let parts = [cx.unsqueeze(real, &[part])?, cx.unsqueeze(imaginary, &[part])?];
    let joined = cx.concat(&parts, part)?;
    let y = cx.reshape(joined, [lead(), vec![rotated.into()]].concat())?;
    if rotated < size { cx.concat(&[y, rest], 3) } else { Ok(y) }
}

/// Cosines or sines as `[B, 1, S, half]`, looked up by position where positions are given.
fn angles(cx: &mut Cx<'_>, i: usize) -> R<ValueId> {
    let table = cx.input(i)?;
    let picked = match cx.optional(3)? {
        Some(positions) => cx.emit(Op::Gather { axis: 0 }, &[table, positions])?,
        None => table,
    };
    if cx.rank(picked) != 3 {
        return malformed!("the angles have rank {}, must be 3", cx.rank(picked));
    }
    cx.unsqueeze(picked, &[1])
}
