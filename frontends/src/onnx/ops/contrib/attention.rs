//! Attention and MultiHeadAttention: projections, heads, masks of several ranks, past keys.

use super::super::super::cx::Cx;
use super::super::super::emit::many;
use super::super::super::error::{R, malformed, unsupported};
use super::super::super::registry::{Importer::*, Table};
use super::super::super::scope::Slot;
use super::super::attention::{Mask, Operands, attend, join_heads, split_into};
use super::super::contraction::matmul;
use super::super::quantize::centred;
use super::super::rotary::{Rotation, rotate};
use super::quantize::{per_column, scaled_product};
use super::{only, without_inputs};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[
    ("Attention", Many(attention)),
    ("MultiHeadAttention", Many(multi_head)),
    ("QAttention", Many(q_attention)),
    ("RotaryEmbedding", One(rotary)),
];

fn heads(cx: &Cx<'_>) -> R<i64> {
    match cx.int("num_heads", 0)? {
        n if n >= 1 => Ok(n),
        n => malformed!("num_heads is {n}"),
    }
}

/// The scale that is given, or `1/√d`.
pub fn scale(cx: &Cx<'_>, q: ValueId) -> R<f64> {
    match (cx.float("scale", 0.0)?, cx.shape(q)[3].as_const()) {
        (0.0, Some(d)) if d > 0 => Ok(1.0 / (d as f64).sqrt()),
        (0.0, _) => unsupported!("no scale is given and the head size is not known"),
        (scale, _) => Ok(f64::from(scale)),
    }
}

/// Past keys or values `[B, N, P, D]` in front of new ones.
fn joined(cx: &mut Cx<'_>, past: Option<ValueId>, new: ValueId) -> R<ValueId> {
    match past {
        Some(past) => cx.concat(&[past, new], 2),
        None => Ok(new),
    }
}

/// What is added to scores `[B, N, S, T]` where the mask is 0.
fn mask_bias(cx: &mut Cx<'_>, mask: ValueId, keys: ValueId) -> R<ValueId> {
    let filter = cx.float("mask_filter_value", -10000.0)?;
    let (shape, total) = (cx.shape(mask), cx.shape(keys)[2].clone());
    let batch = cx.shape(keys)[0].clone();
    let counts = match shape.as_slice() {
        // Lengths: keys from there on are padding.
        [n] if *n == batch => {
            let column = cx.iota(DType::I64, vec![1.into(), total], 1)?;
            let lens = cx.cast(mask, DType::I64)?;
            let lens = cx.unsqueeze(lens, &[1])?;
            let seen = cx.binary(BinaryOp::Lt, column, lens)?;
            cx.unsqueeze(seen, &[1, 2])?
        }
        [_, _] => {
            let seen = nonzero(cx, mask)?;
            cx.unsqueeze(seen, &[1, 2])?
        }
        [_, _, _] => {
            let seen = nonzero(cx, mask)?;
            cx.unsqueeze(seen, &[1])?
        }
        _ => return unsupported!("a mask of rank {} and its shape", shape.len()),
    };
    let dtype = cx.dtype(keys);
    let (zero, filter) = (cx.number(dtype, 0.0)?, cx.number(dtype, filter.into())?);
    cx.select(counts, zero, filter)
}

fn nonzero(cx: &mut Cx<'_>, mask: ValueId) -> R<ValueId> {
    if cx.dtype(mask) == DType::Bool { Ok(mask) } else { cx.with_number(BinaryOp::Ne, mask, 0.0) }
}

/// The mask of input `mask` and the bias of input `bias`, together.
fn masked(cx: &mut Cx<'_>, mask: usize, bias: Option<usize>, keys: ValueId) -> R<Mask> {
    let mut total = match bias {
        Some(bias) => cx.optional(bias)?,
        None => None,
    };
    if let Some(mask) = cx.optional(mask)? {
        let own = mask_bias(cx, mask, keys)?;
        total = Some(match total {
            Some(total) => cx.binary(BinaryOp::Add, total, own)?,
            None => own,
        });
    }
    let causal = cx.flag("unidirectional", false)?;
    Ok(Mask { causal, bias: total, ..Mask::default() })
}

