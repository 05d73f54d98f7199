//! GroupQueryAttention: a cache of keys and values, rotary positions, a causal window.

use super::super::super::cx::Cx;
use super::super::super::emit::many;
use super::super::super::error::{R, malformed, unsupported};
use super::super::super::registry::{Importer::*, Table};
use super::super::super::scope::Slot;
use super::super::attention::{Mask, Operands, attend, join_heads, split_into};
use super::super::rotary::{Rotation, rotate};
use super::attention::scale;
use super::{only, without_inputs};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[("GroupQueryAttention", Many(group_query))];

fn group_query(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    only(cx, &[("smooth_softmax", 0), ("qk_output", 0), ("kv_cache_bit_width", 0), ("causal", 1)])?;
    only(cx, &[("sliding_window_cache", 0)])?;
    let unread = [
        (9, "position_ids"),
        (10, "attention_bias"),
        (11, "head_sink"),
        (12, "k_scale"),
        (13, "v_scale"),
        (14, "q_norm_weight"),
        (15, "k_norm_weight"),
        (16, "query_seqlens"),
    ];
    without_inputs(cx, &unread)?;
    let (heads, kv_heads) = (cx.int("num_heads", 0)?, cx.int("kv_num_heads", 0)?);
    if !(1..1 << 31).contains(&heads) || kv_heads < 1 || heads % kv_heads != 0 {
        return malformed!("{heads} query heads over {kv_heads} heads");
    }
    let [mut q, mut k, v] = operands(cx, heads, kv_heads)?;
    let past = past(cx, q)?;
    if cx.flag("do_rotary", false)? {
        let rotation = rotation(cx, q, &past)?;
        q = rotate(cx, q, &rotation)?;
        k = rotate(cx, k, &rotation)?;
    }
    let (k, v) = (past.followed_by(cx, past.keys, k)?, past.followed_by(cx, past.values, v)?);
    let visible = visible(cx, q, k, &past)?;
    let scale = scale(cx, q)?;
    let mask = Mask { visible: Some(visible), ..Mask::default() };
    let y = attend(cx, &Operands { q, k, v, scale }, mask)?;
    many([join_heads(cx, y)?, k, v])
}

/// Queries, keys and values by head; keys and values may be packed behind the queries.
fn operands(cx: &mut Cx<'_>, heads: i64, kv_heads: i64) -> R<[ValueId; 3]> {
    let query = cx.input(0)?;
    if cx.has(1) != cx.has(2) {
        return malformed!("key and value must be given together");
    }
    if cx.has(1) {
        let (k, v) = (cx.input(1)?, cx.input(2)?);
        return Ok([
            split_into(cx, query, heads)?,
            split_into(cx, k, kv_heads)?,
            split_into(cx, v, kv_heads)?,
        ]);
    }
    let width = cx.shape(query).last().and_then(Dim::as_const);
    let all = kv_heads.saturating_mul(2).saturating_add(heads);
    let Some(size) = width.filter(|w| w % all == 0) else {
        return malformed!("packed operands do not divide into heads");
    };
    let size = size / all;
    let mut part = |start: i64, heads: i64| -> R<ValueId> {
        let one = cx.slice_axis(query, 2, (start * size).into(), (heads * size).into())?;
        split_into(cx, one, heads)
    };
    Ok([part(0, heads)?, part(heads, kv_heads)?, part(heads + kv_heads, kv_heads)?])
}

/// The cache.
struct Past {
    keys: Option<ValueId>,
    values: Option<ValueId>,
    /// How many of its keys count: `i64[B, 1]`.
    length: ValueId,
}