/// Whether sizes add up to `width`.
fn fill(sizes: &[i64], width: i64) -> bool {
    let total = sizes.iter().try_fold(0i64, |n, s| n.checked_add(*s));
    sizes.iter().all(|s| *s >= 0) && total == Some(width)
}

/// One product for queries, keys and values, then attention.
fn attention(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    only(cx, &[("do_rotary", 0), ("past_present_share_buffer", 0)])?;
    without_inputs(cx, &[(6, "past_sequence_length")])?;
    let heads = heads(cx)?;
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    if cx.rank(x) != 3 || cx.rank(w) != 2 {
        return malformed!("operands of rank {} and {}", cx.rank(x), cx.rank(w));
    }
    let mut y = matmul(cx, x, w)?;
    if let Some(bias) = cx.optional(2)? {
        y = cx.binary(BinaryOp::Add, y, bias)?;
    }
    attend_packed(cx, y, heads, &Inputs { mask: 3, past: 4, bias: Some(5) })
}

/// As [`attention`], of integers: the product is one of centred integers.
fn q_attention(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    only(cx, &[("do_rotary", 0), ("past_present_share_buffer", 0)])?;
    let heads = heads(cx)?;
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    if cx.rank(x) != 3 || cx.rank(w) != 2 {
        return malformed!("operands of rank {} and {}", cx.rank(x), cx.rank(w));
    }
    let (bias, x_scale, w_scale) = (cx.input(2)?, cx.input(3)?, cx.input(4)?);
    let x_zero = match cx.optional(6)? {
        Some(zero) => Some(cx.reshape(zero, vec![])?),
        None => None,
    };
    let w_zero = match cx.optional(7)? {
        Some(zero) => Some(per_column(cx, zero)?),
        None => None,
    };
    let (x, w) = (centred(cx, x, x_zero)?, centred(cx, w, w_zero)?);
    let scales = [cx.reshape(x_scale, vec![])?, per_column(cx, w_scale)?];
    let y = scaled_product(cx, [x, w], scales, Some(bias))?;
    attend_packed(cx, y, heads, &Inputs { mask: 5, past: 8, bias: None })
}

/// Which inputs an attention's optional operands are.
struct Inputs {
    mask: usize,
    past: usize,
    bias: Option<usize>,
}

/// Attention of queries, keys and values side by side in the last axis.
fn attend_packed(cx: &mut Cx<'_>, y: ValueId, heads: i64, inputs: &Inputs) -> R<Vec<Slot>> {
    let Some(width) = cx.shape(y)[2].as_const() else {
        return unsupported!("weights of unknown width");
    };
    let sizes = match cx.ints("qkv_hidden_sizes")? {
        Some(sizes) if sizes.len() == 3 && fill(&sizes, width) => sizes,
        Some(sizes) => return malformed!("qkv_hidden_sizes {sizes:?} for {width} columns"),
        None if width % 3 == 0 => vec![width / 3; 3],
        None => return malformed!("{width} columns are no queries, keys and values of one size"),
    };
    let (mut parts, mut start) = (Vec::new(), 0);
    for size in sizes {
        let part = cx.slice_axis(y, 2, start.into(), size.into())?;
        parts.push(split_into(cx, part, heads)?);
        start += size;
    }
    let past = cx.optional(inputs.past)?;
    let mut half = |i: i64| -> R<Option<ValueId>> {
        let Some(past) = past else { return Ok(None) };
        let one = cx.slice_axis(past, 0, i.into(), 1.into())?;
        cx.squeeze(one, &[0]).map(Some)
    };
    let (past_k, past_v) = (half(0)?, half(1)?);
    let (k, v) = (joined(cx, past_k, parts[1])?, joined(cx, past_v, parts[2])?);
    let mask = masked(cx, inputs.mask, inputs.bias, k)?;
    let scale = scale(cx, parts[0])?;
    let y = attend(cx, &Operands { q: parts[0], k, v, scale }, mask)?;
    let mut results = vec![join_heads(cx, y)?];
    if cx.wants(1) {
        let both = [cx.unsqueeze(k, &[0])?, cx.unsqueeze(v, &[0])?];
        results.push(cx.concat(&both, 0)?);
    }
    many(results)
}

fn multi_head(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    without_inputs(cx, &[(8, "past_sequence_length"), (9, "cache_indirection")])?;
    if cx.wants(3) {
        return unsupported!("output qk");
    }
    let heads = heads(cx)?;
    let query = cx.input(0)?;
    if cx.rank(query) != 3 || !cx.has(1) || !cx.has(2) {
        return unsupported!("packed queries, keys and values");
    }
    let bias = cx.optional(3)?;
    let mut start = Dim::from(0);
    let mut parts = Vec::new();
    for i in 0..3 {
        let x = cx.input(i)?;
        if cx.rank(x) == 4 && i > 0 {
            if bias.is_some() {
                return unsupported!("a bias for keys that are split into heads");
            }
            parts.push(x);
            continue;
        }
        let width = cx.shape(x).last().cloned().unwrap_or_default();
        let x = match bias {
            Some(bias) => {
                let own = cx.slice_axis(bias, 0, start.clone(), width.clone())?;
                start = start + width;
                cx.binary(BinaryOp::Add, x, own)?
            }
            None => x,
        };
        parts.push(split_into(cx, x, heads)?);
    }
    let (past_k, past_v) = (cx.optional(6)?, cx.optional(7)?);
    let (k, v) = (joined(cx, past_k, parts[1])?, joined(cx, past_v, parts[2])?);
    let mask = masked(cx, 4, Some(5), k)?;
    let scale = scale(cx, parts[0])?;
    let y = attend(cx, &Operands { q: parts[0], k, v, scale }, mask)?;
    many([join_heads(cx, y)?, k, v])
}

/// Positions are an offset (one number) or given per token.
fn rotary(cx: &mut Cx<'_>) -> R<ValueId> {
    only(cx, &[("is_packed_batching", 0)])?;
    if cx.float("scale", 1.0)? != 1.0 {
        return unsupported!("a scale");
    }
    let (x, positions) = (cx.input(0)?, cx.input(1)?);
    let (cos, sin) = (cx.input(2)?, cx.input(3)?);
    let dim = cx.int("rotary_embedding_dim", 0)?;
    let flat = cx.rank(x) == 3;
    if !matches!(cx.rank(x), 3 | 4) {
        return malformed!("an operand of rank {}, must be 3 or 4", cx.rank(x));
    }
    let by_head = match (flat, cx.int("num_heads", 0)?) {
        (false, _) => x,
        (true, 0) => {
            // Heads are as wide as the table says.
            let half = cx.shape(cos).last().and_then(Dim::as_const);
            let (width, half) = (cx.shape(x)[2].as_const(), half.filter(|h| *h < 1 << 31));
            match (width, half) {
                (Some(width), Some(half)) if dim == 0 && half > 0 && width % (2 * half) == 0 => {
                    split_into(cx, x, width / (2 * half))?
                }
                _ => return unsupported!("num_heads is not given"),
            }
        }
        (true, heads) => split_into(cx, x, heads)?,
    };
    let positions = match cx.shape(positions).as_slice() {
        [_] => {
            let steps = cx.shape(by_head)[2].clone();
            let line = cx.iota(DType::I64, vec![1.into(), steps], 1)?;
            cx.binary(BinaryOp::Add, line, positions)?
        }
        _ => positions,
    };
    let mut angles = |table: ValueId| -> R<ValueId> {
        let picked = cx.emit(Op::Gather { axis: 0 }, &[table, positions])?;
        cx.unsqueeze(picked, &[1])
    };
    let (cos, sin) = (angles(cos)?, angles(sin)?);
    let interleaved = cx.flag("interleaved", false)?;
    let y = rotate(cx, by_head, &Rotation { cos, sin, dim, interleaved })?;
    if flat { join_heads(cx, y) } else { Ok(y) }
}