fn past(cx: &mut Cx<'_>, q: ValueId) -> R<Past> {
    let (keys, values) = (cx.optional(3)?, cx.optional(4)?);
    let (batch, steps) = (cx.shape(q)[0].clone(), cx.shape(q)[2].clone());
    let room = match keys {
        Some(keys) if cx.rank(keys) != 4 => {
            return malformed!("past_key of rank {}, must be 4", cx.rank(keys));
        }
        Some(keys) => cx.shape(keys)[2].clone(),
        None => Dim::from(0),
    };
    if room.is(0) {
        let zero = cx.number(DType::I64, 0.0)?;
        let length = cx.broadcast(zero, vec![batch, 1.into()])?;
        return Ok(Past { keys: None, values: None, length });
    }
    // seqlens_k counts the keys of the past and of this call, less 1.
    let total = cx.input(5)?;
    let total = cx.cast(total, DType::I64)?;
    let total = cx.reshape(total, vec![batch, 1.into()])?;
    let total = cx.with_number(BinaryOp::Add, total, 1.0)?;
    let steps = cx.dim_scalar(steps, DType::I64)?;
    Ok(Past { keys, values, length: cx.binary(BinaryOp::Sub, total, steps)? })
}

impl Past {
    /// What is cached, then what is new, each entry's at its own place: `[B, G, P + S, D]`.
    fn followed_by(&self, cx: &mut Cx<'_>, past: Option<ValueId>, new: ValueId) -> R<ValueId> {
        let Some(past) = past else { return Ok(new) };
        let joined = cx.concat(&[past, new], 2)?;
        let shape = cx.shape(joined);
        let (room, steps) = (cx.shape(past)[2].clone(), cx.shape(new)[2].clone());
        let place = cx.iota(DType::I64, vec![1.into(), shape[2].clone()], 1)?;
        let ahead = cx.binary(BinaryOp::Sub, place, self.length)?;
        let room = cx.dim_scalar(room, DType::I64)?;
        let last = cx.dim_scalar(steps - 1, DType::I64)?;
        // Behind the new ones nothing counts; the last of them stands there.
        let ahead_in = cx.binary(BinaryOp::Min, ahead, last)?;
        let from_new = cx.binary(BinaryOp::Add, room, ahead_in)?;
        let cached = cx.with_number(BinaryOp::Lt, ahead, 0.0)?;
        let from = cx.select(cached, place, from_new)?;
        let from = cx.unsqueeze(from, &[1, 3])?;
        let index = cx.broadcast(from, shape)?;
        cx.emit(Op::GatherElements { axis: 2 }, &[joined, index])
    }
}

/// Positions of the new tokens: `i64[B, S]`.
fn positions(cx: &mut Cx<'_>, q: ValueId, past: &Past) -> R<ValueId> {
    let steps = cx.shape(q)[2].clone();
    let line = cx.iota(DType::I64, vec![1.into(), steps], 1)?;
    cx.binary(BinaryOp::Add, line, past.length)
}

fn rotation(cx: &mut Cx<'_>, q: ValueId, past: &Past) -> R<Rotation> {
    let at = positions(cx, q, past)?;
    let (cos, sin) = (cx.input(7)?, cx.input(8)?);
    let mut angles = |table: ValueId| -> R<ValueId> {
        let picked = cx.emit(Op::Gather { axis: 0 }, &[table, at])?;
        cx.unsqueeze(picked, &[1])
    };
    let (cos, sin) = (angles(cos)?, angles(sin)?);
    let half = cx.shape(cos).last().and_then(Dim::as_const);
    let Some(half) = half.filter(|h| *h < 1 << 31) else {
        return unsupported!("tables of unknown width");
    };
    Ok(Rotation { cos, sin, dim: 2 * half, interleaved: cx.flag("rotary_interleaved", false)? })
}

/// Each query sees the keys up to its own, and of these the last `local_window_size`.
fn visible(cx: &mut Cx<'_>, q: ValueId, k: ValueId, past: &Past) -> R<ValueId> {
    let row = positions(cx, q, past)?;
    let row = cx.unsqueeze(row, &[1, 3])?;
    let total = cx.shape(k)[2].clone();
    let column = cx.iota(DType::I64, vec![1.into(), 1.into(), 1.into(), total], 3)?;
    let seen = cx.binary(BinaryOp::Le, column, row)?;
    match cx.int("local_window_size", -1)? {
        -1 => Ok(seen),
        window if window >= 1 => {
            let first = cx.with_number(BinaryOp::Sub, row, (window - 1) as f64)?;
            let near = cx.binary(BinaryOp::Ge, column, first)?;
            cx.binary(BinaryOp::And, seen, near)
        }
        window => malformed!("local_window_size {window}"),
    }
}
